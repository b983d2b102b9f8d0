"""Prefixes that others put before every line of a log."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcagent.toolchain.diagnosis import diagnose
from hpcagent.toolchain.logprefix import unprefixed

PLAIN = "gcc -c a.c\na.c:3:5: error: 'x' undeclared\nmake: *** [Makefile:2: a.o] Error 1\n"
PREFIXES = {
    "time stamps of continuous integration": "2031-02-03T04:05:06.1234567Z ",
    "a log in dates": "[2031-02-03 04:05:06,789] INFO [build-7] ",
    "a clock": "[04:05:06] ",
    "journald": "Feb 03 04:05:06 node7 job.sh[812]: ",
    "dmesg": "[   12.345678] ",
    "docker build": "#11 4.512 ",
    "a quotation": "> ",
    "a rank of srun": "3: ",
    "a rank of mpirun": "[1,3]<stderr>: ",
    "a box": " │ ",
    "one in another": "2031-02-03T04:05:06Z #7 1.234 ",
}


def _clean(text: str) -> str:
    return b"".join(unprefixed([text.encode()])).decode()


@pytest.mark.parametrize("prefix", PREFIXES.values(), ids=PREFIXES.keys())
def test_a_prefix_of_every_line_is_taken_off(prefix: str) -> None:
    text = "".join(prefix + line for line in PLAIN.splitlines(keepends=True))
    assert _clean(text) == PLAIN
    cause = diagnose(text.encode()).causes[0]
    assert (cause.id, cause.line) == ("compile.undeclared", 2)


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        "12:30:01 begin\n" + PLAIN * 3,
        "1: Test command: /bin/a\n1: Test timeout computed to be: 60\n" * 3,
        "2031-02-03 04:05:06 [ERROR] a\n",
        "1.25 2.5\n1.50 3.0\n1.75 3.5\n2.00 4.0\n",
    ],
)
def test_what_only_looks_like_one_stays(text: str) -> None:
    assert _clean(text) == text


def test_levels_of_trouble_stay() -> None:
    text = "2031-02-03 04:05:06 [WARNING] falling back\n" * 4
    assert _clean(text) == "[WARNING] falling back\n" * 4


def test_the_lines_that_spack_shows_are_made_whole_again_in_their_places() -> None:
    shown = (
        "1 error found in build log:\n"
        "     118    checking for a compiler... yes\n"
        "  >> 119    /usr/bin/ld: cannot find -lfoo: No such file or\n"
        "             directory\n"
        "     120    collect2: error: ld returned 1 exit status\n"
    )
    lines = _clean(shown).split("\n")
    assert lines[2] == "/usr/bin/ld: cannot find -lfoo: No such file or directory"
    assert lines[4] == "collect2: error: ld returned 1 exit status"
    cause = diagnose(shown.encode()).causes[0]
    assert (cause.id, cause.line) == ("link.missing_library", 3)


@given(
    st.lists(st.text(alphabet="ab:> #17.│\t", max_size=30), max_size=30),
    st.sampled_from(["", *PREFIXES.values()]),
    st.integers(1, 50),
)
def test_lines_keep_their_numbers_however_the_log_is_cut(
    lines: list[str], prefix: str, size: int
) -> None:
    data = "".join(f"{prefix}{line}\n" for line in lines).encode()
    first, rest = data[:4096], data[4096:]
    pieces = [first, *(rest[i : i + size] for i in range(0, len(rest), size))]
    assert b"".join(unprefixed(pieces)).count(b"\n") == len(lines)
