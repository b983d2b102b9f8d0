"""Every configuration against the baseline, over all rounds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from hpcagent.measure import worker

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

# Huber's k in units of the scale: 95 % efficiency at the normal distribution
# (P. J. Huber, Robust Estimation of a Location Parameter, Ann. Math. Stat. 35 (1964) 73-101).
HUBER_K = 1.345
_MAD_TO_SIGMA = 1.4826  # 1 / the 75 % quantile of the standard normal
# Below a tenth of a percent the placement of memory and of the environment decides, which pairs in
# one allocation do not see (T. Mytkowicz et al., Producing Wrong Data Without Doing Anything
# Obviously Wrong!, ASPLOS 2009).
SPREAD_FLOOR = 1e-3
# What is assumed of the noise of a single run before any is seen, with the weight of this many
# residual degrees of freedom: a round of one pair must not look exact.
PRIOR_SIGMA = 0.02
PRIOR_DEGREES = 2
_HUBER_STEPS = 100


class Timed(Protocol):
    """What `effects` looks at in a process: a Run, or the Timing of one that is packed."""

    @property
    def config(self) -> str: ...
    @property
    def pair(self) -> int: ...
    @property
    def objective(self) -> float | None: ...
    @property
    def ok(self) -> bool: ...


@dataclass(frozen=True)
class Effect:
    """A configuration against the baseline: ln(time ratio), its standard error, its cycles.

    `degrees` are the degrees of freedom that the standard error rests on. `reach` is the sum of the
    standard errors along the chain of shared cycles that joins it to the baseline, `spread` where
    they met: the links were chosen for what had been measured of them, so their errors do not
    cancel as independent ones do. It takes outliers as they are: few pairs do not tell whether it
    was chance whom they hit.
    """

    log_ratio: float
    spread: float
    pairs: int
    degrees: int = PRIOR_DEGREES
    reach: float = math.inf


def effects(rounds: Sequence[Iterable[Timed]], baseline: str) -> dict[str, Effect]:
    """Every configuration against the baseline, over all rounds, whatever they were paired with.

    The model is additive: ln(time) = cycle + configuration + noise. It makes configurations that
    met different incumbents comparable wherever a chain of shared cycles joins them (a connected
    block design, with cycles as blocks); one that no chain joins to the baseline is absent. A
    disturbance of a whole cycle is in the cycle's own term; one of a single process is bounded by
    Huber's M-estimate (iteratively reweighted least squares; convex, so no local minima, and close
    to least squares for quiet data). Standard errors follow P. J. Huber & E. M. Ronchetti,
    Robust Statistics, 2nd ed. 2009, section 7.6, with the noise drawn towards PRIOR_SIGMA while
    there is little of it to judge from (as G. K. Smyth, Linear models and empirical Bayes, 2004);
    they are never below SPREAD_FLOOR.
    """
    import numpy as np

    every = _cycles(rounds)
    cycles = _connected([cycle for cycle in every if len(cycle) > 1], baseline)
    names = [baseline, *sorted({name for cycle in cycles for name in cycle} - {baseline})]
    if not cycles:
        alone = sum(baseline in cycle for cycle in every)
        return {baseline: Effect(0.0, SPREAD_FLOOR, alone)} if alone else {}
    design = _Design.of(cycles, names)
    estimate, sigma, plain = _huber(design)
    information = design.information(np.ones(len(design.values)))[1:, 1:]
    covariances = np.zeros((len(names), len(names)))
    covariances[1:, 1:] = sigma**2 * np.linalg.inv(information)
    variances = np.diag(covariances)
    widened = (plain / sigma) ** 2 * covariances
    reach = _reaches(_chains(cycles, baseline), names, widened)
    counts = np.bincount(design.configs, minlength=len(names))
    spreads = np.maximum(np.sqrt(variances), SPREAD_FLOOR)
    degrees = design.degrees + PRIOR_DEGREES
    return {
        name: Effect(float(estimate[i]), float(spreads[i]), int(counts[i]), degrees, reach[name])
        for i, name in enumerate(names)
    }


def _cycles(rounds: Sequence[Iterable[Timed]]) -> list[dict[str, float]]:
    """The objectives by configuration of every cycle."""
    cycles: dict[tuple[int, int], dict[str, float]] = {}
    for index, runs in enumerate(rounds):
        for run in runs:
            if run.ok and run.pair > 0 and run.objective is not None:
                cycles.setdefault((index, run.pair), {})[run.config] = run.objective
    return list(cycles.values())


def _connected(cycles: Sequence[Mapping[str, float]], baseline: str) -> list[Mapping[str, float]]:
    """The cycles that a chain of shared configurations joins to the baseline."""
    reached, left, joined = {baseline}, list(cycles), list[Mapping[str, float]]()
    while True:
        near = [cycle for cycle in left if reached & cycle.keys()]
        if not near:
            return joined
        joined += near
        left = [cycle for cycle in left if not reached & cycle.keys()]
        reached.update(name for cycle in near for name in cycle)


def _chains(cycles: Sequence[Mapping[str, float]], baseline: str) -> dict[str, str]:
    """Each configuration's next one on the shortest chain to the baseline, nearest ones first."""
    met: dict[str, set[str]] = {}
    for cycle in cycles:
        for name in cycle:
            met.setdefault(name, set()).update(cycle)
    parents: dict[str, str] = {}
    near = [baseline]
    while near:
        further: dict[str, str] = {}
        for parent in near:
            for name in sorted(met[parent] - parents.keys() - {baseline}):
                further.setdefault(name, parent)
        parents.update(further)
        near = list(further)
    return parents


