"""`tune --build --dry-run`: the space with the builds in it, and the builds of the first round.

Nothing is run and nothing is built. The processor is this machine's, the compilers are those that
PATH has here, by the names that compilers usually have; a run takes both from the probed node.
"""

from __future__ import annotations

import json
import re
import shlex
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from hpcagent import __version__
from hpcagent.apps.card import load_card
from hpcagent.apps.variants import BuildPlan, Variant, Variants, needed
from hpcagent.apps.workload import ROUTINES
from hpcagent.cli.assumedsoftware import of_this_processor, on_path
from hpcagent.cli.dryrun import Preview, assumed, examples, preview
from hpcagent.records import Config, Param
from hpcagent.study import units
from hpcagent.study.durable import utc_now, utc_text
from hpcagent.study.knowledge import Knowledge
from hpcagent.study.settings import TuneSettings
from hpcagent.study.state import TuneState
from hpcagent.toolchain.parameters import load_parameters

_WIDTH = 80
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
    machine = of_this_processor(known.machine)
    variants = Variants(
        load_card(settings.app), load_parameters(settings.app), build, machine,
        on_path((*build.families, "gcc")), ROUTINES,
    )  # fmt: skip
    assumptions: dict[str, Any] = {"variants": variants, "machine": machine}
    vars(known).update(assumptions)
    points = variants.space.points()
    first = [
        (variants.of(config), preview(known, units.variant_plan(known, config), place, number))
        for number, config in enumerate(
            needed(variants, [variants.space.default, *examples(known)]).values(), start=2
        )
    ]
    builds = [variants.of(config) for config in needed(variants, points).values()]
    return _Plan(known, variants, points, builds, first)


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
