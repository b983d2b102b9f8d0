"""The confirmation of a run in records: the claim, and the speed-up of every case."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hpcagent.measure.results import Run
from hpcagent.measure.statistics import (
    Speedup,
    case_speedups,
    coefficient_of_variation,
    paired_log_ratios,
    paired_log_ratios_by_key,
    pairs_needed,
)
from hpcagent.records import Config
from hpcagent.study.knowledge import Knowledge
from hpcagent.study.state import TuneState, Unit
from hpcagent.study.summary import CaseSummary, ClaimSummary
from hpcagent.study.verdict import judged


def winner_of(state: TuneState) -> Config | None:
    values = state.decisions.get("winner", {}).get("config")
    return Config.of(values) if values else None


def claim_of(known: Knowledge, unit: Unit) -> ClaimSummary | None:
    winner = winner_of(known.state)
    result = judged(known, unit, winner) if winner is not None else None
    if winner is None or result is None:
        return None
    settings, default, made = known.state.settings, known.unpruned.default, result.claim
    return ClaimSummary(
        unit=unit.name,
        pairs=made.pairs,
        speedup=made.speedup,
        low=made.low,
        high=made.high,
        coverage=made.coverage,
        alpha=settings.alpha,
        minimum_effect=settings.minimum_effect,
        improved=made.improved,
        default_cv=_process_cv(unit.runs, default),
        best_cv=_process_cv(unit.runs, winner),
    )


def _process_cv(runs: Sequence[Run], config: Config) -> float:
    """Coefficient of variation of exp(objective), the weighted geometric mean time."""
    times = [math.exp(r.objective) for r in _good(runs, config) if r.objective is not None]
    return coefficient_of_variation(times) if len(times) > 1 else 0.0


def _good(runs: Sequence[Run], config: Config) -> list[Run]:
    return [run for run in runs if run.config == config.id and run.ok and run.pair > 0]


def cases_of(known: Knowledge) -> tuple[CaseSummary, ...]:
    """Per case, from the confirmation; before there is one, nothing is claimed by case."""
    unit, winner = known.state.done("confirm"), winner_of(known.state)
    if unit is None or winner is None:
        return ()
    default = known.unpruned.default
    coverage = 1.0 - known.state.settings.alpha
    if len(paired_log_ratios(unit.runs, winner.id, default.id)) < pairs_needed(coverage):
        return ()
    speedups = case_speedups(unit.runs, winner.id, default.id, coverage)
    ratios = paired_log_ratios_by_key(unit.runs, winner.id, default.id)
    return tuple(
        _case(known, unit, winner, case.key, speedups[case.key], ratios[case.key])
        for case in known.workload.cases
        if case.key in speedups
    )


def _case(
    known: Knowledge, unit: Unit, winner: Config, key: str, speedup: Speedup,
    log_ratios: Sequence[float],
) -> CaseSummary:  # fmt: skip
    case = next(c for c in known.workload.cases if c.key == key)
    before = [run.medians[key] for run in _good(unit.runs, known.unpruned.default)]
    after = [run.medians[key] for run in _good(unit.runs, winner)]
    best_s = _middle(after)
    return CaseSummary(
        key=key,
        weight=case.weight,
        default_s=_middle(before),
        best_s=best_s,
        coverage=speedup.coverage,
        speedup=speedup.speedup,
        low=speedup.low,
        high=speedup.high,
        default_cv=coefficient_of_variation(before),
        best_cv=coefficient_of_variation(after),
        ratios=tuple(math.exp(-value) for value in log_ratios),
        gflops=case.flops / best_s / 1e9,
    )


def _middle(values: Sequence[float]) -> float:
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2
