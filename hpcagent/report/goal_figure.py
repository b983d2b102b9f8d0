"""The figure of a trade-off: trials by their gains in the first two objectives."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from hpcagent.report import canvas
from hpcagent.study.summary import PointSummary, RunSummary

_LARGEST = 1e9


def pareto(summary: RunSummary) -> Any:
    """None with fewer than two objectives, or nothing measured."""
    goals = summary.goals
    if goals is None or len(goals.objectives) < 2:
        return None
    points = [p for p in goals.points if _drawable(p)]
    if not points:
        return None
    figure, axes = canvas.blank(3.4)
    for way in (axes.axvline, axes.axhline):
        way(1.0, color=canvas.GREY, linewidth=1, linestyle=(0, (4, 3)))
    broken = [p for p in points if p.broken]
    front = sorted([p for p in points if p.front and not p.broken], key=lambda p: p.gains[0])
    others = [p for p in points if not p.front and not p.broken and not p.recommended]
    _marks(axes, others, "dominated", "o", canvas.GREY)
    _marks(axes, broken, "breaks a constraint", "x", canvas.INK)
    _steps(axes, front)
    _marks(axes, [p for p in front if not p.recommended], "front", "o", canvas.BLUE)
    _marks(axes, [p for p in points if p.recommended], "recommended", "D", canvas.ORANGE)
    for place, point in enumerate(front):
        _name(axes, point, above=place % 2 == 0)
    first, second = (canvas.label(name, 30) for name, _, _ in goals.objectives[:2])
    axes.set_xlabel(f"gain in {first} over the default (right is better)")
    axes.set_ylabel(f"gain in {second}\n(up is better)")
    for axis in ("x", "y"):
        axes.ticklabel_format(axis=axis, useOffset=False, style="plain")
        axes.locator_params(axis=axis, nbins=6)
    axes.margins(0.12)
    axes.set_xlim(left=max(0.0, axes.get_xlim()[0]))
    axes.set_ylim(bottom=max(0.0, axes.get_ylim()[0]))
    canvas.legend(figure, axes, 4)
    return figure


def _drawable(point: PointSummary) -> bool:
    values = (*point.gains[:2], *point.lows[:2], *point.highs[:2])
    return all(math.isfinite(value) and 0.0 < value < _LARGEST for value in values)


def _marks(axes: Any, points: Sequence[PointSummary], name: str, marker: str, colour: str) -> None:
    """Points with bars of two standard errors in both directions."""
    if not points:
        return
    x, y = ([p.gains[place] for p in points] for place in (0, 1))
    bars = [
        (
            [p.gains[place] - p.lows[place] for p in points],
            [p.highs[place] - p.gains[place] for p in points],
        )
        for place in (0, 1)
    ]
    axes.errorbar(
        x, y, xerr=bars[0], yerr=bars[1], fmt=marker, color=colour, markersize=5, elinewidth=0.8,
        label=name,
    )  # fmt: skip


def _steps(axes: Any, front: Sequence[PointSummary]) -> None:
    """The edge of what was reached: at least so much of one, and of the other."""
    if len(front) > 1:
        x, y = zip(*[(p.gains[0], p.gains[1]) for p in front], strict=True)
        axes.step(x, y, where="pre", color=canvas.GREEN, linewidth=1.2, zorder=1.5)


def _name(axes: Any, point: PointSummary, above: bool) -> None:
    """Neighbours are named on different sides, for they may lie close together."""
    axes.annotate(
        f"#{point.evaluation}", (point.gains[0], point.gains[1]),
        xytext=(5, 5) if above else (5, -11), textcoords="offset points", fontsize=8,
        color=canvas.INK,
    )  # fmt: skip
