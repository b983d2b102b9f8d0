"""Which models are loaded at once: the one used least recently gives way to the next."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Closable(Protocol):
    def close(self) -> None: ...


class Residents:
    """The loaded models of one agent, in the order of their last use.

    `room` tells how many bytes may be used now, given how many the loaded models were counted
    with: what the kernel says is free knows of these already, what a job asked for does not.
    """

    def __init__(self, room: Callable[[int], int]) -> None:
        self._room = room
        self._needs: dict[Closable, int] = {}

    def enter(self, model: Closable, needed_bytes: int) -> None:
        """`model` is used now; where it is not loaded yet, others are unloaded until it fits."""
        known = self._needs.pop(model, None)
        if known is None:
            self.make_room(needed_bytes)
        self._needs[model] = needed_bytes if known is None else known

    def count(self, model: Closable, needed_bytes: int) -> None:
        """`model` is loaded and needs so much: with the prompts it keeps, or a shorter context."""
        if model in self._needs:
            self._needs[model] = needed_bytes

    def leave(self, model: Closable) -> None:
        self._needs.pop(model, None)

    def make_room(self, needed_bytes: int) -> int:
        """Unload until so many bytes are free, or nothing is left to unload; how many went."""
        gone = 0
        while self._needs and self._room(self.held()) < needed_bytes:
            oldest = next(iter(self._needs))
            self._needs.pop(oldest)
            oldest.close()
            gone += 1
        return gone

    def held(self, but: Closable | None = None) -> int:
        """Bytes that the loaded models were counted with, without those of `but`."""
        return sum(size for model, size in self._needs.items() if model is not but)
