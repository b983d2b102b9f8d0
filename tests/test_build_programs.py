"""Programs with MPI and BLAS, built by the rendered files with real compilers, and run."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from lab import builds

from hpcagent.probe.software import BlasFound, LapackFound
from hpcagent.toolchain.archive import inspect_source
from hpcagent.toolchain.parameters import Place
from hpcagent.toolchain.program import Program
from hpcagent.toolchain.program_recipe import Toolchain, program_recipe
from hpcagent.toolchain.recipe import Recipe, unit

pytestmark = pytest.mark.toolchain

PROGRAMS = Path(__file__).parent / "fixtures" / "programs"
# Two ranks on a machine of one core, and by root: in containers that is how tests run.
RANKS_ANYWHERE = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "2",
}
MAKE, CMAKE = {"build_system": "make"}, {"build_system": "cmake"}
WRAPPER, EXPLICIT = {"mpi": "wrapper"}, {"mpi": "explicit"}
C = {"sources": ["product.c"], "includes": ["include"]}
CXX = {"sources": ["norm.cpp"], "openmp": "on", "standards": {"c++": "c++17"}}
FORTRAN = {"sources": ["shape.f90", "solve.F90"]}
LAPACK = {**FORTRAN, "lapack": "yes", "defines": ["RANKS=2", "LAPACK"]}
LAYERS = {
    "sources": ["grid_mod.f90", "grid_sub.F90", "helper.cpp", "old.F", "main.f08"],
    "includes": ["include"],
    "linker": "fortran",
    "openmp": "on",
    "lapack": "yes",
}
ILP64 = {**C, "integers": "ilp64", "defines": ["RANKS=2", "ILP64"]}


@pytest.fixture(scope="module", autouse=True)
def here() -> None:
    for program in ("gcc", "g++", "gfortran", "clang", "cmake", "mpicc.openmpi", "mpicc.mpich"):
        if builds.missing(program):
            pytest.skip(f"no {program} here")


def recipe(
    folder: str,
    family: str,
    mpi: str,
    blas: BlasFound,
    lapack: LapackFound | None,
    /,
    **fields: Any,
) -> Recipe:
    described = {"name": folder, "check": {"ranks": 2}, "defines": ["RANKS=2"], "integers": "lp64"}
    program = Program.model_validate({**described, **fields})
    compilers = {lang: builds.compiler(family, lang) for lang in program.languages}
    found = builds.mpi(mpi) if mpi else None
    source = inspect_source(PROGRAMS / folder, "")
    tools = Toolchain(compilers, found, blas, lapack)
    return program_recipe(program, source, tools, Place("x86_64", "x86_64_v2", 2))


@pytest.mark.parametrize(
    ("folder", "family", "mpi", "blas", "fields"),
    [
        ("c", "gcc", "openmpi", "openblas-pthread", {**C, **MAKE, **WRAPPER}),
        ("c", "gcc", "mpich", "openblas-openmp", {**C, **CMAKE, **EXPLICIT}),
        ("c", "clang", "openmpi", "blis-openmp", {**C, **CMAKE, **WRAPPER}),
        ("c", "clang", "mpich", "blas/static", {**C, **MAKE, **EXPLICIT}),
        ("c", "gcc", "mpich", "openblas64-pthread", {**ILP64, **MAKE, **WRAPPER}),
        ("cxx", "gcc", "mpich", "blas", {**CXX, **CMAKE, **WRAPPER}),
        ("cxx", "clang", "openmpi", "openblas-serial/static", {**CXX, **MAKE, **WRAPPER}),
        ("fortran", "gcc", "openmpi", "openblas-serial", {**LAPACK, **CMAKE, **EXPLICIT}),
        ("fortran", "gcc", "mpich", "blis-openmp+lapack", {**LAPACK, **MAKE, **WRAPPER}),
        ("layers", "gcc", "openmpi", "openblas-openmp", {**LAYERS, **MAKE, **WRAPPER}),
        ("mixed", "gcc", "", "openblas-openmp",
         {"sources": ["length.f08", "main.c"], "linker": "c", **CMAKE}),
        ("mixed", "gcc", "", "openblas-serial/static",
         {"sources": ["length.f08", "main.c"], "linker": "fortran", **MAKE}),
    ],
)  # fmt: skip
def test_a_program_is_built_and_does_what_it_should_on_two_ranks(
    tmp_path: Path, folder: str, family: str, mpi: str, blas: str, fields: dict[str, Any]
) -> None:
    name, _, detail = blas.partition("/")
    name, _, beside = name.partition("+")
    library = builds.blas(name, detail or "shared")
    lapack = builds.lapack() if beside else None
    made = unit(recipe(folder, family, mpi, library, lapack, **fields), str(tmp_path / "store"),
                2, "", "python3")  # fmt: skip
    builds.write_unit(tmp_path / "unit", made)
    rows = builds.run_unit(tmp_path / "unit", **RANKS_ANYWHERE, LD_LIBRARY_PATH="/nowhere")
    bad = {step: row["output"][-1500:] for step, row in rows.items() if row["status"] != "ok"}
    assert not bad
    assert (tmp_path / "unit" / "logs" / "check.log").read_text().strip()
    program = Path(made.prefix) / "bin" / folder
    loaded = libraries(program)
    if library.kind == "shared":
        wanted = Path(library.path).parent
        assert any(path.parent == wanted for path in loaded), loaded
    else:
        assert not any("blas" in path.name or "blis" in path.name for path in loaded)
    manifest = json.loads((Path(made.prefix) / "manifest.json").read_text())
    assert manifest["files"][f"bin/{folder}"]["bytes"] > 0
    assert manifest["compilers"][0]["version"]


LOOP = """\
subroutine add(x, n, found)
  use omp_lib
  implicit none
  integer, intent(in) :: n
  double precision, intent(in) :: x(n)
  double precision, intent(inout) :: found
  integer :: i
  !$omp parallel do reduction(+:found) num_threads(2)
  do i = 1, n
    found = found + x(i) + 0 * omp_get_thread_num()
  end do
