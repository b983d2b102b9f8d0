"""The design stays near the fastest point where all else that was measured is far slower."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from searches import COMPILED, FASTEST, SIZES, choice, grid_of, of, ordinal

from hpcagent.records import Config, Stop, Trial
from hpcagent.search.evidence import Evidence
from hpcagent.search.nearby import near_fastest
from hpcagent.search.opening import NEAR, SPREAD
from hpcagent.search.prior import Prior
from hpcagent.search.space import Space
from hpcagent.search.surrogate import Surrogate

SPACE = Space(
    (
        choice("solver", "amg", "pcg", "gmres"),
        choice("order", "natural", "transposed"),
        replace(ordinal("block", SIZES), default="64"),
        replace(ordinal("levels", ("1", "2", "3", "4", "5")), default="3"),
        choice("place", "in", "out"),
    )
)
GRID = grid_of(SPACE)


def far(**values: str) -> Config:
    other = {"solver": "gmres", "order": "transposed", "block": "256", "levels": "1"}
    return Config.of({**SPACE.default.values, **other, **values})


def after(space: Space, *measured: tuple[Config, float], eligible: bool = True) -> Evidence:
    """What is known when these times were measured, and whether the first keeps a constraint."""
    history = [Trial(c, math.log(t), 0.0, None, 0, "") for c, t in measured]
    history[0] = replace(history[0], eligible=eligible)
    grid = grid_of(space)
    return Evidence.of(grid, Prior().over(grid), history, ())


def changes(state: Evidence, config: Config) -> list[int]:
    """How many values of each point that is left differ from this one's."""
    codes = state.grid.codes
    left = near_fastest(state, state.free)
    return (codes[left] != codes[state.grid.index[config]]).sum(axis=1).tolist()


def test_two_changes_at_most_where_the_others_take_twice_the_time() -> None:
    state = after(SPACE, (SPACE.default, 1.0), (far(), 1.7))
    assert set(changes(state, SPACE.default)) == {1, 2}


def test_a_start_that_was_drawn_is_nobodys_choice() -> None:
    history = [Trial(SPACE.default, 0.0, 0.0, None, 0, ""), Trial(far(), 1.0, 0.0, None, 1, "")]
    drawn = Evidence.of(GRID, Prior(chosen_default=False).over(GRID), history, ())
    assert near_fastest(drawn, drawn.free).tolist() == drawn.free.tolist()


def test_the_fastest_is_the_middle_whichever_it_is() -> None:
    state = after(SPACE, (SPACE.default, 2.5), (far(), 1.0), (far(place="out", block="16"), 2.2))
    assert set(changes(state, far())) == {1, 2}


@pytest.mark.parametrize("others", [(1.6,), (0.7,), (3.0, 1.2, 1.3), ()])
def test_everywhere_while_the_rest_is_not_shown_to_be_far_slower(others: tuple[float, ...]) -> None:
    measured = [(far(block=size), t) for size, t in zip(SIZES, others, strict=False)]
    state = after(SPACE, (SPACE.default, 1.0), *measured)
    assert near_fastest(state, state.free).tolist() == state.free.tolist()


def test_what_was_thought_slow_shows_nothing() -> None:
    """The default of a program that is compiled for an old machine is slow for that alone."""
    lagging = after(COMPILED, (of(), 3.0), (of("x86-64-v3"), 2.5), (FASTEST, 1.0))
    assert near_fastest(lagging, lagging.free).tolist() == lagging.free.tolist()
    alike = Config.of({**FASTEST.values, "tile": "16"})
    state = after(COMPILED, (of(), 3.0), (FASTEST, 1.0), (alike, 2.1))
    assert set(changes(state, FASTEST)) == {1, 2}


def test_what_breaks_a_constraint_is_not_the_fastest() -> None:
    state = after(SPACE, (SPACE.default, 0.1), (far(), 1.0), (far(place="out"), 3.0),
                  (far(block="16"), 2.0), eligible=False)  # fmt: skip
    assert set(changes(state, far())) == {1, 2}
    nobody = after(SPACE, (SPACE.default, 1.0), eligible=False)
    assert near_fastest(nobody, nobody.free).tolist() == nobody.free.tolist()


@given(st.lists(st.floats(0.1, 10.0), min_size=2, max_size=8), st.integers(0, 10**6))
def test_there_is_always_a_point_and_never_one_that_is_not_free(
    times: list[float], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.choice(len(GRID.points), size=len(times), replace=False)
    state = after(SPACE, *((GRID.points[r], t) for r, t in zip(rows, times, strict=True)))
    usable = state.free & (rng.random(len(state.free)) < 0.05)
    left = near_fastest(state, usable)
    assert left.any() == usable.any()
    assert not (left & ~usable).any()


def steep(values: dict[str, str]) -> float:
    """Every change costs, but for two that pay a little."""
    default = SPACE.default.values
    changed = {name for name, value in values.items() if value != default[name]}
    return 0.45 * len(changed - {"order", "place"}) - 0.1 * len(changed & {"order", "place"})


def searched(factor: float, count: int) -> list[tuple[Trial, str]]:
    """So many evaluations of a space so steep, each with the reason for it."""
    strategy, told = Surrogate(), list[tuple[Trial, str]]()
    while len(told) < count:
        found = strategy.propose(SPACE, [trial for trial, _ in told], [], 1, 3)
        assert not isinstance(found, Stop)
        config, number = found[0].config, len(told)
        trial = Trial(config, factor * steep(config.values), 0.0, None, number, "")
        told.append((trial, found[0].reason))
    return told


def measured(factor: float, count: int) -> list[Trial]:
    return [trial for trial, _ in searched(factor, count)]


def opening(factor: float, count: int) -> list[tuple[str, int]]:
    """The reason of each proposal, and how many changes it is from the fastest of those before."""
    told = searched(factor, count)
    before = [[trial for trial, _ in told[:done]] for done in range(1, count)]
    fastest = [min(trials, key=lambda t: t.log_ratio or 0.0).config.values for trials in before]
    return [
        (reason, sum(v != values[n] for n, v in trial.config.items))
        for (trial, reason), values in zip(told[1:], fastest, strict=True)
    ]


def test_the_design_of_a_steep_space_says_that_it_stays_near() -> None:
    reasons = [reason for reason, _ in opening(2.0, 4)]
    assert reasons == [SPREAD, NEAR, NEAR]
    assert all(changes <= 2 for reason, changes in opening(2.0, 4) if reason == NEAR)


def test_the_design_of_an_even_space_looks_around() -> None:
    told = opening(0.2, 4)
    assert {reason for reason, _ in told} == {SPREAD}
    assert max(changes for _, changes in told) > 2


def follows_what_is_expected(history: list[Trial]) -> bool:
    """Whether the next evaluation is the one that promises most, not one to learn from."""
    (found,) = Surrogate().candidates(SPACE, history, [], 1, 3)
    return found.improvement == found.promise


def test_nothing_is_explored_while_all_else_is_far_slower() -> None:
    steep_one, even_one = measured(2.0, 6), measured(0.2, 6)
    assert follows_what_is_expected(steep_one)
    assert not follows_what_is_expected(even_one)


def test_it_explores_again_once_much_is_nearly_as_fast() -> None:
    history = measured(2.0, 6)
    fast = [Trial(config, 0.1, 0.0, None, 7, "") for config in SPACE.neighbours(SPACE.default)]
    fresh = [trial for trial in fast if trial.config not in {t.config for t in history}]
    assert len(fresh) >= 8
    assert not follows_what_is_expected(history + fresh[:8])
