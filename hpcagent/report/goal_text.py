"""Objectives and constraints on the terminal's page."""

from __future__ import annotations

from collections.abc import Sequence

from hpcagent.report import goal_words, wording
from hpcagent.report.columns import Column, fit, labelled, laid_out, wrapped
from hpcagent.study.summary import GoalsSummary, PointSummary, RunSummary

_MOST_POINTS = 12


def goals(summary: RunSummary, columns: int) -> list[str]:
    """What the run was for, and what the confirmation showed of it; nothing for time alone."""
    found = summary.goals
    if found is None:
        return []
    lines = labelled("Goal", goal_words.goal(found), columns)
    if found.price:
        lines += labelled("Price", found.price, columns)
    for each in found.bounds:
        lines += labelled(wording.middle(each.text, 12), goal_words.bound(each), columns)
    if found.claims and (len(found.objectives) > 1 or found.objectives[0][0] != goal_words.TIME):
        lines += ["", *_claims(summary, found, columns)]
    return lines


def _claims(summary: RunSummary, found: GoalsSummary, columns: int) -> list[str]:
    rows = [goal_words.claim_cells(each) for each in found.claims]
    other = "best" if wording.proven(summary) else "candidate"
    heads = ("objective", "default", other, "gain", "interval", "")
    cells = zip(*rows, strict=True)
    ranks = (0, 3, 2, 1, 4, 5)
    shown = [
        Column(head, tuple(c), rank) for head, c, rank in zip(heads, cells, ranks, strict=True)
    ]
    return laid_out(shown, columns)


def trade_off(summary: RunSummary, columns: int) -> list[str]:
    """The front of a run with several objectives, the recommended point marked by a star."""
    found = summary.goals
    if found is None or len(found.objectives) < 2 or not found.points:
        return []
    front = [p for p in found.points if p.front or p.recommended][:_MOST_POINTS]
    names = [name for name, _, _ in found.objectives]
    shown = [Column("front", tuple(_name(point) for point in front), 0)]
    for place, name in enumerate(names):
        cells = tuple(wording.ratio(point.gains[place]) for point in front)
        shown.append(Column(wording.visible(name), cells, 1 + place))
    lines = laid_out(shown, columns)
    lines = [_beside(line, text, columns) for line, text in
             zip(lines, ["settings", *_settings(summary, front)], strict=True)]  # fmt: skip
    left = len(found.points) - len(front)
    more = f"; {left} more in the report" if left else ""
    lines += wrapped(f"(gains over the default, as the search saw them{more})", columns)
    if found.reason:
        lines += labelled("* is", found.reason, columns)
    return lines


def _name(point: PointSummary) -> str:
    return f"#{point.evaluation}" + ("*" if point.recommended else "")


def _settings(summary: RunSummary, points: Sequence[PointSummary]) -> list[str]:
    return [wording.visible(wording.differences(point.config, summary)) for point in points]


def _beside(line: str, text: str, columns: int) -> str:
    room = columns - len(line) - 2
    return line if room < 8 else f"{line}  {fit(wording.middle(text, room), room)}"
