"""The report of a code generation: what it shows, and that nothing of a model's can act in it."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcagent.codegen.allowed import allowed_calls
from hpcagent.codegen.attempt import Source
from hpcagent.codegen.counters import judged
from hpcagent.codegen.outcome import Checked
from hpcagent.codegen.prompt import Environment, messages
from hpcagent.codegen.remarks import loops, remarks
from hpcagent.codegen.taskfile import find_task, read_task
from hpcagent.codegen.tree import DEBUG, DRAFT, FAILED, GIVEN, IMPROVE, MEASURED, REFERENCE
from hpcagent.measure.statistics import Claim, Effect
from hpcagent.records import Failure
from hpcagent.report import codegen_words, markdown
from hpcagent.report.codegen_figures import codegen_figures
from hpcagent.report.codegen_sections import box, sections
from hpcagent.report.codegen_text import codegen_lines
from hpcagent.report.codegen_write import write_codegen
from hpcagent.report.html import document
from hpcagent.report.wording import visible
from hpcagent.study.codegen_story import Attempt, Wish
from hpcagent.study.codegen_summary import AttemptSummary, CodegenSummary, RoundSummary
from hpcagent.study.rundir import RunDir

HOSTILE = (
    "</pre></details><script>alert(1)</script><img src=x onerror=alert(1)>--><!-- \x1b[2J\u202e"
)
EVIDENCE = "kernel.c:3:5: error: expected ';' before '}' token\n" + HOSTILE


def attempt(number: int, operation: str, parent: int | None, **more: object) -> AttemptSummary:
    made = AttemptSummary(
        number=number, operation=operation, parent=parent, label=f"attempt {number}",
        state=MEASURED, reason="", stage="check", failure=None, speedup=None, spread=None,
        rates={}, worst=None, instrumented=False, seconds=4.0, files={}, parameters={}, unit="ha1",
        stages={"screen": 0.1, "compile": 0.4, "check": 3.0},
    )  # fmt: skip
    return replace(made, **more)  # type: ignore[arg-type]


def summary(hostile: str = "") -> CodegenSummary:
    """A reference, a candidate, three drafts, and two steps from one of them to the best."""
    failure = Failure("compile", "syntax", EVIDENCE if hostile else "error: expected ';'")
    refused = Failure("gate", "clock", f"kernel.c:2: clock {hostile}")
    attempts = (
        attempt(0, REFERENCE, None, label="the reference", speedup=1.0, rates={"large": 2.0}),
        attempt(1, GIVEN, None, label=hostile or "mine.c", speedup=0.9, spread=0.02),
        attempt(2, DRAFT, None, failure=failure, state=FAILED, evidence=failure.evidence,
                stage="compile", files={"kernel.c": f"int x;\t/* {hostile} */\n```\n"}),
        attempt(3, DRAFT, None, failure=refused, state=FAILED, evidence=refused.evidence),
        attempt(4, DEBUG, 2, reason=f"attempt 2 failed {hostile}", speedup=1.5, spread=0.03,
                rates={"large": 3.0}, shares={"large": 0.25}, remarks=("line 3: vectorized",)),
        attempt(5, IMPROVE, 4, speedup=2.5, spread=0.01, rates={"large": 5.0}, worst=0.25,
                instrumented=True, parameters={"flags": ""}, flags=("-O3", "-march=native"),
                files={"kernel.c": "void f(void) {}\n"}),
    )  # fmt: skip
    claim = Claim(2.5, 2.3, 2.7, 0.995, True, 20, "")
    rounds = (RoundSummary("measure-1", "ha2", 24, 40.0),)
    walls = {"network": "", "private_tmp": f"refused {hostile}"}
    return CodegenSummary(
        f"sums{hostile}", "sums", "c", "serial", "GFLOP/s", f"gcc 12 {hostile}", attempts, 5, claim,
        walls, (2, 4, 5), rounds, "perf stat: cycles is not supported",
    )  # fmt: skip


class Page(HTMLParser):
    """Elements, attributes and text as a browser's parser meets them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.handlers: list[str] = []
        self.folded = 0
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.handlers += [name for name, _ in attrs if name.startswith("on") or name == "src"]
        self.folded += tag == "details" and "open" not in dict(attrs)

    def handle_data(self, data: str) -> None:
        self.words += data


