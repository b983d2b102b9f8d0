"""Commands on an existing run: resume, step, status, report."""

from __future__ import annotations

import json
import math
import os
import shlex
import shutil
import textwrap
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import click

from hpcagent.cli.interrupt import interruptible
from hpcagent.cli.leaving import left_out
from hpcagent.cli.live import Display, live, processes
from hpcagent.cli.main import INTERRUPTED
from hpcagent.cli.place import find_run, runs_folder
from hpcagent.cli.planbegin import begin_step
from hpcagent.errors import HpcagentError, SchedulerRefused
from hpcagent.report.anyrun import Summary, headline, summary_of, terminal
from hpcagent.report.publish import publish
from hpcagent.study.agent import exit_code
from hpcagent.study.chain import chain_folder, read_chain
from hpcagent.study.driven import driven
from hpcagent.study.durable import utc_now, utc_text
from hpcagent.study.knowledge import Knowledge
from hpcagent.study.lease import is_driven
from hpcagent.study.outcome import phase
from hpcagent.study.outcome_model import model_notes
from hpcagent.study.plan import KIND
from hpcagent.study.progress import progress
from hpcagent.study.rundir import RunDir, list_runs
from hpcagent.study.session import opened, read_state
from hpcagent.study.standing import standing
from hpcagent.study.state import TuneState
from hpcagent.study.turn import Turn

_IN_A_JOB = ("SLURM_JOB_ID", "PBS_JOBID")

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON on standard output.")
run_argument = click.argument("run", metavar="RUN")


@click.command()
@run_argument
@json_option
def resume(run: str, as_json: bool) -> int:
    """Continue RUN where it was: nothing is lost and nothing is measured twice."""
    return drive(find_run(run), until_waiting=False, as_json=as_json)


@click.command()
@run_argument
@json_option
def step(run: str, as_json: bool) -> int:
    """Consume what has finished, propose, submit, and exit without waiting.

    Fit for cron, scrontab or a job dependency. Exit code 0 also while the run goes on. Outside a
    job it asks the scheduler no more often than an agent that stays; results are found at once.
    """
    # A job that was submitted to follow others starts when there is something to ask for.
    outside = not any(os.environ.get(name) for name in _IN_A_JOB)
    return drive(find_run(run), until_waiting=True, as_json=as_json, keep_pace=outside)


@click.command()
@click.argument("run", metavar="[RUN]", required=False)
@json_option
def status(run: str | None, as_json: bool) -> int:
    """Show where RUN is; without RUN, list all runs."""
    if run is None:
        return _list(as_json)
    found = find_run(run)
    state = read_state(found)
    if as_json:
        click.echo(as_json_text(summary_of(found, Knowledge(state))))
        return 0
    click.echo(_line(found, state))
    if state.closed is None and not is_driven(found.path):
        click.echo(f"  {undriven(found)}")
    taken = state.decisions.get("history")
    if taken is not None:
        click.echo(f"  {taken['reason']}")
    for note in model_notes(state):
        click.echo(textwrap.fill(f"  model: {note}", 80, subsequent_indent="    "))
    for below, its in driven(found, state):
        for unit in its.open_units:
            job = f"job {unit.job_id}, " if unit.job_id else ""
            click.echo(f"  {job}{standing(unit)}\n    {below.unit(unit.name)}")
    return 0


@click.command()
@run_argument
@json_option
@click.option("--width", type=click.IntRange(40, 200), help="Columns. [default: the terminal's]")
def report(run: str, as_json: bool, width: int | None) -> int:
    """Show the result of RUN and write report.md, report.html and the figures again."""
    found = find_run(run)
    known = Knowledge(read_state(found))
    show(found, summary_of(found, known), as_json, width)
    # Last, so that a run that may only be read is shown all the same.
    publish(found, known)
    return 0


