"""What a tune run does next: a pure function of its state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hpcagent.errors import EnvironmentProblem, HpcagentError, UsageError
from hpcagent.llm.roles import OPTIMISE
from hpcagent.measure import energy
from hpcagent.measure.objectives import ENERGY
from hpcagent.records import Config
from hpcagent.study import budget, units, words
from hpcagent.study.attempts import given_up, mended
from hpcagent.study.confirmations import confirmations, passed, shown_by
from hpcagent.study.feasibility import memory_problem
from hpcagent.study.goals import metrics
from hpcagent.study.history_recall import DECISION
from hpcagent.study.knowledge import Knowledge, failure_in
from hpcagent.study.settings import TuneSettings
from hpcagent.study.small_model import STRATEGY
from hpcagent.study.state import TuneState, Unit, round_purpose

# How often is proposed again for a round that has lost some of its places, and all of them.
REFILLS = 1
REFILLS_OF_NONE = 5


@dataclass(frozen=True)
class Submit:
    plan: units.Plan


@dataclass(frozen=True)
class Propose:
    """`spare_s` is what the run's time leaves beside this round and the confirmation."""

    round: int
    spare_s: float


@dataclass(frozen=True)
class Wait:
    """Nothing more can be done before one of the open units has ended."""


@dataclass(frozen=True)
class Recall:
    """Take from the history what the search begins with."""


@dataclass(frozen=True)
class InstallEmbedded:
    """No OpenBLAS on this machine: fetch the packaged one."""


@dataclass(frozen=True)
class Decide:
    """A decision to journal under `what`."""

    what: str
    data: dict[str, Any]


@dataclass(frozen=True)
class Close:
    """The end of the run: outcome word, sentence, exit code."""

    outcome: str
    text: str
    exit_code: int


Step = Submit | Propose | Recall | Wait | InstallEmbedded | Decide | Close
FolderOf = Callable[[Unit], str]


def next_step(known: Knowledge, now_utc: str, embedded: str | None, folder_of: FolderOf) -> Step:
    """The one thing to do now. `embedded` is a packaged OpenBLAS, if any.

    Units may be out already; only further rounds of the search are added to them.
    """
    state = known.state
    if not _may_add(state):
        return Wait()
    if state.facts is None:
        return attempt(state, units.probe_plan(state.settings, embedded))
    step = _ready_step(known, folder_of)
    if step is not None:
        return step
    build = state.done("build")
    folder = folder_of(build) if build is not None else ""  # an application is built already
    if "search_ended" not in state.decisions:
        return _search_step(known, now_utc, folder)
    return _claim_step(known, folder)


def _may_add(state: TuneState) -> bool:
    """Whether another unit could go out beside those that are out."""
    out = state.open_units
    if not out:
        return True
    if "search_ended" in state.decisions:
        return False
    if all(u.kind == "build" for u in out):  # a round's builds are made side by side
        return state.done("feasibility") is not None
    if shares_node(state.settings) and any(unit.job_id for unit in out):
        return False
    return all(u.kind == "round" for u in out) and len(out) < (
        state.settings.ahead * state.settings.pack
    )


def shares_node(settings: TuneSettings) -> bool:
    """Whether a language model computes where the rounds are measured: then not at the same time,
    so that there is no use in rounds ahead. The small model computes no longer than the search."""
    if settings.scheduler != "local" or not settings.model or settings.strategy == STRATEGY:
        return False
    from hpcagent.llm.routing import Models

    return Models.from_json(settings.routes, settings.model_hosts).computes_here(OPTIMISE)


def _closed_by(error: HpcagentError) -> Close:
    return Close("failed", str(error), error.exit_code)


def _ready_step(known: Knowledge, folder_of: FolderOf) -> Step | None:
    """What has to be done before the search; None where all of it is."""
    if known.card.is_application:
        return _application_step(known)
    return _library_step(known) or _preparation_step(known, folder_of)


def _application_step(known: Knowledge) -> Step | None:
    if known.card_problem is not None:
        return _closed_by(known.card_problem)
    if known.variants is not None:
        step = _default_variant_step(known)
        if step is not None:
            return step
    tried = known.state.done("feasibility")
    if tried is None:
        return attempt(known.state, units.feasibility_plan(known, ""))
    problem = _unmeasurable(known, tried)
    return _all_alike(known) if problem is None else Close("failed", problem, 3)


def _library_step(known: Knowledge) -> Step | None:
    state = known.state
    if known.build_problem:
        return Close("failed", known.build_problem, UsageError.exit_code)
    if known.library is None:
        return _missing_library(known)
    try:
        _ = known.unpruned if known.variants is None else None
    except (UsageError, EnvironmentProblem) as error:
        return _closed_by(error)
    if not known.workload.cases:
        return Close("failed", "the library has none of the workload's routines", 3)
    problem = memory_problem(known.workload, known.machine)
    if problem is not None:
        return Close("failed", problem, 2)
    if not any(c.language == "c" for c in known.machine.compilers):
        words = "no C compiler: install gcc (Debian: build-essential, RHEL: gcc make)"
        return Close("failed", f"{known.machine.host}: {words}", 3)
    if known.library.source == "embedded" and state.settings.scheduler != "local":
        return Close("failed", "name the OpenBLAS that your applications use: --openblas-prefix", 3)
    return None


