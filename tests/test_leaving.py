"""What is said of the jobs of a run whose agent is interrupted: no more than is known."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from mainjob import make_bench

from hpcagent.cli.leaving import left_out
from hpcagent.records import JobState, Resources
from hpcagent.schedulers.local import LocalScheduler
from hpcagent.schedulers.pbs import PbsScheduler
from hpcagent.schedulers.slurm import SlurmScheduler
from hpcagent.study.journal import JournalWriter
from hpcagent.study.lease import Lease
from hpcagent.study.rundir import RunDir, create_run, unit_name
from hpcagent.study.session import open_tune
from hpcagent.study.settings import TuneSettings


def made(folder: Path, scheduler: str, *units: tuple[str, str, JobState | None]) -> RunDir:
    """A run with these units: purpose, job id (empty: none) and the state it was last seen in."""
    run = create_run("tune", "1", folder, folder / "run")
    open_tune(run, TuneSettings("openblas", 1, scheduler, "surrogate", 6, 4), "1")
    with Lease.acquire(run.path) as lease, JournalWriter(run.journal, lease.check) as journal:
        for number, (purpose, job_id, state) in enumerate(units, start=1):
            name = unit_name(run.id, number)
            journal.append("unit_intent", {
                "unit": name, "kind": "round", "purpose": purpose, "attempt": 1,
                "resources": vars(Resources(60)), "spec": {},
            })  # fmt: skip
            if job_id:
                journal.append("unit_submitted", {"unit": name, "job_id": job_id})
            if state is not None:
                seen = {"unit": name, "state": state.value, "word": state.value, "reason": "why"}
                journal.append("unit_state", seen)
    return run


@pytest.fixture(autouse=True)
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HPCAGENT_QUEUE", str(tmp_path / "queue"))
    return tmp_path / "queue"


def test_nothing_is_out(tmp_path: Path) -> None:
    assert left_out(made(tmp_path, "local")) == "no job of it is out"
    prepared = made(tmp_path / "b", "local", ("round-1", "", None))
    assert left_out(prepared) == "no job of it is out"


@pytest.mark.parametrize(
    ("left", "words"),
    [
        (None, "is not known to its queue any more"),
        ({}, "is queued (the local queue does not run: not here)"),
        ({"claim.json": "{}"}, "is running (the local queue does not run: not here)"),
        ({"exit.json": '{"state": "COMPLETED", "exit_code": 0}'}, "has ended"),
    ],
)
def test_the_local_queue_is_asked(
    tmp_path: Path, queue: Path, monkeypatch: pytest.MonkeyPatch,
    left: dict[str, str] | None, words: str,
) -> None:  # fmt: skip
    """However the job was last seen: one that is gone does not go on."""
    monkeypatch.setattr(LocalScheduler, "_start_executor", lambda self: "not here")
    run = made(tmp_path, "local", ("round-1", "00000007", JobState.RUNNING))
    if left is not None:
        (queue / "jobs" / "00000007").mkdir(parents=True)
        for name, text in left.items():
            (queue / "jobs" / "00000007" / name).write_text(text)
    assert left_out(run) == f"job 00000007 (round-1) {words}"


@pytest.mark.parametrize(
    ("scheduler", "ids", "question"),
    [
        ("slurm", ("7", "8"), "squeue --states=all --jobs=7,8"),
        ("slurm", ("7;far", "8"), "squeue --clusters=far --states=all --jobs=7; "
         "squeue --states=all --jobs=8"),
        ("pbs", ("7.server", "8.server"), "qstat -f 7.server 8.server"),
    ],
)  # fmt: skip
def test_a_batch_system_is_not_asked_but_the_user_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheduler: str, ids: Sequence[str],
    question: str,
) -> None:  # fmt: skip
    def never(*words: object) -> None:
        pytest.fail("its answer may take minutes")

    for adapter in (SlurmScheduler, PbsScheduler):
        monkeypatch.setattr(adapter, "poll", never)
    run = made(
        tmp_path, scheduler, ("round-1", ids[0], JobState.RUNNING),
        ("round-2", ids[1], JobState.QUEUED),
    )  # fmt: skip
    assert left_out(run) == (
        f"last seen: job {ids[0]} (round-1: running (why)); job {ids[1]} (round-2: queued (why)) "
        f"(now: {question})"
    )


def test_a_submission_without_an_answer_is_told(tmp_path: Path) -> None:
    run = made(tmp_path, "slurm", ("round-1", "", JobState.SUBMITTING))
    assert left_out(run) == "round-1: no answer to its submission yet, a job may be there"


def test_a_queue_that_cannot_be_read_is_no_second_failure(tmp_path: Path, queue: Path) -> None:
    run = made(tmp_path, "local", ("round-1", "00000007", JobState.RUNNING))
    (queue / "jobs" / "00000007").mkdir(parents=True)
    (queue / "jobs" / "00000007" / "exit.json").mkdir()
    assert left_out(run).startswith("what of it is out is not known (cannot read the local queue")


def test_a_watch_that_ends_says_whether_anything_drives_the_run(tmp_path: Path) -> None:
    bench = make_bench(tmp_path)
    run = made(tmp_path, "local")

    def watched() -> str:
        process = subprocess.Popen(
            ["timeout", "--signal=INT", "--foreground", "8", *bench.argv("watch", str(run.path))],
            cwd=tmp_path, env=bench.env, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        return " ".join(process.communicate(timeout=120)[1].split())

    assert f"ends; no process drives it now; go on with: hpcagent resume {run.path}" in watched()
    with Lease.acquire(run.path):
        assert watched().endswith("the watch of run ends; it goes on")
