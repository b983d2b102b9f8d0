"""Makes a run and drives it: what every command that begins one ends with."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from hpcagent import __version__
from hpcagent.cli.place import runs_folder
from hpcagent.cli.runs import drive
from hpcagent.errors import SchedulerRefused
from hpcagent.study.agent import never_submitted
from hpcagent.study.rundir import RunDir, create_run
from hpcagent.study.session import open_tune, read_state
from hpcagent.study.settings import TuneSettings
from hpcagent.templates import clean


def begin_run(
    kind: str,
    settings: TuneSettings,
    run_dir: Path | None,
    *,
    no_wait: bool,
    as_json: bool,
    compare: Mapping[str, Any] | None = None,
    task: Mapping[str, Any] | None = None,
    also: Sequence[str] = (),
) -> int:
    """The exit code of a new run; `also` are lines to show first.

    Where the very first job is refused, SchedulerRefused, and nothing is left of the run: the
    command can be repeated as it was, with what the scheduler did not like mended.
    """
    if run_dir is not None:
        clean(run_dir.absolute(), "--run-dir")
    theirs = run_dir is not None and run_dir.is_dir()
    run = create_run(kind, __version__, runs_folder(), run_dir)
    open_tune(run, settings, __version__, compare, task)
    if not as_json:
        for line in (f"run {run.id} in {run.path}", *also):
            click.echo(line, err=True)
    try:
        return drive(run, until_waiting=no_wait, as_json=as_json)
    except SchedulerRefused as refused:
        if never_submitted(read_state(run)) and _removed(run, but_the_folder=theirs):
            words = "nothing was submitted, and nothing is left of the run"
        else:
            words = f"the run is kept in {run.path}"
        raise SchedulerRefused(f"{refused}; {words}") from None


def _removed(run: RunDir, but_the_folder: bool) -> bool:
    """False where something of it could not be removed."""
    try:
        for entry in run.path.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry)
            else:
                entry.unlink()
        if not but_the_folder:
            run.path.rmdir()
    except OSError:
        return False
    return True