def drive(run: RunDir, until_waiting: bool, as_json: bool, keep_pace: bool = False) -> int:
    """Turn the run's wheel, show progress and the end; the exit code."""
    try:
        with (
            interruptible() as check,
            opened(run, publish, begin_step) as agent,
            live(run, agent, quiet=as_json) as display,
        ):
            if keep_pace:
                agent.keep_pace()
            try:
                agent.run(_both(display, check), until_waiting)
            except HpcagentError as error:
                if run.kind != KIND and not isinstance(error, SchedulerRefused):
                    raise
                raise _to_go_on(run, agent.state, error) from None
            state = agent.state
    except KeyboardInterrupt:
        told = f"hpcagent: interrupted; {left_out(run)}. Continue with:\n  {again(run)}"
        click.echo(told, err=True)
        return INTERRUPTED
    except BrokenPipeError:  # whoever read the progress is gone, and so it is told to nobody
        return INTERRUPTED
    if state.closed is None:
        if as_json:
            click.echo(as_json_text(summary_of(run, Knowledge(state))))
        else:
            click.echo(f"{_line(run, state)}\ncontinue with: {again(run)}")
        return 0
    show(run, summary_of(run, Knowledge(state)), as_json, None)
    return exit_code(state)


def _to_go_on(run: RunDir, state: TuneState, error: HpcagentError) -> HpcagentError:
    """Told with what to do: a run of which a job ran before goes on, and so does a plan."""
    if state.closed is not None:
        return error
    return type(error)(f"{error}; when that is mended go on with: {again(run)}")


def _both(display: Display, check: Callable[[], None]) -> Display:
    def notify(state: TuneState, turn: Turn) -> None:
        display(state, turn)
        check()

    return notify


def show(run: RunDir, summary: Summary, as_json: bool, width: int | None) -> None:
    if as_json:
        click.echo(as_json_text(summary))
        return
    columns = width or min(100, shutil.get_terminal_size((80, 24)).columns)
    click.echo(terminal(summary, columns, str(run.path)))


def undriven(run: RunDir) -> str:
    """Who goes on with a run that no process drives; the jobs that are out only measure."""
    link = read_chain(chain_folder(run.path)).next_job
    if link:
        return f"no process drives it now; job {link}, the next link of its chain, goes on"
    return f"no process drives it now; go on with:\n    {again(run)}"


def _list(as_json: bool) -> int:
    runs = list_runs(runs_folder())
    if as_json:
        click.echo(json.dumps([_row(found) for found in runs], indent=1))
        return 0
    if not runs:
        click.echo(f"no runs below {runs_folder()}; begin with: hpcagent tune --lib openblas")
    for found in runs:
        try:
            state = read_state(found)
            alone = state.closed is None and not is_driven(found.path)
            click.echo(_line(found, state) + (" | no process drives it now" if alone else ""))
        except HpcagentError as error:
            click.echo(f"{found.path.name}: cannot be read: {error}")
    return 0


def _row(run: RunDir) -> dict[str, str]:
    row = {"id": run.id, "kind": run.kind, "created_utc": run.created_utc, "path": str(run.path)}
    try:
        state = read_state(run)
    except HpcagentError as error:
        return {**row, "problem": str(error)}
    return {**row, "phase": phase(state), "outcome": str((state.closed or {}).get("outcome", ""))}


def again(run: RunDir) -> str:
    return f"hpcagent resume {shlex.quote(str(run.path))}"


def _line(run: RunDir, state: TuneState) -> str:
    """One run under the name that commands take: a folder of one's own has another than the id."""
    known = Knowledge(state)
    if state.closed is not None or run.kind == KIND:
        return f"{run.path.name}: {headline(summary_of(run, known))}"
    words = progress(known, processes(run, state), utc_text(utc_now())).text()
    return f"{run.path.name}: {words}"


def as_json_text(summary: Summary) -> str:
    return json.dumps(_finite(asdict(summary)), indent=1, sort_keys=True, allow_nan=False)


def _finite(value: Any) -> Any:
    """The same with null for what JSON cannot say: no number, or an infinite one."""
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
