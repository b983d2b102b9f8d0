"""How far a model is with what it was asked: for a person who waits, and of no effect."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

DIGESTING, LOADING = "digesting", "loading"  # counted in bytes
READING, WRITING = "reading", "writing"  # in tokens
MEASURING = "measuring"  # in repeats
_OF_THE_CHILD = (READING, WRITING, MEASURING)
_NUMBERS = ("done", "of", "before", "seconds")
_MOST = 1 << 40


@dataclass(frozen=True)
class Progress:
    """`done` of `of` (0: nobody knows of how many) after `seconds`; `before` were there at once."""

    what: str
    done: int = 0
    of: int = 0
    before: int = 0
    seconds: float = 0.0

    @property
    def left_s(self) -> float | None:
        """At the speed so far; None where that is not known."""
        new = self.done - self.before
        if new <= 0 or self.of < self.done:
            return None
        return (self.of - self.done) * self.seconds / new


# It hears about once a second; None says that what was told of is over.
Tell = Callable[[Progress | None], None]


def silent(progress: Progress | None) -> None:
    """Tell nobody."""


def read(told: object) -> Progress | None:
    """What the process of a model tells; None where it is nothing of the kind."""
    if not isinstance(told, dict) or told.get("what") not in _OF_THE_CHILD:
        return None
    done, of, before, seconds = (_number(told.get(name)) for name in _NUMBERS)
    if done is None or of is None or before is None or seconds is None:
        return None
    return Progress(str(told["what"]), int(done), int(of), int(before), seconds)


def _number(value: object) -> float | None:
    right = isinstance(value, int | float) and 0 <= value < _MOST
    return value if right and isinstance(value, int | float) else None
