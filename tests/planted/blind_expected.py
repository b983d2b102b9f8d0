"""Which ids of failures.yaml name the failures of the held-out sets, from their tables."""

from __future__ import annotations

from functools import cache
from pathlib import Path

TABLE = Path(__file__).with_name("blind_ids.txt")
FRESH = Path(__file__).with_name("fresh_ids.txt")


@cache
def ids(table: Path = TABLE) -> dict[str, tuple[str, ...]]:
    """The ids by kind; a comment begins with '#'."""
    rows = [line for line in table.read_text().splitlines() if not line.startswith("#")]
    parts = [row.partition(" = ") for row in rows]
    return {kind: tuple(words.split()) for kind, _, words in parts}
