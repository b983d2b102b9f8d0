"""Equal values of a journal as one object: ten thousand units ask for almost the same."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from hpcagent.records import Config, Proposal, Resources


class Sharing:
    """Remembers the values that it was given, and gives the first of equal ones.

    They are plain JSON values, told apart by their text. Nobody may change them.
    """

    def __init__(self) -> None:
        self._parts: dict[str, Any] = {}
        self._configs: dict[Config, Config] = {}
        self._resources: dict[str, Resources] = {}

    def spec(self, spec: Mapping[str, Any]) -> dict[str, Any]:
        """The same request; its parts, and each of its configurations, are shared."""
        return {sys.intern(key): self._part(value) for key, value in spec.items()}

    def _part(self, value: Any) -> Any:
        if isinstance(value, list) and value and isinstance(value[0], dict):
            return [self._one(item) for item in value]
        if isinstance(value, str):
            return sys.intern(value)
        return self._one(value) if isinstance(value, dict | list) else value

    def _one(self, value: Any) -> Any:
        return self._parts.setdefault(repr(value), value)

    def resources(self, row: Mapping[str, Any]) -> Resources:
        """As Resources.from_json."""
        text = repr(row)
        if text not in self._resources:
            self._resources[text] = Resources.from_json(row)
        return self._resources[text]

    def proposal(self, row: Mapping[str, Any]) -> Proposal:
        config = Config.of(row["config"])
        shared = self._configs.setdefault(config, config)
        return Proposal(shared, sys.intern(row["reason"]), sys.intern(row["proposed_by"]))
