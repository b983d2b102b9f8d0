"""Progress of a run: a line that is rewritten on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

import click

from hpcagent.cli.waiting import PLAIN_EVERY_S, Plain, words
from hpcagent.llm.progress import Progress
from hpcagent.study.agent import RunAgent
from hpcagent.study.durable import utc_now, utc_text
from hpcagent.study.plan import KIND
from hpcagent.study.progress import progress
from hpcagent.study.rundir import RunDir
from hpcagent.study.state import TuneState, Unit
from hpcagent.study.turn import Turn

if TYPE_CHECKING:
    from rich.status import Status


class Display(Protocol):
    def __call__(self, state: TuneState, turn: Turn) -> None: ...


@contextmanager
def live(run: RunDir, agent: RunAgent, quiet: bool) -> Iterator[Display]:
    """What to call after each turn. Everything goes to standard error; `quiet` shows nothing."""
    if quiet:
        yield lambda state, turn: None
    elif sys.stderr.isatty():
        from rich.console import Console

        console = Console(stderr=True, highlight=False)
        with console.status("starting") as status:
            rewriting = _Rewriting(run, agent, status)
            agent.tell_of_models(rewriting.of_a_model)
            yield rewriting
    else:
        agent.tell_of_models(Plain(lambda words: click.echo(f"{_time()} {words}", err=True)))
        yield _Plain(run, agent)


class _Rewriting:
    def __init__(self, run: RunDir, agent: RunAgent, status: Status) -> None:
        self._run, self._agent, self._status = run, agent, status

    def __call__(self, state: TuneState, turn: Turn) -> None:
        from rich.markup import escape

        if not turn.waiting:
            self._status.console.print(escape(f"{_time()} {turn.words}"))
        self._status.update(escape(line(self._run, self._agent)))

    def of_a_model(self, progress: Progress | None) -> None:
        """The turn that asks it lasts until it has answered."""
        from rich.markup import escape

        told = line(self._run, self._agent) if progress is None else words(progress)
        self._status.update(escape(told))


class _Plain:
    def __init__(self, run: RunDir, agent: RunAgent) -> None:
        self._run, self._agent = run, agent
        self._last = utc_now()
        self._words = ""

    def __call__(self, state: TuneState, turn: Turn) -> None:
        now = utc_now()
        waited = (now - self._last).total_seconds() >= PLAIN_EVERY_S
        if turn.waiting and turn.words == self._words and not waited:
            return
        self._last, self._words = now, turn.words
        words = line(self._run, self._agent) if turn.waiting and waited else turn.words
        click.echo(f"{_time()} {words}", err=True)


def line(run: RunDir, agent: RunAgent) -> str:
    """The progress line of a run's agent; of a plan's those of its steps."""
    if run.kind == KIND:
        below = agent.under.items()
        return "; ".join(f"{name}: {_line(one.run_dir, one)}" for name, one in below) or "plan"
    return _line(run, agent)


def _line(run: RunDir, agent: RunAgent) -> str:
    return progress(agent.known, processes(run, agent.state), utc_text(utc_now())).text()


def processes(run: RunDir, state: TuneState) -> int:
    """Processes that the open units have measured so far."""
    measuring = [u for u in state.open_units if u.kind != "probe" and "steps" not in u.spec]
    return sum(_lines(run, unit) for unit in measuring)


def _lines(run: RunDir, unit: Unit) -> int:
    try:
        return (run.unit(unit.name) / "result.jsonl").read_bytes().count(b"\n")
    except OSError:
        return 0


def _time() -> str:
    return utc_now().astimezone().strftime("%H:%M:%S")
