"""A Gaussian process over the points of a grid, in numpy.

The kernel is signal * (w * product + (1 - w) * mean) of one factor a parameter, so that it holds
both interactions and main effects (the additive part as in Duvenaud et al., Additive Gaussian
Processes, NeurIPS 2011). A factor is Matern 5/2 of the rank distance for an ordinal and
exp(-1/l) where the values of a categorical differ (Rasmussen and Williams, Gaussian Processes for
Machine Learning, 2006, eq. 4.17 and section 5.4). Hyperparameters maximise the marginal likelihood
(eq. 5.8) times a weak prior, from several fixed starts, with BFGS and a bounded number of steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hpcagent.search.encoding import Grid

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

STARTS = ((0.0, -4.0), (-1.0, -4.0), (1.0, -2.0))  # (shift of the lengthscales, log noise)
MAX_STEPS = 25
_BOUND = 8.0
_JITTER = 1e-8


@dataclass(frozen=True)
class Observations:
    """What was measured: rows of the grid, values y (n,), known noise variance (n,).

    y is standardised (mean 0, variance about 1), the noise variance in the same unit.
    """

    rows: NDArray[np.intp]
    y: Array
    noise: Array


@dataclass(frozen=True)
class Theta:
    """Hyperparameters: log lengthscales (D,), log signal and noise variance, logit of w."""

    lengths: Array
    signal: float
    noise: float
    mix: float

    @classmethod
    def of(cls, vector: Array) -> Theta:
        return cls(vector[:-3], float(vector[-3]), float(vector[-2]), float(vector[-1]))

    @property
    def weight(self) -> float:
        return 1.0 / (1.0 + math.exp(-self.mix))


@dataclass(frozen=True)
class Posterior:
    """Mean (P,) and variance (P,) of the latent function at every point of the grid.

    `half` (n, P) is L^-1 k(X, grid), kept to condition on further points.
    """

    theta: Theta
    mean: Array
    variance: Array
    half: Array


def fit(grid: Grid, seen: Observations) -> Theta:
    """The best hyperparameters for the observations; deterministic."""
    import numpy as np

    likelihood = Likelihood(grid, seen)
    centre = _prior_mean(grid)
    best: tuple[float, Array] | None = None
    for shift, noise in STARTS:
        start = centre.copy()
        start[:-3] += shift
        start[-2] = noise
        value, vector = _minimise(likelihood.loss, start)
        if best is None or value < best[0]:
            best = (value, vector)
    assert best is not None
    return Theta.of(np.asarray(best[1]))


def posterior(grid: Grid, seen: Observations, theta: Theta) -> Posterior:
    """The process conditioned on the observations, at every point of the grid."""
    import numpy as np

    cross = covariance(grid, theta, seen.rows)
    gram = cross[:, seen.rows].copy()
    gram[np.diag_indices_from(gram)] += seen.noise + math.exp(theta.noise) + _JITTER
    lower = np.linalg.cholesky(gram)
    inverse = np.linalg.inv(lower)
    half = inverse @ cross
    mean = half.T @ (inverse @ seen.y)
    variance = math.exp(theta.signal) - np.einsum("ip,ip->p", half, half)
    return Posterior(theta, mean, np.maximum(variance, 1e-12), half)


def believe(grid: Grid, state: Posterior, row: int) -> Posterior:
    """The posterior as if its own mean had been measured at `row` (kriging believer).

    Ginsbourger, Le Riche, Carraro 2010: the mean stays, the variance shrinks.
    """
    import numpy as np

    prior = covariance(grid, state.theta, np.array([row]))[0]
    cross = prior - state.half.T @ state.half[:, row]
    scale = math.sqrt(max(float(cross[row]), 1e-12) + math.exp(state.theta.noise) + _JITTER)
    extra = cross / scale
    variance = np.maximum(state.variance - extra * extra, 1e-12)
    return Posterior(state.theta, state.mean, variance, np.vstack([state.half, extra]))


def covariance(grid: Grid, theta: Theta, rows: NDArray[np.intp]) -> Array:
    """(n, P): prior covariance of the points `rows` with every point.

    Per parameter it is a table by value, so the sum over parameters (of logarithms for the
    product) is one product with the one-hot matrix.
    """
    import numpy as np

    logs, plain = [], []
    for d, values in enumerate(grid.coordinates):
        own = values[grid.codes[rows, d]]
        factor = _factor(own[:, None], values[None, :], float(theta.lengths[d]), grid.ordinal[d])
        logs.append(np.log(np.maximum(factor, 1e-30)))
        plain.append(factor)
    product = np.exp(np.hstack(logs) @ grid.one_hot.T)
    mean = np.hstack(plain) @ grid.one_hot.T / len(grid.coordinates)
    mixed = theta.weight * product + (1.0 - theta.weight) * mean
    return np.asarray(math.exp(theta.signal) * mixed)


def _factor(a: Array, b: Array, log_length: float, ordinal: bool) -> Array:
    import numpy as np

    if not ordinal:
        return np.where(a == b, 1.0, math.exp(-math.exp(-log_length)))
    scaled = math.sqrt(5.0) * np.abs(a - b) * math.exp(-log_length)
    return np.asarray((1.0 + scaled + scaled * scaled / 3.0) * np.exp(-scaled))


def _prior_mean(grid: Grid) -> Array:
    """Centre of the weak normal prior on the logarithms.

    Lengthscales grow with the square root of the dimension (Hvarfner et al., ICML 2024).
    """
    import numpy as np

    dimension = len(grid.ordinal)
    centre = np.zeros(dimension + 3)
    centre[:-3] = -0.5 + 0.5 * math.log(dimension)
    centre[-2] = -4.0
    return centre


class Likelihood:
    """How well hyperparameters explain the observations, n of them, with D parameters."""

    def __init__(self, grid: Grid, seen: Observations) -> None:
        import numpy as np

        points = np.stack(
            [values[grid.codes[seen.rows, d]] for d, values in enumerate(grid.coordinates)]
        )
        self._distance = np.abs(points[:, :, None] - points[:, None, :])
        self._ordinal = np.array(grid.ordinal)
        self._distance[~self._ordinal] = self._distance[~self._ordinal] != 0
        self._y = seen.y
        self._noise = seen.noise
        self._centre = _prior_mean(grid)
        self._width = np.ones_like(self._centre)
        self._width[-2] = 1.5

    def loss(self, vector: Array) -> tuple[float, Array]:
        """Negative log marginal likelihood minus log prior at a vector (D + 3,); its gradient.

        The vector holds what `Theta` does, in its order.
        """
        import numpy as np

        theta = Theta.of(vector)
        factors, slopes = self._factors_and_slopes(theta.lengths)
        product = np.prod(factors, axis=0)
        mean = factors.mean(axis=0)
        weight, signal = theta.weight, math.exp(theta.signal)
        noise = math.exp(theta.noise)
        kernel = signal * (weight * product + (1.0 - weight) * mean)
        gram = kernel.copy()
        gram[np.diag_indices_from(gram)] += self._noise + noise + _JITTER
        try:
            lower = np.linalg.cholesky(gram)
        except np.linalg.LinAlgError:
            return math.inf, np.zeros_like(vector)
        half = np.linalg.inv(lower)
        inverse = half.T @ half
        alpha = inverse @ self._y
        offset = (vector - self._centre) / self._width
        value = 0.5 * float(self._y @ alpha) + float(np.log(np.diag(lower)).sum())
        value += 0.5 * float(offset @ offset)
        # d(loss)/dK = (K^-1 - alpha alpha^T) / 2, eq. 5.9
        outer = 0.5 * (inverse - np.outer(alpha, alpha))
        chain = signal * (weight * product / factors + (1.0 - weight) / len(factors))
        gradient = offset / self._width
        gradient[:-3] += np.einsum("ij,dij,dij->d", outer, chain, slopes)
        gradient[-3] += float((outer * kernel).sum())
        gradient[-2] += noise * float(np.trace(outer))
        gradient[-1] += signal * weight * (1.0 - weight) * float((outer * (product - mean)).sum())
        return value, gradient

    def _factors_and_slopes(self, lengths: Array) -> tuple[Array, Array]:
        """Factors (D, n, n) and their derivatives by the log lengthscale."""
        import numpy as np

        scaled = self._distance * np.exp(-lengths)[:, None, None]
        far = math.sqrt(5.0) * scaled
        decay = np.exp(-np.where(self._ordinal[:, None, None], far, scaled))
        matern = (1.0 + far + far * far / 3.0) * decay
        slope = far * far * (1.0 + far) / 3.0 * decay
        ordinal = self._ordinal[:, None, None]
        factors = np.where(ordinal, matern, decay)
        return np.maximum(factors, 1e-30), np.where(ordinal, slope, scaled * decay)


def _minimise(loss: Callable[[Array], tuple[float, Array]], start: Array) -> tuple[float, Array]:
    """BFGS with backtracking (Nocedal and Wright, Numerical Optimization, algorithm 6.1)."""
    import numpy as np

    point = start
    value, slope = loss(point)
    inverse = np.eye(len(start)) * 0.1
    for _ in range(MAX_STEPS):
        step = -inverse @ slope
        descent = float(step @ slope)
        if not descent < -1e-7:
            break
        step *= min(1.0, 2.0 / float(np.abs(step).max()))
        scale, found = 1.0, False
        for _ in range(8):
            trial = np.clip(point + scale * step, -_BOUND, _BOUND)
            new_value, new_slope = loss(trial)
            if new_value <= value + 1e-4 * scale * descent:
                found = True
                break
            scale *= 0.4
        if not found:
            break
        moved, turned = trial - point, new_slope - slope
        inverse = _updated(inverse, moved, turned)
        gained = value - new_value
        point, value, slope = trial, new_value, new_slope
        if gained < 1e-4:
            break
    return value, point


def _updated(inverse: Array, moved: Array, turned: Array) -> Array:
    import numpy as np

    curvature = float(moved @ turned)
    if curvature <= 1e-10:
        return inverse
    left = np.eye(len(moved)) - np.outer(moved, turned) / curvature
    return np.asarray(left @ inverse @ left.T + np.outer(moved, moved) / curvature)
