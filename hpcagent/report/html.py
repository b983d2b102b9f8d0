"""report.html: one self-contained page, without scripts or anything from a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hpcagent.report import canvas, content, goal_words, wording
from hpcagent.report.document import (
    Block,
    Code,
    Details,
    Figure,
    Inline,
    Listing,
    Paragraph,
    Section,
    Source,
    Table,
)
from hpcagent.report.text import fresh_pairs
from hpcagent.study.summary import RunSummary
from hpcagent.templates import render_html

_TEMPLATE = Path(__file__).with_name("report.html.j2")


def page(summary: RunSummary, figures: Mapping[str, str]) -> str:
    """The report; `figures` maps a figure's name to its SVG text, as `figures.figures` gives it."""
    foot = f"hpcagent {summary.version}, run {summary.run_id}"
    title = content.title(summary)
    return document(title, _box(summary), foot, content.sections(summary), figures)


def document(
    title: str, box: Mapping[str, str], foot: str, sections: Sequence[Section],
    figures: Mapping[str, str],
) -> str:  # fmt: skip
    """Any sections as a page; `box` is what stands at the top: tone (plain or good), number, note.

    `figures` maps names to SVG texts that canvas.py drew: those alone go in as they are.
    """
    values = {
        "title": wording.visible(title),
        "box": {name: wording.visible(text) for name, text in box.items()},
        "foot": wording.visible(foot),
        "sections": [_section(section, figures) for section in sections],
    }
    return render_html(_TEMPLATE, values)


def _box(summary: RunSummary) -> dict[str, str]:
    """The figure at the top: only a confirmation puts a number there."""
    claim = summary.claim
    if claim is None:
        words = {"": "running", "nothing better": "no gain"}
        return {
            "tone": "plain",
            "number": words.get(summary.outcome, wording.visible(summary.outcome)),
            "note": "no confirmed improvement",
        }
    good = wording.proven(summary)
    led = goal_words.leading(summary, claim) if good else None
    gain, noun = (claim.speedup, _noun(summary)) if led is None else (led.gain, _of(led.name))
    figures = claim if led is None else led
    note = (
        f"{wording.coverage(claim.coverage)} interval "
        f"{wording.interval(figures.low, figures.high)}, "
        f"{fresh_pairs(claim)}"
    )
    return {
        "tone": "good" if good else "plain",
        "number": wording.ratio(gain),
        "note": f"{noun}, {note}" if good else f"{_why_not(summary)}: {note}",
    }


def _of(name: str) -> str:
    return f"gain in {wording.visible(name)} over the default"


def _why_not(summary: RunSummary) -> str:
    """Why the figure in the box is no result."""
    claim, goals = summary.claim, summary.goals
    if claim is not None and claim.partial:
        return f"shown by {len(claim.jobs)} of {claim.jobs_asked} jobs only, so not announced"
    if claim is not None and claim.improved and goals is not None and not goals.kept:
        return "not announced, for a constraint is not shown to be met"
    return "not an improvement"


def _noun(summary: RunSummary) -> str:
    if summary.goals is not None and summary.goals.rescued:
        return f"{goal_words.gain_noun(summary)}, within {', '.join(summary.goals.within)}"
    return f"{goal_words.gain_noun(summary)} over the default"


def _section(section: Section, figures: Mapping[str, str]) -> dict[str, Any]:
    return {"title": section.title, "blocks": _blocks(section.blocks, figures)}


def _blocks(blocks: Sequence[Block], figures: Mapping[str, str]) -> list[dict[str, Any]]:
    made = [_block(block, figures) for block in blocks]
    return [block for block in made if block]


def _block(block: Block, figures: Mapping[str, str]) -> dict[str, Any]:
    match block:
        case Paragraph(line):
            return {"kind": "paragraph", "line": _line(line)}
        case Listing(lines):
            return {"kind": "listing", "text": "\n".join(wording.visible(x) for x in lines)}
        case Table():
            return _table(block)
        case Source(text):
            rows = text.expandtabs(8).rstrip("\n").split("\n")
            return {"kind": "listing", "text": "\n".join(wording.visible(x) for x in rows)}
        case Details(line, blocks, shown):
            inner = _blocks(blocks, figures)
            return {"kind": "details", "line": _line(line), "blocks": inner, "open": shown}
        case Figure(name, caption):
            if name not in figures:
                return {}
            svg = canvas.inline(name, figures[name], caption)
            return {"kind": "figure", "svg": svg, "caption": caption}


def _table(table: Table) -> dict[str, Any]:
    numeric = [column in table.numeric for column in table.columns]
    rows = [
        [
            {"parts": _line((cell,)), "numeric": right}
            for cell, right in zip(row, numeric, strict=True)
        ]
        for row in table.rows
    ]
    heads = [{"text": c, "numeric": n} for c, n in zip(table.columns, numeric, strict=True)]
    return {"kind": "table", "heads": heads, "rows": rows}


def _line(parts: Sequence[Inline]) -> list[dict[str, Any]]:
    return [
        {"code": True, "text": wording.visible(part.text)}
        if isinstance(part, Code)
        else {"code": False, "text": wording.visible(part)}
        for part in parts
    ]
