"""`hpcagent build`: a library from its source, or a user's program, in a job and found again."""

from __future__ import annotations

import json
import os
import platform
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from hpcagent.apps.card import card_names, load_card
from hpcagent.apps.variants import BuildPlan
from hpcagent.cli.asks import asked, duration_s, request_options
from hpcagent.cli.givenpath import PATH
from hpcagent.cli.runs import json_option
from hpcagent.cli.targets import place
from hpcagent.cli.taskrun import begin, run_options
from hpcagent.config import load_settings
from hpcagent.errors import UsageError
from hpcagent.report.build_text import parameters_text
from hpcagent.study.build_wish import WALLTIME_S, Wish
from hpcagent.study.task_plan import Task
from hpcagent.templates import clean
from hpcagent.toolchain.archive import inspect_source
from hpcagent.toolchain.fortran_order import in_order
from hpcagent.toolchain.openblas_recipe import LOOKED_FOR, check_source, describe
from hpcagent.toolchain.parameters import Parameters, load_parameters, parse_assignments
from hpcagent.toolchain.program import Program, checked, is_fortran, read_program
from hpcagent.toolchain.recipe import check_path
from hpcagent.toolchain.steps import MODULE


@click.command()
@click.option("--lib", metavar="NAME", help="Library to build from its source: openblas.")
@click.option(
    "--app", metavar="NAME|FILE", help="Program to build: a card, or a description in YAML."
)
@click.option(
    "--source",
    type=PATH,
    metavar="FILE|DIR",
    help="The source: an archive (.tar, .tar.gz, .tar.bz2, .tar.xz, .zip) or a folder.",
)
@click.option("--sha256", default="", metavar="HASH", help="What an archive's SHA-256 must be.")
@click.option(
    "--set",
    "given",
    multiple=True,
    metavar="NAME=VALUE",
    help="A build parameter; may be repeated. --parameters lists them.",
)
@click.option("--parameters", is_flag=True, help="List the parameters, their values and defaults.")
@click.option(
    "--compiler",
    default="",
    metavar="NAME",
    help="Family (gcc, clang, intel ...) or path of the compiler. [default: gcc]",
)
@click.option(
    "--module",
    "modules",
    multiple=True,
    metavar="NAME",
    help="Module to load for the build; may be repeated, in order.",
)
@click.option(
    "--mpi",
    default="",
    metavar="NAME",
    help="For --app: openmpi, mpich, ... or the path of a wrapper. [default: mpicc's]",
)
@click.option(
    "--blas",
    default="",
    metavar="NAME",
    help="For --app: openblas, openblas/openmp, blis, reference ... or a path.",
)
@click.option(
    "--store",
    type=PATH,
    metavar="DIR",
    help="Where builds are kept. [default: $HPCAGENT_BUILDS, else ./builds]",
)
@click.option(
    "--time",
    "walltime",
    metavar="TIME",
    help="What the build may take, for instance 90m. [default: 4h]",
)
@request_options
@run_options
@json_option
def build(
    lib: str | None, app: str | None, source: Path | None, sha256: str, given: tuple[str, ...],
    parameters: bool, compiler: str, modules: tuple[str, ...], mpi: str, blas: str,
    store: Path | None, walltime: str | None, scheduler: str | None, run_dir: Path | None,
    no_wait: bool, dry_run: bool, as_json: bool,
) -> int:  # fmt: skip
    """Build a library from its source, or a program with MPI and BLAS, correctly and only once.

    The same source, parameters and toolchain always give the same files; what has been built from
    them is found again. It is built in a job, checked, and put in its place whole, with a manifest
    and modulefiles.

    \b
    Examples:
      hpcagent build --lib openblas --parameters
      hpcagent build --lib openblas --source FILE.tar.gz --sha256 HASH
      hpcagent build --lib openblas --source DIR --set threading=openmp
      hpcagent build --app solver.yaml --source DIR --mpi openmpi --blas blis
    """
    if lib is not None and app is not None:
        raise UsageError("--lib and --app exclude each other: one is built at a time")
    if lib is None and app is None:
        raise UsageError("say what to build: --lib openblas, or --app with a card or a file")
    if parameters:
        _list_parameters(load_parameters(lib or ""), as_json)
        return 0
    if lib is not None:
        load_parameters(lib)  # an unknown library is told first
    if source is None:
        raise UsageError("--source is missing: name the archive (with its --sha256) or the folder")
    configured = load_settings(os.environ, Path.cwd())
    changes = parse_assignments(given)
    what = _library(str(lib), source, sha256, changes) if lib else _program(
        str(app), source, sha256, changes)  # fmt: skip
    wish = Wish(
        **what,
        compiler=clean(compiler or configured.compiler, "--compiler"),
        modules=tuple(map(checked_module, modules)),
        store=str(check_path(str(store_folder_of(store)), "--store")),
        mpi=clean(mpi or configured.mpi, "--mpi"),
        blas=clean(blas or configured.blas, "--blas"),
        walltime_s=int(duration_s("--time", walltime)) if walltime else WALLTIME_S,
    )
    there = place(scheduler, asked(), configured)
    task = Task("build", there.targets, wish.to_json())
    return begin(
        task, there, configured, run_dir, no_wait=no_wait, dry_run=dry_run, as_json=as_json
    )


