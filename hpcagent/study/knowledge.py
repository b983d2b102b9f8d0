"""What follows from the state of a run: machine, library, space, repeats, trials.

Nothing here is stored; it is derived from the journal each time, so that it cannot disagree
with it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from hpcagent.apps.application_builds import ApplicationBuilds
from hpcagent.apps.card import Card, load_card
from hpcagent.apps.filling import Places
from hpcagent.apps.space import (
    Knobs,
    Setting,
    application_knobs,
    cpus_requested,
    find_knobs,
    tasks_requested,
    whole_space,
    without_doubles,
)
from hpcagent.apps.variants import Builds
from hpcagent.apps.workload import Workload, default_workload, one_program, workload_from
from hpcagent.errors import EnvironmentProblem, HpcagentError, RunFailed, UsageError
from hpcagent.measure.packed import Runs
from hpcagent.measure.results import failure_of
from hpcagent.measure.statistics import Effect, effects
from hpcagent.probe.machine import parse_machine
from hpcagent.probe.openblas import choose_library, parse_libraries
from hpcagent.probe.rawfacts import RawFacts
from hpcagent.records import Compiler, Config, Failure, Library, Machine, Proposal, Trial
from hpcagent.search.space import Space
from hpcagent.study import building
from hpcagent.study.builds_seen import BuildsSeen
from hpcagent.study.feasibility import (
    Probed,
    default_answers,
    default_seconds,
    default_wall_s,
    judge_feasibility,
)
from hpcagent.study.goals import Goals, Standing, effects_of, goals_of, history, leader, standings
from hpcagent.study.state import TuneState, Unit

MAX_REPEATS = 2000


_FROM_FACTS = frozenset(
    {
        "card",
        "machine",
        "library",
        "rejected_libraries",
        "compiler",
        "workload",
        "knobs",
        "unpruned",
        "variants",
        "build_problem",
        "card_problem",
        "goals",
    }
)
_FROM_FEASIBILITY = frozenset(
    {"probed", "space", "_distinct", "seconds_per_call", "repeats", "process_s", "answers"}
)
_FROM_ROUNDS = frozenset({"effects", "standings", "trials", "best"})


@dataclass(frozen=True)
class Knowledge:
    """A view of a state. Properties raise RunFailed when asked before their facts are there."""

    state: TuneState

    def after(self, state: TuneState) -> Knowledge:
        """The knowledge of a later state; what cannot have changed is not derived again."""
        later = Knowledge(state)
        kept: frozenset[str] = frozenset()
        if state.facts is self.state.facts:
            kept = kept | _FROM_FACTS
            if state.done("feasibility") is self.state.done("feasibility"):
                kept = kept | _FROM_FEASIBILITY
                if state.settings.build is not None:
                    kept = kept - {"space"}  # it shrinks when a build fails
                if state.rounds == self.state.rounds:
                    kept = kept | _FROM_ROUNDS
        vars(later).update({k: v for k, v in vars(self).items() if k in kept})
        return later

    @cached_property
    def card(self) -> Card:
        settings = self.state.settings
        return (
            load_card(settings.app) if settings.card is None else Card.model_validate(settings.card)
        )

    @cached_property
    def facts(self) -> Mapping[str, Any]:
        if self.state.facts is None:
            raise RunFailed("the machine has not been probed yet")
        return self.state.facts

    @cached_property
    def machine(self) -> Machine:
        return parse_machine(self.facts)

    @cached_property
    def variants(self) -> Builds | None:
        """The builds that are searched; None where what is installed is tuned."""
        settings = self.state.settings
        if settings.build is None:
            return None
        if self.card.is_application:
            return building.application_builds_of(
                self._application_knobs, settings.build, self.facts, settings.prologue
            )
        return building.variants_of(self.card, settings.build, self.machine, self.facts)

    @cached_property
    def build_problem(self) -> str:
        """Why this node cannot build what is to be searched; empty where it can."""
        try:
            if self.variants is not None:
                self.variants.of(self.variants.space.default)
        except UsageError as error:
            return str(error)
        return ""

    def failure_before(self, config: Config) -> Failure | None:
        """Why the configuration cannot be run, as far as is known: its build cannot be had, or the
        card of an application cannot be filled with it."""
        if self.variants is not None:
            failure = building.failure_of_build(self.state, self.variants, config)
            if failure is not None:
                return failure
        if self.card.is_application:
            try:
                self.setting(config)
            except UsageError as error:
                return Failure("configure", "outside_space", str(error))
        return None

    @property
    def tunable(self) -> bool:
        """Whether what is to be tuned has been found, and its card fits this machine."""
        if self.card.is_application:
            return self.card_problem is None
        return self.library is not None

    @cached_property
    def card_problem(self) -> HpcagentError | None:
        """Why what the card of an application says cannot be done on this machine."""
        try:
            self.setting(self.unpruned.default)
            tasks_requested(self.card, self.machine)
            cpus_requested(self.card, self.machine)
            _ = self.knobs.hints
        except (UsageError, EnvironmentProblem) as error:
            return type(error)(f"{self.state.settings.card_source}: {error}")
        return None

    @cached_property
    def library(self) -> Library | None:
        """None where none was found, and of an application, which is no library."""
        if self.card.is_application:
            return None
        if self.variants is not None:
            return self.variants.of(self.variants.space.default).library
        usable, _ = parse_libraries(self.facts)
        return choose_library(usable, prefix_given=bool(self.state.settings.prefix))

    @cached_property
    def rejected_libraries(self) -> tuple[tuple[str, str], ...]:
        return parse_libraries(self.facts)[1]

    @cached_property
    def library_files(self) -> frozenset[str]:
        """The real names of the file that holds the library; empty where they are not known."""
        path = self.needed_library().path
        rows = [row for row in RawFacts(self.facts).records("libraries") if row.get("path") == path]
        names = {str(row.get(key) or "") for row in rows for key in ("realpath", "loaded_path")}
        return frozenset(names - {""})

    @cached_property
    def unset_here(self) -> tuple[str, ...]:
        """Settings of the library in the user's environment, which no measurement sees."""
        found = RawFacts(self.facts).section("environment")
        return tuple(f"{name}={found[name]}" for name in self.card.unset if found.get(name))

    def needed_library(self) -> Library:
        if self.library is None:
            raise EnvironmentProblem("no OpenBLAS was found")
        return self.library

    @cached_property
    def compiler(self) -> Compiler:
        found = next((c for c in self.machine.compilers if c.language == "c"), None)
        if found is None:
            raise EnvironmentProblem(
                f"no C compiler on {self.machine.host}: install gcc (Debian: build-essential, "
                "RHEL: gcc make), or load a compiler module"
            )
        return found

    @cached_property
    def workload(self) -> Workload:
        settings = self.state.settings
        if self.card.is_application:
            return one_program(settings.card_source, self.card.cases)
        if settings.workload is None:
            memory = self.machine.memory_available_bytes
            whole = default_workload(self.machine.usable_cores, memory)
        else:
            whole = workload_from(settings.workload, settings.workload_source)
        return whole.only(self.needed_library().routines)

    @cached_property
    def knobs(self) -> Knobs:
        if self.variants is not None:
            return self.variants.run_knobs(self.variants.space.default)
        if self.card.is_application:
            return self._application_knobs
        return find_knobs(self.card, self.machine, self.needed_library())

    @property
    def _application_knobs(self) -> Knobs:
        settings = self.state.settings
        places = Places(settings.card_folder, settings.prefix)
        return application_knobs(self.card, self.machine, places)

    @cached_property
    def unpruned(self) -> Space:
        if self.variants is not None:
            return self.variants.space
        return whole_space(self.knobs)

    def setting(self, config: Config) -> Setting:
        if self.variants is not None:
            return self.variants.setting(config)
        return self.knobs.setting(config)

    @cached_property
    def probed(self) -> tuple[Probed, ...]:
        unit = self.state.done("feasibility")
        if unit is None:
            raise RunFailed("the feasibility probe has not run yet")
        return judge_feasibility(unit, self.unpruned, self.state.settings.speed_alone)

    @cached_property
    def space(self) -> Space:
        """The space that is searched: without infeasible values, aliases and doubles, and without
        builds that failed."""
        if self.variants is None:
            return self._distinct
        if self.builds_seen is not None:
            return self.builds_seen.left(self._distinct)
        return building.space_that_works(self.state, self.variants)

    @cached_property
    def builds_seen(self) -> BuildsSeen | None:
        """What the builds of an application have shown; None of everything else."""
        if not isinstance(self.variants, ApplicationBuilds):
            return None
        return BuildsSeen(self.state, self.variants, self.unpruned)

    def seen_before(self, config: Config) -> bool:
        """Whether a configuration that was proposed runs what an earlier one runs."""
        return self.builds_seen is not None and config.id in self.builds_seen.same

    @cached_property
    def _distinct(self) -> Space:
        space = self.unpruned
        for probed in self.probed:
            if not probed.kept:
                space = space.without(probed.param, probed.value)
        if isinstance(self.variants, ApplicationBuilds):
            apart = self.variants.tells_apart
            return space if apart else without_doubles(space, self.variants.identity)
        return space if self.knobs.tells_apart else without_doubles(space, self.knobs.setting)

    @cached_property
    def seconds_per_call(self) -> Mapping[str, float]:
        """Median seconds of the default, by case, over its feasibility runs."""
        unit = self.state.done("feasibility")
        seconds = default_seconds(unit) if unit is not None else {}
        if not seconds:
            raise RunFailed("the default configuration did not run; see the feasibility unit")
        return seconds

    @cached_property
    def repeats(self) -> dict[str, int]:
        """Timed calls a process makes of each case, so that it takes about `repeat_s`.

        An application runs as it is.
        """
        if self.card.is_application:
            return {}
        share = self.state.settings.repeat_s / max(1, len(self.seconds_per_call))
        return {
            key: max(1, min(MAX_REPEATS, math.ceil(share / seconds)))
            for key, seconds in self.seconds_per_call.items()
        }

    @cached_property
    def answers(self) -> Mapping[str, float]:
        """What the default printed as its result, of each case ("": of the process); empty where
        that is not looked at."""
        unit = self.state.done("feasibility")
        return {} if unit is None else default_answers(unit, ("", *self.workload.weights))

    @cached_property
    def process_s(self) -> float:
        """Expected seconds of one process: timed calls, one warm-up call, filling and checking.

        The last part was seen to cost about half of the timed part again. Of an application it is
        what the default took.
        """
        if self.card.is_application:
            unit = self.state.done("feasibility")
            return default_wall_s(unit) if unit is not None else self.card.command.timeout_s
        timed = sum(self.repeats[key] * s for key, s in self.seconds_per_call.items())
        warmup = sum(self.seconds_per_call.values())
        return 1.5 * (timed + warmup) + 0.2

    @cached_property
    def goals(self) -> Goals:
        return goals_of(self.card, self.state.settings, self.workload)

    @cached_property
    def effects(self) -> Mapping[str, Effect]:
        """Of the first objective."""
        rounds = self.state.rounds
        if self.state.settings.plain:
            every = [unit.runs.timings() for unit in rounds]
            return effects(every, self.unpruned.default.id) if rounds else {}
        every_run = [tuple(unit.runs) for unit in rounds]
        return effects_of(self.goals.first, every_run, self.unpruned.default.id, self.goals.scales)

    @cached_property
    def standings(self) -> Mapping[str, Standing]:
        """How each configuration stands under all that was asked for, by its id."""
        if self.state.settings.plain:
            rows = self.effects.items()
            return {name: Standing((row.log_ratio,), (row.spread,)) for name, row in rows}
        rounds = [tuple(unit.runs) for unit in self.state.rounds]
        return standings(self.goals, rounds, self.unpruned.default.id)

    @cached_property
    def trials(self) -> tuple[Trial, ...]:
        """What is known of each configuration; the default comes first."""
        default = self.unpruned.default
        own = self.standings.get(default.id)
        allowed = own is None or not own.broken
        found = [Trial(default, 0.0, 0.0, None, 0, "default", allowed)]
        seen = {default.id}
        failures = first_failures(self.state.units)
        for unit in self.state.rounds:
            index = round_index(unit)
            for proposal in self.state.proposed.get(index, ()):
                if proposal.config.id not in seen and not self.seen_before(proposal.config):
                    seen.add(proposal.config.id)
                    failure = failures.get(proposal.config.id)
                    found.append(self._trial(proposal, index, failure))
        return tuple(found)

    def history(self, index: int) -> tuple[Trial, ...]:
        """The trials as the strategy is to see them before round `index`, and what could not be
        built for it; what runs the program of another is as fast as that one."""
        found = (*self.trials, *self._unbuilt)
        if not self.state.settings.plain:
            seed = self.state.settings.seed
            found = history(self.goals, found, self.standings, seed, index)
        return (*found, *self._twins(found))

    @property
    def _unbuilt(self) -> tuple[Trial, ...]:
        """What was proposed for a round that is not measured yet, and whose build has failed."""
        done = {round_index(unit) for unit in self.state.rounds}
        rows = [(i, p) for i in sorted(self.state.proposed) if i not in done
                for p in self.state.proposed[i]]  # fmt: skip
        known = {trial.config for trial in self.trials}
        return tuple(
            Trial(proposal.config, None, None, failure, index, proposal.proposed_by)
            for index, proposal in rows
            if proposal.config not in known
            and (failure := self.failure_before(proposal.config)) is not None
        )

    def _twins(self, trials: Sequence[Trial]) -> tuple[Trial, ...]:
        """What runs the program of one of these, as that one."""
        same = self.builds_seen.same if self.builds_seen is not None else {}
        by_id = {trial.config.id: trial for trial in trials}
        proposed = [p for index in sorted(self.state.proposed) for p in self.state.proposed[index]]
        found = {
            p.config.id: replace(by_id[same[p.config.id].id], config=p.config)
            for p in proposed
            if p.config.id in same and same[p.config.id].id in by_id
        }
        return tuple(found.values())

    @property
    def pending(self) -> tuple[Config, ...]:
        """What is being measured by rounds that are out, or is to be by one that is not yet."""
        rounds = [u for u in self.state.units if u.purpose.startswith("round-")]
        out = [round_index(u) for u in rounds if not u.finished]
        out += sorted(set(self.state.proposed) - {round_index(unit) for unit in rounds})
        rows = (self.state.proposed.get(index, ()) for index in out)
        return tuple(proposal.config for row in rows for proposal in row)

    def measurable(self, index: int) -> tuple[Config, ...]:
        """What was proposed for a round, without what cannot be run or runs what another one runs,
        as far as is known."""
        proposed = (proposal.config for proposal in self.state.proposed.get(index, ()))
        return tuple(
            c for c in proposed if self.failure_before(c) is None and not self.seen_before(c)
        )

    @property
    def advised(self) -> tuple[Proposal, ...]:
        """Valid configurations that the user asked for and no round has had yet."""
        had = {c.id for c in self.pending} | {trial.config.id for trial in self.trials}
        found: dict[str, Proposal] = {}
        for advice in self.state.advice:
            if advice.get("type") == "advise" and isinstance(advice.get("config"), dict):
                config = self.space.validate({str(k): str(v) for k, v in advice["config"].items()})
                if isinstance(config, Config) and config.id not in had:
                    words = str(advice.get("text") or "asked for by the user")
                    found.setdefault(config.id, Proposal(config, words, "user"))
        return tuple(found.values())

    def _trial(self, proposal: Proposal, index: int, failure: Failure | None) -> Trial:
        config = proposal.config
        failure = failure or self.failure_before(config)
        effect = self.effects.get(config.id)
        if failure is None and effect is None:
            failure = self._unmeasured(config)
        if failure is not None or effect is None:
            return Trial(config, None, None, failure, index, proposal.proposed_by)
        standing = self.standings.get(config.id)
        eligible = standing is None or not standing.broken
        by = proposal.proposed_by
        return Trial(config, effect.log_ratio, effect.spread, None, index, by, eligible)

    def _unmeasured(self, config: Config) -> Failure:
        measured = any(t.config == config.id and t.ok and t.pair > 0
                       for unit in self.state.rounds for t in unit.runs.timings())  # fmt: skip
        words = "the unit's budget ended before its first run"
        if measured:
            words = f"its runs give no figure for {self.goals.first.name}"
        return Failure("run", "not_measured", words)

    @cached_property
    def best(self) -> Trial:
        """The trial that leads, or the default.

        This only steers the search: among equals it names another than the default in nearly nine
        searches of ten (docs/benchmarks.md). `verdicts` of the report hold an error rate, and a
        claim needs the confirmation.
        """
        return leader(self.goals, self.trials, self.standings)


def round_index(unit: Unit) -> int:
    return int(unit.purpose.removeprefix("round-"))


def failure_in(runs: Runs, config_id: str) -> Failure | None:
    """The first failure of a configuration in these runs."""
    found = (failure_of(run) for run in runs.of(config_id, status_not_in=("ok", "dropped")))
    return next((failure for failure in found if failure is not None), None)


def first_failures(units: Iterable[Unit]) -> dict[str, Failure]:
    """The first failure of each configuration in any round, that of an incumbent included.

    A round counts though it failed as a whole: it may have failed by its incumbent.
    """
    found: dict[str, Failure] = {}
    for unit in units:
        if unit.kind == "round" and unit.purpose.startswith("round-"):
            for run in unit.runs.others(("ok", "dropped")):
                failure = failure_of(run)
                if failure is not None:
                    found.setdefault(run.config, failure)
    return found
