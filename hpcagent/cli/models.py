"""`hpcagent models`: which language models there are, and what each is worth here."""

from __future__ import annotations

import click

from hpcagent.cli.lazy import LazyGroup, Table

_COMMANDS: Table = {
    "qualify": ("hpcagent.cli.models_qualify", "Put a model through tasks, and print its card."),
}


@click.group(cls=LazyGroup, table=_COMMANDS)
def models() -> None:
    """Tell which language models there are, and what each is worth on this machine."""
