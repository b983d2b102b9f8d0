"""What `compare` and `scale` share: blocks of jobs that take turns."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from hpcagent import __version__
from hpcagent.cli.givenpath import PATH
from hpcagent.cli.newrun import begin_run, foreseen
from hpcagent.cli.runs import json_option
from hpcagent.config import Settings, load_settings
from hpcagent.errors import BudgetError
from hpcagent.study import units
from hpcagent.study.compare_plan import MIN_BLOCKS, Comparison, block_plan
from hpcagent.study.durable import utc_now, utc_text
from hpcagent.study.rundir import unit_name
from hpcagent.study.session import make_scheduler
from hpcagent.study.settings import TuneSettings
from hpcagent.study.state import TuneState

Function = Callable[..., Any]

blocks_option = click.option(
    "--blocks", type=click.IntRange(MIN_BLOCKS, 100), default=MIN_BLOCKS,
    show_default=True, metavar="N", help="Allocations a side.",
)  # fmt: skip


@dataclass(frozen=True)
class Asked:
    """How the run is begun; `kind` is also the command's name."""

    kind: str
    run_dir: Path | None
    no_wait: bool
    dry_run: bool
    as_json: bool


def run_options(kind: str) -> Callable[[Function], Function]:
    """The options of every such command, in the order of its help."""
    options = (
        click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=1, show_default=True,
                     help="Decides the order of the sides and the inputs."),
        click.option("--run-dir", type=PATH, metavar="DIR", help="The run's own folder, new or "
                     f"empty. [default: runs/{kind}-DATE-TIME-ID]"),
        click.option("--no-wait", is_flag=True,
                     help="Return when a job must be waited for; go on with `hpcagent step`."),
        click.option("--dry-run", is_flag=True,
                     help="Show every job and its request; run nothing."),
        json_option,
    )  # fmt: skip

    def put(function: Function) -> Function:
        for option in reversed(options):
            function = option(function)
        return function

    return put


def begin_blocks(
    asked: Asked, wanted: Comparison, smallest: Comparison, settings: TuneSettings
) -> int:
    """Begin the run, or show it; BudgetError where the site allows less. `smallest` is the least
    that could be asked for."""
    configured = load_settings(os.environ, Path.cwd())
    settings = _settings(settings, configured)
    _require_budget(asked.kind, wanted, smallest, configured)
    if asked.dry_run:
        _show(wanted, settings, asked)
        return 0
    return begin_run(
        asked.kind, settings, asked.run_dir, no_wait=asked.no_wait, as_json=asked.as_json,
        compare=wanted.to_json(),
    )  # fmt: skip


def _settings(settings: TuneSettings, configured: Settings) -> TuneSettings:
    """How jobs are looked after is configured now, not when the sides were tuned."""
    return replace(
        settings,
        poll_s=configured.poll_seconds or None,
        settle_s=configured.settle_seconds or None,
        grace_s=configured.grace_seconds,
        lost_s=configured.lost_seconds,
        max_wait_s=configured.max_wait_hours * 3600.0,
        approve_core_hours=configured.approve_core_hours,
    )


def _require_budget(
    kind: str, wanted: Comparison, smallest: Comparison, configured: Settings
) -> None:
    limit = configured.max_core_hours
    if not limit or wanted.core_hours <= limit:
        return
    words = f"--blocks {smallest.blocks} --pairs {smallest.pairs}, {smallest.core_hours:.3g}"
    raise BudgetError(
        f"{kind}: {wanted.blocks} blocks of {len(wanted.sides)} jobs reserve "
        f"{wanted.core_hours:.3g} core-hours, the site allows {limit:.3g}: "
        + (
            f"take fewer --blocks or --pairs (the least is {words})"
            if smallest.core_hours <= limit
            else f"also the least is more ({words}): let the site raise max_core_hours"
        )
    )


def _show(wanted: Comparison, settings: TuneSettings, asked: Asked) -> None:
    """Every unit of the comparison, with nothing run and nothing written."""
    state = TuneState(settings, utc_text(utc_now()), __version__, compare=wanted.to_json())
    scheduler, place = make_scheduler(settings.scheduler), foreseen(asked.kind, asked.run_dir)
    rows = []
    for number, (block, index) in enumerate(wanted.order(settings.seed), start=1):
        plan, side = block_plan(wanted, state, block, index), wanted.sides[index]
        name = unit_name(f"{asked.kind}-DATE-TIME-ID", number)
        folder = place / "work" / name
        script = units.script(
            units.program(plan.purpose, plan.spec),
            plan.resources,
            name,
            [folder],
            scheduler,
            side.python,
            side.prologue,
        )
        rows.append({"purpose": plan.purpose, "folder": str(folder), "job.sh": script,
                     "spec.json": {**plan.spec, "unit": name}})  # fmt: skip
    if asked.as_json:
        plan_json = {"comparison": wanted.to_json(), "settings": settings.to_json(), "units": rows}
        click.echo(json.dumps(plan_json, indent=1))
        return
    click.echo("Dry run: nothing is run, nothing is written. In the order of the run:\n")
    for row in rows:
        click.echo(f"== {row['purpose']}: submit to {settings.scheduler}: {row['folder']}/job.sh")
        click.echo(row["job.sh"])
    files = "spec.json and worker.py"
    if wanted.workload:
        files = "spec.json, worker.py and workload.txt"
        click.echo(f"== workload.txt, the same for all\n{wanted.workload}")
    click.echo(
        f"{len(rows)} jobs reserve {wanted.core_hours:.3g} core-hours. Beside its job.sh each holds"
        f"\n{files}. With --json every spec.json is shown."
    )
