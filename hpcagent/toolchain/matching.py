"""Which signatures a line matches, seen with the lines around it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

from hpcagent import regexes
from hpcagent.toolchain.signatures import Catalogue

# What a configure script says itself is no answer of a probe.
_OWN = re.compile(rb"^(?:[^ ]*/)?configure:(?:[0-9]+:)? error: ")
_PROBE = 15  # lines below, in which a config.log tells a probe's end


class Matcher:
    """Which patterns of a catalogue a line matches, seen with the lines around it."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.places = catalogue.places
        self.any = regexes.compiled(catalogue.alternation, "signatures")
        self._set = regexes.any_of(
            [f"(?m){p.pattern.match}" for p in catalogue.places],
            {i: p.where for i, p in enumerate(catalogue.places)},
        )
        self._ignore = regexes.any_of(catalogue.ignore, {}) if catalogue.ignore else None
        self._probes = regexes.any_of([f"(?m){p}" for p in catalogue.probes], {})
        self.conditional = {
            i for i, p in enumerate(catalogue.places) if p.pattern.near or p.pattern.not_near
            or p.pattern.twice
        }  # fmt: skip

    def possible(self, text: bytes) -> tuple[int, ...]:
        """The places that match the line as it stands there alone."""
        if self._ignore is not None and self._ignore.Match(text):
            return ()
        found = self._set.Match(text) or ()
        return tuple(i for i in sorted(found) if not self._excluded(i, text))

    def match(
        self, text: bytes, before: Sequence[bytes], after: Sequence[bytes], possible: Sequence[int]
    ) -> list[int]:
        """Of the places that are `possible` for the line those that its neighbours allow."""
        if not possible:
            return []
        if self._probes.Match(b"\n".join(after[:_PROBE])) and not _OWN.match(text):
            return []
        return [i for i in possible if self._holds(i, text, before, after)]

    def _excluded(self, index: int, text: bytes) -> bool:
        unless = self.places[index].pattern.not_
        return unless is not None and bool(_compiled(unless).search(text))

    def _holds(
        self, index: int, text: bytes, before: Sequence[bytes], after: Sequence[bytes]
    ) -> bool:
        pattern = self.places[index].pattern
        if index not in self.conditional:
            return True
        n = pattern.lines
        later = () if pattern.before_only else after[:n]
        around = b"\n".join([*before[-n:], text, *later])
        if pattern.near is not None and not _compiled(pattern.near).search(around):
            return False
        if pattern.twice and text not in (*before[-2:], *after[:2]):
            return False
        others = b"\n".join([*before[-n:], *later])
        return pattern.not_near is None or not _compiled(pattern.not_near).search(others)


@cache
def matcher(catalogue: Catalogue) -> Matcher:
    """Made once, since the automaton learns as it is used."""
    return Matcher(catalogue)


@cache
def _compiled(pattern: str) -> Any:
    return regexes.compiled(f"(?m){pattern}", "failures.yaml")
