"""What a model is doing, for a person who waits: a line on standard error that is rewritten on a
terminal, and one every half minute elsewhere."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType

import click

from hpcagent.cli.models_text import size
from hpcagent.llm.progress import DIGESTING, LOADING, MEASURING, READING, WRITING, Progress, Tell
from hpcagent.study.progress import clock

PLAIN_EVERY_S = 30.0
_ERASED = "\r\x1b[K"


def waiting() -> Tell:
    """Who tells it here."""
    return _Rewritten() if sys.stderr.isatty() else Plain()


def words(progress: Progress) -> str:
    """In one line of a terminal.

    >>> words(Progress(READING, 640, 1404, 0, 128.0))
    'the model reads: 640 of 1404 tokens, 2:33 left'
    """
    return _WORDS[progress.what](progress)


class Plain:
    """`say` gets a line now and then, for what takes long."""

    def __init__(
        self,
        say: Callable[[str], None] = lambda line: click.echo(line, err=True),
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._say, self._now = say, now
        self._last: float | None = None

    def __call__(self, progress: Progress | None) -> None:
        if progress is None:
            self._last = None
            return
        now = self._now()
        if self._last is None:
            self._last = now - progress.seconds
        if now - self._last >= PLAIN_EVERY_S:
            self._last = now
            self._say(words(progress))


class _Rewritten:
    def __call__(self, progress: Progress | None) -> None:
        columns = shutil.get_terminal_size().columns
        line = "" if progress is None else words(progress)[: columns - 1]
        click.echo(f"{_ERASED}{line}", err=True, nl=False)


def _digesting(found: Progress) -> str:
    return f"SHA-256 of the model: {size(found.done)} of {size(found.of)}{_left(found)}"


def _loading(found: Progress) -> str:
    return f"loading the model, {size(found.of)}: {clock(found.seconds)}"


def _reading(found: Progress) -> str:
    return f"the model reads: {found.done} of {found.of} tokens{_left(found)}"


def _writing(found: Progress) -> str:
    return f"the model writes: {found.done} tokens in {clock(found.seconds)}"


def _measuring(found: Progress) -> str:
    # Not how long the others take: those that do not fit into the time are left out.
    return f"{found.done} of {found.of} repeats in {clock(found.seconds)}"


def _left(found: Progress) -> str:
    return "" if found.left_s is None else f", {clock(found.left_s)} left"


_WORDS: Mapping[str, Callable[[Progress], str]] = MappingProxyType(
    {
        DIGESTING: _digesting,
        LOADING: _loading,
        READING: _reading,
        WRITING: _writing,
        MEASURING: _measuring,
    }
)
