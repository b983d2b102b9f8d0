"""What runs of searches came to, as tables: of each surface, and pooled over all."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass
from statistics import median

from harness import table
from surfaces import Surface

from hpcagent.report.wording import visible

COUNTS = (5, 10, 20, 30)
SHARES = (0.95, 0.98)
NONE = "-"
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


def of_surface(surface: Surface, runs: Sequence[Run], names: Sequence[str], budget: int) -> None:
    kind = f"{surface.repeats} repeats" if surface.repeats > 1 else "1 repeat: no noise is replayed"
    title = f"== {surface.name}: {len(surface.samples)} points, {surface.failures} fail, {kind}"
    print(visible(title))
    counts = within(budget)
    low = max((count for count in counts if count <= 20), default=budget)
    head = ["(seeds)", *(f"q@{count}" for count in counts), f"lower quartile @{low}",
            "evals to 95 % (mean)", "to 98 %", "unusable", "CPU ms"]  # fmt: skip
    rows = []
    for name in names:
        mine = [run for run in runs if run.method == name]
        if not mine:
            continue
        columns = list(zip(*(run.quality for run in mine), strict=True))
        needed = list(zip(*(run.needed for run in mine), strict=True))
        quartile = sorted(columns[counts[low]])[len(mine) // 4]
        rows.append(
            [f"{name} ({len(mine)})", *(f"{median(columns[n]):.3f}" for n in counts.values()),
             f"{quartile:.3f}",
             *(f"{sum(n) / len(n):.1f}" for n in needed),
             f"{sum(run.wasted for run in mine) / len(mine):.1f}",
             f"{median(run.ms for run in mine):.2f}"]
        )  # fmt: skip
    table(head, rows)


def within(budget: int) -> Mapping[int, int]:
    """The counts that a budget allows, each with its place in `Run.quality`. One below all of them
    is a count itself: what comes first there was found within the budget."""
    return {count: n for n, count in enumerate(COUNTS) if count <= budget} or {budget: 0}


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
    counts = within(budget)
    rows = []
    for name in names:
        if name == other:
            continue
        mine, theirs = common(_needed(runs, name), _needed(runs, other))
        row = [f"{name} ({len(mine)} surfaces)"]
        row += [f"{_level(needed):.1f}" if needed else NONE for needed in (mine, theirs)]
        row += _ratio(mine, theirs)
        row += [_quality(runs, name, other, place) for place in counts.values()]
        rows.append(row)
    head = ["", "evaluations", f"{other}'s", "ratio", "95 % interval"]
    table([*head, *(f"quality at {count}" for count in counts)], rows)


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
    """The ratio and its interval over seeds, as far as there are any."""
    if not mine:
        return [NONE, NONE]
    ratio = f"{_level(mine) / _level(theirs):.2f}"
    if _single(mine.values()):
        return [ratio, NONE]
    low, high = interval(mine, theirs)
    return [ratio, f"{low:.2f} to {high:.2f}"]


def _single(surfaces: Iterable[Sized]) -> bool:
    """Whether a surface has one seed, over which there is no interval."""
    return min(map(len, surfaces)) < 2


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


def _quality(runs: Sequence[Run], name: str, other: str, place: int) -> str:
    """Ratio of the qualities, the geometric mean over surfaces and paired seeds, its interval over
    seeds."""
    theirs = {(run.surface, run.seed): run for run in runs if run.method == other}
    logs: dict[str, list[float]] = {}
    for run in runs:
        pair = theirs.get((run.surface, run.seed))
        if run.method == name and pair is not None:
            both = max(run.quality[place], _LEAST), max(pair.quality[place], _LEAST)
            logs.setdefault(run.surface, []).append(math.log(both[0] / both[1]))
    if not logs:
        return NONE
    ratio = f"{math.exp(_mean([_mean(each) for each in logs.values()])):.3f}"
    if _single(logs.values()):
        return f"{ratio} ({NONE})"
    rng = random.Random(1)
    drawn = [
        math.exp(_mean([_mean(rng.choices(each, k=len(each))) for each in logs.values()]))
        for _ in range(_RESAMPLES)
    ]
    low, high = _middle(drawn)
    return f"{ratio} ({low:.3f} to {high:.3f})"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _middle(values: list[float]) -> tuple[float, float]:
    values.sort()
    return values[int(0.025 * len(values))], values[int(0.975 * len(values))]
