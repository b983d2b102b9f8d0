"""How instruction sets lead the first evaluations, where a choice is one between them (known.py).

The design keeps to the widest that run: the others cost an evaluation each, and the process tries
them where they may be faster. The first of them is the default with another instruction set: often
that is all that is wrong with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hpcagent.search.encoding import Grid

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Mask = NDArray[np.bool_]
    Rows = NDArray[np.intp]


def widest(grid: Grid, free: Mask) -> Mask:
    """(P,): those of the free points that have the widest instruction sets among them."""
    for behind in grid.octaves:
        free = free & (behind == behind[free].min())
    return free


def that_run(grid: Grid, free: Mask, worked: Rows, failed: Rows) -> Mask:
    """(P,): the free points, but for what is as wide as what failed while nothing as wide ran.

    All of them where that leaves none.
    """
    import numpy as np

    found = free
    for behind in grid.octaves:
        ran = behind[worked].min(initial=np.inf)
        too_wide = behind[failed][behind[failed] < ran].max(initial=-np.inf)
        found = found & (behind > too_wide)
    return found if found.any() else free


def is_narrow(grid: Grid, seen: Sequence[int], wide: Mask) -> bool:
    """Whether all that was seen has narrower instruction sets than the points of `wide`."""
    sets = grid.octaves[:, wide][:, :1]
    return len(seen) > 0 and not (grid.octaves[:, list(seen)] <= sets).all(axis=0).any()
