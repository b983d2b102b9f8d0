"""What an agent's turn tells of itself."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Turn:
    """What a turn did, in words for a log line; `waiting` for a job, or `closed` for good.

    Nothing is worth doing before `pause_s` seconds have passed.
    """

    words: str
    waiting: bool = False
    closed: bool = False
    pause_s: float = 0.0
