"""Beliefs as linear trends beside the process; what is measured decides how much they count.

Before anything is measured an ordinal is thought to be a little slower at its ends than in its
middle, for people list values to bracket the good ones; a point off the hints of a card slower than
one on them; what is known of blocks of GPU threads is thought to hold (known.py); and what an
earlier run saw as far as that run is trusted.
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

ENDS = 0.3  # an ordinal at its end is thought to cost 0.3 / sqrt(D) standard deviations,
HINT = 0.6  # and what is as far off a hint as can be 0.6 / sqrt(D)
UNSURE = 0.8  # how uncertain both are, in the same unit
KNOWN, KNOWN_SPREAD = 0.4, 0.4  # standard deviations that 1 of each of the grid's costs is thought
WON, WON_SPREAD = 0.5, 0.5  # and what a unit of rarity among winners elsewhere is
EARLIER_SPREAD = 0.5  # how uncertain the weight of an earlier run is; its mean is the trust in it


def general(grid: Grid) -> Trends:
    """What is thought of any space: its ends are slow."""
    import numpy as np

    unit = 1.0 / math.sqrt(len(grid.ordinal))
    return Trends(grid.ends[None, :], np.array([ENDS * unit]), np.array([UNSURE * unit]))


def particular(grid: Grid, belief: Belief) -> Trends:
    """What is known of this space: what its names tell, what won elsewhere, a card's hints."""
    import numpy as np

    named, won = len(grid.costs), len(grid.rarities)
    told = joined(
        Trends(grid.costs, np.full(named, KNOWN), np.full(named, KNOWN_SPREAD)),
        Trends(grid.rarities, np.full(won, WON), np.full(won, WON_SPREAD)),
    )
    off = belief.off_hints
    if off is None:
        return told
    unit = 1.0 / math.sqrt(len(grid.ordinal))
    hints = Trends(off, np.full(len(off), HINT * unit), np.full(len(off), UNSURE * unit))
    return joined(told, hints)


def earlier(belief: Belief, worked: NDArray[np.intp], scale: float) -> Trends:
    """What earlier runs say, in units of `scale` and from the middle of the rows `worked`."""
    import numpy as np

    columns = belief.trends / scale
    columns = columns - columns[:, worked].mean(axis=1, keepdims=True)
    return Trends(columns, belief.weights, np.full(len(columns), EARLIER_SPREAD))


def joined(one: Trends, other: Trends) -> Trends:
    import numpy as np

    return Trends(
        np.vstack([one.columns, other.columns]),
        np.concatenate([one.means, other.means]),
        np.concatenate([one.spreads, other.spreads]),
    )
