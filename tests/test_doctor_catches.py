"""Troubles of toolchains, planted with real compilers, libraries and MPI: the doctor names each."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from doctor_scene import (
    BARE,
    blas,
    compiler,
    cpu_features,
    debian_blas,
    headers,
    mpi,
    software,
    visit,
    visited,
)

from hpcagent.probe.software import BlasFound, CompilerFound, ModuleSystem, Software
from hpcagent.records import Machine
from hpcagent.toolchain.cellspec import Treatment, doctor_plan
from hpcagent.toolchain.ranking import judge
from hpcagent.toolchain.verdict import DOUBTFUL, FAILED, OK, CellVerdict, DoctorResult

pytestmark = pytest.mark.toolchain

LMOD = Path("/usr/share/lmod/lmod/init/bash")
# A BLAS of its own kind, whose name no linker's cache knows.
TINY_BLAS = """
double ddot_(const int *n, const double *x, const int *ix, const double *y, const int *iy)
{
    double sum = 0;
    for (int i = 0; i < *n; i++)
        sum += x[i * *ix] * y[i * *iy];
    return sum;
}
void dgemm_(const char *ta, const char *tb, const int *m, const int *n, const int *k,
            const double *alpha, const double *a, const int *lda, const double *b, const int *ldb,
            const double *beta, double *c, const int *ldc)
{
    (void)ta, (void)tb, (void)beta;
    for (int j = 0; j < *n; j++)
        for (int i = 0; i < *m; i++) {
            double sum = 0;
            for (int p = 0; p < *k; p++)
                sum += a[i + p * *lda] * b[p + j * *ldb];
            c[i + j * *ldc] = *alpha * sum;
        }
}
"""


@pytest.fixture(scope="module")
def node() -> Machine:
    return replace(BARE, features=cpu_features(), architecture=os.uname().machine)


@pytest.fixture(scope="module")
def gcc() -> CompilerFound:
    if shutil.which("gcc") is None:
        pytest.skip("no gcc here")
    return compiler("gcc", "c")


def doctor(
    facts: Software,
    node: Machine,
    folder: Path,
    treatment: Treatment | None = None,
    env: dict[str, str] | None = None,
) -> DoctorResult:
    return visited(doctor_plan(facts, node, treatment=treatment), facts, node, folder, env)


def ids(cell: CellVerdict) -> list[str]:
    return [finding.failure.id for finding in cell.findings]


def one(result: DoctorResult, id_: str) -> tuple[CellVerdict, str]:
    """The first cell with this finding, and what it quotes."""
    for cell in result.cells:
        for finding in cell.findings:
            if finding.failure.id == id_:
                assert finding.cure
                return cell, finding.failure.evidence
    raise AssertionError(f"no {id_} in {[(c.label, ids(c)) for c in result.cells]}")


def test_a_healthy_toolchain_says_what_it_really_used(tmp_path: Path, node: Machine) -> None:
    compilers = [compiler("gcc", language) for language in ("c", "c++", "fortran")]
    library = debian_blas("openblas-openmp", "openmp", has_lapack=True)
    library = replace(library, headers=headers("openblas-openmp"), has_cblas=True)
    facts = software(*compilers, mpi("openmpi"), library)
    result = doctor(facts, replace(node, features=()), tmp_path)
    assert [(cell.label, ids(cell)) for cell in result.cells if cell.status != OK] == []
    together = result.cell(result.rows[0].cells["all"][0])
    assert together.used["library"] == library.realpath
    assert together.used["integer bits"] == "32"
    assert together.used["threading"] == "openmp"
    assert together.used["OpenMP threads"] == "2"
    assert together.used["ranks"] == "0 of 2, 1 of 2"
    assert "Open MPI" in together.used["MPI"]
    assert result.rows[0].rank == 1
    assert result.rows[0].reasons == ("everything works",)


def test_header_of_one_blas_with_the_library_of_another(
    tmp_path: Path, node: Machine, gcc: CompilerFound
) -> None:
    library = debian_blas("openblas-serial", headers=headers("blis-openmp"), has_cblas=True)
    result = doctor(software(gcc, library), node, tmp_path)
    cell, evidence = one(result, "compile.foreign_header")
    assert cell.status == DOUBTFUL
    assert "blis" in evidence and library.realpath in evidence


@pytest.mark.parametrize(
    ("folder", "interface", "header"),
    [
        ("openblas-serial", "ilp64", "openblas64-pthread"),
        ("openblas64-pthread", "lp64", "openblas-serial"),
    ],
)
def test_header_and_library_of_different_widths(
    tmp_path: Path, node: Machine, gcc: CompilerFound, folder: str, interface: str, header: str
) -> None:
    library = debian_blas(folder, interface=interface, headers=headers(header), has_cblas=True)
    result = doctor(software(gcc, library), node, tmp_path)
    cell, evidence = one(result, "compile.interface_mismatch")
    assert cell.status == FAILED
    assert "64" in evidence and "32" in evidence
    assert not result.usable


@pytest.mark.parametrize("language", ["c", "fortran"])
def test_integers_of_32_bits_for_a_library_with_64(
    tmp_path: Path, node: Machine, language: str
) -> None:
    library = debian_blas("openblas64-pthread", "pthreads")
    result = doctor(software(compiler("gcc", language), library), node, tmp_path)
    cell, evidence = one(result, "link.interface_mismatch")
    assert cell.status == FAILED
    assert evidence.startswith("the program has integers of 32 bits")


def test_two_openmp_runtimes_in_one_process(tmp_path: Path, node: Machine) -> None:
    if shutil.which("clang") is None:
        pytest.skip("no clang here")
    facts = software(compiler("clang", "c", "14.0.6"), debian_blas("openblas-openmp", "openmp"))
    cell, evidence = one(doctor(facts, node, tmp_path), "run.two_openmp")
    assert cell.status == DOUBTFUL
    assert "libgomp" in evidence and "libomp" in evidence


@pytest.mark.parametrize(("built", "started"), [("mpich", "openmpi"), ("openmpi", "mpich")])
def test_mpicc_of_one_mpi_with_mpirun_of_another(
    tmp_path: Path, node: Machine, gcc: CompilerFound, built: str, started: str
) -> None:
    launcher = f"/usr/bin/mpirun.{started}"
    if shutil.which(launcher) is None or shutil.which(f"mpicc.{built}") is None:
        pytest.skip("only one MPI here")
    result = doctor(software(gcc, mpi(built, launcher)), node, tmp_path)
    cell, evidence = one(result, "mpi.mixed_launcher")
    assert cell.status == FAILED
    assert "rank 0 of 1" in evidence and launcher in evidence


def absent_target() -> str:
    """A -march whose everyday arithmetic this node lacks."""
    features = set(cpu_features())
    for march, feature in (("bdver1", "fma4"), ("skylake-avx512", "avx512f")):
        if os.uname().machine == "x86_64" and feature not in features:
            return march
    pytest.skip("this node has all instructions of the targets that the test knows")


def test_code_for_a_newer_cpu_than_the_node(
    tmp_path: Path, node: Machine, gcc: CompilerFound
) -> None:
    march = absent_target()
    treatment = Treatment(flags={"gcc": (f"-march={march}",)})
    cell, evidence = one(
        doctor(software(gcc), node, tmp_path, treatment), "run.illegal_instruction"
    )
    assert cell.status == FAILED
    assert "SIGILL" in evidence
    assert ("fma4" if march == "bdver1" else "avx512f") in evidence
    if march == "bdver1":
        assert "FMA4" in evidence


def test_a_build_of_the_login_node_that_dies_on_the_compute_node(
    tmp_path: Path, node: Machine, gcc: CompilerFound
) -> None:
    """The programs are built in one place and run in another, which has less."""
    march = absent_target()
    extra = "fma4" if march == "bdver1" else "avx512f"
    login = replace(node, host="login1", features=(*node.features, extra))
    facts = software(gcc)
    plan = doctor_plan(facts, node, treatment=Treatment(flags={"gcc": (f"-march={march}",)}))
    spec = dict(plan.spec)
    built = [step for step in spec["steps"] if not step["id"].endswith(".run")]
    lines = visit(replace(plan, spec={**spec, "steps": built}), tmp_path / "login")
    shutil.copytree(tmp_path / "login/build", tmp_path / "compute/build")
    runs = [{**step, "needs": []} for step in spec["steps"] if step["id"].endswith(".run")]
    lines += visit(replace(plan, spec={**spec, "steps": runs}), tmp_path / "compute")
    result = judge(plan, facts, node, lines, login=login, built_on="login1")
    _, evidence = one(result, "run.illegal_instruction")
    assert evidence.endswith("it was built on login1")
    assert [f.failure.id for f in result.findings] == ["environment.newer_than_node"]
    assert extra in result.findings[0].failure.evidence


@pytest.fixture
def tiny_blas(tmp_path: Path, gcc: CompilerFound) -> BlasFound:
    folder = tmp_path / "private"
    folder.mkdir()
    (folder / "tiny.c").write_text(TINY_BLAS, encoding="utf-8")
    words = ["-shared", "-fPIC", "-Wl,-soname,libtinyblas.so.1", "tiny.c", "-o", "libtinyblas.so.1"]
    subprocess.run([gcc.path, *words], cwd=folder, check=True)
    return blas("unknown", str(folder / "libtinyblas.so.1"))


def test_a_library_that_is_not_found_for_want_of_an_rpath(
    tmp_path: Path, node: Machine, gcc: CompilerFound, tiny_blas: BlasFound
) -> None:
    facts = software(gcc, tiny_blas)
    assert doctor(facts, node, tmp_path / "with").rows[0].columns["BLAS"] == OK
    result = doctor(facts, node, tmp_path / "without", Treatment(rpath=False))
    cell, evidence = one(result, "load.missing_rpath")
    assert cell.status == FAILED
    assert "libtinyblas.so.1" in evidence and str(tmp_path / "private") in evidence


def test_another_library_that_is_found_for_want_of_an_rpath(
    tmp_path: Path, node: Machine, gcc: CompilerFound
) -> None:
    """The linker's cache has a libopenblas.so.0 too: nothing fails, and another one computes."""
    library = debian_blas("openblas-serial")
    result = doctor(software(gcc, library), node, tmp_path, Treatment(rpath=False))
    cell, evidence = one(result, "load.missing_rpath")
    assert cell.status == FAILED
    assert f"{library.path} was linked" in evidence


