"""A model is loaded, reads ahead and chooses while a job is out, never beside what measures."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from lab import counted_tune
from lab.slurm_counting import Simulated
from tiny_gguf import make_tiny_gguf

from hpcagent.measure.worker import NodeLock
from hpcagent.records import Event
from hpcagent.study.agent import RunAgent
from hpcagent.study.journal import read_journal
from hpcagent.study.preparing import DECISION, allowed
from hpcagent.study.proposing import Proposer
from hpcagent.study.state import fold

pytestmark = pytest.mark.llama


class Study:
    """A run of two rounds on the pretended Slurm, with the real strategy and a tiny model."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, **more: int) -> None:
        (folder / "locks").mkdir()
        monkeypatch.setenv("HPCAGENT_NODE_LOCK", str(folder / "locks"))
        self.cluster = Simulated(folder / "slurm", counted_tune.end, counted_tune.begin, 5.0)
        self.cluster.plan(60.0, 600.0)
        monkeypatch.setenv("PATH", self.cluster.path)
        self.clock = counted_tune.clock_of(self.cluster)
        model = make_tiny_gguf(folder / "tiny.gguf")
        chosen = counted_tune.settings(
            strategy="model", model=str(model), rounds=2, challengers=4, history=""
        )
        self.run = counted_tune.new_run(folder, self.clock, replace(chosen, **more))

    def agent(self, proposer: type[Proposer] = Proposer) -> Any:
        return counted_tune.agent_of(self.run, self.clock, proposer)

    def turns(self, agent: RunAgent) -> Iterator[str]:
        while not (turn := agent.turn()).closed and "search_ended" not in agent.state.decisions:
            yield turn.words
            if turn.waiting:
                self.clock.sleep(max(1.0, turn.pause_s))

    def events(self) -> list[Event]:
        return list(read_journal(self.run.journal))


class Unready(counted_tune.EachInTurn):
    may_prepare = False


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    return Study(tmp_path, monkeypatch)


def _place(events: list[Event], kind: str, **values: str) -> int:
    return next(
        n for n, event in enumerate(events)
        if event.type == kind and values.items() <= event.data.items()
    )  # fmt: skip


def test_the_first_question_finds_the_model_loaded_and_its_beginning_read(study: Study) -> None:
    """Told by the order of the journal: what was out when the model read ended after that."""
    with study.agent() as agent:
        said = list(study.turns(agent))
    events = study.events()
    at = _place(events, "decision", what=DECISION)
    told = events[at].data
    (beside,) = told["beside"]
    unit = next(e.data["unit"] for e in events if e.data.get("purpose") == beside)
    assert _place(events, "unit_submitted", unit=unit) < at
    assert at < _place(events, "unit_result", unit=unit) < _place(events, "llm_call")
    assert sum(e.data.get("what") == DECISION for e in events) == 1
    assert f"the model was loaded and has read {told['tokens']} tokens ahead" in said
    first = json.loads(study.run.llm_log.read_text().splitlines()[0])
    assert first["round"] == 1 and first["failure"] is None
    assert first["tokens_cached"] > 0.5 * told["tokens"]


def test_with_jobs_ahead_nothing_waits_for_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is measured while the first job's rounds are chosen, so that the model has no part
    in these; its share is not lost."""
    study = Study(tmp_path, monkeypatch, ahead=2, rounds=3)
    study.cluster.plan(60.0, 600.0, spread=0.5)
    with study.agent() as agent:
        for _ in study.turns(agent):
            pass
    events = study.events()
    calls = [event.data for event in events if event.type == "llm_call"]
    assert {call["round"] for call in calls} == {2, 3}
    assert all(call["overlaps"] for call in calls)
    first = events[_place(events, "proposed")].data
    assert first["round"] == 1 and len(first["proposals"]) == 4
    assert all(each["proposed_by"] == "surrogate" for each in first["proposals"])
    assert not any("in place of the model" in each["reason"] for each in first["proposals"])


def test_only_the_first_job_of_several_does_without(tmp_path: Path) -> None:
    """What is settled when the run is opened decides it, so that a resumed run does the same."""
    plain = counted_tune.settings(strategy="model", model="/some.gguf")

    def rounds(**chosen: Any) -> list[int]:
        proposer = Proposer(replace(plain, **chosen), tmp_path / "llm.jsonl")
        return [index for index in range(1, 5) if proposer.takes_part(index)]

    assert rounds() == rounds(pack=2) == [1, 2, 3, 4]
    assert rounds(ahead=2) == [2, 3, 4] and rounds(ahead=2, pack=2) == [3, 4]
    assert rounds(ahead=2, scheduler="local") == [1, 2, 3, 4], "it computes between the rounds"
    assert rounds(ahead=2, strategy="surrogate") == []


def test_nothing_is_read_while_the_node_measures_or_the_agent_leaves(study: Study) -> None:
    """The lock is that of a worker, which has the node for itself."""
    lock = NodeLock(shared=False, wait_s=0.0, unit="round-7")
    assert lock.at_once()
    with study.agent() as agent:
        turns = study.turns(agent)
        while agent.state.done("build") is None:
            next(turns)
        assert DECISION not in agent.state.decisions
        lock.let_go()
        agent.run(lambda state, turn: None, until_waiting=True)
        assert agent.state.open_units and DECISION not in agent.state.decisions


def test_a_build_on_this_node_may_go_on_beside_a_model_and_a_measurement_not(
    study: Study,
) -> None:
    with study.agent(Unready) as agent:
        turns = study.turns(agent)
        found = {}
        while agent.state.done("feasibility") is None:
            next(turns)
            for unit in agent.state.open_units:
                if unit.job_id:
                    there = replace(agent.state.settings, scheduler="local")
                    state = replace(agent.state, settings=there)
                    found[unit.purpose] = (allowed(agent.state), allowed(state))
    assert found == {
        "probe": (True, False), "build": (True, True), "feasibility": (True, False)
    }  # fmt: skip
    assert not allowed(fold(study.events())), "nothing is out"
