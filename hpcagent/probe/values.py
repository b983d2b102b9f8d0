"""Parsers of the small notations that many sources share: CPU lists, sizes, clocks."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

# A kernel has at most a few thousand CPUs; a list that names more is not a CPU list.
MAX_CPU = 1 << 16
_RANGE = re.compile(r"([0-9]{1,7})(?:-([0-9]{1,7})(?::([0-9]{1,7})/([0-9]{1,7}))?)?")
_SIZE = re.compile(
    r"\s*([0-9]{1,15}(?:[.,][0-9]{1,6})?)\s*([KMGT]?)(iB|B|)(?:\s*\(([0-9]{1,9}) instances?\))?\s*",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"\s*([0-9]{1,9}(?:[.,][0-9]{1,9})?)")
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


@dataclass(frozen=True)
class Size:
    """A cache size as lscpu prints it; `instances` is None where it does not count them.

    `summed` tells the two dialects apart: util-linux before 2.34 wrote the size of one cache
    ("32K"), later ones write the sum of all ("1 MiB", "96 KiB (2 instances)"). `step_bytes` is what
    the last digit that was written stands for.
    """

    size_bytes: int
    instances: int | None
    summed: bool
    step_bytes: int = field(default=1, compare=False)

    def share(self, count: int) -> int:
        """Bytes of one of `count` equal parts.

        "3.8 MiB" is rounded; of what one part then can be, the roundest number is taken (48 KiB
        for 80 parts).
        """
        low, high = (2 * self.size_bytes + sign * self.step_bytes for sign in (-1, 1))
        low, high = -(-low // (2 * count)), high // (2 * count)
        if self.step_bytes == 1 or not 0 < low <= high:
            return self.size_bytes // count
        # Of two multiples of a power in reach one would be a multiple of the next power.
        power = max(p for p in range(high.bit_length()) if high >> p << p >= low)
        return high >> power << power


def parse_cpulist(text: str) -> tuple[int, ...] | None:
    """CPU ids in ascending order, None where the text is no CPU list; the empty list is valid.

    The kernel's list format: "0-3,8", and "0-10:2/4" for the first 2 of every 4 in a range
    (Documentation/admin-guide/kernel-parameters.rst).
    """
    ids: set[int] = set()
    words = text.strip()
    for part in words.split(",") if words else ():
        found = _RANGE.fullmatch(part.strip())
        if found is None:
            return None
        low, high, used, group = (int(x) if x else None for x in found.groups())
        assert low is not None
        high = low if high is None else high
        used, group = (1, 1) if used is None or group is None else (used, group)
        if not low <= high < MAX_CPU or not 0 < used <= group:
            return None
        ids.update(cpu for cpu in range(low, high + 1) if (cpu - low) % group < used)
    return tuple(sorted(ids))


def format_cpulist(ids: Iterable[int]) -> str:
    """The kernel's shortest plain form: "0-3,8"."""
    runs: list[list[int]] = []
    for cpu in sorted(set(ids)):
        if runs and runs[-1][1] == cpu - 1:
            runs[-1][1] = cpu
        else:
            runs.append([cpu, cpu])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in runs)


def parse_size(text: str) -> Size | None:
    """A size with a binary unit: "32K", "1.5 MiB", "96 KiB (2 instances)", "1,5 MiB"."""
    found = _SIZE.fullmatch(text)
    if found is None:
        return None
    number, unit, suffix, instances = found.groups()
    digits, factor = number.replace(",", "."), _UNITS[unit.upper()]
    step = factor // 10 ** len(digits.partition(".")[2]) or 1 if "." in digits else 1
    return Size(
        int(float(digits) * factor), int(instances) if instances else None, bool(suffix), step
    )


def parse_mhz(text: str) -> float | None:
    """A clock in MHz, also with a decimal comma or a unit behind it; None where it is not one."""
    found = _NUMBER.match(text)
    value = float(found.group(1).replace(",", ".")) if found else 0.0
    return value if value > 0 else None
