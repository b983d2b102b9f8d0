"""`tune --build --dry-run`: the space with the builds in it, and the builds of the first round.

Nothing is run and nothing is built. The processor is this machine's, the compilers are those that
PATH has here, by the names that compilers usually have; a run takes both from the probed node.
"""

from __future__ import annotations

import json
import platform
import re
import shlex
import shutil
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from hpcagent import __version__
from hpcagent.apps.card import load_card
from hpcagent.apps.variants import BuildPlan, Variant, Variants
from hpcagent.apps.workload import ROUTINES
from hpcagent.cli.dryrun import Preview, assumed, examples, preview
from hpcagent.probe import procfs
from hpcagent.probe.microarch import Processor, identify, power_generation
from hpcagent.probe.software import CompilerFound, ModuleSystem, Software
from hpcagent.records import Config, Param
from hpcagent.study import units
from hpcagent.study.durable import utc_now, utc_text
from hpcagent.study.knowledge import Knowledge
from hpcagent.study.settings import TuneSettings
from hpcagent.study.state import TuneState
from hpcagent.toolchain.parameters import load_parameters

_WIDTH = 80
_COMMANDS = {
    "gcc": {"c": "gcc", "c++": "g++", "fortran": "gfortran"},
    "clang": {"c": "clang", "c++": "clang++", "fortran": "flang"},
    "intel": {"c": "icx", "c++": "icpx", "fortran": "ifx"},
    "nvhpc": {"c": "nvc", "c++": "nvc++", "fortran": "nvfortran"},
}
_CACHED = re.compile(r"(?m)^set\((\w+) \[\[(.*)\]\] CACHE")
_GOAL = re.compile(r"(?m)^\t\$\(MAKE\) -C source \$\(options\) ([a-z]+)$")
_OPTION = re.compile(r"(?m)^ +([A-Za-z_0-9]+=\S.*?) \\$|^override options := (.*?) \\$")


@dataclass(frozen=True)
class _Plan:
    """What is shown: the space's dimensions, its size, all builds, and those of the first round."""

    known: Knowledge
    variants: Variants
    points: Sequence[Config]
    builds: Sequence[Variant]
    first: Sequence[tuple[Variant, Preview]]


def show_build_plan(settings: TuneSettings, place: Path, as_json: bool) -> None:
    """Print what a run with these settings would build; UsageError where it could not."""
    plan = _planned(settings, place)
    if as_json:
        click.echo(json.dumps(_rows(plan), indent=1))
        return
    for line in _text(plan):
        click.echo(line)


def _planned(settings: TuneSettings, place: Path) -> _Plan:
    known = assumed(TuneState(settings, created_utc=utc_text(utc_now()), version=__version__))
    build = BuildPlan.from_json(settings.build or {})
    processor = _processor()
    machine = replace(
        known.machine,
        microarchitecture=identify(processor).name,
        features=tuple(sorted(processor.features)),
    )
    variants = Variants(
        load_card(settings.app), load_parameters(settings.app), build, machine,
        _software(build), ROUTINES,
    )  # fmt: skip
    assumptions: dict[str, Any] = {"variants": variants, "machine": machine}
    vars(known).update(assumptions)
    points = variants.space.points()
    needed = variants.needed([variants.space.default, *examples(known)])
    by_build = {variants.of(config).id: config for config in reversed(points)}
    first = [
        (variant, preview(known, units.variant_plan(known, by_build[variant.id]), place, number))
        for number, variant in enumerate(needed, start=2)
    ]
    return _Plan(known, variants, points, variants.needed(points), first)


def _processor() -> Processor:
    blocks = procfs.parse_cpuinfo(Path("/proc/cpuinfo").read_text())
    block = blocks[0] if blocks else {}
    vendor = block.get("vendor_id") or block.get("CPU implementer") or ""
    features = frozenset((block.get("flags") or block.get("Features") or "").split())
    parts = (block["CPU part"],) if "CPU part" in block else ()
    generation = power_generation(block.get("cpu", ""))
    return Processor(platform.machine(), vendor, features, parts, generation)


