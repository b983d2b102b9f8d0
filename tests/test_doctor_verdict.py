"""What the doctor makes of what steps printed: verdicts, causes, ranking and the page."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from doctor_scene import BARE, blas, compiler, mpi, software
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcagent.records import Machine
from hpcagent.report.columns import columns_of
from hpcagent.report.doctor_text import doctor_text
from hpcagent.toolchain.agentchecks import AgentCheck
from hpcagent.toolchain.causes import step_failure
from hpcagent.toolchain.cellspec import DoctorPlan, doctor_plan
from hpcagent.toolchain.checks import newer_than
from hpcagent.toolchain.ranking import judge
from hpcagent.toolchain.readback import (
    instruction_set,
    parse_elf,
    parse_macros,
    parse_readback,
)
from hpcagent.toolchain.verdict import DOUBTFUL, FAILED, OK, SKIPPED, DoctorResult, as_json

LIBRARY = blas(threading="openmp")
FACTS = software(
    *(compiler("gcc", language) for language in ("c", "c++", "fortran")),
    mpi("openmpi"),
    LIBRARY,
    blas("reference", "/opt/ref/libblas.so.3"),
)
PLAN = doctor_plan(FACTS, BARE)
GOOD = (
    f"cell blas_library {LIBRARY.realpath}\ncell blas_integer_bits 32\n"
    "cell program_integer_bits 32\ncell openmp_team 2\ncell openmp_threads 2\n"
    "cell rank 0 of 2\ncell rank 1 of 2\ncell answer right\n"
)
REFERENCE = GOOD.replace(LIBRARY.realpath, "/opt/ref/libblas.so.3")


def good_lines(plan: DoctorPlan = PLAN) -> dict[str, dict[str, Any]]:
    lines = {}
    for row in plan.spec["steps"]:
        output = ""
        if row["id"].endswith(".run"):
            output = REFERENCE if "reference" in row["id"] else GOOD
        lines[row["id"]] = {"step": row["id"], "status": "ok", "exit": 0, "output": output}
    return lines


def visit(machine: Machine = BARE, **changes: dict[str, Any]) -> DoctorResult:
    """The result where some steps (by the end of their ids) ended otherwise."""
    lines = good_lines()
    for id_, line in lines.items():
        for suffix, change in changes.items():
            if id_.endswith(suffix.replace("__", ".").replace("_", "-")):
                line.update(change)
    return judge(PLAN, FACTS, machine, lines.values())


def found(result: DoctorResult) -> set[str]:
    return {finding.failure.id for cell in result.cells for finding in cell.findings}


def test_when_all_goes_well_every_toolchain_is_usable_and_the_reference_blas_comes_last() -> None:
    result = visit()
    assert {cell.status for cell in result.cells} == {OK}
    assert [row.rank for row in result.rows] == [1, 2]
    assert result.rows[1].reasons == ("everything works", "the reference BLAS is slow")


def test_a_failed_compilation_fails_what_shares_it_and_quotes_the_compiler() -> None:
    words = "cell.c:3:10: fatal error: omp.h: No such file or directory\ncompilation terminated."
    result = visit(c_omp__compile={"status": "failed", "exit": 1, "output": words})
    cell = next(cell for cell in result.cells if cell.status == FAILED)
    assert cell.findings[0].failure.id == "compile.missing_header"
    assert cell.findings[0].failure.evidence.startswith("cell.c:3:10: fatal error")
    assert result.rows[0].rank == 0 and result.rows[0].columns["OpenMP"] == FAILED
    assert "because of compile.missing_header" in result.rows[0].reasons


def test_a_program_that_ends_well_without_its_answer_has_failed() -> None:
    result = visit(__run={"output": "hello\n"})
    assert found(result) == {"run.no_answer"}


def test_what_was_not_reached_is_not_tried() -> None:
    result = judge(PLAN, FACTS, BARE, [], unfinished="its time was over")
    assert {cell.status for cell in result.cells} == {SKIPPED}
    assert not result.usable
    assert "unfinished: its time was over" in doctor_text(result)


def with_output(extra: str, machine: Machine = BARE) -> DoctorResult:
    """Every program printed these lines too."""
    lines = good_lines()
    for id_, line in lines.items():
        if id_.endswith(".run"):
            line["output"] = extra + line["output"]
    return judge(PLAN, FACTS, machine, lines.values())


def test_old_kernels_on_a_new_cpu_are_told_with_their_cure() -> None:
    new = replace(BARE, features=("avx2", "avx512f"))
    result = with_output("cell blas_core Prescott\n", new)
    cell = next(cell for cell in result.cells if cell.findings)
    assert cell.status == DOUBTFUL
    assert "OPENBLAS_CORETYPE=SkylakeX" in cell.findings[0].cure
    assert found(with_output("cell blas_core Haswell\n", new)) == set()
    assert found(with_output("cell blas_core Prescott\n")) == set()


@pytest.mark.parametrize(
    ("line", "id_"),
    [
        ("cell answer wrong", "numerics.wrong_answer"),
        ("cell mpi_version MPICH Version: 4.0.2", "load.other_mpi"),
        ("cell blas_threading serial", "load.other_library"),
        ("cell openmp_threads 1", "run.fewer_threads"),
        ("cell blas_library /usr/lib/libblas.so.3", "load.other_library"),
        ("cell cblas_header blis", "compile.foreign_header"),
        ("cell blas_integer_bits 64", "link.interface_mismatch"),
        ("cell cblas_header_bits 64", "compile.interface_mismatch"),
        ("cell illegal_instruction c4e3f9698890feff", "run.illegal_instruction"),
    ],
)
def test_what_a_program_says_of_itself_betrays_it(line: str, id_: str) -> None:
    assert id_ in found(with_output(line + "\n"))


def test_two_runtimes_that_answer_for_each_other_fail_a_program() -> None:
    both = "cell openmp_runtime /l/libgomp.so.1\ncell openmp_runtime /l/libomp.so.5\n"
    assert {cell.status for cell in with_output(both).cells} == {DOUBTFUL}
    result = with_output(both + "cell openmp_threads 1\n")
    assert found(result) == {"run.two_openmp"}
    assert "1 of 2 threads ran" in result.cells[0].findings[0].failure.evidence
    assert result.cells[0].status == FAILED


def test_the_netlib_header_suits_every_library() -> None:
    assert found(with_output("cell cblas_header reference\n")) == set()


CAUSES = [
    ("compile", "Lmod has detected the following error: The following module(s) are unknown: "
     '"gcc/13"', "environment.module_unknown"),
    ("compile", "Fatal Error: Cannot open module file 'mpi.mod' for reading at (1)",
     "compile.missing_module_file"),
    ("compile", "cc1: error: bad value 'znver5' for '-march=' switch", "compile.unknown_march"),
    ("link", "cell.c:(.text+0x1f): undefined reference to `dgemm_'", "link.blas"),
    ("link", "x.o: undefined reference to `GOMP_parallel'", "link.openmp"),
    ("link", "/usr/bin/ld: cannot find -lopenblas: No such file or directory",
     "link.missing_library"),
    ("link", "/usr/bin/ld: cannot find /opt/blas/libopenblas.so.0: No such file or directory",
     "link.missing_library"),
    ("run", "./cell: error while loading shared libraries: libmpi.so.40: cannot open shared "
     "object file: No such file or directory", "load.missing_library"),
    ("run", "./cell: /lib/libm.so.6: version `GLIBC_2.38' not found (required by ./cell)",
     "load.glibc_version"),
    ("run", "./cell: symbol lookup error: ./cell: undefined symbol: cblas_dgemm",
     "load.undefined_symbol"),
    ("mpi", "There are not enough slots available in the system to satisfy the 2",
     "mpi.slots"),
    ("run", "something else", "run.failed"),
]  # fmt: skip


def test_what_the_runner_says_counts_before_any_output() -> None:
    absent = {"status": "unstartable", "message": "[Errno 2] No such file or directory: 'icx'"}
    assert step_failure("compile", absent).failure.id == "environment.missing_program"
    words = "a module of gcc/13 could not be loaded"
    unloaded = {"status": "failed", "exit": 96, "message": words, "output": "Error: no such one\n"}
    found = step_failure("compile", unloaded)
    assert found.failure.id == "environment.module_failed"
    assert found.failure.evidence == f"{words}: Error: no such one"


@pytest.mark.parametrize(("stage", "words", "id_"), CAUSES)
def test_what_compilers_linkers_and_loaders_say(stage: str, words: str, id_: str) -> None:
    line = {"status": "failed", "exit": 1, "output": f"some\n{words}\nmore noise\n"}
    finding = step_failure(stage, line)
    assert finding.failure.id == id_
    assert finding.grave and finding.cure
    if id_ != "run.failed":
        assert finding.failure.evidence == words


@pytest.mark.parametrize(
    ("line", "id_", "evidence"),
    [
        ({"status": "timeout", "message": "over after 30 s"}, "run.timeout", "over after 30 s"),
        ({"status": "signal", "signal": 11}, "run.signal", "killed by SIGSEGV"),
        ({"status": "failed", "exit": 139}, "run.signal", "killed by SIGSEGV"),
        ({"status": "failed", "exit": 3}, "run.failed", "exit code 3"),
    ],
)
def test_ends_without_words(line: dict[str, Any], id_: str, evidence: str) -> None:
    failure = step_failure("run", {"output": "", **line}).failure
    assert (failure.id, failure.evidence) == (id_, evidence)


def test_a_login_node_that_has_more_than_the_node() -> None:
    node = replace(BARE, features=("avx2", "fma"))
    finding = newer_than(("avx2", "avx512f", "hypervisor"), "login1", node)
    assert finding is not None
    assert finding.failure.evidence == "login1 has avx512f; node1 has not"
    assert newer_than(("avx2", "hypervisor"), "login1", node) is None


# --- parsers --------------------------------------------------------------------------------------


def test_readelf_in_whatever_language() -> None:
    text = """
 0x0000000000000001 (NEEDED)  Gemeinsame Bibliothek: [libopenblas.so.0]
 0x0000000000000001 (NEEDED)             Shared library: [libc.so.6]
 0x000000000000001d (RUNPATH)            Library runpath: [/opt/a:/opt/b]
 0x000000000000000f (RPATH)              Library rpath: [$ORIGIN/../lib]
