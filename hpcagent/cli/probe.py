"""`hpcagent probe`: what a machine, or the nodes of partitions, are and have."""

from __future__ import annotations

import os
from pathlib import Path

import click

from hpcagent.cli.asks import asked, request_options
from hpcagent.cli.place import runs_folder
from hpcagent.cli.runs import json_option
from hpcagent.cli.targets import place
from hpcagent.cli.taskrun import begin, run_options
from hpcagent.config import load_settings
from hpcagent.study.probe_task import PARTS, probe_spec
from hpcagent.study.task_plan import Task


@click.command()
@click.option(
    "--no-measure", is_flag=True,
    help="Leave out the measured memory bandwidth and peak (half a minute of a whole node).",
)  # fmt: skip
@request_options
@run_options
@json_option
def probe(
    no_measure: bool, scheduler: str | None, run_dir: Path | None, no_wait: bool, dry_run: bool,
    as_json: bool,
) -> int:  # fmt: skip
    """Tell what this machine, or a partition's nodes, are and have.

    Hardware, limits, file systems, modules, compilers, MPI and BLAS, each fact with where it
    came from and how sure it is; what could not be had, with the reason. With --partition a
    small job asks a compute node, which may differ from this one; `--partition all` asks one
    of each.

    \b
    Examples:
      hpcagent probe
      hpcagent probe --partition compute
      hpcagent probe --partition all --json > site.json
    """
    configured = load_settings(os.environ, Path.cwd())
    there = place(scheduler, asked(), configured)
    request = probe_spec(PARTS, not no_measure, str(runs_folder()))
    task = Task("probe", there.targets, request)
    return begin(
        task, there, configured, run_dir, no_wait=no_wait, dry_run=dry_run, as_json=as_json
    )
