"""An upper bound of a core's floating-point rate, to tell implausible figures by."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from hpcagent.records import Machine


@dataclass(frozen=True)
class InstructionSet:
    """Operations a cycle and core, double precision; `flops` None: no bound is known."""

    family: str
    features: frozenset[str]
    generation: int
    flops: int | None
    source: str


@dataclass(frozen=True)
class PeakTable:
    highest_mhz: float
    instruction_sets: tuple[InstructionSet, ...]


def peak_gflops(machine: Machine, precision: str) -> float | None:
    """GFLOP/s that one core cannot exceed; `precision` is "single" or "double".

    Operations a cycle (peak.yaml) times the clock. None where no bound is known for the
    architecture. The bound errs on the high side, because a true figure must never be refused.
    """
    widest = widest_instruction_set(machine)
    if widest is None or widest.flops is None:
        return None
    factor = 2 if precision == "single" else 1
    return widest.flops * factor * clock_bound_mhz(machine) / 1000.0


def widest_instruction_set(machine: Machine) -> InstructionSet | None:
    """The first entry of the table that the machine's architecture and features meet."""
    found = re.search(r"power([0-9]{1,3})", machine.microarchitecture)
    # An unknown POWER may be newer than all that are known.
    generation = int(found.group(1)) if found else 99
    for entry in _table().instruction_sets:
        fits = entry.family == machine.architecture and entry.generation <= generation
        if fits and entry.features <= set(machine.features):
            return entry
    return None


def clock_bound_mhz(machine: Machine) -> float:
    """The clock that is never exceeded.

    The reported maximum leaves out boost with some drivers (acpi-cpufreq on AMD), where boost is
    less than twice the base clock; and a virtual machine reports none.
    """
    highest = _table().highest_mhz
    if machine.max_mhz is None:
        return highest
    return max(machine.max_mhz, min(2.0 * machine.max_mhz, highest))


@cache
def _table() -> PeakTable:
    import yaml

    text = Path(__file__).with_name("peak.yaml").read_text(encoding="utf-8")
    data = yaml.safe_load(text)
    entries = tuple(
        InstructionSet(
            entry["family"],
            frozenset(entry["features"]),
            entry.get("generation", 0),
            entry["flops"],
            entry["source"],
        )
        for entry in data["instruction_sets"]
    )
    return PeakTable(float(data["highest_mhz"]), entries)
