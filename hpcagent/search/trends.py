"""Beliefs as linear trends beside the process; what is measured decides how much they count.

Before anything is measured a point off the hints of a card is thought to be slower than one on
them, and what an earlier run saw is thought to hold as far as that run is trusted.
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

HINT = 0.6  # what is off the hints is thought to cost 0.6 / sqrt(D) standard deviations
HINT_SPREAD = 0.8  # how uncertain that is, in the same unit
EARLIER_SPREAD = 0.5  # how uncertain the weight of an earlier run is; its mean is the trust in it


def hinted(grid: Grid, belief: Belief) -> Trends:
    """That points off the hints are slow; no trend where there are no hints."""
    import numpy as np

    off = belief.off_hints
    columns = np.empty((0, len(grid.points))) if off is None else off[None]
    width, ones = math.sqrt(len(grid.ordinal)), np.ones(len(columns))
    return Trends(columns, ones * HINT / width, ones * HINT_SPREAD / width)


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