def _missing_library(known: Knowledge) -> Step:
    state = known.state
    rejected = "; ".join(f"{path}: {why}" for path, why in known.rejected_libraries[:3])
    if state.settings.prefix:
        looked = rejected or "no libopenblas*.so there"
        return Close("failed", f"no usable OpenBLAS under {state.settings.prefix}: {looked}", 3)
    if state.settings.scheduler != "local":
        return Close("failed", "no OpenBLAS on the node: name one with --openblas-prefix", 3)
    if "embedded" not in state.decisions:
        return InstallEmbedded()
    path = str(state.decisions["embedded"]["path"])
    if state.done("probe-embedded") is None:
        plan = units.probe_plan(state.settings, path)
        return attempt(state, units.Plan("probe", "probe-embedded", plan.resources, plan.spec))
    return Close("failed", f"the packaged OpenBLAS cannot be used here: {rejected}", 3)


def _preparation_step(known: Knowledge, folder_of: FolderOf) -> Step | None:
    if known.variants is not None:
        step = _default_variant_step(known)
        if step is not None:
            return step
    build = known.state.done("build")
    if build is None:
        try:
            units.driver_sources(known)
        except UsageError as error:
            return _closed_by(error)
        return attempt(known.state, units.build_plan(known))
    foreign = _foreign_library(known, build) or _unmeasurable(known, build)
    if foreign is not None:
        return Close("failed", foreign, 3)
    if known.state.done("feasibility") is None:
        return attempt(known.state, units.feasibility_plan(known, folder_of(build)))
    return _all_alike(known)


def _all_alike(known: Knowledge) -> Close | None:
    """The end where there is nothing to search."""
    if known.space.size >= 2:
        return None
    words = "all but the default does not run here, or is the same as the default"
    if known.unpruned.size < 2:
        words = "values and restrictions leave only the default"
    return Close("nothing better", words, 0)


def _default_variant_step(known: Knowledge) -> Step | None:
    """Everything is compared with the default build: without it there is no run."""
    try:
        default = known.unpruned.default
        failure = known.failure_before(default)
        step = _builds_step(known, [default])
    except UsageError as error:
        return _closed_by(error)
    if failure is not None:
        return Close("failed", f"the default build failed ({failure.id}): {failure.evidence}", 7)
    return step


def _foreign_library(known: Knowledge, build: Unit) -> str | None:
    """Why the built driver would measure another library than the one it was linked with."""
    loaded = next((r.readback["library"] for r in build.runs if "library" in r.readback), "")
    if not loaded or not known.library_files or loaded in known.library_files:
        return None
    return (
        f"a program linked with {known.needed_library().path} loads {loaded} here: unset "
        "LD_PRELOAD (or what else replaces it), or name that one with --openblas-prefix"
    )


def _unmeasurable(known: Knowledge, first: Unit) -> str | None:
    """Why energy cannot be had; `first` is the first unit that the worker metered on the node."""
    if ENERGY not in metrics(known.state.settings) or any(run.joules for run in first.runs):
        return None
    return f"{known.machine.host} tells no energy (RAPL): {energy.CURE}"


def attempt(state: TuneState, plan: units.Plan) -> Step:
    """Submit it, unless it has failed for good; a repair of its request is decided on first."""
    lost = given_up(state, plan.purpose)
    if lost is None:
        asked, reasons = mended(state, plan.purpose, plan.resources)
        what = f"repair-{plan.purpose}-{len(reasons)}"
        if reasons and what not in state.decisions:
            return Decide(what, {"reason": reasons[-1]})
        return Submit(replace(plan, resources=asked))
    failure, unit = lost
    words = f"{plan.purpose} failed ({failure.id}): {failure.evidence}"
    return Close("failed", f"{words} [{unit}]", 7)


def _builds_step(known: Knowledge, configs: Sequence[Config]) -> Step | None:
    """What makes the builds of these ready, side by side; None where all are that can be."""
    unbuilt = [plan for config in configs if (plan := _unbuilt(known, config)) is not None]
    out = {unit.purpose for unit in known.state.open_units}
    if any(unit.kind != "build" for unit in known.state.open_units):
        return Wait() if unbuilt else None
    new = next((plan for plan in unbuilt if plan.purpose not in out), None)
    if new is not None:
        return attempt(known.state, new)
    return Wait() if unbuilt else None


def _to_refill(known: Knowledge, index: int) -> bool:
    """Whether to propose once more for a round some of whose builds failed or are the same program:
    they cost the round its places, and no measurement. A library's take so long that only a round
    that has lost all of them is filled: it would be for nothing, and is given more chances."""
    if known.variants is None:
        return False
    left = len(known.measurable(index))
    most = REFILLS_OF_NONE if not left else REFILLS if known.card.is_application else 0
    lost = len(known.state.proposed[index]) - left
    return lost > 0 and known.state.refilled.get(index, 0) < most


