"""The command line: click commands, live progress, exit codes. Only here is anything echoed."""

from __future__ import annotations

from hpcagent.cli.main import main

__all__ = ["main"]
