"""Strong and weak scaling: what more nodes gained, from the blocks of a comparison of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from hpcagent.study.compare_plan import MIN_BLOCKS, Comparison
from hpcagent.study.compare_statistics import Ratio, speed_ratio

STRONG, WEAK = "strong", "weak"


@dataclass(frozen=True)
class Point:
    """One number of nodes, and what it gained over the base.

    `seconds` is the geometric mean over the blocks; `speed` how many times as fast as the base it
    is, `efficiency` the parallel efficiency with the ends of its interval (None of both: too few
    valid blocks; of the base they are None and 1). `serial` is the serial fraction by Karp and
    Flatt (None: of weak scaling, and of the base). `node_hours` are those of a thousand runs.
    """

    nodes: int
    seconds: float | None
    speed: Ratio | None
    efficiency: tuple[float, float, float] | None
    serial: float | None
    node_hours: float | None


@dataclass(frozen=True)
class Scaling:
    """`kind` is strong (the same work on all) or weak (work in proportion to the nodes); `tuned`
    and `default` are the points of the configuration that was tuned and of the default, by nodes.

    `base` is the smallest number of nodes that was measured (0: none), `most` the largest up to
    which every one that was measured has at least the efficiency `threshold`.
    """

    kind: str
    threshold: float
    base: int
    tuned: tuple[Point, ...]
    default: tuple[Point, ...]
    most: int

    @property
    def shown(self) -> int:
        """How many numbers of nodes were measured."""
        return sum(point.efficiency is not None for point in self.tuned)


@dataclass(frozen=True)
class NodeLevel:
    """One configuration on so many nodes, a value an allocation: its seconds (None: too few valid
    runs in that one), and the wall time of its processes."""

    nodes: int
    blocks: tuple[float | None, ...]
    walls: tuple[float, ...]


def scaling(
    comparison: Comparison, tuned: Sequence[NodeLevel], default: Sequence[NodeLevel]
) -> Scaling | None:
    """What a comparison of node counts found; None for any other."""
    if not comparison.scaling:
        return None
    points, others = _points(comparison, tuned), _points(comparison, default)
    told = [(p.nodes, p.efficiency[0]) for p in points if p.efficiency is not None]
    base = most = told[0][0] if told else 0
    for nodes, efficiency in told:
        if efficiency < comparison.threshold:
            break
        most = nodes
    return Scaling(comparison.scaling, comparison.threshold, base, points, others, most)


def karp_flatt(speed: float, times: float) -> float:
    """The serial fraction that a speed-up tells with `times` as many processors: (1/S - 1/p) / (1 -
    1/p). Where it grows with p, it is overhead rather than serial code that costs the efficiency.

    A. H. Karp, H. P. Flatt, Measuring parallel processor performance, Communications of the ACM 33
    (1990) 539-543, equation 2. Negative where the speed-up is more than p.
    """
    return (1.0 / speed - 1.0 / times) / (1.0 - 1.0 / times)


def _points(comparison: Comparison, levels: Sequence[NodeLevel]) -> tuple[Point, ...]:
    ordered = sorted(levels, key=lambda level: level.nodes)
    base = next((level for level in ordered if len(_logs(level)) >= MIN_BLOCKS), None)
    return tuple(_point(comparison, base, level) for level in ordered)


def _point(comparison: Comparison, base: NodeLevel | None, level: NodeLevel) -> Point:
    own = _logs(level)
    seconds = math.exp(math.fsum(own) / len(own)) if own else None
    wall_s = math.fsum(level.walls) / len(level.walls) if level.walls else None
    hours = None if wall_s is None else level.nodes * wall_s * 1000 / 3600
    point = Point(level.nodes, seconds, None, None, None, hours)
    if base is None or len(own) < MIN_BLOCKS:
        return point
    if level is base:
        return replace(point, efficiency=(1.0, 1.0, 1.0))
    speed = speed_ratio(own, _logs(base), comparison.alpha, comparison.minimum_effect)
    times = level.nodes / base.nodes
    strong = comparison.scaling == STRONG
    share = times if strong else 1.0
    efficiency = speed.ratio / share, speed.low / share, speed.high / share
    serial = karp_flatt(speed.ratio, times) if strong else None
    return replace(point, speed=speed, efficiency=efficiency, serial=serial)


def _logs(level: NodeLevel) -> list[float]:
    return [math.log(seconds) for seconds in level.blocks if seconds is not None]
