"""What lscpu says: both JSON shapes, the plain text, and the parsable CPU table."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from hpcagent.records import Cpu

Fields = tuple[tuple[str, str], ...]


def parse_lscpu(text: str) -> Fields:
    """(field, value) pairs in order, names without the colon.

    util-linux before 2.30 writes plain text only; JSON is a flat list, or nests related fields in
    "children" (`--hierarchic`, the default of some releases). Other text has no fields.
    """
    if text.lstrip().startswith("{"):
        return tuple(_flatten(_load(text)))
    pairs = (line.partition(":") for line in text.splitlines())
    return tuple((name.strip(), value.strip()) for name, colon, value in pairs if colon)


def field(fields: Fields, name: str) -> str | None:
    """The first value of that name that says something ("-" is lscpu's word for nothing)."""
    for key, value in fields:
        if key == name and value not in ("", "-"):
            return value
    return None


def parse_cpu_table(text: str) -> tuple[Cpu, ...]:
    """The online CPUs of `lscpu -p=CPU,CORE,SOCKET,NODE`, by id.

    An empty column (no NUMA, a virtual machine without sockets) counts as 0; lines that do not
    start with a CPU number are skipped.
    """
    cpus: dict[int, Cpu] = {}
    for line in text.splitlines():
        columns = [_number(column) for column in line.split(",")]
        if line.startswith("#") or columns[0] is None:
            continue
        core, place, node = [*columns[1:], None, None, None][:3]
        number = columns[0]
        cpus[number] = Cpu(number, number if core is None else core, place or 0, node or 0)
    return tuple(cpus[number] for number in sorted(cpus))


def parse_cache_table(text: str) -> dict[str, int]:
    """How many caches of each name ("L1d", "L3") the online CPUs have, from plain `lscpu -p`.

    The last comment line names the columns; those behind an empty one are ids of caches.
    """
    titles: list[str] = []
    seen: dict[str, set[str]] = {}
    for line in text.splitlines():
        if line.startswith("#"):
            titles = [word.strip() for word in line.lstrip("# ").split(",")]
            continue
        for title, cell in zip(titles, line.split(","), strict=False):
            if title.startswith("L") and cell.strip():
                seen.setdefault(title, set()).add(cell.strip())
    return {title: len(ids) for title, ids in seen.items()}


def _number(text: str) -> int | None:
    word = text.strip()
    return int(word) if word.isascii() and word.isdigit() and len(word) < 8 else None


def _load(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _flatten(document: Any) -> Iterator[tuple[str, str]]:
    """Depth first, without recursion: the depth comes from outside."""
    todo: list[Any] = [document.get("lscpu")] if isinstance(document, dict) else []
    while todo:
        item = todo.pop()
        if isinstance(item, list):
            todo.extend(reversed(item))
        elif isinstance(item, dict):
            name, value = item.get("field"), item.get("data")
            if isinstance(name, str):
                yield name.strip().rstrip(":"), "" if value is None else str(value)
            todo.append(item.get("children"))
