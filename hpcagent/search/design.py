"""The first evaluations: each categorical value early, then pairs of them, else spread out.

A choice that pays only together with another one is invisible in the main effects: the design
covers the combinations of categorical values like a covering array (Colbourn, Combinatorial
aspects of covering arrays, 2004). Distance counts, and the ends of the ordinals count a little
against a point: the farthest ones lie in corners, where most parameters are at their worst.

An ordinal with an "off" (encoding.has_off) is covered as if it had two values, off and any other.

A categorical parameter with more values than the design has evaluations (the kernels of a library)
is never covered. Every second evaluation then tries its next value with all else as in the first
evaluation, so that these can be compared with each other, whatever the rest does.

Where a choice is one between instruction sets (known.py), the design keeps to the widest that can
run: the others cost an evaluation each, and the process tries them where they may be faster. The
first of them is the default but for its instruction set: often that is all that is wrong with it.

Where it is known what won on other machines (winners.py), every second point is like that.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hpcagent.search.encoding import Grid

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


def design_size(grid: Grid) -> int:
    """Evaluations before the model takes over, the default included.

    Enough for each categorical value once, for all their combinations where these are few, and for
    two more than half the dimension, at most 8: a surrogate learns faster from its own choices
    than from a longer design. One more where instruction sets are compared.
    """
    import numpy as np

    wide = _widest(grid, np.ones(len(grid.points), dtype=bool))
    values = [np.bincount(grid.codes[wide, d]) for d in _categorical(grid)]
    categories = [int(np.count_nonzero(counts)) for counts in values]
    few = grid.combinations if grid.combinations <= LONGEST else 0
    dimension = len(grid.ordinal)
    wanted = max([2 + dimension // 2, few, *categories]) + (len(grid.octaves) > 0)
    return min(LONGEST, len(grid.points), wanted)


def next_row(grid: Grid, seen: Sequence[int], free: NDArray[np.bool_], seed: int) -> int:
    """Of 20 points drawn with `seed`, the farthest from all seen ones and from what may be slow.

    They are drawn among the free points of the widest instruction sets that show the most values,
    pairs and combinations of the categorical parameters for the first time, and where
    `among_winners`, among those most like what won elsewhere. Where what was seen `is_narrow`, and
    every second time where a categorical parameter is too long for the design, it is instead the
    nearest to the first. At least one point must be free.
    """
    import numpy as np

    wide = _widest(grid, free)
    rows = np.array(seen, dtype=np.intp)
    rng = np.random.default_rng([seed, len(seen)])
    if is_narrow(grid, seen, free):
        return _nearest(grid, seen[0], np.flatnonzero(wide), rng)
    fresh = _fresh(grid, rows)
    pool = np.flatnonzero(wide & (fresh == fresh[wide].max()))
    if len(seen) % 2 and any(len(grid.coordinates[d]) > LONGEST for d in _categorical(grid)):
        return _nearest(grid, seen[0], pool, rng)
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


def is_narrow(grid: Grid, seen: Sequence[int], free: NDArray[np.bool_]) -> bool:
    """Whether all that was seen has narrower instruction sets than the widest of the free points.

    The next point is then the first one with the widest.
    """
    sets = grid.octaves[:, _widest(grid, free)][:, :1]
    return len(seen) > 0 and not (grid.octaves[:, list(seen)] <= sets).all(axis=0).any()


def _widest(grid: Grid, free: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Those of the free points that have the widest instruction sets among them."""
    for behind in grid.octaves:
        free = free & (behind == behind[free].min())
    return free


def _nearest(grid: Grid, row: int, pool: NDArray[np.intp], rng: np.random.Generator) -> int:
    """One of those of the rows `pool` that differ least from `row`."""
    gap = _distance(grid, row, pool)
    return int(rng.choice(pool[gap <= gap.min() + _SAME]))


def _likely_winners(grid: Grid, pool: NDArray[np.intp]) -> NDArray[np.intp]:
    """Those of the rows `pool` that are most like what won elsewhere."""
    import numpy as np

    rarity = grid.rarities[:, pool].sum(axis=0)
    kept = max(_DRAWN, int(_WINNERS * len(pool)))
    return np.asarray(pool[np.argsort(rarity, kind="stable")[:kept]])


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
