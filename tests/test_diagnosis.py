"""Causes and their order: roots before consequences, and none in logs that went well."""

from __future__ import annotations

import pytest
from diagnosis_cases import blocks

from hpcagent.toolchain.diagnosis import diagnose, suspected


def ids(text: str | bytes, exit_code: int | None = None) -> list[str]:
    data = text.encode() if isinstance(text, str) else text
    return [cause.id for cause in diagnose(data, exit_code).causes]


@pytest.mark.parametrize(("name", "text"), blocks("documented.txt"))
def test_a_documented_failure_is_named_first(name: str, text: str) -> None:
    assert ids(text, 1)[:1] == [name]
    assert ids(text)[:1] == [name]


@pytest.mark.parametrize(("name", "text"), blocks("recorded.txt"))
def test_a_recorded_failure_is_named_first(name: str, text: str) -> None:
    assert ids(text, 1)[:1] == [name]


@pytest.mark.parametrize(("name", "text"), blocks("successes.txt"))
def test_a_log_that_went_well_has_no_cause(name: str, text: str) -> None:
    assert ids(text, 0) == []
    assert ids(text) == []


def test_the_first_error_stands_before_what_follows_from_it() -> None:
    text = (
        "/usr/bin/ld: cannot find -lfoo: No such file or directory\n"
        "main.c:(.text+0x1): undefined reference to `foo'\n"
        "collect2: error: ld returned 1 exit status\n"
        "make: *** [Makefile:3: app] Error 1\n"
    )
    assert ids(text)[0] == "link.missing_library"
    assert "link.undefined" not in ids(text)
    assert ids(text)[-1] == "compile.make_error"


def test_a_signal_of_a_child_beats_the_words_of_launchers() -> None:
    text = (
        "prterun noticed that process rank 1 with PID 9 on node n1 exited on signal 11 "
        "(Segmentation fault).\nsrun: error: n1: task 1: Exited with exit code 139\n"
    )
    assert ids(text)[0] == "run.segfault"


def test_a_cause_is_told_with_its_place_and_cure() -> None:
    found = diagnose(b"ok\nok\n./a: symbol lookup error: ./a: undefined symbol: wave\n", 127)
    first = found.causes[0]
    assert (first.stage, first.kind, first.line) == ("load", "undefined_symbol", 3)
    assert first.quote == "./a: symbol lookup error: ./a: undefined symbol: wave"
    assert first.meaning and first.cure
    assert 0.7 < first.confidence < 1


@pytest.mark.parametrize(
    ("exit_code", "name"),
    [
        (139, "run.segfault"),
        (132, "run.illegal_instruction"),
        (137, "run.killed"),
        (124, "run.timeout"),
        (127, "environment.command_not_found"),
        (3, "run.exit_nonzero"),
    ],
)
def test_where_words_are_missing_the_exit_code_speaks(exit_code: int, name: str) -> None:
    found = diagnose(b"step 1\nstep 2\n", exit_code)
    assert found.causes[0].id == name
    assert found.causes[0].confidence <= 0.3
    assert found.causes[0].quote == "step 2"


def test_an_exit_code_of_zero_leaves_only_wrong_results() -> None:
    residual = "||Ax-b||_oo/(eps*(||A||_oo*||x||_oo+||b||_oo)*N)=  1.0e+05 ...... FAILED\n"
    assert ids("make: *** [all] Error 2\n", 0) == []
    assert ids(residual, 0) == ["numerics.residual"]


def test_probes_in_a_config_log_are_answers() -> None:
    probe = (
        "configure:10: gcc -o conftest conftest.c -lz3\n"
        "/usr/bin/ld: cannot find -lz3: No such file or directory\n"
        "collect2: error: ld returned 1 exit status\n"
        "configure:10: $? = 1\nconfigure: failed program was:\n| int x;\n"
    )
    assert ids(probe + "configure: exit 0\n") == []
    assert ids(probe + "configure:99: error: fftw3.h not found\n", 1) == [
        "configure.missing_header"
    ]


EXCERPT = (
    "collect2: error: ld returned 1 exit status\n"
    "conftest.c:47:10: fatal error: mkl.h: No such file or directory\n"
    "gcc: error: unrecognized command-line option '-V'\n"
    "gcc: error: unrecognized command-line option '-qversion'; did you mean '--version'?\n"
    "gcc: fatal error: no input files\n"
    "| /* Override any GCC internal prototype to avoid an error.\n"
)
MISSING = "#define HAVE_UNISTD_H 1\n/usr/bin/ld: cannot find -lselinux: No such file\n| }\n"


