"""Spaces as tuners meet them, drawn at random."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hpcagent.embedded.layout import role_of
from hpcagent.embedded.vocabulary import SLOTS
from hpcagent.records import Param

if TYPE_CHECKING:
    import numpy as np
    from numpy.random import Generator
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

CORES = (2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128)
_WEIGHTS = (1, 3, 4, 4, 4, 4, 3, 3, 2, 1, 1)  # of 2, 3, ... parameters


@dataclass(frozen=True)
class Drawn:
    """A space, its cores, and `axes`: per parameter the values as numbers on a scale of their own.

    An axis is the logarithm (base 2) of sizes, threads and ranks, and else the rank; zeros for a
    categorical.
    """

    params: tuple[Param, ...]
    cores: int
    axes: tuple[Array, ...]

    @property
    def roles(self) -> tuple[str, ...]:
        return tuple(role_of(param) for param in self.params)


def draw(rng: Generator) -> Drawn:
    """2 to 12 parameters; in half of the spaces threads, in some ranks x threads or only tiles."""
    import numpy as np

    count = 2 + int(rng.choice(len(_WEIGHTS), p=np.array(_WEIGHTS) / sum(_WEIGHTS)))
    cores = int(rng.choice(CORES))
    params = []
    if rng.random() < 0.5:
        params.append(_threads("threads", cores, rng))
        if rng.random() < 0.25:
            params.append(_threads("ranks", cores, rng))
    if rng.random() < 0.3:
        params.append(_categorical("core", int(rng.integers(3, 21))))
    tiles = rng.dirichlet((1.0, 0.6, 1.0, 1.0))
    while len(params) < count:
        name = f"x{len(params)}"
        kind = int(rng.choice(4, p=tiles))
        if kind == 0:
            params.append(_sizes(name, rng))
        elif kind == 1:
            params.append(_steps(name, rng))
        elif kind == 2:
            params.append(_categorical(name, 2))
        else:
            params.append(_categorical(name, int(rng.integers(3, 8))))
    params = [params[n] for n in rng.permutation(len(params))][:SLOTS]
    return Drawn(tuple(params), cores, tuple(_axis(param) for param in params))


def shrunk(rng: Generator, param: Param, most: int) -> Param:
    """A parameter with at most so many of its values, for surfaces that were recorded."""
    if len(param.values) <= most:
        return param
    keep = sorted(rng.choice(len(param.values), most, replace=False).tolist())
    values = tuple(param.values[n] for n in keep)
    return Param(param.name, param.kind, values, values[0])


def _threads(name: str, cores: int, rng: Generator) -> Param:
    most = cores * int(rng.choice((1, 1, 1, 2)))
    ladder = {n for n in (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256) if n <= most}
    if rng.random() < 0.4:
        ladder = {n for n in ladder if math.log2(n).is_integer()}
    return _ordinal(name, sorted(ladder | {cores}))


def _sizes(name: str, rng: Generator) -> Param:
    first = 2.0 ** int(rng.integers(0, 8))
    count = int(rng.integers(3, 12))
    if rng.random() < 0.65:
        values = [first * 2.0**n for n in range(count)]
    elif rng.random() < 0.5:
        values = sorted(
            {first * 2.0**n for n in range(count)} | {1.5 * first * 2.0**n for n in range(1, count)}
        )
    else:
        values = [max(4.0, first) * n for n in range(1, int(rng.integers(5, 32)))]
    return _ordinal(name, [int(x) for x in values])


def _steps(name: str, rng: Generator) -> Param:
    first = int(rng.integers(0, 30))
    return _ordinal(name, [first + n for n in range(int(rng.integers(3, 13)))])


def _ordinal(name: str, values: list[int]) -> Param:
    texts = tuple(str(x) for x in values[:32])
    return Param(name, "ordinal", texts, texts[0])


def _categorical(name: str, count: int) -> Param:
    return Param(name, "categorical", tuple(f"v{n}" for n in range(count)), "v0")


def _axis(param: Param) -> Array:
    import numpy as np

    if param.kind == "categorical":
        return np.zeros(len(param.values))
    if role_of(param) == "ordinal":
        return np.arange(len(param.values), dtype=np.float64)
    return np.asarray(np.log2([float(x) for x in param.values]))
