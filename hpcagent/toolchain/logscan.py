"""One pass over a log: where signatures match, what else looks important, how it begins and ends.

Large pieces are searched with one automaton each for signatures and for general words of trouble;
only the lines around what these find become objects. What is kept is bounded, however long the log.
The words are searched in a thread of their own: re2 releases Python's lock while it searches.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO

from hpcagent import regexes
from hpcagent.toolchain import logtext
from hpcagent.toolchain.logend import in_messages, log_end
from hpcagent.toolchain.logprefix import unprefixed
from hpcagent.toolchain.logtext import plain_quotes
from hpcagent.toolchain.matching import matcher
from hpcagent.toolchain.signatures import Catalogue
from hpcagent.toolchain.survival import ASKED, FORGIVEN, FULL, in_tracebacks, survival

if TYPE_CHECKING:
    from concurrent.futures import Executor

AROUND = 16 * 1024  # bytes of context that a match sees on both sides, within its lines
LONGEST = 4096  # bytes kept of one line, around what matched
HEAD, TAIL = 6, 60  # lines kept of beginning and end
_PER_KIND = 12  # hits kept of one set of patterns, with their surroundings
_PER_SHAPE = 2
_HITS = 2000  # hits kept in all; the first of each signature always is
_LOOKS = 200  # lines of one set of patterns that are seen with their surroundings
_SHAPES, _SHAPE = 4000, 300  # their number, and bytes at the beginning of a line that make one
_GENERAL_PER_PIECE = 2000  # general words looked at in a piece; a flood of them is no news
_BEFORE, _AFTER = 8, 9
_SHOWN = 500  # bytes of a neighbour
_LEFT = 100  # bytes kept before a match in the middle of a very long line
_NEAR = 40  # lines that a match sees on both sides
# Lines that differ in these alone have one shape: numbers and addresses.
_VARYING = b"0123456789abcdefABCDEF"
# Small numbers tell signals and exit codes apart.
_ADDRESSES = re.compile(rb"0x[0-9a-fA-F]+|[0-9]{4,}|/tmp/[^ :]+")

# What a line that matters but has no signature looks like. Words of compilers' command lines
# (-Werror, error.o) are not among them.
GENERAL = (
    r"(?im)(?:\b(?:error|fatal|severe)(?:[:\s\]!,)]|$)|\bfail(?:ed|ure|s)\b|\babort(?:ed|ing)?\b"
    r"|\bkilled\b|\bpanic\b|\bexception\b|\btraceback\b|\bcannot\b|\bcan't\b|\bunable to\b"
    r"|\bundefined\b|\bnot found\b|\bno such\b|\bdenied\b|\binvalid\b|\billegal\b|\bunexpected\b"
    r"|\bcorrupt|\bnan\b|\bmissing\b)"
)


@dataclass(frozen=True)
class Line:
    """A line by its number (1 is the first) with the lines around it."""

    number: int
    text: bytes
    before: tuple[bytes, ...] = ()
    after: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class Hit:
    """A line that signatures match: the places in the catalogue, most general ones included.

    `says` is what it says at most (survival.FULL, ENDING, FORGIVEN or ASKED).
    """

    line: Line
    places: tuple[int, ...]
    says: str = FULL


@dataclass
class General:
    """Lines of one shape: the first ones, and how many."""

    lines: list[Line] = field(default_factory=list)
    count: int = 0


@dataclass(frozen=True)
class Scan:
    """What a pass found. `hits` and `general` are in the order of the log."""

    size: int
    lines: int
    hits: tuple[Hit, ...]
    general: tuple[General, ...]
    head: tuple[Line, ...]
    tail: tuple[Line, ...]
    counts: dict[int, int]  # of places in the catalogue
    firm: frozenset[int]  # places with a hit that says all that its signature does
    last_words: frozenset[int]  # places that nothing of the program follows
    gave_up: bool  # the last lines say that the script failed or the program gave up


def scan(data: bytes | BinaryIO, catalogue: Catalogue, name: str = "the log") -> Scan:
    """Read a log to its end. Raises UsageError where it is plainly none."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(max_workers=1) as aside:
        scanner = _Scanner(catalogue, aside)
        for piece in unprefixed(logtext.pieces(logtext.as_stream(data), name)):
            scanner.feed(piece)
        return scanner.finish()


@cache
def _general() -> Any:
    return regexes.compiled(GENERAL, "general words")


def _general_lines(flat: bytes, begin: int, end: int) -> list[tuple[int, int]]:
    return list(islice(_found(_general(), flat, begin, end), _GENERAL_PER_PIECE))


