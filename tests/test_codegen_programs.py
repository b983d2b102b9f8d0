"""Whole programs through the real gate: right ones, wrong ones, and checkers that are no good."""

from __future__ import annotations

import dataclasses
import tempfile
from itertools import pairwise
from pathlib import Path

import pytest
from doctor_scene import BARE
from hypothesis import given
from hypothesis import strategies as st
from program_gate import ProgramGate

from hpcagent.codegen import inputs, programs
from hpcagent.codegen.prompt import command_line
from hpcagent.codegen.rules import rules
from hpcagent.codegen.screen import screen
from hpcagent.codegen.taskfile import TaskFile, find_task, parse_task, read_task, task_names
from hpcagent.errors import UsageError
from hpcagent.yamlfile import load_yaml

TASK = """\
schema: 1
name: doubled
text: y is twice x, and the sum of all is printed.
language: c
program: doubled
arguments:
  - {name: n, type: int}
  - {name: x, type: double, shape: [n]}
  - {name: y, type: double, intent: out, shape: [n]}
  - {name: s, type: double, intent: out, shape: [1], stdout: true}
JUDGE
cases:
  check: [{n: 0}, {n: 5}]
  measure: {one: {n: 1000}}
parameters: {march: [portable], optimisation: [O1]}
repeats: 1
budget: {seconds: 60}
"""
REFERENCE = "reference: reference.c\ntolerance: {relative: 1.0e-12, absolute: 1.0e-12}"
# Only the first number of y is looked at, or the sum is not: the ways in which checkers are weak.
CHECKER = """\
import array, sys
n, x, y, s = int(sys.argv[1]), *(array.array("d") for _ in range(3))
for values, path in zip((x, y, s), sys.argv[2:]):
    with open(path, "rb") as stream:
        values.frombytes(stream.read())
wrong = [i for i in range(n) if y[i] != 2 * x[i]]
near = abs(s[0] - sum(y)) <= 1e-9
print("ok 0" if near and not wrong else "wrong 1 at %s" % wrong[:3])
"""
GOOD = """\
#include <stdio.h>
#include <stdlib.h>
int main(int argc, char **argv)
{
    int n = atoi(argv[1]);
    double sum = 0.0, *x = malloc((n + 1) * sizeof *x);
    FILE *in = fopen(argv[2], "rb"), *out = fopen(argv[3], "wb");
    if (argc != 4 || !in || !out || fread(x, sizeof *x, n, in) != (size_t)n)
        return 3;
    for (int i = 0; i < n; i++)
        sum += x[i] *= 2.0;
    fwrite(x, sizeof *x, n, out);
    fclose(out), fclose(in), free(x);
    printf("%.17g\\n", sum);
    return 0;
}
"""
# What is replaced in the good one, by what, and as what it is caught.
WRONG = {
    "one_wrong": ("x[i] *= 2.0", "(x[i] *= 2.0 + 1e-6 * (i == 3))", "numerics.wrong_result"),
    "beyond": ("(n + 1) * sizeof *x", "n * sizeof *x - 8 * (n > 1)", "run.sanitizer"),
    "short": ("fwrite(x, sizeof *x, n, out)", "fwrite(x, sizeof *x, n / 2, out)", "run.no_result"),
    "prints_more": ('"%.17g\\n"', '"sum %.17g\\n"', "run.no_result"),
    "no_file": ("fopen(argv[3]", 'fopen("elsewhere"', "run.no_result"),
    "fails": ("return 0;", "return 4;", "run.exit_nonzero"),
    "waits": ("return 0;", "for (volatile int i = 1; i;);", "run.timeout"),
}


def made(folder: Path, judge: str, **files: str) -> Path:
    path = folder / "task.yaml"
    path.write_text(TASK.replace("JUDGE", judge))
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text)
    return path


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> ProgramGate:
    folder = tmp_path_factory.mktemp("doubled")
    return ProgramGate(folder, made(folder, REFERENCE, reference_c=GOOD), BARE)


@pytest.mark.toolchain
def test_a_right_program_passes_and_is_timed_from_outside(gate: ProgramGate) -> None:
    verdict = gate.attempt("good", GOOD)
    assert not verdict.kind, verdict
    assert verdict.told["instrumented"]
    measured = gate.measure("good")
    assert not measured.kind, measured
    key, seconds = measured.evidence.splitlines()[0].split()[1:]
    assert key == "one" and float(seconds) > 0.0


