"""From the matrix to the steps of a unit: compile, link, look at the ELF file, run. Pure.

Every cell is built in a folder of its own below build/, where Fortran modules land too; cells
whose objects are compiled alike share one. The unit's files are the programs (cells/).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hpcagent.errors import UsageError
from hpcagent.probe.software import BlasFound, CompilerFound, Software
from hpcagent.records import Machine
from hpcagent.toolchain.agentchecks import AgentAsks, agent_files, agent_steps
from hpcagent.toolchain.choose import NOTHING_PREFERRED, Preference
from hpcagent.toolchain.flags import openmp_flags
from hpcagent.toolchain.linkline import blas_line, wrapper_environment
from hpcagent.toolchain.matrix import Cell, Matrix, build_matrix

SOURCES = {"c": "cell.c", "c++": "cell.cpp", "fortran": "cell.F90"}
_COMPILE_S, _LINK_S, _RUN_S, _MPI_S, _LOOK_S = 60, 60, 30, 60, 20
_BUDGET_S, _BUDGET_ALL_S = 600, 7200
_KEEP_BYTES = 20000
_MOST_THREADS = 4
_RANKS = 2
_MOST_JOBS = 16  # each may hold several threads and ranks
# Words of each compiler's manual for code for the CPU that it runs on: x86-64, others.
_NATIVE = {
    "gcc": ("-march=native", "-mcpu=native"),
    "clang": ("-march=native", "-mcpu=native"),
    "aocc": ("-march=native", "-mcpu=native"),
    "arm": ("-mcpu=native", "-mcpu=native"),
    "intel": ("-xHost", ""),
    "nvhpc": ("-tp=host", "-tp=host"),
}
# The job has one task: a step of several shares its CPUs. Variables, as old versions of srun refuse
# options that they do not know: "INPUT ENVIRONMENT VARIABLES" of srun(1).
_SRUN = {"SLURM_OVERLAP": "1", "SLURM_OVERCOMMIT": "1", "SLURM_CPUS_PER_TASK": "1",
         "SRUN_CPUS_PER_TASK": "1", "SLURM_CPU_BIND": "none"}  # fmt: skip
# What blas.h asks a library by name.
_ASKED = tuple(f"openblas_get_{x}" for x in ("config", "corename", "parallel", "num_threads"))
_MACROS = ("gcc", "clang", "aocc", "intel", "arm")  # take -dM -E


@dataclass(frozen=True)
class Treatment:
    """How cells are built and run: `flags` replaces a family's flags for the CPU, `environment` is
    set for every run, `rpath` puts the folder of the BLAS into the program, `budget_s` and `jobs`
    bound the unit (0: what suits the set and the machine)."""

    flags: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    rpath: bool = True
    budget_s: int = 0
    jobs: int = 0


@dataclass(frozen=True)
class CellSteps:
    """The ids of a cell's steps; `elf` is empty where nothing is looked up."""

    compile: str
    link: str
    elf: str
    run: str
    threads: int
    ranks: int


@dataclass(frozen=True)
class DoctorPlan:
    """What is tried and how.

    `steps` maps a cell's id to its steps, `macros` what `macros_key` tells to the step that lists
    what the flags turn on, `paths` modules loaded one after the other to the step that prints
    LD_LIBRARY_PATH with them.
    """

    matrix: Matrix
    steps: Mapping[str, CellSteps]
    macros: Mapping[str, str]
    paths: Mapping[tuple[str, ...], str]
    spec: Mapping[str, Any]
    files: Mapping[str, str]


def doctor_plan(
    software: Software,
    machine: Machine,
    *,
    all_: bool = False,
    asks: AgentAsks | None = None,
    treatment: Treatment | None = None,
    prefer: Preference = NOTHING_PREFERRED,
    srun_types: Sequence[str] = (),
) -> DoctorPlan:
    """The plan for one node, and with `asks` for what an agent needs there; the same facts give the
    same plan. `prefer` and `srun_types` are as build_matrix has them."""
    treatment = treatment or Treatment()
    matrix = build_matrix(software, all_=all_, prefer=prefer, srun_types=srun_types)
    draft = _Steps(machine, treatment)
    draft.folders(matrix.cells)
    steps = {cell.id: draft.add(cell) for cell in matrix.cells}
    budget_s = treatment.budget_s or (_BUDGET_ALL_S if all_ else _BUDGET_S)
    spec = {
        "schema": 1,
        "budget_s": budget_s,
        "jobs": treatment.jobs or min(machine.usable_cores, _MOST_JOBS),
        "module_init": software.modules.init,
        "steps": draft.rows + (agent_steps(asks) if asks is not None else []),
    }
    files = cell_files() | (agent_files() if asks is not None else {})
    return DoctorPlan(matrix, steps, draft.macros, draft.paths, spec, files)


