"""A group whose commands are imported when they are called, so that `--help` is quick."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import click

# name -> module that defines it, one-line help
Table = Mapping[str, tuple[str, str]]


class LazyGroup(click.Group):
    """`table` tells what it holds without importing it."""

    def __init__(self, *args: Any, table: Table, **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self._table = table

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._table:
            return None
        module = importlib.import_module(self._table[cmd_name][0])
        # A command may be named like something of Python's: `list` is made by list_GROUP.
        made = f"{cmd_name}_{self.name}"
        command: click.Command = getattr(module, made if hasattr(module, made) else cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self._table.items()])
