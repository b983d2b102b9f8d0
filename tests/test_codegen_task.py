"""Tasks of code generation: what a file may say, what is made of it, and what is refused."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcagent.codegen.answer import Answer, parse_answer
from hpcagent.codegen.candidates import read_candidates
from hpcagent.codegen.cases import ALIAS_SHIFT, check_rows, measure_rows, operations
from hpcagent.codegen.scaffold import scaffold
from hpcagent.codegen.signature import c_prototype, fortran_interface, harness, header
from hpcagent.codegen.taskfile import TaskFile, find_task, read_task, task_names
from hpcagent.codegen.tree import (
    DEBUG,
    DEBUG_DEPTH,
    DRAFT,
    DRAFTS,
    FAILED,
    IMPROVE,
    MEASURED,
    REFERENCE,
    Node,
    choose,
)
from hpcagent.errors import UsageError
from hpcagent.records import Failure

GOLDEN = Path(__file__).parent / "golden" / "codegen"
GOOD = """\
schema: 1
name: scale
text: y is s times x, for all elements.
language: c
function: scale
arguments:
  - {name: n, type: int}
  - {name: s, type: double}
  - {name: x, type: double, shape: [n]}
  - {name: y, type: double, intent: out, shape: [n]}
reference: reference.c
cases:
  check: [{n: 3}]
  measure: {one: {n: 100}}
