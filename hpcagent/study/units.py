"""What each kind of unit consists of: its request, its files and the words that start it.

Pure: the same knowledge gives the same files, so a unit that was journaled but not yet written
when the agent died is written again, byte for byte.
"""

from __future__ import annotations

import importlib
import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from hpcagent.apps.card import Card
from hpcagent.apps.render import BUILD_COMMAND, driver_files, job_script, pack_script
from hpcagent.apps.space import Setting, cpus_requested, tasks_requested
from hpcagent.apps.variants import Variant, needed
from hpcagent.measure import worker
from hpcagent.probe import collect
from hpcagent.probe.machine import peak_gflops
from hpcagent.protocols import Scheduler
from hpcagent.records import Config, Library, Resources
from hpcagent.study.budget import Need
from hpcagent.study.building import driver_purpose, variant_purpose
from hpcagent.study.confirmations import confirmed_on, purpose
from hpcagent.study.goals import metrics
from hpcagent.study.knowledge import Knowledge
from hpcagent.study.round_rule import HANG_FACTOR, stop_rule
from hpcagent.study.settings import TuneSettings
from hpcagent.study.verdict import confirm_pairs
from hpcagent.toolchain import publish, recipe, steps
from hpcagent.toolchain.stepruns import StepRun

PROBE_WALLTIME_S = 600
# Beyond it nothing more is asked: what the node said until then is kept.
PROBE_BUDGET_S = 540
BUILD_WALLTIME_S = 900
# OpenBLAS for many processors takes two hours of one core, and a quarter of an hour of many.
VARIANT_CORE_S = 4 * 3600
VARIANT_FLOOR_S = 1800
# Of a card's time for a build: unpacking, publishing, and the job's own beginning and end.
BESIDE_BUILD_S = 300
LOOK_S = 240
FEASIBILITY_TIMEOUT_S = 120.0
HANG_FLOOR_S = 60


@dataclass(frozen=True)
class Plan:
    """A unit that could be submitted: `spec` is journaled with the intent.

    `expected_s` is what it should last; the wall time of `resources` is what it may last.
    """

    kind: str
    purpose: str
    resources: Resources
    spec: Mapping[str, Any]
    expected_s: float = 0.0

    @property
    def need(self) -> Need:
        return Need(self.resources.core_hours, self.expected_s)


def probe_plan(settings: TuneSettings, embedded: str | None) -> Plan:
    """Ask the node what it is; an OpenBLAS is looked for under the prefix, where one is named."""
    spec: dict[str, Any] = {
        "schema": 1,
        "prefix": None if settings.of_application else settings.prefix or None,
        "extra_libraries": [embedded] if embedded else [],
        "timeout_s": 20,
        "budget_s": PROBE_BUDGET_S,
    }
    if settings.build is not None:
        if settings.build.get("looks", True):
            spec |= {"parts": ["software"], "measure": False, "look_s": LOOK_S}
            spec["folder"] = str(settings.build["store"])
        programs = settings.build.get("programs")
        spec |= {"programs": programs} if programs else {}
    asked = replace(settings.asks, walltime_s=PROBE_WALLTIME_S, cpus_per_task=settings.cores)
    return Plan("probe", "probe", asked, spec)


def build_plans(known: Knowledge, config: Config) -> tuple[Plan, ...]:
    """What makes the configuration's build ready, in turn."""
    plan = variant_plan(known, config)
    return (plan,) if known.card.is_application else (plan, driver_plan(known, config))


def variant_plan(known: Knowledge, config: Config) -> Plan:
    """Build what the configuration runs, unless it is in the store already."""
    assert known.variants is not None
    variant = known.variants.of(config)
    made = _variant_unit(known, variant)
    walltime_s = VARIANT_FLOOR_S + VARIANT_CORE_S // cpus_requested(known.card, known.machine)
    if known.card.is_application:
        walltime_s = math.ceil(1.05 * known.card.build.timeout_s) + BESIDE_BUILD_S
    budget_s = min(made.spec["budget_s"], math.floor(walltime_s * 0.95))
    asked = replace(_resources(known, walltime_s), nodes=1)
    return Plan("build", variant_purpose(variant.id), asked, {**made.spec, "budget_s": budget_s})


def already_built(known: Knowledge, plan: Plan) -> StepRun | None:
    """How its unit would end where the build is in the store already, as it is seen from here."""
    variant = _named_variant(known, plan.purpose)
    if "steps" not in plan.spec or variant is None:
        return None
    try:
        told = publish.found(json.loads(_variant_unit(known, variant).files[recipe.PUBLISH]))
    except OSError:  # it goes away at this moment
        return None
    if not told:
        return None
    return StepRun(recipe.ABSENT, "failed", recipe.THERE, output=told)


