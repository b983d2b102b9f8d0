"""report.md: the sections as Markdown (CommonMark with the tables of GitHub).

Text from outside is shown, never interpreted: markup characters are escaped by a backslash or an
entity (CommonMark 0.31, 2.4 and 2.5: neither can start a structure).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from hpcagent.report import content, wording
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
from hpcagent.study.summary import RunSummary

_ENTITIES = {
    "&": "&amp;",
    "<": "&lt;",
    ">": "&gt;",
    "|": "&#124;",  # a backslash before it means different things to different table parsers
    "$": "&#36;",  # GitHub sets what stands between two of them as mathematics
    "@": "&#64;",
}
_BACKSLASH = re.compile(r"([\\`*\[\]~#])")
_UNDERSCORE = re.compile(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
_LINK = re.compile(r"(?i)(?<=:)//|(?<=www)\.")
_AT_START = re.compile(r"^[-+=:]|^\d(?=\d*[.)](?: |$))")


def markdown(summary: RunSummary, figures: Mapping[str, str]) -> str:
    """The report; `figures` maps a figure's name to its path relative to report.md."""
    return page(content.title(summary), content.sections(summary), figures)


def page(title: str, sections: Sequence[Section], figures: Mapping[str, str]) -> str:
    """Any sections below a title."""
    parts = [f"# {_text(title)}", *(_section(section, figures) for section in sections)]
    return "\n\n".join(parts) + "\n"


def _section(section: Section, figures: Mapping[str, str]) -> str:
    blocks = [_block(block, figures) for block in section.blocks]
    return "\n\n".join([f"## {_text(section.title)}", *(text for text in blocks if text)])


def _block(block: Block, figures: Mapping[str, str]) -> str:
    match block:
        case Paragraph(line):
            return _start(_line(line))
        case Listing(lines):
            return _fenced([wording.visible(line) for line in lines])
        case Table():
            return _table(block)
        case Source(text, language):
            rows = text.expandtabs(8).rstrip("\n").split("\n")
            return _fenced([wording.visible(row) for row in rows], language or "text")
        case Details():
            return _details(block, figures, f"### {_line(block.line)}")
        case Figure(name, caption):
            return f"![{_text(caption)}]({figures[name]})" if name in figures else ""


def _details(details: Details, figures: Mapping[str, str], head: str) -> str:
    """Within others the line is no heading, so that a list of contents stays short."""
    inner = [
        _details(one, figures, f"{_start(_line(one.line))}:")
        if isinstance(one, Details)
        else _block(one, figures)
        for one in details.blocks
    ]
    return "\n\n".join([head, *(text for text in inner if text)])


def _table(table: Table) -> str:
    marks = ["---:" if column in table.numeric else "---" for column in table.columns]
    rows = [[_text(column) for column in table.columns], marks]
    rows += [[_inline(cell) or wording.NONE for cell in row] for row in table.rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _line(parts: Sequence[Inline]) -> str:
    return "".join(_inline(part) for part in parts)


def _inline(part: Inline) -> str:
    return _code(part.text) if isinstance(part, Code) else _text(part)


def _code(text: str) -> str:
    """A code span; text that one cannot hold in a table of every dialect is escaped instead."""
    shown = wording.visible(text)
    if not shown.strip() or "`" in shown or "|" in shown or shown != shown.strip():
        return _text(shown)
    return f"`{shown}`"


def _text(text: str) -> str:
    shown = _BACKSLASH.sub(r"\\\1", wording.visible(text))
    shown = "".join(_ENTITIES.get(char, char) for char in shown)
    shown = _UNDERSCORE.sub(r"\\_", shown)
    return _LINK.sub(lambda found: "".join(f"&#{ord(char)};" for char in found.group()), shown)


def _start(text: str) -> str:
    """Text at the start of a block, where a dash or a number would open a list or a heading."""
    return _AT_START.sub(lambda found: f"&#{ord(found.group())};", text.lstrip(" "))


def _fenced(lines: Sequence[str], language: str = "text") -> str:
    longest = max((len(run) for line in lines for run in re.findall("`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    return "\n".join([f"{fence}{language}", *lines, fence])
