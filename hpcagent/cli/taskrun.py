"""How a probe, a doctor's visit or a build becomes a run: its options, its plan, its beginning."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import click

from hpcagent import __version__
from hpcagent.cli.asks import asked
from hpcagent.cli.givenpath import PATH
from hpcagent.cli.newrun import begin_run, foreseen
from hpcagent.cli.targets import Place, job_settings
from hpcagent.config import Settings
from hpcagent.llm.routing import Route
from hpcagent.study import tune, units
from hpcagent.study.durable import utc_now, utc_text
from hpcagent.study.rundir import unit_name
from hpcagent.study.session import make_scheduler
from hpcagent.study.settings import TuneSettings
from hpcagent.study.state import TuneState, Unit
from hpcagent.study.task import kind_of
from hpcagent.study.task_plan import Task

Command = TypeVar("Command", bound=Callable[..., Any])
_OPTIONS = (
    click.option("--scheduler", metavar="NAME",
                 help="Where jobs go: local, slurm or pbs. [default: local; with a partition, an "
                 "account, memory and the like the batch system that is found]"),
    click.option("--run-dir", type=PATH, metavar="DIR",
                 help="The run's own folder, new or empty. [default: runs/KIND-DATE-TIME-ID]"),
    click.option("--no-wait", is_flag=True,
                 help="Return when a job must be waited for; go on with `hpcagent step`."),
    click.option("--dry-run", is_flag=True, help="Show every file and command; run nothing."),
)  # fmt: skip
_SHOWN_LINES = 40


def run_options(command: Command) -> Command:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def begin(
    task: Task, there: Place, configured: Settings, run_dir: Path | None, *, no_wait: bool,
    dry_run: bool, as_json: bool, routes: Mapping[str, Route] | None = None, replay: str = "",
) -> int:  # fmt: skip
    """Make the run and drive it; with `dry_run` show what would be submitted first.

    `routes` are the models that take part, `replay` is a transcript in the place of them.
    """
    settings = job_settings(configured, there.scheduler, asked())
    rows = {role: route.to_json() for role, route in (routes or {}).items()}
    hosts = configured.model_hosts if rows else ()
    settings = replace(settings, models=rows, model_hosts=hosts, replay=replay)
    if dry_run:
        _show_plan(task, settings, foreseen(task.kind, run_dir), as_json)
        return 0
    closed = there.closed.items()
    left_out = [f"{name} is left out: {why or 'it takes no jobs now'}" for name, why in closed]
    return begin_run(
        task.kind, settings, run_dir, no_wait=no_wait, as_json=as_json, task=task.to_json(),
        also=left_out,
    )  # fmt: skip


def _show_plan(task: Task, settings: TuneSettings, place: Path, as_json: bool) -> None:
    """The first unit of every target; what follows depends on what they find."""
    state = TuneState(settings, utc_text(utc_now()), __version__, task=task.to_json())
    rows = list(_first_units(task, state, place))
    if as_json:
        plan = {"task": task.to_json(), "settings": settings.to_json(), "units": rows}
        click.echo(json.dumps(plan, indent=1))
        return
    click.echo("Dry run: nothing is run, nothing is written.\n")
    for row in rows:
        click.echo(f"== {row['purpose']}: submit to {settings.scheduler}: {row['folder']}/job.sh")
        for name, text in sorted(row["files"].items()):
            click.echo(f"-- {name}\n{_shown(text)}")
    click.echo("With --json every file is shown whole.")


def _first_units(task: Task, state: TuneState, place: Path) -> list[Mapping[str, Any]]:
    run_id = f"{task.kind}-DATE-TIME-ID"
    kind, scheduler = kind_of(task), make_scheduler(state.settings.scheduler)
    rows: list[Mapping[str, Any]] = []
    for number, target in enumerate(task.targets, start=1):
        plan = kind.plan(task, state, target)
        if plan is None or isinstance(plan, tune.Decide):
            continue
        name = unit_name(run_id, number)
        folder = place / "work" / name
        unit = Unit(name, plan.kind, plan.purpose, 1, plan.resources, plan.spec, state.created_utc)
        files = units.unit_files(None, plan, name) | kind.files(task, state, unit)
        files["job.sh"] = units.script(
            units.program(plan.purpose, plan.spec), plan.resources, name, [folder], scheduler,
            state.settings.python, state.settings.prologue,
        )  # fmt: skip
        rows.append({"purpose": plan.purpose, "folder": str(folder), "files": files})
    return rows


def _shown(text: str) -> str:
    lines = text.splitlines()
    if len(lines) <= _SHOWN_LINES:
        return text
    head = "\n".join(lines[:12])
    return f"{head}\n   ... {len(lines) - 12} more lines\n"
