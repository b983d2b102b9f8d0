"""What others put before every line of a log: times, names of steps, labels of ranks, quote marks.

Signatures describe lines as programs print them. Continuous integration, docker, journald, mpirun
and Spack show those lines behind prefixes of their own. A prefix is taken off where most lines of
the beginning have it; lines stay where they are, so that their numbers are those of the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

_SAMPLE = 64 * 1024  # bytes of the beginning that decide
_LINES = 400
_LEAST, _SHARE = 3, 0.6  # lines, and their share of those that are not empty
_NESTED = 3  # prefixes before prefixes: a quoted log of a job of docker
_HELD = 64 * 1024  # bytes of an unfinished line that wait for its end

_DATE = rb"\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?"
# Levels of trouble stay: by them programs tell warnings from errors.
_CALM = rb"(?:-? ?\[?(?:INFO|DEBUG|NOTICE|TRACE)\]?:?[ \t]+)?"
_NAME = rb"(?:\[(?!ERR|WARN|FATAL|CRIT|SEVERE)[A-Za-z][\w.:-]{0,39}\][ :]+)?"
_PREFIXES = tuple(
    re.compile(rb"(?m)^" + pattern)
    for pattern in (
        rb"[^\t\n]{1,80}\t[^\t\n]{1,80}\t(?:\xef\xbb\xbf)?(?=\d{4}-)",  # gh run view --log
        rb"(?:\xef\xbb\xbf)?\[?" + _DATE + rb"\]?[ \t]+(?:\d\d[OE][+ ]?)?" + _CALM + _NAME,
        rb"\[?\d\d:\d\d:\d\d(?:[.,]\d+)?\]?[ \t]+" + _CALM,
        rb"[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d [\w.-]+ [\w./@-]+(?:\[\d+\])?: ",  # journald
        rb"\[ *\d+\.\d{6}\] ",  # dmesg
        rb"#\d+ (?:\d+\.\d+ )?",  # docker build --progress=plain
        rb"\d{1,5}\.\d{2,3}(?: +(?=[^\d\s.+-])|$)",  # and what it shows of a step that failed
        rb"(?: *\xe2\x94\x82)+ ?",  # boxes of rattler-build and pip
        rb"> ?",
        rb"\d{1,6}:(?! ?Test (?:command|timeout)) ?",  # srun --label
        rb"\[[\w.@-]*\d,\d+\]<std(?:out|err|diag)>:? ?",  # mpirun --tag-output
    )
)
_SPACK = re.compile(rb"(?m)^(?:  >> | {5})\d+ {4,}(?=\S)")
_SPACK_MARK = re.compile(rb"(?m)^  >> \d+ {4}")
_ARROW = re.compile(rb">> \d")  # a rare byte first: searched for twice as fast as blanks


def unprefixed(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The pieces of a log without what stands before every line of it."""
    some = iter(pieces)
    first = next(some, b"")
    found = _prefixes(first[:_SAMPLE])
    if not found:
        yield _spack(first)
        for piece in some:
            yield _spack(piece)
        return
    rest = b""
    for piece in _chained(first, some):
        data = rest + piece
        cut = data.rfind(b"\n") + 1
        if not cut and len(data) > _HELD:
            cut = len(data)
        rest = data[cut:]
        yield _spack(_without(data[:cut], found))
    yield _spack(_without(rest, found))


def _chained(first: bytes, rest: Iterable[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def _prefixes(sample: bytes) -> list[re.Pattern[bytes]]:
    """Those that most lines have, the outermost first."""
    found: list[re.Pattern[bytes]] = []
    lines = [line for line in re.split(rb"[\r\n]+", sample)[:_LINES] if line.strip()]
    while len(found) < _NESTED:
        best = next((p for p in _PREFIXES if p not in found and _common(p, lines)), None)
        if best is None:
            break
        found.append(best)
        lines = [best.sub(b"", line, count=1) for line in lines]
        lines = [line for line in lines if line.strip()]
    return found


def _common(pattern: re.Pattern[bytes], lines: list[bytes]) -> bool:
    having = sum(1 for line in lines if pattern.match(line))
    return having >= _LEAST and having >= _SHARE * len(lines)


def _without(data: bytes, found: list[re.Pattern[bytes]]) -> bytes:
    for pattern in found:
        data = pattern.sub(b"", data)
    return data


def _marked(data: bytes) -> bool:
    arrows = (match.start() for match in _ARROW.finditer(data))
    return any(at >= 2 and _SPACK_MARK.match(data, at - 2) for at in arrows)


def _spack(data: bytes) -> bytes:
    """Spack numbers the lines of a build that failed and wraps them at the terminal's width."""
    if not _marked(data):
        return data
    lines = data.split(b"\n")
    width = min(match.end() - match.start() for match in _SPACK.finditer(data))
    whole = -1  # the line that may go on below
    for at, line in enumerate(lines):
        if _SPACK.match(line):
            whole = at
            lines[at] = line[width:]
        elif whole >= 0 and line[:width].strip() == b"" and line.strip():
            lines[whole] += line[width:].rstrip(b"\r")
            lines[at] = b""
        else:
            whole = -1
    return b"\n".join(lines)
