"""The figures of a code generation: the tree, the speeds, and what the gate cost.

Kinds of attempts differ in the shape of their marks, verdicts in the filling and by a word, so that
nothing rests on colour alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from hpcagent.codegen.attempt import STAGES
from hpcagent.codegen.tree import CHECKER, DEBUG, DRAFT, GIVEN, IMPROVE, REFERENCE
from hpcagent.report import canvas
from hpcagent.report import codegen_words as words
from hpcagent.study.codegen_summary import AttemptSummary, CodegenSummary

_MOST_ROWS = 80
_ROW_IN = 0.23
_NAME, _VERDICT = 24, 34
_MOST_TICKS = 10
_MARKS: Mapping[str, str] = MappingProxyType(
    {DRAFT: "o", DEBUG: "^", IMPROVE: "s", GIVEN: "D", REFERENCE: "*", CHECKER: "*"}
)
_SIZES: Mapping[str, float] = MappingProxyType({REFERENCE: 11})
_HATCHES = ("", "//", "", "xx", "||", "")
_GREYS = ("#f2f4f6", "#c4cad1", "#e3e7ea", "#9aa4af", "#d5dade", "#39424d")


def codegen_figures(summary: CodegenSummary) -> dict[str, str]:
    """SVG text by name; the same summary gives the same bytes (for one matplotlib version)."""
    painters: Mapping[str, Callable[[CodegenSummary], Any]] = {
        "tree": _tree,
        "speed": _speed,
        "cost": _cost,
    }
    drawn = {}
    for name, paint in painters.items():
        with canvas.style(name):
            figure = paint(summary)
            if figure is not None:
                drawn[name] = canvas.save(figure)
    return drawn


# --- the tree -------------------------------------------------------------------------------------


def _tree(summary: CodegenSummary) -> Any:
    """A row for each attempt, below its parent and one step to the right of it."""
    rows = words.ordered(summary.attempts)
    if len(rows) < 2:
        return None
    shown = rows[:_MOST_ROWS]
    places = {one.number: (float(level), row) for row, (one, level) in enumerate(shown)}
    deepest = max(level for _, level in shown)
    figure, axes = canvas.blank(0.9 + _ROW_IN * len(shown))
    _edges(axes, summary, shown, places)
    for one, _ in shown:
        _node(axes, one, *places[one.number])
        _label(axes, summary, one, *places[one.number])
    axes.plot([], [], "o", color=canvas.GREEN, label="passed (filled)")
    for mark, text in (("x", "failed"), ("_", "refused by the gate")):
        axes.plot([], [], mark, color=canvas.INK, label=text)
    for kind in dict.fromkeys(one.operation for one, _ in shown):
        axes.plot([], [], _MARKS[kind], color=canvas.GREY, label=kind)
    axes.plot([], [], "-", color=canvas.INK, linewidth=2.5, label="way to the best")
    axes.set_xlim(-0.6, deepest + 9.5)
    axes.set_ylim(len(shown) - 0.4, -0.7)
    axes.set_axis_off()
    if len(rows) > len(shown):
        canvas.write(axes, 0, len(shown) - 0.5, f"{len(rows) - len(shown)} more in the tables")
    canvas.legend(figure, axes, 3)
    return figure


def _edges(
    axes: Any, summary: CodegenSummary, rows: Sequence[tuple[AttemptSummary, int]],
    places: Mapping[int, tuple[float, int]],
) -> None:  # fmt: skip
    """From each parent down, then to the right; thick where it leads to the best."""
    for one, _ in rows:
        if one.parent is None or one.parent not in places:
            continue
        (x0, y0), (x1, y1) = places[one.parent], places[one.number]
        leads = one.number in summary.path and one.parent in summary.path
        colour, width = (canvas.INK, 2.5) if leads else (canvas.GREY, 1.0)
        axes.plot((x0, x0, x1), (y0, y1, y1), "-", color=colour, linewidth=width,
                  zorder=2 if leads else 1)  # fmt: skip


def _node(axes: Any, one: AttemptSummary, x: float, y: float) -> None:
    """Filled: it passed; hollow with a cross: it failed, with a bar: the gate refused it."""
    passed = one.failure is None
    colour = canvas.GREEN if passed else canvas.ORANGE
    known = passed and one.state != "open"
    axes.plot(
        [x], [y], _MARKS[one.operation],
        markersize=_SIZES.get(one.operation, 8), markeredgecolor=colour, markeredgewidth=1.4,
        markerfacecolor=colour if known else canvas.PAPER, zorder=3,
    )  # fmt: skip
    if not passed:
        axes.plot([x], [y], "_" if words.refused(one) else "x", color=canvas.INK, markersize=6,
                  markeredgewidth=1.4, zorder=4)  # fmt: skip


def _label(axes: Any, summary: CodegenSummary, one: AttemptSummary, x: float, y: float) -> None:
    name = canvas.label(words.name(one), _NAME)
    ended = canvas.label(words.verdict(one), _VERDICT)
    number = "" if one.operation in (REFERENCE, CHECKER) else f"{one.number} "
    text = axes.text(
        x + 0.35, y, f"{number}{name}  {ended}", fontfamily="DejaVu Sans Mono", fontsize=7.5,
        va="center", color=canvas.INK,
    )  # fmt: skip
    if one.number in summary.path:
        text.set_fontweight("bold")


# --- the speeds -----------------------------------------------------------------------------------


def _speed(summary: CodegenSummary) -> Any:
    good = [a for a in summary.attempts[1:] if _finite(a.speedup)]
    if not good:
        return None
    figure, axes = canvas.blank(2.9)
    axes.axhline(
        1.0,
        color=canvas.GREY,
        linewidth=1,
        linestyle=(0, (4, 3)),
        label=summary.baseline or "reference",
    )
    for kind in dict.fromkeys(one.operation for one in good):
        _points(axes, [one for one in good if one.operation == kind], kind)
    last = summary.attempts[-1].number
    _best_so_far(axes, good, last)
    _claim(axes, summary, last + 1)
    failed = [a.number for a in summary.attempts[1:] if a.failure is not None]
    if failed:
        axes.plot(failed, [0.03] * len(failed), "x", color=canvas.INK, markersize=6,
                  transform=axes.get_xaxis_transform(), clip_on=False, label="failed")  # fmt: skip
    shown = [one.speedup or 1.0 for one in good]
    shown += [v for v in _ends(summary) if v is not None and _finite(v)]
    _scale(axes, shown)
    _places(axes, last, summary.claim is not None)
    axes.set_xlabel("attempt")
    axes.set_ylabel(f"speed over {summary.baseline}\n(bars: 2 standard errors)")
    canvas.legend(figure, axes, 4)
    return figure


def _points(axes: Any, attempts: Sequence[AttemptSummary], kind: str) -> None:
    speeds = [one.speedup or 0.0 for one in attempts]
    reach = [math.exp(2.0 * min(one.spread or 0.0, 0.7)) for one in attempts]
    below = [speed - speed / factor for speed, factor in zip(speeds, reach, strict=True)]
    above = [speed * factor - speed for speed, factor in zip(speeds, reach, strict=True)]
    axes.errorbar(
        [one.number for one in attempts], speeds, yerr=(below, above), fmt=_MARKS[kind],
        color=canvas.BLUE, markersize=5.5, elinewidth=1, capsize=2, label=kind,
    )  # fmt: skip


def _best_so_far(axes: Any, good: Sequence[AttemptSummary], last: int) -> None:
    steps: list[tuple[int, float]] = []
    for one in good:
        steps.append((one.number, max([one.speedup or 0.0, *(y for _, y in steps[-1:])])))
    steps.append((last, steps[-1][1]))
    x, y = zip(*steps, strict=True)
    axes.step(x, y, where="post", color=canvas.GREEN, linewidth=1.5, zorder=1.5,
              label="best so far")  # fmt: skip


def _claim(axes: Any, summary: CodegenSummary, place: int) -> None:
    """The confirmation: to the right of the attempts, as it came after them."""
    claim = summary.claim
    if claim is None or not all(_finite(v) for v in (claim.low, claim.speedup, claim.high)):
        return
    axes.plot((place, place), (claim.low, claim.high), color=canvas.ORANGE, linewidth=4,
              label="interval of fresh pairs")  # fmt: skip
    axes.plot([place], [claim.speedup], "_", color=canvas.INK, markersize=10, markeredgewidth=2)


def _ends(summary: CodegenSummary) -> tuple[float | None, ...]:
    return (summary.claim.low, summary.claim.high) if summary.claim is not None else ()


def _places(axes: Any, last: int, confirmed: bool) -> None:
    """Numbers of attempts, and what stands to the right of them."""
    step = max(1, math.ceil(last / _MOST_TICKS))
    ticks = list(range(1 if step == 1 else step, last + 1, step))
    axes.set_xticks([*ticks, *([last + 1] if confirmed else [])])
    axes.set_xticklabels([*map(str, ticks), *(["confirmed"] if confirmed else [])])
    axes.set_xlim(0.4, last + (1.8 if confirmed else 0.6))


def _scale(axes: Any, speeds: Sequence[float]) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    if max(speeds) > 4.0 * min([*speeds, 1.0]):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(ScalarFormatter())
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.ticklabel_format(axis="y", useOffset=False, style="plain")
        axes.margins(y=0.12)


# --- the cost of the gate -------------------------------------------------------------------------


def _cost(summary: CodegenSummary) -> Any:
    """Seconds of the stages of each attempt, one behind the other."""
    rows = [one for one in summary.attempts if sum(one.stages.values()) > 0][:_MOST_ROWS]
    if not rows:
        return None
    figure, axes = canvas.blank(1.2 + _ROW_IN * len(rows))
    starts = [0.0] * len(rows)
    for stage, grey, hatch in zip(STAGES, _GREYS, _HATCHES, strict=True):
        lengths = [one.stages.get(stage, 0.0) for one in rows]
        axes.barh(range(len(rows)), lengths, left=starts, height=0.62, color=grey, hatch=hatch,
                  edgecolor=canvas.INK, linewidth=0.5, label=stage)  # fmt: skip
        starts = [start + length for start, length in zip(starts, lengths, strict=True)]
    canvas.row_labels(axes, [canvas.label(f"{a.number} {words.name(a)}", _NAME) for a in rows])
    axes.set_xlabel("seconds")
    canvas.legend(figure, axes, 3)
    return figure


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value) and 0 < value < 1e9
