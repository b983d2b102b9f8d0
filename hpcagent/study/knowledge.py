"""What follows from the state of a run: machine, library, space, repeats, trials.

Nothing here is stored; it is derived from the journal each time, so that it cannot disagree
with it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from hpcagent.apps.card import Card, load_card
from hpcagent.apps.space import Knobs, Setting, find_knobs, whole_space, without_doubles
from hpcagent.apps.variants import Variants
from hpcagent.apps.workload import Workload, default_workload, workload_from
from hpcagent.errors import EnvironmentProblem, RunFailed, UsageError
from hpcagent.measure.packed import Runs
from hpcagent.measure.results import Run, failure_of
from hpcagent.measure.statistics import Effect, effects
from hpcagent.measure.worker import median
from hpcagent.probe.machine import parse_machine
from hpcagent.probe.openblas import choose_library, parse_libraries
from hpcagent.probe.rawfacts import RawFacts
from hpcagent.records import Compiler, Config, Failure, Library, Machine, Proposal, Trial
from hpcagent.search.space import Space
from hpcagent.study import building
from hpcagent.study.state import TuneState, Unit

# A core type this much slower than the default in the feasibility probe is not worth a slot.
# Sequential runs of one configuration on a busy node scatter by about 0.3 in ln(time)
# (docs/benchmarks.md); ln 2.5 is three times that.
CLEARLY_SLOWER = 2.5
MAX_REPEATS = 2000
USABLE_MEMORY = 0.8  # share of a node's memory that a workload may need


@dataclass(frozen=True)
class Probed:
    """One value that the feasibility probe tried; kept where neither failure nor alias."""

    param: str
    value: str
    failure: Failure | None = None
    alias_of: str | None = None

    @property
    def kept(self) -> bool:
        return self.failure is None and self.alias_of is None


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
    }
)
_FROM_FEASIBILITY = frozenset({"probed", "space", "seconds_per_call", "repeats", "process_s"})
_FROM_ROUNDS = frozenset({"effects", "trials", "best"})


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
        return load_card(self.state.settings.app)

    @cached_property
    def facts(self) -> Mapping[str, Any]:
        if self.state.facts is None:
            raise RunFailed("the machine has not been probed yet")
        return self.state.facts

    @cached_property
    def machine(self) -> Machine:
        return parse_machine(self.facts)

    @cached_property
    def variants(self) -> Variants | None:
        """The builds that are searched; None where what is installed is tuned."""
        build = self.state.settings.build
        if build is None:
            return None
        return building.variants_of(self.card, build, self.machine, self.facts)

    @cached_property
    def build_problem(self) -> str:
        """Why this node cannot build what is to be searched; empty where it can."""
        try:
            if self.variants is not None:
                self.variants.of(self.variants.space.default)
        except UsageError as error:
            return str(error)
        return ""

    def variant_failure(self, config: Config) -> Failure | None:
        """Why the configuration's build cannot be had, as far as is known."""
        if self.variants is None:
            return None
        return building.failure_of_build(self.state, self.variants, config)

    @cached_property
    def library(self) -> Library | None:
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
        return find_knobs(self.card, self.machine, self.needed_library())

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
        return judge_feasibility(unit, self.unpruned)

    @cached_property
    def space(self) -> Space:
        """The space that is searched: without infeasible values, aliases and doubles."""
        if self.variants is not None:
            return building.space_that_works(self.state, self.variants)
        space = self.unpruned
        for probed in self.probed:
            if not probed.kept:
                space = space.without(probed.param, probed.value)
        return without_doubles(self.knobs, space)

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
        """Timed calls a process makes of each case, so that it takes about `repeat_s`."""
        share = self.state.settings.repeat_s / max(1, len(self.seconds_per_call))
        return {
            key: max(1, min(MAX_REPEATS, math.ceil(share / seconds)))
            for key, seconds in self.seconds_per_call.items()
        }

    @cached_property
    def process_s(self) -> float:
        """Expected seconds of one process: timed calls, one warm-up call, filling and checking.

        The last part was seen to cost about half of the timed part again.
        """
        timed = sum(self.repeats[key] * s for key, s in self.seconds_per_call.items())
        warmup = sum(self.seconds_per_call.values())
        return 1.5 * (timed + warmup) + 0.2

    @cached_property
    def effects(self) -> Mapping[str, Effect]:
        rounds = [unit.runs.timings() for unit in self.state.rounds]
        return effects(rounds, self.unpruned.default.id) if rounds else {}

    @cached_property
    def trials(self) -> tuple[Trial, ...]:
        """What is known of each configuration; the default comes first."""
        default = self.unpruned.default
        found = [Trial(default, 0.0, 0.0, None, 0, "default")]
        seen = {default.id}
        for unit in self.state.rounds:
            index = round_index(unit)
            for proposal in self.state.proposed.get(index, ()):
                if proposal.config.id not in seen:
                    seen.add(proposal.config.id)
                    found.append(self._trial(proposal.config, unit, index, proposal.proposed_by))
        return tuple(found)

    @property
    def pending(self) -> tuple[Config, ...]:
        """What is being measured by rounds that are out."""
        out = [u for u in self.state.open_units if u.purpose.startswith("round-")]
        rows = (self.state.proposed.get(round_index(unit), ()) for unit in out)
        return tuple(proposal.config for row in rows for proposal in row)

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

    def _trial(self, config: Config, unit: Unit, index: int, proposed_by: str) -> Trial:
        failure = failure_in(unit.runs, config.id) or self.variant_failure(config)
        effect = self.effects.get(config.id)
        if failure is None and effect is None:
            failure = Failure("run", "not_measured", "the unit's budget ended before its first run")
        if failure is not None or effect is None:
            return Trial(config, None, None, failure, index, proposed_by)
        return Trial(config, effect.log_ratio, effect.spread, None, index, proposed_by)

    @cached_property
    def best(self) -> Trial:
        """The fastest trial so far that is faster by more than its standard error, or the default.

        This only steers the search: among equals it names another than the default in nearly nine
        searches of ten (docs/benchmarks.md). `verdicts` of the report hold an error rate, and a
        claim needs the confirmation.
        """
        default = self.trials[0]
        better = [
            trial
            for trial in self.trials[1:]
            if trial.log_ratio is not None and trial.log_ratio + (trial.spread or 0.0) < 0.0
        ]
        return min(better, key=lambda t: (t.log_ratio or 0.0, t.config.id), default=default)


