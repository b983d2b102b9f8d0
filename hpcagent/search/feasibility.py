"""How likely a configuration is to run at all: a model of its own, apart from the times.

Two smoothed counts, the more pessimistic one wins. By value: a value that was only ever seen to
fail is suspect, one that has worked once is nearly cleared (Laplace's rule of succession with an
optimistic prior). By neighbourhood: failures and successes weighted by nearness.
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
_PRIOR = 1.0  # successes assumed before anything was seen


def probability(grid: Grid, worked: NDArray[np.intp], failed: NDArray[np.intp]) -> Array:
    """(P,): the chance that each point of the grid runs; 1 everywhere before any failure."""
    import numpy as np

    if len(failed) == 0:
        return np.ones(len(grid.points))
    return np.minimum(_by_value(grid, worked, failed), _by_nearness(grid, worked, failed))


def _by_value(grid: Grid, worked: NDArray[np.intp], failed: NDArray[np.intp]) -> Array:
    import numpy as np

    good = grid.one_hot[worked].sum(axis=0)
    bad = grid.one_hot[failed].sum(axis=0)
    rate = (good + _PRIOR) / (good + bad * (good == 0) + _PRIOR)
    suspicion = np.log(rate)
    return np.asarray(np.exp(_least(grid, suspicion)))


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