@pytest.mark.toolchain
@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_program_is_caught_as_what_it_is(gate: ProgramGate, name: str) -> None:
    old, new, kind = WRONG[name]
    assert old in GOOD
    task = gate.task
    if name == "waits":
        short = task.budget.model_copy(update={"seconds": 20})
        gate.task = task.model_copy(update={"budget": short})
    try:
        # Only one is for the sanitizers; without them the others take half as long.
        without = () if name == "beyond" else ("checked",)
        verdict = gate.attempt(name, GOOD.replace(old, new), without)
    finally:
        gate.task = task
    assert verdict.kind == kind, verdict
    assert verdict.evidence.strip()


@pytest.mark.toolchain
def test_a_checker_judges_in_the_place_of_a_reference(tmp_path: Path) -> None:
    gate = ProgramGate(tmp_path, made(tmp_path, "checker: checker.py", checker_py=CHECKER), BARE)
    assert not gate.attempt("good", GOOD, ("checked",)).kind
    old, new, kind = WRONG["one_wrong"]
    wrong = gate.attempt("wrong", GOOD.replace(old, new), ("checked",))
    assert (wrong.stage, wrong.kind) == ("check", kind)
    assert "the checker refuses it: 1 at [3]" in wrong.evidence
    assert not gate.measure("good").kind


@pytest.mark.toolchain
@pytest.mark.parametrize(
    ("old", "new", "kind", "words"),
    [
        ("near and not wrong", "True", "gate.weak_checker", "bytes that nobody computed"),
        ('"wrong 1', '"bad 1', "environment.checker", "answers 'bad 1"),
    ],
)
def test_a_checker_that_is_no_good_is_told_at_once(
    tmp_path: Path, old: str, new: str, kind: str, words: str
) -> None:
    path = made(tmp_path, "checker: checker.py", checker_py=CHECKER.replace(old, new))
    first = ProgramGate(tmp_path, path, BARE).first
    assert (first.stage, first.kind) == ("check", kind)
    assert words in first.evidence


@pytest.mark.toolchain
def test_a_checker_that_looks_at_one_result_only_is_found_out(tmp_path: Path) -> None:
    weak = CHECKER.replace(
        "near and not wrong", "not wrong"
    )  # noise is refused, a wrong sum is not
    gate = ProgramGate(tmp_path, made(tmp_path, "checker: checker.py", checker_py=weak), BARE)
    verdict = gate.attempt("good", GOOD, ("checked",))
    assert (verdict.stage, verdict.kind) == ("check", "gate.weak_checker"), verdict
    assert "s[0] was changed" in verdict.evidence


# --- what needs no compiler -----------------------------------------------------------------------

BAD = (
    ("program: doubled", "program: doubled\nfunction: f", "either a function"),
    (REFERENCE, "", "either a reference"),
    (REFERENCE, f"{REFERENCE}\nchecker: c.py", "either a reference"),
    (REFERENCE, "reference: reference.c", "how far they may be"),
    (REFERENCE, "checker: c.py\ntolerance: {relative: 1.0}", "has one of its own"),
    (REFERENCE, "reference: r.py\ntolerance: {relative: 1.0}", "ending in one of .c"),
    (REFERENCE, "checker: c.sh", "or .py"),
    ("intent: out, shape: [n]}", "intent: out, shape: [n], stdout: true}", "only one result"),
    ("type: double, shape: [n]}", "type: double, shape: [n], stdout: true}", "can be printed"),
    ("shape: [1], stdout", "shape: [20000], stdout", "more than 10000"),
    ("repeats: 1", "contract: {aliases: [[x, y]]}", "always different"),
)


@pytest.mark.parametrize(("old", "new", "words"), BAD)
def test_a_bad_task_is_told_in_one_line(tmp_path: Path, old: str, new: str, words: str) -> None:
    path = made(tmp_path, REFERENCE, reference_c=GOOD)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(UsageError) as caught:
        read_task(path)
    assert words in str(caught.value), caught.value
    assert str(caught.value).startswith(f"{path}:")
    assert "\n" not in str(caught.value)


def test_only_a_program_has_a_checker_alone(tmp_path: Path) -> None:
    path = made(tmp_path, "checker: checker.py", checker_py=CHECKER)
    text = (
        path.read_text()
        .replace("program: doubled", "function: doubled")
        .replace(", stdout: true", "")
    )
    path.write_text(text.replace("repeats: 1", "repeats: 3"))
    with pytest.raises(UsageError, match="make the function a program"):
        read_task(path)


def task_of(folder: Path) -> TaskFile:
    return parse_task(load_yaml(made(folder, REFERENCE, reference_c=GOOD)))


def test_the_command_line_is_told_as_it_will_be(tmp_path: Path) -> None:
    shown = command_line(task_of(tmp_path))
    assert shown.splitlines()[0] == "./doubled N x.in y.out"
    assert "s: 64-bit reals, 1: it is printed" in shown


