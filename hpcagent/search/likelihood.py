"""Hyperparameters of the Gaussian process: the marginal likelihood times a weak prior.

Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, equations 5.8 and 5.9. The
maximum is sought from several fixed starts with a bounded number of steps, so it is deterministic.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from hpcagent.search.encoding import Grid
from hpcagent.search.gp import JITTER, Observations, Theta
from hpcagent.search.minimise import minimise

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

STARTS = ((0.0, -4.0), (-1.0, -4.0), (1.0, -2.0))  # (shift of the lengthscales, log noise)
ALIKE = 0.5  # log lengthscale that a choice has beyond an ordinal's
FIRST_STEPS = 4  # from every start; only the best of them goes on
MORE_STEPS = 20


def fit(grid: Grid, seen: Observations, known: Array | None = None) -> Theta:
    """The best hyperparameters for the observations; deterministic.

    `known` (n, n) is a covariance that is there besides.
    """
    loss = Likelihood(grid, seen, known).loss
    tried = []
    for shift, noise in STARTS:
        start = prior_mean(grid)
        start[:-3] += shift
        start[-2] = noise
        tried.append(minimise(loss, start, FIRST_STEPS))
    best = min(tried, key=lambda pair: pair[0])
    return Theta.of(minimise(loss, best[1], MORE_STEPS)[1])


def prior_mean(grid: Grid) -> Array:
    """(D + 3,): centre of the weak normal prior on the logarithms.

    Lengthscales grow with the square root of the dimension (Hvarfner et al., ICML 2024). Most
    choices of a real space matter little: on recorded surfaces a search that thought otherwise
    spent a third of its evaluations on flipping switches (docs/benchmarks.md).
    """
    import numpy as np

    dimension = len(grid.ordinal)
    centre = np.zeros(dimension + 3)
    centre[:-3] = -0.5 + 0.5 * math.log(dimension)
    centre[:-3] += np.where(grid.ordinal, 0.0, ALIKE)
    centre[-2] = -4.0
    return centre


class Likelihood:
    """How well hyperparameters explain the observations, n of them, with D parameters."""

    def __init__(self, grid: Grid, seen: Observations, known: Array | None = None) -> None:
        import numpy as np

        self._known = 0.0 if known is None else known
        self._pairs = np.triu_indices(len(seen.rows), 1)
        left, right = (grid.codes[seen.rows[side]] for side in self._pairs)
        dimensions = range(len(grid.ordinal))
        self._distance = np.stack([grid.gap(d, left[:, d], right[:, d]) for d in dimensions])
        self._ordinal = np.array(grid.ordinal)[:, None]
        self._y = seen.y
        self._noise = seen.noise
        self._centre = prior_mean(grid)
        self._width = np.ones_like(self._centre)
        self._width[-2] = 1.5

    def loss(self, vector: Array) -> tuple[float, Array]:
        """Negative log marginal likelihood minus log prior at a vector (D + 3,); its gradient.

        The vector holds what `Theta` does, in its order.
        """
        import numpy as np

        theta = Theta.of(vector)
        order, noise, signal = math.exp(theta.order), math.exp(theta.noise), math.exp(theta.signal)
        factors, slopes = self._factors_and_slopes(theta.lengths)
        parts = (1.0 + order * factors) / (1.0 + order)
        kernel = signal * np.prod(parts, axis=0)
        gram = np.diag(signal + noise + JITTER + self._noise)
        gram[self._pairs] = kernel
        gram.T[self._pairs] = kernel
        gram += self._known
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
        trace = float(np.trace(outer))
        weighted = 2.0 * outer[self._pairs] * kernel
        chain = weighted * (order / (1.0 + order) / parts)
        last = [
            float(weighted.sum()) + signal * trace,
            noise * trace,
            float((chain * (factors - 1.0)).sum()) / (1.0 + order),
        ]
        slope = np.concatenate([(chain * slopes).sum(axis=1), last])
        return value, slope + offset / self._width

    def _factors_and_slopes(self, lengths: Array) -> tuple[Array, Array]:
        """(D, pairs): each parameter's factor, and its derivative by the log lengthscale."""
        import numpy as np

        scaled = self._distance * np.exp(-lengths)[:, None]
        far = math.sqrt(5.0) * scaled
        decay = np.exp(-np.where(self._ordinal, far, scaled))
        matern = (1.0 + far + far * far / 3.0) * decay
        slope = far * far * (1.0 + far) / 3.0 * decay
        return (
            np.where(self._ordinal, matern, decay),
            np.where(self._ordinal, slope, scaled * decay),
        )
