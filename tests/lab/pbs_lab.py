"""A PBS of its own for a test: the stand-in's commands before PATH; nothing is left afterwards."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest
from lab.pbs_standin_state import State

TESTS = Path(__file__).resolve().parents[1]
COMMANDS = ("qsub", "qstat", "qselect", "qdel", "pbsnodes")
LIMIT_S = 240.0


class PbsLab:
    """`bin` has the commands, `home` is where jobs begin, `set` says what is to go wrong."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "pbs bin"
        self.home = folder / "pbs home"
        self.state = State(folder / "pbs state")
        self._mom: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> PbsLab:
        self.bin.mkdir(parents=True)
        self.home.mkdir()
        self.state.create(self.home)
        for name in COMMANDS:
            words = [*_python("lab.pbs_standin"), name, str(self.state.folder)]
            path = self.bin / name
            path.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
            path.chmod(0o755)
        self._mom = subprocess.Popen(
            [*_python("lab.pbs_standin_mom"), str(self.state.folder)], stdin=subprocess.PIPE
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._mom is not None
        self._mom.communicate(timeout=LIMIT_S)
        assert self._mom.returncode == 0

    @property
    def path(self) -> str:
        return f"{self.bin}{os.pathsep}{os.environ['PATH']}"

    def set(self, **faults: Any) -> None:
        self.state.set_faults(**faults)

    def calls(self) -> list[str]:
        """The commands that were run until now."""
        return (self.state.folder / "calls").read_text().splitlines()

    def run(self, *argv: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """One of the commands, as a user would call it."""
        words = [str(self.bin / argv[0]), *argv[1:]]
        return subprocess.run(words, capture_output=True, text=True, check=False, **options)


def _python(module: str) -> list[str]:
    """A Python that sees nothing but the tests and the checkout."""
    folders = [str(TESTS), str(TESTS.parent)]
    code = f"import sys; sys.path[:0] = {folders}; from {module} import main; sys.exit(main())"
    return [sys.executable, "-I", "-S", "-c", code]


def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The commands are on PATH until the generator is closed."""
    with PbsLab(tmp_path) as lab:
        monkeypatch.setenv("PATH", lab.path)
        yield
