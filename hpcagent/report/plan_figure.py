"""The figure of a plan: when the jobs of each step waited and ran."""

from __future__ import annotations

from typing import Any

from hpcagent.report import canvas
from hpcagent.report.plan_summary import PlanSummary, StepSummary

TIMELINE = "timeline"
CAPTION = "When the jobs of each step waited in the queue and ran, since the plan was begun"
_MOST_ROWS, _ROW_IN, _NAME = 60, 0.3, 28
# (name, seconds): the largest that fits at least twice is the unit of the axis.
_UNITS = (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0), ("seconds", 1.0))
_QUEUED, _RAN = "in the queue", "running"


def plan_figures(summary: PlanSummary) -> dict[str, str]:
    """SVG text by name; nothing before the first job has ended."""
    rows = [step for step in summary.steps if step.spans][:_MOST_ROWS]
    if not rows:
        return {}
    with canvas.style(TIMELINE):
        return {TIMELINE: canvas.save(_timeline(rows))}


def _timeline(rows: list[StepSummary]) -> Any:
    last = max(span.start + span.queued + span.ran for step in rows for span in step.spans)
    unit, seconds = next((u for u in _UNITS if last >= 2 * u[1]), _UNITS[-1])
    figure, axes = canvas.blank(0.9 + _ROW_IN * len(rows))
    for row, step in enumerate(rows):
        waits = [(span.start / seconds, span.queued / seconds) for span in step.spans]
        runs = [((s.start + s.queued) / seconds, s.ran / seconds) for s in step.spans]
        first = row == 0
        axes.broken_barh(waits, (row - 0.12, 0.24), facecolor=canvas.GRID,
                         label=_QUEUED if first else None)  # fmt: skip
        axes.broken_barh(runs, (row - 0.31, 0.62), facecolor=canvas.BLUE, edgecolor=canvas.PAPER,
                         linewidth=0.4, label=_RAN if first else None)  # fmt: skip
    canvas.row_labels(axes, [canvas.label(f"{s.name} ({s.command})", _NAME) for s in rows])
    axes.set_xlim(left=0)
    axes.set_xlabel(f"{unit} since the plan was begun")
    canvas.legend(figure, axes, 2)
    return figure
