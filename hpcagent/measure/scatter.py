"""How sure a coefficient of variation is: bounds, ratios, and how many runs would be needed.

The interval of a standard deviation is that of D. G. Bonett (Approximate confidence interval for
standard deviation of nonnormal distributions, Comput. Stat. Data Anal. 50 (2006) 775-782), on the
logarithm and with the kurtosis estimated; it is taken to be no less than the normal's. For normal
noise it misses as often as stated. For heavy tails no interval from some twenty runs can: at a
stated 0.5 % the upper bound misses 2 % (Student's t, five degrees of freedom) to 6 % (exponential).
So a report says "about".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

NORMAL_KURTOSIS = 3.0
MOST_RUNS = 10_000


@dataclass(frozen=True)
class Scatter:
    """A coefficient of variation from `degrees` degrees of freedom, with the kurtosis seen."""

    cv: float
    degrees: int
    kurtosis: float = NORMAL_KURTOSIS

    def above(self, confidence: float) -> float:
        """What the coefficient is below with this confidence (infinite: nothing can be said)."""
        return self.cv * _factor(self.degrees + 1, self.kurtosis, _quantile(confidence))

    def below(self, confidence: float) -> float:
        """What the coefficient is above with this confidence."""
        n, z = self.degrees + 1, _quantile(confidence)
        if n <= z:
            return 0.0
        return self.cv * _factor(n, self.kurtosis, z, upwards=False)

    def log_error(self) -> float:
        """The standard error of ln(cv)."""
        return 0.5 * _error(self.degrees + 1, self.kurtosis)


def scatter(groups: Sequence[Sequence[float]]) -> Scatter | None:
    """The coefficient of variation within groups (allocations), pooled over their degrees.

    Differences between groups do not count. None with fewer than two positive values in each.
    """
    squares = fourths = 0.0
    degrees = 0
    for values in groups:
        if len(values) < 2 or min(values) <= 0.0:
            continue
        mean = math.fsum(values) / len(values)
        middle = _trimmed(values)
        squares += math.fsum((value / mean - 1.0) ** 2 for value in values)
        fourths += math.fsum(((value - middle) / mean) ** 4 for value in values)
        degrees += len(values) - 1
    if degrees == 0:
        return None
    if squares == 0.0:
        return Scatter(0.0, degrees)
    kurtosis = (degrees + 1) * fourths / squares**2
    return Scatter(math.sqrt(squares / degrees), degrees, max(NORMAL_KURTOSIS, kurtosis))


def runs_needed(seen: Scatter, bound: float, confidence: float) -> int | None:
    """Runs after which the same scatter would be below `bound` with this confidence.

    None where it never would be, or only after more than MOST_RUNS.
    """
    z = _quantile(confidence)
    low, high = max(5, math.ceil(z) + 1), MOST_RUNS
    if seen.cv == 0.0 or seen.cv * _factor(high, seen.kurtosis, z) >= bound:
        return low if seen.cv == 0.0 else None
    while low < high:
        middle = (low + high) // 2
        if seen.cv * _factor(middle, seen.kurtosis, z) < bound:
            high = middle
        else:
            low = middle + 1
    return low


def log_ratio_interval(one: Scatter, other: Scatter, coverage: float) -> tuple[float, float]:
    """About `coverage` for ln(cv of one / cv of the other); both cv above zero.

    D. G. Bonett, Robust confidence interval for a ratio of standard deviations, Appl. Psychol.
    Meas. 30 (2006) 432-439.
    """
    middle = math.log(one.cv / other.cv)
    half = _quantile(0.5 + coverage / 2.0) * math.hypot(one.log_error(), other.log_error())
    return middle - half, middle + half


def _quantile(confidence: float) -> float:
    return NormalDist().inv_cdf(confidence)


def _error(n: int, kurtosis: float) -> float:
    """The standard error of the logarithm of a variance from n values."""
    return math.sqrt(max(0.0, kurtosis - (n - 3.0) / n) / (n - 1.0))


def _factor(n: int, kurtosis: float, z: float, upwards: bool = True) -> float:
    """From a standard deviation to the bound of its true value."""
    if n <= z:
        return math.inf
    reach = z * _error(n, kurtosis)
    return math.exp(0.5 * (math.log(n / (n - z)) + (reach if upwards else -reach)))


def _trimmed(values: Sequence[float]) -> float:
    """The mean without a share of 1 / (2 sqrt(n - 4)) at each end."""
    n = len(values)
    cut = int(n / (2.0 * math.sqrt(n - 4.0))) if n > 5 else 0
    kept = sorted(values)[cut : n - cut]
    return math.fsum(kept) / len(kept)
