"""What a run costs the batch system: calls of Slurm's commands, counted over simulated hours."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from lab import counted_tune
from lab.slurm_counting import Call, Simulated

from hpcagent.schedulers.slurm import SlurmScheduler
from hpcagent.study.durable import parse_utc
from hpcagent.study.journal import read_journal
from hpcagent.study.state import TuneState, fold

HOUR = 3600.0
POLL_S = SlurmScheduler.pace.poll_s


class Study:
    """A run on a pretended Slurm on which a job waits for 5 minutes and works for an hour."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, **chosen: Any) -> None:
        self.cluster = Simulated(folder / "slurm", counted_tune.end, counted_tune.begin, 5.0)
        self.cluster.plan(300.0, HOUR)
        monkeypatch.setenv("PATH", self.cluster.path)
        self.clock = counted_tune.clock_of(self.cluster)
        self.run = counted_tune.new_run(folder, self.clock, counted_tune.settings(**chosen))

    def go_on(self, until: str = "") -> TuneState:
        """A new agent's turns until the run is closed, or a unit of this purpose is out."""
        with counted_tune.agent_of(self.run, self.clock) as agent:
            while not (turn := agent.turn()).closed:
                if any(u.purpose == until and u.job_id for u in agent.state.open_units):
                    break
                if turn.waiting:
                    self.clock.sleep(max(1.0, turn.pause_s))
            return agent.state

    def calls(self, *commands: str) -> list[Call]:
        return [call for call in self.cluster.calls() if call.command in commands]

    def state(self) -> TuneState:
        return fold(read_journal(self.run.journal))

    def began(self, purpose: str) -> float:
        return parse_utc(self.state().attempts(purpose)[0].intent_utc).timestamp()


@pytest.mark.parametrize("ahead", [1, 3])
def test_what_goes_well_costs_one_submission_a_unit_and_a_few_looks_at_the_queue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ahead: int
) -> None:
    study = Study(tmp_path, monkeypatch, rounds=6, ahead=ahead)
    state = study.go_on()
    assert len(state.rounds) == 6
    assert study.state() == state, "read at once, or event by event: the same"
    names = {unit.name for unit in state.units}
    scripts = Counter(Path(call.argv[-1]).parent.name for call in study.calls("sbatch"))
    assert scripts == dict.fromkeys(names, 1)
    # Markers lead: accounting is not asked, no single job is asked for, none is cancelled.
    assert not study.calls("sacct", "scontrol", "scancel")
    looks = study.calls("squeue")
    assert all(b.now - a.now >= POLL_S for a, b in pairwise(looks))
    begun = study.began("round-1")
    hours = (study.cluster.now() - begun) / HOUR
    rounds = [call for call in looks if call.now >= begun]
    assert len(rounds) <= 8 * hours, "and not more for several jobs than for one"


def test_rounds_in_one_job_are_one_submission(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = Study(tmp_path, monkeypatch, rounds=6, pack=3)
    state = study.go_on()
    assert len(state.rounds) == 6
    others = sum(not unit.purpose.startswith("round-") for unit in state.units)
    assert len(study.calls("sbatch")) == others + 2


def test_jobs_that_died_together_are_found_together_and_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = Study(tmp_path, monkeypatch, rounds=6, ahead=3)
    study.go_on(until="feasibility")
    study.cluster.plan(300.0, HOUR / 2, ending="FAILED")
    study.go_on(until="round-3")
    study.cluster.plan(300.0, HOUR)
    died = study.cluster.now() + 300.0 + HOUR / 2
    before = len(study.calls("squeue"))
    study.go_on(until="round-4")
    failed = [unit for unit in study.state().units if unit.failure is not None]
    assert [unit.purpose for unit in failed] == ["round-1", "round-2", "round-3"]
    assert {unit.failure.id for unit in failed if unit.failure} == {"scheduler.failed"}
    noticed = parse_utc(failed[-1].result_utc).timestamp()
    walltime_s = failed[0].resources.walltime_s
    assert noticed - died <= walltime_s / 4 + 2 * counted_tune.settings().grace_s + POLL_S
    looks = [call for call in study.calls("squeue")[before:] if call.now <= noticed]
    assert len(looks) <= 12, "one query tells of all three"
    # The controller may have forgotten them by then: accounting is asked for all at once.
    assert len(study.calls("sacct")) <= 3
    assert not study.calls("scontrol", "scancel")


def test_a_new_agent_looks_after_what_is_out_and_submits_nothing_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = Study(tmp_path, monkeypatch, rounds=2)
    study.go_on(until="round-1")
    before = len(study.calls("sbatch"))
    for _ in range(3):
        study.go_on(until="round-1")
        study.cluster.sleep(60.0)
    assert len(study.calls("sbatch")) == before
    state = study.go_on()
    assert len(state.rounds) == 2
    assert len(study.calls("sbatch")) == len(state.units)
