"""Strategy `embedded`: the surrogate, and beside it the small model that ships (expert.py).

Where no such model is at hand, or it cannot express the space, it is the surrogate alone.
"""

from __future__ import annotations

from hpcagent.protocols import SearchSpace
from hpcagent.search.expert import Expert
from hpcagent.search.options import Options
from hpcagent.search.surrogate import Surrogate

NAME = "embedded"


def create(options: Options) -> Surrogate:
    points = options.points
    if points is None:
        return Surrogate(prior=options.prior)

    def expert(space: SearchSpace, seed: int) -> Expert | None:
        return None if points.refusal(space) else Expert(points, space, seed, told=options.outlook)

    return Surrogate(prior=options.prior, expert=expert)
