"""`hpcagent probe`: what a machine, or the nodes of partitions, are and have."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from hpcagent import __version__
from hpcagent.cli.asks import asked, request_options
from hpcagent.cli.place import runs_folder
from hpcagent.cli.runs import as_json_text, json_option
from hpcagent.cli.targets import Place, place
from hpcagent.cli.taskrun import begin, run_options
from hpcagent.config import load_settings
from hpcagent.errors import EnvironmentProblem
from hpcagent.report import task_text
from hpcagent.study.facts_cache import Kept, cache_folder, kept_at, place_name
from hpcagent.study.probe_task import PARTS, Look, probe_spec
from hpcagent.study.task_plan import Task
from hpcagent.study.task_summary import TargetSummary, TaskSummary, with_facts


@click.command()
@click.option(
    "--no-measure", is_flag=True,
    help="Leave out the measured memory bandwidth and peak (half a minute of a whole node); those "
    "of an earlier probe of the same kind of node are shown with their date.",
)  # fmt: skip
@click.option(
    "--cached", is_flag=True, help="Show what the last probe found, with its date; run nothing.",
)  # fmt: skip
@request_options
@run_options
@json_option
def probe(
    no_measure: bool, cached: bool, scheduler: str | None, run_dir: Path | None, no_wait: bool,
    dry_run: bool, as_json: bool,
) -> int:  # fmt: skip
    """Tell what this machine, or a partition's nodes, are and have.

    Hardware, limits, file systems, modules, compilers, MPI and BLAS, each fact with where it
    came from and how sure it is; what could not be had, with the reason. With --partition a
    small job asks a compute node, which may differ from this one; `--partition all` asks one
    of each kind.

    \b
    Examples:
      hpcagent probe
      hpcagent probe --partition compute
      hpcagent probe --partition all --json > site.json
      hpcagent probe --cached
    """
    configured = load_settings(os.environ, Path.cwd())
    there = place(scheduler, asked(), configured)
    earlier = _kept(there)
    if cached:
        _show(_remembered(there, earlier), as_json)
        return 0
    spec = probe_spec(PARTS, not no_measure, str(runs_folder()))
    rates: Mapping[str, Mapping[str, Any]] = (
        {label: kept.facts for label, kept in earlier.items()} if no_measure else {}
    )
    task = Task("probe", there.targets, Look(spec, there.catalogue, rates).to_json())
    return begin(
        task, there, configured, run_dir, no_wait=no_wait, dry_run=dry_run, as_json=as_json
    )


def _kept(there: Place) -> dict[str, Kept]:
    """What is kept of each target, by its label."""
    folder, cluster = cache_folder(os.environ), socket.gethostname()
    found = {
        target.label: kept_at(folder, place_name(there.scheduler, cluster, target.label))
        for target in there.targets
    }
    return {label: kept for label, kept in found.items() if kept is not None}


def _remembered(there: Place, earlier: Mapping[str, Kept]) -> TaskSummary:
    """A summary as that of a run, of what is kept; EnvironmentProblem where nothing is."""
    if not earlier:
        labels = ", ".join(target.label for target in there.targets)
        raise EnvironmentProblem(f"nothing is kept of {labels} yet: run `hpcagent probe` first")
    targets = []
    for target in there.targets:
        kept = earlier.get(target.label)
        if kept is not None:
            plain = TargetSummary(
                target.label, target.resources.partition or "", kept.node, "", kept.t_utc, None
            )
            targets.append(with_facts(plain, kept.facts))
    last = max(earlier.values(), key=lambda kept: kept.t_utc)
    return TaskSummary(
        last.run_id, "probe", __version__, there.scheduler, last.t_utc, last.t_utc, "probed",
        "kept from earlier probes", 0.0, tuple(targets), there.catalogue,
    )  # fmt: skip


def _show(summary: TaskSummary, as_json: bool) -> None:
    if as_json:
        click.echo(as_json_text(summary))
        return
    columns = min(100, shutil.get_terminal_size((80, 24)).columns)
    click.echo(task_text.terminal(summary, columns, f"kept by {summary.run_id}"))
