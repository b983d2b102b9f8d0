"""The cache hierarchy, from sysfs where the kernel tells it, else from lscpu's sums."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from hpcagent.probe.lscpu import Fields
from hpcagent.probe.values import Size, parse_cpulist, parse_size
from hpcagent.records import Cache

Kind = tuple[int, str]

_NAME = re.compile(r"L([1-9])([di]?)(?: cache)?")
_KINDS = {"d": "data", "i": "instruction", "": "unified"}
_INDEX = re.compile(r".*/cache/(index[0-9]+)/(level|type|size|shared_cpu_list)")


def caches_from_lscpu(fields: Fields, cores: int, sockets: int) -> tuple[Cache, ...]:
    """Sizes of one instance each.

    A sum without a count of instances (util-linux 2.34 to 2.36) is shared out: one L1 and L2 a
    core, one cache of a higher level a socket.
    """
    caches = []
    for name, value in fields:
        found, size = _NAME.fullmatch(name), parse_size(value)
        if found is None or size is None:
            continue
        level = int(found.group(1))
        instances = _instances(size, cores if level <= 2 else sockets)
        single = size.share(instances) if size.summed else size.size_bytes
        caches.append(Cache(level, _KINDS[found.group(2)], single, instances))
    return tuple(caches)


def uncounted(fields: Fields) -> frozenset[Kind]:
    """Levels and kinds whose number of caches lscpu does not tell."""
    sizes = ((_NAME.fullmatch(name), parse_size(value)) for name, value in fields)
    return frozenset(
        (int(found.group(1)), _KINDS[found.group(2)])
        for found, size in sizes
        if found and size and size.instances is None
    )


def caches_from_sysfs(files: Mapping[str, str], cpus: int) -> tuple[Cache, ...]:
    """From .../cpuN/cache/indexM/{level,type,size,shared_cpu_list} of one CPU of the machine."""
    indexes: dict[str, dict[str, str]] = {}
    for path, text in files.items():
        found = _INDEX.fullmatch(path)
        if found:
            indexes.setdefault(found.group(1), {})[found.group(2)] = text.strip()
    caches = []
    for entry in indexes.values():
        size, level = parse_size(entry.get("size", "")), entry.get("level", "")
        shared = len(parse_cpulist(entry.get("shared_cpu_list", "")) or (0,))
        if size is not None and re.fullmatch("[1-9]", level):
            kind = entry.get("type", "Unified").lower()
            caches.append(Cache(int(level), kind, size.size_bytes, max(1, cpus // shared)))
    return tuple(caches)


def merge(
    sysfs: tuple[Cache, ...], lscpu: tuple[Cache, ...], guessed: Collection[Kind] = ()
) -> tuple[Cache, ...]:
    """sysfs knows the size of one (a hybrid's sum cannot be divided), lscpu counts all.

    Of `guessed` lscpu told no count; who shares one CPU's cache tells more then.
    """
    counted = {(cache.level, cache.kind): cache for cache in lscpu}
    merged = dict(counted)
    for cache in sysfs:
        key = (cache.level, cache.kind)
        told = key in counted and key not in guessed
        instances = counted[key].instances if told else cache.instances
        merged[key] = Cache(cache.level, cache.kind, cache.size_bytes, instances)
    return tuple(merged[key] for key in sorted(merged))


def _instances(size: Size, guess: int) -> int:
    return max(1, size.instances if size.instances is not None else guess)
