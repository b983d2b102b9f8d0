"""The result of a plan: for a terminal, and as a page with the way to each step's own report."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from hpcagent.report import html, markdown, wording
from hpcagent.report.columns import labelled, wrapped
from hpcagent.report.document import Code, Figure, Line, Section, Table, paragraph, table
from hpcagent.report.plan_figure import CAPTION, TIMELINE, plan_figures
from hpcagent.report.plan_summary import DONE, UNDER_WAY, PlanSummary, StepSummary
from hpcagent.report.write import write_text
from hpcagent.study.plan import counted

_WIDEST, _NARROWEST = 80, 40
_ENDS = {"": "; the plan goes on", "cancelled": "; the plan was cancelled"}
_REPORTS = ("report.html", "report.md", "report.txt")


def publish_plan(summary: PlanSummary, result: Path) -> None:
    """Write report.md, report.html and the figure; EnvironmentProblem where the disk is full."""
    title = summary.title or f"Plan {summary.run_id}"
    parts, drawn = _sections(summary, result), plan_figures(summary)
    for name, svg in drawn.items():
        write_text(result / "figures" / f"{name}.svg", svg)
    paths = {name: f"figures/{name}.svg" for name in drawn}
    write_text(result / "report.md", markdown.page(title, parts, paths))
    foot = f"hpcagent {summary.version}, run {summary.run_id}"
    write_text(result / "report.html", html.document(title, _box(summary), foot, parts, drawn))


def _box(summary: PlanSummary) -> dict[str, str]:
    done = sum(step.state == DONE for step in summary.steps)
    return {
        "tone": "good" if summary.outcome == "done" else "plain",
        "number": f"{done} of {len(summary.steps)}",
        "note": f"steps done{_ENDS.get(summary.outcome, '')}",
    }


def headline(summary: PlanSummary) -> str:
    """One sentence: how it stands or ended."""
    if summary.outcome:
        return f"{summary.outcome}: {summary.outcome_text}"
    done = sum(step.state == DONE for step in summary.steps)
    under_way = [step for step in summary.steps if step.state == UNDER_WAY]
    out = [f"{step.name} ({step.told})" if step.told else step.name for step in under_way]
    words = f"{done} of {counted(len(summary.steps), 'step')} done"
    return f"{words}; under way: {'; '.join(out)}" if out else words


def terminal(summary: PlanSummary, width: int, folder: str) -> str:
    """The result in lines of at most `width` columns, and never more than 80."""
    columns = max(_NARROWEST, min(width, _WIDEST))
    first = summary.title or headline(summary)
    blocks = [wrapped(first, columns)]
    blocks += [_step(step, columns) for step in summary.steps]
    blocks.append(_end(summary, columns, folder))
    return "\n\n".join("\n".join(lines) for lines in blocks) + "\n"


def _step(step: StepSummary, columns: int) -> list[str]:
    head = f"{step.name} ({step.command}): {step.state}"
    if step.core_hours:
        head += f", {step.core_hours:.3g} core-hours"
    return [*wrapped(head, columns), *(f"  {line}" for line in wrapped(step.told, columns - 2))]


def _end(summary: PlanSummary, columns: int, folder: str) -> list[str]:
    lines = labelled("Plan", headline(summary), columns) if summary.title else []
    lines += labelled("Spent", f"{summary.core_hours:.3g} core-hours", columns)
    lines += labelled("In", folder, columns)
    if not summary.outcome:
        return lines + labelled("Next", f"hpcagent resume {shlex.quote(folder)}", columns)
    steps = shlex.quote(f"{folder}/steps/")
    lines += labelled("A step's", f"hpcagent report {steps}NAME", columns)
    return lines + labelled("Report", "result/report.html", columns)


# --- report.md -----------------------------------------------------------------------------------


def _sections(summary: PlanSummary, result: Path) -> tuple[Section, ...]:
    return (
        Section("Result", (paragraph(headline(summary)),)),
        Section("Steps", (_steps(summary), Figure(TIMELINE, CAPTION))),
        *(_one(step, result) for step in summary.steps),
        Section("From", (paragraph("The plan was read from ", Code(summary.file), "."),)),
    )


def _steps(summary: PlanSummary) -> Table:
    rows: list[Line] = [
        (step.name, step.command, step.state, step.outcome or wording.NONE,
         f"{step.core_hours:.3g}", _moment(step.created_utc), _moment(step.closed_utc))
        for step in summary.steps
    ]  # fmt: skip
    columns = ("Step", "Command", "State", "Outcome", "Core-hours", "Begun (UTC)", "Ended (UTC)")
    return table(columns, rows, ("Core-hours",))


def _moment(utc: str) -> str:
    return utc[:16].replace("T", " ") or wording.NONE


def _one(step: StepSummary, result: Path) -> Section:
    command = shlex.join(["hpcagent", step.command, *step.words])
    blocks = [paragraph(Code(command))]
    blocks += [paragraph(step.told)] if step.told else []
    reports = [Path(step.run) / "result" / name for name in _REPORTS] if step.run else []
    there = next((path for path in reports if path.exists()), None)
    if there is not None:
        blocks.append(paragraph("Its report: ", Code(os.path.relpath(there, result))))
    return Section(f"{step.name}: {step.state}", tuple(blocks))
