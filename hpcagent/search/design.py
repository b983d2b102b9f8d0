"""The first evaluations: spread out, and each categorical value early.

The ends of the ordinals get no preference: on recorded surfaces a design that favours them led
into the corners, where most parameters are at their worst.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hpcagent.search.encoding import Grid

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

_NOVELTY = 1.0  # a categorical value not seen yet counts as much as a parameter's whole range
_DRAWN = 20  # the best of so many random points: far from the others, yet not in a corner


def design_size(grid: Grid) -> int:
    """Evaluations before the model takes over, the default included.

    Enough for each categorical value once, and for two more than half the dimension, at most 8:
    a surrogate learns faster from its own choices than from a longer design.
    """
    categories = [
        len(v) for v, ordinal in zip(grid.coordinates, grid.ordinal, strict=True) if not ordinal
    ]
    dimension = len(grid.ordinal)
    return min(8, len(grid.points), max([2 + dimension // 2, *categories]))


def next_row(grid: Grid, seen: Sequence[int], free: NDArray[np.bool_], seed: int) -> int:
    """Of 20 free points drawn with `seed`, the farthest from all seen ones with most new values.

    Where a free point shows a categorical value for the first time, only such are drawn. At least
    one point must be free.
    """
    import numpy as np

    rows = np.array(seen, dtype=np.intp)
    fresh = (grid.one_hot[rows].sum(axis=0) == 0) & _categorical(grid)
    novelty = grid.one_hot @ fresh.astype(np.float64)
    pool = np.flatnonzero(free & (novelty > 0))
    if not len(pool):
        pool = np.flatnonzero(free)
    rng = np.random.default_rng([seed, len(seen)])
    drawn = rng.choice(pool, size=min(_DRAWN, len(pool)), replace=False)
    score = _NOVELTY * novelty[drawn]
    if len(rows):
        score += np.min([_distance(grid, int(row))[drawn] for row in rows], axis=0)
    return int(drawn[np.argmax(score)])


def _categorical(grid: Grid) -> NDArray[np.bool_]:
    """(V,): which values belong to a categorical parameter."""
    import numpy as np

    sizes = [len(values) for values in grid.coordinates]
    return np.repeat([not ordinal for ordinal in grid.ordinal], sizes)


def _distance(grid: Grid, row: int) -> Array:
    """(P,): sum over parameters of rank distance (ordinal) or 1 where values differ."""
    import numpy as np

    table = []
    for d, values in enumerate(grid.coordinates):
        gap = np.abs(values - values[grid.codes[row, d]])
        table.append(gap if grid.ordinal[d] else (gap != 0).astype(np.float64))
    return np.asarray(grid.one_hot @ np.concatenate(table))
