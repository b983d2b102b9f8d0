"""From the software that a node has, what a build uses: compilers of one family, an MPI, a BLAS."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from hpcagent.errors import UsageError
from hpcagent.probe.modules import package_of
from hpcagent.probe.software import BlasFound, CompilerFound, LapackFound, MpiFound, Software
from hpcagent.toolchain.program import Program
from hpcagent.toolchain.program_recipe import Toolchain


@dataclass(frozen=True)
class Preference:
    """What a configuration takes first; words as those of `--compiler`, `--mpi` and `--blas`."""

    compiler: str = ""
    mpi: str = ""
    blas: str = ""


NOTHING_PREFERRED = Preference()

# Where nothing is said: the family that every library is tested with, then the others by name.
_FIRST = "gcc"
# Whose Fortran belongs to a family that has none under its own name.
_PARTNERS = {"clang": "flang"}


def partnered_compilers(
    software: Software, languages: Sequence[str], wanted: str
) -> dict[str, CompilerFound]:
    """As choose_compilers; where the family that was named has no Fortran, another's is taken.

    LLVM's flang for clang, else gfortran: their C conventions are the same on our systems, and
    what links both is the recipe's concern (OpenBLAS asks the Fortran compiler, f_check).
    """
    found = software.compilers
    named = next((c for c in found if is_compiler(c, wanted)), None)
    if "fortran" not in languages or named is None:
        return choose_compilers(software, languages, wanted)
    others = [family for family in (_PARTNERS.get(named.family), _FIRST) if family]
    for family in () if _has_all(found, named.family, ["fortran"]) else others:
        rows = [c for c in found if (c.family, c.language) == (family, "fortran")]
        rest = [language for language in languages if language != "fortran"]
        chosen = choose_compilers(software, rest, wanted)
        modules = {c.module for c in chosen.values()} or {named.module}
        rows.sort(key=lambda c: (c.module not in modules, bool(c.module), _age(software, c.module)))
        if rows:
            return {**chosen, "fortran": rows[0]}
    return choose_compilers(software, languages, wanted)


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
    if not wanted:
        rows = [c for c in found if _has_all(found, c.family, languages)]
        _check_one(software, rows, "compilers", "--compiler")
        own = [c for c in rows if c.family == family]
        _check_one(software, own, f"compilers of {family}", "--compiler")
    chosen: dict[str, CompilerFound] = {}
    for language in languages:
        rows = [c for c in found if (c.family, c.language) == (family, language)]
        rows = [c for c in named if c.language == language] or rows
        rows.sort(
            key=lambda c: (
                c.module != module if module is not None else bool(c.module),
                _age(software, c.module),
            )
        )
        if not rows:
            there = ", ".join(sorted({f"{c.command} ({c.language})" for c in found})) or "none"
            raise UsageError(f"no {language} compiler of {family} there; compilers are: {there}")
        chosen[language] = rows[0]
    return chosen


def choose_mpi(software: Software, wanted: str) -> MpiFound:
    """The MPI of this family, or of this wrapper's path; empty: the one that mpicc means."""
    rows = [m for m in software.mpis if not wanted or is_mpi(m, wanted)]
    rows.sort(key=lambda m: (bool(m.module), not m.default, _age(software, m.module)))
    if not wanted:
        _check_one(software, rows, "MPI", "--mpi")
    if not rows:
        there = ", ".join(sorted({f"{m.family} {m.version}" for m in software.mpis})) or "none"
        raise UsageError(f"no MPI {wanted}".rstrip() + f" there; there are: {there}")
    return rows[0]


def choose_blas(software: Software, wanted: str, integers: str) -> BlasFound:
    """The BLAS at this path, or of this family ("openblas", "openblas/openmp", "blis/static").

    Empty: the first one that takes these integers. Shared libraries come before archives.
    """
    rows = [
        blas
        for blas in software.blas
        if wanted.startswith("/") or blas.interface == integers
        if not wanted or is_blas(blas, wanted)
    ]
    rows.sort(key=lambda blas: blas.kind != "shared")
    if not rows:
        there = sorted({f"{b.family}/{b.threading} {b.interface}" for b in software.blas})
        raise UsageError(
            f"no BLAS {wanted or 'at all'} for {integers} integers there; there are: "
            + (", ".join(there) or "none")
        )
    if not wanted:
        _check_one(software, rows, "BLAS", "--blas")
    return rows[0]


def choose_lapack(software: Software, kind: str) -> LapackFound | None:
    """A LAPACK without a BLAS of its own, to stand beside one that has no LAPACK."""
    rows = sorted(software.lapack, key=lambda row: (bool(row.module), row.kind != kind))
    return rows[0] if rows else None


def choose_toolchain(
    software: Software, program: Program, family: str, mpi: str, blas: str
) -> Toolchain:
    """Everything a program is built with, and the modules that bring it."""
    compilers = partnered_compilers(software, program.languages, family)
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


def is_compiler(compiler: CompilerFound, wanted: str) -> bool:
    """Whether it is of this family, or at this path, or called so."""
    names = (compiler.family, compiler.path, compiler.command, *compiler.aliases)
    return bool(wanted) and wanted in names


def is_mpi(mpi: MpiFound, wanted: str) -> bool:
    """Whether it is of this family, or has the wrapper at this path."""
    return bool(wanted) and wanted in (mpi.family, *mpi.wrappers.values())


def is_blas(blas: BlasFound, wanted: str) -> bool:
    """Whether it is at this path, or as "openblas", "openblas/openmp", "blis/static" say."""
    family, _, detail = wanted.partition("/")
    if wanted and wanted in (blas.path, blas.realpath, *blas.aliases):
        return True
    return bool(family) and family == blas.family and detail in ("", blas.threading, blas.kind)


def _check_one(
    software: Software,
    rows: Sequence[CompilerFound] | Sequence[MpiFound] | Sequence[BlasFound],
    what: str,
    option: str,
) -> None:
    """UsageError where only modules of several packages have it: nobody guesses among them.

    What needs no module comes first; versions of one package are chosen as `module load` does.
    """
    modules = sorted({row.module for row in rows})
    ends = {name.split()[-1] for name in modules if name}
    if "" in modules or len({package_of(name) for name in ends}) < 2:
        return
    if len(ends & set(software.modules.defaults)) == 1:
        return
    shown = ", ".join(modules[:6]) + (", ..." if len(modules) > 6 else "")
    raise UsageError(f"{what}: several modules have some ({shown}): say which with {option}")


def _age(software: Software, module: str) -> tuple[object, ...]:
    """Orders modules: the site's default, then the newest version."""
    last = module.split()[-1] if module else ""
    numbers = [-int(n) for n in re.findall(r"[0-9]{1,9}", last.rpartition("/")[2])]
    return (last not in software.modules.defaults, numbers)
