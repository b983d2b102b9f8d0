"""How likely a configuration is to run at all: a model of its own, apart from the times.

Two estimates, the more pessimistic one wins. By value: each failure is blamed on those of its
values that have never worked, in proportion to the blame they have from other failures, so that
the one value which kills everything is found soon; alike values of which none has worked share it
(known.py). By neighbourhood: failures and successes weighted by nearness.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hpcagent.search.encoding import Grid

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

_NEAR = 0.25  # of a parameter's range: one lengthscale of the neighbourhood
_OTHER = 0.3  # weight of a neighbour in which one categorical value differs
_PRIOR = 1.0  # successes assumed in a neighbourhood before anything was seen
DOUBT = 0.2  # chance left to a value: 0.2 / (0.2 + blame^2), so 0.17 after one sure failure
_PASSES = 5  # of sharing the blame; it settles within a few


def probability(grid: Grid, worked: NDArray[np.intp], failed: NDArray[np.intp]) -> Array:
    """(P,): the chance that each point of the grid runs; 1 everywhere before any failure."""
    import numpy as np

    if len(failed) == 0:
        return np.ones(len(grid.points))
    return np.minimum(_by_value(grid, worked, failed), _by_nearness(grid, worked, failed))


def _by_value(grid: Grid, worked: NDArray[np.intp], failed: NDArray[np.intp]) -> Array:
    import numpy as np

    own = np.arange(grid.one_hot.shape[1])
    chance = _chances(grid, worked, failed, own)
    kin = _kin(grid)
    if (kin != own).any():
        chance = np.minimum(chance, _chances(grid, worked, failed, kin))
    return _least(grid, chance)


def _kin(grid: Grid) -> NDArray[np.intp]:
    """(V,): of each value the place of the first one of its family."""
    import numpy as np

    starts = np.cumsum([0, *map(len, grid.families)])[:-1]
    return np.concatenate([f + s for f, s in zip(grid.families, starts, strict=True)])


def _chances(
    grid: Grid, worked: NDArray[np.intp], failed: NDArray[np.intp], groups: NDArray[np.intp]
) -> Array:
    """(V,): the chance of each value to run, values of one group taken for one and the same."""
    import numpy as np

    ran = np.bincount(groups, grid.one_hot[worked].sum(axis=0))
    never_worked = (ran[groups] == 0).astype(np.float64)
    suspects = grid.one_hot[failed] * never_worked
    blame = never_worked
    for _ in range(_PASSES):
        share = suspects * blame
        total = share.sum(axis=1, keepdims=True)
        by_value = np.divide(share, total, out=np.zeros_like(share), where=total > 0).sum(axis=0)
        blame = np.bincount(groups, by_value)[groups]
    return np.asarray(DOUBT / (DOUBT + blame * blame))


def _least(grid: Grid, by_value: Array) -> Array:
    """(P,): the smallest entry of the table `by_value` (V,) among each point's values."""
    import numpy as np

    least = np.full(len(grid.points), np.inf)
    start = 0
    for d, values in enumerate(grid.coordinates):
        table = by_value[start : start + len(values)]
        least = np.minimum(least, table[grid.codes[:, d]])
        start += len(values)
    return least


def _by_nearness(grid: Grid, worked: NDArray[np.intp], failed: NDArray[np.intp]) -> Array:
    import numpy as np

    rows = np.concatenate([worked, failed]).astype(np.intp)
    logs = []
    for d, values in enumerate(grid.coordinates):
        own = values[grid.codes[rows, d]]
        gap = np.abs(own[:, None] - values[None, :])
        other = np.where(gap == 0, 0.0, np.log(_OTHER))
        logs.append(-0.5 * (gap / _NEAR) ** 2 if grid.ordinal[d] else other)
    weight = np.exp(np.hstack(logs) @ grid.one_hot.T)
    good = weight[: len(worked)].sum(axis=0)
    bad = weight[len(worked) :].sum(axis=0)
    return np.asarray((good + _PRIOR) / (good + bad + _PRIOR))
