"""Which compilers, MPIs and BLAS take part in the doctor's matrix, and which fit each other. Pure.

By default what is loaded or needs no module; where there is none of that, a few of those that
modules give, with the compilers to which they belong. With `all_` everything.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import TypeVar

from hpcagent.probe.software import BlasFound, CompilerFound, MpiFound, Software
from hpcagent.toolchain.choose import (
    NOTHING_PREFERRED,
    Preference,
    is_blas,
    is_compiler,
    is_mpi,
)
from hpcagent.toolchain.labels import blas_label, mpi_label

LANGUAGES = ("c", "c++", "fortran")
_FAMILY_ORDER = ("gcc", "intel", "aocc", "nvhpc", "cray", "arm", "clang")
_BLAS_ORDER = ("openblas", "mkl", "blis", "armpl", "libsci", "atlas", "reference", "unknown")
_FEW = 2


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
class LeftOut:
    what: str
    why: str


@dataclass(frozen=True)
class Candidates:
    """In the order of preference; `left_out` tells what is there and does not take part."""

    toolsets: tuple[Toolset, ...]
    mpis: tuple[MpiFound, ...]
    libraries: tuple[BlasFound, ...]
    left_out: tuple[LeftOut, ...]


_Found = TypeVar("_Found", Toolset, MpiFound, BlasFound)


def candidates(
    software: Software, all_: bool, prefer: Preference = NOTHING_PREFERRED
) -> Candidates:
    choice = _Choice(software, all_, prefer)
    mpis, libraries = choice.mpis(), choice.libraries()
    needed = [mpi.module for mpi in mpis] + [blas.module for blas in libraries]
    toolsets = choice.toolsets(needed)
    return Candidates(tuple(toolsets), tuple(mpis), tuple(libraries), tuple(choice.left_out))


def why_not_with(software: Software, toolset: Toolset, found: MpiFound | BlasFound | None) -> str:
    """Why an MPI or BLAS cannot be used with a toolset: its modules bring another compiler."""
    words = found.module.split() if found else []
    families = compiler_modules(software)
    for word in words:
        if word in families and word not in toolset.module.split():
            return f"module {words[-1]} needs {word} first, of {families[word]}"
    return ""


def compiler_modules(software: Software) -> dict[str, str]:
    """The family of the compiler that a module gives, by module."""
    named = [(c.module.split()[-1], c.family) for c in software.compilers if c.module.split()]
    return dict(named)


class _Choice:
    """Takes what is near, and notes what is not."""

    def __init__(self, software: Software, all_: bool, prefer: Preference) -> None:
        self._software = software
        self._prefer = prefer
        self._all = all_
        self.left_out: list[LeftOut] = []

    def toolsets(self, needed: Sequence[str]) -> list[Toolset]:
        """Those that are near, and those whose modules the chosen MPIs and BLAS need."""
        grouped: dict[tuple[str, str, str], dict[str, CompilerFound]] = {}
        for compiler in self._software.compilers:
            key = (compiler.family, compiler.version, compiler.module)
            grouped.setdefault(key, {}).setdefault(compiler.language, compiler)
        every = [Toolset(*key, compilers) for key, compilers in grouped.items()]
        every.sort(
            key=lambda t: (
                not self._prefers_toolset(t),
                self._far(t.module),
                _place(t.family, _FAMILY_ORDER),
                _newest_first(t.version),
            )
        )
        words = {word for module in needed for word in module.split()}

        def is_needed(toolset: Toolset) -> bool:
            is_used = bool(toolset.module) and toolset.module.split()[-1] in words
            return is_used or self._prefers_toolset(toolset)

        chosen = self._near(every, lambda t: (t.label, t.module), is_needed)
        for toolset in chosen:
            for language in LANGUAGES:
                if language not in toolset.compilers:
                    why = f"no {language} compiler of {toolset.family} was found"
                    self.left_out.append(LeftOut(f"{toolset.label}: {language}", why))
        return chosen

    def mpis(self) -> list[MpiFound]:
        every = sorted(
            self._software.mpis,
            key=lambda m: (
                not self._prefers_mpi(m),
                self._far(m.module),
                not m.default,
                _newest_first(f"{m.version} {m.module}"),
            ),
        )
        return self._near(every, lambda m: (mpi_label(m), m.module), self._prefers_mpi)

    def libraries(self) -> list[BlasFound]:
        """One entry a file; by default one a family, width, threading and version."""
        every = list({(b.realpath or b.path, b.module): b for b in self._software.blas}.values())
        every.sort(key=self._blas_rank)
        if self._all:
            return every
        kept: dict[tuple[str, ...], BlasFound] = {}
        for blas in every:
            if blas.kind != "static":
                kept.setdefault(_same(blas), blas)
        told_apart = {(blas_label(b), b.module): b for b in reversed(kept.values())}
        others = len(every) - len(told_apart)
        if others:
            what = f"{others} further files of these BLAS"
            self.left_out.append(LeftOut(what, "static, or other names of them; --all tries each"))
        shared = list(told_apart.values())[::-1]
        return self._near(shared, lambda b: (blas_label(b), b.module), self._prefers_blas)

    def _blas_rank(self, blas: BlasFound) -> tuple[object, ...]:
        named = PurePath(blas.path).name.startswith(f"lib{blas.family}")
        return (
            not self._prefers_blas(blas),
            self._far(blas.module),
            blas.kind == "static",
            blas.interface == "ilp64",
            _place(blas.family, _BLAS_ORDER),
            not named,
            _newest_first(f"{blas.version} {blas.module}"),
        )

    def _prefers_toolset(self, toolset: Toolset) -> bool:
        return any(is_compiler(c, self._prefer.compiler) for c in toolset.compilers.values())

    def _prefers_mpi(self, mpi: MpiFound) -> bool:
        return is_mpi(mpi, self._prefer.mpi)

    def _prefers_blas(self, blas: BlasFound) -> bool:
        return is_blas(blas, self._prefer.blas)

    def _far(self, module: str) -> int:
        """0: its modules are loaded, 1: it needs none, 2: they are the default ones of the site,
        3: they have to be named."""
        words = module.split()
        if not words:
            return 1
        if set(words) <= set(self._software.loaded):
            return 0
        return 2 if words[-1] in self._software.modules.defaults else 3

    def _near(
        self,
        every: list[_Found],
        named: Callable[[_Found], tuple[str, str]],
        is_needed: Callable[[_Found], bool],
    ) -> list[_Found]:
        """What is loaded or needs no module, else the first few; and what others need."""
        if self._all:
            return every
        near = [found for found in every if self._far(found.module) < 2] or every[:_FEW]
        chosen = [found for found in every if found in near or is_needed(found)]
        for found in every:
            if found not in chosen:
                label, module = named(found)
                self.left_out.append(LeftOut(label, f"module {module} is not loaded; --all does"))
        return chosen


def _same(blas: BlasFound) -> tuple[str, ...]:
    """Files of one library: libblas.so and libopenblas.so of one folder."""
    folder = str(PurePath(blas.realpath or blas.path).parent)
    return (blas.family, blas.interface, blas.threading, blas.module, folder)


def _newest_first(version: str) -> tuple[int, ...]:
    """A key to sort by; what has no version comes last."""
    numbers = re.findall(r"[0-9]{1,9}", version, re.ASCII)
    return tuple(-int(number) for number in numbers) or (1,)


def _place(word: str, order: Iterable[str]) -> int:
    places = list(order)
    return places.index(word) if word in places else len(places)
