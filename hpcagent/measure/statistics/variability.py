"""How much a configuration's times vary, as a result of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hpcagent.errors import UsageError
from hpcagent.measure.statistics.intervals import Interval, check_coverage, quantile_interval

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

_RESAMPLES = 4000


@dataclass(frozen=True)
class Variability:
    """How much values vary: coefficient of variation, and quartiles in the unit of the values.

    The intervals of the quartiles cover as stated for independent values, None where there are too
    few of them; that of the coefficient of variation is a bootstrap one, and covers about so.
    """

    cv: float
    cv_interval: Interval
    lower: float
    middle: float
    upper: float
    lower_interval: Interval | None
    middle_interval: Interval | None
    upper_interval: Interval | None
    count: int


def variability(values: Sequence[float], coverage: float, seed: int) -> Variability:
    """The variability of at least two positive values; the same seed gives the same intervals.

    Raises UsageError for fewer values, or one that is not positive.
    """
    import numpy as np

    cv = coefficient_of_variation(values)
    check_coverage(coverage)
    drawn = _resampled_cvs(values, np.random.default_rng(seed), _RESAMPLES)
    tail = (1.0 - coverage) / 2.0
    low, high = np.quantile(drawn, [tail, 1.0 - tail])
    lower, middle, upper = np.quantile(np.asarray(values), [0.25, 0.5, 0.75])
    return Variability(
        cv=cv,
        cv_interval=Interval(float(low), float(high), coverage),
        lower=float(lower),
        middle=float(middle),
        upper=float(upper),
        lower_interval=quantile_interval(values, 0.25, coverage),
        middle_interval=quantile_interval(values, 0.5, coverage),
        upper_interval=quantile_interval(values, 0.75, coverage),
        count=len(values),
    )


def coefficient_of_variation(values: Sequence[float]) -> float:
    """Standard deviation over mean, of at least two positive values."""
    if len(values) < 2 or not all(0.0 < value < math.inf for value in values):
        raise UsageError("a coefficient of variation needs at least 2 positive values")
    mean = math.fsum(values) / len(values)
    variance = math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return math.sqrt(variance) / mean


def cv_ratio_interval(
    numerator: Sequence[float],
    denominator: Sequence[float],
    coverage: float,
    seed: int,
    resamples: int = 4000,
) -> Interval | None:
    """Bootstrap percentile interval for CV(numerator) / CV(denominator), of independent values.

    The coverage is approximate, and low for few or heavy-tailed values (B. Efron & R. Tibshirani,
    An Introduction to the Bootstrap, 1993, chapter 14): say "about". None where a sample does not
    vary at all, so that no ratio exists.
    """
    import numpy as np

    check_coverage(coverage)
    if min(coefficient_of_variation(numerator), coefficient_of_variation(denominator)) == 0.0:
        return None
    random = np.random.default_rng(seed)
    spreads = [_resampled_cvs(side, random, resamples) for side in (numerator, denominator)]
    kept = spreads[1] > 0.0
    tail = (1.0 - coverage) / 2.0
    low, high = np.quantile(spreads[0][kept] / spreads[1][kept], [tail, 1.0 - tail])
    return Interval(float(low), float(high), coverage)


def _resampled_cvs(values: Sequence[float], random: np.random.Generator, resamples: int) -> Array:
    """The coefficients of variation of so many samples drawn with replacement."""
    import numpy as np

    drawn = random.choice(np.asarray(values, dtype=float), size=(resamples, len(values)))
    spreads: Array = drawn.std(axis=1, ddof=1) / drawn.mean(axis=1)
    return spreads
