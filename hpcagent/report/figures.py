"""The figures of a report. One without data is left out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from hpcagent.report import canvas, goal_figure, goal_words, wording
from hpcagent.study.summary import CaseSummary, RunSummary, TrialSummary

_ROW_IN = 0.21
_MOST_ROWS = 60
_MOST_VALUES = 12
_KEY_LENGTH = 26
_LARGEST = 1e9  # ratio


def figures(summary: RunSummary) -> dict[str, str]:
    """SVG text by name; the same summary gives the same bytes (for one matplotlib version)."""
    painters: Mapping[str, Callable[[RunSummary], Any]] = {
        "convergence": _convergence,
        "pareto": goal_figure.pareto,
        "pairs": _pairs,
        "variability": _variability,
        "failures": _failures,
        "effects": _effects,
    }
    drawn = {}
    for name, paint in painters.items():
        with canvas.style(name):
            figure = paint(summary)
            if figure is not None:
                drawn[name] = canvas.save(figure)
    return drawn


# --- convergence ----------------------------------------------------------------------------------


def _convergence(summary: RunSummary) -> Any:
    trials = summary.trials
    if not trials:
        return None
    figure, axes = canvas.blank(2.9)
    good = [t for t in trials if wording.measured(t)]
    axes.axhline(1.0, color=canvas.GREY, linewidth=1, linestyle=(0, (4, 3)), label="default")
    search = [t for t in good if not wording.by_model(t, summary)]
    _points(axes, search, "search", "o", canvas.BLUE)
    picks = [t for t in good if wording.by_model(t, summary)]
    _points(axes, picks, "model's pick", "D", canvas.ORANGE)
    _best_so_far(axes, good, trials[-1].evaluation)
    failed = [t.evaluation for t in trials if not wording.measured(t)]
    if failed:
        axes.plot(
            failed,
            [0.03] * len(failed),
            "x",
            color=canvas.INK,
            markersize=6,
            transform=axes.get_xaxis_transform(),
            clip_on=False,
            label="failed",
        )
        axes.margins(y=0.12)
    axes.set_xlabel("evaluation")
    noun = canvas.label(goal_words.gain_noun(summary), 40)
    axes.set_ylabel(f"{noun} over the default\n(bars: 2 standard errors)")
    _evaluation_axis(axes, trials)
    canvas.legend(figure, axes, 5)
    return figure


def _points(axes: Any, trials: Sequence[TrialSummary], name: str, marker: str, colour: str) -> None:
    if not trials:
        return
    speedups = [_height(t) for t in trials]
    low, high = zip(*[_bar(t) for t in trials], strict=True)
    axes.errorbar(
        [t.evaluation for t in trials],
        speedups,
        yerr=(low, high),
        fmt=marker,
        color=colour,
        markersize=5,
        elinewidth=1,
        label=name,
    )


def _height(trial: TrialSummary) -> float:
    """No axis reaches the largest numbers, and nobody reads them from one."""
    return min(trial.speedup or 0.0, _LARGEST)


def _bar(trial: TrialSummary) -> tuple[float, float]:
    """Two standard errors of the logarithm, below and above, as lengths on the ratio."""
    spread, speedup = trial.spread, _height(trial)
    if spread is None or not math.isfinite(spread):
        return 0.0, 0.0
    # A bar that spans more than two octaves says "not known" as well as a longer one would.
    reach = 2.0 * min(abs(spread), 0.35)
    return speedup - speedup * math.exp(-reach), speedup * math.exp(reach) - speedup


def _best_so_far(axes: Any, good: Sequence[TrialSummary], last: int) -> None:
    steps: list[tuple[int, float]] = []
    for trial in [t for t in good if not t.broken] or good[:1]:
        best = max([_height(trial), *(height for _, height in steps[-1:])])
        steps.append((trial.evaluation, best))
    if steps:
        steps.append((max(last, steps[-1][0]), steps[-1][1]))
        x, y = zip(*steps, strict=True)
        axes.step(
            x, y, where="post", color=canvas.GREEN, linewidth=1.5, zorder=1.5, label="best so far"
        )


def _evaluation_axis(axes: Any, trials: Sequence[TrialSummary]) -> None:
    from matplotlib.ticker import MaxNLocator

    numbers = [t.evaluation for t in trials]
    axes.set_xlim(min(numbers) - 0.6, max(numbers) + 0.6)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.ticklabel_format(axis="y", useOffset=False, style="plain")


# --- rows of ratios: pairs and effects ------------------------------------------------------------


@dataclass(frozen=True)
class _Row:
    label: str
    values: tuple[float, ...]
    interval: tuple[float, float] | None = None
    heading: bool = False


def _pairs(summary: RunSummary) -> Any:
    cases = [case for case in summary.cases if _finite(case.ratios)]
    if not cases:
        return None
    rows = [
        _Row(
            canvas.label(case.key, _KEY_LENGTH),
            _finite(case.ratios),
            (case.low, case.high) if _finite((case.low, case.high))[1:] else None,
        )
        for case in cases
    ]
    return _rows(rows, "speed-up over the default, each pair", "pair")


def _effects(summary: RunSummary) -> Any:
    rows: list[_Row] = []
    for name, values, default in summary.space:
        rows += _effect(summary, name, values, default)
    noun = canvas.label(goal_words.gain_noun(summary), 40)
    return _rows(rows, f"{noun} over the default, each trial", "trial") if rows else None


def _effect(summary: RunSummary, name: str, values: Sequence[str], default: str) -> list[_Row]:
    """A heading and a row for each measured value; nothing where only one was measured."""
    by_value: dict[str, list[float]] = {value: [] for value in values}
    for trial in summary.trials:
        value = trial.config.values.get(name)
        if wording.measured(trial) and value in by_value:
            by_value[value].append(_height(trial))
    seen = {value: points for value, points in by_value.items() if points}
    if len(seen) < 2:
        return []
    most = sorted(seen, key=lambda value: (value != default, -len(seen[value])))[:_MOST_VALUES]
    left_out = len(seen) - len(most)
    title = canvas.label(name, _KEY_LENGTH)
    title += f" (+{left_out} values more)" if left_out else ""
    return [
        _Row(title, (), heading=True),
        *(
            _Row(canvas.label(value, 22) + ("*" if value == default else " "), tuple(points))
            for value, points in seen.items()
            if value in most
        ),
    ]


def _rows(rows: Sequence[_Row], xlabel: str, point: str) -> Any:
    shown = rows[:_MOST_ROWS]
    figure, axes = canvas.blank(1.0 + _ROW_IN * len(shown))
    headings = frozenset(place for place, row in enumerate(shown) if row.heading)
    canvas.row_labels(axes, [row.label for row in shown], headings)
    axes.axvline(1.0, color=canvas.GREY, linewidth=1, linestyle=(0, (4, 3)))
    points = [(v, place) for place, row in enumerate(shown) for v in row.values]
    x, y = zip(*points, strict=True)
    axes.plot(x, y, "o", color=canvas.BLUE, alpha=0.45, markersize=3.5, label=point)
    bars = [(*row.interval, place) for place, row in enumerate(shown) if row.interval]
    for number, (low, high, place) in enumerate(bars):
        name = "interval" if number == 0 else None
        axes.plot(
            (low, high), (place, place), color=canvas.ORANGE, linewidth=3, zorder=1.5, label=name
        )
    middles = [(median(row.values), place) for place, row in enumerate(shown) if row.values]
    x, y = zip(*middles, strict=True)
    axes.plot(x, y, "|", color=canvas.ORANGE, markersize=11, markeredgewidth=2, label="median")
    canvas.ratio_scale(axes, [value for value, _ in points])
    star = "; * default" if headings else ""
    axes.set_xlabel(xlabel + star + _left_out(len(rows) - len(shown)))
    canvas.legend(figure, axes)
    return figure


# --- variability ----------------------------------------------------------------------------------


def _variability(summary: RunSummary) -> Any:
    rows = [_cvs(case) for case in summary.cases]
    claim = summary.claim
    if claim is not None:
        if not summary.weighs:  # one program is its whole workload
            rows = []
        label = "whole workload" if summary.weighs else "processes"
        rows.insert(0, (label, claim.default_cv, claim.best_cv))
    known = [row for row in rows if len(_finite(row[1:], least=-1.0)) == 2]
    if not known:
        return None
    shown = known[:_MOST_ROWS]
    figure, axes = canvas.blank(1.0 + _ROW_IN * len(shown))
    canvas.row_labels(axes, [label for label, _, _ in shown], frozenset({0} if claim else ()))
    places = range(len(shown))
    before = [100.0 * cv for _, cv, _ in shown]
    after = [100.0 * cv for _, _, cv in shown]
    axes.hlines(places, before, after, color=canvas.GREY, linewidth=1.5, zorder=1)
    axes.plot(before, places, "o", color=canvas.BLUE, markerfacecolor=canvas.PAPER, label="default")
    name = "best" if wording.proven(summary) else "candidate"
    axes.plot(after, places, "D", color=canvas.ORANGE, markersize=5, label=name)
    axes.set_xlim(left=0)
    axes.locator_params(axis="x", nbins=6)
    axes.set_xlabel(
        "coefficient of variation of the process times (%)" + _left_out(len(known) - len(shown))
    )
    canvas.legend(figure, axes)
    return figure


def _cvs(case: CaseSummary) -> tuple[str, float, float]:
    return canvas.label(case.key, _KEY_LENGTH), case.default_cv, case.best_cv


# --- failures -------------------------------------------------------------------------------------


def _failures(summary: RunSummary) -> Any:
    groups = _failure_groups(summary)
    if not groups:
        return None
    shown = sorted(groups.items(), key=lambda group: (-len(group[1]), group[0]))[:_MOST_ROWS]
    figure, axes = canvas.blank(0.7 + 0.42 * len(shown))
    counts = [len(names) for _, names in shown]
    places = [place + 0.24 for place in range(len(shown))]
    axes.barh(places, counts, height=0.28, color=canvas.ORANGE)
    for place, (kind, names) in enumerate(shown):
        canvas.write(axes, 0, place - 0.2, _failure_label(kind, names), 7.5)
    axes.set_yticks([])
    axes.set_ylim(len(shown) - 0.45, -0.6)
    axes.set_xlim(0, max(counts) * 1.02)
    axes.spines["left"].set_visible(False)
    axes.grid(visible=False, axis="y")
    _count_axis(axes)
    axes.set_xlabel("number of values, trials and jobs" + _left_out(len(groups) - len(shown)))
    return figure


def _failure_groups(summary: RunSummary) -> dict[str, list[str]]:
    """What failed, by failure id: values of the space, trials, then what only the journal has."""
    groups: dict[str, list[str]] = {}
    for value in summary.infeasible:
        name = f"{value.param}={value.value}"
        if value.failure is not None:
            groups.setdefault(value.failure.id, []).append(name)
        else:
            groups.setdefault("alias: runs as another value", []).append(name)
    for trial in summary.trials:
        if trial.failure is not None:
            groups.setdefault(trial.failure.id, []).append(f"#{trial.evaluation}")
    for where, failure in wording.failures_beside_trials(summary):
        groups.setdefault(failure.id, []).append(where)
    return groups


def _failure_label(kind: str, names: Sequence[str]) -> str:
    """Kind, count and as many names as fit on the line."""
    room = 74
    text = f"{canvas.label(kind, 34)} ({len(names)}): "
    for place, name in enumerate(names):
        piece = ", " + canvas.label(name, 30) if place else canvas.label(name, room - 8 - len(text))
        if place and len(text) + len(piece) > room - 8:
            return f"{text}, +{len(names) - place}"
        text += piece
    return text


def _count_axis(axes: Any) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))


def _left_out(count: int) -> str:
    return f" ({count} rows more in the tables)" if count else ""


def _finite(values: Sequence[float], least: float = 0.0) -> tuple[float, ...]:
    """The values that can be drawn: finite, above `least`, below what an axis can hold."""
    return tuple(value for value in values if math.isfinite(value) and least < value < _LARGEST)
