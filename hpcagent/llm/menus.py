"""Menus that a model chooses from."""

from __future__ import annotations

from collections.abc import Sequence

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
