"""The cache hierarchy, from sysfs where the kernel tells it, else from lscpu's sums."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from hpcagent.probe.lscpu import Fields
from hpcagent.probe.rawfacts import RawFacts
from hpcagent.probe.values import Size, parse_cpulist, parse_size
from hpcagent.records import Cache

Kind = tuple[int, str]
FILES = r"/sys/devices/system/cpu/cpu[0-9]+/cache/index[0-9]+/\w+"

_NAME = re.compile(r"L([1-9])([di]?)(?: cache)?")
_KINDS = {"d": "data", "i": "instruction", "": "unified"}
_INDEX = re.compile(r".*/cpu([0-9]{1,6})/cache/(index[0-9]+)/(level|type|size|shared_cpu_list)")


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


def caches_from_sysfs(
    files: Mapping[str, str], cpus: int, kinds: Sequence[Sequence[int]] = ()
) -> tuple[tuple[Cache, int], ...]:
    """Each with the number of CPUs that share one, from
    .../cpuN/cache/indexM/{level,type,size,shared_cpu_list} of one CPU of each of the `kinds`, or
    of one where the machine's `cpus` are all alike.

    What kinds of cores have several sizes of is there several times.
    """
    counted: dict[tuple[int, str, int, int], int] = {}
    for cpu, entry in _entries(files):
        size, level = parse_size(entry.get("size", "")), entry.get("level", "")
        shared = len(parse_cpulist(entry.get("shared_cpu_list", "")) or (0,))
        of_kind = next((len(kind) for kind in kinds if kind[0] == cpu), 0 if kinds else cpus)
        if size is not None and re.fullmatch("[1-9]", level) and of_kind:
            key = (int(level), entry.get("type", "Unified").lower(), size.size_bytes, shared)
            counted[key] = counted.get(key, 0) + of_kind
    return tuple(
        (Cache(level, kind, size, max(1, count // shared)), shared)
        for (level, kind, size, shared), count in counted.items()
    )


def _entries(files: Mapping[str, str]) -> Iterator[tuple[int, dict[str, str]]]:
    """What is told of each cache, with the CPU it is told of."""
    entries: dict[tuple[str, str], dict[str, str]] = {}
    for path, text in files.items():
        found = _INDEX.fullmatch(path)
        if found:
            entries.setdefault((found[1], found[2]), {})[found[3]] = text.strip()
    for (cpu, _), entry in entries.items():
        yield int(cpu), entry


def kinds_of(raw: RawFacts) -> tuple[tuple[int, ...], ...]:
    """CPUs by the sizes of their caches, as collect.py found them; none where all are alike."""
    listed = raw.data.get("cache_kinds")
    rows = listed if isinstance(listed, list) else []
    kinds = [tuple(row) for row in rows if isinstance(row, list) and row]
    known = all(type(cpu) is int and cpu >= 0 for kind in kinds for cpu in kind)
    return tuple(kinds) if known and len(kinds) > 1 else ()


def merge(
    sysfs: tuple[Cache, ...], lscpu: tuple[Cache, ...], guessed: Collection[Kind] = ()
) -> tuple[Cache, ...]:
    """sysfs knows the size of one (a hybrid's sum cannot be divided), lscpu counts all.

    Of what there are several sizes sysfs counts each. Of `guessed` lscpu told no count; who
    shares one CPU's cache tells more then.
    """
    counted = {(cache.level, cache.kind): cache for cache in lscpu}
    sizes = Counter((cache.level, cache.kind) for cache in sysfs)
    merged = {key: [cache] for key, cache in counted.items() if key not in sizes}
    for cache in sysfs:
        key = (cache.level, cache.kind)
        if sizes[key] == 1 and key in counted and key not in guessed:
            cache = replace(cache, instances=counted[key].instances)
        merged.setdefault(key, []).append(cache)
    return tuple(cache for key in sorted(merged) for cache in merged[key])


def _instances(size: Size, guess: int) -> int:
    return max(1, size.instances if size.instances is not None else guess)
