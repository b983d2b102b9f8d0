"""How the configurations stand under what a run was asked for, as far as the search has measured.

Nothing here is a claim: it steers the search and picks who is confirmed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from hpcagent.apps.card import Card
from hpcagent.apps.workload import Workload
from hpcagent.measure import pareto
from hpcagent.measure.objectives import (
    CV,
    MEMORY,
    TIME,
    Charge,
    Constraint,
    Objective,
    Scales,
    bounded,
    losses,
    objectives,
    parse_constraints,
    valued,
)
from hpcagent.measure.results import Run
from hpcagent.measure.scatter import Scatter, scatter
from hpcagent.measure.statistics import Effect, effects
from hpcagent.measure.worker import median, t_interval
from hpcagent.records import Trial
from hpcagent.study.settings import TuneSettings

# How sure the search must be before a constraint counts as broken: wrong once in twenty is cheap
# here, where being too slow to drop a configuration costs whole rounds.
SEARCH_CONFIDENCE = 0.95
LEAST_STEP = 1e-4  # of the grid on which trade-offs are compared

Rounds = Sequence[Sequence[Run]]


@dataclass(frozen=True)
class Goals:
    """What a run is for: the objectives, the first one first, and the constraints."""

    objectives: tuple[Objective, ...]
    constraints: tuple[Constraint, ...]
    scales: Scales
    step: float  # differences below it are none, as a log ratio

    @property
    def first(self) -> Objective:
        return self.objectives[0]

    @property
    def several(self) -> bool:
        return len(self.objectives) > 1


@dataclass(frozen=True)
class Standing:
    """One configuration: its loss of each objective over the default's, with standard errors.

    `broken` are the constraints that it breaks, `unsure` those that it may or may not; `doubtful`
    those of the latter that it breaks as far as it was seen.
    """

    losses: tuple[float, ...]
    spreads: tuple[float, ...]
    broken: tuple[str, ...] = ()
    unsure: tuple[str, ...] = ()
    doubtful: tuple[str, ...] = ()


# --- from the settings ----------------------------------------------------------------------------


def goals_of(card: Card, settings: TuneSettings, workload: Workload | None) -> Goals:
    """UsageError for what cannot be asked for. Without a workload only names can be checked."""
    printed = card.figures_of_merit[0]
    counted = printed.unit == "s" and printed.direction == "min" and not card.is_application
    log_gflop = None
    if counted and workload is not None:
        log_gflop = math.fsum(case.weight * math.log(case.flops / 1e9) for case in workload.cases)
    elif counted:
        log_gflop = 0.0
    hour = settings.charge or {"job_hour": float(settings.cores), "unit": "core-hours"}
    figure, *further = (Objective(f.name, f.unit, f.direction) for f in card.figures_of_merit)
    scales = Scales(log_gflop, Charge(**hour), figure, tuple(further))
    wanted = objectives(settings.objectives, scales)
    step = max(LEAST_STEP, math.log1p(settings.minimum_effect))
    return Goals(wanted, bounded(settings.within, scales), scales, step)


def metrics(settings: TuneSettings) -> frozenset[str]:
    """The names of all that has to be measured."""
    within = {each.metric for each in parse_constraints(settings.within)}
    return frozenset({*settings.objectives, *within})


# --- constraints ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Seen:
    """A constrained figure as far as it was seen: where it may lie, in the unit of the bound."""

    low: float
    estimate: float
    high: float

    def breaks(self, bound: float) -> bool | None:
        """None while that cannot be told."""
        if self.low >= bound:
            return True
        return False if self.high < bound else None


NOTHING_SEEN = Seen(0.0, 0.0, math.inf)


def seen(constraint: Constraint, rounds: Rounds, config: str, scales: Scales) -> Seen:
    """What is known of the constrained figure of a configuration, with SEARCH_CONFIDENCE each way.

    Of memory the largest of any process counts, and that is known.
    """
    if constraint.metric == CV:
        found = scatter_of(rounds, config, scales)
        if found is None:
            return NOTHING_SEEN
        return Seen(found.below(SEARCH_CONFIDENCE), found.cv, found.above(SEARCH_CONFIDENCE))
    values = _all_losses(constraint.metric, rounds, config, scales)
    if not values:
        return NOTHING_SEEN
    if constraint.metric == MEMORY:
        peak = math.exp(max(values))
        return Seen(peak, peak, peak)
    low, high = t_interval(values, 2.0 * SEARCH_CONFIDENCE - 1.0)
    return Seen(math.exp(low), math.exp(median(values)), math.exp(high) if high < 700 else math.inf)


def _all_losses(name: str, rounds: Rounds, config: str, scales: Scales) -> list[float]:
    return [value for runs in rounds for value in losses(name, runs, config, scales)]


def scatter_of(rounds: Rounds, config: str, scales: Scales) -> Scatter | None:
    """The run-to-run variation of a configuration's time within its allocations: of the process
    where what it prints is no time."""
    return scatter([[math.exp(v) for v in losses(TIME, r, config, scales)] for r in rounds])


# --- objectives -----------------------------------------------------------------------------------


def effects_of(
    objective: Objective, rounds: Rounds, default: str, scales: Scales
) -> Mapping[str, Effect]:
    """Every configuration's loss over the default's, over all rounds."""
    if objective.name == CV:
        return _effects_of_cv(rounds, default, scales)
    if not rounds:
        return {}
    return effects([valued(objective.name, runs, scales) for runs in rounds], default)


def _effects_of_cv(rounds: Rounds, default: str, scales: Scales) -> dict[str, Effect]:
    reference = scatter_of(rounds, default, scales)
    if reference is None or reference.cv == 0.0:
        return {}
    found = {}
    for config in sorted({run.config for runs in rounds for run in runs if run.pair > 0}):
        mine = scatter_of(rounds, config, scales)
        if mine is not None and mine.cv > 0.0:
            error = math.hypot(mine.log_error(), reference.log_error())
            found[config] = Effect(
                math.log(mine.cv / reference.cv), error, mine.degrees + 1, degrees=mine.degrees
            )
    return found | {default: Effect(0.0, 0.0, reference.degrees + 1)}


def standings(goals: Goals, rounds: Rounds, default: str) -> dict[str, Standing]:
    """Every configuration that was measured in all objectives, by its id."""
    tables = [effects_of(each, rounds, default, goals.scales) for each in goals.objectives]
    found = {}
    for config in tables[0]:
        if all(config in table for table in tables):
            rows = [table[config] for table in tables]
            found[config] = Standing(
                tuple(row.log_ratio for row in rows),
                tuple(row.spread for row in rows),
                *_states(goals, rounds, config),
            )
    return found


def _states(goals: Goals, rounds: Rounds, config: str) -> tuple[tuple[str, ...], ...]:
    """The constraints that are broken, those that may be, and of these the doubtful ones."""
    states = {c: seen(c, rounds, config, goals.scales) for c in goals.constraints}
    verdicts = {c: state.breaks(c.bound) for c, state in states.items()}
    unsure = [c for c, verdict in verdicts.items() if verdict is None]
    return (
        tuple(c.text for c, verdict in verdicts.items() if verdict),
        tuple(c.text for c in unsure),
        tuple(c.text for c in unsure if states[c].estimate >= c.bound),
    )


# --- who leads ------------------------------------------------------------------------------------


def leader(goals: Goals, trials: Sequence[Trial], known: Mapping[str, Standing]) -> Trial:
    """The best trial that breaks no constraint; the default (the first) where none is better.

    With one objective that is the one of the least loss. With several it is the first on the
    front in the order of the objectives: what differs by less than a step in one is told apart
    by the next. A trial that is not better than the default by more than its standard error is
    no better; but where the default breaks a constraint, or seems to, anything that does not is.
    """
    default = trials[0]
    others = [t for t in trials[1:] if t.failure is None and _allowed(t, known)]
    own = known.get(default.config.id)
    if own is None or not (own.broken or own.doubtful):
        nothing = (0.0,) * len(goals.objectives)
        others = [t for t in others if _place(goals, known[t.config.id]) < nothing]

    def order(trial: Trial) -> tuple[object, ...]:
        standing = known[trial.config.id]
        return _place(goals, standing), standing.losses, trial.config.id

    return min(others, key=order, default=default)


def _allowed(trial: Trial, known: Mapping[str, Standing]) -> bool:
    standing = known.get(trial.config.id)
    return standing is not None and not standing.broken


def _place(goals: Goals, standing: Standing) -> tuple[float, ...]:
    """Where it counts as being: at the origin is what is no better than the default."""
    if goals.several:
        return pareto.cautious(standing.losses, standing.spreads, goals.step)
    loss, spread = standing.losses[0], standing.spreads[0]
    return (loss if loss > 0.0 or loss + spread < 0.0 else 0.0,)


def front_of(
    goals: Goals, trials: Sequence[Trial], known: Mapping[str, Standing]
) -> tuple[Trial, ...]:
    """The trials that no other beats in everything, of those that break no constraint.

    Of several that differ by less than a step in every objective only the best one counts.
    """
    allowed = [t for t in trials if t.failure is None and _allowed(t, known)]
    by_place: dict[tuple[int, ...], Trial] = {}
    for trial in sorted(allowed, key=lambda t: (known[t.config.id].losses, t.config.id)):
        standing = known[trial.config.id]
        place = pareto.cautious(standing.losses, standing.spreads, goals.step)
        by_place.setdefault(place, trial)
    places = [*by_place]
    return tuple(by_place[places[index]] for index in pareto.front(places))


def history(
    goals: Goals, trials: Sequence[Trial], known: Mapping[str, Standing], seed: int, index: int
) -> tuple[Trial, ...]:
    """What the strategy sees before round `index`: one number a trial, less is better.

    Of several objectives it is their scalarisation, with weights drawn for the round. A trial that
    breaks a constraint keeps its number, which is true, and is marked: it teaches the search where
    it is fast and where it is not allowed.
    """
    if not goals.several:
        return tuple(trials)
    nothing = (0.0,) * len(goals.objectives)
    origin = {trials[0].config.id: Standing(nothing, nothing)}
    rows = [(t, s) for t in trials if t.failure is None
            and (s := known.get(t.config.id) or origin.get(t.config.id)) is not None]  # fmt: skip
    numbers = pareto.scalars(
        [standing.losses for _, standing in rows],
        [standing.spreads for _, standing in rows],
        pareto.weights(seed, index, len(goals.objectives)),
    )
    found = dict(zip([trial.config for trial, _ in rows], numbers, strict=True))
    return tuple(_with(trial, found.get(trial.config)) for trial in trials)


def _with(trial: Trial, number: pareto.Scalar | None) -> Trial:
    if number is None:
        return replace(trial, log_ratio=None, spread=None)
    return replace(trial, log_ratio=number.value, spread=number.spread)
