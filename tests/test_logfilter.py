"""The one pass over logs of any size and encoding, and what of them is kept within a budget."""

from __future__ import annotations

import gzip
import io
import re
import tracemalloc
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcagent.errors import UsageError
from hpcagent.toolchain import logscan, logtext
from hpcagent.toolchain.diagnosis import Diagnosis, diagnose
from hpcagent.toolchain.logfilter import filter_log, tokens_of

ERROR = b"/usr/bin/ld: cannot find -lscalapack: No such file or directory\n"
NOISE = b"gcc -O2 -Wall -Werror=format -c -o obj/error_%d.o src/error_%d.c\n"


def noise(lines: int, start: int = 0) -> bytes:
    return b"".join(NOISE % (i, i) for i in range(start, start + lines))


class Stream(io.RawIOBase):
    """Pieces made as they are read, so that the log itself takes no memory."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._rest = pieces, b""

    def read(self, size: int = -1) -> bytes:
        self._rest = self._rest or next(self._pieces, b"")
        part, self._rest = self._rest[:size], self._rest[size:]
        return part


def test_memory_does_not_grow_with_the_log() -> None:
    block = noise(10_000)

    def peak(blocks: int) -> int:
        tracemalloc.start()
        diagnose(Stream(iter([block] * blocks + [ERROR])))  # type: ignore[arg-type]
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    peak(1)
    small, large = peak(5), peak(40)
    assert large < small * 1.5 + 1_000_000
    assert large < 24_000_000


@pytest.mark.parametrize("before", [0, 1, 15_900, 16_400, 40_000])
def test_an_error_anywhere_in_a_large_log_is_found_with_its_line(before: int) -> None:
    found = diagnose(noise(before) + ERROR + noise(30_000))
    assert [(c.id, c.line) for c in found.causes] == [("link.missing_library", before + 1)]
    assert found.lines == before + 30_001


@pytest.mark.parametrize(
    "encode",
    [
        lambda b: b,
        lambda b: gzip.compress(b),
        lambda b: gzip.compress(b[:70]) + gzip.compress(b[70:]),
        lambda b: gzip.compress(b + noise(2000))[:-40],
        lambda b: b.decode().encode("utf-16"),
        lambda b: b.decode().encode("utf-16-le"),
        lambda b: b.decode().encode("utf-16-be"),
        lambda b: b.replace(b"\n", b"\r\n"),
        lambda b: b.replace(b"cannot", b"\x1b[01;31m\x1b[Kcannot\x1b[m\x1b[K"),
        lambda b: b"\0" * 3000 + b,
        lambda b: b"caf\xe9 \xfc\n"[:0] + b.replace(b"gcc", b"\xe9gcc", 1),
        lambda b: b.replace(b"\n/usr", b"\n  5%\r 50%\r100%\r/usr"),
    ],
)
def test_whatever_it_is_packed_and_encoded_as(encode: object) -> None:
    data = encode(noise(3) + ERROR + b"collect2: error: ld returned 1 exit status\n")  # type: ignore[operator]
    found = diagnose(data)
    assert (found.causes[0].id, found.causes[0].line) == ("link.missing_library", 4)
    assert "cannot find -lscalapack" in found.causes[0].quote
    assert "\x1b" not in filter_log(found).text


def test_typographic_quotes_are_quotes() -> None:
    text = (
        "t.f90:2:6:\n\n    2 |  use m\n      |      1\nFatal Error: Cannot open module file ‘m.mod’"
    )
    data = f"{text} for reading at (1): No such file or directory\n".encode()
    assert diagnose(data).causes[0].id == "compile.missing_module_file"


def test_very_long_lines_are_searched_and_cut() -> None:
    data = b"x" * 5_000_000 + b" cannot find -lfoo " + b"y" * 5_000_000 + b"\nend\n"
    found = diagnose(data)
    assert found.causes[0].id == "link.missing_library"
    assert found.causes[0].line == 1
    assert len(filter_log(found, 500).text) < 2200


@pytest.mark.parametrize("data", [b"\x7fELF\2\1\1", b"PK\3\4zip", b"\xfd7zXZ\0", b"\x89PNG\r\n"])
def test_a_file_that_is_no_log_is_refused(data: bytes) -> None:
    with pytest.raises(UsageError, match="is no log but"):
        diagnose(data)


FLOODS = {
    "errors that are all different": lambda i: (
        b"%x.c:1:1: error: unknown type name 'g%xh'\n" % (i * 7919, i)
    ),
    "messages of all kinds on a line": lambda i: (
        b" ".join(text for bit, text in enumerate(KINDS) if (i * 2654435761 >> 7) & (1 << bit))
        + b" g%xh\n" % i
    ),
    "long lines": lambda i: b"g%xh cannot find -lx " % i + b"y" * 3900 + b"\n",
    "parts of a progress bar": lambda i: b"\rg%xh: cannot find -lx%d" % (i, i % 100),
}
KINDS = (
    b"Segmentation fault", b"No space left on device", b"cannot find -lfoo", b"Killed",
    b"std::bad_alloc", b"Too many open files", b"Permission denied", b"recompile with -fPIC",
    b"multiple definition of `x'", b"DUE TO TIME LIMIT", b"Illegal instruction", b"MPI_ERR_RANK",
)  # fmt: skip


def kept(found: Diagnosis) -> int:
    """Bytes of all lines that a scan keeps."""
    general = [line for one in found.scan.general for line in one.lines]
    lines = [hit.line for hit in found.scan.hits] + general
    return sum(len(text) for line in lines for text in (line.text, *line.before, *line.after))


@pytest.mark.parametrize("name", FLOODS)
def test_what_is_kept_of_a_flood_is_bounded(name: str) -> None:
    block = b"".join(map(FLOODS[name], range(2000)))
    flood = (block.replace(b"g", b"g%d" % n) for n in range(4))
    found = diagnose(Stream(flood))  # type: ignore[arg-type]
    assert found.causes
    assert kept(found) < 30_000_000
    assert len(found.scan.hits) < 3000


def test_what_is_looked_at_of_a_flood_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each line of unknown shape costs a look at its surroundings; that must not grow for ever."""
    looks: list[int] = []
    real = logscan._around
    monkeypatch.setattr(logscan, "_around", lambda *at: looks.append(1) or real(*at))

    def looked(lines: int) -> int:
        looks.clear()
        diagnose(b"".join(b"%x.o: undefined reference to `g%xh'\n" % (i, i) for i in range(lines)))
        return len(looks)

    assert looked(20_000) <= looked(10_000) + 10


