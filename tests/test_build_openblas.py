"""A real OpenBLAS built from its source: the files, the manifest, modules, and the driver on it.

The build takes a minute or two on two cores. It is kept between runs of the suite, where it is
found by the hash of everything that it was made from (lab.sources.cache).
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from lab import builds, sources
from lab.slurm_lab import Cluster
from mainjob import Bench, make_bench

from hpcagent.apps.render import BUILD_COMMAND, driver_files
from hpcagent.records import Compiler, Library
from hpcagent.toolchain import publish
from hpcagent.toolchain.archive import inspect_source
from hpcagent.toolchain.openblas_recipe import (
    LOOKED_FOR,
    BuildRequest,
    describe,
    openblas_recipe,
)
from hpcagent.toolchain.parameters import Place, load_parameters
from hpcagent.toolchain.recipe import Recipe, unit

pytestmark = [pytest.mark.toolchain, pytest.mark.timeout(3600)]

# Little of it, quickly: what is tested is the way, not OpenBLAS.
VALUES = {
    "target": "HASWELL",
    "lapack": "none",
    "precisions": "real",
    "optimisation": "O1",
    "max_threads": "2",
}
PLACE = Place("x86_64", "haswell", 2)


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    if " avx2 " not in Path("/proc/cpuinfo").read_text() or builds.missing("gcc"):
        pytest.skip("no compiler, or no processor that runs code for Haswell")
    archive, sha256 = sources.openblas_source()
    source = describe(inspect_source(archive, sha256, LOOKED_FOR))
    request = BuildRequest(source, tuple(VALUES.items()), (builds.compiler(),), (), PLACE)
    return openblas_recipe(request, load_parameters("openblas"))


@pytest.fixture(scope="module")
def prefix(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished build: made now, or by an earlier run of these tests."""
    store = sources.cache() / "builds"
    store.mkdir(exist_ok=True)
    jobs = len(os.sched_getaffinity(0))
    made = unit(recipe, str(store), jobs, "", sys.executable)
    if not publish.finished(made.prefix):
        folder = tmp_path_factory.mktemp("openblas") / "with blank"
        builds.write_unit(folder, made)
        rows = builds.run_unit(folder, TARGET="NEHALEM", MAKEFLAGS="-n", CFLAGS="-DNONSENSE")
        bad = {step: row["output"][-3000:] for step, row in rows.items() if row["status"] != "ok"}
        assert not bad
        assert "config OpenBLAS 0.3." in (folder / "logs" / "check.log").read_text()
    return Path(made.prefix)


def test_the_manifest_tells_what_the_library_was_made_from(recipe: Recipe, prefix: Path) -> None:
    manifest = json.loads((prefix / "manifest.json").read_text())
    assert manifest["digest"] == recipe.digest
    assert manifest["sources"] == [{"file": recipe.source_name, "sha256": recipe.source_sha256}]
    assert VALUES.items() <= manifest["parameters"].items()
    assert manifest["compilers_say"][builds.compiler().path].startswith("gcc")
    hashes = publish.hashes(str(prefix))
    assert manifest["files"] == {n: row for n, row in hashes.items() if n != "manifest.json"}
    assert {"lib/libopenblas.so", "lib/libopenblas.a", "include/cblas.h"} <= set(hashes)


def test_the_library_is_what_was_asked_for(prefix: Path) -> None:
    library = ctypes.CDLL(str(prefix / "lib" / "libopenblas.so"))
    library.openblas_get_config.restype = ctypes.c_char_p
    said = library.openblas_get_config().decode()
    assert re.match(r"OpenBLAS 0\.3\.\d+ .*NO_AFFINITY.* HASWELL .*MAX_THREADS=2", said)
    assert not hasattr(library, "dgetrf_")
    assert not hasattr(library, "zgemm_")


def test_the_driver_measures_it_and_its_results_are_right(prefix: Path, tmp_path: Path) -> None:
    path = str(prefix / "lib" / "libopenblas.so")
    routines = ("dgemm", "sgemm", "dsyrk", "dtrsm", "dgemv")
    library = Library(path, "prefix", "", "", False, "pthreads", 2, 2, "lp64", "", "", "HASWELL",
                      routines)  # fmt: skip
    compiler = Compiler("c", "gcc", builds.compiler().path, "")
    for name, text in driver_files(library, compiler, ("-O2",)).items():
        (tmp_path / name).write_text(text)
    subprocess.run([*BUILD_COMMAND], cwd=tmp_path, check=True)
    info = run(tmp_path, "--info")
    assert f"library {Path(path).resolve()}" in info
    assert "core HASWELL" in info
    shapes = {"dgemm": "N N 100 90 80", "sgemm": "N T 64 64 64", "dsyrk": "- - 0 70 60",
              "dtrsm": "- - 50 60 0", "dgemv": "T - 200 100 0"}  # fmt: skip
    lines = [f"{name}_case {name} {words} 1 2\n" for name, words in shapes.items()]
    (tmp_path / "workload.txt").write_text("".join(lines))
    printed = run(tmp_path, "workload.txt", "1")
    residuals = re.findall(r"^residual (\S+) (\S+)$", printed, re.M)
    assert len(residuals) == 5
    assert all(float(value) <= 30.0 for _, value in residuals)


