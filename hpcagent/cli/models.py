"""`hpcagent models`: which language models there are, and what each is worth here."""

from __future__ import annotations

import click

from hpcagent.cli.lazy import LazyGroup, Table

_COMMANDS: Table = {
    "bench": ("hpcagent.cli.models_bench", "Measure a model's speed beside a bare loop."),
    "qualify": ("hpcagent.cli.models_qualify", "Put a model through tasks, and print its card."),
    "list": ("hpcagent.cli.models_files", "List the models there are, and whether each fits."),
    "show": ("hpcagent.cli.models_files", "Show what a model says of itself and would need."),
    "verify": ("hpcagent.cli.models_files", "Load a model for real, and let it answer."),
}


@click.group(cls=LazyGroup, table=_COMMANDS)
def models() -> None:
    """Tell which language models there are, and what each is worth on this machine."""
