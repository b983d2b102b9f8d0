"""From the journal to the one record that reports are drawn from."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hpcagent.apps.space import Setting
from hpcagent.llm.log import FAILED
from hpcagent.measure.results import Run
from hpcagent.measure.statistics import (
    Speedup,
    case_speedups,
    coefficient_of_variation,
    paired_log_ratios,
    paired_log_ratios_by_key,
    pairs_needed,
    verdicts,
)
from hpcagent.measure.statistics.multiple import VERDICT_LEVEL
from hpcagent.records import Config, Failure, Library, Machine
from hpcagent.search.earned import earned
from hpcagent.study import budget, noise_notes
from hpcagent.study.knowledge import Knowledge, failure_in, round_index
from hpcagent.study.rundir import RunDir
from hpcagent.study.state import TuneState, Unit
from hpcagent.study.summary import (
    CaseSummary,
    ClaimSummary,
    InfeasibleValue,
    ModelSummary,
    RunSummary,
    Spent,
    TrialSummary,
)
from hpcagent.study.tune import judged
from hpcagent.study.variation import variation

# Share of CPU time lost to other guests of the host that is worth telling.
STOLEN_SHARE = 0.05
_NO_SETTING = Setting((), (), ())


def summarise(run: RunDir, known: Knowledge) -> RunSummary:
    """The summary of a run at any point of its life."""
    state = known.state
    probed, searched = state.facts is not None, state.done("feasibility") is not None
    tunable = searched and known.library is not None
    best = _best(known) if tunable else None
    setting = known.setting(best) if best is not None else _NO_SETTING
    confirm = state.done("confirm")
    closed = state.closed or {}
    return RunSummary(
        run_id=run.id,
        kind=run.kind,
        app=state.settings.app,
        version=state.version,
        seed=state.settings.seed,
        command=state.settings.command(),
        created_utc=state.created_utc,
        closed_utc=state.closed_utc,
        phase=phase(state),
        outcome=str(closed.get("outcome", "")),
        outcome_text=str(closed.get("text", "")),
        stop_reason=str(state.decisions.get("search_ended", {}).get("reason", "")),
        machine=_machine(known) if probed else None,
        library=_library(known, best) if probed else None,
        space=_space(known) if tunable else (),
        points=known.space.size if tunable else 0,
        best=best,
        best_environment=setting.env,
        best_prefix=setting.prefix,
        best_binding=setting.binding,
        claim=_claim(known, confirm) if confirm is not None else None,
        cases=_cases(known) if tunable else (),
        trials=_trials(known) if tunable else (),
        infeasible=_infeasible(known) if searched else (),
        failures=_failures(state),
        model=_model(known, best),
        spent=_spent(state),
        warnings=_warnings(known),
        best_build=_build(known, best),
        disturbances=noise_notes.disturbances(state),
        variation=variation(known),
        history=_history(state),
    )


def _history(state: TuneState) -> str:
    taken = str(state.decisions.get("history", {}).get("reason", ""))
    kept = str((state.closed or {}).get("history", ""))
    return "; ".join(words for words in (taken, kept) if words)


def phase(state: TuneState) -> str:
    """Where the run is, in one word or two."""
    if state.closed is not None:
        return "closed"
    out = state.open_units
    if out:
        return ", ".join(unit.purpose for unit in out) if len(out) < 4 else f"{len(out)} units out"
    if "winner" in state.decisions:
        return "confirm" if _winner(state) is not None else "report"
    return "search" if state.done("feasibility") else "preparation"


def _machine(known: Knowledge) -> Machine:
    return known.machine


def _library(known: Knowledge, best: Config | None) -> Library | None:
    """What was tuned; where builds were searched, the best one."""
    if known.build_problem:
        return None
    if known.variants is not None and best is not None:
        return known.variants.of(best).library
    return known.library


def _build(known: Knowledge, best: Config | None) -> tuple[tuple[str, str], ...]:
    """The best build: its compiler, and every parameter of it."""
    if known.variants is None or best is None:
        return ()
    recipe = known.variants.of(best).recipe
    return (("compiler", recipe.compilers[0].path), *recipe.parameters)


def _space(known: Knowledge) -> tuple[tuple[str, tuple[str, ...], str], ...]:
    return tuple((p.name, p.values, p.default) for p in known.space.params)


def _winner(state: TuneState) -> Config | None:
    values = state.decisions.get("winner", {}).get("config")
    return Config.of(values) if values else None


def _best(known: Knowledge) -> Config:
    """The confirmed winner; while unconfirmed the leader; the default where nothing is better."""
    state = known.state
    if state.closed is None:
        return known.best.config
    winner = _winner(state)
    return winner if _improved(state) and winner is not None else known.unpruned.default


def _improved(state: TuneState) -> bool:
    return state.closed is not None and state.closed.get("outcome") == "improved"


def _claim(known: Knowledge, unit: Unit) -> ClaimSummary | None:
    winner = _winner(known.state)
    result = judged(known, unit, winner) if winner is not None else None
    if winner is None or result is None:
        return None
    settings, default = known.state.settings, known.unpruned.default
    return ClaimSummary(
        unit=unit.name,
        pairs=result.pairs,
        speedup=result.speedup,
        low=result.low,
        high=result.high,
        coverage=result.coverage,
        alpha=settings.alpha,
        minimum_effect=settings.minimum_effect,
        improved=result.improved,
        default_cv=_process_cv(unit.runs, default),
        best_cv=_process_cv(unit.runs, winner),
    )


def _process_cv(runs: Sequence[Run], config: Config) -> float:
    """Coefficient of variation of exp(objective), the weighted geometric mean time."""
    times = [math.exp(r.objective) for r in _good(runs, config) if r.objective is not None]
    return coefficient_of_variation(times) if len(times) > 1 else 0.0


def _good(runs: Sequence[Run], config: Config) -> list[Run]:
    return [run for run in runs if run.config == config.id and run.ok and run.pair > 0]


def _cases(known: Knowledge) -> tuple[CaseSummary, ...]:
    """Per case, from the confirmation; before there is one, nothing is claimed by case."""
    unit, winner = known.state.done("confirm"), _winner(known.state)
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


def _trials(known: Knowledge) -> tuple[TrialSummary, ...]:
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
        rows.append(
            TrialSummary(
                evaluation=number,
                round=trial.round,
                config=trial.config,
                proposed_by=trial.proposed_by,
                reason=reasons.get((trial.round, trial.config.id), "what the library does unset"),
                speedup=None if trial.log_ratio is None else math.exp(-trial.log_ratio),
                spread=trial.spread,
                pairs=effect.pairs if effect else 0,
                status=_status(unit, trial.config, trial.failure),
                failure=trial.failure,
                unit=unit.name if unit else "",
                verdict=found[trial.config.id].verdict if trial.config.id in found else "open",
            )
        )
    return tuple(rows)


def _status(unit: Unit | None, config: Config, failure: Failure | None) -> str:
    if failure is not None:
        return failure.id
    timings = unit.runs.timings() if unit else ()
    ended = any(one.config == config.id and one.status == "dropped" for one in timings)
    return "dropped" if ended else "ok"


def _infeasible(known: Knowledge) -> tuple[InfeasibleValue, ...]:
    return tuple(
        InfeasibleValue(p.param, p.value, p.failure, p.alias_of) for p in known.probed if not p.kept
    )


def _failures(state: TuneState) -> tuple[tuple[str, Failure], ...]:
    """Failed units, and what failed in those that succeeded: challengers, or the candidate."""
    found: list[tuple[str, Failure]] = []
    for unit in state.units:
        if unit.failure is not None:
            found.append((unit.name, unit.failure))
    for unit in state.rounds:
        for proposal in state.proposed.get(round_index(unit), ()):
            failure = failure_in(unit.runs, proposal.config.id)
            if failure is not None:
                found.append((proposal.config.id, failure))
    confirm, winner = state.done("confirm"), _winner(state)
    if confirm is not None and winner is not None:
        failure = failure_in(confirm.runs, winner.id)
        if failure is not None:
            found.append((confirm.name, failure))
    return tuple(found)


def _model(known: Knowledge, best: Config | None) -> ModelSummary:
    state = known.state
    calls = state.calls
    valid = sum(1 for call in calls if call.get("verdict") == "accepted")
    measured = 0
    bests = False
    share = ""
    if state.done("feasibility") is not None and known.library is not None:
        picks = [trial for trial in known.trials if trial.proposed_by == "model"]
        measured = len(picks)
        bests = any(trial.config == best for trial in picks)
        share = earned(known.trials).words()
    return ModelSummary(
        used=bool(state.settings.model),
        name=state.settings.model,
        calls=len(calls),
        valid=valid,
        invalid=len(calls) - valid,
        picks_measured=measured,
        best_is_models=bests,
        seconds=sum(float(call.get("seconds") or 0.0) for call in calls),
        note=_model_note(state),
        earned=share,
    )


def _model_note(state: TuneState) -> str:
    """What went wrong with the model itself, apart from answers that could not be used."""
    parts = [str(state.decisions.get("model", {}).get("note", ""))]
    verdicts = [str(call.get("verdict") or "") for call in state.calls]
    failed = [verdict for verdict in verdicts if verdict.startswith(FAILED)]
    if failed:
        parts.append(f"{len(failed)} of the invalid ones gave no answer, last: {failed[-1][:200]}")
    return "; ".join(part for part in parts if part)


def _spent(state: TuneState) -> Spent:
    last = state.closed_utc or state.last_utc
    return Spent(
        units=len(state.units),
        rounds=len(state.rounds),
        core_hours=budget.spent_core_hours(state),
        wall_s=budget.elapsed_s(state, last),
    )


def _function_warnings(state: TuneState) -> list[str]:
    """What became of the user's own function, where that is worth telling."""
    found = []
    if "function" in state.decisions:
        found.append(f"the function's file changed: {state.decisions['function']['reason']}")
    failed = [what for what in state.decisions if what.startswith("function-")]
    if failed:
        last = str(state.decisions[failed[-1]]["reason"])
        rounds = ", ".join(what.removeprefix("function-") for what in failed)
        found.append(
            f"the user's function had answers that could not be used in round {rounds}, last: "
            f"{last[:200]}; where no try was left the surrogate chose; see function.log"
        )
    return found