def _building_step(known: Knowledge, index: int) -> Step | None:
    """What is built for a round that is proposed; and before anything is proposed for it, to find
    the values that make builds of an application fail. None where all is that can be."""
    if known.variants is None:
        return None
    if index in known.state.proposed:
        step = _builds_step(known, [p.config for p in known.state.proposed[index]])
        if step is not None or not _to_refill(known, index):
            return step
    seen = known.builds_seen
    return _builds_step(known, seen.suspects) if seen is not None else None


def _unbuilt(known: Knowledge, config: Config) -> units.Plan | None:
    """What has to be made next for the configuration; None where all is, or it cannot be."""
    if known.failure_before(config) is not None:
        return None
    for plan in units.build_plans(known, config):
        if known.state.done(plan.purpose) is None:
            return plan
    return None


def _search_step(known: Knowledge, now_utc: str, folder: str) -> Step:
    state, settings = known.state, known.state.settings
    index = _next_round(state)
    if any(unit.kind == "build" for unit in state.open_units):
        # What they cost is known when they have ended.
        return _building_step(known, index) or Wait()
    spoilt = known.builds_seen.spoilt if known.builds_seen is not None else ""
    if spoilt and not state.open_units:
        told = f"nothing more can be built: {spoilt}"
        return _end(told) if state.rounds else Close("failed", told, 3)
    if index > settings.rounds:
        if state.open_units:
            return Wait()
        return _end("the budget of " + _rounds(settings.rounds) + " is used up")
    one = units.confirmation_plan(known, known.best.config, folder).need
    confirm = sum([one] * (settings.confirm_jobs - 1), one)
    likely = [c for c in known.space.first(settings.challengers) if known.failure_before(c) is None]
    size = units.round_plan(known, index, likely, folder)
    problem = budget.refused(state, size.need + confirm, now_utc)
    if problem is not None:
        if index == 1:
            more = budget.enough(state, size.need, confirm, now_utc)
            return Close("failed", f"the budget is too small for one round: {problem}; {more}", 5)
        return _end(problem)
    if index not in state.proposed:
        blaming = _building_step(known, index)
        if blaming is not None:
            return blaming
        remembers = settings.history and settings.speed_alone
        if index == 1 and remembers and DECISION not in state.decisions:
            return Recall()
        return Propose(index, budget.spare_s(state, size.need + confirm, now_utc))
    building = _building_step(known, index)
    if building is not None:
        return building
    challengers = known.measurable(index)
    if _to_refill(known, index) and not state.open_units:
        return Propose(index, budget.spare_s(state, size.need + confirm, now_utc))
    step = attempt(state, units.round_plan(known, index, challengers, folder))
    if isinstance(step, Close) and state.rounds:
        return _end(f"{round_purpose(index)} could not be measured: {step.text}")
    return step


def _next_round(state: TuneState) -> int:
    """The first round that is neither done nor out."""
    taken = {u.purpose for u in (*state.rounds, *state.open_units)}
    return next(i for i in range(1, len(taken) + 2) if round_purpose(i) not in taken)


def _rounds(count: int) -> str:
    return "1 round" if count == 1 else f"{count} rounds"


def _end(reason: str) -> Decide:
    return Decide("search_ended", {"reason": reason})


def _claim_step(known: Knowledge, folder: str) -> Step:
    state = known.state
    if "winner" not in state.decisions:
        return _choose_winner(known)
    values = state.decisions["winner"]["config"]
    if values is None:
        return Close("nothing better", str(state.decisions["winner"]["reason"]), 0)
    winner = Config.of(values)
    done = confirmations(state)
    if len(done) < state.settings.confirm_jobs and all(_passed(known, u, winner) for u in done):
        return attempt(state, units.confirmation_plan(known, winner, folder, len(done) + 1))
    return _outcome(known, done, winner)


def _passed(known: Knowledge, unit: Unit, winner: Config) -> bool:
    """Whether a further confirmation can show what this one leaves open."""
    return failure_in(unit.runs, winner.id) is None and passed(known, unit, winner)


def _choose_winner(known: Knowledge) -> Decide:
    best = known.best
    if best.log_ratio is None or best.config == known.unpruned.default:
        return Decide("winner", {"config": None, "reason": words.no_winner(known)})
    return Decide("winner", {"config": best.config.values, "reason": words.chosen(known)})


def _outcome(known: Knowledge, done: Sequence[Unit], winner: Config) -> Close:
    """What these confirmations show. Fewer than were asked for announce nothing."""
    for unit in done:
        failure = failure_in(unit.runs, winner.id)
        if failure is not None:
            told = f"the candidate failed in the confirmation ({failure.id}): {failure.evidence}"
            return Close("nothing better", told, 0)
    result = shown_by(known, done, winner)
    if result is None:
        return Close("failed", f"the confirmation has too few valid pairs [{done[-1].name}]", 7)
    return Close("improved" if result.improved else "nothing better", words.shown(result), 0)
