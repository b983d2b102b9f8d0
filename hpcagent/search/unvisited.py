"""What is left of a space."""

from __future__ import annotations

from collections.abc import Sequence

from hpcagent.protocols import SearchSpace
from hpcagent.records import Config, Trial


def unvisited(
    space: SearchSpace, history: Sequence[Trial], pending: Sequence[Config]
) -> list[Config]:
    """The points neither tried (failed ones included) nor pending, in the order of the space."""
    gone = {trial.config for trial in history} | set(pending)
    return [config for config in space.points() if config not in gone]