tolerance: {relative: 1.0e-12}
metric: {unit: GFLOP/s, count: n}
contract: {aliases: [[x, y]], nan: true}
"""
# What is replaced, by what, the line that is named, and a word of the cure.
WRONG = (
    ("relative: 1.0e-12", "relative: 0.0", 15, "both are zero"),
    ("relative: 1.0e-12", "relative: .nan", 15, "finite"),
    ("relative: 1.0e-12", "relative: -1.0", 15, "not negative"),
    ("shape: [n]}\n  - {name: y", "shape: [m]}\n  - {name: y", 9, "unknown name 'm'"),
    ("intent: out, shape: [n]", "intent: out", 7, "needs a shape"),
    ("intent: out, ", "", 7, "nothing comes out"),
    ("{name: s,", "{name: x,", 7, "stands there twice"),
    ("{name: s,", "{name: for,", 7, "word of a language"),
    ("type: double}", "type: quad}", 8, "double"),
    ("language: c\n", "language: rust\n", 4, "fortran"),
    ("[{n: 3}]", "[{m: 3}]", 13, "has to give n"),
    ("[{n: 3}]", "[{n: -3}]", 13, "the shape of x is -3"),
    ("{n: 100}", "{n: 999999999}", 14, "elements"),
    ("count: n", "count: k", 16, "unknown name 'k'"),
    ("count: n", 'count: ""', 16, "need 'count'"),
    ("[[x, y]]", "[[x, z]]", 17, "'z' is no array"),
    ("language: c\n", "language: c\nparallel: mpi\n", 1, "ranks"),
    ("reference: reference.c", "reference: other/reference.c", 11, "beside the task"),
    ("reference: reference.c", "reference: absent.c", 11, "cannot be read"),
    ("schema: 1\n", "schema: 1\nspeed: high\n", 2, "speed: there is no such field"),
    ("function: scale", "function: memcpy", 5, "of the C library"),
    ("function: scale", "function: my-scale", 5, "small letters, digits and _"),
    ("count: n", "count: n}\nbudget: {memory_gib: 1.0e-9", 13, "budget.memory_gib allows"),
)


def written(folder: Path, text: str) -> Path:
    (folder / "reference.c").write_text("void scale(void) {}\n")
    path = folder / "task.yaml"
    path.write_text(text)
    return path


@pytest.fixture
def task(tmp_path: Path) -> TaskFile:
    return read_task(written(tmp_path, GOOD))[0]


@pytest.mark.parametrize(("old", "new", "line", "words"), WRONG)
def test_a_bad_task_is_named_with_its_line_and_the_cure(
    tmp_path: Path, old: str, new: str, line: int, words: str
) -> None:
    assert old in GOOD
    path = written(tmp_path, GOOD.replace(old, new, 1))
    with pytest.raises(UsageError) as caught:
        read_task(path)
    told = str(caught.value)
    assert told.startswith(f"{path}:{line}: "), told
    assert words in told
    assert "\n" not in told


def test_numbers_may_be_written_as_people_write_them(tmp_path: Path) -> None:
    """YAML 1.1 takes these for text, which they stay where a field is text."""
    text = GOOD.replace("relative: 1.0e-12", "relative: 1e-12, absolute: 2E-3")
    text = text.replace("{name: s, type: double}", "{name: s, type: double, meaning: 1e3}")
    task, _ = read_task(written(tmp_path, text))
    assert task.tolerance is not None
    assert (task.tolerance.relative, task.tolerance.absolute) == (1e-12, 2e-3)
    assert task.arguments[1].meaning == "1e3"


@pytest.mark.parametrize("name", task_names())
def test_a_shipped_task_is_whole(name: str) -> None:
    task, reference = read_task(find_task(name))
    assert task.name == name
    assert task.function in reference
    assert len(read_candidates(task, find_task(name).parent / "candidates")) >= 1
    assert {row["name"] for row in measure_rows(task)} == set(task.cases.measure)
    assert all((operations(task, case) or 1) > 0 for case in task.cases.measure)
    # Odd sizes are what kernels go wrong at.
    counts = {pair[0] for row in check_rows(task) for pair in row["arrays"]}
    assert any(count % 2 for count in counts)


def test_the_kinds_of_kernels_come_in_c_and_fortran() -> None:
    kinds = {name.rpartition("-")[0] for name in task_names()}
    assert kinds >= {"triad", "transpose", "dot", "gemm", "spmv", "stencil", "halo", "allreduce"}
    assert set(task_names()) == {f"{kind}-{lang}" for kind in kinds for lang in ("c", "fortran")}


@pytest.mark.parametrize("name", ["triad-c", "spmv-fortran", "halo-fortran"])
def test_a_harness_is_made_to_the_byte(name: str) -> None:
    task, _ = read_task(find_task(name))
    assert harness(task, task.language) == (GOLDEN / f"{name}.c").read_text(encoding="utf-8")


@pytest.mark.toolchain
def test_a_function_may_be_called_as_something_in_the_harness(tmp_path: Path) -> None:
    """`state` is a macro of it, `kernel` a function; `data` is a field beside its numbers."""
    text = GOOD.replace("name: s,", "name: data,").replace("name: y,", "name: state,")
    task, _ = read_task(written(tmp_path, text.replace("[x, y]", "[x, state]")))
    named = task.model_copy(update={"function": "kernel"})
    (tmp_path / "harness.c").write_text(harness(named, "c"))
    (tmp_path / "kernel.h").write_text(header(named))
    (tmp_path / "kernel.c").write_text(f'#include "kernel.h"\n{c_prototype(named, "c")}\n{{\n}}\n')
    words = ["gcc", "harness.c", "kernel.c", "-o", "program", "-lm"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_interface_is_shown_in_each_language(task: TaskFile) -> None:
    assert c_prototype(task, "c") == "void scale(int32_t n, double s, const double *x, double *y)"
    assert f"{c_prototype(task, 'c')};" in header(task)
    shown = fortran_interface(task)
    assert 'subroutine scale(n, s, x, y) bind(C, name="scale")' in shown
    assert "real(c_double), intent(out) :: y(n)" in shown


def test_what_the_contract_allows_is_tried(task: TaskFile) -> None:
    variants = [row["variant"] for row in check_rows(task)]
    assert variants == [0, 1 << ALIAS_SHIFT, 2]


def test_a_scaffold_is_a_task(tmp_path: Path) -> None:
    scaffold(tmp_path, "my-kernel")
    task, reference = read_task(tmp_path / "my-kernel" / "task.yaml")
    assert task.function in reference
    assert read_candidates(task, tmp_path / "my-kernel" / "candidates")
    with pytest.raises(UsageError, match="there already"):
        scaffold(tmp_path, "my-kernel")
    with pytest.raises(UsageError, match="made of a-z"):
        scaffold(tmp_path, "../up")


def test_candidates_may_choose_declared_parameters_only(tmp_path: Path, task: TaskFile) -> None:
    folder = tmp_path / "mine"
    (folder / "slow").mkdir(parents=True)
    (folder / "slow" / "k.c").write_text("//\n")
    (folder / "slow" / "build.yaml").write_text("optimisation: O3\n")
    (folder / "plain.c").write_text("//\n")
    rows = read_candidates(task, folder)
    assert [row["label"] for row in rows] == ["plain.c", "slow"]
    assert rows[1]["parameters"] == {"optimisation": "O3"}
    (folder / "slow" / "build.yaml").write_text("optimisation: O9\n")
    with pytest.raises(UsageError, match=r"build.yaml:1: optimisation: O9; there are"):
        read_candidates(task, folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="nothing in it ends in"):
        read_candidates(task, tmp_path / "empty")


# --- answers --------------------------------------------------------------------------------------

NAMES = ("kernel.c",)
CHOICES = {"optimisation": ("O3", "O2"), "flags": ("", "fast-math")}
BLOCK = "```c kernel.c\nint x;\n```\n"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("", "no_code"),
        ("I would use a loop over i.", "no_code"),
        (BLOCK + BLOCK, "several_blocks"),
        ("```c other.c\nint x;\n```\n", "wrong_file"),
        ("```c ../kernel.c\nint x;\n```\n", "wrong_file"),
        ("```c\nint x;\n```\n", "wrong_file"),
        ("```c kernel.c\nint x;\n", "cut_off"),
        ("```c kernel.c\n\n```\n", "no_code"),
        ("```c kernel.c\nint \u00e4;\n```\n", "not_text"),
        ("```c kernel.c\n" + "x" * 70000 + "\n```\n", "too_long"),
        ("x" * 300000, "too_long"),
        (BLOCK + "PARAMETERS: optimisation=O9\n", "parameters"),
        (BLOCK + "PARAMETERS: speed=9\n", "parameters"),
        (BLOCK + "PARAMETERS: -O3 -march=native\n", "parameters"),
    ],
)
def test_an_answer_that_is_no_source_is_a_failure_of_its_kind(text: str, kind: str) -> None:
    found = parse_answer(text, NAMES, CHOICES)
    assert isinstance(found, Failure)
    assert found.id == f"model.{kind}"


def test_an_answer_is_taken_with_its_words_and_parameters() -> None:
    text = f"Unrolled.\n{BLOCK}PARAMETERS: optimisation=O2 flags=fast-math\n"
    found = parse_answer(text, NAMES, CHOICES)
    assert found == Answer(
        {"kernel.c": "int x;\n"}, {"optimisation": "O2", "flags": "fast-math"}, "Unrolled."
    )


@given(st.text())
def test_any_answer_gives_declared_files_or_a_failure(text: str) -> None:
    for answer in (text, f"{text}\n{BLOCK}", f"```c kernel.c\n{text}\n```"):
        found = parse_answer(answer, NAMES, CHOICES)
        if isinstance(found, Answer):
            assert set(found.files) == set(NAMES)
            assert all(value in CHOICES[name] for name, value in found.parameters.items())
        else:
            assert found.stage == "model"


@given(st.lists(st.text(st.characters(min_codepoint=32, max_codepoint=126)), min_size=1))
def test_a_source_comes_out_as_it_went_in(lines: list[str]) -> None:
    source = "\n".join(["int x;", *(line for line in lines if line.rstrip(" ") != "```")]) + "\n"
    found = parse_answer(f"Here:\n```c kernel.c\n{source}```\n", NAMES, CHOICES)
    assert isinstance(found, Answer)
    assert found.files["kernel.c"] == source


# --- the choice -----------------------------------------------------------------------------------

BAD = Failure("numerics", "wrong_result", "y[0] is 1 and has to be 2")
FIRST = Node(0, REFERENCE, None, MEASURED, log_ratio=0.0)


def failed(number: int, operation: str = DRAFT, parent: int | None = None) -> Node:
    return Node(number, operation, parent, FAILED, BAD)


def good(number: int, ratio: float, operation: str = DRAFT, parent: int | None = None) -> Node:
    return Node(number, operation, parent, MEASURED, log_ratio=ratio)


def test_drafts_come_first_whatever_became_of_them() -> None:
    nodes = [FIRST]
    for number in range(1, DRAFTS + 1):
        assert choose(nodes, 1).operation == DRAFT
        nodes.append(failed(number))
    assert choose(nodes, 1).operation == DEBUG


def test_what_failed_is_debugged_to_a_bounded_depth() -> None:
    nodes = [FIRST, *(failed(n) for n in range(1, DRAFTS + 1))]
    for _ in range(100):
        choice = choose(nodes, 1)
        if choice.operation != DEBUG:
            break
        nodes.append(failed(len(nodes), DEBUG, choice.parent))
    assert choose(nodes, 1).operation == DRAFT
    assert len(nodes) == 1 + DRAFTS * (1 + DEBUG_DEPTH)


def test_the_best_is_improved_most_of_the_time_and_others_sometimes() -> None:
    nodes = [FIRST, failed(1), good(2, -0.5), good(3, -0.1)]
    chosen = [choose(nodes, seed) for seed in range(400)]
    best = sum(c.operation == IMPROVE and c.parent == 2 for c in chosen) / len(chosen)
    assert 0.6 < best < 0.9
    assert any(c.operation == DEBUG for c in chosen)


def test_an_answer_without_a_source_is_not_debugged() -> None:
    silent = [Node(n, DRAFT, None, FAILED, BAD, source=False) for n in range(1, DRAFTS + 1)]
    assert choose([FIRST, *silent], 1).operation == DRAFT


@given(st.integers(0, 10**6), st.lists(st.sampled_from(["bad", "good", "silent"]), max_size=25))
def test_any_history_has_a_next_choice_that_is_there(seed: int, ends: list[str]) -> None:
    nodes = [FIRST]
    for end in ends:
        choice = choose(nodes, seed)
        assert choice == choose(nodes, seed)
        number = len(nodes)
        assert choice.parent is None or 0 < choice.parent < number
        if end == "good":
            nodes.append(good(number, -0.01 * number, choice.operation, choice.parent))
        else:
            source = end == "bad"
            nodes.append(Node(number, choice.operation, choice.parent, FAILED, BAD, source=source))
