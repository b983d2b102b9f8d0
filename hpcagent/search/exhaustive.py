"""Strategy `exhaustive`: the default, then every point of the space in its order."""

from __future__ import annotations

from collections.abc import Sequence

from hpcagent.protocols import SearchSpace
from hpcagent.records import Config, Proposal, Stop, Trial
from hpcagent.search.options import Options
from hpcagent.search.unvisited import unvisited

NAME = "exhaustive"


def create(options: Options) -> Exhaustive:
    return Exhaustive()


class Exhaustive:
    def propose(
        self,
        space: SearchSpace,
        history: Sequence[Trial],
        pending: Sequence[Config],
        k: int,
        seed: int,
    ) -> tuple[Proposal, ...] | Stop:
        left = unvisited(space, history, pending)
        if not left:
            return Stop(f"all {len(space.points())} configurations were tried")
        left.sort(key=lambda config: config != space.default)
        return tuple(Proposal(config, "next in order", NAME) for config in left[: max(0, k)])
