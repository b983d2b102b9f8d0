"""What this process may use for a model, read now."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator, Mapping
from pathlib import Path

from hpcagent.llm.memory import Room, room
from hpcagent.llm.threads import texts
from hpcagent.probe.collect import cgroup_files

_MEMINFO = "/proc/meminfo"
_USAGE = ("memory.current", "memory.usage_in_bytes", "memory.stat")
# Device files that a driver makes: where one is there, a build for it may see more memory.
_GPUS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dri")


def room_here(
    environment: Mapping[str, str], held: int = 0, twice: int = 0, paged: int = 0
) -> Room:
    """Bytes that may be used now; `held`, `twice` and `paged` as memory.room has them."""
    read = texts([_MEMINFO])
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    files = texts(_memory_files())
    return room(read.get(_MEMINFO, ""), files, environment, limit, held, twice, paged)


def gpu_here() -> bool:
    return any(Path(path).exists() for path in _GPUS)


def _memory_files() -> Iterator[str]:
    for path in cgroup_files():
        folder, name = os.path.split(path)
        if name.startswith("memory."):
            yield path
            yield from (f"{folder}/{usage}" for usage in _USAGE)
