"""What software a node offers: modules, compilers, MPI, BLAS and OpenMP runtimes, as found there.

Every noun says where it came from: `module` names the modules to load first, in order and with a
space between them, empty where none has to be. `missing` maps what could not be had to the reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class ModuleSystem:
    """`kind` is "lmod", "environment-modules" or "none"; `init` the file a bash sources for it.

    `hidden` maps a module that only shows after others are loaded to those others (Lmod's spider;
    the shortest way where there are several). `why_not` says what is wrong with it, or why there is
    none. `refused` are names that no caller should hand to a shell. `ways` has all that are known
    of the ways to hidden ones.
    """

    kind: str
    version: str = ""
    init: str = ""
    available: tuple[str, ...] = ()
    hidden: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    why_not: str = ""
    defaults: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    ways: Mapping[str, tuple[tuple[str, ...], ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class ModuleEffect:
    """What loading `modules` (in that order) changed, or `problem`: its own words why it failed.

    `added` are new entries of variables like PATH, in order; `sets` and `unsets` whole variables.
    `loaded` is all that was loaded afterwards, so what it brought along is told. `holds` maps a
    folder of `added` to the names of its files, where these were asked for.
    """

    modules: tuple[str, ...]
    added: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    removed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    sets: Mapping[str, str] = field(default_factory=dict)
    unsets: tuple[str, ...] = ()
    loaded: tuple[str, ...] = ()
    problem: str = ""
    holds: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class CompilerFound:
    """`family` is gcc, clang, intel, nvhpc, aocc, cray, arm, flang ...; `language` c, c++, fortran.

    `wrapped` is the family behind a wrapper (Cray's cc), else empty. `target` is the triplet it
    compiles for (empty: it does not tell), `aliases` other commands that are the same file.
    """

    family: str
    language: str
    command: str
    path: str
    version: str
    module: str = ""
    wrapped: str = ""
    target: str = ""
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class MpiFound:
    """An MPI: `family` openmpi, mpich, intel, mvapich, cray, spectrum, fujitsu (these two are made
    from Open MPI); `abi` mpich, openmpi or unknown.

    `wrappers` maps a language to the wrapper's path, `compiles_with` a language to the compiler
    behind it, `launcher` is its own mpirun (empty: none beside the wrappers). `shows` maps a
    language to the wrapper's whole command; `default` is the one that a plain mpicc means.
    """

    family: str
    version: str
    abi: str
    wrappers: Mapping[str, str]
    compiles_with: Mapping[str, str]
    launcher: str
    module: str = ""
    shows: Mapping[str, str] = field(default_factory=dict)
    default: bool = False


@dataclass(frozen=True)
class BlasFound:
    """A BLAS (and LAPACK) library, told by its symbols and not by its name.

    `family` openblas, blis, mkl, atlas, reference, armpl, libsci, nvpl, flexiblas, essl, unknown;
    `interface` lp64, ilp64, unknown; `threading` serial, pthreads, openmp, unknown; `kind` shared
    or static. `needs` are its DT_NEEDED, `openmp_runtime` the OpenMP runtime that it brings along
    (gomp, omp, iomp5, nvomp, craymp; empty: none); `headers` the include folder that belongs to it
    (empty: none found). `aliases` are all paths that lead to it, `loads` the other libraries that
    came with it when it was loaded, `evidence` what `family`, `interface` and `threading` rest on,
    `config` what it says of its build.
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
    soname: str = ""
    runpath: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    loads: tuple[str, ...] = ()
    evidence: Mapping[str, str] = field(default_factory=dict)
    config: str = ""


@dataclass(frozen=True)
class LapackFound:
    """A LAPACK library without a BLAS of its own; `needs` tells which one it wants."""

    path: str
    kind: str
    aliases: tuple[str, ...]
    needs: tuple[str, ...] = ()
    module: str = ""


@dataclass(frozen=True)
class OpenmpRuntime:
    """`family` gomp, omp (LLVM), iomp5, nvomp, craymp, told by symbols and then by its SONAME."""

    family: str
    path: str
    module: str = ""
    soname: str = ""
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class Software:
    """All of it, as one node has it.

    `not_looked_at` names modules that might provide something and were not loaded (too many, or out
    of time).
    """

    modules: ModuleSystem
    loaded: tuple[str, ...]
    compilers: tuple[CompilerFound, ...]
    mpis: tuple[MpiFound, ...]
    blas: tuple[BlasFound, ...]
    openmp: tuple[OpenmpRuntime, ...]
    missing: Mapping[str, str]
    lapack: tuple[LapackFound, ...] = ()
    effects: tuple[ModuleEffect, ...] = ()
    not_looked_at: tuple[str, ...] = ()
