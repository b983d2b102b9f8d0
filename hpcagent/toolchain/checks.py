"""What is wrong with a cell although it ran, or why it died: from what it printed of itself, from
its ELF file and the node's features. Each check is a pure function and names one trouble."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from hpcagent.probe.software import BlasFound
from hpcagent.records import Failure, Machine
from hpcagent.toolchain.causes import Finding, signal_of
from hpcagent.toolchain.labels import blas_label, mpi_label
from hpcagent.toolchain.matrix import Cell
from hpcagent.toolchain.readback import FEATURE_OF_MACRO, Elf, Readback, instruction_set

# OpenBLAS's kernels without AVX2: what it takes where it does not know the CPU (its cpuid files).
_OLD_KERNELS = frozenset((
    "prescott", "core2", "penryn", "dunnington", "nehalem", "sandybridge", "generic", "katmai",
    "coppermine", "northwood", "banias", "atom", "athlon", "opteron", "opteron_sse3", "barcelona",
    "bobcat", "bulldozer", "piledriver", "unknown",
))  # fmt: skip
# Several files make up one library: which of them has a routine does not matter.
_LAYERED = ("mkl", "libsci")
_RUNTIMES = {
    "libgomp": "libgomp (GCC)",
    "libomp": "libomp (LLVM)",
    "libiomp5": "libiomp5 (Intel)",
    "libnvomp": "libnvomp (NVIDIA)",
    "libcraymp": "libcraymp (Cray)",
}
_MPI_WORDS = {
    "openmpi": "Open MPI",
    "intel": "Intel(R) MPI",
    "mvapich": "MVAPICH",
    "cray": "CRAY MPICH",
    "mpich": "MPICH",
    "spectrum": "IBM Spectrum MPI",
    "fujitsu": "FUJITSU MPI",
}


@dataclass(frozen=True)
class Seen:
    """All that is known of a cell that was linked.

    `turned_on` are the CPU features that its flags turn on; `built_on` names the host where it was
    built if that is another one; `module_paths` maps a module to the folders that it puts into
    LD_LIBRARY_PATH.
    """

    cell: Cell
    machine: Machine
    run: Mapping[str, Any]
    readback: Readback
    elf: Elf | None = None
    turned_on: frozenset[str] = frozenset()
    built_on: str = ""
    module_paths: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    threads: int = 1
    ranks: int = 1


def findings(seen: Seen) -> tuple[Finding, ...]:
    """Every trouble that a check names, grave ones first."""
    found = [finding for check in _CHECKS if (finding := check(seen)) is not None]
    return tuple(sorted(found, key=lambda finding: not finding.grave))


def _finding(id_: str, evidence: str, cure: str, grave: bool = True) -> Finding:
    stage, _, kind = id_.partition(".")
    return Finding(Failure(stage, kind, evidence), grave, cure)


# --- the instruction set -------------------------------------------------------------------------


def illegal_instruction(seen: Seen) -> Finding | None:
    """Code for a CPU that has more than the node's."""
    output = str(seen.run.get("output") or "")
    told = signal_of(seen.run) == signal.SIGILL or "Illegal instruction" in output
    if not told and not seen.readback.first("illegal_instruction"):
        return None
    code = seen.readback.first("illegal_instruction")
    kind = instruction_set(code) if seen.machine.architecture == "x86_64" else ""
    words = ["killed by SIGILL"]
    words += [f"at the instruction {code}" + (f", {kind}" if kind else "")] if code else []
    lacking = sorted(seen.turned_on - frozenset(seen.machine.features))
    if lacking and seen.machine.features:
        words.append(f"its flags turn on {', '.join(lacking)}, which {seen.machine.host} lacks")
    cure = "compile with -march=native on the node that runs it, or for the oldest kind of node"
    if seen.built_on:
        words.append(f"it was built on {seen.built_on}")
        cure = f"build in a job on {seen.machine.host}'s kind of node, not on {seen.built_on}"
    return _finding("run.illegal_instruction", "; ".join(words), cure)


