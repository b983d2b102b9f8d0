"""Strategy `exhaustive`: the default, then every point of the space in its order."""

from __future__ import annotations

from collections.abc import Sequence

from hpcagent.protocols import SearchSpace
from hpcagent.records import Config, Proposal, Stop, Trial
from hpcagent.search.options import Options
from hpcagent.search.unvisited import none_left, unvisited

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
        """Stop, too, where the space cannot be enumerated."""
        if not space.enumerable:
            return Stop(
                f"{space.combinations} combinations cannot be tried one after the other: take"
                " another strategy, or give fewer values"
            )
        left = unvisited(space, history, pending, seed)
        if not left:
            return Stop(none_left(space))
        left.sort(key=lambda config: config != space.default)
        return tuple(Proposal(config, "next in order", NAME) for config in left[: max(0, k)])
