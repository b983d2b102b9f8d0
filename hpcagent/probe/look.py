"""What the makers of facts look at, and the two ways a look can end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hpcagent.probe.node import Absent, Fact, Value
from hpcagent.probe.rawfacts import RawFacts
from hpcagent.records import Machine


@dataclass(frozen=True)
class Look:
    """`base` is facts.json, `node` its part `node`, `machine` what is known of it already."""

    base: RawFacts
    node: RawFacts
    machine: Machine

    def line(self, path: str) -> str | None:
        """The text of a file of the part `node`, without blanks around it; None: none."""
        text = self.node.text(path)
        return None if text is None else text.strip() or None

    def record(self, command: str) -> Mapping[str, Any]:
        """What became of a command, whether it succeeded or not."""
        return RawFacts(self.node.section("commands")).section(command)

    def why(self, command: str) -> str:
        """Why a command told nothing, under its real name."""
        name = _NAMES.get(command, command.replace("_", "-"))
        if self.node.stdout(command) is not None:
            return f"{name} listed none"
        return self.node.why_no_stdout(command).replace(command, name, 1)


_NAMES = {
    "gcc_native": "gcc",
    "fi_info": "fi_info",
    "ibv_devinfo": "ibv_devinfo",
    "srun_mpi": "srun --mpi=list",
    "slurm_config": "scontrol show config",
}


@dataclass(frozen=True)
class Subject:
    """Makes facts of one section."""

    section: str

    def fact(
        self,
        name: str,
        value: Value | None,
        origin: tuple[str, str],
        why: str = "",
        unit: str = "",
        note: str = "",
    ) -> Fact | Absent:
        """The fact, or why there is none; `origin` is its source and confidence."""
        if value is None or value in ("", ()):
            return Absent(self.section, name, why or f"{origin[0]} does not tell")
        return Fact(self.section, name, value, *origin, unit, note)

    def absent(self, name: str, why: str) -> Absent:
        return Absent(self.section, name, why)


def part_of(facts: Mapping[str, object], name: str) -> RawFacts:
    """A part of the raw facts; an empty one where it was not collected."""
    parts = RawFacts(facts).section("parts")
    return RawFacts(RawFacts(parts).section(name))
