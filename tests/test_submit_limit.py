"""A limit on the jobs that a user may have queued: what does not fit waits for the run's own."""

from __future__ import annotations

from pathlib import Path

import pytest
from lab import counted_tune
from lab.slurm_counting import Simulated

from hpcagent.errors import SchedulerRefused
from hpcagent.records import Refused
from hpcagent.schedulers import pbs_answers
from hpcagent.schedulers.slurm_submission import submission
from hpcagent.shell import Ran
from hpcagent.study.journal import read_journal

FAILED = "sbatch: error: Batch job submission failed: "
# slurm_strerror's words for every limit of accounting.
SOME_LIMIT = (
    "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)\n"
)


def study(folder: Path, monkeypatch: pytest.MonkeyPatch, most: int) -> list[str]:
    """What the agent says of a run of two rounds, both of which may be queued at once."""
    cluster = Simulated(folder / "slurm", counted_tune.end, counted_tune.begin, 60.0)
    cluster.plan(60.0, 600.0)
    (cluster.folder / "most").write_text("x" * most)
    monkeypatch.setenv("PATH", cluster.path)
    clock = counted_tune.clock_of(cluster)
    run = counted_tune.new_run(folder, clock, counted_tune.settings(rounds=2, ahead=2))
    said = []
    with counted_tune.agent_of(run, clock, counted_tune.EachInTurn) as agent:
        while not (turn := agent.turn()).closed:
            said.append(turn.words)
            assert len(said) < 500, said[-3:]
            if turn.waiting:
                clock.sleep(max(1.0, turn.pause_s))
    events = list(read_journal(run.journal))
    assert not [e for e in events if e.type == "unit_result" and e.data["failure"]]
    calls = [call.argv for call in cluster.calls() if call.command == "sbatch"]
    jobs = [e for e in events if e.type == "unit_submitted"]
    assert len(calls) <= len(jobs) + 1, "the same is not asked again and again"
    return said


def test_a_round_waits_where_no_more_jobs_may_be_queued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = study(tmp_path, monkeypatch, most=1)
    done = said.index("round-1: done")
    assert said.index("round-2: prepared") < done
    (submitted,) = [n for n, words in enumerate(said) if words.startswith("round-2: submitted as")]
    assert submitted > done


def test_where_the_user_s_other_jobs_fill_the_queue_it_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SchedulerRefused, match="QOSMaxSubmitJobPerUserLimit"):
        study(tmp_path, monkeypatch, most=0)


@pytest.mark.parametrize(
    ("words", "full"),
    [
        ("sbatch: error: QOSMaxSubmitJobPerUserLimit\n" + FAILED + "Job violates policy\n", True),
        ("sbatch: error: AssocGrpSubmitJobsLimit\n" + FAILED + "Job violates policy\n", True),
        (FAILED + SOME_LIMIT, True),
        ("sbatch: error: QOSMaxSubmitJobPerUserLimit\n" + FAILED + SOME_LIMIT, True),
        ("sbatch: error: QOSMaxCpuPerUserLimit\n" + FAILED + SOME_LIMIT, False),
        ("sbatch: error: AssocMaxWallDurationPerJobLimit\n" + FAILED + SOME_LIMIT, False),
        (FAILED + "Invalid qos specification\n", False),
    ],
)
def test_which_refusals_of_slurm_are_for_now(words: str, full: bool) -> None:
    answer = submission(Ran(("sbatch",), 1, "", words, ""))
    assert isinstance(answer, Refused) and answer.full is full


def test_which_refusals_of_pbs_are_for_now() -> None:
    for words, full in (("would exceed complex's per-user limit", True), ("Unknown queue", False)):
        answer = pbs_answers.submission(Ran(("qsub",), 38, "", f"qsub: {words}\n", ""))
        assert isinstance(answer, Refused) and answer.full is full
