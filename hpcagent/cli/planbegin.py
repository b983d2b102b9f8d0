"""Begins a step of a plan: its command is called as from a shell, but for who drives the run."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from hpcagent.cli.handed import Taker
from hpcagent.cli.main import group
from hpcagent.errors import EnvironmentProblem, HpcagentError, UsageError
from hpcagent.study.plan import Plan, references, resolved
from hpcagent.study.plan_steps import step_folder


def begin_step(command: str, words: Sequence[str], folder: Path, where: str) -> None:
    """Make the run of a step in `folder`, as if called in `where`; whoever called drives it."""
    taker = Taker()
    with _begun_in(where):
        _called(command, ["--run-dir", str(folder), *words], taker)
    if taker.run is None:
        raise UsageError(f"hpcagent {' '.join([command, *words])}: begins no run")


def rehearse(plan: Plan, place: Path) -> None:
    """Raise what would be refused when a step begins, before any does.

    Each that waits for nothing of another is called with --dry-run, and shown to nobody. `place` is
    the folder of the plan's run.
    """
    taken = {step.name for step in plan.steps if step.taken is not None}
    for step in plan.steps:
        if step.taken is not None or {name for name, _ in references(step.words)} - taken:
            continue
        silence = contextlib.redirect_stdout(io.StringIO())
        with placed(step.where, step.name), _begun_in(plan.folder), silence:
            folder = str(step_folder(place, step.name))
            words = resolved(step.words, plan.taken)
            _called(step.command, ["--dry-run", "--run-dir", folder, *words])


def command_of(name: str) -> click.Command:
    """The command of this name, which a step may have."""
    found = group.get_command(click.Context(group), name)
    assert found is not None
    return found


def message(error: click.ClickException) -> str:
    return " ".join(error.format_message().split())


@contextlib.contextmanager
def placed(where: str, name: str) -> Iterator[None]:
    """Errors say of which step they are, and where it stands in the plan."""
    try:
        yield
    except HpcagentError as error:
        raise type(error)(f"{where}: step {name}: {error}") from None


def _called(name: str, words: Sequence[str], taker: Taker | None = None) -> None:
    try:
        command_of(name).main(list(words), f"hpcagent {name}", standalone_mode=False, obj=taker)
    except click.UsageError as error:
        raise UsageError(message(error)) from None
    except click.exceptions.Abort:  # what click makes of an interruption
        raise KeyboardInterrupt from None


@contextlib.contextmanager
def _begun_in(folder: str) -> Iterator[None]:
    """A step begins where its plan lies, with the configuration of that folder."""
    before = os.open(".", os.O_PATH)  # which needs no name any more
    try:
        _enter(folder)
        try:
            yield
        finally:
            os.fchdir(before)
    finally:
        os.close(before)


def _enter(folder: str) -> None:
    try:
        os.chdir(folder)
    except OSError as error:
        words = f"{folder}: cannot be entered, where the plan's steps begin: {error.strerror}"
        raise EnvironmentProblem(words) from None
