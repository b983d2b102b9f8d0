"""What `likwid-topology -O` and `likwid-perfctr` print.

The comma-separated form is lists under "STRUCT,name,columns" and "TABLE,name,columns"; the table of
hardware threads is still set in blanks with commas behind (5.2), or in commas (4.x). Groups of CPUs
stand between commas, or in brackets as in the form for people.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from hpcagent.probe.node import CacheLevel

_SIZE = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?) ?([kMGT]?)B")
_UNITS = {"": 1, "k": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_CACHE = re.compile(r"Cache Topology L([1-9])")
_GROUP = re.compile(r"\(([^()]*)\)")
_NUMA = re.compile(r"NUMA Topology ([0-9]{1,6})")
_WHERE = re.compile(r"^(?:ERROR|WARN\w*)\b[^\[\]]*\[[^\]]*\]\s*|^ERROR\s*-\s*")
_NOISE = re.compile(r"perfgroups|Counter and event maps|^-+$|^(CPU|Name) \w+:")


@dataclass(frozen=True)
class LikwidNode:
    """A NUMA domain; `memory_bytes` is what LIKWID calls its total memory."""

    id: int
    cpus: tuple[int, ...]
    distances: tuple[int, ...]
    memory_bytes: int | None


@dataclass(frozen=True)
class LikwidTopology:
    """`threads` are (hardware thread, core, socket)."""

    cpu_name: str
    cpu_type: str
    sockets: int
    cores_per_socket: int
    threads_per_core: int
    threads: tuple[tuple[int, int, int], ...]
    caches: tuple[CacheLevel, ...]
    nodes: tuple[LikwidNode, ...]


def parse_likwid_topology(text: str) -> LikwidTopology | None:
    """None where the text does not count sockets, cores and threads."""
    blocks = _blocks(text)
    info, counts = _fields(blocks.get("Info", [])), blocks.get("Hardware Thread Topology", [])
    shape = _fields(counts)
    numbers = [_count(shape.get(name, [])) for name in _SHAPE]
    if any(number is None for number in numbers):
        return None
    sockets, cores, threads = (number or 0 for number in numbers)
    return LikwidTopology(
        cpu_name=" ".join(info.get("CPU name", [])),
        cpu_type=" ".join(info.get("CPU type", [])),
        sockets=sockets,
        cores_per_socket=cores,
        threads_per_core=threads,
        threads=tuple(_threads(blocks.get("Topology", []))),
        caches=tuple(_caches(blocks)),
        nodes=tuple(_nodes(blocks)),
    )


_SHAPE = ("Sockets", "Cores per socket", "Threads per core")


def why_perfctr_failed(stdout: str, stderr: str) -> str:
    """The line that tells why likwid-perfctr could not count, without its place in the source."""
    lines = [line.strip() for line in (stderr + "\n" + stdout).splitlines() if line.strip()]
    told = [line for line in lines if not _NOISE.search(line)]
    errors = [line for line in told if line.startswith("ERROR")]
    for line in [*errors, *told]:
        return _WHERE.sub("", line).strip() or line
    return "it printed nothing that tells why"


def _blocks(text: str) -> dict[str, list[str]]:
    """Lines by the name of the STRUCT or TABLE they stand under."""
    blocks: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in text.splitlines():
        words = line.split(",")
        if words[0] in ("STRUCT", "TABLE") and len(words) >= 2:
            lines = blocks.setdefault(words[1].strip(), [])
        elif line.strip():
            lines.append(line)
    return blocks


def _fields(lines: list[str]) -> dict[str, list[str]]:
    """ "Level:,1," gives Level: ["1"]."""
    fields = {}
    for line in lines:
        name, *values = line.split(",")
        fields[name.strip().rstrip(":")] = [value.strip() for value in values if value.strip()]
    return fields


def _count(values: list[str]) -> int | None:
    word = values[0] if values else ""
    return int(word) if word.isascii() and word.isdigit() and len(word) < 8 else None


def _threads(lines: list[str]) -> list[tuple[int, int, int]]:
    """Columns by their titles: versions differ in whether there is one for the die."""
    if not lines:
        return []
    titles = [word for word in re.split(r"[,\s]+", lines[0]) if word]
    found = []
    for line in lines[1:]:
        row = dict(zip(titles, (x for x in re.split(r"[,\s]+", line.strip()) if x), strict=False))
        numbers = [_count([row.get(title, "")]) for title in ("HWThread", "Core", "Socket")]
        if None not in numbers:
            found.append((numbers[0] or 0, numbers[1] or 0, numbers[2] or 0))
    return found


def _caches(blocks: dict[str, list[str]]) -> list[CacheLevel]:
    """One a level: LIKWID leaves instruction caches out."""
    caches = []
    for name, lines in blocks.items():
        found = _CACHE.fullmatch(name)
        if not found:
            continue
        fields = _fields(lines)
        size = _bytes(" ".join(fields.get("Size", [])))
        groups = _groups(fields.get("Cache groups", []))
        if size and groups:
            level, shared = int(found.group(1)), len(groups[0].split())
            kind = "data" if level == 1 else "unified"
            caches.append(CacheLevel(level, kind, len(groups), size, shared))
    return caches


def _groups(values: list[str]) -> list[str]:
    text = ",".join(values)
    return _GROUP.findall(text) if "(" in text else values


def _nodes(blocks: dict[str, list[str]]) -> list[LikwidNode]:
    nodes = []
    for name, lines in blocks.items():
        found = _NUMA.fullmatch(name)
        if found:
            fields = _fields(lines)
            cpus, distances = (_numbers(fields.get(x, [])) for x in ("Processors", "Distances"))
            memory = _bytes(" ".join(fields.get("Total memory", [])))
            nodes.append(LikwidNode(int(found.group(1)), cpus, distances, memory))
    return nodes


def _numbers(values: list[str]) -> tuple[int, ...]:
    words = [word for value in values for word in value.strip("() ").split()]
    return tuple(number for word in words if (number := _count([word])) is not None)


def _bytes(text: str) -> int | None:
    found = _SIZE.fullmatch(text.strip())
    return int(float(found.group(1)) * _UNITS[found.group(2)]) if found else None
