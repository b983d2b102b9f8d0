"""Which cells the doctor tries, and the steps that these become."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from doctor_scene import BARE, blas, compiler, mpi, software
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcagent.probe.software import ModuleSystem
from hpcagent.toolchain import steps
from hpcagent.toolchain.absences import absences
from hpcagent.toolchain.agentchecks import AgentAsks
from hpcagent.toolchain.cellspec import Treatment, doctor_plan, doctor_steps
from hpcagent.toolchain.choose import Preference
from hpcagent.toolchain.labels import is_same_compiler
from hpcagent.toolchain.matrix import build_matrix

GCC = [compiler("gcc", language) for language in ("c", "c++", "fortran")]
CLANG = [compiler("clang", language, "14.0.6") for language in ("c", "c++")]
OPENBLAS = blas(threading="openmp", headers="/opt/blas/include")
BLIS = blas("blis", "/opt/blis/libblis.so.4", "openmp")


def step(spec: dict[str, Any], id_: str) -> dict[str, Any]:
    return next(row for row in spec["steps"] if row["id"] == id_)


def test_by_default_one_thing_is_changed_at_a_time() -> None:
    facts = software(*GCC, *CLANG, mpi("openmpi"), mpi("mpich"), OPENBLAS, BLIS)
    matrix = build_matrix(facts)
    assert [row.label for row in matrix.rows] == [
        "gcc 12.2.0 + Open MPI 4.0 + OpenBLAS 0.3.21 openmp",
        "clang 14.0.6 + Open MPI 4.0 + OpenBLAS 0.3.21 openmp",
        "gcc 12.2.0 + MPICH 4.0 + OpenBLAS 0.3.21 openmp",
        "gcc 12.2.0 + Open MPI 4.0 + BLIS 0.3.21 openmp",
    ]
    told = [left.what for left in matrix.left_out]
    assert told == ["clang 14.0.6: fortran", "4 further combinations of these"]
    assert len(build_matrix(facts, all_=True).rows) == 8


def test_a_row_shares_what_others_have_too() -> None:
    matrix = build_matrix(software(*GCC, mpi("openmpi"), OPENBLAS, BLIS))
    first, second = matrix.rows
    assert first.cells["c"] == second.cells["c"]
    assert first.cells["MPI"] == second.cells["MPI"]
    assert first.cells["BLAS"] != second.cells["BLAS"]
    assert len({cell.id for cell in matrix.cells}) == len(matrix.cells) == 3 + 3 + 3 + 6 + 2


def test_what_is_loaded_goes_first_and_other_modules_wait_for_all() -> None:
    loaded = replace(OPENBLAS, module="openblas/0.3.26", path="/opt/26/libopenblas.so.0")
    other = replace(OPENBLAS, module="openblas/0.3.20", path="/opt/20/libopenblas.so.0")
    facts = software(GCC[0], OPENBLAS, loaded, other, loaded=("openblas/0.3.26",))
    matrix = build_matrix(facts)
    assert matrix.rows[0].blas == loaded
    assert [row.blas for row in matrix.rows[1:]] == [OPENBLAS]
    assert any("openblas/0.3.20 is not loaded" in left.why for left in matrix.left_out)
    everything = build_matrix(facts, all_=True)
    assert {row.blas.module for row in everything.rows if row.blas} == {
        "", "openblas/0.3.20", "openblas/0.3.26",
    }  # fmt: skip


def test_other_names_of_a_library_and_static_ones_wait_for_all() -> None:
    libblas = replace(OPENBLAS, path="/opt/blas/libblas.so.3", realpath="/opt/blas/libblas.so.3")
    static = replace(OPENBLAS, path="/opt/blas/libopenblas.a", realpath="", kind="static")
    facts = software(GCC[0], libblas, OPENBLAS, static)
    matrix = build_matrix(facts)
    assert [row.blas for row in matrix.rows] == [OPENBLAS]
    assert "2 further files of these BLAS" in [left.what for left in matrix.left_out]
    assert len(build_matrix(facts, all_=True).rows) == 3


def test_a_module_of_another_compiler_is_not_mixed_in_and_that_is_told() -> None:
    intel = compiler("intel", "fortran", "2024.1", command="ifx", module="intel/2024.1")
    gcc = replace(GCC[2], module="gcc/12")
    library = replace(OPENBLAS, module="gcc/12 openblas/0.3.26")
    modules = ModuleSystem("lmod", hidden={"openblas/0.3.26": ("gcc/12",)})
    facts = software(intel, gcc, library, modules=modules, loaded=("intel/2024.1",))
    matrix = build_matrix(facts, all_=True)
    assert not any(c.blas for c in matrix.cells if c.compiler == intel)
    why = {left.what: left.why for left in matrix.left_out}
    assert why["intel 2024.1 + OpenBLAS 0.3.21 openmp"] == (
        "module openblas/0.3.26 needs gcc/12 first, of gcc"
    )
    named = {x.what: x.why for x in absences(facts, matrix)}
    assert named["intel 2024.1 + OpenBLAS"] == (
        "no module provides it for intel: openblas/0.3.26 needs gcc/12 first"
    )
    assert "gcc 12.2.0 + OpenBLAS" not in named


def test_where_all_is_in_modules_a_few_are_tried_with_their_own_compilers() -> None:
    """A site whose system has a compiler only, and a hierarchy of modules; nothing is loaded."""
    gcc = [replace(compiler("gcc", "c", f"{n}.1"), module=f"gcc/{n}") for n in (11, 12, 13)]
    mpis = [mpi("openmpi", module=f"gcc/{n} openmpi/4.1") for n in (11, 12, 13)]
    libraries = [
        replace(OPENBLAS, path=f"/opt/{n}/libopenblas.so", realpath="", module=f"gcc/{n} openblas")
        for n in (11, 12, 13)
    ]
    modules = ModuleSystem("lmod", defaults=("openblas", "openmpi/4.1"))
    facts = software(GCC[0], *gcc, *mpis, *libraries, modules=modules)
    rows = [(r.toolset.module, r.mpi, r.blas) for r in build_matrix(facts).rows]
    assert rows == [
        ("", None, None),
        ("gcc/13", mpis[2], libraries[2]),
        ("gcc/12", mpis[1], libraries[1]),
    ]
    cell = next(cell for cell in build_matrix(facts).cells if cell.mpi and cell.blas)
    assert cell.modules == ("gcc/13", "openmpi/4.1", "openblas")
    assert len(build_matrix(facts, all_=True).rows) == 4


def test_a_toolset_without_c_has_its_whole_program_in_another_language() -> None:
    matrix = build_matrix(software(GCC[2], mpi("openmpi"), OPENBLAS))
    (id_,) = matrix.rows[0].cells["all"]
    assert matrix.cell(id_).language == "fortran"


def test_without_any_compiler_there_is_a_reason_and_no_row() -> None:
    facts = software(OPENBLAS)
    matrix = build_matrix(facts)
    assert matrix.rows == () and matrix.cells == ()
    assert absences(facts, matrix)[0].what == "every toolchain"


def test_fortran_of_another_compiler_cannot_take_the_mpi_module() -> None:
    ifx = compiler("intel", "fortran", "2024.1", command="ifx")
    matrix = build_matrix(software(ifx, mpi("openmpi")))
    assert "MPI" not in matrix.rows[0].cells
    assert any("mpi.mod" in left.why for left in matrix.left_out)


def test_the_wrapper_is_told_which_compiler_to_call() -> None:
    plan = doctor_plan(software(CLANG[0], mpi("openmpi")), BARE)
    cell = next(cell for cell in plan.matrix.cells if cell.mpi)
    row = step(dict(plan.spec), plan.steps[cell.id].compile)
    assert row["argv"][0] == "/usr/bin/mpicc.openmpi"
    assert row["env"] == {"OMPI_CC": CLANG[0].path}


def test_names_of_one_compiler() -> None:
    assert is_same_compiler("/usr/bin/x86_64-linux-gnu-gcc-12", GCC[0])
    assert is_same_compiler("", GCC[0])
    assert not is_same_compiler("clang", GCC[0])
    assert not is_same_compiler("g++", GCC[0])


def test_flags_are_the_family_s_own() -> None:
    icx = compiler("intel", "c", "2024.1", command="icx")
    plan = doctor_plan(software(icx), BARE)
    openmp = next(cell for cell in plan.matrix.cells if cell.openmp)
    words = step(dict(plan.spec), plan.steps[openmp.id].compile)["argv"]
    assert "-qopenmp" in words and "-xHost" in words
    arm = doctor_plan(software(GCC[0]), replace(BARE, architecture="aarch64"))
    words = step(dict(arm.spec), arm.steps[arm.matrix.cells[0].id].compile)["argv"]
    assert "-mcpu=native" in words
    own = doctor_plan(software(icx), BARE, treatment=Treatment(flags={"intel": ("-xAVX2",)}))
    assert "-xAVX2" in step(dict(own.spec), own.steps[openmp.id].compile)["argv"]


def test_a_library_with_unusual_symbols_is_called_by_them() -> None:
    library = replace(OPENBLAS, interface="ilp64", symbol_prefix="scipy_", symbol_suffix="64_")
    plan = doctor_plan(software(GCC[0], GCC[2], library), BARE)
    argv = [" ".join(row["argv"]) for row in plan.spec["steps"] if row["id"].endswith("compile")]
    c = next(words for words in argv if "cell.c " in words and "CELL_BLAS" in words)
    assert "-DCELL_PREFIX=scipy_ -DCELL_SUFFIX=64_" in c and "-DCELL_INT64" in c
    fortran = next(words for words in argv if "cell.F90" in words and "CELL_BLAS" in words)
    assert '-DCELL_DGEMM="scipy_dgemm_64_"' in fortran


def test_the_unit_is_one_that_the_runner_takes() -> None:
    facts = software(*GCC, *CLANG, mpi("openmpi"), mpi("mpich"), OPENBLAS, BLIS)
    spec, files = doctor_steps(facts, BARE, True, AgentAsks("slurm", "batch"))
    checked = steps.Spec(json.loads(json.dumps(spec)))
    assert checked.jobs == 2 and checked.budget_s > 0
    assert all(0 < one.timeout_s <= 120 for one in checked.steps)
    assert {"cells/cell.c", "cells/cell.cpp", "cells/cell.F90", "agentlook.py"} <= set(files)
    assert doctor_steps(facts, BARE, True, AgentAsks("slurm", "batch")) == (spec, files)


def test_objects_that_are_compiled_alike_are_compiled_once() -> None:
    libraries = [blas(path=f"/opt/{n}/libopenblas.so.0", threading=n) for n in ("serial", "openmp")]
    plan = doctor_plan(software(GCC[2], *libraries), BARE)
    linked = [cell.id for cell in plan.matrix.cells if cell.blas and not cell.openmp]
    assert len(linked) == 2
    assert len({plan.steps[id_].compile for id_ in linked}) == 1


FAMILIES = st.sampled_from(["gcc", "clang", "intel", "nvhpc", "cray", "strange"])
TEXTS = st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=12)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(FAMILIES, st.sampled_from(["c", "c++", "fortran"]), TEXTS), max_size=5),
    st.lists(st.tuples(st.sampled_from(["openblas", "blis", "unknown"]), TEXTS), max_size=4),
    st.booleans(),
)
def test_whatever_is_found_becomes_a_unit_that_the_runner_takes(
    compilers: list[tuple[str, str, str]], libraries: list[tuple[str, str]], all_: bool
) -> None:
    found = [compiler(f, language, v, command="cc") for f, language, v in compilers]
    blases = [blas(f, f"/opt/{n}/lib.so", version) for n, (f, version) in enumerate(libraries)]
    facts = software(*found, mpi("openmpi"), *blases)
    spec, _ = doctor_steps(facts, BARE, all_)
    steps.Spec(json.loads(json.dumps(spec)))


def test_what_the_configuration_prefers_goes_first_and_is_never_left_out() -> None:
    behind = replace(BLIS, module="blis/4", path="/sw/blis/libblis.so.4")
    facts = software(*GCC, *CLANG, mpi("openmpi"), mpi("mpich"), OPENBLAS, behind)
    plain = build_matrix(facts)
    assert all(row.blas != behind for row in plain.rows)
    first = build_matrix(facts, prefer=Preference("clang", "mpich", "blis")).rows[0]
    assert (first.toolset.family, first.mpi and first.mpi.family) == ("clang", "mpich")
    assert first.blas == behind
    none = build_matrix(facts, prefer=Preference("pathscale", "lam", "goto"))
    assert none.rows == plain.rows
