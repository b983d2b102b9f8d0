"""Two groups of allocations: Welch's t interval for the ratio of their times."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from hpcagent.errors import UsageError
from hpcagent.measure.worker import t_quantile


@dataclass(frozen=True)
class Ratio:
    """How many times as fast the first group is as the second, with its interval.

    `degrees` of freedom are those of Student's t; `verdict` is "faster" (the whole interval is
    above 1 + the minimum effect), "slower" (likewise), "equal" (the whole interval is within the
    minimum effect) or "open".
    """

    ratio: float
    low: float
    high: float
    coverage: float
    degrees: int
    verdict: str

    def inverse(self) -> Ratio:
        """The second group against the first."""
        verdict = {"faster": "slower", "slower": "faster"}.get(self.verdict, self.verdict)
        low, high = 1.0 / self.high, 1.0 / self.low
        return Ratio(1.0 / self.ratio, low, high, self.coverage, self.degrees, verdict)


def speed_ratio(
    first: Sequence[float], second: Sequence[float], alpha: float, minimum_effect: float
) -> Ratio:
    """exp(mean of `second` - mean of `first`) of ln(time), one value an allocation.

    Variances may differ (B. L. Welch, The generalization of 'Student's' problem when several
    different population variances are involved, Biometrika 34 (1947) 28-35), with degrees of
    freedom by F. E. Satterthwaite, An approximate distribution of estimates of variance
    components, Biometrics Bulletin 2 (1946) 110-114, equation 17, rounded down: the interval is
    rather too wide than too narrow. Raises UsageError for fewer than two finite values a group.
    """
    (mean_1, error_1), (mean_2, error_2) = _mean_and_error(first), _mean_and_error(second)
    error = error_1 + error_2
    degrees = _degrees(error_1, len(first), error_2, len(second))
    half = t_quantile(1.0 - alpha, degrees) * math.sqrt(error)
    middle = mean_2 - mean_1
    low, high = _exp(middle - half), _exp(middle + half)
    verdict = _verdict(low, high, 1.0 + minimum_effect)
    return Ratio(_exp(middle), low, high, 1.0 - alpha, degrees, verdict)


def _exp(value: float) -> float:
    """exp without overflow: nobody tells e^700 from more."""
    return math.exp(max(-700.0, min(700.0, value)))


def _mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """The mean and the estimated variance of the mean."""
    n = len(values)
    if n < 2 or not all(math.isfinite(value) for value in values):
        raise UsageError("an interval needs at least two finite values a side")
    mean = math.fsum(values) / n
    return mean, math.fsum((value - mean) ** 2 for value in values) / (n - 1) / n


def _degrees(error_1: float, n_1: int, error_2: float, n_2: int) -> int:
    below = error_1**2 / (n_1 - 1) + error_2**2 / (n_2 - 1)
    least = min(n_1, n_2) - 1
    if below == 0.0:
        return least
    return max(least, math.floor((error_1 + error_2) ** 2 / below + 1e-9))


def _verdict(low: float, high: float, least: float) -> str:
    if low > least:
        return "faster"
    if high < 1.0 / least:
        return "slower"
    return "equal" if low > 1.0 / least and high < least else "open"
