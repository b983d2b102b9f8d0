"""What a language model says beside the causes that `hpcagent explain` found."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hpcagent.cli.modelroutes import wanted
from hpcagent.cli.waiting import waiting
from hpcagent.config import load_settings
from hpcagent.errors import EnvironmentProblem
from hpcagent.llm.roles import DEBUG

if TYPE_CHECKING:
    from hpcagent.study.opinion import Opinion
    from hpcagent.toolchain.diagnosis import Found

_LATE = "model.timeout"
_CURE = (
    "; take a smaller model, more cores, a shorter log (--tokens), or give it more time"
    " (answer_seconds in [models.debug])"
)
# (causes, filtered log) -> what the model says; None where no model is asked.
Asked = Callable[[Sequence["Found"], str], "Opinion | None"]


@contextmanager
def asking(model: str | None, none: bool) -> Iterator[Asked]:
    """A function that asks the model of the role debug; it is loaded when there is a question.

    UsageError for an option or a configuration that cannot be understood. A file or a server that
    cannot serve is told in the opinion.
    """
    if none:
        yield lambda causes, log: None
        return
    configured = load_settings(os.environ, Path.cwd())
    try:
        routes = wanted(configured, model, (DEBUG,))
    except EnvironmentProblem as error:
        yield _failing(model or "", str(error))
        return
    if not routes:
        yield lambda causes, log: None
        return
    from hpcagent.llm.routing import Models
    from hpcagent.study.admission import opening
    from hpcagent.study.opinion import opinion

    tell = waiting()
    models = Models(routes, configured.model_hosts, opening(configured, tell), tell)
    try:
        yield lambda causes, log: opinion(models, causes, log)
    finally:
        models.close()


def _failing(label: str, why: str) -> Asked:
    from hpcagent.study.opinion import Opinion

    return lambda causes, log: Opinion(label, note=f"no answer: {why}")


def say(found: Opinion | None, width: int) -> None:
    """On the screen, marked as the model's own words."""
    if found is None:
        return
    for note in found.notes:
        click.echo(textwrap.fill(f"model: {note}", width, subsequent_indent="  "))
    if found.note:
        note = f"model: {found.note}{_CURE if _LATE in found.note else ''}"
        click.echo("\n".join(textwrap.wrap(note, width, subsequent_indent="  ")))
        return
    head = f"In the words of {found.model} (unchecked; nothing of it is applied):"
    click.echo("\n".join(textwrap.wrap(head, width, subsequent_indent="  ")))
    parts = {"cause": found.cause, "says": found.explanation, "try": found.suggestion}
    for name, text in parts.items():
        lines = textwrap.wrap(
            text, width, initial_indent=f"  {name:6s} ", subsequent_indent=" " * 9,
            break_on_hyphens=False,
        )  # fmt: skip
        click.echo("\n".join(lines or [f"  {name}"]))
