"""How a log ends: what belongs to a script's own end, which messages are long, and whether the
last lines say that it failed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

from hpcagent import regexes
from hpcagent.toolchain.signatures import Catalogue
from hpcagent.toolchain.survival import survival

_SCRIPT = 15  # lines that a script prints at most below the line by which it says that it ends
_RULE = re.compile(rb"^(?:\[[^\]]*\] ?)?-{60,}\s*$")
_LMOD = re.compile(rb"^Lmod has detected the following error:")
_LMOD_LINES, _WRAPPED = 14, 60
_LMOD_MORE = re.compile(rb"^(?:While processing|Please check|It is also|Also make|these module)")


class LogEnd:
    """The words by which scripts tell that they end, and how."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._survival = survival(catalogue)
        self._banners = _any(catalogue.banners)
        self._failed = _any(catalogue.failed_ends)
        self._well = _any(catalogue.good_ends)

    def begins(self, lines: Sequence[bytes]) -> int:
        """The index of the line by which a script says that it ends, else the number of lines."""
        low = max(0, len(lines) - _SCRIPT)
        return next((i for i in range(low, len(lines)) if self._banner(lines[i])), len(lines))

    def _banner(self, text: bytes) -> bool:
        return bool(self._banners.Match(text))

    def tells_success(self, lines: Sequence[bytes]) -> bool:
        """Whether the line by which a script says that it ends tells of no trouble."""
        end = self.begins(lines)
        return any(self._well.Match(text) for text in lines[end : end + 1])

    def tells_failure(self, lines: Sequence[bytes]) -> bool:
        """Whether the last words are of a script that failed or of a program that gave up."""
        end = self.begins(lines)
        if any(self._failed.Match(text) for text in lines[end : end + 1]):
            return True
        for text in reversed(lines[:end]):
            if self._survival.is_trouble(text) and self._failed.Match(text):
                return True
            if not self._survival.is_epilogue(text):
                return False
        return False


@cache
def log_end(catalogue: Catalogue) -> LogEnd:
    return LogEnd(catalogue)


def in_messages(lines: Sequence[bytes]) -> list[bool]:
    """For each line whether it is of a message of many lines: Open MPI's, between rules of dashes,
    or Lmod's, up to the empty line that ends it."""
    found = [False] * len(lines)
    rule = -1
    for at, line in enumerate(lines):
        if _RULE.match(line):
            if rule >= 0:
                found[rule : at + 1] = [True] * (at + 1 - rule)
            rule = at if rule < 0 else -1
        elif _LMOD.match(line):
            end = _lmod_end(lines, at)
            found[at:end] = [True] * (end - at)
    return found


def _lmod_end(lines: Sequence[bytes], begin: int) -> int:
    """Its paragraphs go on while they begin as Lmod's do; empty lines are not among `lines`."""
    last = begin + (2 if len(lines[begin]) > _WRAPPED else 1)
    for at in range(begin + 1, min(len(lines), begin + _LMOD_LINES)):
        line = lines[at]
        if line.startswith((b" ", b'"')) or _LMOD_MORE.match(line):
            last = at + 1
    return min(last, len(lines))


def _any(patterns: Sequence[str]) -> Any:
    return regexes.any_of([f"(?m){p}" for p in patterns], {})
