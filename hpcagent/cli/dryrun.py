"""`--dry-run`: every file and command of a run, with nothing run and nothing written.

What only the probe can tell is assumed (and said to be): one plausible machine and library stand
in for it, so that the files shown are real renderings.
"""

from __future__ import annotations

import json
import os
import platform
import shlex
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import click

from hpcagent import __version__
from hpcagent.apps.application_builds import ApplicationBuilds
from hpcagent.apps.space import application_facts, facts_of
from hpcagent.apps.variants import needed
from hpcagent.apps.workload import ROUTINES
from hpcagent.cli.assumedsoftware import FAMILIES, of_this_processor, on_path
from hpcagent.records import Compiler, Config, Cpu, Library, Machine
from hpcagent.report.columns import labelled
from hpcagent.report.wording import shorten, visible
from hpcagent.study import units
from hpcagent.study.durable import utc_now, utc_text
from hpcagent.study.knowledge import Knowledge
from hpcagent.study.rundir import unit_name
from hpcagent.study.session import make_scheduler
from hpcagent.study.settings import TuneSettings
from hpcagent.study.state import TuneState

_SHOWN_LINES = 45
_LONGEST = 400  # characters of a parameter's values
_LISTED = 10000  # configurations whose builds are counted
_RUN_ID = "tune-DATE-TIME-ID"
# Only to size the example's repeats; the feasibility probe measures the real figure.
_ASSUMED_GFLOPS_PER_CORE = 20.0
_ASSUMED_PROCESS_S = 10.0  # of an application
_RESULTS = (
    "best.env", "snippet.sh", "modulefiles-lua/hpcagent-openblas/", "modulefiles-tcl/"
    "hpcagent-openblas/", "report.md", "report.html", "figures/",
)  # fmt: skip
_APPLICATION_RESULTS = ("best.env", "run.sh", "files/", "report.md", "report.html", "figures/")
_ASSUMED = (
    "Assumed until the probe has run: the library, its threads and core type, the C compiler,\n"
    "and the speed that sizes the repeats."
)
_APPLICATION_ASSUMED = (
    "Assumed until it has run: the node is like this machine, and the application takes\n"
    f"{_ASSUMED_PROCESS_S:.0f} s a time."
)


@dataclass(frozen=True)
class Preview:
    purpose: str
    folder: str
    command: str
    files: Mapping[str, str]


def show_plan(settings: TuneSettings, place: Path, as_json: bool) -> None:
    """Print the plan of a run with these settings in the folder `place`."""
    known = assumed(TuneState(settings, created_utc=utc_text(utc_now()), version=__version__))
    if settings.of_application and known.card_problem is not None and not settings.build:
        raise known.card_problem
    previews = tuple(_previews(known, place))
    if as_json:
        rows = [vars(preview) for preview in previews]
        click.echo(json.dumps({"settings": settings.to_json(), "units": rows}, indent=1))
        return
    click.echo("Dry run: nothing is run, nothing is written.\n")
    click.echo("\n".join(_space_lines(known)))
    click.echo("\nIn the order of the run:\n")
    for preview in previews:
        click.echo(f"== {preview.purpose}: {preview.folder}\n   {preview.command}")
        for name, text in sorted(preview.files.items()):
            click.echo(f"-- {name}\n{_shown(text)}")
    application = settings.of_application
    results = _APPLICATION_RESULTS if application else _RESULTS
    click.echo(f"== result: {place / 'result'}/\n   {'  '.join(results)}")
    click.echo(
        f"\nThen up to {settings.rounds} rounds of {settings.challengers} challengers, and "
        f"{settings.confirm_pairs} pairs {_jobs(settings)}to confirm the winner.\n"
        f"{_APPLICATION_ASSUMED if application else _ASSUMED} "
        "With --json every file is shown whole."
    )


def _space_lines(known: Knowledge) -> Iterator[str]:
    """The parameters with their values, and of an application what runs."""
    space = known.unpruned
    builds = ""
    if known.variants is not None:
        builds = f", {_builds(known)} builds" + ("" if space.size <= _LISTED else " at least")
    yield f"== space: {space.size} configurations{builds} of these (the default in brackets)"
    for param in space.params:
        values = " ".join(f"[{v}]" if v == param.default else v for v in param.values)
        yield from (f"   {line}" for line in labelled(param.name, shorten(values, _LONGEST), 77))
    if known.build_problem:
        yield "== builds: known once the node has told what it has; by what PATH has here:"
        yield from (f"   {line}" for line in labelled("here", known.build_problem, 77))
    elif known.card.is_application:
        if known.variants is not None:
            yield "== the build of the default"
            for what, line in known.variants.of(space.default).recipe.lines:
                yield from (f"   {row}" for row in labelled(what, visible(line), 77))
        yield "== commands: of the default, and of other configurations for example"
        for config in (space.default, *examples(known)[:2]):
            setting = known.setting(config)
            words = [f"{name}={value}" for name, value in setting.env]
            yield f"   {'(default)' if config == space.default else config}:"
            yield f"     {visible(shlex.join([*words, *setting.prefix, *setting.command]))}"
        for name, text in known.setting(space.default).files:
            yield f"== {name}, as the default has it"
            yield from (f"   {visible(line)}" for line in _shown(text).splitlines())


def _builds(known: Knowledge) -> int:
    """How many there are, as far as is known; each combination of values counts where it is not."""
    assert known.variants is not None
    points = known.unpruned.first(_LISTED)
    if not known.build_problem:
        return len(needed(known.variants, points))
    names = [param.name for param in known.variants.choices]
    return len({tuple(config.values[name] for name in names) for config in points})


