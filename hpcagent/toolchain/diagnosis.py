"""Why something failed: the causes that a log shows, ranked, the root first.

The rules, in this order. Did it fail at all: the exit code where it is known, else what the log
itself proves, unless it ends as logs end that went well. Which matches count: by `counts` of their
signatures, less where the program survived what they tell of (survival.py). Which is the root: by
bands of weight (a cause before a symptom before mere consequences), in a band by the line, on one
line by weight; `beats` says who explains whom.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Any, BinaryIO

from hpcagent import regexes
from hpcagent.toolchain.logscan import Hit, Line, Scan, scan
from hpcagent.toolchain.logtext import text_of
from hpcagent.toolchain.quoting import goes_on, place_of
from hpcagent.toolchain.repairs import Repair
from hpcagent.toolchain.signatures import Catalogue, Failing, catalogue
from hpcagent.toolchain.survival import ASKED, FORGIVEN, FULL, survival

_BAND = 10
_EXIT_WEIGHT = 20  # an exit code says less than any words, and more than a mere consequence
_SYMPTOM = 30  # the least weight of what is more than a consequence
_QUOTE = 300
MAX_CAUSES = 8
# It ended badly, and no word tells why.
UNKNOWN = "run.exit_nonzero"
_LEAVING = re.compile(rb"^(?:[^ ]*/)?g?make(?:\[[0-9]+\])?: Leaving directory")


@dataclass(frozen=True)
class Found:
    """A cause: `confidence` is between 0 and 1 (docs/diagnosis.md), `line` 0 where it is no line's.

    `file` names the log where several were looked at; `where` is the place in a source that the
    line speaks of where another line names it, `next` the one below where the line announces it.
    """

    id: str
    stage: str
    kind: str
    confidence: float
    line: int
    quote: str
    meaning: str
    cure: str
    repair: Repair | None = None
    count: int = 1
    file: str = ""
    where: str = ""
    next: str = ""

    def to_json(self) -> dict[str, Any]:
        row = {k: v for k, v in asdict(replace(self, repair=None)).items() if k != "repair"}
        return row | {"repair": None if self.repair is None else self.repair.model_dump()}


@dataclass(frozen=True)
class Diagnosis:
    """`failed`: True, False, or None where neither the log nor an exit code tells."""

    failed: bool | None
    causes: tuple[Found, ...]
    scan: Scan

    @property
    def lines(self) -> int:
        return self.scan.lines


@dataclass(frozen=True)
class _Seen:
    """All that counts of one kind: its first hit decides where it stands."""

    failing: Failing
    line: Line
    weight: int
    count: int

    @property
    def rank(self) -> tuple[int, int, int]:
        return (-(self.weight // _BAND), self.line.number, -self.weight)


def diagnose(
    data: bytes | BinaryIO, exit_code: int | None = None, known: Catalogue | None = None,
    name: str = "the log",
) -> Diagnosis:  # fmt: skip
    """The causes of a failure that a log shows.

    `exit_code` is the failed command's where it is known (128 + n for signal n). A log that went
    well has none. Raises UsageError for what is no log.
    """
    known = known or catalogue()
    return judge(scan(data, known, name), exit_code, known)


def judge(found: Scan, exit_code: int | None, known: Catalogue) -> Diagnosis:
    """What follows from a scan."""
    failed = _failed(found, exit_code, known)
    seen = _counted(found, failed, known)
    if failed:
        seen = _with_exit_code(seen, exit_code, found, known)
    ranked = sorted(_rooted(seen), key=lambda one: one.rank)[:MAX_CAUSES]
    causes = tuple(_found(one, ranked, index) for index, one in enumerate(ranked))
    return Diagnosis(True if causes else failed, causes, found)


_COMPLAINT = re.compile(
    rb"(?i)\b(?:error|err|fatal|failed|failure|cannot|can't|could not|unable to|not found|no such|"
    rb"aborted|aborting|denied|invalid|illegal|missing)\b"
)
_HARMLESS = re.compile(rb"(?i)\bwarn|\b(?:0|no) (?:error|failure)s?\b|\b0 failed\b|\bignor|\bretry")


def suspected(diagnosis: Diagnosis, known: Catalogue | None = None) -> Found | None:
    """What would be named first if it did fail, where the log does not tell whether it did."""
    if diagnosis.failed is not None or diagnosis.causes:
        return None
    known = known or catalogue()
    causes = judge(diagnosis.scan, 1, known).causes
    return next((c for c in causes if known.failures[c.id].weight >= _SYMPTOM), None)


def complaint(diagnosis: Diagnosis) -> tuple[int, str] | None:
    """Of a log that does not tell whether it failed, and that no signature knows, the last line
    near its end that complains: its number and text."""
    if diagnosis.failed is not None or diagnosis.causes:
        return None
    for line in reversed(diagnosis.scan.tail):
        if _COMPLAINT.search(line.text) and not _HARMLESS.search(line.text):
            return line.number, line.text.decode("utf-8", "replace").strip()
    return None


def _failed(found: Scan, exit_code: int | None, known: Catalogue) -> bool | None:
    if exit_code is not None:
        return exit_code != 0
    if _ends_well(found, known):
        return False
    if found.gave_up:
        return True
    proven = any(known.places[i].counts == "proof" for i in found.firm)
    return True if proven else None


def _ends_well(found: Scan, known: Catalogue) -> bool:
    """Whether the last line, but for harmless ones of launchers and shells, is as of a success."""
    words = survival(known)
    left = False  # make leaves folders after a failure, too
    for line in reversed(found.tail):
        if _LEAVING.search(line.text):
            left = True
        elif _endings(known.endings).Match(line.text.strip()):
            return True
        elif words.is_trouble(line.text) or not words.is_epilogue(line.text):
            return left and not words.is_trouble(line.text)
    return left


@cache
def _endings(patterns: tuple[str, ...]) -> Any:
    return regexes.any_of(patterns, {})


def _counted(found: Scan, failed: bool | None, known: Catalogue) -> list[_Seen]:
    """The hits that count, one for each kind; on one line only the most specific kinds."""
    by_kind: dict[str, _Seen] = {}
    for hit in _unforgiven(_answered(found.hits, known), known):
        places = [i for i in hit.places if _counts(found, hit, i, failed, known)]
        top = max((known.places[i].failing.weight for i in places), default=0)
        for index in places:
            failing = known.places[index].failing
            if failing.weight == top and failing.id not in by_kind:
                count = _count(found, failing.id, known)
                by_kind[failing.id] = _Seen(failing, hit.line, failing.weight, count)
    return list(by_kind.values())


def _answered(hits: Sequence[Hit], known: Catalogue) -> Sequence[Hit]:
    """What compilers answered a configure script says all where that failed, else little."""
    failed = any(
        hit.says == FULL and known.places[i].failing.stage == "configure"
        and known.places[i].counts == "proof"
        for hit in hits for i in hit.places
    )  # fmt: skip
    says = FULL if failed else FORGIVEN
    return [replace(hit, says=says) if hit.says == ASKED else hit for hit in hits]


def _unforgiven(hits: Sequence[Hit], known: Catalogue) -> Sequence[Hit]:
    """Without what the program says that it survived, where there is more than consequences."""
    others = [hit for hit in hits if hit.says != FORGIVEN]
    weights = (known.places[i].failing.weight for hit in others for i in hit.places)
    return others if max(weights, default=0) >= _SYMPTOM else hits


def _counts(found: Scan, hit: Hit, index: int, failed: bool | None, known: Catalogue) -> bool:
    counts = known.places[index].counts
    if counts in ("proof", "ending") and failed is None:
        return index in found.last_words and hit.says != FORGIVEN
    return counts == "silent" or failed is True


def _count(found: Scan, name: str, known: Catalogue) -> int:
    counts = (n for i, n in found.counts.items() if known.places[i].failing.id == name)
    return max(counts, default=1)


def _with_exit_code(
    seen: Sequence[_Seen], exit_code: int | None, found: Scan, known: Catalogue
) -> list[_Seen]:
    """What the exit code alone says, for where words say no more."""
    if not exit_code or any(exit_code in one.failing.exits for one in seen):
        return list(seen)
    entry = next((f for f in known.failures.values() if exit_code in f.exits), None)
    if entry is None:
        entry = None if seen else known.get(UNKNOWN)
    if entry is None:
        return list(seen)
    last = found.tail[-1] if found.tail else Line(0, b"")
    weight = min(entry.weight, _EXIT_WEIGHT)
    return [*seen, _Seen(entry, replace(last, before=(), after=()), weight, 1)]


def _rooted(seen: Iterable[_Seen]) -> list[_Seen]:
    """Those that no other one explains."""
    rows = list(seen)
    beaten = {name for one in rows for name in one.failing.beats}
    kept = [one for one in rows if one.failing.id not in beaten]
    return kept or rows


def _found(one: _Seen, ranked: Sequence[_Seen], index: int) -> Found:
    failing = one.failing
    return Found(
        id=failing.id,
        stage=failing.stage,
        kind=failing.kind,
        confidence=_confidence(one, ranked, index),
        line=one.line.number,
        quote=text_of(one.line.text[:_QUOTE]).strip(),
        meaning=failing.meaning,
        cure=failing.cure,
        repair=failing.repair,
        count=one.count,
        where=place_of(one.line),
        next=goes_on(one.line),
    )


def _confidence(one: _Seen, ranked: Sequence[_Seen], index: int) -> float:
    """How specific the words are, less where others in the same band compete."""
    own = min(0.95, 0.3 + one.weight / 110) if one.weight > _EXIT_WEIGHT else 0.3
    rivals = sum(1 for other in ranked[:index] if other is not one)
    if index == 0:
        band = one.weight // _BAND
        same = sum(1 for other in ranked[1:] if other.weight // _BAND == band)
        return round(own - min(0.2, 0.05 * same), 2)
    return round(own / (1 + rivals), 2)