def _reaches(
    chains: Mapping[str, str], names: Sequence[str], covariances: Array
) -> dict[str, float]:
    """The standard errors along each chain, summed; covariances are those with the baseline."""
    index = {name: i for i, name in enumerate(names)}
    found = dict.fromkeys(names, 0.0)
    for name, parent in chains.items():
        i, j = index[name], index[parent]
        variance = float(covariances[i, i] + covariances[j, j] - 2.0 * covariances[i, j])
        found[name] = found[parent] + max(math.sqrt(max(0.0, variance)), SPREAD_FLOOR)
    return found


@dataclass(frozen=True)
class _Design:
    """Observations: `values` (n), and the index of the cycle and the configuration of each."""

    values: Array
    cycles: NDArray[np.intp]
    configs: NDArray[np.intp]
    names: int

    @classmethod
    def of(cls, cycles: Sequence[Mapping[str, float]], names: Sequence[str]) -> _Design:
        import numpy as np

        index = {name: i for i, name in enumerate(names)}
        rows = [(c, index[name], v) for c, cy in enumerate(cycles) for name, v in cy.items()]
        return cls(
            np.array([value for _, _, value in rows]),
            np.array([cycle for cycle, _, _ in rows], dtype=np.intp),
            np.array([config for _, config, _ in rows], dtype=np.intp),
            len(names),
        )

    @property
    def degrees(self) -> int:
        """Residual degrees of freedom: observations less cycles less free effects."""
        return len(self.values) - (int(self.cycles[-1]) + 1) - (self.names - 1)

    def incidence(self, weights: Array) -> tuple[Array, Array]:
        """The weights as a cycles x configurations matrix, and their sums by cycle."""
        import numpy as np

        matrix = np.zeros((int(self.cycles[-1]) + 1, self.names))
        matrix[self.cycles, self.configs] = weights
        return matrix, matrix.sum(axis=1)

    def information(self, weights: Array) -> Array:
        """The normal matrix of the effects with the cycles eliminated (a weighted Laplacian)."""
        import numpy as np

        matrix, sums = self.incidence(weights)
        reduced: Array = np.diag(matrix.sum(axis=0)) - matrix.T @ (matrix / sums[:, None])
        return reduced

    def solve(self, weights: Array) -> tuple[Array, Array]:
        """Weighted least squares: the effects (that of the first is 0) and the residuals."""
        import numpy as np

        matrix, sums = self.incidence(weights)
        means = np.bincount(self.cycles, weights * self.values) / sums
        right = np.bincount(
            self.configs, weights * (self.values - means[self.cycles]), minlength=self.names
        )
        effect = np.zeros(self.names)
        effect[1:] = np.linalg.solve(self.information(weights)[1:, 1:], right[1:])
        blocks = means - (matrix @ effect) / sums
        return effect, self.values - blocks[self.cycles] - effect[self.configs]


def _huber(design: _Design) -> tuple[Array, float, float]:
    """Huber's M-estimate of the effects and the standard deviations that their errors scale with.

    The second one is that of the residuals as they are, not clipped; it is not below the first.
    """
    import numpy as np

    n, degrees = len(design.values), design.degrees
    effect, residuals = design.solve(np.ones(n))
    scale = _scale(residuals, degrees)
    for _ in range(_HUBER_STEPS):
        weights = np.minimum(1.0, HUBER_K * scale / np.maximum(np.abs(residuals), 1e-300))
        before = effect
        effect, residuals = design.solve(weights)
        scale = _scale(residuals, degrees)
        if np.max(np.abs(effect - before)) <= 1e-9 + 1e-4 * scale:
            break
    clipped = np.clip(residuals, -HUBER_K * scale, HUBER_K * scale)
    linear = float(np.mean(np.abs(residuals) < HUBER_K * scale)) or 1.0
    correction = 1.0 + (n - degrees) / n * (1.0 - linear) / linear
    seen = float(np.sum(clipped**2)) * (correction / linear) ** 2
    prior, total = PRIOR_DEGREES * PRIOR_SIGMA**2, degrees + PRIOR_DEGREES
    plain = max(seen, float(np.sum(residuals**2)))
    return effect, math.sqrt((seen + prior) / total), math.sqrt((plain + prior) / total)


def _scale(residuals: Array, degrees: int) -> float:
    """Median absolute residual as a standard deviation.

    As many of the smallest as parameters were fitted are left out, since a fit makes some zero
    (W. DuMouchel & F. O'Brien, Integrating a Robust Option into a Multiple Regression Computing
    Environment, Computer Science and Statistics: 21st Symposium on the Interface, 1989).
    """
    import numpy as np

    if degrees <= 0:
        return PRIOR_SIGMA
    largest = np.sort(np.abs(residuals))[-degrees:]
    return max(1e-12, _MAD_TO_SIGMA * worker.median(largest.tolist()))
