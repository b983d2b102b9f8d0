"""The successors of an agent that runs as batch jobs, on a scheduler that only takes notes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from hpcagent.errors import EnvironmentProblem, RunFailed, SchedulerRefused
from hpcagent.records import JobState, JobStatus, OwnJob, Pace, Refused, Resources, Submitted
from hpcagent.study.chain import Chain, chain_folder, drop, read_chain

ENVIRONMENT = {"HPCAGENT_RUNS": "/scratch/it's $HOME"}


class Notes:
    """Takes every job, numbers them, and remembers."""

    pace = Pace()

    def __init__(self, first: int = 100, refusal: str = "") -> None:
        self.next = first
        self.refusal = refusal
        self.scripts: dict[str, Path] = {}
        self.after: dict[str, tuple[str, ...]] = {}
        self.cancelled: list[str] = []

    def directives(self, resources: Resources, name: str) -> list[str]:
        return [f"#X name={name} after={','.join(resources.after)} warn={resources.warn_s}"]

    def submit(self, script: Path) -> Submitted | Refused:
        if self.refusal:
            return Refused(self.refusal)
        self.next += 1
        job_id = str(self.next)
        self.scripts[job_id] = script
        line = script.read_text().splitlines()[1]
        self.after[job_id] = tuple(line.split("after=")[1].split(" ")[0].split(","))
        return Submitted(job_id)

    def poll(self, ids: Sequence[str], since_utc: str = "") -> dict[str, JobStatus]:
        return {i: JobStatus(i, JobState.QUEUED, "PENDING") for i in ids if i in self.scripts}

    def cancel(self, ids: Sequence[str]) -> None:
        self.cancelled += ids
        for job_id in ids:
            self.scripts.pop(job_id, None)


def link(scheduler: Notes, folder: Path, job_id: str) -> Chain:
    job = OwnJob(job_id, Resources(1800))
    argv = ["hpcagent", "chain", "resume", "a run"]
    return Chain(scheduler, job, folder, argv, folder.parent, ENVIRONMENT)  # type: ignore[arg-type]


def test_a_link_is_followed_whatever_happens_to_it(tmp_path: Path) -> None:
    scheduler, folder = Notes(), chain_folder(tmp_path / "run")
    first = link(scheduler, folder, "7")
    first.begin(events=0)
    assert scheduler.after == {"101": ("7",)}
    text = scheduler.scripts["101"].read_text()
    assert "warn=120" in text
    assert "export HPCAGENT_RUNS='/scratch/it'\"'\"'s $HOME'" in text
    assert text.splitlines()[-1] == "exec hpcagent chain resume 'a run'"
    assert first.wait_for(["20", "21"]) == "102"
    assert scheduler.after["102"] == ("20", "21")
    assert scheduler.cancelled == ["101"]
    second = link(scheduler, folder, "102")
    second.begin(events=5)
    assert scheduler.after["103"] == ("102",)
    second.end()
    assert scheduler.cancelled == ["101", "103"]


def test_a_link_that_is_run_again_has_its_successor(tmp_path: Path) -> None:
    scheduler, folder = Notes(), tmp_path / "run.agent"
    link(scheduler, folder, "7").begin(events=0)
    link(scheduler, folder, "7").begin(events=3)
    assert list(scheduler.scripts) == ["101"]


def test_links_that_do_nothing_end_the_chain(tmp_path: Path) -> None:
    scheduler, folder = Notes(), tmp_path / "run.agent"
    job = "7"
    for _ in range(3):
        link(scheduler, folder, job).begin(events=4)
        job = read_chain(folder).next_job
    with pytest.raises(RunFailed, match="did nothing"):
        link(scheduler, folder, job).begin(events=4)
    assert len(scheduler.scripts) == 3
    link(scheduler, folder, job).begin(events=5)  # somebody has moved the run meanwhile


def test_a_run_that_is_gone_begins_a_chain_anew(tmp_path: Path) -> None:
    """Its first job was refused, which somebody may mend as often as it takes."""
    scheduler, folder = Notes(), tmp_path / "run.agent"
    for number in range(5):
        tried = link(scheduler, folder, f"{7 + number}")
        tried.begin(events=0)
        tried.end()
        tried.begin_anew()
    assert not scheduler.scripts, "each successor was taken back"
    assert len(scheduler.cancelled) == 5


def test_a_refusal_names_what_to_do(tmp_path: Path) -> None:
    scheduler = Notes(refusal="Access/permission denied")
    with pytest.raises(SchedulerRefused, match=r"Access/permission denied.*--in-allocation"):
        link(scheduler, tmp_path / "run.agent", "7").begin(events=0)


def test_a_damaged_note_is_named(tmp_path: Path) -> None:
    scheduler, folder = Notes(), tmp_path / "run.agent"
    drop(scheduler, folder)  # type: ignore[arg-type]
    assert scheduler.cancelled == []
    folder.mkdir()
    (folder / "chain.json").write_text('{"link": 1')
    with pytest.raises(EnvironmentProblem, match=r"chain\.json is damaged"):
        link(scheduler, folder, "7")
