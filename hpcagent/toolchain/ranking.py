"""Toolchains in the order in which to take them, each with its reasons. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hpcagent.probe.software import Software
from hpcagent.records import Machine
from hpcagent.toolchain.absences import absences
from hpcagent.toolchain.agentchecks import AgentAsks, Site, judge_agent
from hpcagent.toolchain.cellspec import DoctorPlan
from hpcagent.toolchain.checks import newer_than
from hpcagent.toolchain.matrix import Row
from hpcagent.toolchain.verdict import (
    COLUMNS,
    DOUBTFUL,
    FAILED,
    OK,
    SKIPPED,
    CellVerdict,
    DoctorResult,
    RowVerdict,
    judge_cells,
    row_columns,
)

# Netlib's BLAS is what others are compared with: not blocked, not vectorised by hand.
_SLOW_BLAS = ("reference",)
_COLUMN_WORDS = {"c": "C", "c++": "C++", "fortran": "Fortran", "all": "OpenMP + MPI + BLAS in one"}


def judge(
    plan: DoctorPlan,
    software: Software,
    machine: Machine,
    results: Iterable[Mapping[str, Any]],
    *,
    login: Machine | None = None,
    asks: AgentAsks | None = None,
    site: Site | None = None,
    built_on: str = "",
    unfinished: str = "",
) -> DoctorResult:
    """What the doctor found; `login` is the machine where users build, if it is another one, `asks`
    what the plan was made with, `built_on` the host that built the programs where it is not the one
    that ran them, `unfinished` says why the unit ended early."""
    results = tuple(results)
    cells = judge_cells(plan, machine, results, built_on)
    by_id = {cell.id: cell for cell in cells}
    newer = newer_than(login.features, login.host, machine) if login is not None else None
    return DoctorResult(
        machine.host,
        ranked(plan.matrix.rows, by_id),
        cells,
        (newer,) if newer is not None else (),
        absences(software, plan.matrix),
        plan.matrix.left_out,
        judge_agent(asks, results, site) if asks is not None else (),
        unfinished,
    )


def ranked(rows: Sequence[Row], verdicts: Mapping[str, CellVerdict]) -> tuple[RowVerdict, ...]:
    """Rows in the order of the matrix, the usable ones numbered from the best.

    Usable: no cell failed and one is ok. Better: more languages, MPI and BLAS there, fewer doubts,
    a BLAS that is not the reference one; then the order of the matrix.
    """
    columns = [row_columns(row, verdicts) for row in rows]
    places = sorted(
        (place for place in range(len(rows)) if _usable(columns[place])),
        key=lambda place: (_worth(rows[place], columns[place], verdicts), place),
    )
    ranks = {place: number for number, place in enumerate(places, start=1)}
    return tuple(
        RowVerdict(
            row.label,
            row.parts,
            columns[place],
            dict(row.cells),
            ranks.get(place, 0),
            tuple(_reasons(row, columns[place], verdicts)),
        )
        for place, row in enumerate(rows)
    )


def _usable(columns: Mapping[str, str]) -> bool:
    statuses = set(columns.values())
    return FAILED not in statuses and bool(statuses & {OK, DOUBTFUL})


def _worth(
    row: Row, columns: Mapping[str, str], verdicts: Mapping[str, CellVerdict]
) -> tuple[int, ...]:
    """Smaller is better."""
    absent = len([column for column in COLUMNS if columns.get(column, SKIPPED) == SKIPPED])
    slow = row.blas is not None and row.blas.family in _SLOW_BLAS
    return (absent, int(slow), len(doubts(row, verdicts)))


def doubts(row: Row, verdicts: Mapping[str, CellVerdict]) -> tuple[str, ...]:
    """The ids of what its cells are doubtful or failed for, once each."""
    ids = (id_ for column in row.cells.values() for id_ in column)
    return tuple(dict.fromkeys(f.failure.id for id_ in ids for f in verdicts[id_].findings))


def _reasons(
    row: Row, columns: Mapping[str, str], verdicts: Mapping[str, CellVerdict]
) -> Iterable[str]:
    good = [_COLUMN_WORDS.get(name, name) for name in COLUMNS if columns.get(name) == OK]
    if len(good) == len(columns):
        yield "everything works"
    elif good:
        yield f"works: {', '.join(good)}"
    bad = [_COLUMN_WORDS.get(name, name) for name in COLUMNS if columns.get(name) == FAILED]
    if bad:
        yield f"fails: {', '.join(bad)}"
    for name in ("c", "c++", "fortran"):
        if name not in columns:
            yield f"no {_COLUMN_WORDS[name]} compiler"
    named = doubts(row, verdicts)
    if named:
        yield ("because of " if bad else "but ") + ", ".join(named)
    if row.blas is not None and row.blas.family in _SLOW_BLAS:
        yield "the reference BLAS is slow"
