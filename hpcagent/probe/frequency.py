"""Clocks: cpufreq policies, their drivers and governors, and whether turbo is allowed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_POLICY = re.compile(r".*/cpufreq/policy([0-9]{1,6})/(\w+)")
_KHZ = re.compile(r"[0-9]{1,9}")
NO_TURBO = "/sys/devices/system/cpu/intel_pstate/no_turbo"
BOOST = "/sys/devices/system/cpu/cpufreq/boost"


@dataclass(frozen=True)
class Policy:
    """One kind of frequency policy; clocks in MHz, None where the driver does not tell."""

    driver: str
    governor: str
    low_mhz: float | None
    high_mhz: float | None
    limit_mhz: float | None  # what the governor may go up to now
    base_mhz: float | None
    preference: str


def parse_policies(files: Mapping[str, str]) -> tuple[Policy, ...]:
    """The distinct policies in files .../cpufreq/policyN/NAME, in order of N."""
    entries: dict[int, dict[str, str]] = {}
    for path, text in files.items():
        found = _POLICY.fullmatch(path)
        if found:
            entries.setdefault(int(found.group(1)), {})[found.group(2)] = text.strip()
    policies = []
    for _, entry in sorted(entries.items()):
        policy = Policy(
            entry.get("scaling_driver", ""),
            entry.get("scaling_governor", ""),
            _mhz(entry.get("cpuinfo_min_freq", "")),
            _mhz(entry.get("cpuinfo_max_freq", "")),
            _mhz(entry.get("scaling_max_freq", "")),
            _mhz(entry.get("base_frequency", "")),
            entry.get("energy_performance_preference", ""),
        )
        if policy not in policies:
            policies.append(policy)
    return tuple(policies)


def turbo(files: Mapping[str, str]) -> tuple[bool, str] | None:
    """(allowed, the file that says so); None where neither driver's switch is there."""
    for path, on in ((NO_TURBO, "0"), (BOOST, "1")):
        word = files.get(path, "").strip()
        if word in ("0", "1"):
            return word == on, path
    return None


def _mhz(khz: str) -> float | None:
    return int(khz) / 1000.0 if _KHZ.fullmatch(khz) and int(khz) > 0 else None
