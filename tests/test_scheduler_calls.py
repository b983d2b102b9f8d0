"""What a run costs the batch system: calls of Slurm's commands, counted over simulated hours."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from lab import counted_tune
from lab.slurm_counting import Call, Simulated, commands

from hpcagent.schedulers.slurm import SlurmScheduler
from hpcagent.study.durable import parse_utc
from hpcagent.study.journal import read_journal
from hpcagent.study.state import TuneState, fold

HOUR, STEP_S = 3600.0, 5.0
POLL_S = SlurmScheduler.pace.poll_s


class Study:
    """A run on a pretended Slurm on which a job waits for 5 minutes and works for an hour."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, **chosen: Any) -> None:
        self.cluster = Simulated(folder / "slurm", counted_tune.end, counted_tune.begin, STEP_S)
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

    def step(self) -> TuneState:
        """What `hpcagent step` does, as a process of its own; its own clock counts from 0."""
        began = self.cluster.now()
        clock = replace(self.clock, monotonic=lambda: self.cluster.now() - began)
        with counted_tune.agent_of(self.run, clock) as agent:
            agent.keep_pace()
            agent.run(lambda state, turn: None, until_waiting=True)
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


def test_a_step_every_minute_asks_as_rarely_as_an_agent_that_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = Study(tmp_path, monkeypatch, rounds=3)
    while study.step().closed is None:
        study.cluster.sleep(60.0)
    assert len(study.state().rounds) == 3
    assert not study.calls("sacct", "scontrol", "scancel")
    looks = study.calls("squeue")
    assert all(b.now - a.now >= POLL_S for a, b in pairwise(looks))
    begun = study.began("round-1")
    hours = (study.cluster.now() - begun) / HOUR
    assert len([call for call in looks if call.now >= begun]) <= 8 * hours
    ended = [job.end for job in commands.jobs_in(str(study.cluster.folder))]
    taken_in = [parse_utc(unit.result_utc).timestamp() for unit in study.state().units]
    late = [b - a for a, b in zip(sorted(ended), sorted(taken_in), strict=True)]
    assert max(late) <= 60.0 + STEP_S, "its marker is looked for by every step"


def test_a_step_every_minute_finds_in_time_what_died_without_a_marker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = Study(tmp_path, monkeypatch, rounds=1)
    study.go_on(until="feasibility")
    study.cluster.plan(300.0, HOUR / 2, ending="FAILED")
    study.go_on(until="round-1")
    study.cluster.plan(300.0, HOUR)
    died = study.cluster.now() + 300.0 + HOUR / 2
    while not (failed := [u for u in study.step().units if u.failure is not None]):
        study.cluster.sleep(60.0)
    noticed = parse_utc(failed[0].result_utc).timestamp()
    longest = max(POLL_S, min(20 * POLL_S, failed[0].resources.walltime_s / 4))
    assert noticed - died <= longest + counted_tune.settings().grace_s + 3 * 60.0


@pytest.mark.parametrize(
    "kept",
    ["", "\0\0", "[]", "{}", '{"interval_s": "x", "next_utc": 3}',
     '{"interval_s": 1e300, "next_utc": "9999-01-01T00:00:00Z"}'],
)  # fmt: skip
def test_a_spoilt_note_of_the_last_query_does_not_delay_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: str
) -> None:
    study = Study(tmp_path, monkeypatch, rounds=1)
    study.go_on(until="probe")
    study.run.asked.write_text(kept)
    before = len(study.calls("squeue"))
    study.step()
    assert len(study.calls("squeue")) == before + 1


def test_the_command_asks_at_once_inside_a_job_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = Study(tmp_path, monkeypatch, rounds=1)
    study.go_on(until="probe")
    study.run.asked.unlink()  # it is of the pretended clock
    asked = [len(study.calls("squeue"))]
    for inside in ({}, {}, {"SLURM_JOB_ID": "4711"}):
        argv = [sys.executable, "-m", "hpcagent", "step", str(study.run.path)]
        subprocess.run(argv, env={**os.environ, **inside}, check=True, capture_output=True)
        asked.append(len(study.calls("squeue")))
    assert [b - a for a, b in pairwise(asked)] == [1, 0, 1]