@pytest.mark.parametrize("text", [EXCERPT, MISSING, "checking for mkl.h... no\n" + EXCERPT])
def test_what_a_configure_script_asked_is_no_cause_unless_it_failed(text: str) -> None:
    assert ids(text) == []
    failed = text + "configure: error: cannot build without it\n"
    assert len(ids(failed)) > len(ids("configure: error: cannot build without it\n"))
    assert ids(text + "make: *** [a.o] Error 1\n") != ids("make: *** [a.o] Error 1\n")


def test_a_compiler_that_no_configure_script_asked_is_believed() -> None:
    text = "gcc: error: unrecognized command-line option '-mfoo'\n"
    assert ids("CC=gcc\n" + text) == ids(text) == ["compile.unknown_option"]


def test_the_same_words_of_every_rank_mean_a_foreign_launcher() -> None:
    assert ids("Hello from rank 0 of 1\n" * 2) == ["mpi.mixed_launcher"]
    assert ids("Hello from rank 0 of 1\nsum 3\nall is well\ntime 4 s\n") == []


TRACEBACK = (
    "Traceback (most recent call last):\n"
    '  File "w.py", line 3, in <module>\n    import mkl_of_the_site\n'
    "ModuleNotFoundError: No module named 'mkl_of_the_site'\n"
)


@pytest.mark.parametrize(
    "after",
    [
        "",
        "srun: error: n1: task 0: Exited with exit code 1\ndone\n",
        "make: *** [Makefile:2: all] Error 1\nnext step\nresult 3\n",
        "\n=== epilogue ===\nJob 17 ended at Mon Jan  5 10:00:00 2026\nreal\t0m1.2s\n",
        "--- job statistics ---\nElapsed time: 00:00:12\nMemory Utilized: 1.2 GB\n",
        "cannot go on without it, giving up\n",
    ],
)
def test_an_exception_is_named_where_it_ended_the_program(after: str) -> None:
    assert ids("step 1\nstep 2\n" + TRACEBACK + after)[:1] == ["environment.python_module"]
    ranks = "".join(f"[1,{n}]<stderr>:{line}\n" for n in (0, 1) for line in TRACEBACK.splitlines())
    if not after:
        assert ids(ranks) != []


@pytest.mark.parametrize(
    "after",
    [
        "falling back to the slow path\n",
        "step 3\n",
        "done, residual 1e-15\nreal\t0m1.2s\n",
        "WARNING: continuing without MKL\n[n1:123] 3 more processes have sent help message x\n",
    ],
)
def test_an_exception_that_the_program_survived_is_not_named(after: str) -> None:
    assert ids("step 1\n" + TRACEBACK + after) == []
    assert ids("step 1\n" + TRACEBACK + after, 1)[:1] == ["environment.python_module"]


@pytest.mark.parametrize(
    ("error", "name"),
    [
        ("a.c:1:10: fatal error: none.h: No such file or directory\n", "compile.missing_header"),
        ("a.c:(.text+0x9): undefined reference to `dgemm_'\n", "link.blas"),
        ("./a: error while loading shared libraries: libq.so: cannot open shared object file: No"
         " such file or directory\n", "load.missing_library"),
        ("Segmentation fault (core dumped)\n", "run.segfault"),
        ("Fortran runtime error: End of file\n", "run.end_of_file"),
    ],
)  # fmt: skip
def test_what_no_program_survives_is_named_whatever_a_script_prints_after_it(
    error: str, name: str
) -> None:
    assert ids(f"step 1\n{error}all done\nnext step\nresult 3\n")[:1] == [name]


def test_a_survived_error_does_not_stand_before_the_one_that_ended_the_program() -> None:
    text = (
        "curl: (6) Could not resolve host: mirror.invalid, trying the next one\nfetched\n"
        "WARNING: libcuda.so.1: cannot open shared object file: No such file or directory\n"
        + "step\n" * 50
        + "Segmentation fault (core dumped)\n"
    )
    assert ids(text) == ids(text, 139) == ["run.segfault"]


def test_a_target_that_was_built_before_the_failure_makes_no_success() -> None:
    text = (
        "a.c:1:10: fatal error: none.h: No such file or directory\n"
        "[ 50%] Built target b\nmake[1]: *** [Makefile:85: a] Error 2\n"
        "make: *** [Makefile:101: all] Error 2\n"
    )
    assert ids(text)[:1] == ids(text + "real\t0m1.2s\n")[:1] == ["compile.missing_header"]
    crash = "tests.sh: line 2: 3800 Segmentation fault      ./crash\n"
    well = "100% tests passed, 0 tests failed out of 3\n\nTotal Test time (real) = 1.0 sec\n"
    assert ids(crash)[:1] == ["run.segfault"]
    assert ids(crash + well) == []


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("a.c:1:5: error: 'f' attribute ignored [-Werror=attributes]\ndone\n",
         "compile.warnings_as_errors"),
        ("a.c:1:5: error: unknown type name 'warning'; use 'int' instead\ndone\n",
         "compile.undeclared"),
        ("main.o: undefined reference to `warn'\ndone\n", "link.undefined"),
    ],
)  # fmt: skip
def test_names_in_the_words_of_compilers_and_linkers_forgive_nothing(text: str, name: str) -> None:
    assert ids(text) == [name]