def newer_than(features: Iterable[str], builder: str, node: Machine) -> Finding | None:
    """Before anything is built: what `-march=native` on `builder` turns on and the node lacks.

    `features` are the builder's, in the kernel's words; only those that compilers use count.
    """
    used = frozenset(features) & frozenset(FEATURE_OF_MACRO.values())
    lacking = sorted(used - frozenset(node.features))
    if not lacking or not node.features:
        return None
    evidence = f"{builder} has {', '.join(lacking)}; {node.host} has not"
    cure = (
        f"build in a job on {node.host}'s kind of node: -march=native on {builder} dies of SIGILL"
    )
    return _finding("environment.newer_than_node", evidence, cure, grave=False)


# --- libraries -----------------------------------------------------------------------------------


def other_library(seen: Seen) -> Finding | None:
    """Another BLAS is loaded than was linked: shadowed, or found without an rpath."""
    blas, loaded = seen.cell.blas, seen.readback.first("blas_library")
    if blas is None or blas.kind == "static" or not loaded.startswith("/"):
        return None
    wanted = blas.realpath or blas.path
    layered = blas.family in _LAYERED and PurePath(loaded).parent == PurePath(wanted).parent
    if loaded == wanted or layered:
        return _other_threading(seen, blas)
    evidence = f"{blas.path} was linked, {loaded} is loaded"
    preload = seen.readback.first("env_LD_PRELOAD")
    if loaded in preload or (seen.readback.first("blas_library_as") or loaded) in preload:
        return _finding("load.shadowed_library", f"{evidence}: LD_PRELOAD={preload}", _UNSET)
    shadow = _shadowing_folder(seen, loaded, blas)
    if shadow:
        return _shadowed(seen, evidence, shadow)
    folder = str(PurePath(blas.path).parent)
    if seen.elf is not None and folder not in seen.elf.folders:
        told = f"{evidence}: the program has no rpath to {folder}"
        return _finding("load.missing_rpath", told, f"link with -Wl,-rpath,{folder}")
    return _finding("load.other_library", evidence, f"link {blas_label(blas)} by its whole path")


_UNSET = "unset it, or leave the library out of it"


def _shadowing_folder(seen: Seen, loaded: str, blas: BlasFound) -> str:
    """The folder of LD_LIBRARY_PATH, which goes before RUNPATH, that gave the library."""
    folders = [f for f in seen.readback.first("env_LD_LIBRARY_PATH").split(":") if f]
    found = PurePath(seen.readback.first("blas_library_as") or loaded).parent
    linked = PurePath(blas.path).parent
    return next((f for f in folders if PurePath(f) == found and found != linked), "")


def _shadowed(seen: Seen, evidence: str, folder: str) -> Finding:
    owner = next((m for m, given in seen.module_paths.items() if folder in given), "")
    if owner:
        told = f"{evidence}: module {owner} puts {folder} into LD_LIBRARY_PATH"
        return _finding("load.shadowed_library", told, f"do not load {owner} with this BLAS")
    told = f"{evidence}: {folder} is in LD_LIBRARY_PATH"
    cure = f"take {folder} out of LD_LIBRARY_PATH, or link with -Wl,--disable-new-dtags"
    return _finding("load.shadowed_library", told, cure)


def _other_threading(seen: Seen, blas: BlasFound) -> Finding | None:
    """The file is the right one, what it calls is not (a libblas that needs a libopenblas)."""
    threading = seen.readback.first("blas_threading")
    if not threading or blas.threading in ("unknown", "", threading):
        return None
    told = f"{blas.path} should be of {blas.threading}, what is loaded says {threading}"
    cure = (
        "link the library that does the work (libopenblas) by its whole path, with an rpath to it"
    )
    return _finding("load.other_library", told, cure)


