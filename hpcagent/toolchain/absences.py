"""Negatives explained: what is not there to be combined, and why, as far as facts tell. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from hpcagent.probe.software import Software
from hpcagent.toolchain.candidates import LeftOut, Toolset, why_not_with
from hpcagent.toolchain.matrix import Matrix

# What a module of a family is called, in its name.
_BLAS_WORDS: dict[str, tuple[str, ...]] = {
    "OpenBLAS": ("openblas",),
    "MKL": ("mkl",),
    "BLIS": ("blis",),
}
_MPI_WORDS: dict[str, tuple[str, ...]] = {
    "an MPI": ("openmpi", "mpich", "impi", "intel-mpi", "mvapich", "cray-mpich")
}


def absences(software: Software, matrix: Matrix) -> tuple[LeftOut, ...]:
    """For every toolset that was tried: the common libraries that it cannot be used with."""
    toolsets = {(row.toolset.label, row.toolset.module): row.toolset for row in matrix.rows}
    found = [line for toolset in toolsets.values() for line in _of(software, toolset)]
    if not toolsets:
        why = software.missing.get("compilers", "no compiler was found, and no module gives one")
        found.append(LeftOut("every toolchain", why))
    return tuple(found)


def _of(software: Software, toolset: Toolset) -> Iterator[LeftOut]:
    for name, words in _BLAS_WORDS.items():
        family = words[0]
        fitting = [
            b
            for b in software.blas
            if b.family == family and not why_not_with(software, toolset, b)
        ]
        if not fitting:
            yield LeftOut(f"{toolset.label} + {name}", _why(software, toolset, words))
    if not software.mpis:
        for name, words in _MPI_WORDS.items():
            yield LeftOut(f"{toolset.label} + {name}", _why(software, toolset, words))


def _why(software: Software, toolset: Toolset, words: Iterable[str]) -> str:
    """Where it might have come from: modules by their names, the linker's folders."""
    named = [m for m in _modules(software) if any(word in m.lower() for word in words)]
    needing = [m for m in named if software.modules.hidden.get(m)]
    if needing:
        first = ", ".join(software.modules.hidden[needing[0]])
        return f"no module provides it for {toolset.family}: {needing[0]} needs {first} first"
    if named:
        why = software.missing.get(named[0], "loading it gave no such library")
        return f"module {named[0]} is there, but {why}"
    if software.modules.kind == "none":
        return "it is in none of the linker's folders, and there are no modules here"
    return "no module provides it, and it is in none of the linker's folders"


def _modules(software: Software) -> list[str]:
    return [*software.modules.available, *software.modules.hidden]
