"""Whether a series drifts or jumps: rank tests and robust sizes, for series in order of time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from hpcagent.measure import worker
from hpcagent.measure.statistics.dependence import centred_ranks


@dataclass(frozen=True)
class Trend:
    """`change` is that over the whole series; `p` the chance of such order without a trend."""

    change: float
    p: float


@dataclass(frozen=True)
class Shift:
    """The level is another, by `size`, from the value number `at` (counted from 0) on."""

    at: int
    size: float
    p: float


def trend(values: Sequence[float]) -> Trend:
    """A steady rise or fall: the median slope, with the p value of Kendall's rank correlation.

    P. K. Sen, Estimates of the regression coefficient based on Kendall's tau, J. Am. Stat. Assoc.
    63 (1968) 1379-1389.
    """
    if len(values) < 2:
        return Trend(0.0, 1.0)
    pairs = combinations(range(len(values)), 2)
    slope = worker.median([(values[j] - values[i]) / (j - i) for i, j in pairs])
    return Trend(slope * (len(values) - 1), kendall(range(len(values)), values)[1])


def kendall(first: Sequence[float], second: Sequence[float]) -> tuple[float, float]:
    """(tau-b, two-sided p value) of two series of equal length; (0, 1) where one is constant.

    Normal approximation with the variance for ties and a correction for continuity (M. G. Kendall,
    Rank Correlation Methods, 4th ed. 1970, chapters 3 and 4); good from about 8 values on.
    """
    n = len(first)
    score = sum(
        _sign(first[i] - first[j]) * _sign(second[i] - second[j])
        for i, j in combinations(range(n), 2)
    )
    ties_1, ties_2 = _ties(first), _ties(second)
    every = n * (n - 1) / 2.0
    free_1, free_2 = (every - _falling(ties, 2) / 2.0 for ties in (ties_1, ties_2))
    if n < 3 or free_1 == 0.0 or free_2 == 0.0:
        return 0.0, 1.0
    spread = math.sqrt(_score_variance(n, ties_1, ties_2))
    z = max(0.0, abs(score) - 1.0) / spread
    return score / math.sqrt(free_1 * free_2), math.erfc(z / math.sqrt(2.0))


def _score_variance(n: int, ties_1: Sequence[int], ties_2: Sequence[int]) -> float:
    main = n * (n - 1) * (2 * n + 5)
    main -= sum(t * (t - 1) * (2 * t + 5) for ties in (ties_1, ties_2) for t in ties)
    threes = _falling(ties_1, 3) * _falling(ties_2, 3) / (9.0 * n * (n - 1) * (n - 2))
    return main / 18.0 + threes + _falling(ties_1, 2) * _falling(ties_2, 2) / (2.0 * n * (n - 1))


def _falling(ties: Sequence[int], factors: int) -> int:
    """The sum of t (t - 1) ..., so many factors, over the groups of t equal values."""
    return sum(math.perm(t, factors) for t in ties)


def level_shift(values: Sequence[float]) -> Shift:
    """The likeliest jump: where the ranks before and after differ most, with its p value.

    A. N. Pettitt, A non-parametric approach to the change-point problem, Applied Statistics 28
    (1979) 126-135; the size is the difference of the medians on both sides.
    """
    n, total, largest, at = len(values), 0.0, 0.0, 0
    for place, rank in enumerate(centred_ranks(values)):
        total += rank
        if abs(total) > largest:
            largest, at = abs(total), place + 1
    if at == 0:
        return Shift(0, 0.0, 1.0)
    statistic = 2.0 * largest
    p = min(1.0, 2.0 * math.exp(-6.0 * statistic**2 / (n**3 + n**2)))
    return Shift(at, worker.median(values[at:]) - worker.median(values[:at]), p)


def _sign(value: float) -> int:
    return (value > 0.0) - (value < 0.0)


def _ties(values: Sequence[float]) -> list[int]:
    counts: dict[float, int] = {}
    for value in values:
        counts[value] = counts.get(value, 0) + 1
    return list(counts.values())