def _warnings(known: Knowledge) -> tuple[str, ...]:
    state = known.state
    found = _function_warnings(state)
    if state.facts is not None and known.library is not None:
        if known.library.source == "embedded":
            found.append(
                "the packaged OpenBLAS was tuned, because none is installed here: "
                "no application links it by itself"
            )
        dropped = len(state.settings.workload or ()) - len(known.workload.cases)
        if state.settings.workload is not None and dropped > 0:
            found.append(f"{dropped} cases of the workload need routines this library lacks")
        if known.unset_here:
            found.append(
                f"set in the environment of this run, and left out of every measurement: "
                f"{' '.join(known.unset_here)}; unset them where the result is used"
            )
    slower = [case.key for case in _cases(known) if case.high < 1.0] if _improved(state) else []
    if slower:
        found.append(
            f"not every routine gains: {', '.join(slower)} became slower (the whole interval is "
            "below 1); if your work is mostly of that kind, tune with a workload of your own"
        )
    rounds = [unit.runs for unit in state.units if unit.kind == "round"]
    measured = sum(len(runs) for runs in rounds)
    stolen = sum(1 for runs in rounds for run in runs if run.steal and run.steal > STOLEN_SHARE)
    if stolen:
        found.append(
            f"the hypervisor took more than {100 * STOLEN_SHARE:.0f} % of the CPU time during "
            f"{stolen} of {measured} processes: the intervals are wider for it"
        )
    return (*found, *noise_notes.warnings(known))
