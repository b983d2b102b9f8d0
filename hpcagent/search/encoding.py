"""Configurations as numbers for a surrogate: what is enumerated once for a whole search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hpcagent.records import Config, Param

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


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
    by value is one matrix product. `coordinates` holds each parameter's values as `encode` does.
    """

    params: tuple[Param, ...]
    points: tuple[Config, ...]
    index: Mapping[Config, int]
    codes: NDArray[np.intp]
    one_hot: NDArray[np.float64]
    coordinates: tuple[NDArray[np.float64], ...]
    ordinal: tuple[bool, ...]

    @classmethod
    def of(cls, params: Sequence[Param], points: Sequence[Config]) -> Grid:
        import numpy as np

        table = codes(params, points)
        sizes = [len(param.values) for param in params]
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.intp)
        one_hot = np.zeros((len(points), sum(sizes)))
        np.put_along_axis(one_hot, table + starts, 1.0, axis=1)
        return cls(
            params=tuple(params),
            points=tuple(points),
            index={point: row for row, point in enumerate(points)},
            codes=table,
            one_hot=one_hot,
            coordinates=tuple(np.arange(len(p.values)) / _span(p) for p in params),
            ordinal=tuple(param.kind == "ordinal" for param in params),
        )
