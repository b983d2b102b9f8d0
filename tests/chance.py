"""Bounds for counts of successes that chance alone hardly ever passes."""

from __future__ import annotations

import math

# A test of one count fails by chance with this probability.
CHANCE = 1e-6


def binomial_cdf(k: int, n: int, p: float) -> float:
    logs = (
        math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1)
        + i * math.log(p) + (n - i) * math.log1p(-p)
        for i in range(k + 1)
    )  # fmt: skip
    return math.fsum(math.exp(value) for value in logs)


def fewest(n: int, p: float) -> int:
    """Fewer successes than this have a probability below CHANCE if each has at least p."""
    k = int(n * p)
    while binomial_cdf(k - 1, n, p) > CHANCE:
        k -= 1
    return k


def most(n: int, p: float) -> int:
    """More successes than this have a probability below CHANCE if each has at most p."""
    return n - fewest(n, 1.0 - p)