def _software(build: BuildPlan) -> Software:
    """The compilers of the families wanted, and gcc's, where PATH has them."""
    found = []
    for family in dict.fromkeys([*build.families, "gcc"]):
        for language, command in _COMMANDS.get(family, {"c": family}).items():
            path = shutil.which(command)
            if path is not None:
                found.append(CompilerFound(family, language, command, path, "assumed"))
    nothing = ModuleSystem("none", why_not="not looked for")
    return Software(nothing, (), tuple(found), (), (), (), {})


def _rows(plan: _Plan) -> dict[str, Any]:
    return {
        "settings": plan.known.state.settings.to_json(),
        "space": {
            "build": [_row(p) for p in plan.variants.choices],
            "run": [_row(p) for p in _run_params(plan)],
            "configurations": len(plan.points),
            "builds": len(plan.builds),
        },
        "units": [
            {"variant": v.id, "values": dict(v.values), "make": _command(v), **vars(shown)}
            for v, shown in plan.first
        ],
    }


def _row(param: Param) -> dict[str, Any]:
    return {"name": param.name, "values": list(param.values), "default": param.default}


def _run_params(plan: _Plan) -> list[Param]:
    builds = {param.name for param in plan.variants.choices}
    return [param for param in plan.variants.space.params if param.name not in builds]


def _text(plan: _Plan) -> Iterator[str]:
    source, machine = plan.variants.plan.source, plan.variants.machine
    yield "Dry run: nothing is run, nothing is written, nothing is built.\n"
    yield f"Source    {source.path}"
    yield f"          version {source.version}, SHA-256 {source.sha256[:16]}..."
    yield f"Builds    are kept in {plan.variants.plan.store}"
    yield f"For       {machine.microarchitecture} (this machine; a run asks the node)\n"
    yield f"{len(plan.points):,} configurations of {len(plan.builds)} distinct builds:"
    for kind, params in (("build", plan.variants.choices), ("run", _run_params(plan))):
        for param in params:
            values = ", ".join(f"{v} (default)" if v == param.default else v for v in param.values)
            head = f"  {kind:<5} {param.name:<26} "
            yield textwrap.fill(values, _WIDTH, initial_indent=head, subsequent_indent=" " * 10)
    fixed = ", ".join(f"{k}={v}" for k, v in sorted(plan.variants.plan.fixed.items()))
    yield f"  fixed {fixed or 'nothing (--set NAME=VALUE fixes a build parameter)'}"
    yield f"\nThe first round would need {len(plan.first)} builds, each made once:\n"
    for variant, shown in plan.first:
        yield from _build_text(variant, shown)
    yield "-- job.sh of the first of them (the others differ in their folder)"
    yield plan.first[0][1].files["job.sh"]
    yield (
        "Before them the node is probed; after them each build gets its driver, and\n"
        "rounds follow as `hpcagent tune --dry-run` without --build shows them. Which\n"
        "builds the first round takes is up to the strategy: these are spread over the\n"
        "space. --json has every file."
    )


def _build_text(variant: Variant, shown: Preview) -> Iterator[str]:
    values = ", ".join(f"{k}={v}" for k, v in variant.values)
    yield textwrap.fill(f"== variant-{variant.id}: {values}", _WIDTH, subsequent_indent="   ")
    yield f"   {shown.folder}"
    words = _command(variant)
    yield textwrap.fill(
        words, _WIDTH - 2, initial_indent="   ", subsequent_indent="     ",
        break_long_words=False, break_on_hyphens=False,
    ).replace("\n", " \\\n")  # fmt: skip
    yield ""


def _command(variant: Variant) -> str:
    """What OpenBLAS's own make, or CMake, is called with."""
    files = dict(variant.recipe.files)
    if "options.cmake" in files:
        cached = _CACHED.findall(files["options.cmake"])
        return " ".join(
            ["cmake -S source -B build", *(shlex.quote(f"-D{k}={v}") for k, v in cached)]
        )
    options = [a or b for a, b in _OPTION.findall(files["Makefile"])]
    return " ".join(["make -C source", *options, *_GOAL.findall(files["Makefile"])])
