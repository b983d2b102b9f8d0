"""Whether the pairs depend on one another, and an interval for the case that they do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from hpcagent.measure import worker
from hpcagent.measure.statistics.intervals import Interval

# One-sided. Independent pairs look dependent this often, which widens their interval and costs
# some claims; it makes no false one.
LEVEL = 0.05
_LEAST = 4  # pairs, below which nothing can be seen
_MOST = 0.98  # correlation; above it, no number of pairs in one allocation would do


@dataclass(frozen=True)
class Dependence:
    """Serial correlation of neighbouring values, and how many independent values they are worth.

    `correlation` is that of the ranks, corrected for its bias in short series; `p` the chance of
    more, of independent values; `effective` is n where `found` is False.
    """

    correlation: float
    p: float
    effective: int
    found: bool

    @property
    def words(self) -> str:
        return (
            f"neighbouring pairs are alike (rank correlation {self.correlation:.2f}): they count "
            f"as {self.effective} independent ones, and the interval is wider for it"
        )


def dependence(values: Sequence[float]) -> Dependence:
    """Serial correlation at lag 1 of the ranks of `values`, which are in the order of time.

    With the moments of P. A. P. Moran (Some theorems on time series II, Biometrika 35 (1948)
    255-260): mean -1/n, variance (n-2)^2 / (n^2 (n-1)); ranks as A. Wald & J. Wolfowitz (An exact
    test for randomness, Ann. Math. Stat. 14 (1943) 378-388), so that no outlier hides it. n values
    of an autoregression are worth n (1 - r) / (1 + r) independent ones.
    """
    n = len(values)
    ranks = centred_ranks(values)
    squares = math.fsum(rank * rank for rank in ranks)
    if n < _LEAST or squares == 0.0:
        return Dependence(0.0, 1.0, n, False)
    seen = math.fsum(a * b for a, b in pairwise(ranks)) / squares
    z = (seen + 1.0 / n) * n * math.sqrt(n - 1.0) / (n - 2.0)
    p = math.erfc(z / math.sqrt(2.0)) / 2.0
    real = min(_MOST, (seen + 1.0 / n) / (1.0 - 3.0 / n))
    if p >= LEVEL:
        return Dependence(real, p, n, False)
    return Dependence(real, p, max(2, math.floor(n * (1.0 - real) / (1.0 + real))), True)


def widened(interval: Interval, values: Sequence[float], seen: Dependence) -> Interval:
    """The interval for dependent values: about its coverage, where it was exact for others.

    It holds all the values and Student's t interval for as many as they are worth.
    """
    mean = math.fsum(values) / len(values)
    quantile = worker.t_quantile(interval.coverage, seen.effective - 1)
    half = quantile * math.sqrt(worker.variance(values) / seen.effective)
    low, high = min(min(values), mean - half), max(max(values), mean + half)
    return Interval(low, high, interval.coverage)


def centred_ranks(values: Sequence[float]) -> list[float]:
    """Ranks less their mean; equal values share the mean of their ranks."""
    order = sorted(range(len(values)), key=lambda i: values[i])
    ranks = [0.0] * len(values)
    start = 0
    while start < len(order):
        end = start
        while end + 1 < len(order) and values[order[end + 1]] == values[order[start]]:
            end += 1
        for place in order[start : end + 1]:
            ranks[place] = (start + end) / 2.0 - (len(values) - 1) / 2.0
        start = end + 1
    return ranks
