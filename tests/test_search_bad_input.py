"""Odd histories and odd samples: every strategy goes on, or says in one line why it cannot."""

from __future__ import annotations

import importlib
from collections.abc import Sequence

import pytest

from hpcagent.protocols import Strategy
from hpcagent.records import Config, Failure, Param, Stop, Trial
from hpcagent.search.options import Options
from hpcagent.search.space import Space

SPACE = Space(
    (
        Param("n", "ordinal", tuple(map(str, range(8))), "3"),
        Param("c", "categorical", ("a", "b", "d"), "a"),
    )
)
STRATEGIES = ("surrogate", "random", "hillclimb", "exhaustive")


def make(name: str) -> Strategy:
    strategy: Strategy = importlib.import_module(f"hpcagent.search.{name}").create(Options())
    return strategy


def proposals(name: str, history: Sequence[Trial]) -> list[Config]:
    found = make(name).propose(SPACE, history, [], 4, 1)
    assert not isinstance(found, Stop)
    return [proposal.config for proposal in found]


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), -float("inf"), 0.0, -800.0, 800.0, None]
)
@pytest.mark.parametrize("spread", [None, 0.0, -1.0, float("nan"), float("inf"), 1e300])
def test_samples_that_are_nonsense_or_constant(
    name: str, value: float | None, spread: float | None
) -> None:
    """All alike, so that nothing can be learned; the proposals are new and valid all the same."""
    history = [Trial(config, value, spread, None, 1, "") for config in SPACE.points()[:12]]
    found = proposals(name, history)
    gone = {trial.config for trial in history}
    assert len(set(found)) == 4 and not gone & set(found) and all(map(SPACE.contains, found))


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_history_from_a_space_that_has_changed(name: str) -> None:
    """Other values, other parameters, fewer and more of them: they are not taken for points."""
    stage = [
        {"n": "99", "c": "a"}, {"n": "1"}, {"n": "1", "c": "a", "gone": "1"}, {"other": "x"}, {},
    ]  # fmt: skip
    ill = Failure("run", "signal", "SIGILL")
    history = [
        Trial(Config.of(values), -1.0 if n % 2 else None, 0.1, None if n % 2 else ill, 1, "")
        for n, values in enumerate(stage)
    ]
    known = [
        Trial(config, 0.1 * n, 0.01, None, 2, "") for n, config in enumerate(SPACE.points()[:5])
    ]
    found = proposals(name, [*history, *known])
    assert len(set(found)) == 4 and all(map(SPACE.contains, found))
    foreign = [trial.config for trial in history]
    first = make(name).propose(SPACE, known, foreign, 4, 1)
    assert not isinstance(first, Stop) and all(SPACE.contains(p.config) for p in first)


@pytest.mark.parametrize("name", STRATEGIES)
def test_when_everything_failed_the_search_goes_on(name: str) -> None:
    ill = Failure("run", "signal", "SIGILL")
    history = [Trial(config, None, None, ill, 1, "") for config in SPACE.points()[:15]]
    assert len(proposals(name, history)) == 4