def test_a_library_that_ld_library_path_shadows(
    tmp_path: Path, node: Machine, gcc: CompilerFound
) -> None:
    library, other = debian_blas("openblas-serial"), debian_blas("openblas-pthread")
    folder = str(Path(other.path).parent)
    treatment = Treatment(environment={"LD_LIBRARY_PATH": f"/nowhere:{folder}"})
    result = doctor(software(gcc, library), node, tmp_path, treatment)
    cell, evidence = one(result, "load.shadowed_library")
    assert cell.status == FAILED
    assert other.realpath in evidence
    assert evidence.endswith(f"{folder} is in LD_LIBRARY_PATH")


@pytest.mark.lmod
def test_a_library_that_a_module_shadows(tmp_path: Path, node: Machine, gcc: CompilerFound) -> None:
    if not LMOD.exists():
        pytest.skip("no Lmod here")
    library, other = debian_blas("openblas-serial"), debian_blas("openblas-pthread")
    folder = str(Path(other.path).parent)
    tree = tmp_path / "modules/tools"
    tree.mkdir(parents=True)
    (tree / "1.0.lua").write_text(f'prepend_path("LD_LIBRARY_PATH", "{folder}")\n')
    facts = software(
        replace(gcc, module="tools/1.0"),
        library,
        modules=ModuleSystem("lmod", "8.6", str(LMOD), ("tools/1.0",)),
    )
    env = {"MODULEPATH": str(tree.parent)}
    result = doctor(facts, node, tmp_path / "unit", env=env)
    cell, evidence = one(result, "load.shadowed_library")
    assert cell.status == FAILED
    assert f"module tools/1.0 puts {folder} into LD_LIBRARY_PATH" in evidence


def test_a_blas_with_threads_of_its_own_under_openmp(
    tmp_path: Path, node: Machine, gcc: CompilerFound
) -> None:
    result = doctor(software(gcc, debian_blas("openblas-pthread", "pthreads")), node, tmp_path)
    cell, evidence = one(result, "run.oversubscribed")
    assert cell.status == DOUBTFUL
    assert evidence.startswith("2 OpenMP threads call a BLAS with 2 pthreads of its own")


@pytest.mark.lmod
def test_a_module_that_cannot_be_loaded(tmp_path: Path, node: Machine, gcc: CompilerFound) -> None:
    if not LMOD.exists():
        pytest.skip("no Lmod here")
    facts = software(
        replace(gcc, module="nowhere/1.0"), modules=ModuleSystem("lmod", "8.6", str(LMOD))
    )
    result = doctor(facts, node, tmp_path / "unit", env={"MODULEPATH": str(tmp_path)})
    assert {cell.status for cell in result.cells} == {FAILED}
    _, evidence = one(result, "environment.module_failed")
    assert "nowhere/1.0" in evidence
