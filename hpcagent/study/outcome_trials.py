"""What a run tried, and what failed, in records."""

from __future__ import annotations

import math

from hpcagent.measure.statistics import verdicts
from hpcagent.measure.statistics.multiple import VERDICT_LEVEL
from hpcagent.records import Config, Failure
from hpcagent.study.confirmations import confirmations
from hpcagent.study.knowledge import Knowledge, failure_in, round_index
from hpcagent.study.outcome_confirm import winner_of
from hpcagent.study.state import TuneState, Unit
from hpcagent.study.summary import InfeasibleValue, TrialSummary
from hpcagent.toolchain.buildend import build_end


def trials_of(known: Knowledge) -> tuple[TrialSummary, ...]:
    state = known.state
    units = {round_index(unit): unit for unit in state.rounds}
    reasons = {
        (index, p.config.id): p.reason for index, rows in state.proposed.items() for p in rows
    }
    found = verdicts(known.effects, known.unpruned.default.id, VERDICT_LEVEL)
    rows = []
    for number, trial in enumerate(known.trials, start=1):
        unit = units.get(trial.round)
        effect = known.effects.get(trial.config.id)
        standing = known.standings.get(trial.config.id)
        rows.append(
            TrialSummary(
                evaluation=number,
                round=trial.round,
                config=trial.config,
                proposed_by=trial.proposed_by,
                reason=reasons.get((trial.round, trial.config.id), "the default"),
                speedup=None if trial.log_ratio is None else math.exp(-trial.log_ratio),
                spread=trial.spread,
                pairs=effect.pairs if effect else 0,
                status=_status(unit, trial.config, trial.failure),
                failure=trial.failure,
                unit=unit.name if unit else "",
                verdict=found[trial.config.id].verdict if trial.config.id in found else "open",
                broken=standing.broken if standing is not None else (),
            )
        )
    return tuple(rows)


def _status(unit: Unit | None, config: Config, failure: Failure | None) -> str:
    if failure is not None:
        return failure.id
    timings = unit.runs.timings() if unit else ()
    ended = any(one.config == config.id and one.status == "dropped" for one in timings)
    return "dropped" if ended else "ok"


def infeasible_of(known: Knowledge) -> tuple[InfeasibleValue, ...]:
    unbuildable = known.builds_seen.unbuildable if known.builds_seen is not None else ()
    return tuple(
        InfeasibleValue(p.param, p.value, p.failure, p.alias_of)
        for p in (*known.probed, *unbuildable)
        if not p.kept
    )


def failures_of(state: TuneState) -> tuple[tuple[str, Failure], ...]:
    """Failed units, and what failed in those that succeeded: challengers, incumbent, candidate."""
    found: list[tuple[str, Failure]] = []
    for unit in state.units:
        if unit.failure is not None:
            found.append((unit.name, unit.failure))
        elif not state.rounds and unit.kind == "build" and unit.steps:
            failure = build_end(unit.steps).failure
            found += [(unit.name, failure)] if failure is not None else []
    for unit in state.rounds:
        proposed = [p.config.id for p in state.proposed.get(round_index(unit), ())]
        for config in (*proposed, str(unit.spec.get("reference", ""))):
            failure = failure_in(unit.runs, config)
            if failure is not None:
                found.append((config, failure))
    winner = winner_of(state)
    for confirm in confirmations(state):
        failure = failure_in(confirm.runs, winner.id) if winner is not None else None
        if failure is not None:
            found.append((confirm.name, failure))
    return tuple(found)