def _jobs(settings: TuneSettings) -> str:
    return f"in each of {settings.confirm_jobs} jobs " if settings.confirm_jobs > 1 else ""


def _shown(text: str) -> str:
    lines = text.splitlines()
    if len(lines) <= _SHOWN_LINES:
        return text
    head = "\n".join(lines[:12])
    return f"{head}\n   ... {len(lines) - 12} more lines\n"


def _previews(known: Knowledge, place: Path) -> Iterator[Preview]:
    settings = known.state.settings
    application = settings.of_application
    build = "" if application else str(_folder(place, 2))
    made: tuple[units.Plan, ...] = () if application else (units.build_plan(known),)
    if known.variants is not None and not known.build_problem:
        made = (units.variant_plan(known, known.unpruned.default),)
    plans: tuple[units.Plan, ...] = (units.probe_plan(settings, None), *made)
    if not known.build_problem:
        plans += (
            units.feasibility_plan(known, build),
            units.round_plan(known, 1, examples(known), build),
            units.confirmation_plan(known, (*examples(known), known.unpruned.default)[0], build),
        )
    for number, plan in enumerate(plans, start=1):
        yield preview(known, plan, place, number)


def preview(known: Knowledge, plan: units.Plan, place: Path, number: int) -> Preview:
    """The files and the command of the unit that is `number` in the run at `place`."""
    settings = known.state.settings
    name, folder = unit_name(_RUN_ID, number), _folder(place, number)
    files = units.unit_files(known, plan, name)
    files["job.sh"] = units.script(
        units.program(plan.purpose, plan.spec), plan.resources, name, [folder],
        make_scheduler(settings.scheduler), settings.python, settings.prologue,
    )  # fmt: skip
    command = f"submit to {settings.scheduler}: {folder / 'job.sh'}"
    return Preview(plan.purpose, str(folder), command, files)


def _folder(place: Path, number: int) -> Path:
    return place / "work" / unit_name(_RUN_ID, number)


def examples(known: Knowledge) -> tuple[Config, ...]:
    """Configurations that are spread over the space: as many as a round has challengers."""
    space = known.unpruned
    points = space.points() if space.enumerable else space.first(100)
    others = [p for p in points if p != space.default and known.failure_before(p) is None]
    step = max(1, len(others) // known.state.settings.challengers)
    return tuple(others[::step][: known.state.settings.challengers])


def fact_names() -> frozenset[str]:
    """The names that a card's expressions may use, whatever machine and library they are of."""
    return frozenset(facts_of(assumed_machine(), _library("")))


def application_fact_names() -> frozenset[str]:
    """The same for the card of an application."""
    return frozenset(application_facts(assumed_machine(), 1))


def assumed(state: TuneState) -> Knowledge:
    """Knowledge in which what the probe would find is assumed."""
    known = Knowledge(state)
    if state.settings.of_application:
        vars(known).update({"machine": assumed_machine(), "process_s": _ASSUMED_PROCESS_S})
        if state.settings.build is not None:
            vars(known).update({"facts": {}, "machine": of_this_processor(known.machine)})
            builds = cast(ApplicationBuilds, known.variants)
            software = on_path(FAMILIES, _mpis(builds))
            vars(known)["variants"] = replace(builds, software=software)
        return known
    assumptions: dict[str, Any] = {
        "machine": assumed_machine(),
        "library": _library(state.settings.prefix),
    }
    vars(known).update(assumptions)
    speed = _ASSUMED_GFLOPS_PER_CORE * 1e9 * known.machine.usable_cores
    vars(known)["seconds_per_call"] = {c.key: c.flops / speed for c in known.workload.cases}
    return known


def _mpis(builds: ApplicationBuilds) -> tuple[str, ...]:
    """The names of all MPIs that a build may be made with."""
    said = builds.card.build.mpi
    values = [param.values for param in builds.choices if said == f"{{{param.name}}}"]
    return (*(values[0] if values else [said or "assumed"]),)


def assumed_machine() -> Machine:
    allowed = tuple(sorted(os.sched_getaffinity(0)))
    cc = shutil.which("cc") or shutil.which("gcc") or "/usr/bin/cc"
    return Machine(
        host=platform.node(),
        architecture=platform.machine(),
        cpu_model="assumed",
        microarchitecture="assumed",
        features=(),
        cpus=tuple(Cpu(id=i, core=i, socket=0, numa_node=0) for i in allowed),
        cpus_allowed=allowed,
        cpu_quota_cores=None,
        threads_per_core=1,
        sockets=1,
        max_mhz=None,
        caches=(),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        memory_limit_bytes=None,
        huge_pages=None,
        kernel=platform.release(),
        glibc=platform.libc_ver()[1] or None,
        compilers=(Compiler("c", "cc", cc, "assumed"),),
        schedulers=(),
        tools={},
        missing={},
    )


def _library(prefix: str) -> Library:
    path = Path(prefix or "/usr/lib")
    name = path if path.suffix == ".so" or ".so." in path.name else path / "libopenblas.so.0"
    return Library(
        path=str(name),
        source="prefix" if prefix else "system",
        version="assumed",
        config="assumed",
        dynamic_arch=True,
        threading="pthreads",
        max_threads=64,
        default_threads=len(os.sched_getaffinity(0)),
        interface="lp64",
        symbol_prefix="",
        symbol_suffix="",
        core="Haswell",
        routines=ROUTINES,
    )