def _variant_unit(known: Knowledge, variant: Variant) -> recipe.Unit:
    assert known.variants is not None
    store, init = known.variants.store, known.variants.module_init
    cpus = cpus_requested(known.card, known.machine) * tasks_requested(known.card, known.machine)
    jobs = min(cpus, max(1, known.machine.usable_cores)) if known.card.is_application else cpus
    return recipe.unit(variant.recipe, store, jobs, init, known.state.settings.python)


def driver_plan(known: Knowledge, config: Config) -> Plan:
    """The driver of the configuration's variant."""
    assert known.variants is not None
    return replace(build_plan(known), purpose=driver_purpose(known.variants, config))


def build_plan(known: Knowledge) -> Plan:
    """Compile the driver on the node, then let it say what it is linked with."""
    configs: list[dict[str, Any]] = [
        {"id": "make", "argv": list(BUILD_COMMAND), "env": {}, "binding": None},
        {"id": "info", "argv": ["./driver", "--info"], "env": {}, "binding": None},
    ]
    spec = _spec(known, "once", "make", configs, [], BUILD_WALLTIME_S / 3)
    spec["check"].update(keys=[], success=[], minimum={})
    spec["weights"] = {}
    spec["budget_s"] = BUILD_WALLTIME_S
    return Plan("build", "build", _resources(known, BUILD_WALLTIME_S + 60), spec)


def feasibility_plan(known: Knowledge, build_folder: str) -> Plan:
    """Every value that must be probed, on the whole workload, among three runs of the default."""
    default = known.unpruned.default
    configs = []
    probes: dict[str, dict[str, str]] = {}
    for dimension, default_value in known.knobs.active:
        param = next(p for p in known.unpruned.params if p.name == dimension.name)
        for value in param.values if dimension.probe else ():
            if value != default_value:
                config = Config.of({**default.values, dimension.name: value})
                configs.append(_measured(known, config, build_folder))
                probes[config.id] = {
                    "param": dimension.name, "value": value, "readback": str(dimension.probe),
                }  # fmt: skip
    first = _measured(known, default, build_folder)
    again = [{**first, "id": name} for name in _defaults(known)]
    half = len(configs) // 2
    configs = [again[0], *configs[:half], again[1], *configs[half:], again[2]]
    application = known.card.is_application
    timeout_s = known.card.command.timeout_s if application else FEASIBILITY_TIMEOUT_S
    spec = _spec(known, "once", default.id, configs, _command(known, build_folder), timeout_s)
    spec["probes"] = probes
    spec["defaults"] = list(_defaults(known))
    spec["repeats"] = {} if application else dict.fromkeys(known.workload.weights, 1)
    spec["budget_s"] = timeout_s * (len(configs) if application else 2) + 15 * len(configs)
    return Plan("probe", "feasibility", _resources(known, int(spec["budget_s"]) + 180), spec)


def _defaults(known: Knowledge) -> tuple[str, str, str]:
    """The names under which the default runs in the feasibility unit."""
    name = known.unpruned.default.id
    return name, f"{name}-2", f"{name}-3"


def round_plan(known: Knowledge, index: int, challengers: Sequence[Config], folder: str) -> Plan:
    """The incumbent and its challengers, interleaved."""
    reference = known.best.config
    spec = _measuring(known, "paired", reference, challengers, folder, seed=index)
    expected_s = round_seconds(known, len(challengers))
    spec["budget_s"] = math.ceil(1.5 * expected_s + 10)
    spec["round"] = index
    return Plan("round", f"round-{index}", _measuring_resources(known, spec), spec, expected_s)


def round_seconds(known: Knowledge, challengers: int) -> float:
    """What a round lasts when no challenger is dropped."""
    return (1 + known.state.settings.max_pairs) * (1 + challengers) * known.process_s


def confirmation_plan(known: Knowledge, winner: Config, folder: str, index: int = 1) -> Plan:
    """Default and winner, a fixed number of fresh pairs, in an allocation of their own.

    A node that no round and no earlier confirmation ran on is preferred: what is claimed should
    not be one node's quirk. `index` counts the confirmations from 1.
    """
    default = known.unpruned.default
    pairs = confirm_pairs(known, winner)
    spec = _measuring(known, "fixed", default, [winner], folder, seed=1_000_002 + index)
    spec["stop_rule"]["pairs"] = pairs
    expected_s = confirmation_seconds(known, pairs)
    # Too few pairs make no claim: a busy node must not be the reason.
    spec["budget_s"] = math.ceil(4 * expected_s + 120)
    used = dict.fromkeys((*known.state.nodes, *confirmed_on(known.state)))
    asked = replace(_measuring_resources(known, spec), avoid_nodes=tuple(used))
    return Plan("round", purpose(index), asked, spec, expected_s)


