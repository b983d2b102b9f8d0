"""The confirmation of a run in records: the claim, and the speed-up of every case."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from hpcagent.measure.objectives import MIN, TIME, losses
from hpcagent.measure.results import Run
from hpcagent.measure.statistics import (
    Speedup,
    case_speedups,
    coefficient_of_variation,
    in_common,
    paired_log_ratios,
    paired_log_ratios_by_key,
    pairs_needed,
)
from hpcagent.records import Config
from hpcagent.study.confirmations import ALONE, confirmations, passed, shown_alone, shown_by
from hpcagent.study.knowledge import Knowledge
from hpcagent.study.state import TuneState, Unit
from hpcagent.study.summary import CaseSummary, ClaimSummary, JobClaim


def winner_of(state: TuneState) -> Config | None:
    values = state.decisions.get("winner", {}).get("config")
    return Config.of(values) if values else None


def claim_of(known: Knowledge) -> ClaimSummary | None:
    """None before there is a confirmation, or where it has too few valid pairs."""
    winner, done = winner_of(known.state), confirmations(known.state)
    result = shown_by(known, done, winner) if winner is not None else None
    if winner is None or result is None:
        return None
    settings, default, made = known.state.settings, known.unpruned.default, result.claim
    return ClaimSummary(
        unit=done[0].name,
        pairs=made.pairs,
        speedup=made.speedup,
        low=made.low,
        high=made.high,
        coverage=made.coverage,
        alpha=settings.alpha,
        minimum_effect=settings.minimum_effect,
        improved=made.improved and result.complete,
        default_cv=_process_cv(known, done, default),
        best_cv=_process_cv(known, done, winner),
        jobs=_jobs(known, done, winner),
        jobs_asked=settings.confirm_jobs,
    )


def _jobs(known: Knowledge, done: Sequence[Unit], winner: Config) -> tuple[JobClaim, ...]:
    """Each confirmation by itself."""
    each = ((unit, shown_alone(known, unit, winner)) for unit in done)
    return tuple(
        JobClaim(
            unit.name,
            unit.node,
            v.claim.speedup,
            v.claim.low,
            v.claim.high,
            passed(known, unit, winner),
        )
        for unit, v in each
        if v is not None
    )


def _process_cv(known: Knowledge, done: Sequence[Unit], config: Config) -> float:
    """Coefficient of variation of the weighted geometric mean time; of the time of a process where
    what it prints is no time."""
    scales = known.goals.scales
    return _cv_within(
        [math.exp(value) for value in losses(TIME, unit.runs, config.id, scales)] for unit in done
    )


def _cv_within(jobs: Iterable[Sequence[float]]) -> float:
    """Within a job, of several jobs their mean: how fast a node is does not count."""
    found = [coefficient_of_variation(times) if len(times) > 1 else 0.0 for times in jobs]
    return sum(found) / len(found)


def _good(runs: Sequence[Run], config: Config) -> list[Run]:
    return [run for run in runs if run.config == config.id and run.ok and run.pair > 0]


def cases_of(known: Knowledge) -> tuple[CaseSummary, ...]:
    """Per case, from the confirmation; before there is one, nothing is claimed by case.

    Of several jobs as of the claim (measure.statistics.together). None where what is printed is no
    time.
    """
    done, winner = confirmations(known.state), winner_of(known.state)
    printed = known.card.figures_of_merit[0]
    if not done or winner is None or (printed.unit, printed.direction) != ("s", MIN):
        return ()
    ids = (winner.id, known.unpruned.default.id)
    coverage = 1.0 - known.state.settings.alpha
    if min(len(paired_log_ratios(unit.runs, *ids)) for unit in done) < pairs_needed(coverage):
        return ()
    of_jobs = [[unit.runs] for unit in done]
    surely = [case_speedups(runs, *ids, coverage) for runs in of_jobs]
    first = [case_speedups([unit.runs for unit in done], *ids, coverage)]
    if known.state.settings.confirm_jobs > 1:
        first += [case_speedups(runs, *ids, 1.0 - ALONE) for runs in of_jobs]
    ratios = [paired_log_ratios_by_key(unit.runs, *ids) for unit in done]
    return tuple(
        _case(
            known, done, winner, case.key,
            ([row[case.key] for row in first], [row[case.key] for row in surely]),
            [ratio for row in ratios for ratio in row[case.key]],
        )
        for case in known.workload.cases
        if all(case.key in row for row in (*first, *surely))
    )  # fmt: skip


def _case(
    known: Knowledge, done: Sequence[Unit], winner: Config, key: str,
    hulls: tuple[Sequence[Speedup], Sequence[Speedup]], log_ratios: Sequence[float],
) -> CaseSummary:  # fmt: skip
    case = next(c for c in known.workload.cases if c.key == key)
    default = known.unpruned.default
    before, after = (
        [[run.medians[key] for run in _good(unit.runs, config)] for unit in done]
        for config in (default, winner)
    )
    best_s = _middle([seconds for job in after for seconds in job])
    whole = hulls[0][0]
    low, high = in_common(*hulls)
    return CaseSummary(
        key=key,
        weight=case.weight,
        default_s=_middle([seconds for job in before for seconds in job]),
        best_s=best_s,
        coverage=whole.coverage,
        speedup=whole.speedup,
        low=low,
        high=high,
        default_cv=_cv_within(before),
        best_cv=_cv_within(after),
        ratios=tuple(math.exp(-value) for value in log_ratios),
        gflops=case.flops / best_s / 1e9 if case.flops else None,
    )


def _middle(values: Sequence[float]) -> float:
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2
