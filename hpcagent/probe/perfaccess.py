"""What a user may count: perf_event_paranoid, the MSR device, likwid-perfctr."""

from __future__ import annotations

import re

_LEVELS = {
    -1: "everything",
    0: "all but raw tracepoints, whole CPUs included",
    1: "own processes, kernel included",
    2: "own processes, user space only",
    3: "nothing without CAP_PERFMON",  # Debian, Ubuntu and Android; 4 is the same
}


def parse_paranoid(text: str) -> int | None:
    """The level of /proc/sys/kernel/perf_event_paranoid."""
    word = text.strip()
    return int(word) if re.fullmatch(r"-?[0-9]{1,3}", word) else None


def paranoid_means(level: int, root: bool) -> str:
    """What an ordinary user may count (Documentation/admin-guide/sysctl/kernel.rst)."""
    if root:
        return "everything, for this is root"
    return _LEVELS[max(-1, min(3, level))]


def counted(stdout: str) -> bool:
    """Whether likwid-perfctr printed a table of counters."""
    return re.search(r"^(TABLE,)?(\| *)?(Event|Metric)\b", stdout, re.MULTILINE) is not None
