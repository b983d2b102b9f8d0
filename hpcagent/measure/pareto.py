"""Several objectives at once: who is beaten by nobody, and one number for a search.

A point holds one loss an objective; less is better (measure/objectives.py).
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

# The share of the plain weighted sum in the scalarisation (J. Knowles, ParEGO: a hybrid algorithm
# with on-line landscape approximation for expensive multiobjective optimization problems, IEEE
# Trans. Evol. Comput. 10 (2006) 50-66, eq. 2).
AUGMENTED = 0.05
# Objectives that differ by less than this among all that was measured are not stretched to the
# range of the others: their noise would count as much as real differences.
LEAST_RANGE = 0.02

Point = Sequence[float]


@dataclass(frozen=True)
class Scalar:
    """The one number of a point, as a log ratio to the origin, and its standard error."""

    value: float
    spread: float


def dominates(one: Point, other: Point) -> bool:
    """Whether `one` is nowhere worse and somewhere better."""
    return all(a <= b for a, b in zip(one, other, strict=True)) and tuple(one) != tuple(other)


def front(points: Sequence[Point]) -> tuple[int, ...]:
    """The places of the points that no other dominates; of equal points all."""
    # In lexicographic order whatever dominates a point comes before it.
    order = sorted(range(len(points)), key=lambda place: tuple(points[place]))
    kept: list[int] = []
    for place in order:
        if not any(dominates(points[other], points[place]) for other in kept):
            kept.append(place)
    return tuple(sorted(kept))


def cautious(point: Point, spreads: Point, step: float) -> tuple[int, ...]:
    """The point on a grid of `step`, each loss a standard error nearer to the origin.

    What differs by less than a step is the same, and what is within its error of the origin is at
    the origin: neither would be claimed, so neither puts a point on the front.
    """
    return tuple(
        round(math.copysign(max(0.0, abs(loss) - spread), loss) / step)
        for loss, spread in zip(point, spreads, strict=True)
    )


def weights(seed: int, index: int, count: int) -> tuple[float, ...]:
    """`count` weights, drawn uniformly from those that sum to one; a function of its arguments."""
    draw = random.Random(f"weights {seed} {index}")
    parts = [draw.expovariate(1.0) for _ in range(count)]
    return tuple(part / sum(parts) for part in parts)


def scalars(
    points: Sequence[Point], spreads: Sequence[Point], by: Sequence[float]
) -> tuple[Scalar, ...]:
    """The augmented Chebyshev distance of each point from the best seen of every objective.

    Each objective is stretched to the range seen (at least LEAST_RANGE), the result is in the
    unit of their mean range and zero at the origin (the default), so that it can stand where a log
    ratio does. It never falls when a loss rises. `by` are the weights.
    """
    if not points:
        return ()
    columns = [*zip(*points, strict=True)]
    best = [min(*column, 0.0) for column in columns]
    ranges = [max(*column, 0.0) - low for column, low in zip(columns, best, strict=True)]
    rates = [w / max(r, LEAST_RANGE) for w, r in zip(by, ranges, strict=True)]
    unit = math.fsum(max(r, LEAST_RANGE) for r in ranges) / len(ranges)
    origin = _distance([0.0] * len(best), best, rates)[0]
    found = []
    for point, errors in zip(points, spreads, strict=True):
        distance, leading = _distance(point, best, rates)
        slopes = [r * (AUGMENTED + (place == leading)) for place, r in enumerate(rates)]
        spread = math.hypot(*(slope * error for slope, error in zip(slopes, errors, strict=True)))
        found.append(Scalar(unit * (distance - origin), unit * spread))
    return tuple(found)


def _distance(point: Point, best: Point, rates: Sequence[float]) -> tuple[float, int]:
    """The distance from the best, and the first of the objectives that make it."""
    parts = [rate * (loss - low) for rate, loss, low in zip(rates, point, best, strict=True)]
    largest = max(parts)
    return largest + AUGMENTED * math.fsum(parts), parts.index(largest)
