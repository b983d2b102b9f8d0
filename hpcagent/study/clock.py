"""What tells a run the time and lets it wait; another clock can be put in its place."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from hpcagent.study.durable import utc_now


@dataclass(frozen=True)
class Clock:
    """`now` is the wall clock in UTC; `monotonic` counts seconds and never steps back."""

    now: Callable[[], datetime] = utc_now
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


SYSTEM = Clock()
