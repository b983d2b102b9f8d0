"""Files and folders on the command line."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click


class _GivenPath(click.Path):
    """An empty one is what a script makes of a variable that is not set, not the current folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not os.fspath(value):
            self.fail("it is empty; name a file or folder, or leave it out", param, ctx)
        return super().convert(value, param, ctx)


PATH = _GivenPath(path_type=Path)