def confirmation_seconds(known: Knowledge, pairs: int | None = None) -> float:
    """With as many pairs as are set, where it is not said how many."""
    return (1 + (pairs or known.state.settings.confirm_pairs)) * 2 * known.process_s


def unit_files(known: Knowledge | None, plan: Plan, name: str) -> dict[str, str]:
    """What the unit's folder must hold beside its script: relative name -> text."""
    if plan.purpose.startswith("probe"):
        parts = _parts(plan.spec.get("parts", ()))
        return {"request.json": _json(plan.spec), "collect.py": _source(collect.__file__), **parts}
    files = {"spec.json": _json({**plan.spec, "unit": name}), "worker.py": _source(worker.__file__)}
    if "steps" in plan.spec:
        files["steps.py"] = _source(steps.__file__)
        variant = _named_variant(known, plan.purpose)
        return files | dict(_variant_unit(known, variant).files) if known and variant else files
    if plan.kind == "build" and known is not None:
        variant = _named_variant(known, plan.purpose)
        files |= driver_sources(known, variant.library if variant else None)
    if plan.spec.get("repeats") and known is not None:
        files["workload.txt"] = known.workload.text(warmup=1, repeats=plan.spec["repeats"])
    return files


def program(purpose: str, spec: Mapping[str, Any]) -> tuple[str, ...]:
    """The words behind python that start a unit of this purpose."""
    if purpose.startswith("probe"):
        return ("collect.py", "request.json", "facts.json")
    return ("steps.py" if "steps" in spec else "worker.py", "spec.json")


def script(
    argv: Sequence[str], resources: Resources, name: str, folders: Sequence[Path],
    scheduler: Scheduler, python: str, prologue: Sequence[str],
) -> str:  # fmt: skip
    """The job script of one unit, or of several that share the job."""
    argv = [python, *argv]
    directives = scheduler.directives(resources, name)
    if len(folders) == 1:
        return job_script(directives, prologue, str(folders[0]), argv)
    return pack_script(directives, prologue, [str(folder) for folder in folders], argv)


def _named_variant(known: Knowledge | None, purpose: str) -> Variant | None:
    """The variant that a unit `variant-ID` or `driver-ID` is for."""
    kind, _, name = purpose.partition("-")
    if known is None or known.variants is None or kind not in ("variant", "driver"):
        return None
    proposed = (p.config for row in known.state.proposed.values() for p in row)
    looked_into = known.builds_seen.looked_into if known.builds_seen is not None else ()
    found = needed(known.variants, [known.unpruned.default, *proposed, *looked_into])
    if name not in found and known.unpruned.enumerable:
        found = needed(known.variants, known.unpruned.points())
    return known.variants.of(found[name]) if name in found else None


def driver_sources(known: Knowledge, library: Library | None = None) -> dict[str, str]:
    """The driver and what builds it; UsageError for a path that no Makefile can hold."""
    flags = tuple(known.card.build.params.get("flags", []))
    return driver_files(library or known.needed_library(), known.compiler, flags)


def _measuring(
    known: Knowledge, mode: str, reference: Config, challengers: Sequence[Config], folder: str,
    seed: int,
) -> dict[str, Any]:  # fmt: skip
    configs = [_measured(known, c, folder) for c in (reference, *challengers)]
    timeout_s = max(HANG_FLOOR_S, math.ceil(HANG_FACTOR * known.process_s))
    spec = _spec(known, mode, reference.id, configs, _command(known, folder), timeout_s)
    spec["repeats"] = known.repeats
    spec["seed"] = (known.state.settings.seed * 7919 + seed) % 2**31
    return spec


