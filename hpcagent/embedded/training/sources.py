"""Where the surfaces of the lessons come from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from hpcagent.embedded.training.recorded import Table, read, surface
from hpcagent.embedded.training.surfaces import Surface, simulated

if TYPE_CHECKING:
    from numpy.random import Generator


@dataclass(frozen=True)
class Sources:
    """Simulated surfaces, and a `share` of recorded ones from `files`."""

    files: tuple[str, ...] = ()
    share: float = 0.0


def drawing(sources: Sources) -> Callable[[Generator], Surface]:
    """What draws one surface."""
    tables = _tables(sources.files)

    def draw(rng: Generator) -> Surface:
        if tables and rng.random() < sources.share:
            return surface(tables[int(rng.integers(len(tables)))], rng)
        return simulated(rng)

    return draw


@cache
def _tables(files: tuple[str, ...]) -> tuple[Table, ...]:
    """Read once in each process that makes lessons."""
    return tuple(table for file in files for table in read(Path(file)))
