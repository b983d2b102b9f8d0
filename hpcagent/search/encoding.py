"""Configurations as numbers for a surrogate: what is enumerated once for a whole search.

The 0 of 0, 1, 2, 4, 8 is no small value: it turns something off, or leaves it to the compiler. On
a scale of ratios it has no place, so it is put apart from the others (such values get a share of
their own in K. Kanellis et al., LlamaTune, VLDB 2022). Where the steps are equal, as in 0, 1, 2,
3 sweeps of a smoother, it is a value like any other.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hpcagent.records import Config, Param
from hpcagent.search import crowding, known, lags, winners

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

APART = 1.0  # of the range of the others: how far an "off" is from the least of them
KIN = 0.2  # how far apart values of a choice are that are known to be alike; others are at 1,
NEIGHBOURS = 0.3  # and those of a known order at this, if at one place in it, to 1, at its ends
_EQUAL = 1e-6  # of the largest step: steps that differ by less are equal
_FEWEST = 4  # values of an ordinal that has ends, and of one in which a 0 can stand apart


def codes(params: Sequence[Param], points: Sequence[Config]) -> NDArray[np.intp]:
    """(points, params): the index of each value among its parameter's values."""
    import numpy as np

    ranks = {param.name: {v: i for i, v in enumerate(param.values)} for param in params}
    names = [param.name for param in params]
    table = np.empty((len(points), len(params)), dtype=np.intp)
    for row, point in enumerate(points):
        values = dict(point.items)
        table[row] = [ranks[name][values[name]] for name in names]
    return table


def encode(params: Sequence[Param], points: Sequence[Config]) -> NDArray[np.float64]:
    """(points, params): ordinals as rank scaled to [0, 1], categoricals as their index."""
    import numpy as np

    scale = np.array([_span(param) for param in params])
    return np.asarray(codes(params, points) / scale)


def _span(param: Param) -> float:
    return float(max(1, len(param.values) - 1)) if param.kind == "ordinal" else 1.0


