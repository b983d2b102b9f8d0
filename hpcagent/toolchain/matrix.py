"""Which combinations of compiler, language, OpenMP, MPI and BLAS are tried, and why not others.

The default set changes one thing at a time: a row for every toolset that is loaded or needs no
module, with the preferred MPI and BLAS; then a row for every other MPI and every other BLAS with
the preferred toolset. `all_` is the product. Pure.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import TypeVar

from hpcagent.probe.software import BlasFound, CompilerFound, MpiFound, Software
from hpcagent.toolchain.labels import blas_label, is_same_compiler, mpi_label

LANGUAGES = ("c", "c++", "fortran")
_FAMILY_ORDER = ("gcc", "intel", "aocc", "nvhpc", "cray", "arm", "clang")
_BLAS_ORDER = ("openblas", "mkl", "blis", "armpl", "libsci", "atlas", "reference", "unknown")


@dataclass(frozen=True)
class Toolset:
    """Compilers that belong together: one family, version and module."""

    family: str
    version: str
    module: str
    compilers: Mapping[str, CompilerFound]

    @property
    def label(self) -> str:
        return f"{self.family} {self.version}".strip()


@dataclass(frozen=True)
class Cell:
    """One program: `modules` are loaded in their order before anything of it is done; `blas_name`
    is what the BLAS is called among the others."""

    id: str
    toolset: str
    compiler: CompilerFound
    openmp: bool
    mpi: MpiFound | None
    blas: BlasFound | None
    modules: tuple[str, ...]
    blas_name: str = ""

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
class LeftOut:
    what: str
    why: str


@dataclass(frozen=True)
class Matrix:
    rows: tuple[Row, ...]
    cells: tuple[Cell, ...]
    left_out: tuple[LeftOut, ...]

    def cell(self, id_: str) -> Cell:
        return next(cell for cell in self.cells if cell.id == id_)


def build_matrix(software: Software, *, all_: bool = False) -> Matrix:
    """The rows and cells that are tried, in a fixed order."""
    draft = _Draft(software, all_)
    toolsets = draft.toolsets()
    mpis, libraries = draft.mpis(), draft.libraries()
    for toolset, mpi, blas in _combinations(toolsets, mpis, libraries, all_):
        draft.add_row(toolset, mpi, blas)
    draft.left_out += _untried(toolsets, mpis, libraries, all_)
    left_out = tuple(dict.fromkeys(draft.left_out))
    return Matrix(tuple(draft.rows), tuple(draft.cells.values()), left_out)


def _combinations(
    toolsets: Sequence[Toolset],
    mpis: Sequence[MpiFound],
    libraries: Sequence[BlasFound],
    all_: bool,
) -> list[tuple[Toolset, MpiFound | None, BlasFound | None]]:
    some_mpis: Sequence[MpiFound | None] = mpis or [None]
    some_blas: Sequence[BlasFound | None] = libraries or [None]
    if all_:
        return [(t, m, b) for t in toolsets for m in some_mpis for b in some_blas]
    first_mpi, first_blas = some_mpis[0], some_blas[0]
    rows = [(toolset, first_mpi, first_blas) for toolset in toolsets]
    rows += [(toolset, mpi, first_blas) for toolset in toolsets[:1] for mpi in some_mpis[1:]]
    rows += [(toolset, first_mpi, blas) for toolset in toolsets[:1] for blas in some_blas[1:]]
    return rows


def _untried(
    toolsets: Sequence[Toolset],
    mpis: Sequence[MpiFound],
    libraries: Sequence[BlasFound],
    all_: bool,
) -> list[LeftOut]:
    """What the default set leaves to `--all`."""
    product = len(toolsets) * max(1, len(mpis)) * max(1, len(libraries))
    tried = len(_combinations(toolsets, mpis, libraries, all_))
    if tried >= product:
        return []
    what = f"{product - tried} further combinations of these"
    return [LeftOut(what, "one thing is changed at a time; --all tries each with each")]


_Found = TypeVar("_Found", Toolset, MpiFound, BlasFound)


class _Draft:
    """The matrix in the making."""

    def __init__(self, software: Software, all_: bool) -> None:
        self._software = software
        self._all = all_
        self.rows: list[Row] = []
        self.cells: dict[tuple[object, ...], Cell] = {}
        self.left_out: list[LeftOut] = []
        self._ids: set[str] = set()
        self._labels = Counter(blas_label(blas) for blas in software.blas)

    # --- what takes part ---------------------------------------------------------------------

    def toolsets(self) -> list[Toolset]:
        grouped: dict[tuple[str, str, str], dict[str, CompilerFound]] = {}
        for compiler in self._software.compilers:
            key = (compiler.family, compiler.version, compiler.module)
            grouped.setdefault(key, {}).setdefault(compiler.language, compiler)
        every = [Toolset(*key, compilers) for key, compilers in grouped.items()]
        every.sort(key=lambda t: (self._far(t.module), _place(t.family, _FAMILY_ORDER)))
        chosen = self._near(every, lambda t: (t.label, t.module))
        for toolset in chosen:
            absent = [x for x in LANGUAGES if x not in toolset.compilers]
            for language in absent:
                why = f"no {language} compiler of {toolset.family} was found"
                self.left_out.append(LeftOut(f"{toolset.label}: {language}", why))
        return chosen

    def mpis(self) -> list[MpiFound]:
        every = sorted(self._software.mpis, key=lambda m: (self._far(m.module), not m.default))
        return self._near(every, lambda m: (mpi_label(m), m.module))

    def libraries(self) -> list[BlasFound]:
        """One entry a file; by default one a family, width, threading and version."""
        every = list({(b.realpath or b.path, b.module): b for b in self._software.blas}.values())
        every.sort(key=self._blas_rank)
        near = self._near(every, lambda b: (blas_label(b), b.module))
        if self._all:
            return near
        kept: dict[tuple[str, ...], BlasFound] = {}
        for blas in near:
            if blas.kind != "static":
                kept.setdefault(_same(blas), blas)
        others = len(near) - len(kept)
        if others:
            what = f"{others} further files of these BLAS"
            self.left_out.append(LeftOut(what, "static, or other names of them; --all tries each"))
        return list({(blas_label(b), b.module): b for b in reversed(kept.values())}.values())[::-1]

    def _blas_rank(self, blas: BlasFound) -> tuple[object, ...]:
        named = PurePath(blas.path).name.startswith(f"lib{blas.family}")
        return (
            self._far(blas.module),
            blas.kind == "static",
            blas.interface != "lp64",
            _place(blas.family, _BLAS_ORDER),
            not named,
        )

    def _far(self, module: str) -> int:
        """0: its module is loaded, 1: it needs none, 2: its module has to be loaded."""
        if not module:
            return 1
        return 0 if set(module.split()) <= set(self._software.loaded) else 2

    def _near(
        self, every: list[_Found], named: Callable[[_Found], tuple[str, str]]
    ) -> list[_Found]:
        """By default what is loaded or needs no module; where there is none of that, all."""
        if self._all:
            return every
        near = [found for found in every if self._far(found.module) < 2]
        for found in every if near else ():
            if found not in near:
                label, module = named(found)
                self.left_out.append(LeftOut(label, f"module {module} is not loaded; --all does"))
        return near or every

    # --- rows and cells ----------------------------------------------------------------------

    def add_row(self, toolset: Toolset, mpi: MpiFound | None, blas: BlasFound | None) -> None:
        cells: dict[str, list[str]] = {}

        def add(column: str, cell: Cell | None) -> None:
            if cell is not None:
                cells.setdefault(column, []).append(cell.id)

        for language in LANGUAGES:
            compiler = toolset.compilers.get(language)
            if compiler is None:
                continue
            add(language, self._cell(toolset, compiler, False, None, None))
            add("OpenMP", self._cell(toolset, compiler, True, None, None))
            add("MPI", self._cell(toolset, compiler, False, mpi, None) if mpi else None)
            add("BLAS", self._cell(toolset, compiler, False, None, blas) if blas else None)
            if blas is not None and (self._all or language == "c"):
                add("all", self._cell(toolset, compiler, True, mpi, blas))
        columns = {column: tuple(ids) for column, ids in cells.items()}
        self.rows.append(Row(toolset, mpi, blas, columns, self._named(blas)))

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
        modules, why = self._modules(toolset, mpi, blas)
        why = why or (_mpi_why_not(toolset, compiler, mpi) if mpi else "")
        name = self._named(blas)
        cell = Cell("", toolset.label, compiler, openmp, mpi, blas, modules, name)
        if why:
            self.left_out.append(LeftOut(cell.label, why))
            return None
        self.cells[key] = replace(cell, id=self._fresh_id(cell))
        return self.cells[key]

    def _modules(
        self, toolset: Toolset, mpi: MpiFound | None, blas: BlasFound | None
    ) -> tuple[tuple[str, ...], str]:
        """The modules to load, in order, and why it cannot be."""
        families = compiler_modules(self._software)
        needed = toolset.module.split()
        for found in (mpi, blas):
            words = found.module.split() if found else []
            for word in words:
                if families.get(word, toolset.family) != toolset.family:
                    return (), f"module {words[-1]} belongs to {word}, of {families[word]}"
            needed += words
        return tuple(dict.fromkeys(needed)), ""

    def _fresh_id(self, cell: Cell) -> str:
        words = [cell.toolset, cell.language.replace("+", "x"), "omp" if cell.openmp else ""]
        words.append(f"{cell.mpi.family}-{cell.mpi.version}" if cell.mpi else "")
        words.append(cell.blas_name)
        text = "-".join(re.sub(r"[^A-Za-z0-9.]+", "-", word) for word in words if word).lower()
        text = text.strip("-.")[:80] or "cell"
        number, id_ = 1, text
        while id_ in self._ids:
            number += 1
            id_ = f"{text}-{number}"
        self._ids.add(id_)
        return id_


def compiler_modules(software: Software) -> dict[str, str]:
    """The family of the compiler that a module gives, by module."""
    named = [(c.module.split()[-1], c.family) for c in software.compilers if c.module]
    return dict(named)


def _same(blas: BlasFound) -> tuple[str, ...]:
    """Files of one library: libblas.so and libopenblas.so of one folder."""
    folder = str(PurePath(blas.realpath or blas.path).parent)
    return (blas.family, blas.interface, blas.threading, blas.module, folder)


def _mpi_key(mpi: MpiFound | None) -> tuple[str, ...]:
    """An MPI by what it is: its mappings cannot be hashed."""
    if mpi is None:
        return ()
    return (mpi.family, mpi.version, mpi.module, mpi.launcher, *sorted(mpi.wrappers.values()))


def _mpi_why_not(toolset: Toolset, compiler: CompilerFound, mpi: MpiFound) -> str:
    if compiler.language not in mpi.wrappers:
        return f"{mpi_label(mpi)} has no wrapper for {compiler.language}"
    behind = mpi.compiles_with.get(compiler.language, "")
    if compiler.language == "fortran" and not is_same_compiler(behind, compiler):
        return f"{mpi_label(mpi)} has its mpi.mod from {behind}; {compiler.command} cannot read it"
    if not mpi.launcher:
        return f"{mpi_label(mpi)} has no launcher beside its wrappers"
    return ""


def _place(word: str, order: Iterable[str]) -> int:
    places = list(order)
    return places.index(word) if word in places else len(places)