def doctor_steps(
    software: Software, machine: Machine, all_: bool = False, asks: AgentAsks | None = None
) -> tuple[dict[str, Any], dict[str, str]]:
    """The spec of the unit (contract of steps.py) and its files by relative name."""
    plan = doctor_plan(software, machine, all_=all_, asks=asks)
    return dict(plan.spec), dict(plan.files)


def cell_files() -> dict[str, str]:
    """The programs, by their names in the unit."""
    folder = Path(__file__).parent / "cells"
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    return {f"cells/{name}": (folder / name).read_text(encoding="utf-8") for name in names}


class _Steps:
    """The steps in the making."""

    def __init__(self, machine: Machine, treatment: Treatment) -> None:
        self._x86 = machine.architecture == "x86_64"
        self._treatment = treatment
        self._threads = max(2, min(machine.usable_cores, _MOST_THREADS))
        self.rows: list[dict[str, Any]] = []
        self.macros: dict[str, str] = {}
        self.paths: dict[tuple[str, ...], str] = {}
        self._objects: dict[tuple[object, ...], str] = {}

    def folders(self, cells: Sequence[Cell]) -> None:
        words = ["mkdir", "-p", *(_folder(cell.id) for cell in cells)]
        self.rows.append(_step("folders", words, _LOOK_S))

    def add(self, cell: Cell) -> CellSteps:
        self._list_macros(cell)
        self._list_paths(cell)
        object_ = self._compile(cell)
        link = self._link(cell, object_)
        elf = self._look(cell, link) if cell.mpi or cell.blas else ""
        ranks = _RANKS if cell.mpi else 1
        return CellSteps(object_, link, elf, self._run(cell, link), self._threads, ranks)

    def _list_macros(self, cell: Cell) -> None:
        """What the flags turn on, once a toolset, so that a SIGILL can be explained."""
        compiler, key = cell.compiler, macros_key(cell)
        if compiler.language == "fortran" or compiler.family not in _MACROS or key in self.macros:
            return
        words = [compiler.path, *self._cpu_flags(compiler.family), "-dM", "-E", "-x", "c"]
        id_ = f"{cell.id}.macros"
        row = _step(id_, [*words, "/dev/null"], _LOOK_S, modules=cell.modules)
        self.rows.append(row)
        self.macros[key] = id_

    def _list_paths(self, cell: Cell) -> None:
        """What each module puts into LD_LIBRARY_PATH, to explain a shadowed library."""
        for count in range(len(cell.modules) + 1 if cell.modules else 0):
            loaded = cell.modules[:count]
            if loaded not in self.paths:
                self.paths[loaded] = f"paths-{len(self.paths)}"
                words = ["sh", "-c", 'printf "%s\\n" "${LD_LIBRARY_PATH-}"']
                self.rows.append(_step(self.paths[loaded], words, _LOOK_S, modules=loaded))

    def _compile(self, cell: Cell) -> str:
        words = [_driver(cell), *self._flags(cell), *_definitions(cell)]
        words += ["-c", f"../../cells/{SOURCES[cell.language]}", "-o", "cell.o"]
        env = _behind(cell)
        key = (tuple(words), tuple(env.items()), cell.modules)
        if key not in self._objects:
            self._objects[key] = f"{cell.id}.compile"
            row = _step(self._objects[key], words, _COMPILE_S, _folder(cell.id), cell.modules, env)
            self.rows.append({**row, "needs": ["folders"], "makes": ["cell.o"]})
        return self._objects[key]

    def _link(self, cell: Cell, object_: str) -> str:
        owner = object_.removesuffix(".compile")
        words = [_driver(cell), *self._flags(cell), f"../{owner}/cell.o", "-o", "cell"]
        words += self._libraries(cell)
        row = _step(
            f"{cell.id}.link", words, _LINK_S, _folder(cell.id), cell.modules, _behind(cell)
        )
        self.rows.append({**row, "needs": [object_], "makes": ["cell"]})
        return f"{cell.id}.link"

    def _libraries(self, cell: Cell) -> list[str]:
        """The same words with which programs are built (linkline.py)."""
        blas, words = cell.blas, list[str]()
        if blas is not None:
            line = blas_line(blas, cell.compiler, blas.interface, cell.openmp)
            if blas.kind == "static":
                # What is looked up by name has to be in the program, and to be seen.
                names = (f"{blas.symbol_prefix}ddot_{blas.symbol_suffix}", *_ASKED)
                words += ["-Wl,--export-dynamic", *(f"-Wl,-u,{name}" for name in names)]
            words += line.words
            words += _openmp(cell.compiler) if line.openmp and not cell.openmp else ()
            if self._treatment.rpath:
                words += [f"-Wl,-rpath,{folder}" for folder in line.run_path]
        return [*words, "-ldl", "-lpthread", "-lm"]

    def _look(self, cell: Cell, link: str) -> str:
        id_ = f"{cell.id}.elf"
        row = _step(id_, ["readelf", "-dW", "cell"], _LOOK_S, _folder(cell.id), cell.modules)
        self.rows.append({**row, "needs": [link]})
        return id_

    def _run(self, cell: Cell, link: str) -> str:
        words, limit_s = ["./cell"], _RUN_S
        if cell.mpi is not None:
            words = ["sh", "../../cells/launch.sh", *cell.launcher, "-n", str(_RANKS), "./cell"]
            limit_s = _MPI_S
        env = {"OMP_NUM_THREADS": str(self._threads), **self._treatment.environment}
        env |= _SRUN if cell.srun else {}
        id_ = f"{cell.id}.run"
        row = _step(id_, words, limit_s, _folder(cell.id), cell.modules, env)
        self.rows.append({**row, "needs": [link]})
        return id_

    def _flags(self, cell: Cell) -> list[str]:
        family = cell.compiler.family
        words = ["-O3", *self._cpu_flags(family)]
        return [*words, *_openmp(cell.compiler)] if cell.openmp else words

    def _cpu_flags(self, family: str) -> tuple[str, ...]:
        if family in self._treatment.flags:
            return self._treatment.flags[family]
        on_x86, elsewhere = _NATIVE.get(family, ("", ""))
        word = on_x86 if self._x86 else elsewhere
        return (word,) if word else ()


