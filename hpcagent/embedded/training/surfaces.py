"""Simulated response surfaces: what a run of a program takes, over a space of its settings."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hpcagent.embedded.training.shapes import MAKERS, Shape
from hpcagent.embedded.training.spaces import Drawn, draw
from hpcagent.records import Param

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Codes = NDArray[np.intp]

_PROBE = 256  # points by which shapes are scaled


@dataclass(frozen=True)
class Surface:
    """`true` gives ln(time) of points (N, P), infinite where it fails; `measured` one repeat each.

    `points` draws valid points: so many, or fewer where the space is small or restricted.
    `default` is one that works. `near` moves points by one or two parameters; what it gives may be
    outside, and `valid` tells.
    """

    params: tuple[Param, ...]
    cores: int | None
    true: Callable[[Codes], Array]
    measured: Callable[[Codes, Generator], Array]
    points: Callable[[int, Generator], Codes]
    valid: Callable[[Codes], NDArray[np.bool_]]
    default: Codes


def simulated(rng: Generator) -> Surface:
    """One surface of a space of its own, from a mixture that is meant to hold what tuners meet."""
    while True:
        space = draw(rng)
        valid = _restriction(space, rng)
        points = _points(space, valid)
        probe = points(_PROBE, rng)
        if len(probe) >= 12:
            break
    level = _level(space, probe, rng)
    fails = _failures(space, probe, rng)

    def true(codes: Codes) -> Array:
        return np.where(fails(codes), np.inf, level(codes))

    return Surface(
        params=space.params,
        cores=space.cores if rng.random() < 0.6 else None,
        true=true,
        measured=_measured(true, rng),
        points=points,
        valid=valid,
        default=_default(probe, true, rng),
    )


def near(params: tuple[Param, ...], codes: Codes, rng: Generator) -> Codes:
    """Each point with one or two parameters changed, ordinals by a step or two."""
    sizes = np.array([len(p.values) for p in params])
    ordinal = np.array([p.kind == "ordinal" for p in params])
    moved = codes.copy()
    rows = np.arange(len(codes))
    for again in range(2):
        who = rng.integers(len(params), size=len(codes))
        step = rng.choice((-2, -1, -1, 1, 1, 2), size=len(codes))
        stepped = np.clip(moved[rows, who] + step, 0, sizes[who] - 1)
        drawn = (rng.random(len(codes)) * sizes[who]).astype(np.intp)
        new = np.where(ordinal[who] & (rng.random(len(codes)) < 0.7), stepped, drawn)
        take = np.ones(len(codes), dtype=bool) if not again else rng.random(len(codes)) < 0.4
        moved[rows[take], who[take]] = new[take]
    return moved


def _points(
    space: Drawn, valid: Callable[[Codes], NDArray[np.bool_]]
) -> Callable[[int, Generator], Codes]:
    sizes = np.array([len(p.values) for p in space.params])

    def points(count: int, rng: Generator) -> Codes:
        drawn = (rng.random((4 * count, len(sizes))) * sizes).astype(np.intp)
        return np.asarray(drawn[valid(drawn)][:count])

    return points


def _restriction(space: Drawn, rng: Generator) -> Callable[[Codes], NDArray[np.bool_]]:
    """At times a bound on a product of sizes, or a switch that asks for another one."""
    sizes = [n for n, role in enumerate(space.roles) if role in ("size", "threads", "ranks")]
    if len(sizes) < 2 or rng.random() < 0.6:
        return lambda codes: np.ones(len(codes), dtype=bool)
    pair = rng.choice(sizes, 2, replace=False)
    axes = [space.axes[n] for n in pair]
    low, high = sum(float(a.min()) for a in axes), sum(float(a.max()) for a in axes)
    bound = low + (high - low) * rng.uniform(0.4, 0.9)
    floor = low + (high - low) * rng.uniform(0.0, 0.3) * (rng.random() < 0.4)

    def valid(codes: Codes) -> NDArray[np.bool_]:
        total = axes[0][codes[:, pair[0]]] + axes[1][codes[:, pair[1]]]
        return np.asarray((total <= bound) & (total >= floor))

    return valid


def _level(space: Drawn, probe: Codes, rng: Generator) -> Shape:
    """ln(time): a weighted sum of shapes, bent and scaled."""
    chances = np.array([chance for _, chance in MAKERS])
    count = int(rng.choice((1, 2, 3, 4), p=(0.3, 0.35, 0.25, 0.1)))
    shapes = []
    for n in rng.choice(len(MAKERS), count, p=chances / chances.sum()):
        shape = MAKERS[n][0](space, rng)
        values = shape(probe)
        weight = rng.gamma(1.0) / max(float(values.std()), 1e-9)
        shapes.append((weight, float(values.mean()), shape))

    def raw(codes: Codes) -> Array:
        return sum((w * (s(codes) - mean) for w, mean, s in shapes), np.zeros(len(codes)))

    values = raw(probe)
    spread = max(float(values.std()), 1e-6)
    scale = float(np.clip(math.exp(rng.normal(math.log(0.3), 0.9)), 0.01, 1.6))
    bend = _bend(values / spread, rng)
    rough = 0.0 if rng.random() < 0.7 else rng.uniform(0.05, 0.4)
    salt = rng.integers(1, 2**31, size=codes_width(space))

    def level(codes: Codes) -> Array:
        found = bend(raw(codes) / spread)
        if rough:
            found = found + rough * _scatter(codes, salt)
        return np.asarray(np.clip(scale * found, -3, 6))

    return level


def codes_width(space: Drawn) -> int:
    return len(space.params)


def _bend(values: Array, rng: Generator) -> Callable[[Array], Array]:
    """Times have a long tail above; some surfaces have a floor that nothing beats, or steps."""
    kind = rng.choice(4, p=(0.4, 0.35, 0.15, 0.1))
    if kind == 1:
        k = rng.uniform(0.2, 0.9)
        return lambda x: np.asarray((np.exp(k * np.clip(x, -4, 4)) - 1) / k)
    if kind == 2:
        floor = float(np.quantile(values, rng.uniform(0.02, 0.5)))
        return lambda x: np.asarray(np.maximum(x, floor) + 0.05 * np.minimum(0, x - floor))
    if kind == 3:
        width = rng.uniform(0.2, 0.8)
        return lambda x: np.asarray(np.round(x / width) * width)
    return lambda x: x


def _scatter(codes: Codes, salt: NDArray[np.int64]) -> Array:
    """A number in +-1.7 for each point, the same whenever it is asked for."""
    mixed = (codes * salt).sum(axis=1).astype(np.uint64)
    mixed = (mixed ^ (mixed >> np.uint64(15))) * np.uint64(0x2C1B3C6D)
    mixed = (mixed ^ (mixed >> np.uint64(12))) * np.uint64(0x297A2D39)
    return np.asarray(((mixed >> np.uint64(8)) % np.uint64(65536)) / 65536.0 - 0.5) * 3.46


def _failures(space: Drawn, probe: Codes, rng: Generator) -> Callable[[Codes], NDArray[np.bool_]]:
    """Values that die, sizes that do not fit, or single points without a rule; mostly none."""
    kind = rng.choice(4, p=(0.6, 0.2, 0.12, 0.08))
    salt = rng.integers(1, 2**31, size=len(space.params))
    share = rng.uniform(0.02, 0.3)
    if kind == 1:
        n = int(
            rng.choice([n for n, p in enumerate(space.params) if p.kind == "categorical"] or [0])
        )
        dead = rng.random(len(space.params[n].values)) < share
        dead[int(rng.integers(len(dead)))] = True
        if not dead.all():
            return lambda codes: np.asarray(dead[codes[:, n]])
    if kind == 2:
        weights = np.where(rng.random(len(space.params)) < 0.5, rng.gamma(1.0), 0.0)
        axes = [w * a for w, a in zip(weights, space.axes, strict=True)]
        bound = float(np.quantile(_total(axes, probe), 1 - share))
        return lambda codes: np.asarray(_total(axes, codes) > bound)
    if kind == 3:
        return lambda codes: np.asarray(_scatter(codes, salt) > 1.73 - 3.46 * share)
    return lambda codes: np.zeros(len(codes), dtype=bool)


def _total(axes: Sequence[Array], codes: Codes) -> Array:
    return sum((axis[codes[:, n]] for n, axis in enumerate(axes)), np.zeros(len(codes)))


def _measured(true: Shape, rng: Generator) -> Callable[[Codes, Generator], Array]:
    """One repeat a point: noise of a level of its own, at times with a long tail above."""
    noise = 0.0 if rng.random() < 0.25 else float(np.clip(math.exp(rng.normal(-3.5, 1.1)), 0, 0.35))
    tail = rng.random() < 0.35

    def measured(codes: Codes, draws: Generator) -> Array:
        off = draws.normal(size=len(codes))
        if tail:
            off = 0.4 * off + np.where(
                draws.random(len(codes)) < 0.3, draws.exponential(1.8, len(codes)), 0
            )
        return np.asarray(true(codes) + noise * off)

    return measured


def _default(probe: Codes, true: Shape, rng: Generator) -> Codes:
    """Somebody's choice: seldom bad, often middling, at times already the best."""
    values = true(probe)
    works = np.flatnonzero(np.isfinite(values))
    if len(works) == 0:
        return probe[:1]
    ordered = works[np.argsort(values[works])]
    place = rng.beta(1.0, 1.6) if rng.random() < 0.85 else 0.0
    return np.asarray(probe[ordered[int(place * (len(ordered) - 1))]][None])
