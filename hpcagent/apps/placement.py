"""Which CPUs a process of n threads is bound to."""

from __future__ import annotations

from hpcagent.records import Cpu, Machine

POLICIES = ("none", "compact", "spread")


def place(machine: Machine, policy: str, threads: int) -> tuple[int, ...]:
    """CPU ids for `threads` threads, one to a physical core while cores last.

    "compact" fills socket by socket, core by core; "spread" takes the NUMA nodes in turn.
    The empty tuple means no binding: also where it would be all allowed CPUs, which is the same.
    """
    if policy == "none" or threads >= len(machine.cpus_allowed):
        return ()
    ordered = _compact(machine) if policy == "compact" else _spread(machine)
    return tuple(sorted(ordered[:threads]))


def _compact(machine: Machine) -> list[int]:
    """First siblings of all cores first, so that hyper-threads are used last."""
    return [cpu.id for level in _levels(machine) for cpu in level]


def _spread(machine: Machine) -> list[int]:
    """The NUMA nodes in turn; within a node cores at a distance, so that caches are shared late."""
    return [cpu for level in _levels(machine) for cpu in _across_nodes(level)]


def _levels(machine: Machine) -> list[list[Cpu]]:
    """The first hardware threads of all cores, then the second ones, and so on."""
    by_core: dict[tuple[int, int, int], list[Cpu]] = {}
    for cpu in _allowed(machine):
        by_core.setdefault((cpu.socket, cpu.numa_node, cpu.core), []).append(cpu)
    siblings = [sorted(cpus, key=lambda c: c.id) for _, cpus in sorted(by_core.items())]
    depth = max((len(cpus) for cpus in siblings), default=0)
    return [[cpus[i] for cpus in siblings if i < len(cpus)] for i in range(depth)]


def _across_nodes(cpus: list[Cpu]) -> list[int]:
    queues: dict[int, list[int]] = {}
    for cpu in cpus:
        queues.setdefault(cpu.numa_node, []).append(cpu.id)
    lanes = [_apart(ids) for _, ids in sorted(queues.items())]
    longest = max((len(ids) for ids in lanes), default=0)
    return [ids[i] for i in range(longest) for ids in lanes if i < len(ids)]


def _apart(ids: list[int]) -> list[int]:
    """Halves interleaved: 0 4 1 5 2 6 3 7."""
    half = (len(ids) + 1) // 2
    result: list[int] = []
    for index in range(half):
        result.append(ids[index])
        if half + index < len(ids):
            result.append(ids[half + index])
    return result


def _allowed(machine: Machine) -> list[Cpu]:
    allowed = set(machine.cpus_allowed)
    known = [cpu for cpu in machine.cpus if cpu.id in allowed]
    missing = sorted(allowed - {cpu.id for cpu in known})
    return known + [Cpu(id=cpu, core=cpu, socket=0, numa_node=0) for cpu in missing]
