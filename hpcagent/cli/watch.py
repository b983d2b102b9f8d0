"""`hpcagent watch`: follow a run that another process, or a chain of batch jobs, drives."""

from __future__ import annotations

import time

import click

from hpcagent.cli.interrupt import interruptible
from hpcagent.cli.live import processes
from hpcagent.cli.main import INTERRUPTED
from hpcagent.cli.place import find_run
from hpcagent.cli.runs import run_argument, show, undriven
from hpcagent.report.anyrun import headline, summary_of
from hpcagent.study.agent import exit_code
from hpcagent.study.driven import driven
from hpcagent.study.durable import utc_now, utc_text
from hpcagent.study.knowledge import Knowledge
from hpcagent.study.lease import is_driven
from hpcagent.study.plan import KIND
from hpcagent.study.progress import progress
from hpcagent.study.rundir import RunDir
from hpcagent.study.session import read_state
from hpcagent.study.standing import waiting_for
from hpcagent.study.state import TuneState

EVERY_S = 2.0
# A line is repeated after so long, that a reader sees the watch is alive.
REPEAT_S = 300.0


@click.command()
@run_argument
@click.option("--every", type=click.FloatRange(0.1), default=EVERY_S, show_default=True,
              metavar="SECONDS", help="Time between two looks.")  # fmt: skip
def watch(run: str, every: float) -> int:
    """Follow RUN until it is closed. It only reads: what drives the run is not touched."""
    found = find_run(run)
    known = Knowledge(read_state(found))
    last, shown = "", 0.0
    try:
        with interruptible() as check:
            while known.state.closed is None:
                check()
                words = _waited_for(found, known) or "between two jobs"
                if words != last or time.monotonic() - shown > REPEAT_S:
                    click.echo(f"{_clock()} {_line(found, known)}\n         {words}", err=True)
                    last, shown = words, time.monotonic()
                time.sleep(every)
                known = _later(found, known)
    except KeyboardInterrupt:
        told = "it goes on" if is_driven(found.path) else undriven(found)
        click.echo(f"hpcagent: the watch of {found.path.name} ends; {told}", err=True)
        return INTERRUPTED
    show(found, summary_of(found, known), as_json=False, width=None)
    return exit_code(known.state)


def _waited_for(run: RunDir, known: Knowledge) -> str:
    waits = (waiting_for(state) for _, state in driven(run, known.state))
    return "; ".join(words for words in waits if words)


def _later(run: RunDir, known: Knowledge) -> Knowledge:
    state: TuneState = read_state(run)
    return known if state.last_utc == known.state.last_utc else Knowledge(state)


def _line(run: RunDir, known: Knowledge) -> str:
    if run.kind == KIND:
        return headline(summary_of(run, known))
    return progress(known, processes(run, known.state), utc_text(utc_now())).text()


def _clock() -> str:
    return utc_now().astimezone().strftime("%H:%M:%S")
