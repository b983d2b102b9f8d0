"""Whether this host tells what its processors use (RAPL), without asking for more than reading."""

from __future__ import annotations

import os
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")
CURE = (
    "ask the administrators to make the counters readable (since Linux 5.10 energy_uj is root's "
    "alone, CVE-2020-8694; a udev rule can give it to a group), use a node that has them, or leave "
    "energy out"
)


def why_not(root: Path = POWERCAP) -> str:
    """Why energy cannot be read below `root`, in words; empty where it can.

    The kernel's Documentation/power/powercap/powercap.rst: one folder a zone, energy_uj in each.
    """
    zones = sorted(root.glob("*/energy_uj")) if root.is_dir() else []
    if not zones:
        return f"{root} has no RAPL zone (a virtual machine, or a processor without it)"
    if not any(os.access(zone, os.R_OK) for zone in zones):
        return f"{zones[0]} may not be read"
    return ""
