"""The parts of a report between its content and its form: text, literals, tables, figures.

Markdown and HTML are two renderings of the same sections; each escapes every text itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Code:
    """A literal: a path, a unit, a value, the words of a log."""

    text: str


Inline = str | Code
Line = tuple[Inline, ...]


@dataclass(frozen=True)
class Paragraph:
    line: Line


@dataclass(frozen=True)
class Listing:
    """Commands or settings, one a line, to be copied."""

    lines: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """`numeric` names the columns whose cells are set flush right."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Inline, ...], ...]
    numeric: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Figure:
    """A place for the figure of this name; left out where the figure was not drawn."""

    name: str
    caption: str


@dataclass(frozen=True)
class Source:
    """A source file, or other text of several lines, as it is."""

    text: str
    language: str = ""


@dataclass(frozen=True)
class Details:
    """Blocks below a line; a page shows them when they are asked for."""

    line: Line
    blocks: tuple[Block, ...]
    open: bool = False


Block = Paragraph | Listing | Table | Figure | Source | Details


@dataclass(frozen=True)
class Section:
    title: str
    blocks: tuple[Block, ...]


def paragraph(*parts: Inline) -> Paragraph:
    return Paragraph(parts)


def table(
    columns: Sequence[str], rows: Sequence[tuple[Inline, ...]], numeric: Sequence[str] = ()
) -> Table:
    return Table(tuple(columns), tuple(rows), frozenset(numeric))
