"""`hpcagent run`: several commands as one run."""

from __future__ import annotations

import json
import os
import shlex
from dataclasses import replace
from pathlib import Path

import click

from hpcagent.cli.example import example_option
from hpcagent.cli.givenpath import PATH
from hpcagent.cli.newrun import begin_run, foreseen
from hpcagent.cli.place import find_run
from hpcagent.cli.planbegin import rehearse
from hpcagent.cli.planwords import planned
from hpcagent.cli.runs import json_option
from hpcagent.cli.targets import job_settings
from hpcagent.config import load_settings
from hpcagent.errors import UsageError
from hpcagent.report.wording import visible
from hpcagent.study.plan import KIND, LOCAL, Plan
from hpcagent.study.plan_file import EXAMPLE, PlanFile, read_plan
from hpcagent.study.plan_reuse import reusing


@click.command()
@click.argument("plan", metavar="PLAN.yaml", type=PATH)
@example_option("--example", "PLAN.yaml", lambda: EXAMPLE)
@click.option(
    "--reuse", metavar="RUN", help="Take over what ended well in an earlier run of the plan and "
    "has not changed since: neither its options, nor its files, nor what it needs.",
)  # fmt: skip
@click.option(
    "--scheduler",
    metavar="NAME",
    help="Where the jobs of all steps go that name none: local, slurm or pbs.",
)
@click.option(
    "--run-dir", type=PATH, metavar="DIR",
    help="The run's own folder, new or empty. [default: runs/plan-DATE-TIME-ID]",
)  # fmt: skip
@click.option("--no-wait", is_flag=True,
              help="Return when jobs must be waited for; go on with `hpcagent step`.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Check every step and show its command; run nothing.")
@json_option
def run(
    plan: Path, reuse: str | None, scheduler: str | None, run_dir: Path | None, no_wait: bool,
    dry_run: bool, as_json: bool,
) -> int:  # fmt: skip
    """Do the steps of PLAN.yaml: probe, doctor, build, tune, compare, codegen.

    A step is a command with its options, and may use what steps above it found. It begins when
    they have ended well; steps whose jobs go to a batch system are under way side by side, those
    of this machine take turns. A step that fails keeps only those from beginning that need it.
    Every option is checked before anything begins. Kill it at any time: `hpcagent resume` goes on.

    \b
    Examples:
      hpcagent run --example > plan.yaml
      hpcagent run plan.yaml --dry-run
      hpcagent run plan.yaml
      hpcagent run plan.yaml --reuse RUN
      sbatch bin/agent_job.sh run plan.yaml
      hpcagent report RUN/steps/NAME
    """
    file = _with_scheduler(read_plan(_file(plan)), scheduler)
    wanted = planned(file)
    if reuse is not None:
        wanted = reusing(wanted, find_run(reuse))
    place = foreseen(KIND, run_dir)
    rehearse(wanted, place)
    if dry_run:
        _show(wanted, place, as_json)
        return 0
    configured = load_settings(os.environ, Path.cwd())
    settings = job_settings(configured, LOCAL, {})
    return begin_run(
        KIND, settings, run_dir, no_wait=no_wait, as_json=as_json, plan=wanted.to_json()
    )


def _file(path: Path) -> Path:
    if path.is_dir():
        also = f": go on with `hpcagent resume {path}`" if (path / "run.json").exists() else ""
        raise UsageError(f"{path} is a folder, not a plan{also}")
    return path


def _with_scheduler(file: PlanFile, said: str | None) -> PlanFile:
    return file if said is None else replace(file, defaults={"scheduler": said, **file.defaults})


def _show(plan: Plan, place: Path, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(plan.to_json(), indent=1))
        return
    click.echo("Dry run: nothing is run, nothing is written. In the order of the plan:\n")
    for step in plan.steps:
        after = f", after {', '.join(step.needs)}" if step.needs else ""
        where = f" on {step.scheduler}" if step.scheduler else ""
        folder = place / "steps" / step.name
        if step.taken is not None:
            where, folder = " is taken over", step.taken["results"]["run"]
        click.echo(f"== {step.name}{where}{after}: {folder}")
        click.echo(f"   {visible(shlex.join(['hpcagent', step.command, *step.words]))}")
    click.echo(f"\nCommands begin in {plan.folder}; with --dry-run each shows its files and jobs.")
