"""Takes over the run that a command has made, from the command that would drive it."""

from __future__ import annotations

from dataclasses import dataclass

import click

from hpcagent.study.rundir import RunDir


@dataclass
class Taker:
    """Given to a command as its context's object: the run is made, and left to whoever gave it."""

    run: RunDir | None = None


def taker() -> Taker | None:
    """Who takes over what the running command makes; None: nobody, it drives the run itself."""
    return click.get_current_context().find_object(Taker)