def searched_builds(
    lib: str, source: Path | None, sha256: str, given: tuple[str, ...], families: tuple[str, ...],
    modules: tuple[str, ...], store: Path | None,
) -> BuildPlan:  # fmt: skip
    """What `tune --build` may build; everything that can be refused here is."""
    if source is None:
        raise UsageError("--build needs the --source to build from: an archive or a folder")
    what = _library(lib, source, sha256, parse_assignments(given))
    data = {
        "source": what["source"],
        "fixed": what["values"],
        "families": [clean(name, "--compiler") for name in families] or ["gcc"],
        "modules": [checked_module(name) for name in modules],
        "store": check_path(str(store_folder_of(store)), "--store"),
    }
    return BuildPlan.from_json(data)


def _library(name: str, source: Path, sha256: str, changes: Mapping[str, str]) -> dict[str, Any]:
    """Everything that can be refused here is, before a run is made."""
    parameters = load_parameters(name)
    for key, value in changes.items():
        parameter = parameters.named(key)
        known = [
            *(parameter.values or ()),
            *(v for r in (parameter.choices or {}).values() for v in r),
        ]
        if value not in known:
            raise UsageError(f"--set {key}={value}: choose one of {', '.join(known)}")
    found = describe(inspect_source(source, sha256, LOOKED_FOR))
    check_source(found, {"lapack": str(parameters.named("lapack").default), **changes})
    return {
        "what": "library",
        "name": name,
        "source": asdict(found),
        "values": dict(changes),
        "program": {},
    }


def _program(name: str, source: Path, sha256: str, changes: Mapping[str, str]) -> dict[str, Any]:
    program = _described(name, changes)
    found = inspect_source(source, sha256, frozenset(program.sources))
    for path in program.sources:
        if path not in found.texts:
            raise UsageError(f"{name}: {source} has no {path}")
    fortran = {path: found.texts[path] for path in program.sources if is_fortran(path)}
    ordered = program.model_copy(update={"sources": list(in_order(program.sources, fortran))})
    return {
        "what": "program",
        "name": program.name,
        "source": {"path": found.path, "sha256": found.sha256},
        "values": dict(changes),
        "program": ordered.model_dump(),
    }


def _described(name: str, changes: Mapping[str, str]) -> Program:
    if name not in card_names():
        return read_program(Path(name), changes)
    described = load_card(name).build.program
    if described is None:
        raise UsageError(f"--app {name}: its card describes no program; name a YAML file that does")
    return checked(described, lambda *keys: name, changes)


def checked_module(name: str) -> str:
    if not MODULE.match(name):
        raise UsageError(f"--module {name!r}: not the name of a module")
    return name


def store_folder_of(said: Path | None) -> Path:
    """Where builds are kept, absolute."""
    return (said or Path(os.environ.get("HPCAGENT_BUILDS") or "builds")).absolute()


def _list_parameters(parameters: Parameters, as_json: bool) -> None:
    """For this machine's architecture; --json has them all."""
    if as_json:
        click.echo(json.dumps(parameters.model_dump(by_alias=True), indent=1))
        return
    rows = [
        (p.name, p.meaning, p.enumeration(platform.machine()), p.default or "")
        for p in parameters.parameters
    ]
    columns = min(80, shutil.get_terminal_size((80, 24)).columns)
    click.echo("\n".join(parameters_text(rows, columns)))
    click.echo("\n[default]; target and max_threads follow the node that is built for")
