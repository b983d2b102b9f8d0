"""Compiler flags: for a microarchitecture, for OpenMP, by the family of the compiler.

Sources: archspec's database (microarchitectures); the manuals of GCC, Clang, Intel oneAPI, NVIDIA
HPC, AOCC, Cray (CCE) and Arm compilers (OpenMP, integers of 64 bits).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from hpcagent.errors import UsageError
from hpcagent.probe.microarch import Optimised, known, optimisation_flags
from hpcagent.probe.software import CompilerFound

# Our family -> archspec's word. LLVM's flang takes clang's -march.
_ARCHSPEC: Mapping[str, str] = MappingProxyType(
    {
        "gcc": "gcc",
        "clang": "clang",
        "flang": "clang",
        "intel": "oneapi",
        "nvhpc": "nvhpc",
        "aocc": "aocc",
        "arm": "arm",
    }
)
# archspec calls them "intel"; since 2021 icx, icpx and ifx take their place.
_INTEL_CLASSIC = ("icc", "icpc", "ifort")
_OPENMP: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "gcc": ("-fopenmp",),
        "clang": ("-fopenmp",),
        "flang": ("-fopenmp",),
        "intel": ("-qopenmp",),
        "nvhpc": ("-mp",),
        "aocc": ("-fopenmp",),
        "arm": ("-fopenmp",),
        "cray": ("-fopenmp",),
    }
)
# The library that -fopenmp and its like link: the runtime's family as in OpenmpRuntime.
_RUNTIME: Mapping[str, str] = MappingProxyType(
    {
        "gcc": "gomp",
        "clang": "omp",
        "flang": "omp",
        "aocc": "omp",
        "arm": "omp",
        "intel": "iomp5",
        "nvhpc": "nvomp",
        "cray": "craymp",
    }
)
LEVELS = ("O0", "O1", "O2", "O3")
STANDARDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "c": ("c99", "c11", "c17", "gnu11", "gnu17"),
        "c++": ("c++11", "c++14", "c++17", "c++20"),
        "fortran": ("f2003", "f2008", "f2018"),
    }
)


def microarchitecture_flags(name: str, compiler: CompilerFound) -> Optimised:
    """Flags for code that runs on `name`; `reason` where others or none are used.

    `name` is archspec's, or "portable": no flags, whatever runs the compiler's default code.
    """
    if name == "portable":
        return Optimised((), "", "")
    if not known(name):
        raise UsageError(f"microarchitecture {name!r} is not known (archspec's names, or portable)")
    family = compiler.wrapped or compiler.family
    word = "intel" if compiler.command in _INTEL_CLASSIC else _ARCHSPEC.get(family)
    if word is None:
        why = "its wrapper chooses by the loaded module" if family == "cray" else "not known"
        return Optimised((), "", f"no flags for {name} from {compiler.command}: {why}")
    version = plain_version(compiler.version)
    if not version:
        return Optimised((), "", f"no flags for {name}: {compiler.command}'s version is not known")
    return optimisation_flags(name, word, version)


def openmp_flags(compiler: CompilerFound) -> tuple[str, ...]:
    """What makes this compiler compile and link OpenMP; UsageError for an unknown family."""
    family = compiler.wrapped or compiler.family
    if family not in _OPENMP:
        raise UsageError(f"{compiler.command}: the OpenMP flag of {family!r} is not known")
    return _OPENMP[family]


def openmp_runtime(compiler: CompilerFound) -> str:
    """The family of the runtime that comes with it: gomp, omp, iomp5, nvomp, craymp, or unknown."""
    return _RUNTIME.get(compiler.wrapped or compiler.family, "unknown")


def plain_version(text: str) -> str:
    """The dotted digits at the beginning of a version: "12.2.0-14" is "12.2.0"; else empty."""
    found = re.match(r"[0-9]+(?:\.[0-9]+)*", text)
    return found.group() if found else ""


def standard_flag(standard: str, compiler: CompilerFound) -> tuple[str, ...]:
    """What asks for a standard of STANDARDS; UsageError where it or the family has none."""
    if standard not in STANDARDS[compiler.language]:
        known_ones = ", ".join(STANDARDS[compiler.language])
        raise UsageError(
            f"standard {standard!r} of {compiler.language}: choose one of {known_ones}"
        )
    family = compiler.wrapped or compiler.family
    if family == "intel" and compiler.language == "fortran":
        return ("-stand", "f" + standard[-2:])
    if family == "nvhpc" and compiler.language == "fortran":
        return ("-Mstandard",)
    return (f"-std={standard}",)


def module_folder_flags(compiler: CompilerFound, folder: str) -> tuple[str, ...]:
    """What makes a Fortran compiler write its modules into this folder and look for them there."""
    family = compiler.wrapped or compiler.family
    if family in ("intel", "nvhpc"):
        return ("-module", folder)
    return (f"-J{folder}",)
