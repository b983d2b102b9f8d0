"""Which models are loaded at once: the one used least recently gives way to the next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


class Closable(Protocol):
    def close(self) -> None: ...


@dataclass(frozen=True)
class Needed:
    """Bytes of a model, and how many of these it reads from the pages of its file."""

    all: int
    paged: int = 0


class Residents:
    """The loaded models of one agent, in the order of their last use.

    `room` tells how many bytes may be used now, given how many the loaded models were counted
    with, and how many one of them reads from its file beyond what the model to be loaded does: what
    the kernel says is free knows of most of the first and of none of the second, what a job asked
    for of neither.
    """

    def __init__(self, room: Callable[[int, int], int]) -> None:
        self._room = room
        self._needs: dict[Closable, Needed] = {}

    def enter(self, model: Closable, needed: Needed) -> None:
        """`model` is used now; where it is not loaded yet, others are unloaded until it fits."""
        known = self._needs.pop(model, None)
        if known is None:
            self.make_room(needed)
        self._needs[model] = needed if known is None else known

    def count(self, model: Closable, needed: Needed) -> None:
        """`model` is loaded and needs so much: with the prompts it keeps, or a shorter context."""
        if model in self._needs:
            self._needs[model] = needed

    def leave(self, model: Closable) -> None:
        self._needs.pop(model, None)

    def make_room(self, needed: Needed) -> int:
        """Unload until so many bytes are free, or nothing is left to unload; how many went."""
        gone = 0
        while self._needs and self._left_for(needed) < needed.all:
            oldest = next(iter(self._needs))
            self._needs.pop(oldest)
            oldest.close()
            gone += 1
        return gone

    def held(self, but: Closable | None = None) -> int:
        """Bytes that the loaded models were counted with, without those of `but`."""
        return sum(each.all for model, each in self._needs.items() if model is not but)

    def paged(self, but: Closable | None = None) -> int:
        """The most bytes that one of the loaded models reads from its file, without `but`."""
        others = (each.paged for model, each in self._needs.items() if model is not but)
        return max(others, default=0)

    def _left_for(self, needed: Needed) -> int:
        return self._room(self.held(), max(0, self.paged() - needed.paged))
