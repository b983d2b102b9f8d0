"""What a run was for, in records: claims, constraints, and the trade-off between objectives."""

from __future__ import annotations

import math

from hpcagent.measure.objectives import COST, CV, Charge, Constraint
from hpcagent.records import Config, Trial
from hpcagent.study import words
from hpcagent.study.confirmations import confirmations, shown_by
from hpcagent.study.goals import Standing, front_of
from hpcagent.study.knowledge import Knowledge
from hpcagent.study.outcome_confirm import winner_of
from hpcagent.study.summary import BoundSummary, GoalClaim, GoalsSummary, PointSummary
from hpcagent.study.verdict import Bound, Figures, Verdict


def goals_summary(known: Knowledge, recommended: Config) -> GoalsSummary | None:
    """None for a run that is for time alone. `recommended` is the one that best.env sets."""
    settings = known.state.settings
    if settings.plain:
        return None
    verdict = _verdict(known)
    goals = known.goals
    return GoalsSummary(
        objectives=tuple((each.name, each.unit, each.direction) for each in goals.objectives),
        within=settings.within,
        claims=() if verdict is None else tuple(_claim(f, verdict) for f in verdict.figures),
        bounds=() if verdict is None else tuple(_bound(b) for b in verdict.bounds),
        points=_points(known, recommended),
        reason=_reason(known, recommended),
        kept=verdict is not None and verdict.kept,
        rescued=verdict is not None and verdict.complete and verdict.rescued,
        improved=verdict is not None and verdict.improved,
        price=price_words(goals.scales.charge) if COST in settings.objectives else "",
    )


def _verdict(known: Knowledge) -> Verdict | None:
    winner = winner_of(known.state)
    return shown_by(known, confirmations(known.state), winner) if winner is not None else None


def _claim(figures: Figures, verdict: Verdict) -> GoalClaim:
    objective, made = figures.objective, figures.claim
    return GoalClaim(
        objective.name, objective.unit, objective.direction, figures.default, figures.winner,
        made.speedup, made.low, made.high, made.coverage,
        made.improved and verdict.complete, objective.name != CV,
    )  # fmt: skip


def _bound(bound: Bound) -> BoundSummary:
    wanted = bound.constraint
    limit, default, best, high = (
        _as_printed(wanted, value)
        for value in (wanted.bound, bound.default, bound.value, bound.high)
    )
    return BoundSummary(
        wanted.text, wanted.metric, limit, default, best, high, bound.state, bound.default_state,
        bound.needed, wanted.inverse,
    )  # fmt: skip


def _as_printed(wanted: Constraint, value: float) -> float:
    if not wanted.inverse:
        return value
    return 1.0 / value if value else math.inf


# --- the trade-off --------------------------------------------------------------------------------


def _points(known: Knowledge, recommended: Config) -> tuple[PointSummary, ...]:
    standings = known.standings
    good = [trial for trial in known.trials if trial.failure is None]
    front = {t.config for t in front_of(known.goals, good, standings)}
    return tuple(
        _point(number, trial, standings[trial.config.id], trial.config in front, recommended)
        for number, trial in enumerate(known.trials, start=1)
        if trial.failure is None and trial.config.id in standings
    )


def _point(
    number: int, trial: Trial, standing: Standing, on_front: bool, recommended: Config
) -> PointSummary:
    rows = list(zip(standing.losses, standing.spreads, strict=True))
    return PointSummary(
        evaluation=number,
        config=trial.config,
        gains=tuple(math.exp(-loss) for loss, _ in rows),
        lows=tuple(math.exp(-loss - 2.0 * spread) for loss, spread in rows),
        highs=tuple(math.exp(-loss + 2.0 * spread) for loss, spread in rows),
        front=on_front,
        recommended=trial.config == recommended,
        broken=standing.broken,
        unsure=standing.unsure,
    )


def _reason(known: Knowledge, recommended: Config) -> str:
    """Why this point of all."""
    settings = known.state.settings
    if recommended == known.unpruned.default:
        return "the default: nothing else is proven to be better" if known.state.closed else ""
    first, *others = settings.objectives
    reason = f"the best in {first}" + words.within(settings.within)
    if others:
        least = f"{100.0 * settings.minimum_effect:g} %"
        reason += f"; what differs by less than {least} in it is told apart by {', '.join(others)}"
    return reason


def price_words(charge: Charge) -> str:
    """What an hour costs, in words."""
    text = f"an hour of the job costs {charge.job_hour:g} {charge.unit}"
    if charge.cpu_hour is None:
        return text + ", whatever runs in it"
    return (
        f"an hour costs {charge.cpu_hour:g} {charge.unit} for each thread that a configuration "
        f"has, at most {charge.job_hour:g}"
    )
