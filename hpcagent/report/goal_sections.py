"""The section of a report on objectives, constraints and the trade-off between them."""

from __future__ import annotations

from hpcagent.report import goal_words, wording
from hpcagent.report.document import Block, Code, Figure, Line, Section, paragraph, table
from hpcagent.study.summary import GoalsSummary, PointSummary, RunSummary


def goals(summary: RunSummary) -> tuple[Section, ...]:
    """One section; none where a run was for time alone."""
    found = summary.goals
    if found is None:
        return ()
    blocks: list[Block] = [paragraph("The run was for ", goal_words.goal(found), ".")]
    if found.price:
        blocks.append(paragraph("Price: ", found.price, "."))
    blocks += _claims(found) + _bounds(found) + _trade_off(summary, found)
    return (Section("What it was for", tuple(blocks)),)


def _claims(found: GoalsSummary) -> list[Block]:
    if not found.claims:
        return []
    numeric = ("Default", "Candidate", "Gain", "Interval")
    rows: list[Line] = [goal_words.claim_cells(each) for each in found.claims]
    covers = wording.coverage(min(each.coverage for each in found.claims))
    note = (
        "From the confirmation. A gain above one is better, whichever way the figure goes. Each "
        f"interval covers with {covers}; "
    )
    note += (
        "the objectives share the probability of a false claim, each having its part of it."
        if len(found.claims) > 1
        else "that of a cv covers about so, and less for heavy-tailed times."
        if not found.claims[0].exact
        else "its claim is that of the whole run."
    )
    return [table(("Objective", *numeric, "Proven"), rows, numeric), paragraph(note)]


def _bounds(found: GoalsSummary) -> list[Block]:
    if not found.bounds:
        return [] if not found.within else [paragraph("No constraint was confirmed.")]
    rows: list[Line] = [(Code(each.text), goal_words.bound(each)) for each in found.bounds]
    note = (
        "A constraint is met where the fresh pairs show it: the upper bound is below it (for "
        "memory: the largest of any process). Of a cv the bound is about right, and less so for "
        "heavy-tailed times."
    )
    return [table(("Constraint", "In the confirmation"), rows), paragraph(note)]


def _trade_off(summary: RunSummary, found: GoalsSummary) -> list[Block]:
    if not found.points:
        return []
    names = tuple(name for name, _, _ in found.objectives)
    numeric = ("No.", *names)
    ordered = sorted(found.points, key=_order)
    rows: list[Line] = [_point(point, summary) for point in ordered]
    blocks: list[Block] = []
    if len(names) > 1:
        blocks.append(
            paragraph(
                "The front: configurations that no other beats in every objective. Differences "
                "within one standard error of the default, or below the minimum effect, count as "
                "none. Gains are estimates of the search with two standard errors on each side."
            )
        )
        blocks.append(
            Figure(
                "pareto",
                "The trade-off between the first two objectives (bars: 2 standard errors).",
            )
        )
    blocks.append(table((*numeric, "Standing", "Settings changed"), rows, numeric))
    if found.reason:
        blocks.append(paragraph("Recommended: ", found.reason, "."))
    return blocks


def _order(point: PointSummary) -> tuple[bool, bool, float]:
    return not point.recommended, not point.front, -point.gains[0]


def _point(point: PointSummary, summary: RunSummary) -> Line:
    gains = (
        f"{wording.ratio(gain)} ({wording.interval(low, high)})"
        for gain, low, high in zip(point.gains, point.lows, point.highs, strict=True)
    )
    settings = wording.shorten(wording.differences(point.config, summary), 300)
    return str(point.evaluation), *gains, goal_words.standing(point), Code(settings)