def made(told: CodegenSummary, drawn: bool = True) -> str:
    figures = codegen_figures(told) if drawn else {}
    return document("t", box(told, "improved"), "foot", sections(told, "improved: x"), figures)


@pytest.fixture(scope="module")
def page() -> str:
    return made(summary())


def test_a_page_shows_the_tree_the_figures_the_evidence_and_the_sources(page: str) -> None:
    parsed = Page(page)
    assert parsed.tags >= {"svg", "details", "table", "pre"}
    assert page.count("<svg") == 3
    assert parsed.folded == 8  # each attempt, and each of two files
    for words in ("2.500x", "99.5 % interval 2.300 to 2.700", "expected ';'", "void f(void) {}",
                  "refused: gate.clock", "25 %", "-O3 -march=native", "private_tmp", "MISSING",
                  "cycles is not supported", "line 3: vectorized", "measure-1"):  # fmt: skip
        assert words in parsed.words, words


def test_nothing_that_a_model_wrote_acts_in_a_page() -> None:
    text = made(summary(HOSTILE))
    parsed = Page(text)
    assert "script" not in parsed.tags and "img" not in parsed.tags
    assert not parsed.handlers
    assert "<script>alert(1)</script>" in parsed.words  # shown, not lost
    assert "\x1b" not in text and "\u202e" not in text
    # What is drawn has neither the words nor the end of a comment in it.
    for svg in codegen_figures(summary(HOSTILE)).values():
        assert "<script" not in svg and "onerror=alert" not in re.sub(r"<!--.*?-->", "", svg)
        assert {"script", "img"}.isdisjoint(Page(svg).tags)


def test_nothing_is_loaded_from_anywhere(page: str) -> None:
    assert not re.search(r"https?://|url\((?!#)|@import|<link|<script", page)


@given(st.text(max_size=60))
@settings(max_examples=20, deadline=None)
def test_any_text_of_a_source_comes_back_whole(text: str) -> None:
    told = summary()
    source = f"/* {text} */"
    attempts = (*told.attempts[:-1], replace(told.attempts[-1], files={"kernel.c": source}))
    words = Page(made(replace(told, attempts=attempts), drawn=False)).words
    lines = source.expandtabs(8).split("\n")
    shown = re.sub(r"\s", "", "".join(visible(line) for line in lines))
    assert shown in re.sub(r"\s", "", words)


def test_a_fence_of_a_source_does_not_end_its_block() -> None:
    text = markdown.page("t", sections(summary(HOSTILE), "x"), {})
    block = text[text.index("````c") :]
    assert block[: block.index("\n````")].endswith("\n```")
    assert "<script>" not in re.sub(r"`{3,}[\s\S]*?\n`{3,}\n|`[^`\n]*`", "", text)


def test_the_tree_is_ordered_and_fits_a_terminal() -> None:
    told = summary(HOSTILE)
    assert [one.number for one, _ in codegen_words.ordered(told.attempts)] == [0, 1, 2, 4, 5, 3]
    for columns in (40, 80):
        lines = codegen_lines(told, columns)
        assert all(len(line) <= columns for line in lines), lines
    assert any("refused  gate.clock" in line for line in codegen_lines(told, 80))
    assert sum(line[4:5] == "*" for line in codegen_lines(told, 80)) == 3


def test_many_attempts_and_a_deep_tree_are_drawn() -> None:
    deep = [attempt(n, IMPROVE if n else REFERENCE, n - 1 if n > 1 else None, speedup=1.0 + n)
            for n in range(130)]  # fmt: skip
    told = replace(summary(), attempts=tuple(deep), best=129, path=tuple(range(1, 130)))
    assert set(codegen_figures(told)) == {"tree", "speed", "cost"}
    assert all(len(line) <= 80 for line in codegen_lines(told, 80))


def test_a_run_that_has_just_begun_has_a_report(tmp_path: Path) -> None:
    run = RunDir(tmp_path, "codegen-1", "codegen", "2026-01-01T00:00:00Z", "0")
    first = attempt(0, REFERENCE, None, state="open", stages={}, stage="")
    bare = replace(summary(), attempts=(first,), best=None, claim=None, walls={}, path=(),
                   rounds=(), counters="")  # fmt: skip
    write_codegen(run, bare, "", "codegen: not finished")
    assert "not finished" in (tmp_path / "result" / "report.html").read_text()
    assert not (tmp_path / "result" / "best").exists()
    write_codegen(run, summary(), "improved", "improved: x")
    names = {str(path.relative_to(tmp_path / "result")) for path in tmp_path.rglob("*.*")}
    assert names >= {"report.html", "report.md", "figures/tree.svg", "best/kernel.c"}


