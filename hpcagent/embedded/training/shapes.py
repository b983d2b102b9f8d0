"""What a surface is made of: functions of a point, each drawn at random.

Every `Shape` maps (N, P) indices of values to (N,) numbers. Their scale means nothing: who adds
them up scales them first.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from hpcagent.embedded.training.spaces import Drawn

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Codes = NDArray[np.intp]

Shape = Callable[["Codes"], "Array"]
Make = Callable[[Drawn, "Generator"], Shape]


def main_effects(space: Drawn, rng: Generator) -> Shape:
    """Each parameter on its own; few of them matter much, some not at all."""
    weights = rng.gamma(0.5, size=len(space.params)) + 0.02
    weights[rng.random(len(weights)) < 0.2] = 0.0
    tables = [w * _effect(space, n, rng) for n, w in enumerate(weights)]
    return lambda codes: sum((t[codes[:, n]] for n, t in enumerate(tables)), np.zeros(len(codes)))


def smooth(space: Drawn, rng: Generator) -> Shape:
    """A draw of a Gaussian process: interactions of every order, seldom rugged.

    Random Fourier features of ranks and of an embedding of categories; the lengths differ by
    parameter.
    """
    count = 48
    rough = math.exp(rng.normal(0.3, 0.6))
    total = np.zeros((len(space.params), max(len(p.values) for p in space.params), count))
    for n, param in enumerate(space.params):
        speed = rough * rng.gamma(0.7) * (rng.random() < 0.85)
        size = len(param.values)
        if param.kind == "ordinal":
            ranks = np.arange(size) / (size - 1)
            total[n, :size] = speed * 2.5 * np.outer(ranks, rng.normal(size=count))
        else:
            total[n, :size] = speed * rng.normal(size=(size, 6)) @ rng.normal(size=(6, count)) / 2
    phase, amplitude = rng.uniform(0, 2 * math.pi, count), rng.normal(size=count)

    def value(codes: Codes) -> Array:
        angle = total[np.arange(codes.shape[1]), codes].sum(axis=1) + phase
        return np.asarray(np.cos(angle) @ amplitude)

    return value


def rotated(space: Drawn, rng: Generator) -> Shape:
    """A bowl, or ridges, in directions across the axes; a category may move it."""
    coordinates = _unit(space)
    ordinal = [n for n, p in enumerate(space.params) if p.kind == "ordinal"]
    if not ordinal:
        return main_effects(space, rng)
    other = [n for n, p in enumerate(space.params) if p.kind != "ordinal"]
    chosen = int(rng.choice(other)) if other else ordinal[0]
    values = len(space.params[chosen].values)
    shift = rng.normal(0, 0.3 if other and rng.random() < 0.5 else 0.0, (values, len(ordinal)))
    centre = rng.uniform(0.1, 0.9, len(ordinal))
    lean = rng.normal(size=(len(ordinal), len(ordinal))) / math.sqrt(len(ordinal))
    power = rng.choice((1.0, 2.0, 2.0))

    def value(codes: Codes) -> Array:
        off = np.stack([coordinates[n][codes[:, n]] for n in ordinal], axis=1) - centre
        off = off - shift[codes[:, chosen]]
        return np.asarray((np.abs(off @ lean) ** power).sum(axis=1))

    return value


def parallel(space: Drawn, rng: Generator) -> Shape:
    """Amdahl's law over threads (x ranks), contention, and what more of them than cores cost."""
    who = [n for n, role in enumerate(space.roles) if role in ("threads", "ranks")]
    if not who:
        return main_effects(space, rng)
    serial = 10 ** rng.uniform(-3, -0.3)
    sync = 10 ** rng.uniform(-4, -1.3)
    knee = space.cores * float(rng.choice((0.125, 0.25, 0.5, 1.0, 1.0)))
    over = rng.uniform(0, 2.5)
    reach = [2.0 ** space.axes[n] for n in who]
    tilt = rng.normal(0, 0.1, len(who))

    def value(codes: Codes) -> Array:
        width = [x[codes[:, n]] for x, n in zip(reach, who, strict=True)]
        workers = np.prod(width, axis=0)
        useful = np.minimum(workers, knee)
        time = serial + (1 - serial) / useful + sync * workers / space.cores
        time = np.log(time) + over * np.maximum(0, np.log2(workers / space.cores))
        return np.asarray(time + sum(t * np.log2(w) for t, w in zip(tilt, width, strict=True)))

    return value


def cliffs(space: Drawn, rng: Generator) -> Shape:
    """A working set, the product of some sizes, that leaves one cache and then the next."""
    sizes = [n for n, role in enumerate(space.roles) if role == "size"]
    if not sizes:
        return smooth(space, rng)
    chosen = rng.choice(sizes, int(rng.integers(1, min(3, len(sizes)) + 1)), replace=False)
    total = [space.axes[n] for n in chosen]
    low, high = sum(float(t.min()) for t in total), sum(float(t.max()) for t in total)
    edges = low + (high - low) * np.sort(rng.uniform(0.2, 1.1, 2))
    heights = rng.gamma(1.0, size=2)
    sharp = rng.uniform(0.5, 4)
    small, aim = rng.gamma(1.0) * 0.4, low + (high - low) * rng.uniform(0.2, 0.8)

    def value(codes: Codes) -> Array:
        work = sum((t[codes[:, n]] for t, n in zip(total, chosen, strict=True)), np.zeros(1))
        spill = [h / (1 + np.exp(-sharp * (work - e))) for h, e in zip(heights, edges, strict=True)]
        return np.asarray(spill[0] + spill[1] + small * np.maximum(0, aim - work))

    return value


