"""The words that link a program with one BLAS and one MPI, in the order that linkers want.

A library is named by its path, so that no search path can put another one in its place, and its
folder goes into the program's run path. Sources: the makefiles and pkg-config files of OpenBLAS,
BLIS and netlib LAPACK; Intel's oneMKL Link Line Advisor; the manuals of ArmPL, Cray LibSci and
ATLAS; ld(1), "--as-needed" and "--start-group".
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from types import MappingProxyType

from hpcagent.errors import UsageError
from hpcagent.probe.software import BlasFound, CompilerFound, LapackFound, MpiFound
from hpcagent.toolchain.flags import openmp_runtime

# The variables by which a wrapper is told another compiler: Open MPI's FAQ on compiling, MPICH's
# and Intel MPI's mpicc(1); MVAPICH is MPICH's.
_OMPI = {"c": "OMPI_CC", "c++": "OMPI_CXX", "fortran": "OMPI_FC"}
_MPICH = {"c": "MPICH_CC", "c++": "MPICH_CXX", "fortran": "MPICH_FC"}
_WRAPPER_VARIABLES: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "openmpi": _OMPI,
        "spectrum": _OMPI,
        "fujitsu": _OMPI,
        "mpich": _MPICH,
        "mvapich": _MPICH,
        "intel": {"c": "I_MPI_CC", "c++": "I_MPI_CXX", "fortran": "I_MPI_FC"},
    }
)
# MKL's threading layer for the OpenMP runtime that the program has anyway.
_MKL_THREADS: Mapping[str, str] = MappingProxyType(
    {"gomp": "mkl_gnu_thread", "omp": "mkl_intel_thread", "iomp5": "mkl_intel_thread",
     "nvomp": "mkl_pgi_thread"}
)  # fmt: skip


@dataclass(frozen=True)
class LinkLine:
    """What a library adds: `words` in their order, folders of the run path, and for compilation.

    `openmp` tells that the program must be linked with the compiler's OpenMP flag; `notes` are
    what a user should know (two runtimes, a guess).
    """

    words: tuple[str, ...]
    run_path: tuple[str, ...] = ()
    compile: tuple[str, ...] = ()
    openmp: bool = False
    notes: tuple[str, ...] = ()

    def __add__(self, other: LinkLine) -> LinkLine:
        return LinkLine(
            self.words + other.words,
            tuple(dict.fromkeys(self.run_path + other.run_path)),
            tuple(dict.fromkeys(self.compile + other.compile)),
            self.openmp or other.openmp,
            self.notes + other.notes,
        )


NOTHING = LinkLine(())


def blas_line(
    blas: BlasFound, linker: CompilerFound, integers: str, openmp: bool, lapack: bool = False
) -> LinkLine:
    """How `linker` links a program with this BLAS.

    `integers` is what the program passes (lp64 or ilp64), `openmp` whether it is compiled with
    OpenMP itself, `lapack` whether it calls LAPACK. UsageError where they cannot fit together.
    """
    if blas.interface != integers:
        raise UsageError(
            f"{blas.path} takes {blas.interface} integers and the program passes {integers}: "
            "choose another BLAS, or declare integers as they are"
        )
    if lapack and not blas.has_lapack:
        raise UsageError(f"{blas.path} has no LAPACK: name one beside it, or another BLAS")
    headers = (f"-I{blas.headers}",) if blas.headers and blas.family != "mkl" else ()
    notes = _runtime_notes(blas, linker, openmp)
    if blas.family == "libsci":
        return LinkLine((), (), (), False, ("Cray's wrappers link LibSci by themselves",))
    if blas.family == "mkl":
        words, define = _mkl(blas, linker)
        folders = (_folder(blas.path),) if blas.kind == "shared" else ()
        return LinkLine(words, folders, (*define, *_include(blas)), False, notes)
    if blas.kind == "shared":
        return LinkLine((blas.path,), (_folder(blas.path),), headers, False, notes)
    return LinkLine(_static(blas, linker), (), headers, blas.threading == "openmp", notes)


def lapack_line(lapack: LapackFound, linker: CompilerFound) -> LinkLine:
    """A LAPACK without a BLAS: it stands before the BLAS that it calls."""
    if lapack.kind == "shared":
        return LinkLine((lapack.path,), (_folder(lapack.path),))
    fortran = () if linker.language == "fortran" else ("-lgfortran",)
    return LinkLine((lapack.path, *fortran))


def wrapper_environment(
    mpi: MpiFound, compilers: Mapping[str, CompilerFound]
) -> tuple[tuple[str, str], ...]:
    """What makes the wrappers of this MPI call these compilers.

    UsageError where the MPI's Fortran module was made by another family: its format is its own.
    """
    fortran, wrapped = compilers.get("fortran"), mpi.compiles_with.get("fortran", "")
    if fortran is not None and wrapped and not _same_fortran(fortran.family, wrapped):
        raise UsageError(
            f"{mpi.family} {mpi.version} was built with {wrapped}: {fortran.command} cannot read "
            "its Fortran modules; take that compiler, or another MPI"
        )
    names = _WRAPPER_VARIABLES.get(mpi.family, {})
    return tuple((names[lang], compilers[lang].path) for lang in sorted(names) if lang in compilers)


def parse_shown(text: str) -> LinkLine:
    """What a wrapper's `-show` (Open MPI: `--showme`) adds to the compiler's words.

    Kept are the words that MPI needs: -I, -D, -L, -l, -pthread, run paths, libraries by path; what
    the packager compiled MPI itself with is left out.
    """
    try:
        words = shlex.split(text.strip().splitlines()[0] if text.strip() else "")[1:]
    except ValueError:
        raise UsageError(f"the MPI wrapper's words cannot be read: {text[:200]!r}") from None
    compiled: list[str] = []
    linked: list[str] = []
    folders: list[str] = []
    pairs = iter(words)
    for word in pairs:
        run_path = re.match(r"-Wl,-?-rpath(?:[,=](?P<one>/.*)|(?P<two>))\Z", word)
        if word.startswith(("-I", "-D")):
            compiled.append(word)
        elif run_path:
            folder = run_path["one"] or next(pairs, "").removeprefix("-Wl,")
            folders += [folder] if folder.startswith("/") else []
        elif word == "-pthread":
            compiled.append(word)
            linked.append(word)
        elif word.startswith("-L/"):
            linked.append(word)
            folders.append(word[2:])
        elif word.startswith("-l") or re.match(r"/.*\.(so|a)(\.[0-9]+)*\Z", word):
            linked.append(word)
    if not linked:
        raise UsageError(f"the MPI wrapper names no library to link: {text[:200]!r}")
    once = tuple(dict.fromkeys(compiled))
    return LinkLine(tuple(linked), tuple(dict.fromkeys(folders)), once)


def _static(blas: BlasFound, linker: CompilerFound) -> tuple[str, ...]:
    """An archive comes with nothing: threads, Fortran's runtime and libm stand behind it."""
    words = [blas.path]
    if blas.family == "atlas":
        folder = PurePosixPath(blas.path).parent
        names = ("liblapack.a", "libf77blas.a", "libcblas.a", "libatlas.a")
        words = [str(folder / name) for name in names if name != "liblapack.a" or blas.has_lapack]
    if blas.has_lapack and linker.language != "fortran":
        words.append("-lgfortran")
    if blas.threading != "serial":
        words.append("-lpthread")
    return (*words, "-lm")