def _spec(
    known: Knowledge, mode: str, reference: str, configs: Sequence[Mapping[str, Any]],
    command: Sequence[str], timeout_s: float,
) -> dict[str, Any]:  # fmt: skip
    card, settings = known.card, known.state.settings
    weights, residual = known.workload.weights, card.check.residual
    return {
        "schema": 1,
        "mode": mode,
        "reference": reference,
        "configs": list(configs),
        "unset": list(card.unset),
        "command": list(command),
        "timeout_s": timeout_s,
        "check": {
            "figure": card.figures_of_merit[0].regex,
            "direction": card.figures_of_merit[0].direction,
            "residual": residual.model_dump() if residual is not None else {},
            "minimum": _fastest_possible(known),
            "keys": sorted(weights),
            "success": list(card.success),
            "readback": dict(card.readback),
            **_further(card, metrics(settings)),
            **_answer(known),
        },
        "weights": weights,
        "budget_s": 0,
        "seed": settings.seed,
        "stop_rule": stop_rule(settings),
        **_scene(known),
    }


def _answer(known: Knowledge) -> dict[str, Any]:
    """What a right result is: the card says it, or the default has shown it."""
    answer = known.card.check.answer
    if answer is None:
        return {}
    told = answer.model_dump()
    if answer.value is None and known.answers:
        told |= {"value": known.answers.get(""), "values": dict(known.answers)}
    return {"answer": told}


def _scene(known: Knowledge) -> dict[str, Any]:
    """What an application finds where it runs, and what of it is read."""
    card = known.card
    if not card.is_application:
        return {}
    folder = known.state.settings.card_folder
    links = {name: f"{folder}/{name}" for name in card.inputs}
    init = known.variants.module_init if known.variants is not None else ""
    return {
        "scene": {"links": links, "outputs": list(card.outputs)},
        **({"module_init": init} if init else {}),
    }


def _further(card: Card, wanted: Collection[str]) -> dict[str, Any]:
    """The figures beside the first that the run is about; nothing where there are none."""
    figures = [f for f in card.figures_of_merit[1:] if f.name in wanted]
    further = {f.name: {"pattern": f.regex, "direction": f.direction} for f in figures}
    return {"further": further} if further else {}


def _fastest_possible(known: Knowledge) -> dict[str, float]:
    """Seconds below which a result is implausible: operations over the node's peak."""
    limits: dict[str, float] = {}
    if known.card.figures_of_merit[0].unit != "s":
        return limits
    for case in known.workload.cases:
        peak = peak_gflops(known.machine, case.precision)
        if peak is not None:
            limits[case.key] = case.flops / (peak * 1e9 * len(known.machine.cpus_allowed))
    return limits


def _command(known: Knowledge, build_folder: str) -> list[str]:
    if known.card.is_application:
        return []  # each configuration has its own
    words = {"{driver}": f"{build_folder}/driver", "{workload}": "workload.txt"}
    filled = [words.get(word, word) for word in known.card.command.argv]
    return filled if known.variants is None else filled[1:]  # each configuration has its driver


def _measured(known: Knowledge, config: Config, build_folder: str) -> dict[str, Any]:
    """A configuration for the worker; with the driver of its build, which lies beside the default's
    (in `build_folder`)."""
    row = _config(config, known.setting(config))
    if known.variants is not None and not known.card.is_application:
        unit = known.state.done(driver_purpose(known.variants, config))
        folder = PurePosixPath(build_folder).parent / (unit.name if unit else "absent")
        row["argv"] = [*row["argv"], f"{folder}/driver"]
    return row


def _config(config: Config, setting: Setting) -> dict[str, Any]:
    return {
        "id": config.id,
        "values": config.values,
        "argv": [*setting.prefix, *setting.command],
        "env": dict(setting.env),
        "binding": list(setting.binding) or None,
        **({"files": dict(setting.files)} if setting.files else {}),
        **({"modules": list(setting.modules)} if setting.modules else {}),
    }


def _measuring_resources(known: Knowledge, spec: Mapping[str, Any]) -> Resources:
    return _resources(known, math.ceil(spec["budget_s"] + spec["timeout_s"] + 60))


def _resources(known: Knowledge, walltime_s: int) -> Resources:
    return replace(
        known.state.settings.asks,
        walltime_s=walltime_s,
        nodes=known.card.resources.nodes,
        tasks_per_node=tasks_requested(known.card, known.machine),
        cpus_per_task=cpus_requested(known.card, known.machine),
    )


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=1, sort_keys=True) + "\n"


def _parts(names: Sequence[str]) -> dict[str, str]:
    """The collector's parts, each with the files that it says must lie beside it."""
    files: list[str] = []
    for name in names:
        module = importlib.import_module(f"hpcagent.probe.collect_{name}")
        files += [f"collect_{name}.py", *getattr(module, "BESIDE", ())]
    home = Path(collect.__file__)
    return {file: _source(str(home.with_name(file))) for file in files}


def _source(path: str | None) -> str:
    return Path(path or "").read_text(encoding="utf-8")
