"""Huge pages: the pools of hugetlbfs, one a page size."""

from __future__ import annotations

import re
from collections.abc import Mapping

from hpcagent.probe.node import HugePagePool

_PATH = re.compile(r".*/hugepages-([0-9]{1,12})kB/(\w+)_hugepages")
_COUNT = re.compile(r"[0-9]{1,15}")


def parse_pools(files: Mapping[str, str]) -> tuple[HugePagePool, ...]:
    """From .../hugepages-2048kB/{nr,free,nr_overcommit}_hugepages, small pages first."""
    pools: dict[int, dict[str, int]] = {}
    for path, text in files.items():
        found, word = _PATH.fullmatch(path), text.strip()
        if found and _COUNT.fullmatch(word):
            pools.setdefault(int(found.group(1)), {})[found.group(2)] = int(word)
    return tuple(
        HugePagePool(size * 1024, x["nr"], x.get("free", 0), x.get("nr_overcommit", 0))
        for size, x in sorted(pools.items())
        if "nr" in x and size
    )
