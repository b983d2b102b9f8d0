"""Whether a program went on after it met an error, as far as its own words and what follows tell.

A match says less than its signature where the words may come from a program that survived: where
it says so itself (a warning, "falling back to ...", "Error 1 (ignored)"), and where they are of a
kind that programs print of errors they caught. The latter count when they are the last words: when
nothing of the program follows them, only what launchers, shells and batch systems add.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

from hpcagent import regexes
from hpcagent.toolchain.signatures import Catalogue

# How much a match says at most: all that its signature does; only as last words; only in a log
# that failed by other words; there too only where nothing else is found; all or that, depending on
# whether the configure script that asked for it failed.
FULL, ENDING, FORGIVEN, ASKED = "full", "ending", "forgiven", "asked"

_TRACEBACK = re.compile(rb"Traceback \(most recent call last\)")
_CHAINED = re.compile(rb"^(?:During handling of|The above exception was) ")
_EITHER_CASE = re.compile(r"\[[A-Z]([a-z])\]")
_NEXT = 2  # lines below in which a program says how it goes on
_PARDON = 15  # lines below, in which make says that it ignores what failed
_ASKED = 3  # lines on both sides that show that a configure script asked
# Words of trouble, which a program that went on well does not end with.
_TROUBLE = re.compile(
    rb"(?i)\b(?:error|fatal|severe|fail(?:ed|ure|s)|abort(?:ed|ing)?|killed|panic|exception"
    rb"|cannot|can't|unable to|terminat(?:ed|ing)|stopp(?:ed|ing)|giving up|exit(?:ed|ing)?"
    rb"|quit(?:ting)?|core dumped|halted|traceback)\b|\bSTOP\b"
)
# make's and ninja's own words that they stop: "Error 1" there is no figure of merit.
_STOPPED = re.compile(
    rb"^(?:[^ ]*/)?g?make(?:\[[0-9]+\])?: \*\*\* |^ninja: (?:error|build stopped)"
)
_COMFORT = re.compile(
    rb"(?i)\b(?:0|no|zero|without|any) (?:fatal |other )?(?:errors?|failures?)\b"
    rb"|\berrors?(?: norm| count| estimate)?(?: ?[:=<] ?| )[-+]?[0-9.]|\bpassed\b|\bsuccess"
    rb"|\b(?:finished|completed|done|none)\b"
)


class Survival:
    """The words of a catalogue by which programs tell that they went on."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._places = catalogue.places
        self._survivable = _any(catalogue.survivable)
        self._line = _any(catalogue.forgiven.line)
        self._never = _any(catalogue.forgiven.never)
        self._above = _any(catalogue.forgiven.above)
        self._below = _any(catalogue.forgiven.below)
        self._pardon = _any(catalogue.forgiven.pardon)
        self._asked = _any(catalogue.asked.line)
        self._tools = _any(catalogue.asked.tools)
        self._asked_near = _any(catalogue.asked.near)
        self._epilogue = _any(catalogue.epilogue)

    def says(
        self, places: Sequence[int], text: bytes, before: Sequence[bytes], after: Sequence[bytes]
    ) -> str:
        """What a match of these places says at most: FULL, ENDING, FORGIVEN or ASKED."""
        if all(self._place_says(i, text) == FORGIVEN for i in places):
            return FORGIVEN
        if self._pardoned(text, before, after):
            return FORGIVEN
        if self._answers(text, before, after):
            return ASKED
        return ENDING if self._survivable.Match(text) else FULL

    def _place_says(self, index: int, text: bytes) -> str:
        """Words of forgiveness that are a signature's own forgive nothing."""
        if not self._line.Match(text) or self._never.Match(text):
            return FULL
        own = self._line.Match(_EITHER_CASE.sub(r"\1", self._places[index].pattern.match).encode())
        return FULL if own else FORGIVEN

    def _pardoned(self, text: bytes, before: Sequence[bytes], after: Sequence[bytes]) -> bool:
        near = [line for line in after[: 2 * _NEXT] if line.strip()][:_NEXT]
        if any(self._below.Match(line) for line in near):
            return True
        if self._pardon.Match(b"\n".join(after[:_PARDON])):
            return True
        header = _line_above(before)
        return header is not None and bool(self._above.Match(header))

    def _answers(self, text: bytes, before: Sequence[bytes], after: Sequence[bytes]) -> bool:
        """Whether the line is what a compiler or linker answered a configure script."""
        if self._asked.Match(text):
            return True
        near = b"\n".join([*before[-_ASKED:], *after[:_ASKED]])
        return bool(self._tools.Match(text) and self._asked_near.Match(near))

    def is_epilogue(self, text: bytes) -> bool:
        return not text.strip() or bool(self._epilogue.Match(text))

    def is_trouble(self, text: bytes) -> bool:
        """A line that a program may print of its own end."""
        if _STOPPED.match(text):
            return b"(ignored)" not in text
        if not _TROUBLE.search(text) or _COMFORT.search(text):
            return False
        return not (self._line.Match(text) or self._below.Match(text))


@cache
def survival(catalogue: Catalogue) -> Survival:
    return Survival(catalogue)


def in_tracebacks(lines: Sequence[bytes]) -> list[bool]:
    """For each line whether it is of a Python traceback, that of a rank with its label included."""
    found = []
    prefix: bytes | None = None
    for line in lines:
        match = _TRACEBACK.search(line)
        if match:
            prefix = line[: match.start()]
        inside = prefix is not None and line.startswith(prefix)
        found.append(inside or bool(_CHAINED.match(line)))
        if inside and prefix is not None and not match and line[len(prefix) :][:1].strip():
            prefix = None
    return found


def _line_above(before: Sequence[bytes]) -> bytes | None:
    """The line above a message, or above the traceback that it ends (the first of chained ones)."""
    inside = in_tracebacks([*before, b""])
    at = len(before) - 1
    if at >= 0 and inside[at]:
        while at >= 0 and (inside[at] or not before[at].strip()):
            at -= 1
    return before[at] if at >= 0 else None


def _any(patterns: Sequence[str]) -> Any:
    return regexes.any_of([f"(?m){p}" for p in patterns], {})
