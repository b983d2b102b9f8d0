"""What every strategy has to keep; a new strategy is added to MODULES."""

from __future__ import annotations

import atexit
import importlib
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcagent.protocols import SearchSpace, Strategy
from hpcagent.records import Config, Failure, Limits, Message, Outlook, Param, Reply, Stop, Trial
from hpcagent.search.options import Options
from hpcagent.search.space import Space

MODULES = ("surrogate", "model", "embedded", "random", "exhaustive", "hillclimb")
# These start a process for every call: fewer examples.
SLOW = ("user_function", "guided")
FUNCTION = """
import itertools


def propose(space, history):
    tried = [entry["config"] for entry in history]
    names = [param["name"] for param in space["params"]]
    for values in itertools.product(*(param["values"] for param in space["params"])):
        if dict(zip(names, values)) not in tried:
            return dict(zip(names, values))
    return "STOP"


def analyse(space, history):
    return len(history)
"""


class FirstValues:
    """A scripted model: always the first value of everything, so often a visited point."""

    def complete(
        self, messages: Sequence[Message], schema: Mapping[str, Any], limits: Limits, seed: int
    ) -> Reply:
        config = schema["properties"]["config"]["properties"]
        first = {name: part["enum"][0] for name, part in config.items()}
        return Reply(json.dumps({"reason": "first", "config": first}))


class FirstPoints:
    """A scripted model that thinks the less of a point the later it comes."""

    def refusal(self, space: SearchSpace) -> str:
        return ""

    def expect(
        self, space: SearchSpace, history: Sequence[Trial], points: Sequence[Config], seed: int
    ) -> Outlook:
        order = tuple(float(n) for n in range(len(points)))
        gains, sure = tuple(1.0 / (1 + n) for n in order), tuple(1.0 for _ in order)
        return Outlook(gains, order, chances=sure, spreads=sure)


def make(name: str) -> Strategy:
    module = importlib.import_module(f"hpcagent.search.{name}")
    strategy: Strategy = module.create(
        Options(model=FirstValues(), function=function(), points=FirstPoints())
    )
    return strategy


@cache
def function() -> str:
    folder = Path(tempfile.mkdtemp(prefix="hpcagent-function-"))
    atexit.register(shutil.rmtree, folder)
    path = folder / "mine.py"
    path.write_text(FUNCTION)
    return str(path)


@st.composite
def spaces(draw: st.DrawFn) -> Space:
    params = []
    for index in range(draw(st.integers(1, 3))):
        values = tuple(map(str, range(draw(st.integers(1, 4)))))
        kind = draw(st.sampled_from(["ordinal", "categorical"]))
        params.append(Param(f"p{index}", kind, values, draw(st.sampled_from(values))))
    return Space(tuple(params))


@st.composite
def situations(draw: st.DrawFn) -> tuple[Space, list[Trial], list[Config]]:
    space = draw(spaces())
    order = draw(st.permutations(list(space.points())))
    seen = draw(st.integers(0, len(order)))
    waiting = draw(st.integers(0, min(3, len(order) - seen)))
    history = [draw(trials(config, index)) for index, config in enumerate(order[:seen])]
    return space, history, list(order[seen : seen + waiting])


@st.composite
def trials(draw: st.DrawFn, config: Config, index: int) -> Trial:
    kind = draw(st.sampled_from(["ok", "ok", "ok", "failed", "lost", "odd"]))
    failure = Failure("run", "signal", "SIGILL") if kind == "failed" else None
    ratio = draw(st.floats(-2, 2)) if kind == "ok" else None
    if kind == "odd":
        ratio = draw(st.sampled_from([float("nan"), float("inf"), 0.0]))
    spread = draw(st.sampled_from([None, 0.0, 0.01, float("nan"), -1.0]))
    return Trial(config, ratio, spread, failure, index // 4, "surrogate")


@pytest.mark.parametrize("name", MODULES)
@settings(max_examples=40, deadline=None)
@given(situation=situations(), k=st.integers(1, 5), seed=st.integers(0, 3))
def test_proposals_are_new_valid_and_distinct(
    name: str, situation: tuple[Space, list[Trial], list[Config]], k: int, seed: int
) -> None:
    check_proposals(name, situation, k, seed)


@pytest.mark.parametrize("name", SLOW)
@settings(max_examples=8, deadline=None)
@given(situation=situations(), k=st.integers(1, 3), seed=st.integers(0, 3))
def test_those_with_a_users_function_keep_it_too(
    name: str, situation: tuple[Space, list[Trial], list[Config]], k: int, seed: int
) -> None:
    check_proposals(name, situation, k, seed)


def check_proposals(
    name: str, situation: tuple[Space, list[Trial], list[Config]], k: int, seed: int
) -> None:
    space, history, pending = situation
    gone = {trial.config for trial in history} | set(pending)
    left = [config for config in space.points() if config not in gone]
    found = make(name).propose(space, history, pending, k, seed)
    if isinstance(found, Stop):
        assert found.reason
        assert not left or name in ("surrogate", "model", "guided", "embedded")
        return
    configs = [proposal.config for proposal in found]
    assert len(configs) == min(k, len(left)) > 0
    assert len(set(configs)) == len(configs)
    assert all(space.contains(config) and config not in gone for config in configs)
    assert all(proposal.reason and proposal.proposed_by for proposal in found)
    if space.default not in gone:
        assert configs[0] == space.default


@pytest.mark.parametrize("name", MODULES)
@settings(max_examples=15, deadline=None)
@given(situation=situations(), k=st.integers(1, 4))
def test_the_same_arguments_give_the_same_proposals(
    name: str, situation: tuple[Space, list[Trial], list[Config]], k: int
) -> None:
    space, history, pending = situation
    again = Space(space.params)
    used = make(name)
    used.propose(space, history[:1], pending, 2, 9)
    first = used.propose(space, history, pending, k, 1)
    assert first == make(name).propose(again, history, pending, k, 1)


@pytest.mark.parametrize("name", (*MODULES, *SLOW))
def test_nothing_asked_nothing_proposed_and_the_end_is_told(name: str) -> None:
    space = Space((Param("p", "ordinal", ("1", "2"), "1"),))
    history = [Trial(config, 0.0, 0.0, None, 0, name) for config in space.points()]
    found = make(name).propose(space, history, [], 1, 0)
    assert isinstance(found, Stop) and "2 configurations" in found.reason


@pytest.mark.parametrize("name", ["surrogate", "random", "exhaustive", "hillclimb"])
def test_a_whole_run_visits_each_point_at_most_once(name: str) -> None:
    space = Space(
        (
            Param("n", "ordinal", tuple(map(str, range(6))), "0"),
            Param("c", "categorical", ("a", "b"), "a"),
        )
    )
    history: list[Trial] = []
    strategy = make(name)
    for number in range(20):
        found = strategy.propose(space, history, [], 2, 5)
        if isinstance(found, Stop):
            break
        for proposal in found:
            values = proposal.config.values
            ratio = abs(int(values["n"]) - 4) / 10 - (values["c"] == "b") / 5
            history.append(Trial(proposal.config, ratio, 0.001, None, number, name))
    assert len({trial.config for trial in history}) == len(history)
    assert min(history, key=lambda t: t.log_ratio or 0.0).config == Config.of({"n": "4", "c": "b"})
