"""What the makers of facts look at, and the two ways a look can end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

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
