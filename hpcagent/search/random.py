"""Strategy `random`: the default, then unvisited points drawn evenly."""

from __future__ import annotations

import random
from collections.abc import Sequence

from hpcagent.protocols import SearchSpace
from hpcagent.records import Config, Proposal, Stop, Trial
from hpcagent.search.options import Options
from hpcagent.search.unvisited import none_left, unvisited

NAME = "random"


def create(options: Options) -> Random:
    return Random()


class Random:
    def propose(
        self,
        space: SearchSpace,
        history: Sequence[Trial],
        pending: Sequence[Config],
        k: int,
        seed: int,
    ) -> tuple[Proposal, ...] | Stop:
        """The next `k` of one permutation drawn with `seed`, visited ones left out."""
        left = unvisited(space, history, pending, seed, leaders=0)
        if not left:
            return Stop(none_left(space))
        shuffled = sorted(
            space.points() if space.enumerable else left, key=lambda config: config.items
        )
        random.Random(seed).shuffle(shuffled)
        free = set(left)
        drawn = [config for config in shuffled if config in free and config != space.default]
        ordered = ([space.default] if space.default in free else []) + drawn
        return tuple(Proposal(config, "drawn at random", NAME) for config in ordered[: max(0, k)])
