"""What the doctor found, as plain text for a terminal of up to 80 columns."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hpcagent.report.columns import columns_of, wrapped
from hpcagent.report.wording import middle, plural, shorten, visible
from hpcagent.toolchain.agentchecks import AgentCheck
from hpcagent.toolchain.candidates import LeftOut
from hpcagent.toolchain.causes import Finding
from hpcagent.toolchain.verdict import (
    COLUMNS,
    DOUBTFUL,
    FAILED,
    OK,
    SKIPPED,
    CellVerdict,
    DoctorResult,
    RowVerdict,
)

_WIDEST, _NARROWEST = 80, 40
_TITLES = {"c": "C", "c++": "C++", "fortran": "Ftn", "OpenMP": "OMP", "MPI": "MPI", "BLAS": "BLAS"}
_MARKS = {OK: "ok", DOUBTFUL: "(ok)", FAILED: "FAIL", SKIPPED: "?"}
_COLUMN = 4
_LEAST_ROOM = 16
_SHOWN_CELLS = 2
_SHOWN_RANKS = 5
_EVIDENCE = 320


def doctor_text(result: DoctorResult, width: int = 80) -> str:
    """The matrix, what is wrong with each cell and its cure, the toolchains to take, and what is
    not there; lines of at most `width` columns, and never more than 80."""
    columns = max(_NARROWEST, min(width, _WIDEST))
    parts = [
        wrapped(_headline(result), columns),
        _matrix(result.rows, columns),
        _troubles(result, columns),
        _ranking(result, columns),
        _agent(result.agent, columns),
        _pairs("Not there", result.absent, columns),
        _pairs("Not tried", result.left_out, columns),
    ]
    return "\n\n".join("\n".join(lines) for lines in parts if lines) + "\n"


def _headline(result: DoctorResult) -> str:
    usable, count = len(result.usable), len(result.rows)
    words = f"{usable} of {plural(count, 'toolchain')} can be used on {result.host}"
    failed = sum(cell.status == FAILED for cell in result.cells)
    doubtful = sum(cell.status == DOUBTFUL for cell in result.cells)
    untried = sum(cell.status == SKIPPED for cell in result.cells)
    words += f": {plural(len(result.cells), 'program')}, {failed} failed, {doubtful} with a doubt"
    words += f", {untried} not tried" if untried else ""
    return words + (f" (unfinished: {result.unfinished})." if result.unfinished else ".")


# --- the matrix ----------------------------------------------------------------------------------


def _matrix(rows: Sequence[RowVerdict], columns: int) -> list[str]:
    if not rows:
        return []
    names = [name for name in COLUMNS if any(name in row.columns for row in rows)]
    room = columns - (_COLUMN + 1) * len(names)
    lines = _line("toolchain", [_TITLES.get(name, name) for name in names], room)
    for row, label in zip(rows, _names(rows), strict=True):
        marks = [_MARKS[row.columns[n]] if n in row.columns else "-" for n in names]
        lines += _line(visible(label), marks, room)
    note = "(ok): works, with a doubt told below; -: none there; all: OpenMP, MPI and BLAS in one"
    return [*lines, *wrapped(note, columns)]


def _line(label: str, marks: Sequence[str], room: int) -> list[str]:
    """A label and what stands right of it; below it where it leaves no room for labels."""
    told = "".join(f" {mark:>{_COLUMN}}" for mark in marks)
    if room < _LEAST_ROOM:
        return [*wrapped(label, len(told)), told]
    shown = middle(label, room)
    return [shown + " " * (room - columns_of(shown)) + told]


def _names(rows: Sequence[RowVerdict]) -> list[str]:
    """The rows' labels, without the versions where these tell nothing apart."""
    columns = [_without_versions(parts) for parts in zip(*(r.parts for r in rows), strict=True)]
    return [", ".join(filter(None, words)) for words in zip(*columns, strict=True)]


def _without_versions(labels: Sequence[str]) -> list[str]:
    bare = [re.sub(r" [0-9][^ ]*", "", label) for label in labels]
    told_apart = len(set(bare)) == len(set(labels))
    return bare if told_apart else list(labels)