def round_index(unit: Unit) -> int:
    return int(unit.purpose.removeprefix("round-"))


def failure_in(runs: Runs, config_id: str) -> Failure | None:
    """The first failure of a configuration in these runs."""
    found = (failure_of(run) for run in runs.of(config_id, status_not_in=("ok", "dropped")))
    return next((failure for failure in found if failure is not None), None)


def default_seconds(unit: Unit) -> dict[str, float]:
    """Median seconds by case over the default's runs in a feasibility unit."""
    found: dict[str, list[float]] = {}
    for run in unit.runs:
        if run.config in unit.spec["defaults"] and run.ok:
            for key, seconds in run.medians.items():
                found.setdefault(key, []).append(seconds)
    return {key: median(seconds) for key, seconds in found.items()}


def judge_feasibility(unit: Unit, space: Space) -> tuple[Probed, ...]:
    """Per probed value: does it run, and does it run what was asked for?

    OpenBLAS runs another core type, silently, where it does not know the name or the CPU lacks
    the instructions (driver/others/dynamic.c); the read-back tells.
    """
    runs = {run.config: run for run in unit.runs}
    default = default_seconds(unit)
    names = {value.casefold(): value for p in space.params for value in p.values}
    judged = []
    for config_id, probe in unit.spec["probes"].items():
        param, value, readback = probe["param"], probe["value"], probe["readback"]
        run = runs.get(config_id)
        judged.append(_judge(param, value, readback, run, default, names))
        if run is not None and judged[-1].kept:
            names.setdefault(str(run.readback.get(readback, "")).casefold(), value)
    return tuple(judged)


def _judge(
    param: str,
    value: str,
    readback: str,
    run: Run | None,
    default: Mapping[str, float],
    names: Mapping[str, str],
) -> Probed:
    if run is None:
        return Probed(param, value, Failure("run", "not_measured", "the probe did not reach it"))
    failure = failure_of(run)
    if failure is not None:
        return Probed(param, value, failure)
    ran = str(run.readback.get(readback, ""))
    if ran.casefold() != value.casefold() and ran.casefold() in names:
        return Probed(param, value, alias_of=names[ran.casefold()])
    slower = _times_slower(run.medians, default)
    if slower > CLEARLY_SLOWER:
        words = f"{slower:.1f} times slower than the default in the feasibility probe"
        return Probed(param, value, Failure("run", "clearly_slower", words))
    return Probed(param, value)


def _times_slower(seconds: Mapping[str, float], default: Mapping[str, float]) -> float:
    """The middle one of the cases' ratios: a single call that was disturbed must not decide."""
    ratios = [seconds[key] / default[key] for key in seconds if key in default]
    return median(ratios) if ratios else 1.0


def memory_problem(workload: Workload, machine: Machine) -> str | None:
    """Why the workload does not fit into the node's memory, if so."""
    memory = machine.memory_available_bytes
    largest = max(workload.cases, key=lambda case: case.memory_bytes)
    if memory is None or largest.memory_bytes <= memory * USABLE_MEMORY:
        return None
    fits = largest.fitting(memory * USABLE_MEMORY)
    advice = "choose a smaller shape" if fits is None else f"{fits.key} would fit"
    return (
        f"{workload.source}: {largest.key} needs {largest.memory_bytes / 2**30:.1f} GiB, "
        f"{machine.host} has {memory / 2**30:.1f} GiB: {advice}"
    )