@dataclass(frozen=True)
class Grid:
    """All points of a space with their codes; P points, D parameters, V values in all.

    `one_hot` (P, V) marks the value of each parameter, so that a sum over parameters of a table
    by value is one matrix product. `coordinates` holds each parameter's values as `encode` does,
    but for an "off", which is at -1 and leaves [0, 1] to the others.
    `combination` (P,) numbers the joint choice of all categorical parameters, of which there are
    `combinations`. `ends` (P,) is the sum over ordinals of at least four values of (2 r - 1)^2,
    r the rank scaled to [0, 1]; an "off" is no end and counts as the mean of the others.
    `families` numbers each parameter's values, alike ones alike; `costs` (K, P) is what is known
    to be slow: both from known.py. `octaves`, `levels` and `switches`, each (some, P), tell of
    instruction sets and ways to compile how far they lag behind the foremost, `lags` holds all
    three, `ranked` whose these are, `places` where each value is in such an order: all from
    lags.py. `crowding` (0 or 1, P) is as crowding.py has it, `rarities` (W, P) as winners.py.
    """

    params: tuple[Param, ...]
    points: tuple[Config, ...]
    index: Mapping[Config, int]
    codes: NDArray[np.intp]
    one_hot: NDArray[np.float32]
    coordinates: tuple[NDArray[np.float64], ...]
    ordinal: tuple[bool, ...]
    has_off: tuple[bool, ...]
    combination: NDArray[np.intp]
    combinations: int
    ends: NDArray[np.float64]
    families: tuple[NDArray[np.intp], ...]
    costs: NDArray[np.float64]
    octaves: NDArray[np.float64]
    levels: NDArray[np.float64]
    switches: NDArray[np.float64]
    lags: NDArray[np.float64]
    ranked: tuple[bool, ...]
    places: tuple[NDArray[np.float64] | None, ...]
    crowding: NDArray[np.float64]
    rarities: NDArray[np.float64]

    @classmethod
    def of(cls, params: Sequence[Param], points: Sequence[Config]) -> Grid:
        import numpy as np

        table = codes(params, points)
        sizes = [len(param.values) for param in params]
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.intp)
        one_hot = np.zeros((len(points), sum(sizes)), dtype=np.float32)
        np.put_along_axis(one_hot, table + starts, 1.0, axis=1)
        ordinal = tuple(param.kind == "ordinal" for param in params)
        combination = _joint(table[:, ~np.array(ordinal)])
        octaves = lags.octaves(params, table)
        levels, switches = lags.levels(params, table), lags.switches(params, table)
        return cls(
            params=tuple(params),
            points=tuple(points),
            index={point: row for row, point in enumerate(points)},
            codes=table,
            one_hot=one_hot,
            coordinates=tuple(_places(param) for param in params),
            ordinal=ordinal,
            has_off=tuple(map(has_off, params)),
            combination=combination,
            combinations=int(combination.max()) + 1,
            ends=_ends(params, table),
            families=tuple(map(known.families, params)),
            costs=known.costs(params, table),
            octaves=octaves,
            levels=levels,
            switches=switches,
            lags=np.vstack([octaves, levels, switches]),
            ranked=tuple(map(lags.ranked, params)),
            places=tuple(map(lags.places, params)),
            crowding=crowding.crowding(params, table),
            rarities=winners.rarities(params, table),
        )

    def gap(self, d: int, one: NDArray[np.intp], other: NDArray[np.intp]) -> NDArray[np.float64]:
        """How far values of parameter `d` are apart, by their indices, which are broadcast.

        The rank distance of an ordinal; of a choice 0 for the same value, KIN for alike ones,
        NEIGHBOURS to 1 by the known order, else 1.
        """
        import numpy as np

        if self.ordinal[d]:
            values = self.coordinates[d]
            return np.asarray(np.abs(values[one] - values[other]))
        family = self.families[d]
        found = np.where(family[one] == family[other], KIN, 1.0)
        place = self.places[d]
        if place is not None:
            apart = NEIGHBOURS + (1.0 - NEIGHBOURS) * np.abs(place[one] - place[other])
            found = np.fmin(found, apart)  # NaN where no order is known
        return np.where(one == other, 0.0, found)


def has_off(param: Param) -> bool:
    """Whether the first value of an ordinal is a 0, or below, that is no size as the others are."""
    if param.kind != "ordinal" or len(param.values) < _FEWEST:
        return False
    try:
        numbers = [float(value) for value in param.values]
    except ValueError:
        return False
    steps = [b - a for a, b in itertools.pairwise(numbers)]
    uneven = max(steps) - min(steps) > _EQUAL * max(steps)
    return numbers[0] <= 0.0 < numbers[1] and uneven


def _places(param: Param) -> NDArray[np.float64]:
    """(values,): see `Grid.coordinates`."""
    import numpy as np

    count = len(param.values)
    if not has_off(param):
        return np.asarray(np.arange(count) / _span(param))
    return np.concatenate([[-APART], np.arange(count - 1) / (count - 2)])


def _ends(params: Sequence[Param], table: NDArray[np.intp]) -> NDArray[np.float64]:
    """(points,): see `Grid.ends`."""
    import numpy as np

    found = np.zeros(len(table))
    for d, param in enumerate(params):
        off = has_off(param)
        if param.kind != "ordinal" or len(param.values) < _FEWEST + off:
            continue
        worth = (2.0 * _places(param) - 1.0) ** 2
        if off:
            worth[0] = worth[1:].mean()
        found += worth[table[:, d]]
    return found


def _joint(table: NDArray[np.intp]) -> NDArray[np.intp]:
    """(points,): the number of each row among the distinct rows."""
    import numpy as np

    if table.shape[1] == 0:
        return np.zeros(len(table), dtype=np.intp)
    found: NDArray[np.intp] = np.unique(table, axis=0, return_inverse=True)[1]
    return found.reshape(-1)
