"""What a probe found, as a page for a terminal of up to 80 columns and as JSON.

A page is sections of rows; each row ends in where it is from ("[lscpu]"), and how surely it is
known where the source does not simply state it ("[derived: archspec]").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from hpcagent.probe.node import SECTIONS, STATED, Fact, FileSystem, NodeFacts
from hpcagent.records import Machine
from hpcagent.report import probe_words, wording
from hpcagent.report.columns import columns_of, wrapped

_INDENT = 2
_LABEL_COLUMNS = 24
_WIDEST, _NARROWEST = 80, 50


@dataclass(frozen=True)
class Row:
    """One line of a section, or several; `origin` is set flush right, in brackets."""

    label: str
    lines: tuple[str, ...]
    origin: str = ""


@dataclass(frozen=True)
class ProbeSection:
    title: str
    rows: tuple[Row, ...]


def plain(text: str) -> str:
    return text


def probe_sections(node: NodeFacts) -> tuple[ProbeSection, ...]:
    """The facts in order of their sections, then why others are not known."""
    sections = []
    for title in SECTIONS:
        rows = tuple(row for fact in node.facts if fact.section == title for row in _rows(fact))
        if rows:
            sections.append(ProbeSection(title, rows))
    unknown = _unknown(node)
    return (*sections, ProbeSection("Not known", unknown)) if unknown else tuple(sections)


def probe_page(
    title: str,
    sections: Sequence[ProbeSection],
    columns: int,
    dim: Callable[[str], str] = plain,
    bold: Callable[[str], str] = plain,
) -> str:
    """The page; `dim` and `bold` style text for a terminal that can (they must not change its
    width). Lines are at most `columns` and never more than 80 wide."""
    width = max(_NARROWEST, min(columns, _WIDEST))
    head = map(bold, wrapped(title, width))
    return "\n".join([*head, *page_lines(sections, width, dim, bold)]) + "\n"


def page_lines(
    sections: Sequence[ProbeSection],
    columns: int,
    dim: Callable[[str], str] = plain,
    bold: Callable[[str], str] = plain,
) -> list[str]:
    """The lines of sections, an empty one before each."""
    width = max(_NARROWEST, min(columns, _WIDEST))
    lines = []
    for section in sections:
        lines += ["", bold(section.title)]
        for row in section.rows:
            lines += _laid_out(row, width, dim)
    return lines


def probe_title(machine: Machine, collected_utc: str, now: datetime | None = None) -> str:
    """ "node1, Intel Xeon ..., probed 2026-01-31T12:00:00Z (3 min 5 s ago)"."""
    age = age_s(collected_utc, now or datetime.now(UTC))
    ago = "" if age is None else f" ({wording.duration(age)} ago)"
    when = f", probed {collected_utc}{ago}" if collected_utc else ""
    return f"{machine.host}, {machine.cpu_model}{when}"


def age_s(collected_utc: str, now: datetime) -> float | None:
    """Seconds since the facts were collected; None where their date cannot be read."""
    try:
        then = datetime.strptime(collected_utc, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None
    return max(0.0, (now - then).total_seconds())


def probe_json(
    machine: Machine, node: NodeFacts, digest: str, collected_utc: str
) -> dict[str, Any]:
    """JSON values: every fact with its value, unit, source, confidence and note; sizes in bytes."""
    return {
        "schema": 1,
        "host": machine.host,
        "digest": digest,
        "collected_utc": collected_utc,
        "machine": asdict(machine),
        "facts": [asdict(fact) for fact in node.facts],
        "absent": [asdict(item) for item in node.absent],
    }


def _unknown(node: NodeFacts) -> tuple[Row, ...]:
    """Facts that are absent for one reason share a row."""
    names: dict[str, list[str]] = {}
    for item in node.absent:
        names.setdefault(item.why, []).append(probe_words.label(item.name))
    return tuple(Row(", ".join(labels), (why,)) for why, labels in names.items())


def _rows(fact: Fact) -> tuple[Row, ...]:
    """One row; of folders one each."""
    lines = probe_words.lines_of(fact)
    if fact.note:
        lines = (*lines[:-1], f"{lines[-1]} ({fact.note})")
    source = probe_words.short_source(fact.source)
    origin = source if fact.confidence == STATED else f"{fact.confidence}: {source}"
    if isinstance(fact.value, tuple) and all(isinstance(x, FileSystem) for x in fact.value):
        pairs = [line.split(": ", 1) for line in lines]
        rows = [Row(pair[0], (pair[-1],)) for pair in pairs]
        return (*rows[:-1], replace(rows[-1], origin=origin))
    return (Row(probe_words.label(fact.name), lines, origin),)


def _laid_out(row: Row, width: int, dim: Callable[[str], str]) -> list[str]:
    room = width - _INDENT - _LABEL_COLUMNS
    texts = [part for line in row.lines for part in _hanging(line, room)] or [""]
    heads = [*wrapped(row.label, _LABEL_COLUMNS - 1), *[""] * len(texts)]
    texts += [""] * (sum(1 for head in heads if head) - len(texts))
    lines = [
        f"{'':<{_INDENT}}{head}{'':<{_LABEL_COLUMNS - columns_of(head)}}{text}".rstrip()
        for head, text in zip(heads, texts, strict=False)
    ]
    if not row.origin:
        return lines
    origin = f"[{wording.visible(row.origin)}]"
    used, taken = columns_of(lines[-1]), columns_of(origin)
    if used + 1 + taken <= width:
        lines[-1] += " " * (width - used - taken) + dim(origin)
    else:
        lines.append(" " * max(0, width - taken) + dim(origin))
    return lines


def _hanging(text: str, room: int) -> list[str]:
    """Filled into lines; all but the first are set in by two columns."""
    first, *_ = wrapped(text, room) or [""]
    rest = wording.visible(text)[len(first) :].lstrip(" ")
    return [first, *(f"  {line}" for line in wrapped(rest, room - 2))] if rest else [first]
