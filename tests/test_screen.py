"""The screen sees what has no business in a kernel, and nothing in innocent ones."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcagent.codegen.objects import instruction_problem, section_problem
from hpcagent.codegen.rules import load_rules, rules
from hpcagent.codegen.screen import own_part, screen, screen_preprocessed
from hpcagent.codegen.tokens import HIDDEN, NAME, tokens
from hpcagent.errors import UsageError

HERE = Path(__file__).parent
INNOCENT = sorted((HERE / "codegen_innocent").iterdir())
LANGUAGES = {".c": "c", ".cpp": "c++", ".f90": "fortran"}


def kinds(text: str, language: str = "c") -> set[str]:
    return {str(row["kind"]) for row in screen(text, language, rules())}


def rejected(text: str, language: str = "c") -> bool:
    return any(row["rejected"] for row in screen(text, language, rules()))


@pytest.mark.parametrize("path", INNOCENT, ids=lambda path: path.name)
def test_innocent_kernels_are_let_through(path: Path) -> None:
    found = screen(path.read_text(encoding="utf-8"), LANGUAGES[path.suffix], rules())
    assert not found


SUSPICIOUS = [
    ("process", "c", "int f(void) { return fork(); }"),
    ("process", "c", 'void f(void) { system("ls"); }'),
    ("process", "fortran", "call execute_command_line('ls')"),
    ("process", "fortran", "call System('ls')"),
    ("process", "fortran", "call exe&\n  &cute_command_line('ls')"),
    ("process", "fortran", "!$ call system('only with OpenMP')"),
    ("process", "fortran", "subroutine s() bind(c, name='fork')"),
    ("network", "c", "int s = socket(2, 1, 0);"),
    ("assembly", "c", 'void f(void) { __asm__ volatile("syscall"); }'),
    ("assembly", "c", 'char code[] __attribute__((section(".text"))) = "x";'),
    ("files", "c", 'FILE *f = fopen("x", "r");'),
    ("files", "c++", '#include <fstream>\nstd::ifstream f("x");'),
    ("files", "fortran", "open(unit=7, file='x')"),
    ("files", "fortran", "inquire (file='x', exist=l)"),
    ("memory_map", "c", "mprotect(p, 4096, 3);"),
    ("dynamic", "c", "void *p = dlsym(0, name);"),
    ("startup", "c", "__attribute__((constructor)) static void f(void) {}"),
    ("startup", "c++", "[[gnu::constructor]] static void f() {}"),
    ("startup", "c", "void f(void) { atexit(g); }"),
    ("signals", "c", "signal(11, handler);"),
    ("signals", "c", "if (setjmp(b)) return;"),
    ("exit", "c", "_exit(0);"),
    ("exit", "fortran", "stop 0"),
    ("tracing", "c", "ptrace(0, 0, 0, 0);"),
    ("tracing", "c", "syscall(39);"),
    ("stack", "c", "void *p = __builtin_frame_address(1);"),
    ("environment", "c", 'char *p = getenv("HOME");'),
    ("environment", "fortran", "call get_environment_variable('HOME', x)"),
    ("clock", "c", "clock_gettime(1, &t);"),
    ("clock", "c++", "auto t = std::chrono::steady_clock::now();"),
    ("threads", "c", "pthread_create(&t, 0, g, 0);"),
    ("threads", "c++", "std::thread t(g);"),
    ("mpi_control", "c", "MPI_Abort(MPI_COMM_WORLD, 0);"),
    ("mpi_control", "fortran", "call MPI_File_open(c, n, a, i, f, e)"),
    ("instrumentation", "c", "#ifdef __SANITIZE_ADDRESS__\n#endif\nint x = __SANITIZE_ADDRESS__;"),
    ("instrumentation", "c", '__attribute__((no_sanitize("address"))) void f(void) {}'),
    ("override", "c", "void *malloc(unsigned long n) { return 0; }"),
    ("override", "c", "int clock_gettime(int c, struct timespec *t)\n{\n return 0; }"),
    ("override", "c++", 'extern "C" {\nint main() { return 0; }\n}'),
    ("override", "c", "int MPI_Allreduce(const void *a) { return 0; }"),
    ("override", "c", "#pragma weak f"),
    ("override", "c", '#define X\nvoid f(void) __attribute__((alias("g")));'),
    ("include", "c", '#include "/etc/passwd"'),
    ("include", "c", '#include "../reference/reference.c"'),
    ("include", "c", "#define WHAT <stdio.h>\n#include WHAT"),
    ("include", "c", '#embed "x"'),
    ("include", "c", "#if __has_include(<x.h>)\n#endif"),
    ("include", "fortran", "include 'secret.inc'"),
    ("line_directive", "c", '#line 7 "other.c"'),
    ("line_directive", "c", '# 7 "other.c"'),
    ("paths", "c", 'const char *p = "/pro" "c/self/mem";'),
    ("paths", "c", 'const char *p = "\\x2fproc/self";'),
    ("paths", "fortran", "character(9) :: p = '/proc/self'"),
    ("hidden", "c", "int fo\\\nrk(void);"),
    ("hidden", "c", "int x; // what??/\nint y;"),
    ("hidden", "c", 'const char *s = R"(x)";'),
    ("hidden", "c", "int \\u0066oo;"),
    ("hidden", "c", "%:define X"),
    ("hidden", "c", "int x; /* \u202e */"),
    ("hidden", "c", '_Pragma("weak f")'),
    ("hidden", "c", "int x; /* no end"),
    ("pasting", "c", "#define P(a, b) a##b"),
    ("optimise", "c", '#pragma GCC optimize("Ofast")'),
    ("optimise", "c", '__attribute__((optimize("fast-math"))) void f(void);'),
    ("output", "c", 'printf("done 1 intact");'),
    ("output", "fortran", "print *, 'done'"),
    ("state", "c", "static _Thread_local double last;"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "language", "text"), SUSPICIOUS)
def test_what_is_suspicious_is_told_by_kind_and_line(kind: str, language: str, text: str) -> None:
    found = screen("\n" + text, language, rules())
    rows = [row for row in found if row["kind"] == kind]
    assert rows, found
    assert all(2 <= row["line"] <= 1 + len(text.split("\n")) for row in rows)
    assert rows[0]["rejected"] == (rules()[kind]["policy"] == "reject")
    assert rows[0]["quote"] in text


@pytest.mark.parametrize(("kind", "language", "text"), SUSPICIOUS)
def test_the_same_words_in_comments_mean_nothing(kind: str, language: str, text: str) -> None:
    if kind == "hidden":
        return  # what is not seen, or not closed, is a trick in a comment, too
    if language == "fortran":
        assert not kinds("".join(f"! {line}\n" for line in text.split("\n")), language)
    else:
        body = text.replace("/*", "").replace("*/", "")
        assert not kinds(f"/* {body} */\nint x;", language)


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ("static inline double strlen(const char *a)\n{\n}", False),
        ("static void strip(int n)\n{\n}", False),
        ("void strip(int n)\n{\n}", False),  # the C library has none of that name
        ("double strlen(const char *a)\n{\n}", True),
        ("static int n;\ndouble strlen(const char *a)\n{\n}", True),
        # Calls that the compiler puts into this object go to these, static or not.
        ("static void __asan_report_load8(void *at)\n{\n}", True),
        ("static void *memcpy(void *to, const void *from, unsigned long n)\n{\n}", True),
    ],
)
def test_only_what_others_would_call_may_not_be_defined(text: str, refused: bool) -> None:
    rows = [row for row in screen(text, "c", rules()) if row["kind"] == "override"]
    assert bool(rows) == refused
    assert all("make yours static, or call it otherwise" in row["what"] for row in rows)


def test_pragmas_of_loops_may_stand_in_macros() -> None:
    assert not kinds(
        '#define SIMD _Pragma("omp simd")\n_Pragma("GCC ivdep") _Pragma("GCC unroll 4")'
    )
    assert kinds('_Pragma("omp threadprivate(x)")') and kinds("_Pragma(TEXT)")


def test_every_kind_is_shown() -> None:
    shown = {kind for kind, _, _ in SUSPICIOUS}
    assert shown >= set(rules()) - {"pointers", "system_header"}


TEXT = st.text(st.sampled_from("ab(/*\"'\\\n #R!&$?=;{}fork"), max_size=60)


@given(TEXT, st.sampled_from(["c", "c++", "fortran"]))
def test_any_text_can_be_looked_at(text: str, language: str) -> None:
    last = text.count("\n") + 1
    for token in tokens(text, language):
        assert 1 <= token.line <= last
    for row in screen(text, language, rules()):
        assert 1 <= row["line"] <= last


@given(st.text(st.sampled_from("ab /*'\\n.;x"), max_size=30))
def test_a_call_behind_a_comment_is_always_seen(words: str) -> None:
    comment = words.replace("*/", "").rstrip("*/\\ ")
    assert "process" in kinds(f"/* {comment} */ int x = fork();")
    assert "process" in kinds(f"// {comment}\nint x = fork();")


@given(st.lists(st.sampled_from(["fork()", "x = 1;", "y", "\\\n", " "]), max_size=8))
def test_joined_lines_hide_no_name(pieces: list[str]) -> None:
    text = "".join(pieces)
    if "fork" in text.replace("\\\n", ""):
        names = {t.text for t in tokens(text, "c") if t.sort == NAME}
        hidden = any(t.sort == HIDDEN for t in tokens(text, "c"))
        assert hidden or any(name.startswith(("fork", "yfork")) or "fork" in name for name in names)


@pytest.mark.parametrize("piece", ['"a" ', "__attribute__((", "malloc(", 'R"(', "/*", "&\n"])
def test_long_texts_are_looked_at_to_their_end(piece: str) -> None:
    """Pieces over and over, up to the size that a source may have; a call follows."""
    text = piece * (20000 // len(piece))
    for language in ("c", "fortran"):
        assert screen(text + "\n", language, rules()) is not None


# --- the second look -----------------------------------------------------------------------------

MACROS = """#define GLUE(a, b) a##b
#define CALL GLUE(fo, rk)
int f(void)
{
    return CALL();
}
"""


@pytest.mark.toolchain
def test_macros_do_not_hide_a_name_from_the_second_look(tmp_path: Path) -> None:
    source = tmp_path / "kernel.c"
    source.write_text("#include <stdlib.h>\n#include <assert.h>\n" + MACROS)
    assert not rejected(source.read_text())
    made = subprocess.run(["gcc", "-E", str(source)], capture_output=True, text=True).stdout
    found = screen_preprocessed(made, ["kernel.c"], "c", rules())
    assert {(row["kind"], row["line"]) for row in found} == {("process", 7)}


def test_only_the_lines_of_the_source_itself_are_kept() -> None:
    text = '# 1 "kernel.c"\n# 1 "/usr/x.h" 1\nint fork(void);\n# 3 "kernel.c" 2\nint x;\n'
    assert own_part(text, ["kernel.c"]) == "\n\nint x;"


# --- what objects show ---------------------------------------------------------------------------


def test_instructions_that_no_kernel_needs_are_found() -> None:
    line = "0000000000000000 <f>:\n   0:\t{}\n   9:\tret\n"
    for words in ("syscall", "rdtsc", "int    $0x80", "sysenter", "wrpkru", "rdtscp"):
        problem = instruction_problem(line.format(words))
        assert problem is not None
        assert problem[0] == "gate.assembly"
        assert words.split()[0] in problem[1]
    for words in ("vfmadd231pd %zmm0,%zmm1,%zmm2", "call   9 <memcpy>", "cvttsd2si %xmm0,%eax"):
        assert instruction_problem(line.format(words)) is None


@pytest.mark.toolchain
@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("int f(int x) { return x + 1; }", None),
        ("static const char code[] __attribute__((section(\".text\"))) = {15, 5, -61, 1};\n"
         "int f(void) { return ((int (*)(void))code)(); }", "code is data among code"),
        ("__attribute__((section(\"mine\"))) int f(int x) { return x; }", "code in the section m"),
        ("int f(void) { __asm__ volatile(\"syscall\"); return 0; }", "syscall"),
        ("#include <x86intrin.h>\nlong f(void) { return __rdtsc(); }", "rdtsc"),
    ],
)  # fmt: skip
def test_real_objects_are_read(tmp_path: Path, body: str, expected: str | None) -> None:
    source, target = tmp_path / "k.c", str(tmp_path / "k.o")
    source.write_text(body)
    subprocess.run(["gcc", "-O2", "-w", "-c", str(source), "-o", target], check=True)

    def said(*words: str) -> str:
        ended = subprocess.run([*words, target], capture_output=True, text=True, check=True)
        return ended.stdout

    problem = instruction_problem(said("objdump", "-d", "--no-show-raw-insn"))
    problem = problem or section_problem(said("readelf", "-SW"), said("readelf", "-sW"))
    assert (problem is None) == (expected is None)
    assert problem is None or expected is None or expected in problem[1]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("schema: 1\nkinds:\n  x: {policy: maybe, meaning: something bad}", 3, "policy"),
        ("schema: 1\nkinds:\n  x: {policy: report, meaning: short}", 3, "meaning"),
        ("schema: 1\nkinds:\n  x: {policy: report, meaning: something, strings: ['(']}", 3, "no"),
        ("schema: 1\nkinds:\n  x: {policy: report, meaning: something, words: ['a b']}", 3, "wo"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_rules_is_told_with_its_line(
    tmp_path: Path, text: str, line: int, words: str
) -> None:
    path = tmp_path / "screen.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=rf"screen\.yaml:{line}: .*{words}"):
        load_rules(path)
