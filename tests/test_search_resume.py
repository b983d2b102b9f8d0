"""The state of a search is a fold over its journal: cut anywhere, it goes on as it would have."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcagent.llm.log import Recording
from hpcagent.records import Config, Event, Limits, Message, Param, Reply
from hpcagent.search.function_file import EXAMPLE, digest
from hpcagent.search.space import Space
from hpcagent.study.knowledge import Knowledge
from hpcagent.study.proposing import Proposer
from hpcagent.study.settings import TuneSettings
from hpcagent.study.state import TuneState, fold, proposal_to

FACTS = json.loads(
    (Path(__file__).parent / "fixtures/probe/recorded-debian12-node1-icelake.json").read_text()
)
SPACE = Space(
    (
        Param("x", "ordinal", tuple(map(str, range(7))), "5"),
        Param("n", "ordinal", ("1", "2", "4", "8", "16", "32"), "2", limit="upper"),
        Param("core", "categorical", ("auto", "ZEN", "HASWELL"), "auto"),
    ),
    ("core != 'ZEN' or x > 0",),
)
ROUNDS, CHALLENGERS, AHEAD = 5, 3, 2
AT = "2026-05-01T12:00:00Z"


class Scripted:
    """Picks a candidate of the menu, which one depends on the prompt; sometimes nonsense."""

    def complete(
        self, messages: Sequence[Message], schema: Mapping[str, Any], limits: Limits, seed: int
    ) -> Reply:
        menu = messages[1].text.partition("candidates:")[2].splitlines()
        rows = [line.partition(" -> ")[0] for line in menu if " -> " in line]
        pick = zlib.crc32(messages[-1].text.encode()) % (len(rows) + 1)
        if pick == len(rows):
            return Reply("nonsense")
        values = dict(part.split("=") for part in rows[pick].split())
        return Reply(json.dumps({"reason": "scripted", "config": values}))


def run_settings(strategy: str) -> TuneSettings:
    function = str(EXAMPLE) if strategy in ("user-function", "guided") else ""
    return TuneSettings(
        app="openblas", seed=7, scheduler="local", strategy=strategy, rounds=ROUNDS,
        challengers=CHALLENGERS, ahead=AHEAD, cores=2, function=function,
        function_sha256=digest(EXAMPLE) if function else "",
    )  # fmt: skip


def ratio(config: Config) -> float | None:
    """What is measured: a bowl, a good core type, and no memory beyond n=8."""
    v = config.values
    if int(v["n"]) > 8:
        return None
    bowl = 0.02 * (int(v["x"]) - 2) ** 2 - 0.1 * math.log2(int(v["n"]))
    return bowl - 0.05 * (v["core"] == "ZEN")


def runs_of(configs: Sequence[Config], index: int) -> list[dict[str, Any]]:
    rows = []
    for order, config in enumerate((SPACE.default, *configs)):
        value = ratio(config)
        for pair in range(1, 4):
            tremor = 0.002 * ((zlib.crc32(f"{config.id}{pair}{index}".encode()) % 100) / 50 - 1)
            if value is None:
                failed = {"status": "failed", "signal": 9, "message": "Killed"}
                rows.append({"config": config.id, "pair": 1, "order": order, **failed})
                break
            measured = {"status": "ok", "objective": value + tremor, "medians": {"k": 1.0}}
            rows.append({"config": config.id, "pair": pair, "order": order, **measured})
    return rows


class Simulated:
    """A run without jobs: its events, written as the agent would."""

    def __init__(self, strategy: str, events: Sequence[Event], log: Path) -> None:
        self.events = list(events)
        self._known: Knowledge | None = None
        self._settings = run_settings(strategy)
        self._proposer = Proposer(self._settings, log)
        if not self.events:
            data = {"version": "1", "settings": self._settings.to_json()}
            self.write("run_opened", json.loads(json.dumps(data)))
            self.write("facts", {"unit": "", "raw": FACTS})

    def write(self, kind: str, data: Mapping[str, Any]) -> None:
        self.events.append(Event(len(self.events), AT, kind, json.loads(json.dumps(data))))

    def state(self) -> TuneState:
        return fold(self.events)

    def known(self) -> Knowledge:
        """From the one before, as the agent has it."""
        state = self.state()
        known = Knowledge(state) if self._known is None else self._known.after(state)
        vars(known).update({"unpruned": SPACE, "space": SPACE})
        self._known = known
        return known

    def to_the_end(self) -> list[Event]:
        while self.step():
            pass
        self._proposer.close()
        return self.events

    def step(self) -> bool:
        state = self.state()
        if "search_ended" in state.decisions:
            return self.finish_one(state)
        begun = {unit.purpose for unit in state.units}
        index = len(begun) + 1
        if len(state.open_units) == AHEAD or index > ROUNDS:
            return self.finish_one(state)
        if index not in state.proposed:
            proposals, stop = self._proposer.propose(self.known(), index, lambda call: None)
            if stop is not None and not proposals:
                self.write("decision", {"what": "search_ended", "reason": stop})
            else:
                rows = [proposal_to(proposal) for proposal in proposals]
                self.write("proposed", {"round": index, "proposals": rows})
            return True
        unit = {"unit": f"u{index}", "kind": "round", "purpose": f"round-{index}", "attempt": 1,
                "resources": {"walltime_s": 60}, "spec": {}}  # fmt: skip
        self.write("unit_intent", unit)
        return True

    def finish_one(self, state: TuneState) -> bool:
        if not state.open_units:
            return False
        unit = state.open_units[0]
        index = int(unit.purpose.removeprefix("round-"))
        configs = [proposal.config for proposal in state.proposed[index]]
        data = {"unit": unit.name, "state": "COMPLETED", "failure": None, "job_seconds": 1.0,
                "runs": runs_of(configs, index)}  # fmt: skip
        self.write("unit_result", data)
        return True


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("log") / "llm.jsonl"


@pytest.fixture(autouse=True, scope="module")
def scripted() -> Any:
    def opened(self: Proposer) -> Recording:
        self._recording = Recording(Scripted(), "0" * 64, lambda call: None)
        return self._recording

    patch = pytest.MonkeyPatch()
    patch.setattr(Proposer, "_open_model", opened)
    yield
    patch.undo()


@cache
def uninterrupted(strategy: str, log: Path) -> tuple[Event, ...]:
    return tuple(Simulated(strategy, (), log).to_the_end())


STRATEGIES = ("surrogate", "random", "hillclimb", "exhaustive", "model", "user-function", "guided")


@pytest.mark.parametrize("strategy", STRATEGIES)
@settings(max_examples=5, deadline=None)
@given(data=st.data())
def test_cut_anywhere_the_search_goes_on_as_it_would_have(
    strategy: str, log: Path, data: st.DataObject
) -> None:
    """Two rounds are out at once, so that cuts fall between proposals with others pending."""
    whole = uninterrupted(strategy, log)
    cut = data.draw(st.integers(2, len(whole) - 1))
    resumed = Simulated(strategy, whole[:cut], log).to_the_end()
    assert [(e.type, e.data) for e in resumed] == [(e.type, e.data) for e in whole]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_simulated_runs_say_something(strategy: str, log: Path) -> None:
    """Rounds overlap, nothing is proposed twice, and sizes that ran out are bisected."""
    state = fold(uninterrupted(strategy, log))
    configs = [p.config for row in state.proposed.values() for p in row]
    assert len(configs) == len(set(configs)) >= 6 and all(map(SPACE.contains, configs))
    by = {p.proposed_by for row in state.proposed.values() for p in row}
    expected = {"user-function": "user-function", "model": "model", "guided": "model"}
    assert expected.get(strategy, strategy) in by
    assert sum(ratio(config) is None for config in configs) <= 3


def test_a_target_that_is_reached_ends_the_search(log: Path) -> None:
    whole = uninterrupted("surrogate", log)
    known = Knowledge(fold(whole))
    vars(known).update({"unpruned": SPACE, "space": SPACE})
    found = run_settings("surrogate")
    reached = TuneSettings(**{**vars(found), "target": 1.05})
    proposals, stop = Proposer(reached, log).propose(known, 9, lambda call: None)
    assert not proposals and stop is not None
    assert stop.startswith("the target of 1.05x is reached in the search: core=")
    never = TuneSettings(**{**vars(found), "target": 900.0})
    stop = Proposer(never, log).propose(known, 9, lambda call: None)[1]
    assert "target" not in (stop or "")


def test_a_changed_function_and_its_problems_are_told(log: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("def propose(space, history):\n    print('hello')\n    return 1\n")
    found = run_settings("surrogate")
    changed = {"strategy": "user-function", "function": str(path), "function_sha256": "a" * 64}
    proposer = Proposer(TuneSettings(**{**vars(found), **changed}), tmp_path / "llm.jsonl")
    known = Simulated("surrogate", (), log).known()
    proposals, _ = proposer.propose(known, 1, lambda call: None)
    assert [p.proposed_by for p in proposals] == ["surrogate"] * CHALLENGERS
    told = proposer.decisions
    assert "it was aaaaaaaaaaaa when the run was opened, and is now" in told["function"]["reason"]
    assert told["function-1"]["reason"].endswith("(3 tries)")
    kept = (tmp_path / "function.log").read_text()
    assert kept.count("--- round 1, try") == 3 and kept.count("hello") == 3
    path.unlink()
    again, _ = proposer.propose(known, 2, lambda call: None)
    assert again and "cannot be read any more" in proposer.decisions["function"]["reason"]
