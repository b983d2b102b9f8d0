"""Builds in the search: the space that they span with their settings, and which are needed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from test_apps_space import machine

from hpcagent.apps.card import load_card
from hpcagent.apps.variants import BuildPlan, Variants, needed
from hpcagent.errors import UsageError
from hpcagent.probe.software import CompilerFound, ModuleSystem, Software
from hpcagent.records import Config, Machine
from hpcagent.toolchain.openblas_recipe import OpenblasSource
from hpcagent.toolchain.parameters import load_parameters

GCC = CompilerFound("gcc", "c", "gcc", "/usr/bin/gcc", "12.2.0")
CLANG = CompilerFound("clang", "c", "clang", "/usr/bin/clang", "14.0.6", "llvm/14")
SOFTWARE = Software(ModuleSystem("none"), (), (GCC, CLANG), (), (), (), {})
SOURCE = OpenblasSource("/src/o.tar.gz", "ab" * 32, "0.3.28", (), ())
PLAN = BuildPlan(SOURCE, {"lapack": "none"}, ("gcc", "clang"), (), "/sw/builds")


def variants(of: Machine | None = None, plan: BuildPlan = PLAN) -> Variants:
    node = of or machine(cores=4, microarchitecture="skylake_avx512")
    routines = ("dgemm", "dtrsm")
    return Variants(
        load_card("openblas"), load_parameters("openblas"), plan, node, SOFTWARE, routines
    )


def values(of: Variants) -> dict[str, tuple[str, ...]]:
    return {param.name: param.values for param in of.space.params}


def test_build_and_run_parameters_are_one_space() -> None:
    found = values(variants())
    assert found["build_compiler"] == ("gcc", "clang")
    assert found["build_optimisation"] == ("O2", "O3")
    assert found["build_threading"] == ("pthreads", "openmp")
    assert found["build_dynamic_arch"] == ("off", "on")
    assert found["build_target"] == ("SKYLAKEX", "HASWELL")
    assert found["threads"] == ("1", "2", "3", "4")
    assert {"binding", "proc_bind", "thread_timeout", "wait_policy"} <= set(found)
    assert not {"core", "block_factor", "huge_pages", "build_lapack", "build_interface"} & set(
        found
    )


def test_what_is_fixed_or_has_one_value_is_no_dimension() -> None:
    fixed = {"lapack": "none", "threading": "openmp", "target": "HASWELL"}
    found = values(variants(plan=replace(PLAN, fixed=fixed, families=("gcc",))))
    assert [name for name in found if name.startswith("build_")] == [
        "build_dynamic_arch", "build_optimisation",
    ]  # fmt: skip
    assert "proc_bind" in found
    assert "binding" not in found


def test_a_setting_that_a_build_does_not_know_stays_at_its_default_there() -> None:
    space = variants().space
    assert 500 < space.size < 20000
    for config in space.points():
        point = config.values
        openmp = point["build_threading"] == "openmp"
        assert not openmp or (point["thread_timeout"], point["binding"]) == ("28", "none")
        assert openmp or (point["wait_policy"], point["proc_bind"]) == ("default", "none")
        assert point["build_dynamic_arch"] == "off" or point["build_target"] == "SKYLAKEX"


def test_a_configuration_names_its_build_and_how_it_is_run() -> None:
    of = variants()
    default = of.space.default
    new = {"build_threading": "openmp", "build_compiler": "clang", "build_optimisation": "O3",
           "threads": "2", "wait_policy": "passive"}  # fmt: skip
    changed = Config.of({**default.values, **new})
    variant = of.of(changed)
    assert dict(variant.recipe.parameters)["optimisation"] == "O3"
    assert variant.recipe.compilers == (CLANG,)
    assert variant.recipe.modules == ("llvm/14",)
    assert variant.library.threading == "openmp"
    assert variant.library.path == f"/sw/builds/{variant.recipe.folder}/lib/libopenblas.so"
    assert dict(of.setting(changed).env) == {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "passive"}
    pthreads = Config.of({**default.values, "threads": "2"})
    assert dict(of.setting(pthreads).env) == {"OPENBLAS_NUM_THREADS": "2"}
    assert of.setting(default).env == ()


def test_each_distinct_build_is_needed_once() -> None:
    of = variants()
    points = [c for c in of.space.points() if c.values["build_compiler"] == "gcc"]
    some = points[:: len(points) // 40]
    found = needed(of, some)
    assert set(found) == {of.of(config).id for config in some}
    assert len(found) <= 12
    default = of.space.default
    same = [default, Config.of({**default.values, "threads": "2"})]
    assert needed(of, same) == {of.of(default).id: default}


def test_what_cannot_be_built_is_refused_before_anything_runs() -> None:
    with pytest.raises(UsageError, match="no c compiler of nvhpc there"):
        variants(plan=replace(PLAN, families=("nvhpc",))).of(variants().space.default)
    with pytest.raises(UsageError, match="no compiler family"):
        _ = variants(plan=replace(PLAN, families=())).choices
    with pytest.raises(UsageError, match="has no LAPACK for lapack=c"):
        _ = variants(plan=replace(PLAN, fixed={"lapack": "c"}, families=("gcc",))).space


def test_the_same_facts_give_the_same_space_and_builds() -> None:
    one, two = variants(), variants()
    assert one.space == two.space
    assert list(needed(one, one.space.points()[:50])) == list(needed(two, two.space.points()[:50]))
