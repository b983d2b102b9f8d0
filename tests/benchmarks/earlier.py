"""Earlier runs for a surface: searches of other surfaces, never of the surface itself.

Relatives are those of its family: one program at other sizes, on other machines, with other inputs.
Strangers are of another family and share the name and kind of a parameter by chance. The histories
are what the search left there: some thirty measured points each, with their noise and failures.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache

from surfaces import Replay, Replayed, Surface

from hpcagent.records import Config, Param
from hpcagent.search.options import Options
from hpcagent.search.prior import Earlier, Prior
from hpcagent.search.surrogate import create

EVALUATIONS = 30
TRUST = 0.7  # as in a run of the same machine and library whose sizes are twice as large
MOST = 2  # relatives
DIFFERENT = 5  # histories of each, drawn in turn by the seeds of the runs that use them

PriorOf = Callable[[Surface, int], Prior]
Opening = Callable[[Surface, int], tuple[Config, ...]]


@dataclass(frozen=True)
class Told:
    """How many earlier runs a search knows: of relatives as they were, of relatives with every
    value told as another one, of strangers."""

    good: int = 0
    misplaced: int = 0
    strangers: int = 0


def related(surfaces: Sequence[Surface], surface: Surface) -> tuple[Surface, ...]:
    """Others of its family, the one of its name, on another machine, first; none if alone."""
    found = [s for s in surfaces if s.family == surface.family and s is not surface]
    return tuple(sorted(found, key=lambda s: (s.name != surface.name, s.name)))[:MOST]


def strangers(surfaces: Sequence[Surface], surface: Surface) -> tuple[Surface, ...]:
    """One of each other family that shares a parameter, the one that shares most first."""
    mine = _names(surface.params)
    others = {s.family: s for s in sorted(surfaces, key=lambda s: s.name, reverse=True)}
    found = [(len(mine & _names(s.params)), s.name, s) for s in others.values()]
    shared = [(-n, name, s) for n, name, s in found if n and s.family != surface.family]
    return tuple(s for _, _, s in sorted(shared, key=lambda row: row[:2]))[:MOST]


def _names(params: Sequence[Param]) -> set[tuple[str, str]]:
    return {(param.name, param.kind) for param in params}


@cache
def priors(surfaces: tuple[Surface, ...], told: Told, trust: float = TRUST) -> PriorOf:
    """By surface and seed: what a search is told of earlier runs."""

    def prior(surface: Surface, seed: int) -> Prior:
        past = _past(seed)
        runs = [searched(other, past) for other in related(surfaces, surface)]
        runs = [run if n < told.good else _misplaced(run) for n, run in enumerate(runs)]
        others = strangers(surfaces, surface)[: told.strangers]
        runs = [*runs[: told.good + told.misplaced], *(searched(other, past) for other in others)]
        return Prior(tuple(replace(run, trust=trust) for run in runs))

    return prior


def searched(surface: Surface, seed: int) -> Earlier:
    """What a search of it left."""
    known = _KNOWN.get((surface, seed))
    if known is None:
        known = _KNOWN[surface, seed] = _searched(surface, seed)
    return known


# Searches of relatives are most of the work: each is made once, before processes are forked.
_KNOWN: dict[tuple[Surface, int], Earlier] = {}


def prepare(surfaces: Sequence[Surface], seeds: Sequence[int], processes: int) -> None:
    """Make the earlier runs that searches with these seeds are told of, in parallel."""
    past = sorted({_past(seed) for seed in seeds})
    jobs = [(surface, seed) for seed in past for surface in surfaces]
    with multiprocessing.get_context("fork").Pool(min(processes, len(jobs))) as pool:
        for job, run in zip(jobs, pool.starmap(_searched, jobs), strict=True):
            _KNOWN[job] = run


def _past(seed: int) -> int:
    """The seed of the earlier runs, another one than that of any run that is told of them."""
    return 1000 + seed % DIFFERENT


def _searched(surface: Surface, seed: int) -> Earlier:
    space, replay = Replayed(surface, surface.first(seed)), Replay(surface, seed)
    made = create(Options(seed=seed, prior=Prior(chosen_default=surface.default is not None)))
    replay.evaluate(space.first)
    while len(replay.tried) < EVALUATIONS:
        found = made.propose(space, replay.trials(), (), 1, seed)
        if not isinstance(found, tuple):
            break
        for proposal in found:
            replay.evaluate(proposal.config)
    return Earlier(surface.name, TRUST, space.params, replay.trials())


@cache
def openings(surfaces: tuple[Surface, ...]) -> Opening:
    """By surface and seed: the best of each relative's run, or the point here most like it.

    What somebody does who has no search with a memory: begin with what was best last time.
    """

    def opening(surface: Surface, seed: int) -> tuple[Config, ...]:
        runs = [searched(o, _past(seed)) for o in related(surfaces, surface)]
        best = [nearest(surface, fastest(run)) for run in runs]
        return tuple(dict.fromkeys(best))

    return opening


def fastest(run: Earlier) -> Config:
    timed = [(t.log_ratio, t.config) for t in run.trials if t.log_ratio is not None]
    return min(timed, key=lambda pair: pair[0])[1]


def nearest(surface: Surface, config: Config) -> Config:
    """The point with the fewest steps to it: of an ordinal's list, or 1 for another choice."""
    wanted = config.values
    if config in surface.samples:
        return config

    def steps(point: Config) -> float:
        values = point.values
        return sum(_steps(p, values[p.name], wanted.get(p.name)) for p in surface.params)

    return min(surface.samples, key=lambda point: (steps(point), str(point)))


def _steps(param: Param, value: str, wanted: str | None) -> float:
    if wanted is None:
        return 0.0
    if param.kind == "categorical":
        return float(value != wanted)
    closest = _closest(param, wanted)
    if closest is None:
        return 1.0
    return float(abs(param.values.index(value) - param.values.index(closest)))


def _closest(param: Param, wanted: str) -> str | None:
    """The listed value nearest to it; None for a word that the list lacks."""
    if wanted in param.values:
        return wanted
    try:
        number = float(wanted)
        return min(param.values, key=lambda v: abs(float(v) - number))
    except ValueError:
        return None


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
