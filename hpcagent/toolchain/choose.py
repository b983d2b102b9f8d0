"""From the software that a node has, what a build uses: compilers of one family, an MPI, a BLAS."""

from __future__ import annotations

from collections.abc import Sequence

from hpcagent.errors import UsageError
from hpcagent.probe.software import BlasFound, CompilerFound, LapackFound, MpiFound, Software
from hpcagent.toolchain.program import Program
from hpcagent.toolchain.program_recipe import Toolchain

# Where nothing is said: the family that every library is tested with, then the others by name.
_FIRST = "gcc"


def choose_compilers(
    software: Software, languages: Sequence[str], wanted: str
) -> dict[str, CompilerFound]:
    """One compiler a language, all of one family and, where there is such a set, one module.

    `wanted` is a family, or a path or command of the C (else: the first language's) compiler;
    empty: gcc where it has all languages. UsageError names what there is.
    """
    found = software.compilers
    if wanted:
        named = [c for c in found if wanted in (c.path, c.command, *c.aliases)]
        named = [c for c in named if c.language in languages] or named
        family = named[0].family if named else wanted
        module = named[0].module if named else None
    else:
        families = sorted({c.family for c in found}, key=lambda name: (name != _FIRST, name))
        family = next((f for f in families if _has_all(found, f, languages)), _FIRST)
        named, module = [], None
    chosen: dict[str, CompilerFound] = {}
    for language in languages:
        rows = [c for c in found if (c.family, c.language) == (family, language)]
        rows = [c for c in named if c.language == language] or rows
        rows.sort(key=lambda c: c.module != module if module is not None else bool(c.module))
        if not rows:
            there = ", ".join(sorted({f"{c.command} ({c.language})" for c in found})) or "none"
            raise UsageError(f"no {language} compiler of {family} there; compilers are: {there}")
        chosen[language] = rows[0]
    return chosen


def choose_mpi(software: Software, wanted: str) -> MpiFound:
    """The MPI of this family, or of this wrapper's path; empty: the one that mpicc means."""
    rows = [m for m in software.mpis if wanted in ("", m.family, *m.wrappers.values())]
    rows.sort(key=lambda m: (bool(m.module), not m.default))
    if not rows:
        there = ", ".join(sorted({f"{m.family} {m.version}" for m in software.mpis})) or "none"
        raise UsageError(f"no MPI {wanted}".rstrip() + f" there; there are: {there}")
    return rows[0]


def choose_blas(software: Software, wanted: str, integers: str) -> BlasFound:
    """The BLAS at this path, or of this family ("openblas", "openblas/openmp", "blis/static").

    Empty: the first one that takes these integers. Shared libraries come before archives.
    """
    family, _, detail = wanted.partition("/")
    rows = [
        blas
        for blas in software.blas
        if wanted.startswith("/") or blas.interface == integers
        if wanted in ("", blas.path, blas.realpath, *blas.aliases)
        or (family == blas.family and detail in ("", blas.threading, blas.kind))
    ]
    rows.sort(key=lambda blas: blas.kind != "shared")
    if not rows:
        there = sorted({f"{b.family}/{b.threading} {b.interface}" for b in software.blas})
        raise UsageError(
            f"no BLAS {wanted or 'at all'} for {integers} integers there; there are: "
            + (", ".join(there) or "none")
        )
    return rows[0]


def choose_lapack(software: Software, kind: str) -> LapackFound | None:
    """A LAPACK without a BLAS of its own, to stand beside one that has no LAPACK."""
    rows = sorted(software.lapack, key=lambda row: (bool(row.module), row.kind != kind))
    return rows[0] if rows else None


def choose_toolchain(
    software: Software, program: Program, family: str, mpi: str, blas: str
) -> Toolchain:
    """Everything a program is built with, and the modules that bring it."""
    compilers = choose_compilers(software, program.languages, family)
    found_mpi = choose_mpi(software, mpi) if program.mpi != "none" else None
    found_blas = found_lapack = None
    if program.integers != "none":
        found_blas = choose_blas(software, blas, program.integers)
        if program.lapack == "yes" and not found_blas.has_lapack:
            found_lapack = choose_lapack(software, found_blas.kind)
    parts = [*compilers.values(), found_mpi, found_blas, found_lapack]
    modules = modules_of([part.module for part in parts if part is not None])
    return Toolchain(compilers, found_mpi, found_blas, found_lapack, modules)


def modules_of(fields: Sequence[str]) -> tuple[str, ...]:
    """Each module once, in the order in which they have to be loaded."""
    return tuple(dict.fromkeys(name for words in fields for name in words.split()))


def _has_all(found: Sequence[CompilerFound], family: str, languages: Sequence[str]) -> bool:
    has = {compiler.language for compiler in found if compiler.family == family}
    return has.issuperset(languages)
