"""Logarithms of time ratios as bins and back: narrow where little matters, wide far away.

x -> asinh(x / w): linear below the width w and logarithmic above, so that a surface whose
settings differ by 1 % and one whose settings differ tenfold are both resolved.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from hpcagent.embedded.vocabulary import PREDICTED, SEEN

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

_SEEN_WIDTH, _SEEN_MOST = 0.01, 4.0  # in ln(time over the fastest so far); never below 0
_WIDTH, _LEAST, _MOST = 0.02, -2.0, 4.0


def seen(above: Array) -> NDArray[np.intp]:
    """The bin of what was measured, as ln(time) above the fastest measured."""
    import numpy as np

    scaled = np.arcsinh(above / _SEEN_WIDTH) / math.asinh(_SEEN_MOST / _SEEN_WIDTH)
    return np.clip(np.rint(scaled * (SEEN - 1)), 0, SEEN - 1).astype(np.intp)


def predicted(above: Array) -> NDArray[np.intp]:
    """The bin of what is predicted; negative where it is faster than all that was measured."""
    import numpy as np

    low, high = math.asinh(_LEAST / _WIDTH), math.asinh(_MOST / _WIDTH)
    scaled = (np.arcsinh(above / _WIDTH) - low) / (high - low)
    return np.clip(np.floor(scaled * PREDICTED), 0, PREDICTED - 1).astype(np.intp)


def centres() -> Array:
    """(PREDICTED,): the middle of each bin of a prediction."""
    import numpy as np

    low, high = math.asinh(_LEAST / _WIDTH), math.asinh(_MOST / _WIDTH)
    middles = (np.arange(PREDICTED) + 0.5) / PREDICTED
    return np.asarray(_WIDTH * np.sinh(low + middles * (high - low)))
