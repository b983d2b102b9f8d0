"""Exact statistics of a share of successes: its interval, and the chance of as many by luck."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from hpcagent.errors import UsageError
from hpcagent.measure.statistics.intervals import Interval, check_coverage

_STEPS = 60  # of a bisection: far below what doubles can tell


def share_interval(successes: int, trials: int, coverage: float) -> Interval:
    """Interval for a probability, from `successes` of `trials` independent trials.

    Of Clopper and Pearson (Biometrika 26, 1934): each side leaves out those probabilities with
    which as many successes (or as few) come with less than half of 1 - coverage. It covers at
    least as stated, for any probability and number. Raises UsageError for impossible counts.
    """
    check_coverage(coverage)
    _check(successes, trials)
    half = (1.0 - coverage) / 2.0
    low = high = None
    if successes > 0:
        low = _root(lambda p: at_least(successes, trials, p) - half)
    if successes < trials:
        high = _root(lambda p: half - at_most(successes, trials, p))
    return Interval(0.0 if low is None else low, 1.0 if high is None else high, coverage)


def at_least(successes: int, trials: int, probability: float) -> float:
    """P(Binomial(trials, probability) >= successes)."""
    _check(successes, trials)
    return _sum(range(successes, trials + 1), trials, probability)


def at_most(successes: int, trials: int, probability: float) -> float:
    """P(Binomial(trials, probability) <= successes)."""
    _check(successes, trials)
    return _sum(range(successes + 1), trials, probability)


def sum_at_least(total: float, outcomes: Sequence[Sequence[float]]) -> float:
    """P(the sum of one value drawn from each of `outcomes` is at least `total`), exactly.

    Each value of a row is as likely as the others. Values are told apart to a millionth.
    """
    chances: Mapping[int, float] = {0: 1.0}
    for row in outcomes:
        after: dict[int, float] = {}
        for so_far, chance in chances.items():
            for value in row:
                key = so_far + round(value * 1e6)
                after[key] = after.get(key, 0.0) + chance / len(row)
        chances = after
    least = round(total * 1e6) - len(outcomes)  # each was rounded
    return min(1.0, math.fsum(chance for value, chance in chances.items() if value >= least))


def _sum(counts: range, trials: int, probability: float) -> float:
    p, q = probability, 1.0 - probability
    return min(1.0, math.fsum(math.comb(trials, k) * p**k * q ** (trials - k) for k in counts))


def _root(rising: Callable[[float], float]) -> float:
    low, high = 0.0, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2.0
        low, high = (low, middle) if rising(middle) > 0.0 else (middle, high)
    return (low + high) / 2.0


def _check(successes: int, trials: int) -> None:
    if not 0 <= successes <= trials or trials < 1:
        raise UsageError(f"{successes} successes of {trials} trials are impossible")