def needle(space: Drawn, rng: Generator) -> Shape:
    """One combination of a few values opens what is much faster, the rest is nearly flat."""
    count = min(len(space.params), int(rng.integers(2, 4)))
    chosen = rng.choice(len(space.params), count, replace=False)
    wide = []
    for n in chosen:
        size = len(space.params[n].values)
        good = np.zeros(size, dtype=bool)
        at = int(rng.integers(size))
        good[at] = True
        if space.params[n].kind == "ordinal":
            good[max(0, at - size // 6) : at + 1 + size // 6] = True
        wide.append(good)
    under = rotated(space, rng)

    def value(codes: Codes) -> Array:
        hit = np.all([w[codes[:, n]] for w, n in zip(wide, chosen, strict=True)], axis=0)
        return np.asarray(np.where(hit, -2.0 + 0.3 * under(codes), 0.1 * under(codes)))

    return value


def tree(space: Drawn, rng: Generator) -> Shape:
    """Steps: a random tree of questions about single parameters, a number in each leaf."""
    depth = int(rng.integers(2, 7))
    nodes = 2**depth
    who = rng.integers(len(space.params), size=nodes)
    side = np.zeros((nodes, max(len(p.values) for p in space.params)), dtype=np.intp)
    for node, n in enumerate(who):
        size = len(space.params[n].values)
        if space.params[n].kind == "ordinal":
            side[node, int(rng.integers(1, size)) : size] = 1
        else:
            side[node, :size] = rng.random(size) < 0.5
    leaves = rng.normal(size=nodes)
    weights = rng.normal(size=(depth, nodes)) * (0.8 ** np.arange(depth))[:, None]

    def value(codes: Codes) -> Array:
        node = np.ones(len(codes), dtype=np.intp)
        total = np.zeros(len(codes))
        rows = np.arange(len(codes))
        for level in range(depth - 1):
            total += weights[level, node]
            node = 2 * node + side[node, codes[rows, who[node]]]
        return np.asarray(total + leaves[node])

    return value


def pairs(space: Drawn, rng: Generator) -> Shape:
    """Tables over two parameters: a category that moves the best rank of another, or no order."""
    tables = []
    for _ in range(int(rng.integers(1, 1 + len(space.params)))):
        a, b = rng.choice(len(space.params), 2, replace=False)
        table = np.stack([_effect(space, int(b), rng) for _ in space.params[a].values])
        tables.append((int(a), int(b), rng.gamma(0.7) * table))
    return lambda codes: sum(
        (t[codes[:, a], codes[:, b]] for a, b, t in tables), np.zeros(len(codes))
    )


MAKERS: tuple[tuple[Make, float], ...] = (
    (main_effects, 4.0), (smooth, 2.5), (rotated, 1.5), (parallel, 3.0), (cliffs, 2.0),
    (needle, 0.7), (tree, 1.2), (pairs, 2.0),
)  # fmt: skip


def _effect(space: Drawn, n: int, rng: Generator) -> Array:
    """(values,): what one parameter does, as a table with a spread of about one."""
    param = space.params[n]
    size = len(param.values)
    if param.kind == "categorical":
        kind = rng.integers(3)
        if kind == 0:
            return np.asarray(rng.normal(size=size))
        if kind == 1:  # one stands out
            table = 0.1 * rng.normal(size=size)
            table[int(rng.integers(size))] += rng.choice((-1.5, 2.0))
            return np.asarray(table)
        return np.asarray(rng.normal(size=min(size, 3))[rng.integers(min(size, 3), size=size)])
    x = _unit(space)[n]
    return _SHAPES[int(rng.choice(len(_SHAPES), p=_SHARES))](x, rng)


def _bowl(x: Array, rng: Generator) -> Array:
    centre = rng.beta(2, 2)
    return np.asarray(4 * (x - centre) ** 2)


def _vee(x: Array, rng: Generator) -> Array:
    left, right = rng.gamma(1.0, size=2)
    off = x - rng.beta(1.5, 1.5)
    return np.asarray(3 * np.where(off < 0, -left * off, right * off))


def _saturating(x: Array, rng: Generator) -> Array:
    run = x if rng.random() < 0.5 else 1 - x
    return np.asarray(2.5 * np.exp(-run * rng.uniform(1, 12)))


def _monotone(x: Array, rng: Generator) -> Array:
    run = x if rng.random() < 0.5 else 1 - x
    return np.asarray(2.5 * run ** rng.uniform(0.4, 2.5))


def _step(x: Array, rng: Generator) -> Array:
    return np.asarray(rng.choice((-2.0, 2.0)) * (x > rng.uniform(0.05, 0.95)))


def _wave(x: Array, rng: Generator) -> Array:
    return np.asarray(np.sin(rng.uniform(2, 12) * x + rng.uniform(0, 6)) + rng.normal() * x)


_SHAPES: tuple[Callable[[Array, Generator], Array], ...] = (
    _bowl, _vee, _saturating, _monotone, _step, _wave,
)  # fmt: skip
_SHARES = (0.3, 0.2, 0.2, 0.12, 0.08, 0.1)


def _unit(space: Drawn) -> list[Array]:
    """The axes scaled to [0, 1]."""
    found = []
    for axis in space.axes:
        span = float(axis.max() - axis.min())
        found.append((axis - axis.min()) / span if span else axis)
    return found
