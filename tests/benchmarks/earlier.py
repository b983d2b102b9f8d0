"""Earlier runs for a surface: searches of its relatives, never of the surface itself.

Relatives are the surfaces of its family, such as one routine at other sizes. The histories are what
the search left there: some thirty measured points each, with their noise and failures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache

from surfaces import Replay, Replayed, Surface

from hpcagent.records import Config
from hpcagent.search.options import Options
from hpcagent.search.prior import Earlier, Prior
from hpcagent.search.surrogate import create

EVALUATIONS = 30
TRUST = 0.7  # as in a run of the same machine and library with sizes some four times apart
MOST = 2  # relatives
DIFFERENT = 5  # histories of each, drawn in turn by the seeds of the runs that use them

PriorOf = Callable[[Surface, int], Prior]


def related(surfaces: Sequence[Surface], surface: Surface) -> tuple[Surface, ...]:
    """Others of its family, by name; none where it is alone."""
    found = [s for s in surfaces if s.family == surface.family and s.name != surface.name]
    return tuple(sorted(found, key=lambda s: s.name))[:MOST]


@cache
def priors(surfaces: tuple[Surface, ...], good: int, misleading: int) -> PriorOf:
    """By surface and seed: so many relatives that tell the truth, so many that are wrong.

    Cached, for the searches of relatives are most of the work; surfaces are told apart by identity.
    """
    known = {surface.name: surface for surface in surfaces}

    @cache
    def searched(name: str, seed: int) -> Earlier:
        surface = known[name]
        space, replay = Replayed(surface, surface.first(seed)), Replay(surface, seed)
        made = create(Options(seed=seed))
        replay.evaluate(space.first)
        while len(replay.tried) < EVALUATIONS:
            found = made.propose(space, replay.trials(), (), 1, seed)
            if not isinstance(found, tuple):
                break
            for proposal in found:
                replay.evaluate(proposal.config)
        return Earlier(name, TRUST, space.params, replay.trials())

    def prior(surface: Surface, seed: int) -> Prior:
        others = related(surfaces, surface)
        runs = [searched(other.name, 1000 + seed % DIFFERENT) for other in others]
        told = [run if n < good else _misplaced(run) for n, run in enumerate(runs)]
        return Prior(tuple(told[: good + misleading]))

    return prior


def _misplaced(run: Earlier) -> Earlier:
    """Every value told as the one half its list further on: a landscape that lies elsewhere."""
    moved = {
        p.name: dict(zip(p.values, _turned(p.values, len(p.values) // 2), strict=True))
        for p in run.params
    }
    trials = [
        replace(t, config=Config.of({n: moved[n][v] for n, v in t.config.items}))
        for t in run.trials
    ]
    return replace(run, trials=tuple(trials))


def _turned(values: Sequence[str], by: int) -> tuple[str, ...]:
    return (*values[by:], *values[:by])
