"""The node's clock: its source, whether something keeps it, and how far the file server's is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# A file's time is the kernel's coarse clock, up to a tick (10 ms at 100 Hz) behind.
_TICK_S = 0.01
_OFFSET = re.compile(r"System time\s*:\s*([0-9.]{1,20}) seconds (slow|fast)")
_LEAP = re.compile(r"Leap status\s*:\s*(.+?)\s*")


@dataclass(frozen=True)
class Skew:
    """Seconds that the file server's clock is ahead of the node's, and how wrong that may be."""

    ahead_s: float
    error_s: float


def file_skew(clock: Mapping[str, Any]) -> Skew | None:
    """From the times before and after a file was written, and the file's own."""
    before, stamp, after = [_seconds(clock.get(name)) for name in ("before", "file", "after")]
    if before is None or stamp is None or after is None:
        return None
    if not 0 <= after - before < 3600:
        return None
    middle = (before + after - _TICK_S) / 2
    return Skew(round(stamp - middle, 6), round((after - before + _TICK_S) / 2, 6))


def _seconds(value: Any) -> float | None:
    return float(value) if type(value) in (int, float) and abs(value) < 1e11 else None


def parse_timedatectl(text: str) -> bool | None:
    """Whether systemd says that the clock is synchronised (`timedatectl show`)."""
    found = re.search(r"^NTPSynchronized=(yes|no)$", text, re.MULTILINE)
    return found.group(1) == "yes" if found else None


def parse_chronyc(text: str) -> tuple[bool, float] | None:
    """(synchronised, seconds fast of the time servers') of `chronyc -n tracking`."""
    offset, leap = _OFFSET.search(text), None
    for line in text.splitlines():
        leap = _LEAP.fullmatch(line) or leap
    if offset is None or leap is None or offset.group(1).count(".") > 1:
        return None
    seconds = float(offset.group(1).strip(".") or "0")
    return leap.group(1) == "Normal", seconds if offset.group(2) == "fast" else -seconds
