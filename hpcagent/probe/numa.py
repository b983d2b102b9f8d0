"""NUMA nodes and the distances between them: sysfs, and `numactl --hardware`."""

from __future__ import annotations

import re
from collections.abc import Mapping

from hpcagent.probe.node import NumaNode
from hpcagent.probe.procfs import parse_kib_field
from hpcagent.probe.values import MAX_CPU, parse_cpulist

_PATH = re.compile(r".*/node([0-9]{1,6})/(cpulist|distance|meminfo)")
_CPUS = re.compile(r"node ([0-9]{1,6}) cpus:((?: +[0-9]{1,7})*)\s*")
_SIZE = re.compile(r"node ([0-9]{1,6}) size: +([0-9]{1,12}) MB\s*")
_ROW = re.compile(r"\s*([0-9]{1,6}):((?: +[0-9]{1,5})+)\s*")


def parse_distances(text: str) -> tuple[int, ...]:
    """One line of sysfs: "10 21"; other text has none (10 is a node to itself, ACPI's SLIT)."""
    words = text.split()
    return tuple(map(int, words)) if all(_small(word) for word in words) else ()


def nodes_from_sysfs(files: Mapping[str, str]) -> tuple[NumaNode, ...]:
    """From .../nodeN/{cpulist,distance,meminfo}."""
    entries: dict[int, dict[str, str]] = {}
    for path, text in files.items():
        found = _PATH.fullmatch(path)
        if found:
            entries.setdefault(int(found.group(1)), {})[found.group(2)] = text
    return tuple(
        NumaNode(
            number,
            parse_cpulist(entry.get("cpulist", "")) or (),
            parse_kib_field(entry.get("meminfo", ""), "MemTotal"),
            parse_distances(entry.get("distance", "")),
        )
        for number, entry in sorted(entries.items())
    )


def parse_numactl(text: str) -> tuple[NumaNode, ...]:
    """`numactl --hardware`: a line of CPUs and one of size for each node, then a matrix.

    Nodes may be numbered with gaps (POWER9 with GPU memory: 0 8 255).
    """
    cpus: dict[int, tuple[int, ...]] = {}
    sizes: dict[int, int] = {}
    rows: dict[int, tuple[int, ...]] = {}
    for line in text.splitlines():
        if found := _CPUS.fullmatch(line):
            numbers = {int(word) for word in found.group(2).split()}
            cpus[int(found.group(1))] = tuple(sorted(x for x in numbers if x < MAX_CPU))
        elif found := _SIZE.fullmatch(line):
            sizes[int(found.group(1))] = int(found.group(2)) << 20
        elif found := _ROW.fullmatch(line):
            rows[int(found.group(1))] = parse_distances(found.group(2))
    return tuple(
        NumaNode(number, cpus[number], sizes.get(number), rows.get(number, ()))
        for number in sorted(cpus)
    )


def _small(word: str) -> bool:
    return word.isascii() and word.isdigit() and len(word) < 6
