"""What the confirmation shows: the claim of each objective, and whether every constraint holds.

The default and the winner ran a number of fresh pairs that was fixed beforehand. Several claims
share alpha (Bonferroni). Constraints need no share: a result is announced only where all that it
needs is shown, each at alpha (R. L. Berger, Multiparameter hypothesis testing and acceptance
sampling, Technometrics 24 (1982) 295-300).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, stdev

from hpcagent.measure.objectives import CV, MEMORY, Constraint, Objective, losses, valued
from hpcagent.measure.scatter import log_ratio_interval, runs_needed
from hpcagent.measure.statistics import (
    Claim,
    claim,
    median_interval,
    paired_log_ratios,
    pairs_needed,
)
from hpcagent.measure.worker import median
from hpcagent.records import Config
from hpcagent.study.goals import Goals, Rounds, scatter_of
from hpcagent.study.knowledge import Knowledge
from hpcagent.study.state import Unit

MET, BROKEN, NOT_SHOWN = "met", "broken", "not shown"
# The confirmation may be made this many times longer for a constraint that needs it.
MOST_STRETCHED = 3
# Of the runs that one job would need so many parts are enough in each of several: all together
# count at alpha, and each by itself needs about 0.4 of them to show the bound with 95 %.
_PARTS = 2
# Standard deviations of a sample's median over that of its mean, for normal values.
_MEDIAN_ERROR = math.sqrt(math.pi / 2.0)


@dataclass(frozen=True)
class Figures:
    """One objective: the figures of default and winner (medians), and the claim on their ratio.

    The claim's speed-up is the gain: above one is better, whichever way the figure goes.
    """

    objective: Objective
    default: float
    winner: float
    claim: Claim


@dataclass(frozen=True)
class Bound:
    """A constraint in the confirmation, in the unit of its bound.

    `value` is the winner's figure, `high` what it stays below with confidence 1 - alpha; `needed`
    the pairs that would show it if the figures stayed as they are (None: none would, or no more
    are needed).
    """

    constraint: Constraint
    default: float
    value: float
    high: float
    state: str  # MET, BROKEN or NOT_SHOWN
    default_state: str
    needed: int | None


@dataclass(frozen=True)
class Verdict:
    """All of the confirmation. `improved`: the winner may be announced; `rescued`: not because it
    is better, but because it keeps to what the default breaks. `gains` are those of each of the
    confirmations by itself, of `asked` (confirmations.py): fewer than that announce nothing."""

    figures: tuple[Figures, ...]
    bounds: tuple[Bound, ...]
    gains: tuple[float, ...] = ()
    asked: int = 1

    @property
    def jobs(self) -> int:
        return max(1, len(self.gains))

    @property
    def complete(self) -> bool:
        return self.jobs >= self.asked

    @property
    def claim(self) -> Claim:
        return self.figures[0].claim

    @property
    def kept(self) -> bool:
        return all(bound.state == MET for bound in self.bounds)

    @property
    def gained(self) -> bool:
        """Something is proven to be better, and the first objective is not proven to be worse."""
        return any(f.claim.improved for f in self.figures) and self.claim.high >= 1.0

    @property
    def rescued(self) -> bool:
        broke = any(bound.default_state == BROKEN for bound in self.bounds)
        return self.kept and broke and not self.gained

    @property
    def improved(self) -> bool:
        return self.complete and self.kept and (self.gained or self.rescued)


def judged(
    known: Knowledge, units: Sequence[Unit], winner: Config, alpha: float | None = None
) -> Verdict | None:
    """What these confirmations show, all their pairs together; None where one has too few.

    `alpha` instead of that of the run's settings.
    """
    goals, settings = known.goals, known.state.settings
    default = known.unpruned.default
    alpha = settings.alpha if alpha is None else alpha
    jobs = tuple(tuple(unit.runs) for unit in units)
    pairs = [int(unit.spec["stop_rule"]["pairs"]) for unit in units]
    found = []
    ids = (default.id, winner.id)
    for objective in goals.objectives:
        figures = _figures(goals, objective, jobs, ids, pairs)
        if figures is None:
            return None
        ours, theirs, ratios = figures
        shared = alpha / len(goals.objectives)
        if objective.name == CV:
            made = _claim_of_cv(goals, jobs, ids, shared, settings.minimum_effect)
        else:
            made = claim(ratios, shared, settings.minimum_effect)
        if made is None:
            return None
        found.append(Figures(objective, theirs, ours, made))
    bounds = (_bound(each, goals, jobs, winner.id, default.id, alpha) for each in goals.constraints)
    return Verdict(tuple(found), tuple(bounds))


def _figures(
    goals: Goals, objective: Objective, jobs: Rounds, ids: tuple[str, str], pairs: Sequence[int]
) -> tuple[float, float, tuple[float, ...]] | None:
    """The winner's figure, the default's, and the log ratios of their losses, job after job."""
    default, winner = ids
    if objective.name == CV:
        for runs, least in zip(jobs, pairs, strict=True):
            sides = [scatter_of([runs], name, goals.scales) for name in ids]
            if any(side is None or side.degrees + 1 < least for side in sides):
                return None
        mine, others = (scatter_of(jobs, name, goals.scales) for name in (winner, default))
        return None if mine is None or others is None else (mine.cv, others.cv, ())
    each = [
        paired_log_ratios(valued(objective.name, runs, goals.scales), winner, default)
        for runs in jobs
    ]
    if any(len(ratios) < least for ratios, least in zip(each, pairs, strict=True)):
        return None
    ours, theirs = (
        objective.figure(median(_losses(objective.name, jobs, name, goals)))
        for name in (winner, default)
    )
    return ours, theirs, tuple(ratio for ratios in each for ratio in ratios)


def _losses(metric: str, jobs: Rounds, config: str, goals: Goals) -> list[float]:
    return [value for runs in jobs for value in losses(metric, runs, config, goals.scales)]


def _claim_of_cv(
    goals: Goals, jobs: Rounds, ids: tuple[str, str], alpha: float, minimum_effect: float
) -> Claim | None:
    others, mine = (scatter_of(jobs, name, goals.scales) for name in ids)
    if mine is None or others is None or min(mine.cv, others.cv) == 0.0:
        return None
    low, high = log_ratio_interval(mine, others, 1.0 - alpha)
    gain, worst, best = others.cv / mine.cv, math.exp(-high), math.exp(-low)
    improved = worst > 1.0 + minimum_effect
    return Claim(gain, worst, best, 1.0 - alpha, improved, mine.degrees + len(jobs))


# --- constraints ----------------------------------------------------------------------------------


def _bound(
    constraint: Constraint, goals: Goals, jobs: Rounds, winner: str, default: str, alpha: float
) -> Bound:
    low, value, high, needed = _lies(constraint, goals, jobs, winner, alpha)
    default_low, default_value, default_high, _ = _lies(constraint, goals, jobs, default, alpha)
    limit = constraint.bound
    return Bound(
        constraint,
        default_value,
        value,
        high,
        _state(low, high, limit),
        _state(default_low, default_high, limit),
        needed if _state(low, high, limit) == NOT_SHOWN else None,
    )


def _state(low: float, high: float, limit: float) -> str:
    if high < limit:
        return MET
    return BROKEN if low >= limit else NOT_SHOWN


def _lies(
    constraint: Constraint, goals: Goals, jobs: Rounds, config: str, alpha: float
) -> tuple[float, float, float, int | None]:
    """(low, figure, high, pairs that would show it): each bound holds with 1 - alpha."""
    if constraint.metric == CV:
        seen = scatter_of(jobs, config, goals.scales)
        if seen is None:
            return 0.0, math.nan, math.inf, None
        needed = runs_needed(seen, constraint.bound, 1.0 - alpha)
        return seen.below(1.0 - alpha), seen.cv, seen.above(1.0 - alpha), needed
    values = _losses(constraint.metric, jobs, config, goals)
    if not values:
        return 0.0, math.nan, math.inf, None
    if constraint.metric == MEMORY:
        peak = math.exp(max(values))
        return peak, peak, peak, None
    coverage = 1.0 - 2.0 * alpha
    middle = math.exp(median(values))
    if len(values) < pairs_needed(coverage):
        return 0.0, middle, math.inf, pairs_needed(coverage)
    interval = median_interval(values, coverage)
    needed = _pairs_for_median(values, math.log(constraint.bound), alpha)
    return math.exp(interval.low), middle, math.exp(interval.high), needed


def _pairs_for_median(values: Sequence[float], limit: float, alpha: float) -> int | None:
    """About how many values would show that their median is below the limit."""
    gap = limit - median(values)
    if gap <= 0.0:
        return None
    z = NormalDist().inv_cdf(1.0 - alpha)
    enough = math.ceil((z * _MEDIAN_ERROR * stdev(values) / gap) ** 2)
    return max(pairs_needed(1.0 - 2.0 * alpha), enough)


# --- how many pairs -------------------------------------------------------------------------------


def confirm_pairs(known: Knowledge, winner: Config) -> int:
    """The fresh pairs of the confirmation: as set, or more where a bound on the cv needs more.

    It is decided by what the search saw, before the first fresh pair.
    """
    settings = known.state.settings
    wanted = settings.confirm_pairs
    rounds = [tuple(unit.runs) for unit in known.state.rounds] if settings.within else []
    for constraint in known.goals.constraints if rounds else ():
        seen = (
            scatter_of(rounds, winner.id, known.goals.scales) if constraint.metric == CV else None
        )
        if seen is not None:
            needed = runs_needed(seen, constraint.bound, 1.0 - settings.alpha)
            each = math.ceil((needed or 0) / min(settings.confirm_jobs, _PARTS))
            wanted = max(wanted, min(each, MOST_STRETCHED * settings.confirm_pairs))
    return wanted
