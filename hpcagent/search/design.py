"""The first evaluations: each categorical value early, then pairs of them, else spread out.

A choice that pays only together with another one is invisible in the main effects: the design
covers the combinations of categorical values like a covering array (Colbourn, Combinatorial
aspects of covering arrays, 2004). Distance counts, and the ends of the ordinals count a little
against a point: the farthest ones lie in corners, where most parameters are at their worst.

An ordinal with an "off" (encoding.has_off) is covered as if it had two values, off and any other.

A categorical parameter with more values than the design has evaluations (the kernels of a library)
is never covered. Every second evaluation then tries its next value with all else as in the first
evaluation, so that these can be compared with each other, whatever the rest does.

Where it is known what won on other machines (winners.py), every second point is like that. Where it
is known which values of a choice lag behind others, the points are among the foremost
(foremost.py).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hpcagent.search.encoding import Grid
from hpcagent.search.foremost import lags_behind, spread

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

LONGEST = 8  # evaluations of the design, the default included
_END = 0.4  # of a range: what an ordinal at its end costs a point in the comparison of distances
_COST = 0.3  # of a range: what 1 of what is known to be slow costs it there
_WINNERS = 0.01  # of the points: those most like what won elsewhere, if that is known
_SAME = 1e-9  # distances that differ by less are equal
_DRAWN = 20  # the best of so many random points: far from the others, yet not in a corner


def design_size(grid: Grid, seen: Sequence[int] = ()) -> int:
    """Evaluations before the model takes over, the default included, which is the first of `seen`.

    Enough for each categorical value once, for all their combinations where these are few, and for
    two more than half the dimension, at most 8: a surrogate learns faster from its own choices
    than from a longer design. Of values that lag behind others only the foremost count (lags.py),
    and one more where the default lags.
    """
    import numpy as np

    fast = spread(grid, np.ones(len(grid.points), dtype=bool))
    categories = [_distinct(grid.codes[fast, d]) for d in _categorical(grid)]
    combinations = _distinct(grid.combination[fast])
    few = combinations if combinations <= LONGEST else 0
    wanted = max([2 + len(grid.ordinal) // 2, few, *categories])
    return min(LONGEST, len(grid.points), wanted + lags_behind(grid, seen[:1], fast))


def next_row(grid: Grid, seen: Sequence[int], free: NDArray[np.bool_], seed: int) -> int:
    """Of 20 points drawn with `seed`, the farthest from all seen ones and from what may be slow.

    They are drawn among the free points that show the most values, pairs and combinations of the
    categorical parameters for the first time, and where `among_winners`, among those most like
    what won elsewhere. Where a categorical parameter is too long for the design, every second one
    is instead nearest to the first. At least one point must be free.
    """
    import numpy as np

    rows = np.array(seen, dtype=np.intp)
    fresh = _fresh(grid, rows)
    pool = np.flatnonzero(free & (fresh == fresh[free].max()))
    rng = np.random.default_rng([seed, len(seen)])
    if len(seen) % 2 and any(len(grid.coordinates[d]) > LONGEST for d in _categorical(grid)):
        gap = _distance(grid, seen[0], pool)
        return int(rng.choice(pool[gap <= gap.min() + _SAME]))
    if among_winners(grid, seen):
        pool = _likely_winners(grid, pool)
    drawn = rng.choice(pool, size=min(_DRAWN, len(pool)), replace=False)
    slow = _END * grid.ends[drawn] + _COST * grid.costs[:, drawn].sum(axis=0)
    gaps = [_distance(grid, int(row), drawn) for row in rows]
    worth = np.min(gaps, axis=0) - slow if gaps else -slow
    return int(drawn[np.argmax(worth)])


def among_winners(grid: Grid, seen: Sequence[int]) -> bool:
    """Whether the next point of the design is one like those that won elsewhere: every second one.

    A design of these alone sees little of the space, and is misled where the winner is another.
    """
    return len(grid.rarities) > 0 and len(seen) % 2 == 0


def _likely_winners(grid: Grid, pool: NDArray[np.intp]) -> NDArray[np.intp]:
    """Those of the rows `pool` that are most like what won elsewhere."""
    import numpy as np

    rarity = grid.rarities[:, pool].sum(axis=0)
    kept = max(_DRAWN, int(_WINNERS * len(pool)))
    return np.asarray(pool[np.argsort(rarity, kind="stable")[:kept]])


def _distinct(codes: NDArray[np.intp]) -> int:
    import numpy as np

    return int(np.count_nonzero(np.bincount(codes)))


def _categorical(grid: Grid) -> list[int]:
    return [d for d, ordinal in enumerate(grid.ordinal) if not ordinal]


def _fresh(grid: Grid, rows: NDArray[np.intp]) -> Array:
    """(P,): what a point would show first, a value before any number of pairs, these before all."""
    import numpy as np

    names = _categorical(grid)
    codes = grid.codes
    found = np.zeros(len(codes))
    for d in names:
        found += len(names) ** 2 * ~np.isin(codes[:, d], codes[rows, d])
    for a, b in itertools.combinations(names, 2):
        pair = codes[:, a] * len(grid.coordinates[b]) + codes[:, b]
        found += ~np.isin(pair, pair[rows])
    for d, off in enumerate(grid.has_off):
        if off:
            found += max(1, len(names)) ** 2 * ~np.isin(codes[:, d] == 0, codes[rows, d] == 0)
    if grid.combinations <= LONGEST:
        found += 0.5 * ~np.isin(grid.combination, grid.combination[rows])
    return found


def _distance(grid: Grid, row: int, others: NDArray[np.intp]) -> Array:
    """(others,): sum over parameters of rank distance (ordinal) or 1 where values differ.

    An "off" is at 1 from any other value: were it farther away, half of the design would be there.
    """
    import numpy as np

    found = np.zeros(len(others))
    for d, values in enumerate(grid.coordinates):
        gap = np.abs(values[grid.codes[others, d]] - values[grid.codes[row, d]])
        found += np.minimum(gap, 1.0) if grid.ordinal[d] else gap != 0
    return found
