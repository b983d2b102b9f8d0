"""A Gaussian process over the points of a grid, in numpy.

The kernel is signal * product over parameters of (1 + o f) / (1 + o), f one factor a parameter. It
holds all main effects and interactions; the fitted o tells how much weight those of many
parameters have (additive kernels: Duvenaud et al., NeurIPS 2011; as a product: Durrande et al.,
ANOVA kernels, J. Multivariate Analysis, 2013). A factor is Matern 5/2 of the rank distance for an
ordinal and exp(-g/l) of a categorical, g as `Grid.gap` has it: 1 where the values differ, less
where they are known to be alike (Rasmussen and Williams, Gaussian Processes for Machine Learning,
2006, eq. 4.17 and section 5.4). What concerns the whole grid is in single precision.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from hpcagent.search.encoding import Grid

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Wide = NDArray[np.float32]

JITTER = 1e-8
_LEAST = 1e-6  # variance: below it single precision has only rounding errors


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
    """Hyperparameters, as logarithms: lengthscales (D,), signal and noise variance, order o."""

    lengths: Array
    signal: float
    noise: float
    order: float

    @classmethod
    def of(cls, vector: Array) -> Theta:
        return cls(vector[:-3], float(vector[-3]), float(vector[-2]), float(vector[-1]))


@dataclass(frozen=True)
class Posterior:
    """Mean (P,) and variance (P,) of the latent function at every point of the grid.

    `half` (n, P) is L^-1 k(X, grid), kept to condition on further points; `linear` as `posterior`
    was given it.
    """

    theta: Theta
    mean: Array | Wide
    variance: Array | Wide
    half: Wide
    linear: Wide

    @property
    def unexplained(self) -> Array | Wide:
        """(P,): the variance without that of the linear terms before anything was seen, which is
        largest where they are: to rank points by."""
        import numpy as np

        return np.asarray(self.variance - np.einsum("kp,kp->p", self.linear, self.linear))


def posterior(
    grid: Grid, seen: Observations, theta: Theta, linear: Array | None = None
) -> Posterior:
    """The process conditioned on the observations, at every point of the grid.

    `linear` (K, P) are K linear terms in it with weights of mean 0 and variance 1.
    """
    import numpy as np

    terms = np.zeros((0, len(grid.points))) if linear is None else linear
    wide: Wide = terms.astype(np.float32)
    cross = covariance(grid, theta, seen.rows) + wide[:, seen.rows].T @ wide
    gram = cross[:, seen.rows].astype(np.float64)
    gram[np.diag_indices_from(gram)] += seen.noise + math.exp(theta.noise) + JITTER
    inverse = np.linalg.inv(np.linalg.cholesky(gram))
    half = inverse.astype(np.float32) @ cross
    mean = (inverse @ seen.y).astype(np.float32) @ half
    variance = math.exp(theta.signal) + np.einsum("kp,kp->p", wide, wide)
    variance = variance - np.einsum("ip,ip->p", half, half)
    return Posterior(theta, mean, np.maximum(variance, _LEAST), half, wide)


@dataclass(frozen=True)
class Trends:
    """Linear terms beside the process: K columns over the grid (K, P) with weights to be found.

    The weights are independent and normal before anything is seen: `means` and `spreads` (K,).
    """

    columns: Array
    means: Array
    spreads: Array

    def shared(self, rows: NDArray[np.intp]) -> Array:
        """(n, n): what the uncertain weights add to the covariance of the points `rows`."""
        own = self.columns[:, rows] * self.spreads[:, None]
        return own.T @ own


def slopes(grid: Grid, seen: Observations, theta: Theta, trends: Trends) -> Array:
    """(K,): the most likely weights of the trends, given the observations.

    Rasmussen and Williams, equation 2.41: a linear model beside the process.
    """
    import numpy as np

    gram = covariance(grid, theta, seen.rows)[:, seen.rows].astype(np.float64)
    gram[np.diag_indices_from(gram)] += seen.noise + math.exp(theta.noise) + JITTER
    own = trends.columns[:, seen.rows]
    solved = np.linalg.solve(gram, own.T)
    precision = own @ solved + np.diag(trends.spreads**-2.0)
    return np.linalg.solve(precision, solved.T @ seen.y + trends.means * trends.spreads**-2.0)


def believe(grid: Grid, state: Posterior, row: int) -> Posterior:
    """The posterior as if its own mean had been measured at `row` (kriging believer).

    Ginsbourger, Le Riche, Carraro 2010: the mean stays, the variance shrinks.
    """
    import numpy as np

    prior = covariance(grid, state.theta, np.array([row]))[0]
    prior = prior + state.linear[:, row] @ state.linear
    cross = prior - state.half[:, row] @ state.half
    scale = math.sqrt(max(float(cross[row]), _LEAST) + math.exp(state.theta.noise) + JITTER)
    extra = cross / np.float32(scale)
    variance = np.maximum(state.variance - extra * extra, _LEAST)
    return replace(state, variance=variance, half=np.vstack([state.half, extra]))


def covariance(grid: Grid, theta: Theta, rows: NDArray[np.intp]) -> Wide:
    """(n, P): prior covariance of the points `rows` with every point.

    The logarithm is a sum over parameters of a table by value: one product with `one_hot`.
    """
    import numpy as np

    order = math.exp(theta.order)
    tables = []
    for d, values in enumerate(grid.coordinates):
        gap = grid.gap(d, grid.codes[rows, d][:, None], np.arange(len(values))[None, :])
        factor = _factor(gap, float(theta.lengths[d]), grid.ordinal[d])
        tables.append(np.log((1.0 + order * factor) / (1.0 + order)))
    found = np.hstack(tables).astype(np.float32) @ grid.one_hot.T
    found += np.float32(theta.signal)
    return np.asarray(np.exp(found, out=found))


def _factor(gap: Array, log_length: float, ordinal: bool) -> Array:
    import numpy as np

    scaled = gap * math.exp(-log_length)
    if not ordinal:
        return np.asarray(np.exp(-scaled))
    far = math.sqrt(5.0) * scaled
    return np.asarray((1.0 + far + far * far / 3.0) * np.exp(-far))
