"""How an application scales: sentences, tables and sections."""

from __future__ import annotations

from collections.abc import Sequence

from hpcagent.report import wording
from hpcagent.report.columns import Column
from hpcagent.report.document import Block, Figure, Line, Section, paragraph, table
from hpcagent.report.scaling_figure import CAPTIONS, FIGURE
from hpcagent.study.compare_result import CompareSummary
from hpcagent.study.scaling import STRONG, Point, Scaling

_TITLES = ("nodes", "time", "speed-up", "interval", "efficiency", "serial", "node-h/1000")
_RANKS = (0, 2, 1, 3, 0, 5, 4)


def sentences(summary: CompareSummary) -> tuple[str, ...]:
    """What more nodes gained, each with its interval, and the largest number that is worth it."""
    found = summary.scaling
    assert found is not None
    others = [point for point in found.tuned if point.nodes != found.base]
    return (*(_said(summary, found, point) for point in others), _most(found))


def defaults(summary: CompareSummary) -> tuple[str, ...]:
    """The same of the default settings, in short."""
    found = summary.scaling
    assert found is not None
    told = [_brief(found, point) for point in found.default if point.speed is not None]
    return (", ".join(told) + ".",) if told else ()


def columns(points: Sequence[Point]) -> list[Column]:
    """The columns of a table for a terminal."""
    cells = zip(*(_cells(point) for point in points), strict=True)
    shown = zip(_TITLES, cells, _RANKS, strict=True)
    kept = [(title, column, rank) for title, column, rank in shown if set(column) != {wording.NONE}]
    return [Column(title, tuple(column), rank) for title, column, rank in kept]


def sections(summary: CompareSummary, tuned: bool) -> tuple[Section, ...]:
    """The result and its tables; `tuned`: the default's differ from those of what was tuned."""
    found = summary.scaling
    assert found is not None
    blocks: list[Block] = [paragraph(words) for words in sentences(summary)]
    blocks += [Figure(FIGURE, CAPTIONS[found.kind]), _table(found.tuned)]
    if tuned:
        blocks += [paragraph("The default settings:"), _table(found.default)]
    return (
        Section("Result", tuple(blocks)),
        Section("How sure is it", tuple(paragraph(words) for words in _rules(summary, found))),
    )


def _rules(summary: CompareSummary, found: Scaling) -> tuple[str, ...]:
    how = (
        "Efficiency is the speed-up over the ratio of the numbers of nodes (strong scaling: the "
        "same work on all)."
        if found.kind == STRONG
        else "Efficiency is the time on the fewest nodes over the time on so many (weak scaling: "
        "work in proportion to the nodes)."
    )
    serial = (
        "Serial is the serial fraction that the speed-up tells (Karp and Flatt, Communications of "
        "the ACM 33 (1990) 539-543): where it grows with the nodes, overhead (communication, "
        "imbalance) costs more than serial code does."
    )
    interval = (
        "Each allocation counts with one number, so intervals hold the spread between allocations. "
        f"They are Welch's t intervals on the logarithms, and cover with "
        f"{wording.coverage(summary.coverage)} each."
    )
    return (how, *((serial,) if found.kind == STRONG else ()), interval)


def _said(summary: CompareSummary, found: Scaling, point: Point) -> str:
    name, base = _nodes(point.nodes), _nodes(found.base)
    if point.speed is None or point.efficiency is None:
        return f"Of {name} nothing can be said: too few blocks with valid measurements."
    sure = f"{wording.coverage(summary.coverage)} interval "
    low, high = (wording.percent(end, 2) for end in point.efficiency[1:])
    share = f"{wording.percent(point.efficiency[0], 2)} ({sure}{low} to {high})"
    if found.kind != STRONG:
        return f"On {name} the weak efficiency against {base} is {share}."
    verb = "are" if point.nodes > 1 else "is"
    if point.speed.verdict == "slower":
        times = f"{1 / point.speed.ratio:.3g} times slower than"
    else:
        times = f"{point.speed.ratio:.3g} times as fast as"
    return f"{_upper(name)} {verb} {times} {base}: a parallel efficiency of {share}."


def _most(found: Scaling) -> str:
    least = wording.percent(found.threshold, 2)
    told = [point.nodes for point in found.tuned if point.efficiency is not None]
    if len(told) < 2:
        return "Too few numbers of nodes could be measured: nothing is recommended."
    if found.most == told[-1]:
        return f"All of them keep an efficiency of {least}: more than {_nodes(told[-1])} may pay."
    return f"Up to {_nodes(found.most)} each keeps an efficiency of {least}."


def _brief(found: Scaling, point: Point) -> str:
    assert point.speed is not None
    assert point.efficiency is not None
    share = wording.percent(point.efficiency[0], 2)
    speed = f"{wording.ratio(point.speed.ratio)}, " if found.kind == STRONG else ""
    return f"{_nodes(point.nodes)} {speed}efficiency {share}"


def _table(points: Sequence[Point]) -> Block:
    titles = ("Nodes", "Time", "Speed-up", "Interval", "Efficiency", "Serial",
              "Node-hours a thousand runs")  # fmt: skip
    rows: list[Line] = [_cells(point) for point in points]
    return table(titles, rows, titles)


def _cells(point: Point) -> tuple[str, ...]:
    speed = point.speed
    return (
        str(point.nodes),
        wording.seconds(point.seconds),
        wording.ratio(speed.ratio if speed else 1.0 if point.efficiency else None),
        wording.interval(speed.low, speed.high) if speed else wording.NONE,
        wording.percent(point.efficiency[0], 3) if point.efficiency else wording.NONE,
        wording.NONE if point.serial is None else f"{point.serial:.3f}",
        wording.NONE if point.node_hours is None else f"{point.node_hours:.3g}",
    )


def _nodes(count: int) -> str:
    return wording.plural(count, "node")


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]