def test_a_cause_after_a_flood_of_others_is_found() -> None:
    flood = b"".join(b"g%xh: undefined reference to `g%xh'\n" % (i, i) for i in range(30_000))
    found = diagnose(flood + b"ld: final link failed: No space left on device\n")
    assert found.causes[0].id == "environment.no_space"
    assert found.causes[0].line == 30_001


def test_an_escape_sequence_that_two_pieces_share_is_taken_out() -> None:
    coloured = b"/usr/bin/ld: \x1b[01;31m\x1b[Kcannot\x1b[m\x1b[K find -lscalapack: No such file\n"
    for at in range(12, 40, 3):
        ahead = noise(20_000)[: logtext.CHUNK - at]
        data = ahead[: ahead.rfind(b"\n") + 1].rjust(logtext.CHUNK - at, b"\n") + coloured
        assert diagnose(data).causes[0].quote.startswith("/usr/bin/ld: cannot find -lscalapack")


def test_a_log_without_a_line_break_is_searched_to_its_end() -> None:
    bars = b"\r".join(b"%d files" % i for i in range(300_000))
    found = diagnose(bars + b"\rcp: error writing 'x': No space left on device\r" + bars)
    assert [c.id for c in found.causes] == ["environment.no_space"]


def test_the_quote_of_a_very_long_line_shows_what_matched() -> None:
    found = diagnose(b"x" * 2_000_000 + b" cannot find -lfoo " + b"y" * 2_000_000 + b"\n")
    assert "cannot find -lfoo" in found.causes[0].quote


def test_noise_is_folded_and_the_error_kept_with_its_context() -> None:
    flood = b"".join(b"rank %d: cannot read counter %d, ignored\n" % (i, i) for i in range(313))
    context = b"ld: main.o: in function `main':\n"
    text = filter_log(diagnose(noise(500) + flood + context + ERROR + noise(3000)), 300).text
    assert "cannot find -lscalapack" in text
    assert "in function `main'" in text
    assert "[... 312 similar lines]" in text
    assert text.count("ignored") <= 8
    assert "lines left out]" in text


def test_a_known_failure_is_kept_also_where_something_else_is_taken_for_the_cause() -> None:
    refusal = b"qsub: Job violates queue and/or server resource limits\n"
    went_on = b"configure: creating ./config.status\n"
    killed = b"Terminated\nmake: *** [Makefile:1553: a.o] Terminated\n"
    found = diagnose(noise(3000) + refusal + went_on + noise(3000) + killed)
    assert found.causes[0].id == "run.terminated"
    assert refusal.decode().strip() in filter_log(found, 150).text


def test_a_short_log_is_kept_nearly_whole() -> None:
    data = b"step 1\nstep 2\nSegmentation fault (core dumped)\n"
    assert filter_log(diagnose(data)).text == data.decode().strip()


def test_the_causes_survive_the_smallest_budget() -> None:
    found = diagnose(noise(4000) + ERROR + noise(4000) + b"make: *** [Makefile:5: app] Error 1\n")
    filtered = filter_log(found, 60)
    assert "cannot find -lscalapack" in filtered.text
    assert filtered.tokens <= 60
    assert filtered.log_tokens > 100 * filtered.tokens


LINES = st.lists(
    st.sampled_from(
        [ERROR, NOISE % (1, 1), b"error: x\n", b"\r50%\r\n", b"\xff\n", b"\n", b"a" * 900 + b"\n"]
    ),
    max_size=60,
)


@settings(max_examples=60, deadline=None)
@given(LINES, st.integers(50, 600))
def test_the_budget_is_kept_and_lines_are_the_logs_own(lines: list[bytes], tokens: int) -> None:
    data = b"".join(lines)
    filtered = filter_log(diagnose(data), tokens)
    assert filtered.tokens <= tokens
    assert filtered.log_lines == len(lines)
    assert tokens_of(len(filtered.text.encode())) == filtered.tokens
    left_out = [
        n for line in filtered.text.splitlines() if line.startswith("[... ") for n in [line]
    ]
    assert len(left_out) <= filtered.kept_lines + 1


# CSI, OSC and two-byte escape sequences of ECMA-48, one after the other.
SEQUENCES = re.compile(
    rb"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b\n]*(?:\x07|\x1b\\)?|\x1b[@-Z\\-_]"
)


@given(st.lists(st.sampled_from([bytes([c]) for c in b"\x1b[]01;mK /?\x07\\a\n@~"]), max_size=40))
def test_of_a_coloured_text_the_sequences_go_and_nothing_else(parts: list[bytes]) -> None:
    text = b"".join(parts) + b"\n"  # a line's end ends a sequence
    left = b"".join(logtext.pieces(io.BytesIO(text)))
    assert left == SEQUENCES.sub(b"", text)
