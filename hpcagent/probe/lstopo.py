"""What `lstopo --of xml` says: hwloc's XML, format 1 (hwloc 1.x) and 2 (hwloc 2.x).

hwloc renamed types between the two (Socket: Package; Cache with a depth: L1Cache to L5Cache, L1i
to L3i) and moved NUMA nodes from among the parents to "memory children".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree import ElementTree

from hpcagent.probe.node import CacheLevel

# 32 bits a word, the most significant first; an empty word is 0 (hwloc_bitmap_snprintf).
_WORD = re.compile(r"(?:0x)?([0-9a-fA-F]{0,16})")
_CACHE = re.compile(r"L([1-5])(i?)Cache")
_KINDS = {"0": "unified", "1": "data", "2": "instruction"}
_MAX_WORDS = 2048


@dataclass(frozen=True)
class TopologyNode:
    """A NUMA node of hwloc: `index` is the kernel's number."""

    index: int
    cpus: tuple[int, ...]
    memory_bytes: int | None


@dataclass(frozen=True)
class Topology:
    """`kinds` are the CPUs of each kind of a hybrid processor, in hwloc's order: slowest first."""

    version: str
    packages: int
    cores: int
    cpus: tuple[int, ...]
    nodes: tuple[TopologyNode, ...]
    caches: tuple[CacheLevel, ...]
    kinds: tuple[tuple[int, ...], ...]
    devices: tuple[str, ...]
    synthetic: bool = False

    @property
    def threads_per_core(self) -> int:
        return max(1, round(len(self.cpus) / max(1, self.cores)))


def parse_lstopo(text: str) -> Topology | None:
    """None where the text is no topology. Documents that define entities are refused."""
    root = _document(text)
    if root is None or root.tag != "topology":
        return None
    objects = list(root.iter("object"))
    infos = {info.get("name"): info.get("value") for info in root.iter("info")}
    units = [item for item in objects if item.get("type") == "PU"]
    cpus = sorted({number for unit in units if (number := _index(unit)) is not None})
    devices = [item.get("name", "") for item in objects if item.get("type") == "OSDev"]
    kinds = [parse_cpuset(kind.get("cpuset", "")) for kind in root.iter("cpukind")]
    return Topology(
        version=root.get("version", "1"),
        packages=sum(item.get("type") in ("Package", "Socket") for item in objects),
        cores=sum(item.get("type") == "Core" for item in objects),
        cpus=tuple(cpus),
        nodes=tuple(sorted(_nodes(objects), key=lambda node: node.index)),
        caches=_caches(objects),
        kinds=tuple(kind for kind in kinds if kind),
        devices=tuple(name for name in devices if name),
        synthetic=infos.get("Backend") == "Synthetic",
    )


def parse_cpuset(text: str) -> tuple[int, ...] | None:
    """CPU ids of a bitmap like "0x00000001,,0xf0"; None: none, or one without an end."""
    words = text.strip().split(",")
    if not text.strip() or len(words) > _MAX_WORDS:
        return None
    bits = 0
    for word in words:
        found = _WORD.fullmatch(word)
        if found is None:
            return None
        bits = bits << 32 | int(found.group(1) or "0", 16)
    return tuple(place for place, bit in enumerate(reversed(f"{bits:b}")) if bit == "1")


def _document(text: str) -> ElementTree.Element | None:
    if "<!ENTITY" in text:
        return None
    try:
        return ElementTree.fromstring(text.lstrip())
    except (ElementTree.ParseError, ValueError):
        return None


def _nodes(objects: list[ElementTree.Element]) -> Iterator[TopologyNode]:
    for item in objects:
        number = _index(item)
        if item.get("type") == "NUMANode" and number is not None:
            cpus = parse_cpuset(item.get("cpuset", "")) or ()
            yield TopologyNode(number, cpus, _number(item.get("local_memory", "")))


def _caches(objects: list[ElementTree.Element]) -> tuple[CacheLevel, ...]:
    """One of each level, kind and size: hybrid processors have several sizes of a level."""
    found: dict[tuple[int, str, int], list[tuple[int, int | None]]] = {}
    for item in objects:
        level, size = _cache_level(item), _number(item.get("cache_size", ""))
        if level is None or not size:
            continue
        kind = _KINDS.get(item.get("cache_type", "0"), "unified")
        shared = len(parse_cpuset(item.get("cpuset", "")) or (0,))
        line = _number(item.get("cache_linesize", "")) or None
        found.setdefault((level, kind, size), []).append((shared, line))
    levels = []
    for (level, kind, size), caches in sorted(found.items()):
        shared, line = max(caches, key=caches.count)
        levels.append(CacheLevel(level, kind, len(caches), size, shared, line))
    return tuple(levels)


def _cache_level(item: ElementTree.Element) -> int | None:
    kind = item.get("type", "")
    found = _CACHE.fullmatch(kind)
    if found:
        return int(found.group(1))
    depth = _number(item.get("depth", ""))
    return depth if kind == "Cache" and depth and depth < 10 else None


def _index(item: ElementTree.Element) -> int | None:
    number = _number(item.get("os_index", ""))
    return number if number is not None and number < 1 << 20 else None


def _number(text: str) -> int | None:
    word = text.strip()
    return int(word) if word.isascii() and word.isdigit() and len(word) < 19 else None
