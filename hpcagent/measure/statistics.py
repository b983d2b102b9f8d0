"""What the numbers say: intervals that cover as stated, claims, effects, variability.

All functions are pure and deterministic. Log ratios are ln(time / time of the reference):
negative is faster; a speed-up is exp(-log ratio).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from hpcagent.errors import UsageError
from hpcagent.measure import worker
from hpcagent.measure.results import Run

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
PRIOR_DEGREES = 2.0
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
class Interval:
    """A two-sided interval and the coverage that it has."""

    low: float
    high: float
    coverage: float


@dataclass(frozen=True)
class Claim:
    """The speed-up (median over the pairs) with its interval; `improved`: it may be claimed."""

    speedup: float
    low: float
    high: float
    coverage: float
    improved: bool
    pairs: int


@dataclass(frozen=True)
class Effect:
    """A configuration against the baseline: ln(time ratio), its standard error, its cycles."""

    log_ratio: float
    spread: float
    pairs: int


@dataclass(frozen=True)
class Speedup:
    """The speed-up of one key (median over the pairs) with its interval."""

    speedup: float
    low: float
    high: float
    coverage: float
    pairs: int


# --- intervals -----------------------------------------------------------------------------------


def median_interval(values: Sequence[float], coverage: float) -> Interval:
    """Interval for the median between two order statistics, of at least `coverage`.

    For independent values of any continuous distribution the k-th smallest and k-th largest of n
    enclose the median with probability 1 - 2 P(Binomial(n, 1/2) < k), exactly; ties only add to it
    (H. A. David & H. N. Nagaraja, Order Statistics, 3rd ed. 2003, section 7.1). The largest k that
    is good enough is taken. Raises UsageError where n is too small.
    """
    _check_coverage(coverage)
    ordered = sorted(_finite(values))
    n = len(ordered)
    needed = pairs_needed(coverage)
    if n < needed:
        raise UsageError(
            f"an interval of coverage {coverage:g} for a median needs {needed} values, not {n}; "
            "measure more pairs or ask for less coverage"
        )
    rank, tail = 1, 1  # tail = 2^n P(Binomial(n, 1/2) < rank)
    while True:
        more = tail + math.comb(n, rank)
        if rank + 1 > n - rank or 1.0 - 2.0 * (more / 2**n) < coverage:
            break
        rank, tail = rank + 1, more
    return Interval(ordered[rank - 1], ordered[n - rank], 1.0 - 2.0 * (tail / 2**n))


def pairs_needed(coverage: float) -> int:
    """The smallest n for which minimum and maximum enclose the median with this probability."""
    _check_coverage(coverage)
    n = 2
    while 1.0 - 2.0 * 0.5**n < coverage:
        n += 1
    return n


def t_interval(values: Sequence[float], coverage: float) -> Interval:
    """Student's t interval for the mean; exact for normal values only. Needs two values."""
    _check_coverage(coverage)
    if len(_finite(values)) < 2:
        raise UsageError("a t interval needs at least 2 values; measure more pairs")
    low, high = worker.t_interval(values, coverage)
    return Interval(low, high, coverage)


def _check_coverage(coverage: float) -> None:
    if not 0.0 < coverage < 1.0 - 1e-15:
        raise UsageError(f"a coverage lies between 0 and 1, not at {coverage:g}")


def _finite(values: Sequence[float]) -> Sequence[float]:
    if not all(math.isfinite(value) for value in values):
        raise UsageError("an interval needs finite values; failed runs are no values")
    return values


# --- claims --------------------------------------------------------------------------------------


def claim(log_ratios: Sequence[float], alpha: float, minimum_effect: float) -> Claim:
    """What may be said of fresh pairs, fixed in number: ln(time winner / time default) each.

    The interval has coverage 1 - alpha on two sides, so a configuration that is no better is
    claimed with a probability of alpha / 2 at most. `improved` only where the whole interval of
    the speed-up lies above 1 + `minimum_effect`. Raises UsageError for too few pairs.
    """
    low, middle, high, coverage = _speedup(log_ratios, 1.0 - alpha)
    improved = low > 1.0 + minimum_effect
    return Claim(middle, low, high, coverage, improved, len(log_ratios))


