"""The standard streams, as whoever started us left them."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TextIO


def hold_standard_streams() -> None:
    """Put /dev/null in the place of standard streams that are closed (`2>&-`, some daemons).

    The next file that is opened would get the number, the journal for instance, and whatever a C
    library or another process writes to it as to its output. Standard input stays None to Python:
    who wants to read it is told that it is closed.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest number is free
    if sys.stdout is None:
        sys.stdout = _nowhere()
    if sys.stderr is None:
        sys.stderr = _nowhere()


def _nowhere() -> TextIO:
    return Path(os.devnull).open("w", encoding="utf-8")
