"""What runs of searches came to, as tables: of each surface, and pooled over all."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from harness import table
from surfaces import Surface

COUNTS = (5, 10, 20, 30)
SHARES = (0.95, 0.98)
_RESAMPLES = 2000
_LEAST = 0.01  # quality that a run without any working point counts as, in a ratio


@dataclass(frozen=True)
class Run:
    """What one run came to: quality after COUNTS, evaluations to SHARES, proposals not taken."""

    surface: str
    method: str
    seed: int
    quality: tuple[float, ...]
    needed: tuple[int, ...]
    wasted: int
    ms: float


def of_surface(surface: Surface, runs: Sequence[Run], names: Sequence[str]) -> None:
    kind = f"{surface.repeats} repeats" if surface.repeats > 1 else "1 repeat: no noise is replayed"
    print(f"== {surface.name}: {len(surface.samples)} points, {surface.failures} fail, {kind}")
    head = ["(seeds)", *(f"q@{count}" for count in COUNTS), "lower quartile @20",
            "evals to 95 % (mean)", "to 98 %", "unusable", "CPU ms"]  # fmt: skip
    rows = []
    for name in names:
        mine = [run for run in runs if run.method == name]
        if not mine:
            continue
        columns = list(zip(*(run.quality for run in mine), strict=True))
        needed = list(zip(*(run.needed for run in mine), strict=True))
        quartile = sorted(columns[COUNTS.index(20)])[len(mine) // 4]
        rows.append(
            [f"{name} ({len(mine)})", *(f"{median(column):.3f}" for column in columns),
             f"{quartile:.3f}",
             *(f"{sum(n) / len(n):.1f}" for n in needed),
             f"{sum(run.wasted for run in mine) / len(mine):.1f}",
             f"{median(run.ms for run in mine):.2f}"]
        )  # fmt: skip
    table(head, rows)


def pooled(runs: Sequence[Run], names: Sequence[str], own: str, budget: int) -> None:
    """Evaluations to 95 %, the geometric mean over surfaces of each one's mean, as ratios."""
    surfaces = sorted({run.surface for run in runs})
    print(f"== all {len(surfaces)} surfaces: evaluations to 95 % (a miss: {budget + 1})")
    rows = []
    for name in names:
        row = [name, f"{_level(_needed(runs, name)):.2f}"]
        if own in names and name != own:
            mine, theirs = common(_needed(runs, own), _needed(runs, name))
            row += _ratio(mine, theirs)
        rows.append(row + [""] * (4 - len(row)))
    table(["", "evaluations", f"{own} over it", "95 % interval"], rows)


def against(runs: Sequence[Run], names: Sequence[str], other: str, budget: int) -> None:
    """Each method over one other, on the surfaces and seeds that both have."""
    print(f"== over {other}: evaluations to 95 % (a miss: {budget + 1}), then mean quality")
    rows = []
    for name in names:
        if name == other:
            continue
        mine, theirs = common(_needed(runs, name), _needed(runs, other))
        row = [f"{name} ({len(mine)} surfaces)", f"{_level(mine):.1f}", f"{_level(theirs):.1f}"]
        row += _ratio(mine, theirs)
        for place in range(len(COUNTS)):
            ratio, low, high = _quality(runs, name, other, place)
            row.append(f"{ratio:.3f} ({low:.3f} to {high:.3f})")
        rows.append(row)
    head = ["", "evaluations", f"{other}'s", "ratio", "95 % interval"]
    table([*head, *(f"quality at {count}" for count in COUNTS)], rows)


Needed = Mapping[str, Mapping[int, int]]


def _needed(runs: Sequence[Run], method: str) -> Needed:
    found: dict[str, dict[int, int]] = {}
    for run in runs:
        if run.method == method:
            found.setdefault(run.surface, {})[run.seed] = run.needed[0]
    return found


def common(one: Needed, other: Needed) -> tuple[Needed, Needed]:
    """Both with the surfaces and seeds that both have."""
    shared = {name: one[name].keys() & other[name].keys() for name in one.keys() & other.keys()}

    def kept(each: Needed) -> Needed:
        return {name: {seed: each[name][seed] for seed in shared[name]} for name in sorted(shared)}

    return kept(one), kept(other)


def _level(needed: Needed) -> float:
    means = [sum(seeds.values()) / len(seeds) for seeds in needed.values()]
    return math.exp(sum(map(math.log, means)) / len(means))


def _ratio(mine: Needed, theirs: Needed) -> list[str]:
    low, high = interval(mine, theirs)
    return [f"{_level(mine) / _level(theirs):.2f}", f"{low:.2f} to {high:.2f}"]


def interval(own: Needed, other: Needed) -> tuple[float, float]:
    """Bootstrap over seeds, the same seeds drawn for both: percentile interval of the ratio."""
    rng = random.Random(1)
    ratios = []
    for _ in range(_RESAMPLES):
        logs = 0.0
        for surface in own:
            seeds = sorted(own[surface])
            drawn = rng.choices(seeds, k=len(seeds))
            mine = sum(own[surface][seed] for seed in drawn)
            theirs = sum(other[surface][seed] for seed in drawn)
            logs += math.log(mine / theirs)
        ratios.append(math.exp(logs / len(own)))
    return _middle(ratios)


def _quality(runs: Sequence[Run], name: str, other: str, place: int) -> tuple[float, float, float]:
    """Ratio of the qualities, the geometric mean over surfaces and paired seeds, its interval over
    seeds."""
    theirs = {(run.surface, run.seed): run for run in runs if run.method == other}
    logs: dict[str, list[float]] = {}
    for run in runs:
        pair = theirs.get((run.surface, run.seed))
        if run.method == name and pair is not None:
            both = max(run.quality[place], _LEAST), max(pair.quality[place], _LEAST)
            logs.setdefault(run.surface, []).append(math.log(both[0] / both[1]))
    rng = random.Random(1)
    drawn = [
        math.exp(_mean([_mean(rng.choices(each, k=len(each))) for each in logs.values()]))
        for _ in range(_RESAMPLES)
    ]
    return (math.exp(_mean([_mean(each) for each in logs.values()])), *_middle(drawn))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _middle(values: list[float]) -> tuple[float, float]:
    values.sort()
    return values[int(0.025 * len(values))], values[int(0.975 * len(values))]