def case_speedups(
    runs: Sequence[Run], winner: str, reference: str, coverage: float
) -> dict[str, Speedup]:
    """The speed-up of every key, each with an interval of its own coverage.

    Raises UsageError where a key has too few pairs.
    """
    found = {}
    for key, ratios in paired_log_ratios_by_key(runs, winner, reference).items():
        low, middle, high, achieved = _speedup(ratios, coverage)
        found[key] = Speedup(middle, low, high, achieved, len(ratios))
    return found


def _speedup(log_ratios: Sequence[float], coverage: float) -> tuple[float, float, float, float]:
    interval = median_interval(log_ratios, coverage)
    middle = worker.median(log_ratios)
    return math.exp(-interval.high), math.exp(-middle), math.exp(-interval.low), interval.coverage


# --- pairs ---------------------------------------------------------------------------------------


def paired_log_ratios(runs: Sequence[Run], challenger: str, reference: str) -> tuple[float, ...]:
    """ln(challenger / reference) of the objective, for every cycle in which both are ok."""
    return _paired(runs, challenger, reference, lambda run: run.objective)


def paired_log_ratios_by_key(
    runs: Sequence[Run], challenger: str, reference: str
) -> dict[str, tuple[float, ...]]:
    """ln(challenger / reference) of the median time of every key, in cycles where both are ok."""
    keys = sorted({key for run in runs if run.config == challenger for key in run.medians})
    ratios = {key: _paired(runs, challenger, reference, _log_median(key)) for key in keys}
    return {key: values for key, values in ratios.items() if values}


def _log_median(key: str) -> Callable[[Run], float | None]:
    return lambda run: math.log(run.medians[key]) if key in run.medians else None


def _paired(
    runs: Sequence[Run], challenger: str, reference: str, value: Callable[[Run], float | None]
) -> tuple[float, ...]:
    cycles: dict[int, dict[str, float]] = {}
    for run in runs:
        found = value(run) if run.ok and run.pair > 0 else None
        if found is not None:
            cycles.setdefault(run.pair, {})[run.config] = found
    both = [cycles[pair] for pair in sorted(cycles)]
    return tuple(c[challenger] - c[reference] for c in both if challenger in c and reference in c)


# --- effects over all rounds ---------------------------------------------------------------------


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
    estimate, sigma = _huber(design)
    information = design.information(np.ones(len(design.values)))[1:, 1:]
    variances = np.concatenate([[0.0], sigma**2 * np.diag(np.linalg.inv(information))])
    counts = np.bincount(design.configs, minlength=len(names))
    return {
        name: Effect(
            float(estimate[i]), max(float(math.sqrt(variances[i])), SPREAD_FLOOR), int(counts[i])
        )
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


def _huber(design: _Design) -> tuple[Array, float]:
    """Huber's M-estimate of the effects and the standard deviation that their errors scale with."""
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
    return effect, math.sqrt((seen + PRIOR_DEGREES * PRIOR_SIGMA**2) / (degrees + PRIOR_DEGREES))


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


# --- variability ---------------------------------------------------------------------------------


def coefficient_of_variation(values: Sequence[float]) -> float:
    """Standard deviation over mean, of at least two positive values."""
    if len(values) < 2 or min(values) <= 0.0:
        raise UsageError("a coefficient of variation needs at least 2 positive values")
    mean = math.fsum(values) / len(values)
    variance = math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return math.sqrt(variance) / mean


def cv_ratio_interval(
    numerator: Sequence[float],
    denominator: Sequence[float],
    coverage: float,
    seed: int,
    resamples: int = 4000,
) -> Interval | None:
    """Bootstrap percentile interval for CV(numerator) / CV(denominator), of independent values.

    The coverage is approximate, and low for few or heavy-tailed values (B. Efron & R. Tibshirani,
    An Introduction to the Bootstrap, 1993, chapter 14): say "about". None where a sample does not
    vary at all, so that no ratio exists.
    """
    import numpy as np

    _check_coverage(coverage)
    if min(coefficient_of_variation(numerator), coefficient_of_variation(denominator)) == 0.0:
        return None
    random = np.random.default_rng(seed)
    spreads = []
    for values in (np.asarray(numerator), np.asarray(denominator)):
        drawn = random.choice(values, size=(resamples, len(values)))
        spreads.append(drawn.std(axis=1, ddof=1) / drawn.mean(axis=1))
    kept = spreads[1] > 0.0
    tail = (1.0 - coverage) / 2.0
    low, high = np.quantile(spreads[0][kept] / spreads[1][kept], [tail, 1.0 - tail])
    return Interval(float(low), float(high), coverage)
