"""What matters of a log within a budget of tokens, for a person or a model.

First the lines of the causes, then the last lines, then lines of other known failures (explained by
something else, or as it seems survived), then what surrounds the causes, what else looks like
trouble, each shape once with how often it came, and the beginning. Chatter that says nothing
is left out. A token is taken as four bytes, which is near enough for English and build logs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from hpcagent.toolchain.diagnosis import Diagnosis
from hpcagent.toolchain.logscan import General, Line, Scan
from hpcagent.toolchain.logtext import text_of
from hpcagent.toolchain.survival import FULL

BYTES_PER_TOKEN = 4
DEFAULT_TOKENS = 1500
_WIDTH = 400  # of a line that is kept
_MARK = 48  # bytes allowed for each mark of omission
_FINAL, _LEAST_FINAL = 20, 5
_OTHERS = 12  # lines of other known failures
_ABOVE = 4  # lines above a cause

# Package managers, progress and compilers at work: never worth a line unless a cause is on it.
_CHATTER = re.compile(
    r"""^(?:\s*$|Get:\d+\ |Hit:\d+\ |Ign:\d+\ |Selecting\ previously|Preparing\ to\ unpack
    |Unpacking\ |Setting\ up\ |Processing\ triggers|Reading\ package|Building\ dependency
    |\(Reading\ database|Fetched\ |Collecting\ |Downloading\ |Using\ cached|Requirement\ already
    |\s+Downloading|\s+Using\ cached|Installing\ collected|\[\ *\d+%\]\ (?:Building|Built|Linking)
    |Scanning\ dependencies|Consolidate\ compiler|make(?:\[\d+\])?:\ (?:Entering|Leaving|Nothing)
    |gmake(?:\[\d+\])?:\ (?:Entering|Leaving)|libtool:\ (?:compile|link):|\s*(?:CC|CXX|LD|AR|FC)\s
    |checking\ |--\ (?:Looking|Performing|Detecting|Check|Found)|Loading\ |\s+\d+%\s*\||
    config\.status:\ |\[\d+/\d+\]\ )|^(?:\S*/)?(?:gcc|g\+\+|cc|c\+\+|gfortran|clang|clang\+\+
    |mpicc|mpicxx|mpifort|icx|ifx|ar|ranlib|depbase|mv|rm|cp|echo|/bin/\w+)\s+-?\S*""",
    re.VERBOSE,
)
_WARNING = re.compile(r"(?i)\bwarning\b|\bnote:")


@dataclass(frozen=True)
class Filtered:
    """The lines kept, as text with marks for what was left out, and what that costs."""

    text: str
    tokens: int
    log_tokens: int
    kept_lines: int
    log_lines: int


def tokens_of(size: int) -> int:
    """Tokens of so many bytes, by the rule of four."""
    return -(-size // BYTES_PER_TOKEN)


def filter_log(diagnosis: Diagnosis, tokens: int = DEFAULT_TOKENS) -> Filtered:
    """The most telling lines of a log, in its order, in no more than `tokens` tokens."""
    chosen = _Chosen(tokens * BYTES_PER_TOKEN)
    scan = diagnosis.scan
    for lines in _by_importance(diagnosis):
        chosen.add(lines)
    text = chosen.render(scan.lines)
    return Filtered(
        text, tokens_of(len(text.encode("utf-8"))), tokens_of(scan.size), chosen.count, scan.lines
    )


def _by_importance(diagnosis: Diagnosis) -> Iterator[list[tuple[int, str, str]]]:
    """Groups of (line number, text, remark): each is taken whole where there is room."""
    scan = diagnosis.scan
    hits = {hit.line.number: hit.line for hit in scan.hits}
    causes = [hits[c.line] for c in diagnosis.causes if c.line in hits]
    for line in causes:
        yield [_row(line)]
    yield _end(scan, _LEAST_FINAL)
    yield [_row(line) for line in _others(scan)]
    for line in causes[:3]:
        yield _surroundings(line)
    serious, warnings = _sorted_general(scan.general)
    for general in serious:
        yield _general(general)
    yield _end(scan, _FINAL)
    for general in serious[:20]:
        yield _surroundings(general.lines[0])
    head = (line for line in scan.head if line.number <= scan.lines)
    yield [_row(line) for line in head]
    for general in warnings:
        yield _general(general)


def _row(line: Line) -> tuple[int, str, str]:
    return (line.number, text_of(line.text[:_WIDTH]), "")


def _others(scan: Scan) -> Iterator[Line]:
    """The first line of each signature, those that say most first: a judgement may be wrong."""
    seen: set[tuple[int, ...]] = set()
    for hit in sorted(scan.hits, key=lambda hit: hit.says != FULL):
        if hit.places not in seen and len(seen) < _OTHERS:
            seen.add(hit.places)
            yield hit.line


def _end(scan: Scan, count: int) -> list[tuple[int, str, str]]:
    rows = [_row(line) for line in scan.tail]
    telling = [row for row in rows if not _CHATTER.match(row[1])]
    return telling[-count:] or rows[-count:]


def _surroundings(line: Line) -> list[tuple[int, str, str]]:
    rows = [(line.number, line.text)]
    above = line.before[-_ABOVE:]
    rows += list(enumerate(above, line.number - len(above)))
    rows += list(enumerate(line.after, line.number + 1))
    texts = ((n, text_of(text[:_WIDTH])) for n, text in sorted(rows))
    return [(n, t, "") for n, t in texts if t.strip() and not (n != line.number and _dull(t))]


def _dull(text: str) -> bool:
    return bool(_CHATTER.match(text))


def _sorted_general(general: Iterable[General]) -> tuple[list[General], list[General]]:
    serious: list[General] = []
    warnings: list[General] = []
    for one in general:
        text = text_of(one.lines[0].text[:_WIDTH])
        if _CHATTER.match(text):
            continue
        (warnings if _WARNING.search(text) else serious).append(one)
    return serious, warnings


def _general(general: General) -> list[tuple[int, str, str]]:
    line = general.lines[0]
    more = general.count - 1
    remark = f"    [... {more} similar line{'s' if more > 1 else ''}]" if more else ""
    return [(line.number, text_of(line.text[:_WIDTH]), remark)]


class _Chosen:
    """Lines by number, as long as there is room for them."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._lines: dict[int, tuple[str, str]] = {}

    @property
    def count(self) -> int:
        return len(self._lines)

    def add(self, rows: Iterable[tuple[int, str, str]]) -> None:
        for number, text, remark in rows:
            if number in self._lines:
                continue
            cost = len(text.encode("utf-8")) + len(remark) + 1 + _MARK
            # Neighbours need no mark of omission between them.
            near = (number - 1 in self._lines) + (number + 1 in self._lines)
            cost -= _MARK if near else 0
            if cost > self._room:
                continue
            self._room -= cost
            self._lines[number] = (text, remark)

    def render(self, lines: int) -> str:
        parts: list[str] = []
        at = 0
        for number in sorted(self._lines):
            parts += _gap(number - at - 1)
            text, remark = self._lines[number]
            parts += [text, remark] if remark else [text]
            at = number
        parts += _gap(lines - at)
        return "\n".join(parts)


def _gap(count: int) -> list[str]:
    if count <= 0:
        return []
    return [f"[... {count} line{'s' if count > 1 else ''} left out]"]
