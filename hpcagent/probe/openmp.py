"""OpenMP runtimes: which one a file is, and which do not go together in one process.

Two runtimes in one process have two pools of threads, each for all cores, and neither knows the
other's locks and thread numbers. LLVM's and Intel's stop the program when they meet each other
("OMP: Error #15", LLVM OpenMP runtime messages); both also speak the interface of libgomp, so that
they can replace it, not join it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath

from hpcagent.probe.software import CompilerFound, OpenmpRuntime

# A hash before the number is what auditwheel and its like add ("libgomp-a34b3233.so.1").
_FAMILIES = (
    ("gomp", r"libgomp(-[0-9a-f]+)?\.so"),
    ("iomp5", r"libiomp5(-[0-9a-f]+)?\.so"),
    ("omp", r"libomp5?(-[0-9a-f]+)?\.so"),
    ("nvomp", r"libnvomp\.so"),
    ("craymp", r"libcraymp\.so"),
)
NAMES: Mapping[str, str] = {
    "gomp": "libgomp",
    "omp": "libomp",
    "iomp5": "libiomp5",
    "nvomp": "libnvomp",
    "craymp": "libcraymp",
}
# What -fopenmp (or its like) links by default, by the compilers' manuals.
_OF_COMPILER: Mapping[str, str] = {
    "gcc": "gomp",
    "clang": "omp",
    "flang": "omp",
    "aocc": "omp",
    "arm": "omp",
    "intel": "iomp5",
    "nvhpc": "nvomp",
    "cray": "craymp",
}


def family_of_name(name: str) -> str:
    """The family by a SONAME or path; empty: no OpenMP runtime by its name."""
    base = PurePosixPath(name).name
    for family, pattern in _FAMILIES:
        if re.match(pattern + r"(\.|$)", base):
            return family
    return ""


def family_of_symbols(marks: Sequence[str], soname: str, path: str) -> str:
    """The family of a runtime: one with only GOMP_parallel is GNU's, whatever it is called.

    The others share their symbols (__kmpc_fork_call) and differ by SONAME; LLVM's libgomp.so is
    such a one.
    """
    if "__kmpc_fork_call" not in marks:
        return "gomp" if "GOMP_parallel" in marks else family_of_name(soname or path)
    named = family_of_name(soname) or family_of_name(path)
    return named if named not in ("", "gomp") else "omp"


def runtimes_in(
    closure: Iterable[str], known: Iterable[OpenmpRuntime] = ()
) -> dict[str, tuple[str, ...]]:
    """family -> files, of the OpenMP runtimes among the libraries that a program loads.

    `closure` holds paths or SONAMEs; a path of a runtime in `known` is what it was told to be,
    the others are told by their names.
    """
    paths = {path: x.family for x in known for path in (x.path, *x.aliases)}
    found: dict[str, list[str]] = {}
    for name in closure:
        family = paths.get(name) or family_of_name(name)
        if family:
            found.setdefault(family, []).append(name)
    return {family: tuple(sorted(set(names))) for family, names in sorted(found.items())}


def conflict(closure: Iterable[str], known: Iterable[OpenmpRuntime] = ()) -> tuple[str, ...]:
    """The families of OpenMP runtimes that a program would load together; empty: none or one."""
    found = tuple(runtimes_in(closure, known))
    return found if len(found) > 1 else ()


def runtime_of_compiler(compiler: CompilerFound) -> str:
    """What its OpenMP switch links; empty: not known."""
    return _OF_COMPILER.get(compiler.wrapped or compiler.family, "")
