"""What MPI and BLAS are called to people, and which commands mean one compiler."""

from __future__ import annotations

import re
from pathlib import PurePath

from hpcagent.probe.software import BlasFound, CompilerFound, MpiFound

_MPI_NAMES = {
    "openmpi": "Open MPI",
    "mpich": "MPICH",
    "intel": "Intel MPI",
    "mvapich": "MVAPICH",
    "cray": "Cray MPICH",
    "spectrum": "IBM Spectrum MPI",
    "fujitsu": "Fujitsu MPI",
}
_BLAS_NAMES = {
    "openblas": "OpenBLAS",
    "blis": "BLIS",
    "mkl": "MKL",
    "atlas": "ATLAS",
    "armpl": "ArmPL",
    "libsci": "LibSci",
    "reference": "reference BLAS",
}


def mpi_label(mpi: MpiFound) -> str:
    return f"{_MPI_NAMES.get(mpi.family, mpi.family)} {mpi.version}".strip()


def blas_label(blas: BlasFound) -> str:
    """Threading and, where it is not the usual one, the width of integers and the kind of file."""
    words = [_BLAS_NAMES.get(blas.family, PurePath(blas.path).name), blas.version, blas.threading]
    words += ["ILP64"] if blas.interface == "ilp64" else []
    words += ["static"] if blas.kind == "static" else []
    return " ".join(word for word in words if word)


def is_same_compiler(behind: str, compiler: CompilerFound) -> bool:
    """Whether what a wrapper calls is this compiler (empty: not known, taken as yes)."""
    names = {_bare(compiler.command), _bare(compiler.path)}
    return not behind or behind == compiler.path or _bare(behind) in names


def _bare(command: str) -> str:
    """gcc of /usr/bin/x86_64-linux-gnu-gcc-12."""
    return re.sub(r"-[0-9.]+$", "", PurePath(command).name).rpartition("-")[2]
