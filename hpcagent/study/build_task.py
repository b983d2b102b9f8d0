"""`hpcagent build`: at each target a node is asked what it has, then one unit builds and publishes.

Pure functions of the state: the recipe follows from the request and the node's facts, so a unit
that was journaled but not yet written when the agent died is written again, byte for byte.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from hpcagent.errors import RunFailed, UsageError
from hpcagent.probe.machine import parse_machine
from hpcagent.probe.software import Software
from hpcagent.probe.software_facts import parse_software
from hpcagent.records import Failure
from hpcagent.study import tune
from hpcagent.study.probe_task import probe_spec, probe_unit
from hpcagent.study.state import TuneState, Unit
from hpcagent.study.task_plan import Target, Task, why_given_up
from hpcagent.study.units import Plan
from hpcagent.toolchain.archive import Source
from hpcagent.toolchain.buildend import build_end
from hpcagent.toolchain.choose import choose_compilers, choose_toolchain, modules_of
from hpcagent.toolchain.openblas_recipe import BuildRequest, OpenblasSource, openblas_recipe
from hpcagent.toolchain.parameters import Place, load_parameters, resolve
from hpcagent.toolchain.program import Program
from hpcagent.toolchain.program_recipe import program_recipe
from hpcagent.toolchain.recipe import Recipe, places
from hpcagent.toolchain.recipe import unit as build_unit
from hpcagent.toolchain.stepruns import StepRun

WALLTIME_S = 4 * 3600


@dataclass(frozen=True)
class Wish:
    """What is to be built, as the journal keeps it (`Task.request`).

    `what` is "library" or "program"; `values` are the parameters that were given; `compiler`,
    `mpi` and `blas` name what to take (empty: what is found first); `store` is where builds are
    kept.
    """

    what: str
    name: str
    source: Mapping[str, Any]
    values: Mapping[str, str]
    compiler: str
    modules: tuple[str, ...]
    store: str
    program: Mapping[str, Any]
    mpi: str = ""
    blas: str = ""
    walltime_s: int = WALLTIME_S

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, task: Task) -> Wish:
        """RunFailed where the journal holds something else."""
        try:
            row = dict(task.request)
            return cls(**{**row, "modules": tuple(row["modules"])})
        except (KeyError, TypeError) as error:
            raise RunFailed(f"the journal is damaged: what to build is not told: {error}") from None


@dataclass(frozen=True)
class Built:
    """What became of a target's build.

    `state` is built, found (it was there), failed, or open; `failure` says why it failed, `step` in
    which step and `log` where its output is.
    """

    state: str
    recipe: Recipe | None
    prefix: str
    failure: Failure | None
    step: StepRun | None
    steps: tuple[StepRun, ...]


class _Build:
    def plan(self, task: Task, state: TuneState, target: Target) -> Plan | None:
        wish = Wish.of(task)
        probe = state.done(task.purpose("probe", target))
        if probe is None:
            return probe_unit(task, target, probe_spec(("software",), False, wish.store))
        if probe.facts is None or state.done(task.purpose("build", target)) is not None:
            return None
        try:
            recipe = recipe_of(wish, probe.facts)
            made = _unit(recipe, wish, probe.facts, target, state)
        except UsageError:
            return None  # `outcome` tells
        asked = replace(target.resources, walltime_s=wish.walltime_s)
        budget_s = min(made.spec["budget_s"], math.floor(wish.walltime_s * 0.95))
        spec = {**made.spec, "budget_s": budget_s}
        return Plan("build", task.purpose("build", target), asked, spec)

    def files(self, task: Task, state: TuneState, unit: Unit) -> dict[str, str]:
        target = next((t for t in task.targets if unit.purpose == task.purpose("build", t)), None)
        probe = state.done(task.purpose("probe", target)) if target else None
        if target is None or probe is None or probe.facts is None:
            return {}
        wish = Wish.of(task)
        recipe = recipe_of(wish, probe.facts)
        return dict(_unit(recipe, wish, probe.facts, target, state).files)

    def close(self, task: Task, state: TuneState) -> tune.Close:
        ends = [(target.label, outcome(task, state, target)) for target in task.targets]
        bad = [f"{label}: {b.failure.evidence}" for label, b in ends if b.failure is not None]
        good = [b for _, b in ends if b.failure is None]
        if not good:
            refused = all(b.failure and b.failure.id == "scheduler.refused" for _, b in ends)
            usage = all(b.failure and b.failure.id == "configure.request" for _, b in ends)
            return tune.Close("failed", "; ".join(bad), 4 if refused else 2 if usage else 7)
        word = "built" if any(b.state == "built" for b in good) else "found"
        text = ", ".join(dict.fromkeys(b.prefix for b in good))
        return tune.Close(word, "; ".join([text, *bad]), 7 if bad else 0)


BUILD = _Build()


def outcome(task: Task, state: TuneState, target: Target) -> Built:
    """What became of the build at this target, at any point of the run."""
    for stage in ("probe", "build"):
        given_up = why_given_up(state, task.purpose(stage, target))
        if given_up is not None:
            return Built("failed", None, "", given_up, None, ())
    probe = state.done(task.purpose("probe", target))
    if probe is None or probe.facts is None:
        return Built("open", None, "", None, None, ())
    wish = Wish.of(task)
    try:
        recipe = recipe_of(wish, probe.facts)
        prefix = places(recipe, wish.store)["prefix"]
    except UsageError as error:
        return Built("failed", None, "", Failure("configure", "request", str(error)), None, ())
    unit = state.done(task.purpose("build", target))
    if unit is None:
        return Built("open", recipe, prefix, None, None, ())
    end = build_end(unit.steps)
    return Built(end.state, recipe, prefix, end.failure, end.step, unit.steps)


def recipe_of(wish: Wish, facts: Mapping[str, Any]) -> Recipe:
    """The recipe at a node; UsageError where it cannot be built there as it was asked for."""
    place, software = place_of(facts), _software(facts)
    if wish.what == "program":
        program = Program.model_validate(wish.program)
        source = Source(str(wish.source["path"]), "", str(wish.source["sha256"]), 0, {})
        tools = choose_toolchain(software, program, wish.compiler, wish.mpi, wish.blas)
        modules = modules_of([*wish.modules, *tools.modules])
        return program_recipe(program, source, replace(tools, modules=modules), place)
    parameters = load_parameters(wish.name)
    values = resolve(parameters, wish.values, place)
    languages = ("c", "fortran") if values["lapack"] == "fortran" else ("c",)
    compilers = choose_compilers(software, languages, wish.compiler)
    modules = modules_of([*wish.modules, *(c.module for c in compilers.values())])
    row = wish.source
    described = OpenblasSource(
        str(row["path"]), str(row["sha256"]), str(row["version"]), tuple(row["targets"]),
        tuple(row["lapack"]),
    )  # fmt: skip
    given = tuple(sorted(wish.values.items()))
    request = BuildRequest(described, given, tuple(compilers.values()), modules, place)
    return openblas_recipe(request, parameters)


def place_of(facts: Mapping[str, Any]) -> Place:
    machine = parse_machine(facts)
    return Place(machine.architecture, machine.microarchitecture, len(machine.cpus_allowed))


def _software(facts: Mapping[str, Any]) -> Software:
    parts = facts.get("parts")
    raw = parts.get("software") if isinstance(parts, Mapping) else None
    if not isinstance(raw, Mapping):
        raise UsageError("the probe could not tell what software the node has")
    return parse_software(raw)


def _unit(
    recipe: Recipe, wish: Wish, facts: Mapping[str, Any], target: Target, state: TuneState
) -> Any:
    init = _software(facts).modules.init
    cpus = min(target.resources.cpus_per_task, parse_machine(facts).usable_cores)
    return build_unit(recipe, wish.store, cpus, init, state.settings.python)