def missing_library(seen: Seen) -> Finding | None:
    """The BLAS that was linked is not found, for want of an rpath."""
    blas = seen.cell.blas
    pattern = r"error while loading shared libraries: (\S+): cannot open shared object"
    match = re.search(pattern, str(seen.run.get("output") or ""))
    if match is None or blas is None:
        return None
    folder = str(PurePath(blas.path).parent)
    if seen.elf is None or folder in seen.elf.folders or not _gives(blas, match[1]):
        return None
    told = f"{match[0]}; it is in {folder}, to which the program has no rpath"
    return _finding("load.missing_rpath", told, f"link with -Wl,-rpath,{folder}")


def _gives(blas: BlasFound, name: str) -> bool:
    """Whether a name is this library's: libopenblas.so.0 is of libopenblas.so."""
    stem = name.split(".so", 1)[0]
    return any(PurePath(path).name.startswith(stem) for path in (blas.path, blas.realpath))


# --- headers and widths --------------------------------------------------------------------------


def interface_mismatch(seen: Seen) -> Finding | None:
    """Integers of 32 bits for a library with 64, or the other way round."""
    library = seen.readback.number("blas_integer_bits")
    program = seen.readback.number("program_integer_bits")
    header = seen.readback.number("cblas_header_bits")
    if not library:
        return None
    name = seen.readback.first("blas_library") or "the BLAS"
    cure = "take the library and the header of one width: both LP64 (32 bits) or both ILP64 (64)"
    if header and header != library:
        told = f"cblas.h has integers of {header} bits, {name} of {library}"
        return _finding("compile.interface_mismatch", told, cure)
    if program and program != library:
        told = f"the program has integers of {program} bits, {name} of {library}"
        return _finding("link.interface_mismatch", told, cure)
    return None


def foreign_header(seen: Seen) -> Finding | None:
    """cblas.h of one BLAS with the library of another. Netlib's, the standard, suits all."""
    header = seen.readback.first("cblas_header")
    blas = seen.cell.blas
    if not header or header == "reference" or blas is None:
        return None
    library = seen.readback.first("blas_family") or blas.family
    if header == library or library == "unknown":
        return None
    path = seen.readback.first("cblas_library") or blas.path
    told = f"cblas.h is of {header}, {path} of {library}"
    cure = f"put -I of {library}'s headers first; CPATH and C_INCLUDE_PATH go before the system's"
    return _finding("compile.foreign_header", told, cure, grave=_widths_differ(seen))


def _widths_differ(seen: Seen) -> bool:
    header = seen.readback.number("cblas_header_bits")
    library = seen.readback.number("blas_integer_bits")
    return bool(header) and bool(library) and header != library


# --- threads -------------------------------------------------------------------------------------


def two_runtimes(seen: Seen) -> Finding | None:
    """Two OpenMP runtimes in one process: two pools of threads, and settings that reach one."""
    paths = dict.fromkeys(seen.readback.values.get("openmp_runtime", ()))
    names = {path: PurePath(path).name.split(".")[0].split("-")[0] for path in paths}
    if len(set(names.values())) < 2:
        return None
    told = " and ".join(f"{_RUNTIMES.get(name, name)} {path}" for path, name in names.items())
    ran = _threads_that_ran(seen)
    serial = ran is not None and ran < seen.threads
    told += f": {ran} of {seen.threads} threads ran" if serial else ""
    cure = "take a BLAS without OpenMP or with this compiler's; or let GCC compile what uses OpenMP"
    return _finding("run.two_openmp", told, cure, grave=serial)


def oversubscribed(seen: Seen) -> Finding | None:
    """A BLAS with threads of its own, called from every thread of an OpenMP team."""
    team = seen.readback.number("openmp_team")
    busy = seen.readback.number("threads_busy")
    blas = seen.cell.blas
    if blas is None or not team or not busy or busy <= team:
        return None
    if (seen.readback.first("blas_threading") or blas.threading) != "pthreads":
        return None
    pool = seen.readback.number("blas_threads")
    own = f"{pool} pthreads" if pool and pool > 1 else "pthreads"
    told = f"{team} OpenMP threads call a BLAS with {own} of its own: {busy} were busy"
    variable = {"blis": "BLIS_NUM_THREADS", "mkl": "MKL_NUM_THREADS"}.get(blas.family)
    variable = variable or "OPENBLAS_NUM_THREADS"
    cure = f"set {variable}=1 where OpenMP threads call it, or take its OpenMP build"
    return _finding("run.oversubscribed", told, cure, grave=False)


