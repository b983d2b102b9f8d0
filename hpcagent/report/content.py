"""The order of a report's sections, the same for every form."""

from __future__ import annotations

from hpcagent.report import builds, facts, goal_sections
from hpcagent.report import sections as parts
from hpcagent.report.document import Section
from hpcagent.study.summary import RunSummary


def title(summary: RunSummary) -> str:
    return f"{summary.app}: tuning run {summary.run_id}"


def sections(summary: RunSummary) -> tuple[Section, ...]:
    return (
        parts.result(summary),
        *goal_sections.goals(summary),
        parts.certainty(summary),
        parts.routines(summary),
        parts.variability(summary),
        parts.tried(summary),
        *builds.builds(summary),
        parts.failed(summary),
        facts.model(summary),
        facts.machine_and_library(summary),
        facts.space(summary),
        facts.budget(summary),
        facts.reproduce(summary),
        facts.files(summary),
    )
