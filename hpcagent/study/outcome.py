"""From the journal to the one record that reports are drawn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from hpcagent.apps.filling import SEED, fill
from hpcagent.apps.space import Setting
from hpcagent.records import Config, Library, Machine
from hpcagent.study import budget, noise_notes, result_words
from hpcagent.study.function_words import function_warnings
from hpcagent.study.history_recall import came_of
from hpcagent.study.knowledge import Knowledge
from hpcagent.study.outcome_builds import builds_of
from hpcagent.study.outcome_confirm import cases_of, claim_of, winner_of
from hpcagent.study.outcome_goals import goals_summary
from hpcagent.study.outcome_model import model_summary
from hpcagent.study.outcome_trials import failures_of, infeasible_of, trials_of
from hpcagent.study.rundir import RunDir
from hpcagent.study.state import TuneState
from hpcagent.study.summary import ApplicationSummary, RunSummary, Spent, TrialSummary
from hpcagent.study.variation import variation
from hpcagent.toolchain.recipe import places

# Share of CPU time lost to other guests of the host that is worth telling.
STOLEN_SHARE = 0.05
_NO_SETTING = Setting((), (), ())


def summarise(run: RunDir, known: Knowledge) -> RunSummary:
    """The summary of a run at any point of its life."""
    state = known.state
    probed, searched = state.facts is not None, state.done("feasibility") is not None
    tunable = searched and known.tunable
    best = _best(known) if tunable else None
    setting = _seeded(known.setting(best), state) if best is not None else _NO_SETTING
    closed = state.closed or {}
    summary = RunSummary(
        run_id=run.id,
        found_as="" if run.path.name == run.id else str(run.path),
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
        claim=claim_of(known),
        cases=cases_of(known) if tunable else (),
        trials=trials_of(known) if tunable else (),
        infeasible=infeasible_of(known) if searched else (),
        failures=failures_of(state),
        model=model_summary(known, best),
        spent=_spent(state),
        warnings=_warnings(known),
        best_build=_build(known, best),
        goals=goals_summary(known, best) if best is not None else None,
        disturbances=noise_notes.disturbances(state),
        variation=variation(known),
        history=_history(state, trials_of(known) if tunable else ()),
        application=_application(known, best),
        repeated=_repeated(known) if tunable else (),
        builds=builds_of(known) if tunable else (),
    )
    return _with_words(summary, state.decisions.get(result_words.DECISION, {}))


def _with_words(summary: RunSummary, decision: Mapping[str, Any]) -> RunSummary:
    words = result_words.resolved(decision, summary)
    return replace(summary, words=words, words_by=str(decision.get("model", ""))) if words else (
        summary
    )  # fmt: skip


def _history(state: TuneState, trials: Sequence[TrialSummary]) -> str:
    taken = str(state.decisions.get("history", {}).get("reason", ""))
    kept = str((state.closed or {}).get("history", ""))
    return "; ".join(words for words in (taken, came_of(trials), kept) if words)


def phase(state: TuneState) -> str:
    """Where the run is, in one word or two."""
    if state.closed is not None:
        return "closed"
    if state.plan is not None:
        return "steps"
    out = state.open_units
    if out:
        return ", ".join(unit.purpose for unit in out) if len(out) < 4 else f"{len(out)} units out"
    if "winner" in state.decisions:
        return "confirm" if winner_of(state) is not None else "report"
    return "search" if state.done("feasibility") else "preparation"


def _machine(known: Knowledge) -> Machine:
    return known.machine


def _library(known: Knowledge, best: Config | None) -> Library | None:
    """What was tuned; where builds were searched, the best one. Of an application nothing."""
    if known.card.is_application or known.build_problem:
        return None
    if known.variants is not None and best is not None:
        return known.variants.of(best).library
    return known.library


def _application(known: Knowledge, best: Config | None) -> ApplicationSummary | None:
    """Before it has been tried nothing is said of what runs."""
    settings = known.state.settings
    if not settings.of_application:
        return None
    card, made, default = known.card, _NO_SETTING, _NO_SETTING
    if best is not None:
        made = _seeded(known.setting(best), known.state)
        default = _seeded(known.setting(known.unpruned.default), known.state)
    return ApplicationSummary(
        title=card.title,
        card=settings.card_source,
        folder=settings.card_folder,
        prefix=_installed(known, best),
        command=(*made.prefix, *made.command),
        default=(*default.prefix, *default.command),
        files=made.files,
        inputs=tuple(card.inputs),
        unset=tuple(card.unset),
        cases=tuple(card.cases),
        modules=made.modules,
        module_init=known.variants.module_init if made.modules and known.variants else "",
    )


def _repeated(known: Knowledge) -> tuple[tuple[Config, Config], ...]:
    if known.builds_seen is None:
        return ()
    proposed = [p.config for row in known.state.proposed.values() for p in row]
    same = known.builds_seen.same
    return tuple((config, same[config.id]) for config in proposed if config.id in same)


def _installed(known: Knowledge, best: Config | None) -> str:
    """Where the application is: of several builds, the best one's folder."""
    if known.variants is None or best is None:
        return known.state.settings.prefix
    return places(known.variants.of(best).recipe, known.variants.store)["prefix"]


