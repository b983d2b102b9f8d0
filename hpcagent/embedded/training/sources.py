"""Where the surfaces of the lessons come from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hpcagent.embedded.training.surfaces import Surface, simulated

if TYPE_CHECKING:
    from numpy.random import Generator


@dataclass(frozen=True)
class Sources:
    """Simulated ones, and a `share` of recorded ones from `files`."""

    files: tuple[str, ...] = ()
    share: float = 0.0


def drawing(sources: Sources) -> Callable[[Generator], Surface]:
    """What draws one surface."""
    return simulated
