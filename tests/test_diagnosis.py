"""Causes and their order: roots before consequences, and none in logs that went well."""

from __future__ import annotations

import pytest
from diagnosis_cases import blocks

from hpcagent.toolchain.diagnosis import diagnose


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


def test_the_same_words_of_every_rank_mean_a_foreign_launcher() -> None:
    assert ids("Hello from rank 0 of 1\n" * 2) == ["mpi.mixed_launcher"]
    assert ids("Hello from rank 0 of 1\nsum 3\nall is well\ntime 4 s\n") == []


@pytest.mark.parametrize(
    "text", [b"", b"\n\n", b"\0" * 5000, b"\xff\xfe", b"\x1f\x8b broken", b"x" * 3_000_000]
)
def test_odd_logs_have_no_cause_and_no_trouble(text: bytes) -> None:
    assert diagnose(text).causes == ()
