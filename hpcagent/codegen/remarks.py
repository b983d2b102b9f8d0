"""What a compiler said of its loops: which became vectors, and why others did not. Pure.

GCC's manual, "Developer Options", -fopt-info; Clang's, "Options to Emit Optimization Reports".
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_GCC = re.compile(
    r"[^:\n]*:(?P<line>\d+):\d+: (?P<sort>optimized|missed): +(?:not vectorized: )?(?P<said>.+)"
)
_CLANG = re.compile(
    r"[^:\n]*:(?P<line>\d+):\d+: remark: (?P<said>.+?) \[-Rpass(?P<sort>-analysis|-missed)?="
)
_VECTORS = re.compile(r"vectorized using (?P<bytes>\d+) byte vectors")
_LANES = re.compile(r"vectorized loop \(vectorization width: (?P<lanes>\d+)")
# That it failed, without a word of why.
_EMPTY = re.compile(r"couldn't vectorize loop\.?$|loop not vectorized$")
_NOT = re.compile(r"^loop not vectorized: ")
# Names that the compiler made up tell nobody anything.
_INNER = re.compile(
    r"(?:no vectype for stmt|not suitable for \w+|relevant stmt not supported): ?.*"
)
# A loop that the compiler replaced by a call of the C library.
_BECAME = re.compile(r"statement clobbers memory: .*__builtin_(mem[a-z]+) .*")
_MOST_REASONS, _LONGEST = 2, 140


@dataclass(frozen=True)
class Loop:
    """A line of the source: the widest vectors that its loops became ("" none), and reasons why
    some did not."""

    line: int
    vectors: str
    reasons: tuple[str, ...]

    @property
    def words(self) -> str:
        if self.vectors:
            return f"line {self.line}: vectorized, {self.vectors}"
        why = "; ".join(self.reasons) or "no reason given"
        return f"line {self.line}: not vectorized: {why}"


def loops(said: str) -> tuple[Loop, ...]:
    """Each line that the compiler spoke of, in their order; what else it said is passed over."""
    sizes: dict[int, tuple[int, str]] = {}
    reasons: dict[int, list[str]] = {}
    for text in said.splitlines():
        match = _GCC.match(text) or _CLANG.match(text)
        if match is None:
            continue
        line, words = int(match.group("line")), match.group("said").strip()
        reasons.setdefault(line, [])
        found = _size(words)
        if found is not None:
            sizes[line] = max(found, sizes.get(line, found))
        elif match.group("sort") not in ("optimized", None):
            _add(reasons[line], words)
    return tuple(
        Loop(line, sizes.get(line, (0, ""))[1], tuple(reasons[line][:_MOST_REASONS]))
        for line in sorted(reasons)
        if line in sizes or reasons[line]
    )  # fmt: skip


def _size(words: str) -> tuple[int, str] | None:
    """Of vectors, in what the compiler counts; the scalar rest of a loop is none."""
    match = _VECTORS.search(words)
    if match:
        count = int(match.group("bytes"))
        return count, f"{count} bytes"
    match = _LANES.search(words)
    if match:
        lanes = int(match.group("lanes"))
        return lanes, f"{lanes} elements"
    return None


def _add(known: list[str], words: str) -> None:
    if _EMPTY.search(words):
        return
    known_words = _BECAME.sub(r"it became a call of \1", _NOT.sub("", words))
    shorter = _INNER.sub("no vectors for a statement", known_words).rstrip(".")
    if shorter not in known:
        known.append(shorter[:_LONGEST])


def remarks(said: str, most: int = 24) -> tuple[str, ...]:
    """The loops in words, at most so many: those that are no vectors first when some are left out.

    Nothing where the compiler said nothing of loops.
    """
    found = loops(said)
    kept = found
    if len(found) > most:
        first = sorted(found, key=lambda loop: bool(loop.vectors))[:most]
        kept = tuple(sorted(first, key=lambda loop: loop.line))
    words = [loop.words for loop in kept]
    left = len(found) - len(kept)
    return (*words, *([f"{left} more lines"] if left else []))
