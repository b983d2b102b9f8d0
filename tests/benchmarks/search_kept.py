"""Runs of competitors in a file, so that each is made once: a line of JSON each.

A line holds the digest of its surface's data. Those of other data, another budget or without a
digest are passed over.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from search_tables import COUNTS, SHARES, Run
from surfaces import Surface

Key = tuple[str, str, int]  # surface, method, seed
_KINDS: Mapping[str, type | tuple[type, ...]] = {
    "surface": str, "method": str, "seed": int, "quality": list, "needed": list, "wasted": int,
    "ms": (int, float),
}  # fmt: skip
_BEGIN = b'{"budget":'  # of a line


class BadFile(Exception):
    """One line: a file that cannot be read or written, why, a cure."""


class Kept:
    """`add` writes a run; `runs` has those that were there at the start."""

    def __init__(self, path: Path | None, budget: int, surfaces: Mapping[str, Surface]) -> None:
        """BadFile where it cannot be read or written to."""
        self._path, self._budget, self._surfaces = path, budget, surfaces
        self.runs: Mapping[Key, Run] = {}
        if path is not None:
            writable(path)
            if path.exists() and not path.is_file():
                raise BadFile(f"{path}: no file that could be read back; choose another --keep")
            self.runs = self._read(path)

    def add(self, run: Run) -> None:
        if self._path is None:
            return
        row = {"budget": self._budget, "data": self._surfaces[run.surface].digest, **vars(run)}
        try:
            with self._path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(row) + "\n")
        except OSError as error:
            raise BadFile(f"{self._path}: {error.strerror}; choose another --keep") from None

    def _read(self, path: Path) -> dict[Key, Run]:
        found = {}
        try:
            lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        except OSError as error:
            raise BadFile(f"{path}: {error.strerror}; choose another --keep") from None
        if lines and lines[-1].startswith(_BEGIN) and not lines[-1].endswith(b"\n"):
            # What was killed while it wrote: the next run would stand on the same line.
            os.truncate(path, sum(map(len, lines[:-1])))
            lines.pop()
        for number, line in enumerate(lines, start=1):
            try:
                run = self._run(line)
            except (ValueError, RecursionError):
                raise BadFile(f"{path}:{number}: no run as --keep writes it; "
                              "remove the line") from None  # fmt: skip
            if run is not None:
                found[run.surface, run.method, run.seed] = run
        return found

    def _run(self, line: bytes) -> Run | None:
        """None for one that does not count here. ValueError where it is no run at all."""
        if not line.endswith(b"\n"):
            raise ValueError
        row = json.loads(line)
        if not isinstance(row, dict):
            raise ValueError
        budget, data = row.pop("budget", None), row.pop("data", None)
        run = _parsed(row)
        surface = self._surfaces.get(run.surface)
        same = surface is not None and data is not None and data == surface.digest
        return run if same and budget == self._budget else None


def _parsed(row: Mapping[str, Any]) -> Run:
    if row.keys() != _KINDS.keys():
        raise ValueError
    if any(not isinstance(row[name], kind) for name, kind in _KINDS.items()):
        raise ValueError
    quality, needed = tuple(row["quality"]), tuple(row["needed"])
    numbers = all(isinstance(x, (int, float)) for x in (*quality, *needed))
    if not numbers or (len(quality), len(needed)) != (len(COUNTS), len(SHARES)):
        raise ValueError
    return Run(**{**row, "quality": quality, "needed": needed})


def writable(path: Path) -> None:
    """BadFile where it cannot be written; what it holds, or that it is not there, is left so."""
    try:
        there = path.exists()
        with path.open("a", encoding="utf-8"):
            pass
        if not there:
            path.unlink()
    except OSError as error:
        raise BadFile(f"{path}: {error.strerror}; choose a file that can be written") from None
