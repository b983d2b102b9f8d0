"""Makes a run and drives it: what every command that begins one ends with."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from hpcagent import __version__
from hpcagent.cli.handed import taker
from hpcagent.cli.place import runs_folder
from hpcagent.cli.runs import drive
from hpcagent.errors import SchedulerRefused
from hpcagent.study.plan import KIND
from hpcagent.study.rundir import create_run, remove_run
from hpcagent.study.runplace import foresee
from hpcagent.study.session import open_tune, read_state
from hpcagent.study.settings import TuneSettings
from hpcagent.study.submission import never_submitted
from hpcagent.templates import clean


def foreseen(kind: str, run_dir: Path | None) -> Path:
    """Where a run would be that is only shown; raises what `begin_run` would of that place."""
    place = _checked(run_dir)
    foresee(runs_folder(), place)
    return runs_folder() / f"{kind}-DATE-TIME-ID" if place is None else place


def _checked(run_dir: Path | None) -> Path | None:
    return None if run_dir is None else Path(clean(run_dir.absolute(), "--run-dir"))


def begin_run(
    kind: str,
    settings: TuneSettings,
    run_dir: Path | None,
    *,
    no_wait: bool,
    as_json: bool,
    compare: Mapping[str, Any] | None = None,
    task: Mapping[str, Any] | None = None,
    plan: Mapping[str, Any] | None = None,
    also: Sequence[str] = (),
) -> int:
    """The exit code of a new run; `also` are lines to show first.

    Where somebody takes the run over (cli/handed.py), it is made and not driven.
    Where the very first job is refused, SchedulerRefused, and nothing is left of the run: the
    command can be repeated as it was, with what the scheduler did not like mended.
    """
    place = _checked(run_dir)
    theirs = place is not None and os.access(place, os.F_OK)  # else it may not be looked at
    run = create_run(kind, __version__, runs_folder(), place)
    open_tune(run, settings, __version__, compare, task, plan)
    whose = taker()
    if whose is not None:
        whose.run = run
        return 0
    if not as_json:
        for line in (f"run {run.id} in {run.path}", *also):
            click.echo(line, err=True)
    try:
        return drive(run, until_waiting=no_wait, as_json=as_json)
    except SchedulerRefused as refused:
        if kind == KIND:  # it stays open, and says how to go on
            raise
        if never_submitted(read_state(run)) and remove_run(run, but_the_folder=theirs):
            words = "nothing was submitted, and nothing is left of the run"
        elif str(run.path) in str(refused):  # it says how to go on
            raise
        else:
            words = f"the run is kept in {run.path}"
        raise SchedulerRefused(f"{refused}; {words}") from None
