"""What software a node offers: modules, compilers, MPI, BLAS and OpenMP runtimes, as found there.

Every noun says where it came from (`module`: the module that has to be loaded first, empty where
none has to) and `missing` maps what could not be had to the reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class ModuleSystem:
    """`kind` is "lmod", "environment-modules" or "none"; `init` the file a bash sources for it.

    `hidden` maps a module that only shows after others are loaded to those others (Lmod's spider).
    """

    kind: str
    version: str = ""
    init: str = ""
    available: tuple[str, ...] = ()
    hidden: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    why_not: str = ""


@dataclass(frozen=True)
class CompilerFound:
    """`family` is gcc, clang, intel, nvhpc, aocc, cray, arm, flang ...; `language` c, c++, fortran.

    `wrapped` is the family behind a wrapper (Cray's cc), else empty.
    """

    family: str
    language: str
    command: str
    path: str
    version: str
    module: str = ""
    wrapped: str = ""


@dataclass(frozen=True)
class MpiFound:
    """An MPI: `family` openmpi, mpich, intel, mvapich, cray; `abi` mpich, openmpi or unknown.

    `wrappers` maps a language to the wrapper's path, `compiles_with` a language to the compiler
    behind it, `launcher` is its own mpirun (empty: none beside the wrappers).
    """

    family: str
    version: str
    abi: str
    wrappers: Mapping[str, str]
    compiles_with: Mapping[str, str]
    launcher: str
    module: str = ""


@dataclass(frozen=True)
class BlasFound:
    """A BLAS (and LAPACK) library, told by its symbols and not by its name.

    `family` openblas, blis, mkl, atlas, reference, armpl, libsci, unknown; `interface` lp64 or
    ilp64; `threading` serial, pthreads, openmp; `kind` shared or static. `needs` are its
    DT_NEEDED, `openmp_runtime` the OpenMP runtime among them; `headers` the include folder that
    belongs to it (empty: none found).
    """

    family: str
    version: str
    path: str
    realpath: str
    kind: str
    interface: str
    threading: str
    symbol_prefix: str
    symbol_suffix: str
    has_cblas: bool
    has_lapack: bool
    needs: tuple[str, ...] = ()
    openmp_runtime: str = ""
    headers: str = ""
    module: str = ""


@dataclass(frozen=True)
class OpenmpRuntime:
    """`family` gomp, omp (LLVM), iomp5, nvomp, craymp."""

    family: str
    path: str
    module: str = ""


@dataclass(frozen=True)
class Software:
    """All of it, as one node has it."""

    modules: ModuleSystem
    loaded: tuple[str, ...]
    compilers: tuple[CompilerFound, ...]
    mpis: tuple[MpiFound, ...]
    blas: tuple[BlasFound, ...]
    openmp: tuple[OpenmpRuntime, ...]
    missing: Mapping[str, str]