class _Scanner:
    """Holds a window of the log: context that was searched, then what was not yet."""

    def __init__(self, catalogue: Catalogue, aside: Executor) -> None:
        self._aside = aside
        self._matcher = matcher(catalogue)
        self._survival = survival(catalogue)
        self._end = log_end(catalogue)
        self._window = b""
        self._begin = 0  # where in the window the search goes on
        self._number = 1  # of the line that begins there
        self._cursor = (0, 1)  # an offset and its line's number
        self._size = 0
        self._hits: dict[tuple[tuple[int, ...], str], list[Hit]] = {}
        self._counts: dict[int, int] = {}
        self._firm: set[int] = set()
        self._shapes: dict[bytes, General] = {}
        self._known: dict[bytes, tuple[int, ...]] = {}
        self._looks: dict[tuple[int, ...], int] = {}
        self._room = _HITS
        self._head: list[Line] = []

    def feed(self, piece: bytes) -> None:
        self._size += len(piece)
        self._window += piece
        if len(self._window) - self._begin >= logtext.CHUNK:
            self._work(self._cut(len(self._window) - AROUND))

    def _cut(self, end: int) -> int:
        """Where the last line before `end` ends, else the last part of a progress bar, else it."""
        for mark in (b"\n", b"\r"):
            found = self._window.rfind(mark, self._begin, end) + 1
            if found > self._begin:
                return found
        return end

    def finish(self) -> Scan:
        self._work(len(self._window))
        tail = list(_numbered(self._window, self._number))
        lines = self._number - (1 if self._window.endswith(b"\n") or not self._window else 0)
        hits = sorted((h for kept in self._hits.values() for h in kept), key=_by_line)
        general = tuple(self._shapes.values())
        ending = [line.text for line in tail]
        return Scan(
            self._size, lines, tuple(hits), general, tuple(self._head), tuple(tail),
            self._counts, frozenset(self._firm), self._last_words(ending),
            self._end.tells_failure(ending),
        )  # fmt: skip

    def _work(self, end: int) -> None:
        # Carriage returns (progress bars, DOS line ends) end a line for the search, but do not
        # count as one: numbers are those that an editor shows.
        flat = self._window
        if b"\r" in flat:
            flat = flat.replace(b"\r\n", b" \n").replace(b"\r", b"\n")
        if len(self._head) < HEAD and self._begin == 0:
            self._head = _first_lines(flat)
        general = self._aside.submit(_general_lines, flat, self._begin, end)
        self._cursor = (self._begin, self._number)
        for begin, stop in _found(self._matcher.any, flat, self._begin, end):
            self._signature(flat, begin, stop)
        self._cursor = (self._begin, self._number)
        for begin, stop in general.result():
            self._remarkable(flat, begin, stop)
        self._number += self._window.count(b"\n", self._begin, end)
        keep = max(0, end - AROUND)
        self._window, self._begin = self._window[keep:], end - keep

    def _line_number(self, at: int) -> int:
        """The number of the line at an offset; offsets only grow within a search."""
        offset, number = self._cursor
        self._cursor = (at, number + self._window.count(b"\n", offset, at))
        return self._cursor[1]

    def _signature(self, flat: bytes, begin: int, stop: int) -> None:
        text = plain_quotes(flat[begin:stop])
        shape = _ADDRESSES.sub(b"#", text[:_SHAPE])
        known = self._known.get(shape)
        if known is not None:
            self._count(known)
            return
        possible = self._matcher.possible(text)
        looks = self._looks.get(possible, 0 if len(self._looks) < _SHAPES else _LOOKS)
        if not possible:
            places, enough = possible, len(text) <= _SHAPE
        elif looks >= _LOOKS:
            places, enough = tuple(i for i in possible if i in self._counts), True
            self._count(places)
        else:
            self._looks[possible] = looks + 1
            places, enough = self._hit(flat, begin, stop, text, possible)
        if enough and len(self._known) < _SHAPES:
            self._known[shape] = places

    def _hit(
        self, flat: bytes, begin: int, stop: int, text: bytes, possible: Sequence[int]
    ) -> tuple[tuple[int, ...], bool]:
        """The places that match, and whether the next of this shape can be guessed.

        What neighbours decide is looked at anew each time, until enough of it was seen.
        """
        before, after = _around(flat, begin, stop)
        places = tuple(self._matcher.match(text, before, after, possible))
        if not places:
            return (), False
        says = self._survival.says(places, text, before, after)
        kept = self._hits.setdefault((places, says), [])
        if says == FULL:
            self._firm.update(places)
        unseen = any(place not in self._counts for place in places)
        if unseen or (len(kept) < _PER_KIND and self._room > 0):
            self._room -= 1
            kept.append(Hit(self._line(flat, begin, text, before, after), places, says))
        self._count(places)
        certain = says == FULL and not self._matcher.conditional.intersection(places)
        return places, certain or len(kept) >= _PER_KIND

    def _count(self, places: tuple[int, ...]) -> None:
        for place in places:
            self._counts[place] = self._counts.get(place, 0) + 1

    def _last_words(self, lines: list[bytes]) -> frozenset[int]:
        """The places of the last lines, from the end up to what a program says that goes on."""
        if self._end.tells_success(lines):
            return frozenset()
        found: set[int] = set()
        inside = [a or b for a, b in zip(in_tracebacks(lines), in_messages(lines), strict=True)]
        end = self._end.begins(lines)
        for at in range(len(lines) - 1, -1, -1):
            text = plain_quotes(lines[at])
            places = self._last_places(lines, at, text)
            found.update(places)
            told = places or inside[at] or at >= end or self._survival.is_trouble(text)
            if not (told or self._survival.is_epilogue(text)):
                break
        return frozenset(found)

    def _last_places(self, lines: list[bytes], at: int, text: bytes) -> list[int]:
        if not self._matcher.any.search(text):
            return []
        before, after = lines[max(0, at - _NEAR) : at], lines[at + 1 : at + 1 + _NEAR]
        places = self._matcher.match(text, before, after, self._matcher.possible(text))
        if places and self._survival.says(places, text, before, after) in (FORGIVEN, ASKED):
            return []
        return places

    def _remarkable(self, flat: bytes, begin: int, stop: int) -> None:
        text = plain_quotes(flat[begin:stop])
        shape = text[:_SHAPE].translate(None, _VARYING)
        kept = self._shapes.get(shape)
        if kept is None:
            if len(self._shapes) >= _SHAPES:
                return
            kept = self._shapes[shape] = General()
        kept.count += 1
        if len(kept.lines) < _PER_SHAPE:
            before, after = _around(flat, begin, stop)
            kept.lines.append(self._line(flat, begin, text, before, after))

    def _line(
        self, flat: bytes, begin: int, text: bytes, before: Sequence[bytes], after: Sequence[bytes]
    ) -> Line:
        """A line to keep: its number, and no more of it and its neighbours than is ever shown."""
        if begin and flat[begin - 1 : begin] != b"\n":  # the middle of a very long line
            text = text[LONGEST // 2 - _LEFT :]
        above = tuple(line[:_SHOWN] for line in before[-_BEFORE:])
        below = tuple(line[:_SHOWN] for line in after[:_AFTER])
        return Line(self._line_number(begin), text, above, below)


def _found(pattern: Any, text: bytes, begin: int, end: int) -> Iterator[tuple[int, int]]:
    """Begin and end of each line that matches, cut to LONGEST around the match."""
    find = regexes.finder(pattern)
    while begin < end:
        at = find(text, begin, end)
        if at < 0:
            return
        first = text.rfind(b"\n", max(begin, at - LONGEST // 2), at) + 1
        last = text.find(b"\n", at, at + LONGEST)
        first = first or max(begin, at - LONGEST // 2)
        stop = last if last >= 0 else min(len(text), at + LONGEST)
        yield first, stop
        line_end = last if last >= 0 else text.find(b"\n", stop)
        begin = line_end + 1 if line_end >= 0 else end


def _around(text: bytes, begin: int, stop: int) -> tuple[list[bytes], list[bytes]]:
    low = max(0, begin - LONGEST)
    before = plain_quotes(text[low : max(0, begin - 1)]).split(b"\n") if begin else []
    after = plain_quotes(text[stop + 1 : stop + 1 + LONGEST]).split(b"\n")
    if low:
        before = before[1:]
    return before[-_NEAR:], after[:_NEAR]


def _by_line(hit: Hit) -> int:
    return hit.line.number


def _first_lines(flat: bytes) -> list[Line]:
    return [Line(n, t[:LONGEST]) for n, t in enumerate(flat[:AROUND].split(b"\n")[:HEAD], 1)]


def _numbered(window: bytes, number_after: int) -> Iterator[Line]:
    """The last lines of the window; `number_after` is the number of the line after its last one."""
    rows = deque(enumerate(window.split(b"\n"), number_after - window.count(b"\n")), TAIL)
    for number, row in rows:
        text = next((part for part in reversed(row.split(b"\r")) if part.strip()), b"")
        if text.strip():
            yield Line(number, text[:LONGEST])
