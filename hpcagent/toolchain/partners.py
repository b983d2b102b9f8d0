"""Compilers of different families in one program: which can link it, with which runtimes. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from hpcagent.errors import UsageError
from hpcagent.probe.software import CompilerFound
from hpcagent.toolchain.flags import openmp_runtime
from hpcagent.toolchain.program import Program

_GOMP = "gomp"
# Their OpenMP runtimes have the entry points of GCC's too (openmp.llvm.org on libomp; Intel's
# compiler manual on its OpenMP libraries).
_SERVE_GOMP = ("omp", "iomp5")


def check_partners(program: Program, compilers: Mapping[str, CompilerFound]) -> None:
    """UsageError where what these compile cannot be linked as the program says."""
    linker = compilers[program.links_with]
    fortran = compilers.get("fortran", linker)
    if linker.language != "fortran" and fortran.family not in ("gcc", linker.family):
        raise UsageError(
            f"{program.name}: only {fortran.command} knows the libraries behind its Fortran: write "
            "linker: fortran"
        )
    if program.openmp == "on":
        _check_openmp(program, compilers, linker)


def _check_openmp(
    program: Program, compilers: Mapping[str, CompilerFound], linker: CompilerFound
) -> None:
    """One runtime must serve all of it: LLVM's and Intel's do so for GCC's code, not vice versa."""
    found = {openmp_runtime(compilers[language]) for language in program.languages}
    own = openmp_runtime(linker)
    if found == {own} or (own in _SERVE_GOMP and found <= {own, _GOMP}):
        return
    serving = sorted(
        language
        for language in program.languages
        if openmp_runtime(compilers[language]) in _SERVE_GOMP
    )
    cure = f"write linker: {serving[0]}, or " if serving and found <= {_GOMP, *_SERVE_GOMP} else ""
    raise UsageError(
        f"{program.name}: its compilers bring different OpenMP runtimes "
        f"({', '.join(sorted(found))}), and {linker.command} links only its own: {cure}take one "
        "family for all languages"
    )


def partner_notes(program: Program, compilers: Mapping[str, CompilerFound]) -> tuple[str, ...]:
    """What is to be said of a Fortran compiler of another family than the rest."""
    fortran = compilers.get("fortran") if "fortran" in program.languages else None
    others = [compilers[name] for name in program.languages if name != "fortran"]
    if fortran is None or all(other.family == fortran.family for other in others):
        return ()
    words = f"{fortran.command} compiles the Fortran beside {others[0].command}"
    own = openmp_runtime(compilers[program.links_with])
    if program.openmp == "on" and own != openmp_runtime(fortran):
        words += f"; one OpenMP runtime serves both: {own}, which takes GCC's calls as well"
    return (words,)
