"""`hpcagent doctor`: which compilers, MPI and BLAS libraries work together, tried for real."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from hpcagent.cli.asks import asked, request_options
from hpcagent.cli.place import runs_folder
from hpcagent.cli.runs import json_option
from hpcagent.cli.surroundings import accounts_of
from hpcagent.cli.targets import Place, place
from hpcagent.cli.taskrun import begin, run_options
from hpcagent.config import load_settings
from hpcagent.probe import collect
from hpcagent.study.doctor_task import Visit
from hpcagent.study.session import make_scheduler
from hpcagent.study.task_plan import Task
from hpcagent.toolchain.choose import Preference

_LOOK_S = 5


@click.command()
@click.option(
    "--all", "all_", is_flag=True,
    help="Try every compiler with every MPI and BLAS. [default: what is loaded and preferred, in "
    "a minute or two]",
)  # fmt: skip
@request_options
@run_options
@json_option
def doctor(
    all_: bool, scheduler: str | None, run_dir: Path | None, no_wait: bool, dry_run: bool,
    as_json: bool,
) -> int:  # fmt: skip
    """Find out which toolchains work here, and why others do not.

    Tiny programs in C, C++ and Fortran, with OpenMP, MPI and BLAS, are compiled, linked and run in
    a job; each checks its answer and tells what it really used. Wrong headers, mixed OpenMP
    runtimes, foreign launchers, too new instructions and shadowed libraries are named, with the
    cure. Also checked: what hpcagent itself needs of the nodes.

    \b
    Examples:
      hpcagent doctor
      hpcagent doctor --partition compute
      hpcagent doctor --all --json > toolchains.json
    """
    configured = load_settings(os.environ, Path.cwd())
    there = place(scheduler, asked(), configured)
    preferred = Preference(configured.compiler, configured.mpi, configured.blas)
    visit = replace(_visit(there, all_), preferred=asdict(preferred))
    task = Task("doctor", there.targets, visit.to_json())
    return begin(
        task, there, configured, run_dir, no_wait=no_wait, dry_run=dry_run, as_json=as_json
    )


def _visit(there: Place, all_: bool) -> Visit:
    folder, host = str(runs_folder()), socket.gethostname()
    if there.scheduler == "local":
        return Visit(all_, folder, host, None)
    scheduler = make_scheduler(there.scheduler)
    accounts, missing = accounts_of(scheduler)
    queues = tuple(asdict(queue) for queue in scheduler.queues())
    return Visit(all_, folder, host, _login_facts(), queues, accounts, missing)


def _login_facts() -> Mapping[str, Any]:
    """Where users build their programs; a look that a login node does not feel."""
    facts: Mapping[str, Any] = collect.collect({"schema": 1, "timeout_s": _LOOK_S})
    return facts
