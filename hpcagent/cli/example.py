"""The option of a command that prints a complete file to start from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


def example_option(word: str, name: str, text: Callable[[], str]) -> Callable[[Command], Command]:
    """`word` is the option, `name` what the file is called in the command's help."""

    def show(context: click.Context, option: click.Parameter, wanted: bool) -> None:
        if wanted:
            click.echo(text(), nl=False)
            context.exit(0)

    return click.option(
        word, is_flag=True, is_eager=True, expose_value=False, callback=show,
        help=f"Print a complete {name} to start from.",
    )  # fmt: skip
