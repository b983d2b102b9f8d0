"""Whether this host tells what its processors use (RAPL), as the in-job worker would read it."""

from __future__ import annotations

from hpcagent.measure import worker

CURE = (
    "ask the administrators to make the counters readable (since Linux 5.10 energy_uj is root's "
    "alone, CVE-2020-8694; a udev rule can give it to a group), use a node that has them, or leave "
    "energy out"
)


def why_not(root: str = worker.ROOT) -> str:
    """Why energy cannot be read below `root`, in words; empty where it can."""
    return worker.Meters(root).absent.get("joules", "")
