"""Strategy `hillclimb`: neighbours of the fastest so far; a peer to compare with.

A neighbour differs in one parameter: by one step where it is ordinal, anyhow where categorical.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from hpcagent.protocols import SearchSpace
from hpcagent.records import Config, Proposal, Stop, Trial
from hpcagent.search.options import Options
from hpcagent.search.unvisited import fastest, none_left, unvisited

NAME = "hillclimb"


def create(options: Options) -> HillClimb:
    return HillClimb()


class HillClimb:
    def propose(
        self,
        space: SearchSpace,
        history: Sequence[Trial],
        pending: Sequence[Config],
        k: int,
        seed: int,
    ) -> tuple[Proposal, ...] | Stop:
        """The default, then the neighbours of the fastest; at a peak, points drawn at random."""
        left = unvisited(space, history, pending, seed)
        if not left:
            return Stop(none_left(space))
        rng = random.Random(f"{seed} {len(left)}")
        rng.shuffle(left)
        top = next((c for c in fastest(history, 1) if space.contains(c)), None)
        near = set() if top is None else set(space.neighbours(top))
        left.sort(key=lambda config: (config != space.default, config not in near))
        words = {True: "next to the fastest so far", False: "drawn at random: no neighbour left"}
        return tuple(Proposal(config, words[config in near], NAME) for config in left[: max(0, k)])
