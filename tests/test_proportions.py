"""Exact statistics of shares, against sums over all outcomes."""

from __future__ import annotations

import itertools
from math import comb

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcagent.errors import UsageError
from hpcagent.measure.statistics.proportions import (
    at_least,
    at_most,
    share_interval,
    sum_at_least,
)

PROBABILITIES = st.floats(0.0, 1.0)


@settings(max_examples=40, deadline=None)
@given(trials=st.integers(1, 25), p=PROBABILITIES, coverage=st.sampled_from([0.8, 0.95, 0.99]))
def test_the_interval_covers_at_least_as_stated(trials: int, p: float, coverage: float) -> None:
    covered = 0.0
    for successes in range(trials + 1):
        interval = share_interval(successes, trials, coverage)
        assert interval.low <= successes / trials <= interval.high
        if interval.low <= p <= interval.high:
            covered += comb(trials, successes) * p**successes * (1 - p) ** (trials - successes)
    assert covered >= coverage - 1e-9


def test_known_intervals() -> None:
    nothing = share_interval(0, 10, 0.95)
    assert (nothing.low, round(nothing.high, 4)) == (0.0, 0.3085)  # 1 - 0.025 ** (1 / 10)
    half = share_interval(5, 10, 0.95)
    assert (round(half.low, 4), round(half.high, 4)) == (0.1871, 0.8129)


@given(trials=st.integers(1, 30), data=st.data(), p=PROBABILITIES)
def test_both_tails_make_one(trials: int, data: st.DataObject, p: float) -> None:
    successes = data.draw(st.integers(1, trials))
    assert at_least(successes, trials, p) + at_most(successes - 1, trials, p) == pytest.approx(1)


@settings(max_examples=30, deadline=None)
@given(
    rows=st.lists(st.lists(st.sampled_from([0.0, 0.2, 1 / 3, 1.0]), min_size=1, max_size=3),
                  min_size=1, max_size=5),
    total=st.floats(-0.5, 5.5),
)  # fmt: skip
def test_the_chance_of_a_sum_is_that_of_all_outcomes(rows: list[list[float]], total: float) -> None:
    sums = [sum(outcome) for outcome in itertools.product(*rows)]
    near = [value for value in sums if abs(value - total) < 1e-4]
    if not near:
        wanted = sum(value >= total for value in sums) / len(sums)
        assert sum_at_least(total, rows) == pytest.approx(wanted)


def test_a_sum_that_is_reached_exactly_counts() -> None:
    thirds = [[0.0, 1 / 3, 2 / 3, 1.0]] * 4
    assert sum_at_least(4.0, thirds) == pytest.approx(1 / 256)
    assert sum_at_least(sum([1 / 3, 2 / 3, 1.0, 1.0]), thirds) > sum_at_least(3.2, thirds)


@pytest.mark.parametrize(("successes", "trials"), [(-1, 3), (4, 3), (0, 0)])
def test_impossible_counts_are_refused(successes: int, trials: int) -> None:
    with pytest.raises(UsageError, match="impossible"):
        share_interval(successes, trials, 0.95)
