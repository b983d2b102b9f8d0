"""What a build was asked for, and the recipe that follows from it at a node. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from hpcagent.errors import RunFailed, UsageError
from hpcagent.probe.machine import parse_machine
from hpcagent.probe.modules import package_of
from hpcagent.probe.software import Software
from hpcagent.probe.software_facts import parse_software
from hpcagent.study.task_plan import Task
from hpcagent.toolchain.archive import Source
from hpcagent.toolchain.choose import choose_toolchain, modules_of, partnered_compilers
from hpcagent.toolchain.openblas_recipe import BuildRequest, OpenblasSource, openblas_recipe
from hpcagent.toolchain.parameters import Place, load_parameters, resolve
from hpcagent.toolchain.program import Program
from hpcagent.toolchain.program_recipe import program_recipe
from hpcagent.toolchain.recipe import Recipe
from hpcagent.toolchain.recipe import Unit as BuildUnit
from hpcagent.toolchain.recipe import unit as build_unit

WALLTIME_S = 4 * 3600
# Modules of these may provide what a build turns out to need.
_PACKAGES = (
    "adios", "arpack", "binutils", "boost", "cmake", "eigen", "elpa", "fftw", "gmp", "gsl", "hdf",
    "hypre", "libxc", "make", "metis", "mumps", "netcdf", "netcdf-c", "netcdf-fortran", "ninja",
    "parmetis", "petsc", "pnetcdf", "scalapack", "scotch", "slepc", "suitesparse", "superlu",
    "szip", "trilinos", "zlib",
)  # fmt: skip


@dataclass(frozen=True)
class Wish:
    """What is to be built, as the journal keeps it (`Task.request`).

    `what` is "library" or "program"; `values` are the parameters that were given; `compiler`,
    `mpi` and `blas` name what to take (empty: what is found first); `store` is where builds are
    kept. `memory_bytes` (None: what the target asks for) is a node's; `purge` unloads the modules
    that a job inherits first.
    """

    what: str
    name: str
    source: Mapping[str, Any]
    values: Mapping[str, str]
    compiler: str
    modules: tuple[str, ...]
    store: str
    program: Mapping[str, Any]
    mpi: str = ""
    blas: str = ""
    walltime_s: int = WALLTIME_S
    memory_bytes: int | None = None
    purge: bool = False

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, task: Task) -> Wish:
        """RunFailed where the journal holds something else."""
        try:
            row = dict(task.request)
            return cls(**{**row, "modules": tuple(row["modules"])})
        except (KeyError, TypeError) as error:
            raise RunFailed(f"the journal is damaged: what to build is not told: {error}") from None


def recipe_of(wish: Wish, facts: Mapping[str, Any]) -> Recipe:
    """The recipe at a node; UsageError where it cannot be built there as it was asked for."""
    place, software = place_of(facts), software_of(facts)
    if wish.what == "program":
        program = Program.model_validate(wish.program)
        source = Source(str(wish.source["path"]), "", str(wish.source["sha256"]), 0, {})
        tools = choose_toolchain(software, program, wish.compiler, wish.mpi, wish.blas)
        modules = modules_of([*wish.modules, *tools.modules])
        return program_recipe(program, source, replace(tools, modules=modules), place, wish.purge)
    parameters = load_parameters(wish.name)
    values = resolve(parameters, wish.values, place)
    languages = ("c", "fortran") if values["lapack"] == "fortran" else ("c",)
    compilers = partnered_compilers(software, languages, wish.compiler)
    modules = modules_of([*wish.modules, *(c.module for c in compilers.values())])
    row = wish.source
    described = OpenblasSource(
        str(row["path"]), str(row["sha256"]), str(row["version"]), tuple(row["targets"]),
        tuple(row["lapack"]),
    )  # fmt: skip
    given = tuple(sorted(wish.values.items()))
    request = BuildRequest(described, given, tuple(compilers.values()), modules, place)
    return replace(openblas_recipe(request, parameters), purge=wish.purge)


def software_asked(wish: Wish) -> dict[str, Any]:
    """What a node is asked of its modules beside compilers, MPI and BLAS: files in them, by which a
    repair finds what is missing."""
    named = {package_of(name) for name in wish.program.get("libraries", ())}
    return {"holds": True, "packages": sorted({*_PACKAGES, *named})}


def place_of(facts: Mapping[str, Any]) -> Place:
    machine = parse_machine(facts)
    return Place(machine.architecture, machine.microarchitecture, len(machine.cpus_allowed))


def software_of(facts: Mapping[str, Any]) -> Software:
    parts = facts.get("parts")
    raw = parts.get("software") if isinstance(parts, Mapping) else None
    if not isinstance(raw, Mapping):
        raise UsageError("the probe could not tell what software the node has")
    return parse_software(raw)


def unit_of(
    recipe: Recipe, wish: Wish, facts: Mapping[str, Any], cpus_per_task: int, python: str
) -> BuildUnit:
    init = software_of(facts).modules.init
    cpus = min(cpus_per_task, parse_machine(facts).usable_cores)
    return build_unit(recipe, wish.store, cpus, init, python)
