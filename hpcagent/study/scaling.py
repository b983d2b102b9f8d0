"""Strong and weak scaling: what more nodes gained, from the blocks of a comparison of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from hpcagent.study.compare_plan import MIN_BLOCKS, Comparison
from hpcagent.study.compare_statistics import Ratio, speed_ratio

STRONG, WEAK = "strong", "weak"


@dataclass(frozen=True)
class Point:
    """One number of nodes, and what it gained over the smallest.

    `seconds` is the geometric mean over the blocks; `speed` how many times as fast as the smallest
    it is, `efficiency` the parallel efficiency with the ends of its interval (None of all: too few
    valid blocks; of the smallest they are 1). `serial` is the serial fraction by Karp and Flatt
    (None: of weak scaling, and of the smallest). `core_hours` are those of a thousand runs.
    """

    nodes: int
    cpus: int
    seconds: float | None
    speed: Ratio | None
    efficiency: tuple[float, float, float] | None
    serial: float | None
    core_hours: float | None


@dataclass(frozen=True)
class Scaling:
    """`kind` is strong (the same work on all) or weak (work in proportion to the nodes); `tuned`
    and `default` are the points of the configuration that was tuned and of the default, by nodes.

    `most` is the largest number of nodes up to which every one has at least the efficiency
    `threshold` (0: the smallest itself was not measured).
    """

    kind: str
    threshold: float
    tuned: tuple[Point, ...]
    default: tuple[Point, ...]
    most: int


@dataclass(frozen=True)
class NodeLevel:
    """One configuration on so many nodes: its seconds, one value an allocation (None: too few
    valid runs in that one)."""

    nodes: int
    cpus: int
    blocks: tuple[float | None, ...]


def scaling(
    comparison: Comparison, tuned: Sequence[NodeLevel], default: Sequence[NodeLevel]
) -> Scaling | None:
    """What a comparison of node counts found; None for any other."""
    if not comparison.scaling:
        return None
    points = _points(comparison, tuned)
    most = 0
    for point in points:
        if point.efficiency is None or point.efficiency[0] < comparison.threshold:
            break
        most = point.nodes
    kind, threshold = comparison.scaling, comparison.threshold
    return Scaling(kind, threshold, points, _points(comparison, default), most)


def karp_flatt(speed: float, times: float) -> float:
    """The serial fraction that a speed-up tells with `times` as many processors: (1/S - 1/p) / (1 -
    1/p). Where it grows with p, it is overhead rather than serial code that costs the efficiency.

    A. H. Karp, H. P. Flatt, Measuring parallel processor performance, Communications of the ACM 33
    (1990) 539-543, equation 2. Negative where the speed-up is more than p.
    """
    return (1.0 / speed - 1.0 / times) / (1.0 - 1.0 / times)


def _points(comparison: Comparison, levels: Sequence[NodeLevel]) -> tuple[Point, ...]:
    ordered = sorted(levels, key=lambda level: level.nodes)
    return tuple(_point(comparison, ordered[0], level) for level in ordered)


def _point(comparison: Comparison, base: NodeLevel, level: NodeLevel) -> Point:
    own, others = _logs(level), _logs(base)
    seconds = math.exp(math.fsum(own) / len(own)) if own else None
    hours = None if seconds is None else level.cpus * seconds * 1000 / 3600
    point = Point(level.nodes, level.cpus, seconds, None, None, None, hours)
    if min(len(own), len(others)) < MIN_BLOCKS:
        return point
    if level is base:
        return Point(level.nodes, level.cpus, seconds, None, (1.0, 1.0, 1.0), None, hours)
    speed = speed_ratio(own, others, comparison.alpha, comparison.minimum_effect)
    times = level.nodes / base.nodes
    strong = comparison.scaling == STRONG
    share = times if strong else 1.0
    efficiency = speed.ratio / share, speed.low / share, speed.high / share
    serial = karp_flatt(speed.ratio, times) if strong else None
    return Point(level.nodes, level.cpus, seconds, speed, efficiency, serial, hours)


def _logs(level: NodeLevel) -> list[float]:
    return [math.log(seconds) for seconds in level.blocks if seconds is not None]
