"""How many threads compute, while other programs use the processors as well.

llama.cpp's threads wait for each other after every operation, and spin: one that gets no processor
holds up all, and the others burn theirs. On two busy cores an answer took 35 times as long with two
threads as on two idle ones. So a process that got too little processor time for its threads takes
fewer, and more again when it gets all that it asks for. What is computed does not depend on their
number: llama.cpp gives each row of a result to one of them.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from dataclasses import dataclass

STARVED, CALM = 0.7, 0.9  # processor time a second and thread
WINDOW_S = 0.1  # so much is watched at a time
FIRST_S, LONGEST_S = 1.0, 60.0  # of calm before more threads are tried; twice as long after each


@dataclass(frozen=True)
class Used:
    """By this process since it began: seconds, processor seconds of all threads, waits for disk."""

    at_s: float
    processor_s: float
    faults: int


def used() -> Used:
    found = resource.getrusage(resource.RUSAGE_SELF)
    return Used(time.monotonic(), found.ru_utime + found.ru_stime, found.ru_majflt)


class Pace:
    """`threads`: how many compute now, at most `most`."""

    def __init__(self, most: int, now: Callable[[], Used] = used) -> None:
        self.threads = self._most = max(1, most)
        self._now = now
        self._before = now()
        self._seconds = self._processor_s = 0.0
        self._calm_s, self._wanted_s = 0.0, FIRST_S

    def begin(self) -> None:
        """An evaluation begins."""
        self._before = self._now()

    def end(self) -> None:
        """It has ended; `threads` may be others now."""
        now = self._now()
        if now.faults > self._before.faults:  # weights came from a disk: no processor was missing
            self._seconds = self._processor_s = 0.0
            return
        self._seconds += now.at_s - self._before.at_s
        self._processor_s += now.processor_s - self._before.processor_s
        if self._seconds >= WINDOW_S:
            self._judge(self._seconds, self._processor_s / self._seconds)
            self._seconds = self._processor_s = 0.0

    def _judge(self, seconds: float, got: float) -> None:
        if self.threads > 1 and got < STARVED * self.threads:
            self.threads = max(1, min(self.threads - 1, int(got + 1 - STARVED)))
            self._calm_s, self._wanted_s = 0.0, min(2 * self._wanted_s, LONGEST_S)
            return
        self._calm_s = self._calm_s + seconds if got >= CALM * self.threads else 0.0
        if self._calm_s < self._wanted_s:
            return
        self._calm_s = 0.0
        if self.threads < self._most:
            self.threads = min(2 * self.threads, self._most)
        else:
            self._wanted_s = FIRST_S
