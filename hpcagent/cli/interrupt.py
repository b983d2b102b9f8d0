"""Interruptions that are not lost."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

# Slurm warns a batch job with SIGUSR1 (--signal); a link of a chain watches its time with SIGALRM.
SIGNALS = (signal.SIGINT, signal.SIGUSR1, signal.SIGALRM)


@contextmanager
def interruptible() -> Iterator[Callable[[], None]]:
    """KeyboardInterrupt at a signal, and once more when the function that is given is called.

    Python prints and drops an exception that a handler raises in a destructor or in a callback of
    a weak reference (Python reference, `object.__del__`), as they run in the midst of an import.
    A signal that is ignored, as a shell sees to for what it starts in the background, stays so.
    """
    seen: list[int] = []
    told = sys.unraisablehook

    def note(number: int, frame: FrameType | None) -> None:
        seen.append(number)
        raise KeyboardInterrupt

    def check() -> None:
        if seen:
            raise KeyboardInterrupt

    def drop(problem: sys.UnraisableHookArgs) -> None:
        if problem.exc_type is not KeyboardInterrupt:  # that one is not lost: `check` tells it
            told(problem)

    ours = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, note) for number in ours}
    sys.unraisablehook = drop
    try:
        yield check
    finally:
        sys.unraisablehook = told
        for number, handler in before.items():
            signal.signal(number, handler)
