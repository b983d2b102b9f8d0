"""Strategy `hillclimb`: neighbours of the fastest so far; a peer to compare with.

A neighbour differs in one parameter: by one step where it is ordinal, anyhow where categorical.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from hpcagent.protocols import SearchSpace
from hpcagent.records import Config, Param, Proposal, Stop, Trial
from hpcagent.search.options import Options
from hpcagent.search.unvisited import unvisited

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
        left = unvisited(space, history, pending)
        if not left:
            return Stop(f"all {len(space.points())} configurations were tried")
        rng = random.Random(f"{seed} {len(left)}")
        rng.shuffle(left)
        top = fastest(history)
        near = set() if top is None else set(neighbours(space.params, top))
        left.sort(key=lambda config: (config != space.default, config not in near))
        words = {True: "next to the fastest so far", False: "drawn at random: no neighbour left"}
        return tuple(Proposal(config, words[config in near], NAME) for config in left[: max(0, k)])


def fastest(history: Sequence[Trial]) -> Config | None:
    """The configuration of the least finite log ratio; None where none is eligible."""
    from hpcagent.search.surrogate import measured

    good = [t for t in history if measured(t) and t.log_ratio is not None and t.eligible]
    return min(good, key=lambda trial: trial.log_ratio or 0.0).config if good else None


def neighbours(params: Sequence[Param], config: Config) -> Iterator[Config]:
    """What differs in one parameter, whether or not it is in the space."""
    values = config.values
    for param in params:
        place = param.values.index(values[param.name]) if values[param.name] in param.values else 0
        near = range(len(param.values)) if param.kind == "categorical" else (place - 1, place + 1)
        for other in near:
            if 0 <= other < len(param.values) and param.values[other] != values[param.name]:
                yield Config.of({**values, param.name: param.values[other]})
