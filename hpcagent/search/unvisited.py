"""What is left of a space, or what of it can be looked at where it is too large to go through."""

from __future__ import annotations

from collections.abc import Sequence

from hpcagent.protocols import SearchSpace
from hpcagent.records import Config, Trial
from hpcagent.search.evidence import measured

SAMPLE = 4000  # points drawn for one proposal where a space cannot be enumerated
LEADERS = 5  # the fastest, whose neighbours are looked at as well


def unvisited(
    space: SearchSpace,
    history: Sequence[Trial],
    pending: Sequence[Config],
    seed: int = 0,
    leaders: int = LEADERS,
) -> list[Config]:
    """The candidates neither tried (failed ones included) nor pending, in their order."""
    gone = {trial.config for trial in history} | set(pending)
    found = candidates(space, history, pending, seed, leaders)
    return [config for config in found if config not in gone]


def candidates(
    space: SearchSpace,
    history: Sequence[Trial],
    pending: Sequence[Config],
    seed: int,
    leaders: int = LEADERS,
) -> Sequence[Config]:
    """All points of the space in its order, where it can be enumerated.

    Else the default, what was tried or is pending, the neighbours of the fastest `leaders` (of the
    default, while there are none), and 4,000 points drawn with `seed`: a function of the arguments,
    nothing has to be remembered.
    """
    if space.enumerable:
        return space.points()
    known = (*(trial.config for trial in history), *pending)
    found = dict.fromkeys((space.default, *(c for c in known if space.contains(c))))
    for leader in fastest(history, leaders) or [space.default]:
        if space.contains(leader):
            found.update(dict.fromkeys(space.neighbours(leader)))
    found.update(dict.fromkeys(space.sample(SAMPLE, seed)))
    return tuple(found)


def fastest(history: Sequence[Trial], count: int) -> list[Config]:
    """The configurations of the least finite log ratios, best first, of those that may win."""
    good = [t for t in history if measured(t) and t.log_ratio is not None and t.eligible]
    best = sorted(good, key=lambda trial: trial.log_ratio or 0.0)
    return list(dict.fromkeys(trial.config for trial in best))[:count]


def none_left(space: SearchSpace) -> str:
    """Why a strategy stops that finds nothing unvisited."""
    if space.enumerable and len(space.points()) == 1:
        return "the restrictions, and what can run here, leave only one configuration"
    if space.enumerable:
        return f"all {len(space.points())} configurations were tried"
    return f"no further configuration was found among {SAMPLE} drawn at random"
