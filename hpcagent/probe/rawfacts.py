"""Typed access to the raw facts of collect.py: whatever is odd there reads as absent."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class RawFacts:
    data: Mapping[str, Any]

    def section(self, name: str) -> Mapping[str, Any]:
        found = self.data.get(name)
        return found if isinstance(found, Mapping) else {}

    def records(self, name: str) -> tuple[Mapping[str, Any], ...]:
        """The members of a list that are objects."""
        found = self.data.get(name)
        if not isinstance(found, list):
            return ()
        return tuple(item for item in found if isinstance(item, Mapping))

    def word(self, section: str, key: str) -> str | None:
        found = self.section(section).get(key)
        return found if isinstance(found, str) and found else None

    def stdout(self, command: str) -> str | None:
        """What a command that succeeded printed."""
        record = self.section("commands").get(command)
        if not isinstance(record, Mapping) or record.get("exit") != 0:
            return None
        text = record.get("stdout")
        return text if isinstance(text, str) else None

    def why_no_stdout(self, command: str) -> str:
        record = self.section("commands").get(command)
        if not isinstance(record, Mapping):
            return f"{command} was not run"
        if record.get("problem"):
            return f"{command}: {record['problem']}"
        # Some tools (nvidia-smi) tell what is wrong on standard output.
        told = str(record.get("stderr") or "").strip() or str(record.get("stdout") or "").strip()
        words = told.splitlines()
        return f"{command} ended with exit code {record.get('exit')}" + "".join(
            f": {line}" for line in words[-1:]
        )

    def text(self, path: str) -> str | None:
        found = self.section("files").get(path)
        return found if isinstance(found, str) else None

    def why_no_text(self, path: str) -> str:
        found = self.section("files").get(path)
        if isinstance(found, Mapping) and found.get("problem"):
            return f"{path}: {found['problem']}"
        return f"{path} was not there"

    def texts(self, pattern: str) -> dict[str, str]:
        """path -> text of all files whose whole path matches, in order of their paths."""
        files = self.section("files")
        return {
            path: text
            for path, text in sorted(files.items())
            if isinstance(text, str) and re.fullmatch(pattern, path)
        }


def as_mapping(value: object) -> Mapping[str, Any]:
    """An object of raw facts; anything else reads as an empty one."""
    return value if isinstance(value, Mapping) else {}


def as_texts(value: object) -> tuple[str, ...]:
    """The strings of a list of raw facts."""
    return tuple(x for x in value if isinstance(x, str)) if isinstance(value, list) else ()


def as_records(value: object) -> tuple[Mapping[str, Any], ...]:
    """The objects of a list of raw facts."""
    return tuple(x for x in value if isinstance(x, Mapping)) if isinstance(value, list) else ()


def as_text(value: object) -> str:
    return value if isinstance(value, str) else ""
