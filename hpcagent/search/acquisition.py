"""What makes a point worth an evaluation."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Wide = NDArray[np.float32]


def squeezed(values: Array) -> Array:
    """The values, those above the median drawn in: a search needs to know the fast ones well.

    v -> m + s log(1 + (v - m) / s) above the median m, s the larger of the standard deviation and
    the distance from median to minimum.
    """
    import numpy as np

    middle = median(values)
    scale = max(middle - float(values.min()), float(values.std()), 1e-3)
    above = np.maximum(values - middle, 0.0)
    return np.asarray(np.where(values > middle, middle + scale * np.log1p(above / scale), values))


def median(values: Array) -> float:
    """Of at least one value; numpy's own would import numpy.ma, for 0.1 s."""
    import numpy as np

    ordered = np.sort(values)
    return float(ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2


def expected_improvement(best: float, mean: Array | Wide, spread: Array | Wide) -> Array:
    """E[max(best - f, 0)] for f normal (Jones, Schonlau, Welch 1998, eq. 15), minimising."""
    import numpy as np

    z = (best - mean) / spread
    density = np.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)
    return np.asarray(np.maximum((best - mean) * _normal_cdf(z) + spread * density, 0.0))


def _normal_cdf(z: Array | Wide) -> Array:
    """Abramowitz and Stegun 7.1.26, absolute error below 1e-7."""
    import numpy as np

    x = np.abs(z) / math.sqrt(2.0)
    t = 1.0 / (1.0 + 0.3275911 * x)
    poly = t * (
        0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429)))
    )
    tail = 0.5 * poly * np.exp(-x * x)
    return np.asarray(np.where(z >= 0, 1.0 - tail, tail))