GCC = """\
../kernel/kernel.c:5:27: missed: couldn't vectorize loop
../kernel/kernel.c:5:27: missed: not vectorized: multiple nested loops.
../kernel/kernel.c:8:35: optimized: loop vectorized using 32 byte vectors
../kernel/kernel.c:8:35: optimized: loop vectorized using 16 byte vectors
../kernel/kernel.c:9:1: missed: not vectorized: no vectype for stmt: _9 = MEM[(const v * {ref-all})_9];
../kernel/kernel.c:11:1: missed: not vectorized: statement clobbers memory: __builtin_memset (y_28(D), 0, _69);
kernel.c:3:9: warning: unused variable 'x' [-Wunused-variable]
"""  # noqa: E501
CLANG = """\
k.c:9:21: remark: loop not vectorized: cannot prove it is safe to reorder floating-point operations [-Rpass-analysis=loop-vectorize]
                sum += a[i * k + p];
k.c:8:13: remark: loop not vectorized [-Rpass-missed=loop-vectorize]
k.c:15:9: remark: vectorized loop (vectorization width: 4, interleaved count: 4) [-Rpass=loop-vectorize]
"""  # noqa: E501


def test_what_a_compiler_says_of_loops_is_told_by_line() -> None:
    assert remarks(GCC) == (
        "line 5: not vectorized: multiple nested loops",
        "line 8: vectorized, 32 bytes",
        "line 9: not vectorized: no vectors for a statement",
        "line 11: not vectorized: it became a call of memset",
    )
    assert remarks(CLANG) == (
        "line 9: not vectorized: cannot prove it is safe to reorder floating-point operations",
        "line 15: vectorized, 4 elements",
    )
    many = "".join(f"k.c:{n}:1: optimized: loop vectorized using 32 byte vectors\n"
                   for n in range(50))  # fmt: skip
    assert remarks(many, 10)[-1] == "40 more lines"


@given(st.text(alphabet="k.c:123 misedoptmzrk-R[]=\n", max_size=300))
def test_any_words_of_a_compiler_are_read(text: str) -> None:
    found = loops(text)
    assert [loop.line for loop in found] == sorted({loop.line for loop in found})


def test_a_model_that_improves_is_told_which_loops_are_no_vectors() -> None:
    task, reference = read_task(find_task("gemm-c"))
    source = Source("c", {"kernel.c": "void gemm(void) {}\n"})
    passed = Checked("check", None, {"compile": {"said": GCC}})
    first = Attempt(0, REFERENCE, None, "the reference", source)
    draft = Attempt(
        1, DRAFT, None, "attempt 1", source, checked=passed, effect=Effect(-0.5, 0.1, 5)
    )
    asked = messages(Environment(()), Wish(task, reference), (first, draft), IMPROVE, 1)
    assert "line 5: not vectorized: multiple nested loops\nline 8: vectorized" in asked[1].text
    assert "-Wunused" not in asked[1].text


def test_openblas_may_be_called_where_the_task_has_it() -> None:
    call = re.compile(
        "|".join(f"(?:{pattern})" for pattern in allowed_calls("c", "serial"))
    ).fullmatch
    more = allowed_calls("c", "serial", ["m", "openblas"])
    blas = re.compile("|".join(f"(?:{pattern})" for pattern in more)).fullmatch
    for name in ("cblas_dgemm", "dgemm_", "cblas_ddot", "idamax_", "zher2k_", "cblas_dtrsm"):
        assert blas(name) and not call(name)
    for name in ("openblas_set_num_threads", "goto_set_num_threads", "system", "xerbla_"):
        assert not blas(name)


def test_counters_are_told_usable_only_where_they_count() -> None:
    assert judged(0, "4711,,cycles:u,1,100.00,,\n815,,instructions:u,1,100.00,,\n") == ""
    refused = "<not supported>,,cycles,0,100.00,,\n<not supported>,,instructions,0,100.00,,\n"
    assert judged(0, refused) == "perf stat: cycles is not supported"
    words = "Error:\nAccess to performance monitoring is limited."
    assert judged(255, words) == "perf stat failed (exit code 255): Error:"
