"""Every repair that is declared, made by the loop of builds: real compilers, modules and MPI."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from lab.build_loop import Loop, program_wish
from lab.mending_node import Node, make_node, without_other_weak
from mainjob import Bench, make_bench
from planted import linking
from planted.mended import CHECK, HELD, MAIN, MENDED, called

from hpcagent.probe import modules
from hpcagent.toolchain.signatures import catalogue

# What has a test of its own: below, in test_slurm_mending.py and in faults/test_faults_time.py.
OTHERS = {"environment.module_conflict", "scheduler.time_limit", "scheduler.out_of_memory"}


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Node:
    return make_node(tmp_path_factory.mktemp("node"))


def made(node: Node, folder: Path, files: Mapping[str, str], **more: Any) -> Loop:
    program = {"check": None, **more.pop("program", {})}
    wish = program_wish(folder, files, program, **more)
    return Loop(folder, wish, without_other_weak(node.facts, ""), node.env)


def test_every_declared_repair_is_tried() -> None:
    declared = {name for name, entry in catalogue().failures.items() if entry.repair is not None}
    assert declared == {name for case in MENDED.values() for name in case.leads} | OTHERS


@pytest.mark.toolchain
@pytest.mark.lmod
@pytest.mark.parametrize("name", MENDED)
def test_a_declared_repair_is_made_without_help(name: str, node: Node, tmp_path: Path) -> None:
    case = MENDED[name]
    compiler = node.compiler(case.weak, case.weak_name) if case.weak else ""
    more = {"program": case.program, "compiler": compiler, "modules": case.modules, "mpi": case.mpi}
    loop = made(node, tmp_path, case.files, **more)
    loop = replace(
        loop,
        facts=without_other_weak(node.facts, case.weak),
        env={**node.env, **{key: node.words(value) for key, value in case.env.items()}},
        memory_bytes=case.memory_bytes,
        open_files=case.open_files,
        events=[],
    )
    built = loop.run()
    assert built.state == "built", (built.failure, built.gave_up, loop.decisions, built.step)
    assert tuple(words.split(":")[0] for words in loop.decisions) == case.leads


@pytest.mark.toolchain
@pytest.mark.lmod
def test_which_of_several_modules_is_left_to_a_person(node: Node, tmp_path: Path) -> None:
    loop = made(node, tmp_path, called("int twice(int)", "twice(0)"),
                program={"libraries": ["twice"]})  # fmt: skip
    built = loop.run()
    assert (built.state, loop.decisions) == ("failed", [])
    assert "hypre/2.2, superlu/6.0" in built.gave_up
    assert "for a person to say: --module" in built.gave_up


@pytest.mark.toolchain
@pytest.mark.lmod
def test_what_no_module_has_is_said(node: Node, tmp_path: Path) -> None:
    built = made(node, tmp_path, {"a.c": "#include <nowhere.h>\n" + MAIN}).run()
    assert "no module is known that provides the header nowhere.h" in built.gave_up


@pytest.mark.toolchain
@pytest.mark.lmod
def test_a_module_that_conflicts_with_what_the_job_came_with(node: Node, tmp_path: Path) -> None:
    script = f'. "$LMOD_PKG/init/bash"; module load gsl/2.7; /usr/bin/env -0 >"{tmp_path}/env"'
    subprocess.run(["bash", "-c", script], env=dict(node.env), check=True, timeout=300)
    loop = made(node, tmp_path, {"a.c": MAIN}, modules=("szip/2.1",))
    loop.env = modules.parse_environment((tmp_path / "env").read_bytes())
    built = loop.run()
    assert built.state == "built", built
    assert [words.split(":")[0] for words in loop.decisions] == ["environment.module_conflict"]
    assert "the job's own modules are unloaded first" in loop.decisions[0]


@pytest.mark.toolchain
@pytest.mark.lmod
def test_modules_that_exclude_each_other_are_given_up(node: Node, tmp_path: Path) -> None:
    """No purge helps where both are asked for."""
    loop = made(node, tmp_path, {"a.c": MAIN}, modules=("gsl/2.7", "szip/2.1"))
    built = loop.run()
    assert built.state == "failed" and "came back after its repair" in built.gave_up
    assert len(loop.decisions) == 1


@pytest.mark.toolchain
@pytest.mark.lmod
def test_a_repair_that_does_not_help_is_given_up(node: Node, tmp_path: Path) -> None:
    """-fcommon does not merge what both objects initialise."""
    built = made(node, tmp_path, linking.TWICE).run()
    assert built.state == "failed" and "came back after its repair" in built.gave_up
    assert len(built.mends) == 1


@pytest.mark.toolchain
@pytest.mark.lmod
def test_repairs_that_grow_are_bounded(node: Node, tmp_path: Path) -> None:
    files = {"a.cpp": HELD.replace("300 << 20", "300L << 30")}
    loop = made(node, tmp_path, files, program={"check": CHECK})
    loop = replace(loop, memory_bytes=256 << 20, events=[])
    built = loop.run()
    assert built.state == "failed" and "which is the limit" in built.gave_up
    assert len(loop.decisions) == 3


@pytest.fixture
def bench(tmp_path: Path, node: Node) -> Bench:
    source = tmp_path / "source"
    source.mkdir()
    (source / "a.c").write_text(called("void fftw_execute(void *)", "(fftw_execute(0), 0)")["a.c"])
    (tmp_path / "app.yaml").write_text("name: waves\nsources: [a.c]\ncheck: {}\n")
    plain = make_bench(tmp_path)
    own = {k: node.env[k] for k in ("PATH", "MODULEPATH", "LMOD_CMD", "LMOD_PKG", "MODULESHOME")}
    return replace(plain, env={**plain.env, **own})


@pytest.mark.toolchain
@pytest.mark.lmod
def test_hpcagent_build_loads_the_one_module_and_says_so(bench: Bench) -> None:
    words = ("build", "--app", "app.yaml", "--source", "source", "--run-dir", str(bench.run))
    done = bench.hpcagent(*words, "--store", str(bench.folder / "store"))
    assert done.returncode == 0, done.stdout + done.stderr
    reasons = [e["data"]["reason"] for e in bench.events("decision")]
    assert [words.split(": ")[:2] for words in reasons] == [
        ["link.fftw", reasons[0].split(": ")[1]],
        ["link.missing_library", reasons[1].split(": ")[1]],
    ]
    assert "module fftw/3.3 is loaded" in reasons[1]
    assert done.stdout.count("Repaired") == 2
    told = json.loads(bench.hpcagent("report", str(bench.run), "--json").stdout)
    build = told["targets"][0]["build"]
    assert build["modules"] == ["fftw/3.3"]
    manifest = json.loads((Path(build["prefix"]) / "manifest.json").read_text())
    assert manifest["modules"] == ["fftw/3.3"]
    print(done.stdout)
