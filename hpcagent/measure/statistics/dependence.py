"""Whether the pairs depend on one another, and an interval for the case that they do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

from hpcagent.measure import worker
from hpcagent.measure.statistics.intervals import Interval

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# One-sided. Independent pairs look dependent this often, which widens their interval and costs
# some claims; it makes no false one.
LEVEL = 0.05
_LEAST = 4  # pairs, below which nothing can be seen
# How large a correlation is a short series hardly tells: where there is some, this one is reckoned
# with. Of 0.8 to 0.95 and what was seen, it made the fewest false claims (docs/benchmarks.md).
ASSUMED = 0.9
_BISECTIONS = 40


@dataclass(frozen=True)
class Dependence:
    """Serial correlation of neighbouring values.

    `correlation` is that of the ranks, corrected for its bias in short series; `p` the chance of
    more, of independent values.
    """

    correlation: float
    p: float

    @property
    def found(self) -> bool:
        return self.p < LEVEL

    @property
    def words(self) -> str:
        return (
            f"neighbouring pairs are alike (rank correlation {self.correlation:.2f}): they say "
            "less than independent ones, and the interval is wider for it"
        )


def dependence(values: Sequence[float]) -> Dependence:
    """Serial correlation at lag 1 of the ranks of `values`, which are in the order of time.

    With the moments of P. A. P. Moran (Some theorems on time series II, Biometrika 35 (1948)
    255-260): mean -1/n, variance (n-2)^2 / (n^2 (n-1)); ranks as A. Wald & J. Wolfowitz (An exact
    test for randomness, Ann. Math. Stat. 14 (1943) 378-388), so that no outlier hides it.
    """
    n = len(values)
    ranks = centred_ranks(values)
    squares = math.fsum(rank * rank for rank in ranks)
    if n < _LEAST or squares == 0.0:
        return Dependence(0.0, 1.0)
    seen = math.fsum(a * b for a, b in pairwise(ranks)) / squares
    z = (seen + 1.0 / n) * n * math.sqrt(n - 1.0) / (n - 2.0)
    real = (seen + 1.0 / n) / (1.0 - 3.0 / n)
    return Dependence(min(1.0, real), math.erfc(z / math.sqrt(2.0)) / 2.0)


def widened(interval: Interval, values: Sequence[float]) -> Interval:
    """The interval for dependent values: about its coverage, where it was exact for others.

    It holds all the values, and the mean give or take what it may be off in an autoregression of
    the correlation ASSUMED.
    """
    n, mean = len(values), math.fsum(values) / len(values)
    quantile = mean_quantile(interval.coverage, n, ASSUMED)
    half = quantile * math.sqrt(worker.variance(values) / n)
    low, high = min(min(values), mean - half), max(max(values), mean + half)
    return Interval(low, high, interval.coverage)


@lru_cache(maxsize=256)
def mean_quantile(coverage: float, n: int, correlation: float) -> float:
    """t such that |mean - true mean| <= t sd / sqrt(n) with probability `coverage`.

    Of n values of a normal autoregression of order 1; sd is theirs, as it is estimated. Student's
    t of n - 1 degrees where the correlation is 0. Holds for 1 - coverage down to about 1e-8.
    """
    import numpy as np

    places = np.arange(n)
    covariance = correlation ** np.abs(places[:, None] - places)
    factor = np.linalg.cholesky(covariance)
    ones = np.full((n, n), 1.0 / n)
    of_mean, of_sd = factor.T @ ones @ factor, factor.T @ (np.eye(n) - ones) @ factor / (n - 1)
    low, high = -10.0, 30.0  # of ln t
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2.0
        form = of_mean / math.exp(2.0 * middle) - of_sd
        if 1.0 - _chance_positive(np.linalg.eigvalsh(form)) < coverage:
            low = middle
        else:
            high = middle
    return math.exp((low + high) / 2.0)


def _chance_positive(weights: NDArray[np.float64]) -> float:
    """P(sum of weights_i z_i^2 > 0) of independent standard normal z.

    The integral of J. P. Imhof (Computing the distribution of quadratic forms in normal variables,
    Biometrika 48 (1961) 419-426), over the logarithm of its variable: there it is smooth and ends
    flat on both sides, so that the trapezoidal rule is as good as exact.
    """
    import numpy as np

    step = 0.02
    scaled = np.exp(np.arange(-25.0, 25.0, step))[:, None] * (weights / np.abs(weights).max())
    angle = np.arctan(scaled).sum(axis=1) / 2.0
    log_size = np.log1p(scaled * scaled).sum(axis=1) / 4.0
    return 0.5 + float(np.sum(np.sin(angle) * np.exp(-log_size))) * step / math.pi


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
