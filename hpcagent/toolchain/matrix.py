"""The cells and rows of the doctor's matrix, and why other combinations are not tried.

The default set changes one thing at a time: a row for every toolset with the preferred MPI and BLAS
that fit it; then a row for every other MPI and every other BLAS with the first toolset that they
fit. `all_` is the product. Pure.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath

from hpcagent.probe.software import BlasFound, CompilerFound, MpiFound, Software
from hpcagent.toolchain.candidates import (
    LANGUAGES,
    Candidates,
    LeftOut,
    Toolset,
    candidates,
    why_not_with,
)
from hpcagent.toolchain.choose import NOTHING_PREFERRED, Preference
from hpcagent.toolchain.labels import blas_label, is_same_compiler, mpi_label

_Combination = tuple[Toolset, MpiFound | None, BlasFound | None]


@dataclass(frozen=True)
class Cell:
    """One program: `modules` are loaded in their order before anything of it is done; `blas_name`
    is what the BLAS is called among the others; `srun` is the type with which Slurm's srun starts
    it (empty: its MPI's own launcher does)."""

    id: str
    toolset: str
    compiler: CompilerFound
    openmp: bool
    mpi: MpiFound | None
    blas: BlasFound | None
    modules: tuple[str, ...]
    blas_name: str = ""
    srun: str = ""

    @property
    def launcher(self) -> tuple[str, ...]:
        """The words that start it; empty without MPI."""
        if self.srun:
            return ("srun", f"--mpi={self.srun}")
        return (self.mpi.launcher,) if self.mpi else ()

    @property
    def language(self) -> str:
        return self.compiler.language

    @property
    def parts(self) -> tuple[str, ...]:
        """What is in it beside the language."""
        present = {"OpenMP": self.openmp, "MPI": self.mpi, "BLAS": self.blas}
        return tuple(name for name, there in present.items() if there)

    @property
    def label(self) -> str:
        words = [f"{self.compiler.command} ({self.language})"]
        words += ["OpenMP"] if self.openmp else []
        words += [mpi_label(self.mpi)] if self.mpi else []
        words += [self.blas_name] if self.blas_name else []
        words += [" ".join(self.launcher)] if self.srun else []
        return " + ".join(words)


@dataclass(frozen=True)
class Row:
    """A toolchain: its cells by column ("c", "c++", "fortran", "OpenMP", "MPI", "BLAS", "all")."""

    toolset: Toolset
    mpi: MpiFound | None
    blas: BlasFound | None
    cells: Mapping[str, tuple[str, ...]]
    blas_name: str = ""

    @property
    def parts(self) -> tuple[str, str, str]:
        """The labels of its compilers, MPI and BLAS; empty where it has none."""
        mpi = mpi_label(self.mpi) if self.mpi else ""
        return self.toolset.label, mpi, self.blas_name

    @property
    def label(self) -> str:
        return " + ".join(filter(None, self.parts))


@dataclass(frozen=True)
class Matrix:
    rows: tuple[Row, ...]
    cells: tuple[Cell, ...]
    left_out: tuple[LeftOut, ...]

    def cell(self, id_: str) -> Cell:
        return next(cell for cell in self.cells if cell.id == id_)


def build_matrix(
    software: Software,
    *,
    all_: bool = False,
    prefer: Preference = NOTHING_PREFERRED,
    srun_types: Sequence[str] = (),
) -> Matrix:
    """The rows and cells that are tried, in a fixed order; what is preferred comes first.

    `srun_types` are values of srun's --mpi: each MPI is started with each, in cells of no row.
    """
    chosen = candidates(software, all_, prefer)
    combinations = _product(software, chosen) if all_ else _one_at_a_time(software, chosen)
    draft = _Draft(software, all_)
    for combination in combinations:
        draft.add_row(*combination)
    draft.add_srun(srun_types)
    left_out = [*chosen.left_out, *draft.left_out, *_unfit(software, chosen)]
    further = 0 if all_ else len(_product(software, chosen)) - len(combinations)
    if further > 0:
        why = "one thing is changed at a time; --all tries each with each"
        left_out.append(LeftOut(f"{further} further combinations of these", why))
    return Matrix(tuple(draft.rows), tuple(draft.cells.values()), tuple(dict.fromkeys(left_out)))


# --- combinations --------------------------------------------------------------------------------


def _fitting(
    software: Software, chosen: Candidates, toolset: Toolset
) -> tuple[list[MpiFound | None], list[BlasFound | None]]:
    """The MPIs and the BLAS that a toolset can be used with; a single None where there are none."""
    mpis = [x for x in chosen.mpis if not why_not_with(software, toolset, x)]
    libraries = [x for x in chosen.libraries if not why_not_with(software, toolset, x)]
    return [*mpis] or [None], [*libraries] or [None]


def _product(software: Software, chosen: Candidates) -> list[_Combination]:
    rows: list[_Combination] = []
    for toolset in chosen.toolsets:
        mpis, libraries = _fitting(software, chosen, toolset)
        rows += [(toolset, mpi, blas) for mpi in mpis for blas in libraries]
    return rows


def _one_at_a_time(software: Software, chosen: Candidates) -> list[_Combination]:
    fitting = [(t, *_fitting(software, chosen, t)) for t in chosen.toolsets]
    rows: list[_Combination] = [(t, mpis[0], blas[0]) for t, mpis, blas in fitting]
    for mpi in chosen.mpis:
        if not any(row[1] is mpi for row in rows):
            rows += [(t, mpi, blas[0]) for t, mpis, blas in fitting if mpi in mpis][:1]
    for library in chosen.libraries:
        if not any(row[2] is library for row in rows):
            rows += [(t, mpis[0], library) for t, mpis, blas in fitting if library in blas][:1]
    return rows


def _unfit(software: Software, chosen: Candidates) -> list[LeftOut]:
    found: list[LeftOut] = []
    for toolset in chosen.toolsets:
        named = [(mpi_label(m), why_not_with(software, toolset, m)) for m in chosen.mpis]
        named += [(blas_label(b), why_not_with(software, toolset, b)) for b in chosen.libraries]
        found += [LeftOut(f"{toolset.label} + {label}", why) for label, why in named if why]
    return found


# --- rows and cells ------------------------------------------------------------------------------


class _Draft:
    """The matrix in the making."""

    def __init__(self, software: Software, all_: bool) -> None:
        self._all = all_
        self._labels = Counter(blas_label(blas) for blas in software.blas)
        self._ids: set[str] = set()
        self.rows: list[Row] = []
        self.cells: dict[tuple[object, ...], Cell] = {}
        self.left_out: list[LeftOut] = []

    def add_row(self, toolset: Toolset, mpi: MpiFound | None, blas: BlasFound | None) -> None:
        cells: dict[str, list[str]] = {}

        def add(column: str, cell: Cell | None) -> None:
            if cell is not None:
                cells.setdefault(column, []).append(cell.id)

        languages = [language for language in LANGUAGES if language in toolset.compilers]
        for language in languages:
            compiler = toolset.compilers[language]
            add(language, self._cell(toolset, compiler, False, None, None))
            add("OpenMP", self._cell(toolset, compiler, True, None, None))
            add("MPI", self._cell(toolset, compiler, False, mpi, None) if mpi else None)
            add("BLAS", self._cell(toolset, compiler, False, None, blas) if blas else None)
            if blas is not None and (self._all or language == languages[0]):
                add("all", self._cell(toolset, compiler, True, mpi, blas))
        columns = {column: tuple(ids) for column, ids in cells.items()}
        self.rows.append(Row(toolset, mpi, blas, columns, self._named(blas)))

    def add_srun(self, types: Sequence[str]) -> None:
        """A program of each MPI, started by srun."""
        plain: dict[tuple[str, ...], Cell] = {}
        for cell in self.cells.values():
            if cell.mpi is not None and not cell.openmp and cell.blas is None:
                plain.setdefault(_mpi_key(cell.mpi), cell)
        for key, cell in plain.items():
            for type_ in types:
                started = replace(cell, srun=type_)
                self.cells[(*key, type_)] = replace(started, id=self._fresh_id(started))

    def _named(self, blas: BlasFound | None) -> str:
        """Its label; with the file's name where all are tried and others are called the same."""
        if blas is None:
            return ""
        label = blas_label(blas)
        ambiguous = self._all and self._labels[label] > 1
        return f"{label} ({PurePath(blas.path).name})" if ambiguous else label

    def _cell(
        self,
        toolset: Toolset,
        compiler: CompilerFound,
        openmp: bool,
        mpi: MpiFound | None,
        blas: BlasFound | None,
    ) -> Cell | None:
        key = (compiler, openmp, _mpi_key(mpi), (blas.path, blas.module) if blas else ())
        if key in self.cells:
            return self.cells[key]
        modules = " ".join(x.module for x in (toolset, mpi, blas) if x is not None).split()
        why = _mpi_why_not(compiler, mpi) if mpi else ""
        name = self._named(blas)
        loaded = tuple(dict.fromkeys(modules))
        cell = Cell("", toolset.label, compiler, openmp, mpi, blas, loaded, name)
        if why:
            self.left_out.append(LeftOut(cell.label, why))
            return None
        self.cells[key] = replace(cell, id=self._fresh_id(cell))
        return self.cells[key]

    def _fresh_id(self, cell: Cell) -> str:
        words = [cell.toolset, cell.language.replace("+", "x"), "omp" if cell.openmp else ""]
        words.append(f"{cell.mpi.family}-{cell.mpi.version}" if cell.mpi else "")
        words.append(cell.blas_name)
        words.append(f"srun-{cell.srun}" if cell.srun else "")
        text = "-".join(re.sub(r"[^A-Za-z0-9.]+", "-", word) for word in words if word).lower()
        text = text.strip("-.")[:80] or "cell"
        number, id_ = 1, text
        while id_ in self._ids:
            number += 1
            id_ = f"{text}-{number}"
        self._ids.add(id_)
        return id_


def _mpi_key(mpi: MpiFound | None) -> tuple[str, ...]:
    """An MPI by what it is: its mappings cannot be hashed."""
    if mpi is None:
        return ()
    return (mpi.family, mpi.version, mpi.module, mpi.launcher, *sorted(mpi.wrappers.values()))


def _mpi_why_not(compiler: CompilerFound, mpi: MpiFound) -> str:
    if compiler.language not in mpi.wrappers:
        return f"{mpi_label(mpi)} has no wrapper for {compiler.language}"
    behind = mpi.compiles_with.get(compiler.language, "")
    if compiler.language == "fortran" and not is_same_compiler(behind, compiler):
        return f"{mpi_label(mpi)} has its mpi.mod from {behind}; {compiler.command} cannot read it"
    if not mpi.launcher:
        return f"{mpi_label(mpi)} has no launcher beside its wrappers"
    return ""
