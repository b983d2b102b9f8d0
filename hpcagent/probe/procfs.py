"""Parsers of /proc, /sys and cgroup text."""

from __future__ import annotations

import re
from collections.abc import Mapping

_KIB = re.compile(r"([0-9]{1,15}) kB")
_COUNT = re.compile(r"[0-9]{1,20}")
# The kernel says "no limit" in memory.limit_in_bytes with LONG_MAX rounded down to a page
# (4 to 64 KiB; Documentation/admin-guide/cgroup-v1/memory.rst).
_NO_LIMIT = (1 << 63) - (1 << 20)


def parse_cpuinfo(text: str) -> tuple[dict[str, str], ...]:
    """The blocks of /proc/cpuinfo that describe a CPU, as field -> value."""
    blocks = []
    for block in re.split(r"\n\s*\n", text):
        pairs = (line.partition(":") for line in block.splitlines())
        fields = {name.strip(): value.strip() for name, colon, value in pairs if colon}
        if fields:
            blocks.append(fields)
    return tuple(blocks)


def parse_kib_field(text: str, name: str) -> int | None:
    """Bytes of one "Name:  123 kB" line of meminfo."""
    for line in text.splitlines():
        words, _, value = line.partition(":")
        found = _KIB.fullmatch(value.strip())
        if words.split()[-1:] == [name] and found:
            return int(found.group(1)) * 1024
    return None


def parse_field(text: str, name: str) -> str | None:
    """The value of one "Name:<tab>value" line of /proc/self/status."""
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if colon and key.strip() == name:
            return value.strip()
    return None


def selected_word(text: str) -> str | None:
    """The word in brackets: "always [madvise] never" gives "madvise"."""
    found = re.search(r"\[([\w+-]+)\]", text)
    return found.group(1) if found else None


def cpu_quota_cores(files: Mapping[str, str]) -> float | None:
    """The smallest CPU quota, in CPUs, of all cgroup files (path -> text); None: no quota."""
    quotas = []
    for path, text in files.items():
        folder, _, name = path.rpartition("/")
        if name == "cpu.max":
            quotas.append(_ratio(*[*text.split(), "", ""][:2]))
        elif name == "cpu.cfs_quota_us":
            quotas.append(_ratio(text.strip(), files.get(f"{folder}/cpu.cfs_period_us", "")))
    return min((quota for quota in quotas if quota is not None), default=None)


def memory_limit_bytes(files: Mapping[str, str]) -> int | None:
    """The smallest memory limit of all cgroup files (path -> text); None: no limit."""
    limits = []
    for path, text in files.items():
        name, word = path.rpartition("/")[2], text.strip()
        if name in ("memory.max", "memory.limit_in_bytes") and _COUNT.fullmatch(word):
            limits.append(int(word))
    return min((limit for limit in limits if limit < _NO_LIMIT), default=None)


def _ratio(quota: str, period: str) -> float | None:
    """Microseconds of CPU time a period; "max" and -1 mean no quota."""
    if not _COUNT.fullmatch(quota) or not _COUNT.fullmatch(period.strip()):
        return None
    return int(quota) / int(period) if int(period) > 0 and int(quota) > 0 else None
