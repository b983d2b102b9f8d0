"""This machine as a catalogue of one partition, from what the operating system tells."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from hpcagent.catalogue import Catalogue, NodeType, Partition

_SYSTEM = Path("/sys/devices/system/cpu")


def this_machine() -> Catalogue:
    """What this process may use here: the queue gives out CPUs, and nothing else."""
    allowed = sorted(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return catalogue(socket.gethostname(), siblings(_SYSTEM, allowed), memory)


def siblings(system: Path, allowed: list[int]) -> dict[int, str]:
    """Allowed CPUs, and the name of the core that each belongs to (empty: not told)."""
    return {cpu: _read(system / f"cpu{cpu}/topology/thread_siblings_list") for cpu in allowed}


def catalogue(host: str, core_of: dict[int, str], memory_bytes: int) -> Catalogue:
    """One node whose CPUs are those of `core_of`; one job has it at a time."""
    cpus, missing = len(core_of), {"gpus": "the local queue gives out CPUs only"}
    cores = len(set(core_of.values())) if all(core_of.values()) else None
    if cores is None:
        missing["cores"] = "the kernel does not tell which CPUs share a core"
    even = cores is not None and cpus % cores == 0
    node = NodeType(
        nodes=(host,),
        up=1,
        schedulable_cpus=cpus,
        cpus_per_core=cpus // cores if cores and even else 1,
        physical_cores=cores,
        threads_per_core=cpus // cores if cores and even else None,
        memory_bytes=memory_bytes if memory_bytes > 0 else None,
        states=(("up", 1),),
    )
    only = Partition("local", (node,), default=True, whole_nodes=False)
    return Catalogue("local", (only,), missing=missing)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
