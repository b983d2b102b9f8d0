"""How likely a configuration is to run at all: a model of its own, apart from the times.

Two estimates, the more pessimistic one wins: by the values that failed (blame.py), and by
neighbourhood, failures and successes weighted by nearness.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hpcagent.search.blame import by_values
from hpcagent.search.encoding import Grid

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Rows = NDArray[np.intp]

_NEAR = 0.25  # of a parameter's range: one lengthscale of the neighbourhood
_OTHER = 0.3  # weight of a neighbour in which one categorical value differs
_PRIOR = 1.0  # successes assumed in a neighbourhood before anything was seen


def probability(grid: Grid, worked: Rows, failed: Rows) -> Array:
    """(P,): the chance that each point of the grid runs; 1 everywhere before any failure."""
    import numpy as np

    if len(failed) == 0:
        return np.ones(len(grid.points))
    return np.minimum(by_values(grid, worked, failed), _by_nearness(grid, worked, failed))


def _by_nearness(grid: Grid, worked: Rows, failed: Rows) -> Array:
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