"""
    elf = parse_elf(text)
    assert elf.needed == ("libopenblas.so.0", "libc.so.6")
    assert elf.folders == ("/opt/a", "/opt/b", "$ORIGIN/../lib")


def test_macros_become_the_kernel_s_words() -> None:
    text = "#define __FMA4__ 1\n#define __AVX512VBMI2__ 1\n#define __x86_64 1\n"
    assert parse_macros(text) == {"fma4", "avx512_vbmi2"}


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("c4e3f9698890feff", "FMA4"),
        ("c4e2f198c2c3c3c3", "FMA"),
        ("62f1fd4858c0c3c3", "AVX-512 (EVEX)"),
        ("8fe87884c0c3c3c3", "XOP"),
        ("c5f877c3c3c3c3c3", "AVX (VEX)"),
        ("0f0bc3c3c3c3c3c3", ""),
        ("not hex", ""),
        ("", ""),
    ],
)
def test_the_bytes_of_an_instruction(code: str, name: str) -> None:
    assert instruction_set(code) == name


@settings(deadline=None)
@given(st.text())
def test_no_output_upsets_the_parsers(text: str) -> None:
    for noisy in (text, f"cell {text}\ncell rank {text}\n"):
        parse_readback(noisy)
        parse_elf(noisy)
        parse_macros(noisy)
        instruction_set(noisy)


@settings(deadline=None)
@given(st.dictionaries(st.from_regex("[a-z_]{1,20}", fullmatch=True), st.integers(0, 10**9)))
def test_what_is_printed_is_read_back(values: dict[str, int]) -> None:
    text = "".join(f"noise\ncell {key} {value}\n" for key, value in values.items())
    readback = parse_readback(text)
    assert {key: readback.number(key) for key in values} == values


# --- the page -------------------------------------------------------------------------------------


def test_the_page_tells_marks_causes_cures_and_what_to_take() -> None:
    words = "ld: cannot find -lgomp: No such file or directory"
    result = visit(c_omp__link={"status": "failed", "exit": 1, "output": words})
    result = replace(result, agent=(AgentCheck("python3", FAILED, "none here", "set `python`"),))
    page = doctor_text(result)
    row = next(line for line in page.splitlines() if line.startswith("gcc, Open MPI, OpenBLAS"))
    assert row.split()[-7:] == ["ok", "ok", "ok", "FAIL", "ok", "ok", "ok"]
    assert "FAIL link.missing_library: gcc (c) + OpenMP\n    saw  " + words in page
    cure = step_failure("link", {"status": "failed", "exit": 1, "output": words}).cure
    assert "    cure " + cure[:40] in page
    assert "No toolchain can be used as it is." in page
    assert "  FAIL  python3: none here\n    cure set `python`" in page


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 200),
    st.lists(st.sampled_from(["ok", "failed", "signal", "timeout", "skipped"]), max_size=60),
    st.text(max_size=200),
)
def test_the_page_keeps_to_its_columns(width: int, states: list[str], noise: str) -> None:
    lines = good_lines()
    for line, state in zip(lines.values(), states, strict=False):
        line.update(status=state, exit=None if state == "ok" else 1, output=noise + GOOD)
    page = doctor_text(judge(PLAN, FACTS, BARE, lines.values()), width)
    assert all(columns_of(line) <= max(40, min(width, 80)) for line in page.split("\n"))
    assert all(char.isprintable() for char in page.replace("\n", ""))


def test_the_result_is_json_with_ids() -> None:
    result = visit(c_omp__run={"status": "signal", "signal": 11, "output": ""})
    row = json.loads(json.dumps(as_json(result)))
    assert row["rows"][0]["rank"] == 0
    failures = [f["failure"]["id"] for cell in row["cells"] for f in cell["findings"]]
    assert failures == ["run.signal"]
