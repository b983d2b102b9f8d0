"""`hpcagent compare`: which node type is faster, each with its own best settings."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import click

from hpcagent import __version__
from hpcagent.cli.givenpath import PATH
from hpcagent.cli.newrun import begin_run, foreseen
from hpcagent.cli.place import find_run
from hpcagent.cli.runs import json_option
from hpcagent.config import Settings, load_settings
from hpcagent.errors import BudgetError
from hpcagent.study import units
from hpcagent.study.compare_plan import MIN_BLOCKS, MIN_PAIRS, Comparison, block_plan
from hpcagent.study.compare_sides import comparison, settings_of, sources
from hpcagent.study.durable import utc_now, utc_text
from hpcagent.study.rundir import unit_name
from hpcagent.study.session import make_scheduler
from hpcagent.study.settings import TuneSettings
from hpcagent.study.state import TuneState

_RUN_ID = "compare-DATE-TIME-ID"


@click.command()
@click.argument("runs", metavar="RUN RUN [RUN...]", nargs=-1, required=True)
@click.option("--blocks", type=click.IntRange(MIN_BLOCKS, 100), default=MIN_BLOCKS,
              show_default=True, metavar="N", help="Allocations a side.")  # fmt: skip
@click.option("--pairs", type=click.IntRange(MIN_PAIRS, 1000), default=9, show_default=True,
              metavar="N", help="Runs of default and best in each allocation.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=1, show_default=True,
              help="Decides the order of the sides and the inputs.")  # fmt: skip
@click.option(
    "--run-dir", type=PATH, metavar="DIR",
    help="The run's own folder, new or empty. [default: runs/compare-DATE-TIME-ID]",
)  # fmt: skip
@click.option(
    "--no-wait",
    is_flag=True,
    help="Return when a job must be waited for; go on with `hpcagent step`.",
)
@click.option("--dry-run", is_flag=True, help="Show every job and its request; run nothing.")
@json_option
def compare(
    runs: tuple[str, ...], blocks: int, pairs: int, seed: int, run_dir: Path | None,
    no_wait: bool, dry_run: bool, as_json: bool,
) -> int:  # fmt: skip
    """Compare partitions (or whatever jobs asked for): each RUN is a closed tune run of one.

    All sides measure the workload of the first RUN, each with its default and with the best
    settings that its RUN confirmed, in blocks: jobs of their own that take turns. Kill it at any
    time: `hpcagent resume` goes on.

    \b
    Examples:
      hpcagent tune --lib openblas --workload mix.yaml --partition old --run-dir a
      hpcagent tune --lib openblas --workload mix.yaml --partition new --run-dir b
      hpcagent compare a/ b/

    Runs of an application (`--app`) are compared in the same way: both of the same card.
    """
    found = sources([find_run(name) for name in runs])
    wanted = comparison(found, blocks, pairs)
    configured = load_settings(os.environ, Path.cwd())
    settings = _settings(settings_of(found[0], seed), configured)
    _require_budget(wanted, comparison(found, MIN_BLOCKS, MIN_PAIRS), configured)
    if dry_run:
        _show_plan(wanted, settings, foreseen("compare", run_dir), as_json)
        return 0
    return begin_run(
        "compare", settings, run_dir, no_wait=no_wait, as_json=as_json, compare=wanted.to_json()
    )


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


def _require_budget(wanted: Comparison, smallest: Comparison, configured: Settings) -> None:
    limit = configured.max_core_hours
    if not limit or wanted.core_hours <= limit:
        return
    words = f"--blocks {smallest.blocks} --pairs {smallest.pairs}, {smallest.core_hours:.3g}"
    raise BudgetError(
        f"compare: {wanted.blocks} blocks of {len(wanted.sides)} jobs reserve "
        f"{wanted.core_hours:.3g} core-hours, the site allows {limit:.3g}: "
        + (
            f"take fewer --blocks or --pairs (the least is {words})"
            if smallest.core_hours <= limit
            else f"also the least is more ({words}): let the site raise max_core_hours"
        )
    )


def _show_plan(wanted: Comparison, settings: TuneSettings, place: Path, as_json: bool) -> None:
    """Every unit of the comparison, with nothing run and nothing written."""
    state = TuneState(settings, utc_text(utc_now()), __version__, compare=wanted.to_json())
    scheduler = make_scheduler(settings.scheduler)
    rows = []
    for number, (block, index) in enumerate(wanted.order(settings.seed), start=1):
        plan, side = block_plan(wanted, state, block, index), wanted.sides[index]
        name = unit_name(_RUN_ID, number)
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
    if as_json:
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
