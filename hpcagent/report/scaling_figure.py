"""The figure of a scaling study: speed-up (or weak efficiency) by the number of nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from hpcagent.report import canvas
from hpcagent.study.scaling import STRONG, WEAK, Point, Scaling

FIGURE = "scaling"
CAPTIONS: Mapping[str, str] = MappingProxyType(
    {
        STRONG: "Speed-up over the fewest nodes, with intervals; dashed: ideal.",
        WEAK: "Parallel efficiency against the fewest nodes, with intervals; dashed: ideal.",
    }
)
_HEIGHT_IN = 3.0


def scaling_figures(found: Scaling, several: bool) -> dict[str, str]:
    """SVG text by name; nothing where only one number of nodes could be measured. `several`: the
    default is drawn as well."""
    if found.shown < 2:
        return {}
    with canvas.style(FIGURE):
        return {FIGURE: canvas.save(_drawn(found, several))}


def _drawn(found: Scaling, several: bool) -> Any:
    figure, axes = canvas.blank(_HEIGHT_IN)
    strong = found.kind == STRONG
    base = found.base
    nodes = [point.nodes for point in found.tuned]
    ideal = [count / base for count in nodes] if strong else [1.0] * len(nodes)
    axes.plot(nodes, ideal, "--", color=canvas.GREY, linewidth=1, label="ideal")
    if several:
        _line(axes, found.default, strong, canvas.ORANGE, "s", "default")
    _line(axes, found.tuned, strong, canvas.BLUE, "o", "tuned" if several else "measured")
    axes.set_xscale("log", base=2)
    axes.set_xticks(nodes, labels=[str(count) for count in nodes], minor=False)
    axes.set_xticks([], minor=True)
    if strong:
        axes.set_yscale("log", base=2)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    else:
        axes.set_ylim(bottom=0)
    axes.set_xlabel("nodes")
    axes.set_ylabel("speed-up" if strong else "efficiency")
    canvas.legend(figure, axes, 3)
    return figure


def _line(
    axes: Any, points: Sequence[Point], strong: bool, colour: str, mark: str, name: str
) -> None:
    rows = [(p.nodes, *p.efficiency) for p in points if p.efficiency is not None]
    base = rows[0][0] if rows else 1
    scale = [nodes / base if strong else 1.0 for nodes, *_ in rows]
    middle = [s * row[1] for s, row in zip(scale, rows, strict=True)]
    below = [s * (row[1] - row[2]) for s, row in zip(scale, rows, strict=True)]
    above = [s * (row[3] - row[1]) for s, row in zip(scale, rows, strict=True)]
    axes.errorbar([row[0] for row in rows], middle, yerr=[below, above], color=colour, marker=mark,
                  markersize=4, linewidth=1.2, capsize=2, label=name)  # fmt: skip
