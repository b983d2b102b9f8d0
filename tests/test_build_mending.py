"""Every repair that is declared, made by the loop of builds: real compilers, modules and MPI."""

from __future__ import annotations

from pathlib import Path

import pytest
from lab.build_loop import Loop, program_wish
from lab.mending_node import Node, make_node, without_other_weak
from planted.mended import MENDED

pytestmark = [pytest.mark.toolchain, pytest.mark.lmod]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Node:
    return make_node(tmp_path_factory.mktemp("node"))


@pytest.mark.parametrize("name", MENDED)
def test_a_declared_repair_is_made_without_help(name: str, node: Node, tmp_path: Path) -> None:
    case = MENDED[name]
    compiler = node.compiler(case.weak, case.weak_name) if case.weak else ""
    program = {"check": None, **case.program}
    wish = program_wish(
        tmp_path, case.files, program, compiler=compiler, modules=case.modules, mpi=case.mpi
    )
    env = {**node.env, **{k: v.replace("@SW@", str(node.software)) for k, v in case.env.items()}}
    facts = without_other_weak(node.facts, case.weak)
    loop = Loop(tmp_path, wish, facts, env, case.memory_bytes, case.open_files)
    built = loop.run()
    assert built.state == "built", (built.failure, built.gave_up, loop.decisions, built.step)
    assert tuple(words.split(":")[0] for words in loop.decisions) == case.leads
