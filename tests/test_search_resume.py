"""The state of a search is a fold over its journal: cut anywhere, it goes on as it would have."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_run import CHALLENGERS, SPACE, Ranker, Scripted, Simulated, ratio, run_settings

from hpcagent.llm.log import Recording, recording
from hpcagent.records import Event
from hpcagent.search.space import Space
from hpcagent.study import tune, words
from hpcagent.study.knowledge import Knowledge
from hpcagent.study.proposing import Proposer
from hpcagent.study.settings import TuneSettings
from hpcagent.study.state import fold


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("log") / "llm.jsonl"


@pytest.fixture(autouse=True, scope="module")
def scripted() -> Any:
    def opened(self: Proposer) -> Recording:
        model = Ranker() if self._settings.strategy == "model" else Scripted()
        self._recording = recording(model, "0" * 64, lambda call: None)
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


def test_a_space_of_the_default_alone_is_told_with_its_reason(log: Path) -> None:
    """Before the search: by the card's restrictions, or by what was found not to run."""
    known = Simulated("surrogate", (), log).known()
    vars(known).update({"unpruned": SPACE})
    assert words.no_winner(known) == "no configuration but the default was tried"
    assert tune._all_alike(known) is None
    narrow = Space(SPACE.params, tuple(f"{n} == '{v}'" for n, v in SPACE.default.values.items()))
    vars(known).update({"space": narrow})
    closed = tune._all_alike(known)
    assert closed is not None and closed.outcome == "nothing better"
    assert "does not run here" in closed.text
    vars(known).update({"unpruned": narrow})
    closed = tune._all_alike(known)
    assert closed is not None
    assert closed.text == "values and restrictions leave only the default"


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
