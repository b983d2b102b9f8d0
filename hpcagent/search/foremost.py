"""The points that are foremost in all that names tell, and what the design makes of them.

Values that lag behind others (lags.py) and crowded CPUs (crowding.py) count together. The design
keeps to the foremost that run: the others cost an evaluation each, and the process tries them
where they may be faster. The first of them is the default with these values changed: often that is
all that is wrong with it. Where that is clearly slower the design keeps to nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hpcagent.records import Config, Param
from hpcagent.search.lags import each

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from hpcagent.search.encoding import Grid

    Array = NDArray[np.float64]
    Mask = NDArray[np.bool_]
    Rows = NDArray[np.intp]

SAME = 1e-9  # sums of lags that differ by less are equal
_SLOWER = 0.15  # log time ratio: more than noise makes of two alike


def foremost(grid: Grid, free: Mask) -> Mask:
    """(P,): those of the free points whose lags are the least in sum."""
    import numpy as np

    total = behind(grid)
    return np.asarray(free & (total <= total[free].min() + SAME))


def hastened(params: Sequence[Param], config: Config) -> Config:
    """The configuration with each value that is known to lag behind replaced by the foremost."""
    values = config.values
    for param in params:
        told = each(param)
        total = {v: sum(lags[i] or 0.0 for lags in told) for i, v in enumerate(param.values)}
        best = min(param.values, key=lambda value: total[value])
        if total[best] < total[values[param.name]]:
            values[param.name] = best
    return Config.of(values)


def spread(grid: Grid, free: Mask) -> Mask:
    """(P,): the foremost of the free points, and of each value of a choice without a known order.

    Restrictions may leave such a value without points among the foremost, and it is to be seen.
    """
    import numpy as np

    if not len(grid.lags) + len(grid.crowding):
        return free
    fast = foremost(grid, free)
    found = fast.copy()
    for d, ordinal in enumerate(grid.ordinal):
        if ordinal or grid.ranked[d]:
            continue
        has = np.bincount(grid.codes[fast, d], minlength=len(grid.coordinates[d])) > 0
        for value in np.unique(grid.codes[free, d]):
            if not has[value]:
                found |= foremost(grid, free & (grid.codes[:, d] == value))
    return found


def disproved(grid: Grid, worked: Rows, values: Array) -> bool:
    """Whether all that is ahead of the first point measured was clearly slower than it.

    `values` (worked,) are logarithms of times.
    """
    ahead = (grid.lags[:, worked] <= grid.lags[:, worked[:1]]).all(axis=0)
    ahead &= (grid.lags[:, worked] < grid.lags[:, worked[:1]]).any(axis=0)
    return bool(ahead.any()) and float(values[ahead].min() - values[0]) > _SLOWER


def lags_behind(grid: Grid, seen: Sequence[int], fast: Mask) -> bool:
    """Whether all that was seen lags behind the foremost of the points `fast`."""
    total = behind(grid)
    return len(seen) > 0 and bool(total[list(seen)].min() > total[fast].min() + SAME)


def behind(grid: Grid) -> Array:
    """(P,): the lags of each point in sum."""
    import numpy as np

    return np.asarray(grid.lags.sum(axis=0) + grid.crowding.sum(axis=0))