def _mkl(blas: BlasFound, linker: CompilerFound) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Interface, threading and core layer, and the macro of the interface."""
    family = linker.wrapped or linker.family
    convention = "gf" if (linker.language, family) == ("fortran", "gcc") else "intel"
    layers = [f"mkl_{convention}_{blas.interface}"]
    runtime = openmp_runtime(linker)
    if blas.threading == "serial":
        layers.append("mkl_sequential")
    else:
        layers.append(_MKL_THREADS.get(runtime, "mkl_intel_thread"))
    layers.append("mkl_core")
    ending = ".so" if blas.kind == "shared" else ".a"
    files = [f"{_folder(blas.path)}/lib{name}{ending}" for name in layers]
    if blas.kind == "shared":
        # The layers call each other: none may be dropped because nothing before it needs it.
        words = ["-Wl,--push-state,--no-as-needed", *files, "-Wl,--pop-state"]
    else:
        words = ["-Wl,--start-group", *files, "-Wl,--end-group"]
    if blas.threading != "serial":
        words.append({"gomp": "-lgomp", "nvomp": "-mp"}.get(runtime, "-liomp5"))
    define = ("-DMKL_ILP64",) if blas.interface == "ilp64" else ()
    return (*words, "-lpthread", "-lm", "-ldl"), define


def _include(blas: BlasFound) -> tuple[str, ...]:
    return (f"-I{blas.headers}",) if blas.headers else ()


def _runtime_notes(blas: BlasFound, linker: CompilerFound, openmp: bool) -> tuple[str, ...]:
    found = []
    own = openmp_runtime(linker)
    if openmp and blas.openmp_runtime and blas.openmp_runtime != own and blas.family != "mkl":
        found.append(
            f"two OpenMP runtimes in one program: {own} of {linker.command} and "
            f"{blas.openmp_runtime} of {blas.path}"
        )
    if openmp and blas.threading == "pthreads":
        found.append(
            f"{blas.path} has threads of its own: with OpenMP in the program there may be more "
            "threads than cores (one BLAS thread, or an OpenMP BLAS, avoids it)"
        )
    if blas.family == "unknown":
        found.append(f"{blas.path}: what it is could not be told; it is linked as it stands")
    return tuple(found)


def _same_fortran(family: str, wrapped: str) -> bool:
    """Whether the compiler behind the wrapper (a family or a command) is of this family."""
    names = {"gcc": ("gcc", "gfortran"), "flang": ("flang", "clang"), "intel": ("intel", "ifx")}
    word = PurePosixPath(wrapped).name
    return any(word == name or word.startswith(name + "-") for name in names.get(family, (family,)))


def _folder(path: str) -> str:
    return str(PurePosixPath(path).parent)
