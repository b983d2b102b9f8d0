"""Beliefs as linear trends beside the process; what is measured decides how much they count.

Before anything is measured an ordinal is thought to be a little slower at its ends than in its
middle, for people list values to bracket the good ones; a point off the hints of a card slower than
one on them; what is known of blocks of GPU threads, instruction sets, ways to compile and crowded
CPUs is thought to hold (known.py, lags.py, crowding.py); and what an earlier run saw as far as that
run is trusted.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from hpcagent.search.encoding import Grid
from hpcagent.search.gp import Trends
from hpcagent.search.prior import Belief

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

ENDS = 0.3  # an ordinal at its end is thought to cost 0.3 / sqrt(D) standard deviations,
HINT = 0.6  # and what is as far off a hint as can be 0.6 / sqrt(D)
UNSURE = 0.8  # how uncertain both are, in the same unit
KNOWN, KNOWN_SPREAD = 0.4, 0.4  # standard deviations that 1 of each of the grid's costs is thought
# What an octave of an instruction set or of crowding, or a step of compiling,
LAG, LAG_SPREAD = 0.5, 0.5
WON, WON_SPREAD = 0.5, 0.5  # and what a unit of rarity among winners elsewhere is
EARLIER_SPREAD = 0.5  # how uncertain the weight of an earlier run is; its mean is the trust in it


def general(grid: Grid) -> Trends:
    """What is thought of any space: its ends are slow."""
    import numpy as np

    unit = 1.0 / math.sqrt(len(grid.ordinal))
    return Trends(grid.ends[None, :], np.array([ENDS * unit]), np.array([UNSURE * unit]))


def particular(grid: Grid, belief: Belief) -> Trends:
    """What is known of this space: what its names tell, what won elsewhere, a card's hints."""
    told = joined(
        _weighed(grid.costs, KNOWN, KNOWN_SPREAD),
        _weighed(grid.lags, LAG, LAG_SPREAD),
        _weighed(grid.crowding, LAG, LAG_SPREAD),
        _weighed(grid.rarities, WON, WON_SPREAD),
    )
    off = belief.off_hints
    if off is None:
        return told
    unit = 1.0 / math.sqrt(len(grid.ordinal))
    return joined(told, _weighed(off, HINT * unit, UNSURE * unit))


def _weighed(columns: Array, mean: float, spread: float) -> Trends:
    import numpy as np

    return Trends(columns, np.full(len(columns), mean), np.full(len(columns), spread))


def earlier(belief: Belief, worked: NDArray[np.intp], scale: float) -> Trends:
    """What earlier runs say, in units of `scale` and from the middle of the rows `worked`."""
    import numpy as np

    columns = belief.trends / scale
    columns = columns - columns[:, worked].mean(axis=1, keepdims=True)
    return Trends(columns, belief.weights, np.full(len(columns), EARLIER_SPREAD))


def joined(*parts: Trends) -> Trends:
    import numpy as np

    return Trends(
        np.vstack([part.columns for part in parts]),
        np.concatenate([part.means for part in parts]),
        np.concatenate([part.spreads for part in parts]),
    )