# --- what is wrong -------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Trouble:
    """One finding, or several that tell the same, with the programs that have it."""

    finding: Finding
    cells: tuple[CellVerdict, ...]


def _grouped(cells: Iterable[CellVerdict]) -> list[_Trouble]:
    """The same trouble of several programs is told once; grave ones come first."""
    found: dict[tuple[str, str, bool], tuple[Finding, list[CellVerdict]]] = {}
    for cell in cells:
        for finding in cell.findings:
            key = (finding.failure.id, finding.cure, finding.grave)
            found.setdefault(key, (finding, []))[1].append(cell)
    troubles = [_Trouble(finding, tuple(those)) for finding, those in found.values()]
    return sorted(troubles, key=lambda trouble: not trouble.finding.grave)


def _troubles(result: DoctorResult, columns: int) -> list[str]:
    troubles = [_Trouble(finding, ()) for finding in result.findings]
    troubles += _grouped(result.cells)
    lines: list[str] = []
    for trouble in troubles:
        lines += ["", *_trouble(trouble, columns)] if lines else _trouble(trouble, columns)
    return lines


def _trouble(trouble: _Trouble, columns: int) -> list[str]:
    failure = trouble.finding.failure
    mark = "FAIL" if trouble.finding.grave else "doubt"
    shown = ", ".join(cell.label for cell in trouble.cells[:_SHOWN_CELLS])
    more = len(trouble.cells) - _SHOWN_CELLS
    shown += f" and {more} more" if more > 0 else ""
    lines = wrapped(f"{mark} {failure.id}" + (f": {shown}" if shown else ""), columns)
    lines += _labelled("saw", shorten(visible(failure.evidence), _EVIDENCE), columns)
    lines += _labelled("cure", trouble.finding.cure, columns)
    log = trouble.cells[0].log if trouble.cells and trouble.finding.grave else ""
    return lines + (_labelled("log", log, columns) if log else [])


def _labelled(label: str, text: str, columns: int) -> list[str]:
    indent = 9
    lines = wrapped(text, columns - indent) or [""]
    heads = [f"    {label}", *[""] * (len(lines) - 1)]
    return [f"{head:<{indent}}{line}".rstrip() for head, line in zip(heads, lines, strict=True)]


# --- what to take --------------------------------------------------------------------------------


def _ranking(result: DoctorResult, columns: int) -> list[str]:
    usable = result.usable
    if not usable:
        return wrapped("No toolchain can be used as it is.", columns) if result.rows else []
    lines = ["Take, the best first"]
    for row in usable[:_SHOWN_RANKS]:
        lines += _item(f"{row.rank}.", f"{row.label}: {'; '.join(row.reasons)}", columns)
    rest = len(usable) - _SHOWN_RANKS
    if rest > 0:
        lines += _item("", f"and {rest} more (--json lists all)", columns)
    return lines


def _agent(checks: Sequence[AgentCheck], columns: int) -> list[str]:
    """What an agent needs, a line each, with the cure of what it has not."""
    lines = ["An agent's needs"] if checks else []
    for check in checks:
        mark = {OK: "ok", DOUBTFUL: "doubt", FAILED: "FAIL"}[check.status]
        told = wrapped(f"{check.what}: {visible(check.words)}", columns - 8)
        lines += [f"  {mark if n == 0 else '':<5} {line}" for n, line in enumerate(told)]
        lines += _labelled("cure", check.cure, columns) if check.cure else []
    return lines


def _pairs(title: str, pairs: Sequence[LeftOut], columns: int) -> list[str]:
    if not pairs:
        return []
    told = [line for pair in pairs for line in _item("-", f"{pair.what}: {pair.why}", columns)]
    return [title, *told]


def _item(mark: str, text: str, columns: int) -> list[str]:
    lines = wrapped(text, columns - 5)
    return [f"{mark if place == 0 else '':>4} {line}" for place, line in enumerate(lines)]
