"""Text in the columns of a terminal: filled lines, labels, tables."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from hpcagent.report import wording


def columns_of(text: str) -> int:
    """Terminal columns that printable text takes: wide East Asian characters take two."""
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


@dataclass(frozen=True)
class Column:
    """A column of a table in a terminal; the first one of a table is set flush left."""

    title: str
    cells: tuple[str, ...]
    rank: int  # the highest is left out first where the terminal is narrow

    @property
    def width(self) -> int:
        return max(columns_of(text) for text in (self.title, *self.cells))


def laid_out(shown: Sequence[Column], columns: int) -> list[str]:
    """A table in lines of at most so many columns; what is ranked highest is left out first."""
    shown = list(shown)
    while len(shown) > 2 and _total(shown) > columns:
        worst = max(shown, key=lambda column: column.rank)
        shown = [column for column in shown if column is not worst]
    rows = zip(*[(column.title, *column.cells) for column in shown], strict=True)
    widths = [column.width for column in shown]
    return [fit(_row(row, widths), columns) for row in rows]


def _total(shown: Sequence[Column]) -> int:
    return sum(column.width for column in shown) + len(shown) - 1


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [
        cell + _pad(cell, width) if place == 0 else _pad(cell, width) + cell
        for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return " ".join(padded).rstrip()


def _pad(cell: str, width: int) -> str:
    return " " * (width - columns_of(cell))


def labelled(label: str, text: str, columns: int) -> list[str]:
    """Text filled into lines beside a label."""
    indent = 13
    lines = wrapped(text, columns - indent)
    return [
        f"{label if place == 0 else '':<{indent}}{line}".rstrip()
        for place, line in enumerate(lines or [""])
    ]


# A blank in front of %, and what stands for it while lines are filled: `visible` leaves none of it.
_NUMBER_ALONE, _GLUE = re.compile(r"(?<=[0-9]) (?=%)"), "\0"


def wrapped(text: str, columns: int) -> list[str]:
    """Words filled into lines, a number and its % on one; a word longer than a line is cut, nothing
    is lost."""
    lines: list[str] = []
    line = ""
    for word in _NUMBER_ALONE.sub(_GLUE, wording.visible(text)).split(" "):
        rest = word.replace(_GLUE, " ")
        if line and columns_of(line) + 1 + columns_of(rest) <= columns:
            line += " " + rest
            continue
        if line:
            lines.append(line)
        while columns_of(rest) > columns:
            piece = _head(rest, columns)
            lines.append(piece)
            rest = rest[len(piece) :]
        line = rest
    return [*lines, line] if line else lines


def fit(text: str, columns: int) -> str:
    return text if columns_of(text) <= columns else _head(text, columns)


def _head(text: str, columns: int) -> str:
    while columns_of(text) > columns:
        text = text[:-1]
    return text
