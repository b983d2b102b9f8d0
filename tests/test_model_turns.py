"""When a model may compute: beside rounds on other nodes, never beside one on its own."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from lab import counted_tune
from lab.slurm_counting import Simulated

from hpcagent.cli.main import main
from hpcagent.measure.worker import NodeLock
from hpcagent.records import Proposal
from hpcagent.study.journal import read_journal
from hpcagent.study.knowledge import Knowledge
from hpcagent.study.outcome_model import in_vain, model_summary
from hpcagent.study.progress import progress
from hpcagent.study.state import TuneState, fold
from hpcagent.study.tune import shares_node

NOTE = "context 2048 of 8192 tokens, since memory is short"


class Asking(counted_tune.EachInTurn):
    """Proposes the same, and tells of a call that took 10 s."""

    def propose(
        self,
        known: Knowledge,
        index: int,
        record: Callable[[Mapping[str, Any]], None],
        spare_s: float = math.inf,
    ) -> tuple[tuple[Proposal, ...], str | None]:
        call = {"op": "rank", "verdict": "accepted", "waited_s": 10.0, "tokens_in": 200,
                "tokens_cached": 150, "notes": [NOTE] if index == 1 else []}  # fmt: skip
        record({"round": index, **call})
        return super().propose(known, index, record, spare_s)


class Study:
    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, **chosen: Any) -> None:
        self.cluster = Simulated(folder / "slurm", counted_tune.end, counted_tune.begin, 5.0)
        self.cluster.plan(60.0, 600.0, spread=0.5)
        monkeypatch.setenv("PATH", self.cluster.path)
        self.clock = counted_tune.clock_of(self.cluster)
        wanted = replace(counted_tune.settings(**chosen), strategy="model", model="/some.gguf")
        self.run = counted_tune.new_run(folder, self.clock, wanted)

    def turns(self) -> Iterator[str]:
        """What the agent says, turn by turn, to the end of the run."""
        with counted_tune.agent_of(self.run, self.clock, Asking) as agent:
            while not (turn := agent.turn()).closed:
                yield turn.words
                if turn.waiting:
                    self.clock.sleep(max(1.0, turn.pause_s))

    def state(self) -> TuneState:
        return fold(read_journal(self.run.journal))


@pytest.fixture
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NodeLock:
    (tmp_path / "locks").mkdir()
    monkeypatch.setenv("HPCAGENT_NODE_LOCK", str(tmp_path / "locks"))
    return NodeLock(shared=False, wait_s=0.0, unit="round-1")


def _second(study: Study) -> int:
    """The number of the event with which the second round is out."""
    events = read_journal(study.run.journal)
    return next(e.seq for e in events if e.data.get("purpose") == "round-2")


@pytest.mark.parametrize(("ahead", "overlapping"), [(1, [False] * 4), (2, [False] + [True] * 3)])
def test_with_rounds_ahead_a_model_computes_while_others_measure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lock: NodeLock, ahead: int,
    overlapping: list[bool], capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    study = Study(tmp_path, monkeypatch, rounds=4, ahead=ahead)
    for _ in study.turns():
        pass
    state = study.state()
    assert [call["overlaps"] for call in state.calls] == overlapping
    early = fold(event for event in read_journal(study.run.journal) if event.seq < _second(study))
    left = [
        progress(Knowledge(replace(early, calls=calls)), 0, early.last_utc).left_s or 0.0
        for calls in (early.calls, ())
    ]
    assert left[0] - left[1] == (0.0 if overlapping[1] else pytest.approx(30.0))
    told = model_summary(Knowledge(state), None)
    assert told.seconds == 40.0 and told.waited_s == 10.0 * overlapping.count(False)
    assert (told.ranked, told.valid, told.invalid, told.cached_share) == (4, 4, 0, 0.75)
    assert told.notes == (NOTE,)
    for command in ("status", "report"):
        with pytest.raises(SystemExit) as end:
            main([command, str(study.run.path)])
        assert end.value.code == 0
        assert " ".join(capsys.readouterr().out.split()).count(NOTE) == 1


def test_a_prompt_that_was_too_long_at_its_shortest_is_no_shortened_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lock: NodeLock
) -> None:
    study = Study(tmp_path, monkeypatch, rounds=1)
    long = "failed: model.context_overflow: 913 tokens of prompt exceed the context of 512"
    verdicts = [(1, long), (1, "accepted"), (2, long), (2, long), (3, long)]
    calls = tuple({"round": number, "verdict": words} for number, words in verdicts)
    told = model_summary(Knowledge(replace(study.state(), calls=calls)), None)
    assert (told.calls, told.valid, told.invalid, told.shortened) == (5, 1, 2, 2)
    said = long.removeprefix("failed: ")
    assert told.note == f"2 of the invalid ones gave no usable answer, last: {said}"
    assert not in_vain(replace(study.state(), calls=calls), 1), "its second answer was taken"
    assert in_vain(replace(study.state(), calls=calls), 3) == (
        f"no usable answer of the model in 1: {said}"
    )
    bad = ({"round": 1, "verdict": "rejected: no such core"},) * 2
    told = model_summary(Knowledge(replace(study.state(), calls=bad)), None)
    assert told.note == "the last was rejected: no such core"
    none = model_summary(Knowledge(replace(study.state(), calls=())), None)
    assert (none.calls, none.invalid, none.note) == (0, 0, ""), "a run that asked no model"


def test_a_model_waits_while_its_own_node_measures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lock: NodeLock
) -> None:
    study = Study(tmp_path, monkeypatch, rounds=1)
    assert lock.at_once()
    turns = study.turns()
    said = next(words for words in turns if "the model waits" in words)
    assert said.startswith("round 1: the model waits for round-1 (process")
    assert not study.state().proposed
    assert "the model waits" in next(turns)
    lock.let_go()
    assert next(turns).startswith("round 1: 1 configuration proposed")
    assert lock.at_once(), "the node is given back"
    lock.let_go()
    turns.close()


def test_a_run_without_a_model_does_not_ask_for_the_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lock: NodeLock
) -> None:
    assert lock.at_once()
    plain = counted_tune.settings()
    assert not Asking(plain, tmp_path / "llm.jsonl").asks_a_model
    assert not shares_node(replace(plain, scheduler="local"))
    assert not shares_node(replace(plain, model="/some.gguf"))
    assert shares_node(replace(plain, model="/some.gguf", scheduler="local"))
    lock.let_go()
