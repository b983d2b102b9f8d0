"""A small minimiser for smooth functions of a few variables."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

    Loss = Callable[[Array], tuple[float, Array]]

BOUND = 8.0  # no coordinate leaves [-8, 8]
_ENOUGH = 1e-4  # a step that gains less is the last


def minimise(loss: Loss, start: Array, steps: int) -> tuple[float, Array]:
    """(value, point) after at most `steps` of BFGS with backtracking.

    Nocedal and Wright, Numerical Optimization, algorithm 6.1. `loss` gives its value, which may be
    infinite, and its gradient.
    """
    import numpy as np

    point = start
    value, slope = loss(point)
    inverse = np.eye(len(start)) * 0.1
    for _ in range(steps):
        step = -inverse @ slope
        descent = float(step @ slope)
        if not descent < -1e-7:
            break
        step *= min(1.0, 2.0 / float(np.abs(step).max()))
        found = _backtracked(loss, point, value, step, descent)
        if found is None:
            break
        new_value, new_slope, new_point = found
        inverse = _updated(inverse, new_point - point, new_slope - slope)
        gained = value - new_value
        value, slope, point = new_value, new_slope, new_point
        if gained < _ENOUGH:
            break
    return value, point


def _backtracked(
    loss: Loss, point: Array, value: float, step: Array, descent: float
) -> tuple[float, Array, Array] | None:
    """(value, gradient, point) of the first of eight shorter and shorter steps that is better."""
    import numpy as np

    scale = 1.0
    for _ in range(8):
        trial = np.clip(point + scale * step, -BOUND, BOUND)
        new_value, new_slope = loss(trial)
        if new_value <= value + 1e-4 * scale * descent:
            return new_value, new_slope, trial
        scale *= 0.4
    return None


def _updated(inverse: Array, moved: Array, turned: Array) -> Array:
    import numpy as np

    curvature = float(moved @ turned)
    if curvature <= 1e-10:
        return inverse
    left = np.eye(len(moved)) - np.outer(moved, turned) / curvature
    return np.asarray(left @ inverse @ left.T + np.outer(moved, moved) / curvature)