end subroutine add
"""
MAIN = """\
#include <omp.h>
void add_(const double *, const int *, double *);
int main(void)
{
    double x[100], found = 0.0;
    const int n = 100;
    int threads = 0;
    #pragma omp parallel for num_threads(2) reduction(max : threads)
    for (int i = 0; i < n; i++) {
        x[i] = 1.0;
        threads = omp_get_num_threads();
    }
    add_(x, &n, &found);
    return !(threads == 2 && found == 100.0);
}
"""


@pytest.mark.parametrize("system", [MAKE, CMAKE])
def test_clang_and_gfortran_share_one_openmp_runtime(
    tmp_path: Path, system: dict[str, Any]
) -> None:
    (tmp_path / "teams").mkdir()
    (tmp_path / "teams" / "add.f90").write_text(LOOP)
    (tmp_path / "teams" / "main.c").write_text(MAIN)
    described = {"name": "teams", "sources": ["main.c", "add.f90"], "linker": "c", "openmp": "on",
                 "check": {}, **system}  # fmt: skip
    pair = {"c": builds.compiler("clang"), "fortran": builds.compiler("gcc", "fortran")}
    source = inspect_source(tmp_path / "teams", "")
    made = unit(
        program_recipe(Program.model_validate(described), source, Toolchain(pair),
                       Place("x86_64", "x86_64_v2", 2)),
        str(tmp_path / "store"), 2, "", "python3",
    )  # fmt: skip
    builds.write_unit(tmp_path / "unit", made)
    rows = builds.run_unit(tmp_path / "unit")
    bad = {step: row["output"][-1500:] for step, row in rows.items() if row["status"] != "ok"}
    assert not bad
    names = [path.name for path in libraries(Path(made.prefix) / "bin" / "teams")]
    assert [name for name in names if "omp" in name] == ["libomp.so.5"]


def libraries(program: Path) -> list[Path]:
    """What the loader takes for it, by ldd, with another BLAS first in LD_LIBRARY_PATH."""
    shadow = str(builds.LIBRARIES / "blas")
    environment = {**os.environ, "LD_LIBRARY_PATH": shadow}
    said = subprocess.run(
        ["ldd", str(program)], capture_output=True, text=True, check=True, env=environment
    )
    return [Path(line.split()[2]) for line in said.stdout.splitlines() if " => /" in line]


def test_a_second_build_finds_the_first_and_a_broken_source_says_where(tmp_path: Path) -> None:
    store = str(tmp_path / "store")
    whole = recipe("mixed", "gcc", "", builds.blas("openblas-serial"), None,
                   sources=["length.f08", "main.c"], linker="c")  # fmt: skip
    for number, states in [(1, ["ok"] * 6), (2, ["failed", *["skipped"] * 5])]:
        builds.write_unit(tmp_path / f"unit{number}", unit(whole, store, 2, "", "python3"))
        rows = builds.run_unit(tmp_path / f"unit{number}")
        assert [row["status"] for row in rows.values()] == states
    changed = replace(whole, source_sha256="0" * 64)
    builds.write_unit(tmp_path / "unit3", unit(changed, store, 2, "", "python3"))
    rows = builds.run_unit(tmp_path / "unit3")
    assert rows["unpack"]["status"] == "failed"
    assert "has the SHA-256" in rows["unpack"]["output"]
    assert len(list((tmp_path / "store").iterdir())) == 1


def test_make_goes_on_where_it_was_interrupted(tmp_path: Path) -> None:
    made = unit(recipe("mixed", "gcc", "", builds.blas("blas"), None,
                       sources=["length.f08", "main.c"], linker="c"),
                str(tmp_path / "store"), 1, "", "python3")  # fmt: skip
    folder = tmp_path / "unit"
    builds.write_unit(folder, made)
    (folder / "source").mkdir()
    for name in ("length.f08", "main.c"):
        (folder / "source" / name).write_bytes((PROGRAMS / "mixed" / name).read_bytes())
    words = ["make", "-f", "Makefile", "objects/0000-length.f08.o"]
    subprocess.run(words, cwd=folder, check=True, capture_output=True)
    before = (folder / "objects" / "0000-length.f08.o").stat().st_mtime_ns
    rows = builds.run_unit(folder)
    assert {row["status"] for row in rows.values()} == {"ok"}
    assert (folder / "objects" / "0000-length.f08.o").stat().st_mtime_ns == before
