"""Where a search stays near the fastest point: where most of the space is far slower.

The default of a program is somebody's choice, and what names tell has mended it (foremost.py).
Where other points that are as far ahead take 1.65 times as long and more, what is to gain is a few
changes away, and points far off tell no more than that it is slow there: the design does not go
there, and nothing is explored (improving.py). Of a start that was drawn this is not so: recorded
kernels of GPUs, which name no default, are searched worse by it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hpcagent.search.acquisition import median
from hpcagent.search.foremost import SAME, behind

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from hpcagent.search.evidence import Evidence

    Mask = NDArray[np.bool_]

_FAR_SLOWER = 0.5  # log time ratio, of the median of the others to the fastest
_CHANGES = 2  # parameters


def near_fastest(state: Evidence, free: Mask) -> Mask:
    """(P,): those of the free points that differ from the fastest in two parameters at most.

    All of them while nothing shows that the rest is far slower, or where none is near.
    """
    if not far_slower(state):
        return free
    fastest = state.worked[_fastest(state)]
    changes = (state.grid.codes != state.grid.codes[fastest]).sum(axis=1)
    near = free & (changes <= _CHANGES)
    return near if near.any() else free


def far_slower(state: Evidence) -> bool:
    """Whether what was measured beside the fastest is far slower, in the middle.

    Points that lag behind the fastest in what is known do not show it: they were thought slow
    before. It ends by itself: near the fastest more and more turn out to be fast.
    """
    if not state.belief.chosen_default or not state.allowed.any():
        return False
    place = _fastest(state)
    lags = behind(state.grid)[state.worked]
    alike = lags <= lags[place] + SAME
    alike[place] = False
    return bool(alike.any()) and median(state.values[alike]) - state.values[place] >= _FAR_SLOWER


def _fastest(state: Evidence) -> int:
    """The place, among what was measured, of the fastest that breaks no constraint."""
    import numpy as np

    return int(np.argmin(np.where(state.allowed, state.values, np.inf)))
