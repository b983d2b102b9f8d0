"""Intervals for a median, a quantile and a mean that cover as stated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from hpcagent.errors import UsageError
from hpcagent.measure import worker


@dataclass(frozen=True)
class Interval:
    """A two-sided interval and the coverage that it has."""

    low: float
    high: float
    coverage: float


def median_interval(values: Sequence[float], coverage: float) -> Interval:
    """Interval for the median between two order statistics, of at least `coverage`.

    For independent values of any continuous distribution the k-th smallest and k-th largest of n
    enclose the median with probability 1 - 2 P(Binomial(n, 1/2) < k), exactly; ties only add to it
    (H. A. David & H. N. Nagaraja, Order Statistics, 3rd ed. 2003, section 7.1). The largest k that
    is good enough is taken. Raises UsageError where n is too small.
    """
    check_coverage(coverage)
    ordered = sorted(finite(values))
    n = len(ordered)
    needed = pairs_needed(coverage)
    if n < needed:
        raise UsageError(
            f"an interval of coverage {coverage:g} for a median needs {needed} values, not {n}; "
            "measure more pairs or ask for less coverage"
        )
    rank, tail = 1, 1  # tail = 2^n P(Binomial(n, 1/2) < rank)
    while True:
        more = tail + math.comb(n, rank)
        if rank + 1 > n - rank or 1.0 - 2.0 * (more / 2**n) < coverage:
            break
        rank, tail = rank + 1, more
    return Interval(ordered[rank - 1], ordered[n - rank], 1.0 - 2.0 * (tail / 2**n))


def quantile_interval(values: Sequence[float], quantile: float, coverage: float) -> Interval | None:
    """Interval for a quantile between two order statistics; None where there are too few values.

    Of n independent values the number below the quantile is binomial (David & Nagaraja, section
    7.1); each side misses it with (1 - coverage) / 2 at most.
    """
    check_coverage(coverage)
    ordered, n = sorted(finite(values)), len(values)
    chances = [math.comb(n, k) * quantile**k * (1.0 - quantile) ** (n - k) for k in range(n + 1)]
    tail = (1.0 - coverage) / 2.0
    low, below = 0, 0.0  # the rank, and P(fewer than that are below the quantile)
    while low < n and below + chances[low] <= tail:
        below, low = below + chances[low], low + 1
    high, above = n + 1, 0.0
    while high > 1 and above + chances[high - 1] <= tail:
        above, high = above + chances[high - 1], high - 1
    if low < 1 or high > n:
        return None
    return Interval(ordered[low - 1], ordered[high - 1], 1.0 - below - above)


def pairs_needed(coverage: float) -> int:
    """The smallest n for which minimum and maximum enclose the median with this probability."""
    check_coverage(coverage)
    n = 2
    while 1.0 - 2.0 * 0.5**n < coverage:
        n += 1
    return n


def t_interval(values: Sequence[float], coverage: float) -> Interval:
    """Student's t interval for the mean; exact for normal values only. Needs two values."""
    check_coverage(coverage)
    if len(finite(values)) < 2:
        raise UsageError("a t interval needs at least 2 values; measure more pairs")
    low, high = worker.t_interval(values, coverage)
    return Interval(low, high, coverage)


def check_coverage(coverage: float) -> None:
    if not 0.0 < coverage < 1.0 - 1e-15:
        raise UsageError(f"a coverage lies between 0 and 1, not at {coverage:g}")


def finite(values: Sequence[float]) -> Sequence[float]:
    if not all(math.isfinite(value) for value in values):
        raise UsageError("an interval needs finite values; failed runs are no values")
    return values