def run(folder: Path, *words: str) -> str:
    done = subprocess.run(
        ["./driver", *words], cwd=folder, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.lmod
@pytest.mark.parametrize("kind", ["lua", "tcl"])
def test_its_module_makes_it_the_openblas_of_a_program(
    prefix: Path, tmp_path: Path, kind: str
) -> None:
    init = next(iter(sorted(Path("/usr/share/lmod").glob("*/init/bash"))), None)
    if init is None:
        pytest.skip("no Lmod here")
    (tmp_path / "a.c").write_text(
        "#include <cblas.h>\n#include <stdio.h>\n"
        "int main(void)\n{\n    puts(openblas_get_config());\n    return 0;\n}\n"
    )
    script = (
        f"source {init}; module use {prefix}/modulefiles-{kind}; module load openblas && "
        'echo "$OPENBLAS_ROOT" && gcc a.c -lopenblas && ./a.out'
    )
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-c", script],
        cwd=tmp_path,
        env={"PATH": os.defpath, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.stdout.splitlines()[0] == str(prefix), done.stderr
    assert "MAX_THREADS=2" in done.stdout


def test_the_command_finds_the_build_that_is_there(
    recipe: Recipe, prefix: Path, tmp_path: Path
) -> None:
    """The whole way: the node is asked, the recipe follows, and nothing is built again."""
    given = [word for name, value in VALUES.items() for word in ("--set", f"{name}={value}")]
    words = ["build", "--lib", "openblas", "--source", recipe.source_path, "--sha256",
             recipe.source_sha256, *given, "--store", str(prefix.parent), "--json"]  # fmt: skip
    environment = {
        **os.environ,
        "HPCAGENT_RUNS": str(tmp_path / "runs"),
        "HPCAGENT_QUEUE": str(tmp_path / "queue"),
    }
    done = subprocess.run(
        [sys.executable, "-m", "hpcagent", *words],
        capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    build = said["targets"][0]["build"]
    assert (said["outcome"], build["state"], build["prefix"]) == ("found", "found", str(prefix))
    assert build["digest"] == recipe.digest


def fixed_build(recipe: Recipe, prefix: Path) -> list[str]:
    """A search whose build parameters are all fixed: the way of such a run, without a build."""
    fixed = {**VALUES, "threading": "pthreads", "dynamic_arch": "off"}
    given = [word for name, value in fixed.items() for word in ("--set", f"{name}={value}")]
    return ["--build", "--source", recipe.source_path, "--sha256", recipe.source_sha256, *given,
            "--store", str(prefix.parent), "--budget", "rounds=1"]  # fmt: skip


def assert_taken(bench: Bench, recipe: Recipe, prefix: Path) -> None:
    purposes = [e["data"]["purpose"] for e in bench.events("unit_intent")]
    assert purposes[:5] == ["probe", f"variant-{recipe.digest[:12]}", "build", "feasibility",
                            "round-1"]  # fmt: skip
    found = bench.events("unit_result")[1]["data"]
    assert [(row["step"], row["exit"]) for row in found["steps"]] == [("absent", 10)]
    jobs = [event["data"]["unit"] for event in bench.events("unit_submitted")]
    assert found["unit"] not in jobs, "what is seen in the store needs no job"
    assert str(prefix) in (bench.run / "result" / "best.env").read_text()


def test_a_tune_run_takes_the_build_that_is_there(
    recipe: Recipe, prefix: Path, tmp_path: Path
) -> None:
    bench = make_bench(tmp_path)
    done = bench.tune(*fixed_build(recipe, prefix))
    assert done.returncode == 0, done.stderr
    assert_taken(bench, recipe, prefix)


@pytest.mark.slurm
def test_a_tune_run_takes_the_build_through_slurm(
    recipe: Recipe, prefix: Path, tmp_path: Path, slurm: Cluster
) -> None:
    quick = {"HPCAGENT_POLL_SECONDS": "0.3", "HPCAGENT_GRACE_SECONDS": "3"}
    bench = Bench(tmp_path, {**make_bench(tmp_path).env, **slurm.env, **quick})
    where = ("--partition", "both", "--account", "proj", "--shared")
    done = bench.tune(*fixed_build(recipe, prefix), *where)
    assert done.returncode == 0, done.stderr
    assert_taken(bench, recipe, prefix)
    jobs = slurm.jobs()
    assert {jobs[e["data"]["job_id"]] for e in bench.events("unit_submitted")} == {"COMPLETED"}