def test_retries_that_fail_to_the_last_are_named() -> None:
    retry = "connect to 10.0.0.1: Network is unreachable, retrying\n"
    assert ids(retry * 3 + "connected\nresult 3\n") == []
    lost = retry * 300 + "connect to 10.0.0.1: Network is unreachable, giving up\n"
    assert ids(lost) == ["environment.network"]


def test_a_failure_that_make_ignores_is_not_named_with_all_that_led_to_it() -> None:
    text = (
        "cc -c -o p.o p.c\np.c:1:10: fatal error: papi.h: No such file or directory\n"
        "    1 | #include <papi.h>\n      |          ^~~~~~~~\ncompilation terminated.\n"
        "make: [Makefile:2: p.o] Error 1 (ignored)\ncc -o app app.o\n"
    )
    assert ids(text) == []
    assert ids(text.replace("make: [", "make: *** [").replace(" (ignored)", "")) != []


def test_a_long_line_of_lmod_may_be_the_last() -> None:
    told = "Lmod has detected the following error:  "
    text = f"{told}/apps/mf/hdf5/1.14.lua: attempt to concatenate global 'root' (a nil value)\n"
    assert diagnose(text.encode()).causes[0].id == "environment.module_error"


@pytest.mark.parametrize(
    "text", [b"", b"\n\n", b"\0" * 5000, b"\xff\xfe", b"\x1f\x8b broken", b"x" * 3_000_000]
)
def test_odd_logs_have_no_cause_and_no_trouble(text: bytes) -> None:
    assert diagnose(text).causes == ()


def test_that_make_leaves_folders_hides_no_failure_above() -> None:
    text = (
        "make[1]: Entering directory '/b/src'\n"
        "make[1]: *** No rule to make target 'a.h', needed by 'a.o'.  Stop.\n"
        "make[1]: Leaving directory '/b/src'\n"
    )
    found = diagnose(text.encode())
    assert found.failed
    assert found.causes[0].id == "configure.make_no_rule"
    well = text.replace("*** No rule to make target 'a.h', needed by 'a.o'.  Stop.", "cc -c a.c")
    assert diagnose(well.encode()).failed is False


def test_a_suspect_is_told_only_where_nothing_shows_whether_it_failed() -> None:
    text = b"CUDA Function Error: too many resources requested for launch\nstep 2: 0.25\n"
    doubtful = diagnose(text)
    assert (doubtful.failed, doubtful.causes) == (None, ())
    suspect = suspected(doubtful)
    assert suspect is not None
    assert (suspect.id, suspect.line) == ("run.gpu", 1)
    assert suspected(diagnose(text, 1)) is None
    assert suspected(diagnose(text + b"exit code 0\n")) is None
    assert suspected(diagnose(b"all is well here\n")) is None


@pytest.mark.parametrize(
    ("text", "where", "following"),
    [
        (
            "b.f90:7:11:\n\n    6 |   call f(i)\n      |         2\n    7 |   call f(x)\n"
            "      |         1\nError: Type mismatch between actual argument at (1) and actual"
            " argument at (2) (REAL(4)/INTEGER(4)).\n",
            "b.f90:7:11",
            "",
        ),
        (
            'Traceback (most recent call last):\n  File "run.py", line 3, in <module>\n'
            "    f(2)\nValueError: no\n",
            "run.py:3",
            "",
        ),
        (
            "Lmod has detected the following error:  The following module(s) are unknown:\n"
            '"netcdf/9.9"\n',
            "",
            '"netcdf/9.9"',
        ),
    ],
)
def test_a_quoted_line_comes_with_its_place_and_what_it_announces(
    text: str, where: str, following: str
) -> None:
    cause = diagnose(text.encode(), 1).causes[0]
    assert (cause.where, cause.next) == (where, following)


def test_a_warning_of_python_beside_a_traceback_is_not_its_last_line() -> None:
    text = (
        "/lib/a.py:12: UserWarning: slow\n  warnings.warn(text)\n"
        'Traceback (most recent call last):\n  File "run.py", line 3, in <module>\n    f(2)\n'
        "KeyError: 'x'\n"
    )
    assert diagnose(text.encode(), 1).causes[0].quote == "KeyError: 'x'"
