"""Resource limits of a process in a job (getrlimit), as the collector lists them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# glibc's RLIM_INFINITY as Python shows it; some kernels' largest values mean the same.
_UNLIMITED = -1
_HUGE = (1 << 63) - 1


@dataclass(frozen=True)
class Limit:
    """Soft and hard value; None: unlimited."""

    soft: int | None
    hard: int | None


def parse_limits(listed: Mapping[str, Any]) -> dict[str, Limit]:
    """By name in lower case without RLIMIT_ ("memlock"); entries of another form are left out."""
    limits = {}
    for name, pair in listed.items():
        whole = isinstance(pair, list) and len(pair) == 2 and all(type(x) is int for x in pair)
        if isinstance(name, str) and name.startswith("RLIMIT_") and whole:
            soft, hard = (None if x == _UNLIMITED or not 0 <= x < _HUGE else x for x in pair)
            limits[name.removeprefix("RLIMIT_").lower()] = Limit(soft, hard)
    return limits
