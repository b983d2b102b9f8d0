"""Texts of tests/fixtures/diagnosis: blocks that begin with `=== NAME`."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent / "fixtures" / "diagnosis"


def blocks(name: str) -> list[tuple[str, str]]:
    """(name, text) of each block of a file of fixtures."""
    found: list[tuple[str, list[str]]] = []
    for line in (FOLDER / name).read_text(encoding="utf-8").splitlines():
        if line.startswith("=== "):
            found.append((line[4:].strip(), []))
        elif found:
            found[-1][1].append(line)
    return [(title, "\n".join(lines) + "\n") for title, lines in found]