def _threads_that_ran(seen: Seen) -> int | None:
    """Of an OpenMP team; None where there is none."""
    team = seen.readback.number("openmp_team")
    real = seen.readback.number("openmp_threads")
    return None if team is None or real is None else min(team, real)


def fewer_threads(seen: Seen) -> Finding | None:
    ran = _threads_that_ran(seen)
    if ran is None or ran >= seen.threads or two_runtimes(seen) is not None:
        return None
    told = f"OMP_NUM_THREADS={seen.threads}, and {ran} ran"
    cure = "see OMP_THREAD_LIMIT, OMP_DYNAMIC and the CPUs that the job may use"
    return _finding("run.fewer_threads", told, cure, grave=False)


def old_kernels(seen: Seen) -> Finding | None:
    """An OpenBLAS that does not know the CPU falls back to kernels of twenty years ago."""
    core = seen.readback.first("blas_core")
    if core.lower() not in _OLD_KERNELS or "avx2" not in seen.machine.features:
        return None
    better = "SkylakeX" if "avx512f" in seen.machine.features else "Haswell"
    told = f"OpenBLAS took its {core} kernels on a CPU with AVX2"
    cure = f"set OPENBLAS_CORETYPE={better}, or take a newer OpenBLAS; hpcagent tune measures it"
    return _finding("run.old_kernels", told, cure, grave=False)


# --- MPI -----------------------------------------------------------------------------------------


def mismatched_launcher(seen: Seen) -> Finding | None:
    """Every rank is the first of one: the launcher is of another MPI."""
    mpi, ranks = seen.cell.mpi, seen.readback.ranks
    if mpi is None or seen.ranks < 2 or not ranks or any(size != 1 for _, size in ranks):
        return None
    version = " ".join(seen.readback.first("mpi_version").split(",")[0].split())
    told = f"{' '.join(seen.cell.launcher)} -n {seen.ranks}: each process is rank 0 of 1"
    told += f" of {version}" if version else ""
    cure = "start it with the mpirun beside the mpicc that built it, or srun --mpi=TYPE of that MPI"
    return _finding("mpi.mixed_launcher", told, cure)


def other_mpi(seen: Seen) -> Finding | None:
    """The loaded MPI is not the wrapper's."""
    mpi, version = seen.cell.mpi, seen.readback.first("mpi_version")
    word = _MPI_WORDS.get(mpi.family) if mpi else None
    if mpi is None or word is None or not version or word.lower() in version.lower():
        return None
    told = f"{mpi_label(mpi)} was linked, {seen.readback.first('mpi_library')} says {version}"
    cure = "see LD_LIBRARY_PATH: the folder of the other MPI goes before; load one MPI only"
    return _finding("load.other_mpi", told, cure)


# --- the answer ----------------------------------------------------------------------------------


def wrong_answer(seen: Seen) -> Finding | None:
    if seen.readback.first("answer") != "wrong":
        return None
    told = f"{seen.cell.label}: a known answer came out wrong"
    cure = "do not use this combination; run it again to see whether it always is"
    return _finding("numerics.wrong_answer", told, cure)


_CHECKS: tuple[Callable[[Seen], Finding | None], ...] = (
    illegal_instruction,
    missing_library,
    interface_mismatch,
    other_library,
    foreign_header,
    mismatched_launcher,
    other_mpi,
    wrong_answer,
    two_runtimes,
    oversubscribed,
    fewer_threads,
    old_kernels,
)