def _seeded(setting: Setting, state: TuneState) -> Setting:
    """Of an application with the run's seed, where a measurement has one for each pair."""
    if not state.settings.of_application:
        return setting
    seed = {SEED: str(state.settings.seed)}
    return replace(
        setting,
        env=tuple((name, fill(text, seed)) for name, text in setting.env),
        prefix=tuple(fill(word, seed) for word in setting.prefix),
        command=tuple(fill(word, seed) for word in setting.command),
        files=tuple((name, fill(text, seed)) for name, text in setting.files),
    )


def _build(known: Knowledge, best: Config | None) -> tuple[tuple[str, str], ...]:
    """The best build: its compiler, and every parameter of it."""
    if known.variants is None or best is None:
        return ()
    recipe = known.variants.of(best).recipe
    if known.card.is_application:
        return recipe.lines
    compiler = [("compiler", one.path) for one in recipe.compilers[:1]]
    return (*compiler, *recipe.parameters)


def _space(known: Knowledge) -> tuple[tuple[str, tuple[str, ...], str], ...]:
    return tuple((p.name, p.values, p.default) for p in known.space.params)


def _best(known: Knowledge) -> Config:
    """The confirmed winner; while unconfirmed the leader; the default where nothing is better."""
    state = known.state
    if state.closed is None:
        return known.best.config
    winner = winner_of(state)
    return winner if _improved(state) and winner is not None else known.unpruned.default


def _improved(state: TuneState) -> bool:
    return state.closed is not None and state.closed.get("outcome") == "improved"


def _spent(state: TuneState) -> Spent:
    last = state.closed_utc or state.last_utc
    return Spent(
        units=len(state.units),
        rounds=len(state.rounds),
        core_hours=budget.spent_core_hours(state),
        wall_s=budget.elapsed_s(state, last),
        jobs=len({unit.job_id for unit in state.units if unit.job_id}),
    )


def _warnings(known: Knowledge) -> tuple[str, ...]:
    state = known.state
    found = list(function_warnings(state))
    if state.facts is not None and known.library is not None:
        if known.library.source == "embedded":
            found.append(
                "the packaged OpenBLAS was tuned, because none is installed here: "
                "no application links it by itself"
            )
        dropped = len(state.settings.workload or ()) - len(known.workload.cases)
        if state.settings.workload is not None and dropped > 0:
            found.append(f"{dropped} cases of the workload need routines this library lacks")
    if state.facts is not None and known.tunable and known.unset_here:
        found.append(
            f"set in the environment of this run, and left out of every measurement: "
            f"{' '.join(known.unset_here)}; unset them where the result is used"
        )
    several = _improved(state) and len(known.workload.cases) > 1
    slower = [case.key for case in cases_of(known) if case.high < 1.0] if several else []
    if slower:
        what, cure = "routine", "tune with a workload of your own"
        if state.settings.of_application:
            what, cure = "case", "give it more weight in the card"
        found.append(
            f"not every {what} gains: {', '.join(slower)} became slower (the whole interval is "
            f"below 1); if your work is mostly of that kind, {cure}"
        )
    rounds = [unit.runs for unit in state.units if unit.kind == "round"]
    measured = sum(len(runs) for runs in rounds)
    stolen = sum(1 for runs in rounds for run in runs if run.steal and run.steal > STOLEN_SHARE)
    if stolen:
        found.append(
            f"the hypervisor took more than {100 * STOLEN_SHARE:.0f} % of the CPU time during "
            f"{stolen} of {measured} processes: the intervals are wider for it"
        )
    return (*found, *noise_notes.oddities(state), *noise_notes.warnings(known))
