"""Whether the process has found anything yet: its own choices against those made without it.

On a rough surface the process may be wrong for a whole run: it takes what it cannot explain for
noise, and walks among the neighbours of its best points. What it chose is then no faster than what
the design chose, which knew nothing; drawing at random is better until something faster is found.
Where measurements are noisy the same would be seen of a process that knows a lot, so nothing is
concluded unless the noise was measured and is small. The comparison is the Mann-Whitney statistic,
which no outlier and no scale has a part in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hpcagent.search.evidence import Evidence

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

LEAST = 3  # choices of each kind, to compare them
EVEN = 0.5  # chance of a choice to be faster than one made without the process
NOISY = 0.25  # share of the variance of what was seen: more noise than that hides a skill
PATIENCE = 2  # evaluations that the process has after something faster was found


def lost(state: Evidence, blind: NDArray[np.bool_], left_out: NDArray[np.bool_]) -> bool:
    """Whether the next point is better drawn at random.

    `blind` (n,) marks those of `worked` that were chosen without the process, `left_out` (n,) those
    that count on neither side. Nothing is lost while what has been found is new.
    """
    import numpy as np

    without = state.values[blind & ~left_out]
    chosen = state.values[~blind & ~left_out]
    if min(len(without), len(chosen)) < LEAST or not state.allowed.any():
        return False
    fastest = int(np.argmin(np.where(state.allowed, state.values, np.inf)))
    if len(state.values) - 1 - fastest < PATIENCE or not _quiet(state):
        return False
    return chance_faster(chosen, without) <= EVEN


def _quiet(state: Evidence) -> bool:
    import numpy as np

    noise = float(np.mean(state.spreads**2))
    return state.told and noise < NOISY * float(state.values.var())


def chance_faster(ours: Array, theirs: Array) -> float:
    """The share of pairs in which ours is the faster one; a tie is half a pair."""
    import numpy as np

    gap = theirs[None, :] - ours[:, None]
    return float(np.mean((gap > 0) + 0.5 * (gap == 0)))
