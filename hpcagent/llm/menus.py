"""Menus that a model chooses from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hpcagent.errors import UsageError

MAX_ENTRIES = 64


def checked(menu: Sequence[str]) -> tuple[str, ...]:
    """The entries of a menu that can be ranked; UsageError says what is wrong with it."""
    if not menu:
        raise UsageError("menu: there is nothing to choose from")
    if len(menu) > MAX_ENTRIES:
        raise UsageError(f"menu: {len(menu)} entries are more than {MAX_ENTRIES}")
    if not all(menu):
        raise UsageError("menu: an entry is empty")
    if len(set(menu)) < len(menu):
        twice = next(entry for n, entry in enumerate(menu) if entry in menu[:n])
        raise UsageError(f"menu: {twice!r} is there twice")
    return tuple(menu)


def reasoned(menu: Sequence[str], reason: int) -> dict[str, Any]:
    """The schema of an answer that gives a reason of so many characters at most, then an entry."""
    text = {"type": "string", "maxLength": reason}
    return {"type": "object", "properties": {"reason": text, "choice": {"enum": list(menu)}}}
