"""`hpcagent tune`: the main job."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict, replace
from pathlib import Path

import click

from hpcagent.apps.application import EXAMPLE as APPLICATION
from hpcagent.apps.workload import load_workload
from hpcagent.cli.asks import (
    MOST_AHEAD,
    MOST_PACK,
    asked,
    choose_scheduler,
    job_options,
    max_wait_s,
    node_cores,
    resources,
)
from hpcagent.cli.build import searched_builds
from hpcagent.cli.builtapp import built_application, require_commands
from hpcagent.cli.dryrun import show_plan
from hpcagent.cli.dryrun_build import show_build_plan
from hpcagent.cli.example import example_option
from hpcagent.cli.givenpath import PATH
from hpcagent.cli.goals import charge, check, confirm_jobs, goal_options, wanted
from hpcagent.cli.modelroutes import ask_servers, model_option, wanted_to_tune
from hpcagent.cli.newrun import begin_run, foreseen
from hpcagent.cli.runs import json_option
from hpcagent.cli.subject import NamesOne, Subject, prefix_of, require_here, subject
from hpcagent.cli.tunebudget import budget_of
from hpcagent.cli.tunesearch import searching, transcript_path
from hpcagent.config import Settings, load_settings
from hpcagent.errors import UsageError
from hpcagent.llm.roles import OPTIMISE
from hpcagent.llm.routing import Route
from hpcagent.search.function_file import EXAMPLE
from hpcagent.study.history import store_folder
from hpcagent.study.session import make_scheduler
from hpcagent.study.settings import TuneSettings
from hpcagent.templates import clean

MIN_PAIRS = 3
# The fewest pairs whose exact interval for the median covers 99.5 %: 1 - 2 x 0.5^9 = 99.61 %.
MIN_CONFIRM_PAIRS = 9
MOST_CHALLENGERS = 16


@click.command(cls=NamesOne)
@click.option(
    "--lib", metavar="NAME",
    help="The library to tune: openblas, or FILE.yaml, a card of your own.",
)  # fmt: skip
@click.option(
    "--app", type=PATH, metavar="FILE.yaml", help="The application to tune: its card, which says "
    "how it is run, what can be set and how its output is read.",
)  # fmt: skip
@click.option(
    "--app-prefix", metavar="PATH", help="Where it is installed: {prefix} in its card.",
)  # fmt: skip
@example_option("--app-example", "FILE.yaml", lambda: APPLICATION)
@click.option(
    "--openblas-prefix", "prefix", metavar="PATH", help="Folder (or .so file) of the OpenBLAS.",
)  # fmt: skip
@click.option(
    "--workload", type=PATH, metavar="FILE",
    help="YAML file of routines and shapes with weights. [default: a mix of BLAS and LAPACK]",
)  # fmt: skip
@model_option
@click.option(
    "--replay", metavar="LOG", help="Take a model's answers from an earlier run (its folder or "
    "llm.jsonl) in its place.",
)  # fmt: skip
@click.option(
    "--strategy",
    metavar="NAME",
    help="How proposals are made. [default: embedded: a surrogate and the small model that ships]",
)
@click.option(
    "--function", metavar="FILE.py", help="Your own search: a file that defines "
    "propose(space, history); with --model analyse(space, history).",
)  # fmt: skip
@example_option("--function-example", "FILE.py", lambda: EXAMPLE.read_text(encoding="utf-8"))
@click.option(
    "--target",
    metavar="1.2x",
    help="Speed-up (gain in the first objective) at which the search may stop early.",
)
@click.option(
    "--budget", multiple=True, metavar="KEY=VALUE",
    help="rounds=N, core-hours=X or wall=30m; may be repeated. Core-hours are reserved before "
    "a job is submitted. [default: rounds=6]",
)  # fmt: skip
@click.option(
    "--challengers", type=click.IntRange(1, MOST_CHALLENGERS),
    help="Candidates per round. [default: 4]",
)  # fmt: skip
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=1, show_default=True,
              help="The same seed and measurements give the same proposals.")  # fmt: skip
@click.option(
    "--scheduler",
    metavar="NAME",
    help="Where jobs go: local, slurm or pbs. [default: local; with a partition, an account, "
    "memory and the like the batch system that is found]",
)
@click.option(
    "--run-dir", type=PATH, metavar="DIR",
    help="The run's own folder, new or empty. [default: runs/tune-DATE-TIME-ID]",
)  # fmt: skip
@click.option(
    "--build",
    "building",
    is_flag=True,
    help="Search builds of the library too (compiler, target, threading ...), from --source. "
    "(An application's card says by itself whether it is built.)",
)
@click.option(
    "--source",
    type=PATH,
    metavar="FILE|DIR",
    help="With --build: the library's source, as for `hpcagent build`. With --app: in the place of "
    "the card's.",
)
@click.option("--sha256", default="", metavar="HASH", help="Of the archive that is the source.")
@click.option(
    "--set",
    "given",
    multiple=True,
    metavar="NAME=VALUE",
    help="With --build: a build parameter that is fixed; may be repeated.",
)
@click.option(
    "--compiler",
    "families",
    multiple=True,
    metavar="NAME",
    help="With --build: a compiler family to try; may be repeated. [default: gcc]",
)
@click.option(
    "--module",
    "modules",
    multiple=True,
    metavar="NAME",
    help="A module to load for builds; may be repeated.",
)
@click.option(
    "--store",
    type=PATH,
    metavar="DIR",
    help="Where builds are kept. [default: $HPCAGENT_BUILDS, else ./builds]",
)
@click.option(
    "--no-history",
    is_flag=True,
    help="Begin without what earlier runs found, and keep nothing of this one.",
)
@goal_options
@job_options
@click.option(
    "--no-wait",
    is_flag=True,
    help="Return when a job must be waited for; go on with `hpcagent step`.",
)
@click.option("--dry-run", is_flag=True, help="Show every file and command; run nothing.")
@json_option
def tune(
    lib: str | None, app: Path | None, app_prefix: str | None, prefix: str | None,
    workload: Path | None, model: str | None, replay: str | None, strategy: str | None,
    function: str | None, target: str | None, budget: tuple[str, ...], challengers: int | None,
    seed: int, scheduler: str | None, run_dir: Path | None, building: bool, source: Path | None,
    sha256: str, given: tuple[str, ...], families: tuple[str, ...], modules: tuple[str, ...],
    store: Path | None, no_history: bool, no_wait: bool, dry_run: bool, as_json: bool,
) -> int:  # fmt: skip
    """Find settings under which a library or an application runs fastest here, and prove it.

    Candidates and the default are measured interleaved; the winner is confirmed with fresh
    pairs before anything is claimed. Kill it at any time: `hpcagent resume` goes on.

    \b
    Examples:
      hpcagent tune --lib openblas
      hpcagent tune --lib openblas --budget rounds=3 --budget wall=10m
      hpcagent tune --lib openblas --openblas-prefix /opt/openblas
      hpcagent tune --lib openblas --workload mine.yaml
      hpcagent tune --lib openblas --within "cv<2%"
      hpcagent tune --lib openblas --objective time --objective memory
      hpcagent tune --lib openblas --model tuner.gguf
      hpcagent tune --lib openblas --function mine.py --target 1.2x
      hpcagent tune --lib openblas --partition compute --account proj1
      hpcagent tune --lib openblas --build --source FILE.tar.gz --sha256 HASH
      hpcagent tune --app-example > melt.yaml
      hpcagent tune --app melt.yaml
    """
    tuned = subject(lib, app)
    _check_possible(tuned, workload, building)
    configured = load_settings(os.environ, Path.cwd())
    transcript = transcript_path(replay, model)
    model = "" if transcript else model
    routes = wanted_to_tune(configured, model, strategy, function)
    settings = _settings(
        configured, tuned, workload, routes, strategy, budget, challengers, seed, scheduler
    )
    settings = replace(
        settings,
        history=_history(configured, no_history),
        site_history=_site_history(configured, no_history),
        replay=transcript,
        prefix=prefix_of(tuned, configured, prefix, app_prefix, settings.scheduler),
        **tuned.kept,
    )
    settings = replace(settings, **searching(configured, settings, strategy, function, target))
    check(settings, tuned.card)
    if tuned.card.is_built:
        _check_said(given, families)
        where = foreseen("tune", run_dir)
        build = built_application(tuned, configured, source, sha256, modules, store, where)
        settings = replace(settings, build=build)
    elif building:
        _check_buildable(prefix, tuned.own)
        builds = searched_builds(tuned.card.name, source, sha256, given, families, modules, store)
        settings = replace(settings, build=asdict(builds))
    elif source or sha256 or given or families or modules or store:
        raise UsageError("--source, --set and the like need --build, or a card with `build`")
    if settings.scheduler == "local" and (tuned.card.is_application or not dry_run):
        require_here(tuned, settings.prefix, settings.prologue)
        require_commands(tuned, settings.prologue)
    if dry_run:
        show = show_build_plan if building else show_plan
        show(settings, foreseen("tune", run_dir), as_json)
        return 0
    ask_servers(routes, configured.model_hosts)
    return begin_run("tune", settings, run_dir, no_wait=no_wait, as_json=as_json)


def planned(configured: Settings, lib: str) -> TuneSettings:
    """What `hpcagent tune --lib LIB` without any other option does; its first error otherwise."""
    routes = wanted_to_tune(configured, None, None, None)
    tuned = subject(lib, None)
    settings = _settings(configured, tuned, None, routes, None, (), None, 0, None)
    settings = replace(
        settings, prefix=prefix_of(tuned, configured, None, None, settings.scheduler)
    )
    settings = replace(settings, **searching(configured, settings, None, None, None))
    check(settings, tuned.card)
    return settings


def _settings(
    configured: Settings, tuned: Subject, workload: Path | None, routes: dict[str, Route],
    strategy: str | None, budget: tuple[str, ...], challengers: int | None, seed: int,
    scheduler: str | None,
) -> TuneSettings:  # fmt: skip
    words = asked()
    scheduler = choose_scheduler(scheduler, configured, words)
    asks = resources(words, configured)
    rounds, core_hours, wall_s = budget_of(configured, budget)
    objectives, within = wanted(configured, tuned.figure)
    machine = make_scheduler(scheduler)
    cores = node_cores(scheduler, machine, asks, words.get("cores"))
    cases = None
    if workload is not None:
        cases = tuple(asdict(case) for case in load_workload(workload).cases)
    return TuneSettings(
        app=tuned.card.name,
        seed=seed,
        scheduler=scheduler,
        strategy=strategy or configured.strategy,
        rounds=rounds,
        challengers=challengers
        or _counted("challengers", configured.challengers, 1, MOST_CHALLENGERS),
        core_hours=core_hours,
        site_core_hours=configured.max_core_hours,
        wall_s=wall_s,
        model=routes[OPTIMISE].choice.label if OPTIMISE in routes else "",
        models={role: route.to_json() for role, route in routes.items()},
        model_hosts=configured.model_hosts if routes else (),
        python=configured.python or (sys.executable if scheduler == "local" else "python3"),
        workload=cases,
        workload_source=str(workload) if workload else "default",
        prologue=configured.prologue,
        repeat_s=_at_least("process_seconds", configured.process_seconds, 0.001),
        max_pairs=_counted("max_pairs", configured.max_pairs, MIN_PAIRS),
        confirm_pairs=_counted("confirm_pairs", configured.confirm_pairs, MIN_CONFIRM_PAIRS),
        minimum_effect=configured.minimum_effect,
        cores=cores,
        asks=asks,
        ahead=int(words.get("ahead") or _counted("ahead", configured.ahead, 1, MOST_AHEAD)),
        pack=int(words.get("pack") or _counted("pack", configured.pack, 1, MOST_PACK)),
        poll_s=configured.poll_seconds or None,
        settle_s=configured.settle_seconds or None,
        grace_s=configured.grace_seconds,
        lost_s=configured.lost_seconds,
        approve_core_hours=configured.approve_core_hours,
        max_wait_s=max_wait_s(configured, words.get("max_wait")),
        objectives=objectives,
        within=within,
        charge=charge(objectives, machine, asks, cores, tuned.card.resources.nodes, configured),
        confirm_jobs=confirm_jobs(configured),
    )


def _check_possible(tuned: Subject, workload: Path | None, building: bool) -> None:
    if not tuned.card.is_application:
        return
    if workload is not None:
        raise UsageError("--workload is for --lib openblas: an application's card says what runs")
    if building:
        raise UsageError(
            "--build is for libraries: the card of an application says under `build` how it is made"
        )


def _check_said(given: tuple[str, ...], families: tuple[str, ...]) -> None:
    for option, said in (("--set", given), ("--compiler", families)):
        if said:
            raise UsageError(f"{option} is for --lib: the card says under `build` what is taken")


def _check_buildable(prefix: str | None, own_card: object) -> None:
    if prefix:
        raise UsageError("--build and --openblas-prefix exclude each other")
    if own_card:
        raise UsageError("--build searches builds for the cards that ship: --lib openblas")


def _history(configured: Settings, switched_off: bool) -> str:
    folder = None if switched_off else store_folder(configured.history, os.environ)
    return "" if folder is None else clean(folder, "history")


def _site_history(configured: Settings, switched_off: bool) -> str:
    if switched_off or not configured.site_history:
        return ""
    return clean(Path(configured.site_history).absolute(), "site_history")


def _counted(key: str, value: int, least: int, most: int | None = None) -> int:
    if most is not None and value > most:
        raise UsageError(f"configuration: {key} is {value}, it must be at most {most}")
    return int(_at_least(key, value, least))


def _at_least(key: str, value: float, least: float) -> float:
    if value < least:
        raise UsageError(f"configuration: {key} is {value:g}, it must be at least {least:g}")
    return value