def macros_key(cell: Cell) -> str:
    """What the flags of a cell turn on is the same for all cells with this key."""
    return f"{cell.toolset} {cell.compiler.module}"


def _step(
    id_: str,
    argv: Sequence[str],
    limit_s: int,
    cwd: str = ".",
    modules: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    return {
        "id": id_,
        "argv": list(argv),
        "cwd": cwd,
        "env": dict(env or {}),
        "modules": list(modules),
        "timeout_s": limit_s,
        "keep_bytes": _KEEP_BYTES,
    }


def _folder(id_: str) -> str:
    return f"build/{id_}"


def _driver(cell: Cell) -> str:
    return cell.mpi.wrappers[cell.language] if cell.mpi else cell.compiler.path


def _openmp(compiler: CompilerFound) -> tuple[str, ...]:
    try:
        return openmp_flags(compiler)
    except UsageError:
        return ("-fopenmp",)  # what most compilers of an unknown family take


def _behind(cell: Cell) -> dict[str, str]:
    """What makes the wrapper call this compiler; Fortran's is only tried where it does anyway."""
    if cell.mpi is None or cell.language == "fortran":
        return {}
    return dict(wrapper_environment(cell.mpi, {cell.language: cell.compiler}))


def _definitions(cell: Cell) -> list[str]:
    words = ["-DCELL_OPENMP"] if cell.openmp else []
    words += ["-DCELL_MPI"] if cell.mpi else []
    return words + (_blas_definitions(cell.compiler, cell.blas) if cell.blas else [])


def _blas_definitions(compiler: CompilerFound, blas: BlasFound) -> list[str]:
    words = ["-DCELL_BLAS"]
    words += ["-DCELL_LAPACK"] if blas.has_lapack else []
    words += ["-DCELL_INT64"] if blas.interface == "ilp64" else []
    unusual = blas.symbol_prefix or blas.symbol_suffix
    if compiler.language == "fortran":
        for routine in ("dgemm", "ddot", "dpotrf") if unusual else ():
            spelt = f"{blas.symbol_prefix}{routine}_{blas.symbol_suffix}"
            words.append(f'-DCELL_{routine.upper()}="{spelt}"')
        return words
    words += [f"-DCELL_PREFIX={blas.symbol_prefix}"] if blas.symbol_prefix else []
    words += [f"-DCELL_SUFFIX={blas.symbol_suffix}"] if blas.symbol_suffix else []
    return words + (_cblas_definitions(blas) if blas.has_cblas and blas.headers else [])


def _cblas_definitions(blas: BlasFound) -> list[str]:
    name = {"mkl": "mkl_cblas.h", "armpl": "armpl.h"}.get(blas.family, "cblas.h")
    words = [f"-I{blas.headers}", f"-DCELL_CBLAS=<{name}>"]
    if blas.interface == "ilp64":
        words += [f'-DCELL_CBLAS64="{blas.headers}/cblas64.h"', "-DMKL_ILP64"]
    return words
