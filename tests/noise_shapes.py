"""Noise of many shapes, for simulations: what a quiet node does, and what a shared one does to it.

A shape gives ln(time) without the configuration's part, for `rounds` rounds of `slots` processes,
one after the other: an array (rounds, slots). It meets whatever runs in the slot.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from hpcagent.measure import worker

Array = NDArray[np.float64]
Shape = Callable[[np.random.Generator, int, int], Array]


def normal(random: np.random.Generator, rounds: int, slots: int) -> Array:
    return random.normal(0.0, 0.02, (rounds, slots))


def student(random: np.random.Generator, rounds: int, slots: int) -> Array:
    """Student's t with 2 degrees of freedom: no variance."""
    return 0.02 * random.standard_t(2, (rounds, slots))


def cauchy(random: np.random.Generator, rounds: int, slots: int) -> Array:
    return 0.02 * random.standard_cauchy((rounds, slots))


def lognormal(random: np.random.Generator, rounds: int, slots: int) -> Array:
    return 0.05 * random.lognormal(0.0, 1.0, (rounds, slots))


def outliers(random: np.random.Generator, rounds: int, slots: int) -> Array:
    """One process of ten is slowed, by 30 % on average; none is ever sped up."""
    hit = random.random((rounds, slots)) < 0.1
    return _quiet(random, rounds, slots) + hit * random.exponential(0.3, (rounds, slots))


def drift(random: np.random.Generator, rounds: int, slots: int) -> Array:
    rise = np.linspace(0.0, 0.3, slots) * random.choice([-1.0, 1.0], (rounds, 1))
    return rise + _quiet(random, rounds, slots)


def waves(period: float) -> Shape:
    """A sinus; 4 and 8 processes are in step with orders that are reversed in every second pair."""

    def shape(random: np.random.Generator, rounds: int, slots: int) -> Array:
        phase = random.random((rounds, 1)) + np.arange(slots) / period
        return 0.1 * np.sin(2.0 * np.pi * phase) + _quiet(random, rounds, slots)

    return shape


def bursts(length: int, count: int) -> Shape:
    """So many disturbances of so many consecutive processes in a round, 50 % each."""

    def shape(random: np.random.Generator, rounds: int, slots: int) -> Array:
        noise = _quiet(random, rounds, slots)
        place = np.arange(slots)
        for _ in range(count):
            start = random.integers(0, slots, (rounds, 1))
            noise += 0.5 * ((place >= start) & (place < start + length))
        return noise

    return shape


def two_modes(random: np.random.Generator, rounds: int, slots: int) -> Array:
    """Each process is in one of two modes, 10 % apart."""
    return _quiet(random, rounds, slots) + 0.1 * (random.random((rounds, slots)) < 0.4)


def sticky(dwell: float) -> Shape:
    """Two modes, 10 % apart, each left after `dwell` processes on average (a Markov chain)."""

    def shape(random: np.random.Generator, rounds: int, slots: int) -> Array:
        left = random.random((rounds, slots)) < 1.0 / dwell
        left[:, 0] = random.random(rounds) < 0.5
        return 0.1 * (np.cumsum(left, axis=1) % 2) + _quiet(random, rounds, slots)

    return shape


def correlated(correlation: float) -> Shape:
    """A stationary autoregression of first order, standard deviation 3 %."""

    def shape(random: np.random.Generator, rounds: int, slots: int) -> Array:
        noise = random.normal(size=(rounds, slots))
        for slot in range(1, slots):
            fresh = np.sqrt(1.0 - correlation**2) * noise[:, slot]
            noise[:, slot] = correlation * noise[:, slot - 1] + fresh
        return 0.03 * noise

    return shape


def coarse_clock(random: np.random.Generator, rounds: int, slots: int) -> Array:
    """Times in steps of 1 %: many ties."""
    return np.round(random.normal(0.0, 0.02, (rounds, slots)), 2)


def _quiet(random: np.random.Generator, rounds: int, slots: int) -> Array:
    return random.normal(0.0, 0.005, (rounds, slots))


# Noise that meets whatever runs.
SHARED: dict[str, Shape] = {
    "normal": normal,
    "t, 2 degrees": student,
    "Cauchy": cauchy,
    "lognormal": lognormal,
    "one-sided outliers": outliers,
    "drift": drift,
    "waves of 4": waves(4),
    "waves of 8": waves(8),
    "waves of 30": waves(30),
    "bursts of 2": bursts(2, 6),
    "bursts of 5": bursts(5, 3),
    "two modes": two_modes,
    "sticky modes, 3": sticky(3),
    "sticky modes, 20": sticky(20),
    "autoregression 0.5": correlated(0.5),
    "autoregression 0.9": correlated(0.9),
    "coarse clock": coarse_clock,
}


def one_noisy(random: np.random.Generator, rounds: int, pairs: int) -> tuple[Array, Array]:
    shape = (rounds, pairs)
    return random.normal(0.0, 0.05, shape), random.normal(0.0, 0.005, shape)


def each_its(shape: Shape) -> Callable[[np.random.Generator, int, int], tuple[Array, Array]]:
    """Noise that one side has to itself, pair after pair, whatever the other does."""

    def sides(random: np.random.Generator, rounds: int, pairs: int) -> tuple[Array, Array]:
        return shape(random, rounds, pairs), shape(random, rounds, pairs)

    return sides


# Noise of a side of its own: (first, second), each (rounds, pairs).
SIDED = {
    "one side noisy": one_noisy,
    "each its modes": each_its(two_modes),
}
# The same, depending on what it was in the pair before: no order of the processes averages it out.
PERSISTENT = {
    "each its sticky modes, 3": each_its(sticky(3)),
    "each its sticky modes, 10": each_its(sticky(10)),
    "each its autoregression 0.5": each_its(correlated(0.5)),
    "each its autoregression 0.8": each_its(correlated(0.8)),
}


def signs(rounds: int, pairs: int, balanced: bool) -> Array:
    """1 where the worker runs the first of two configurations last, else -1: (rounds, pairs)."""
    first = [
        [worker.cycle_order(["a", "b"], seed, pair, balanced)[0] for pair in range(1, pairs + 1)]
        for seed in range(rounds)
    ]
    return np.where(np.array(first) == "a", -1.0, 1.0)


def log_ratios(name: str, random: np.random.Generator, order: Array) -> Array:
    """ln ratios of two equal configurations that ran in this order, (rounds, pairs) like it."""
    rounds, pairs = order.shape
    if name in SHARED:
        noise = SHARED[name](random, rounds, 2 * pairs)
        return order * (noise[:, 1::2] - noise[:, ::2])
    first, second = {**SIDED, **PERSISTENT}[name](random, rounds, pairs)
    return first - second


def challengers(
    name: str, random: np.random.Generator, rounds: int, count: int, pairs: int
) -> Array:
    """ln ratios of `count` challengers to a reference, all equal: (rounds, count, pairs).

    In the order of a round of the search: random, and reversed in every second cycle.
    """
    noise = SHARED[name](random, rounds, (count + 1) * pairs).reshape(rounds, pairs, count + 1)
    drawn = np.argsort(random.random((rounds, (pairs + 1) // 2, count + 1)), axis=2)
    order = np.stack([drawn, drawn[:, :, ::-1]], axis=2).reshape(rounds, -1, count + 1)[:, :pairs]
    met = np.empty_like(noise)
    np.put_along_axis(met, order, noise, axis=2)
    return np.swapaxes(met[:, :, 1:] - met[:, :, :1], 1, 2)