def test_a_program_may_do_what_a_function_may_not(tmp_path: Path) -> None:
    """And no more: it may read its files and look at clocks, but start nothing."""

    def kinds(text: str, program: bool) -> set[str]:
        return {row["kind"] for row in screen(text, "c", rules(program)) if row["rejected"]}

    assert kinds(GOOD, program=True) == set()
    assert {"files", "override"} <= kinds(GOOD, program=False)
    for line, kind in (
        ("fork();", "process"), ("socket(1, 2, 3);", "network"), ("dlopen(0, 1);", "dynamic"),
        ("MPI_Comm_spawn();", "mpi_control"), ("pthread_create(0, 0, f, 0);", "threads"),
        ('asm("nop");', "assembly"), ('system("true");', "process"),
        ('fopen("/etc/passwd", "r");', "paths"),
    ):  # fmt: skip
        assert kind in kinds(GOOD.replace("return 0;", line), program=True), line


SIZES = st.integers(0, 40)


@given(SIZES, SIZES, st.integers(0, 2**62), st.sampled_from([0, 1, 2, 3]))
def test_inputs_follow_from_the_seed_and_are_what_the_task_says(
    rows: int, total: int, seed: int, variant: int
) -> None:
    def row(name: str, **more: object) -> dict[str, object]:
        plain = {"name": name, "type": "double", "array": True, "intent": "in", "stdout": False,
                 "kind": "uniform", "low": -1.0, "high": 2.0, "offsets": ""}  # fmt: skip
        return {**plain, **more}

    interface = [
        row("n", type="long", array=False), row("a", array=False), row("x"),
        row("offsets", type="int", kind="csr_offsets"),
        row("columns", type="int", kind="csr_columns", offsets="offsets"),
        row("y", intent="inout"), row("z", intent="out"),
    ]  # fmt: skip
    case = {"sizes": [rows], "variant": variant,
            "arrays": [[rows, 0], [rows + 1, total], [total, 50], [3, 0], [5, 0]]}  # fmt: skip
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        words = inputs.make(interface, case, seed, one)
        assert words == inputs.make(interface, case, seed, other)
        assert words[0] == str(rows) and -1.0 <= float(words[1]) <= 2.0
        assert words[2:] == ["x.in", "offsets.in", "columns.in", "y.in", "y.out", "z.out"]
        for name in ("x.in", "columns.in"):
            assert (Path(one) / name).read_bytes() == (Path(other) / name).read_bytes()
        found = inputs.read(f"{one}/offsets.in", "int", rows + 1).tolist()
        columns = inputs.read(f"{one}/columns.in", "int", total if rows else 0).tolist()
    assert found == sorted(found) and found[0] == 0
    assert found[-1] == (total if rows else 0)
    assert all(0 <= column < 50 for column in columns)
    for first, end in pairwise(found):
        assert columns[first:end] == sorted(columns[first:end])


@given(st.integers(1, 9), st.lists(st.sampled_from([1, 2, 3, 4]), unique=True, min_size=1))
def test_every_case_and_every_number_of_ranks_has_its_turn(cases: int, ranks: list[int]) -> None:
    spec = {"ranks": ranks, "threads": [1], "cases": [{"name": str(n)} for n in range(cases)]}
    for shift in range(3):
        turns = list(programs.turns(spec, shift, threaded=False))
        assert len(turns) == max(cases, len(ranks))
        assert {case["name"] for case, _, _ in turns} == {str(n) for n in range(cases)}
        assert {rank for _, rank, _ in turns} == set(ranks)


def test_what_a_start_takes_is_taken_off_but_never_all() -> None:
    assert programs.net(3.0, 1.0) == 2.0
    assert programs.net(1.0, 1.5) == pytest.approx(0.1)


# --- the tasks that come with hpcagent ------------------------------------------------------------

ONE_CORE = dataclasses.replace(BARE, cpus_allowed=(0,), microarchitecture=BARE.architecture)


def smallest(task: TaskFile) -> TaskFile:
    """A case or two of few numbers, on the fewest ranks that tell them apart."""
    few = task.cases.model_copy(update={"check": task.cases.check[1:3], "vary": {}})
    ranks = [3] if task.ranks else []
    none = task.contract.model_copy(update={"nan": False, "subnormals": False})
    return task.model_copy(update={"cases": few, "ranks": ranks, "contract": none})


@pytest.mark.toolchain
@pytest.mark.parametrize("name", task_names())
def test_the_reference_of_a_shipped_task_passes_the_whole_gate(name: str, tmp_path: Path) -> None:
    gate = ProgramGate(tmp_path, find_task(name), ONE_CORE, smallest)
    assert not gate.first.kind, gate.first
    assert gate.task.checker or gate.first.told["instrumented"]
