"""Which values, and which two values together, are to blame for what failed.

Each failure is blamed on those of its values that have never worked, and on those pairs of its
values that have never worked together and have failed before, in proportion to the blame that they
have from other failures: so what kills everything is found soon, be it one value (a core type that
the processor lacks) or a combination (too many threads for so many processes, a method that does
not converge with another). To suspect pairs from their first failure on cost evaluations where
what fails is neither (molten salt, tests/benchmarks/applications). Alike values of which none has
worked share the blame (known.py).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hpcagent.search.encoding import Grid

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Rows = NDArray[np.intp]

DOUBT = 0.2  # chance left to a cause: 0.2 / (0.2 + blame^2), so 0.17 after one sure failure
_TWICE = 2  # failures that make a pair suspect
_PAIR = 0.3  # blame that a pair begins with; a value: 1
_SURE = 0.95  # a chance of a pair that is not told from 1
_PASSES = 5  # of sharing the blame; it settles within a few


@dataclass(frozen=True)
class _Pair:
    """Two values, by their parameters and codes, and in which of the failures both were."""

    columns: tuple[int, int]
    codes: tuple[int, int]
    suspect: Array  # (failures,): 1 or 0


def by_values(grid: Grid, worked: Rows, failed: Rows) -> Array:
    """(P,): the chance of each point to run, the least among its values and pairs of them."""
    import numpy as np

    own = np.arange(grid.one_hot.shape[1])
    pairs = list(_pairs(grid, worked, failed))
    chance = _chances(grid, worked, failed, own, pairs)
    values, together = chance[: len(own)], chance[len(own) :]
    kin = _kin(grid)
    alike = np.bincount(kin)[kin] > 1
    if alike.any():
        # An instruction set that a processor lacks does not run, whatever stands beside it.
        each = [_chances(grid, worked, failed, groups, []) for groups in (own, kin)]
        values = np.where(alike, np.minimum(*each), values)
    return np.minimum(_of_values(grid, values), _of_pairs(grid, pairs, together))


def _kin(grid: Grid) -> Rows:
    """(V,): of each value the place of the first one of its family."""
    import numpy as np

    starts = np.cumsum([0, *map(len, grid.families)])[:-1]
    return np.concatenate([f + s for f, s in zip(grid.families, starts, strict=True)])


def _pairs(grid: Grid, worked: Rows, failed: Rows) -> Iterator[_Pair]:
    """What failed twice and has never worked together."""
    import numpy as np

    for a, b in itertools.combinations(range(grid.codes.shape[1]), 2):
        size = len(grid.coordinates[b])
        ran, died = (grid.codes[rows, a] * size + grid.codes[rows, b] for rows in (worked, failed))
        keys, counts = np.unique(died, return_counts=True)
        for both in np.setdiff1d(keys[counts >= _TWICE], ran).tolist():
            yield _Pair((a, b), divmod(both, size), (died == both).astype(np.float64))


def _chances(grid: Grid, worked: Rows, failed: Rows, groups: Rows, pairs: list[_Pair]) -> Array:
    """(V + pairs,): the chance of each value, and of each pair, to run.

    Values of one group are taken for one and the same.
    """
    import numpy as np

    ran = np.bincount(groups, grid.one_hot[worked].sum(axis=0))
    never_worked = (ran[groups] == 0).astype(np.float64)
    of_pairs = np.array([pair.suspect for pair in pairs]).reshape(len(pairs), len(failed)).T
    suspects = np.hstack([grid.one_hot[failed] * never_worked, of_pairs])
    blame = np.concatenate([never_worked, np.full(len(pairs), _PAIR)])
    groups = np.concatenate([groups, len(groups) + np.arange(len(pairs))])
    for _ in range(_PASSES):
        share = suspects * blame
        total = share.sum(axis=1, keepdims=True)
        by_cause = np.divide(share, total, out=np.zeros_like(share), where=total > 0).sum(axis=0)
        blame = np.bincount(groups, by_cause)[groups]
    return np.asarray(DOUBT / (DOUBT + blame * blame))


def _of_values(grid: Grid, chance: Array) -> Array:
    """(P,): the smallest entry of the table `chance` (V,) among each point's values."""
    import numpy as np

    least = np.full(len(grid.points), np.inf)
    start = 0
    for d, values in enumerate(grid.coordinates):
        table = chance[start : start + len(values)]
        least = np.minimum(least, table[grid.codes[:, d]])
        start += len(values)
    return least


def _of_pairs(grid: Grid, pairs: list[_Pair], chance: Array) -> Array:
    """(P,): the smallest chance among the pairs that each point has; 1 where it has none."""
    import numpy as np

    least = np.ones(len(grid.points))
    for pair, own in zip(pairs, chance.tolist(), strict=True):
        if own < _SURE:
            (a, b), (x, y) = pair.columns, pair.codes
            has = (grid.codes[:, a] == x) & (grid.codes[:, b] == y)
            least[has] = np.minimum(least[has], own)
    return least
