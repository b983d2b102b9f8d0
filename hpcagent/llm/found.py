"""Which model files there are in some folders."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from hpcagent.llm.gguf import is_later_part

DEPTH = 3  # publisher / model / file
_MOST_ENTRIES = 20_000  # looked at in all; a parallel file system answers slowly


def models_in(folder: Path, depth: int = DEPTH) -> tuple[Path, ...]:
    """The *.gguf files of a folder and those below it, by name; of a split model its first part.

    Links to folders are not followed. OSError where the folder itself cannot be read.
    """
    left = _MOST_ENTRIES
    found: list[Path] = []
    waiting = [(folder, depth)]
    while waiting and left > 0:
        at, below = waiting.pop(0)
        for name, is_folder in _entries(at, needed=at == folder):
            left -= 1
            path = at / name
            if is_folder and below > 0:
                waiting.append((path, below - 1))
            elif not is_folder and name.lower().endswith(".gguf") and not is_later_part(path):
                found.append(path)
    return tuple(sorted(found))


def _entries(folder: Path, needed: bool) -> Iterator[tuple[str, bool]]:
    try:
        with os.scandir(folder) as entries:
            names = [
                (each.name, each.is_dir(follow_symlinks=False))
                for each in entries
                if not each.name.startswith(".")
            ]
    except OSError:
        if needed:
            raise
        return
    yield from names
