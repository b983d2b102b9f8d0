"""How many threads a model computes with: what this process was given, not what the machine has."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hpcagent.probe.collect import cgroup_files
from hpcagent.probe.procfs import cpu_quota_cores
from hpcagent.probe.values import parse_cpulist

# Two threads on busy cores made a model of 60 MB 4.6 times slower: each token waits for both.
SMALL_BYTES = 100_000_000
_TOPOLOGY = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
_MOST = 1024


@dataclass(frozen=True)
class Allocation:
    """What this process may use: CPUs, the siblings of each where known, and smaller bounds.

    `bounds` are (CPUs, where that comes from); a bound of the scheduler counts hardware threads.
    """

    cpus: frozenset[int]
    siblings: Mapping[int, frozenset[int]]
    bounds: tuple[tuple[float, str], ...] = ()

    @property
    def cores(self) -> int:
        """Physical cores among the CPUs; a CPU whose siblings are not known counts as one."""
        alone = {cpu: self.siblings.get(cpu, frozenset((cpu,))) & self.cpus for cpu in self.cpus}
        return max(1, len({min(group, default=cpu) for cpu, group in alone.items()}))


@dataclass(frozen=True)
class Threads:
    count: int
    why: str


def choose(size_bytes: int, given: Allocation, configured: int = 0) -> Threads:
    """Threads for a model of `size_bytes`; `configured` (0: none) wins up to the affinity mask."""
    most = max(1, min(len(given.cpus), _MOST))
    if configured:
        cut = f", cut to the {most} CPUs this process may use" if configured > most else ""
        return Threads(min(configured, most), f"configured: {configured}{cut}")
    if size_bytes < SMALL_BYTES:
        return Threads(1, "a small model: more threads would wait for each other")
    choices = [(float(given.cores), "physical cores of the affinity mask"), *given.bounds]
    count, why = min(choices, key=lambda choice: choice[0])
    return Threads(max(1, min(int(count), _MOST)), why)


def bounds(environment: Mapping[str, str], quota: float | None) -> tuple[tuple[float, str], ...]:
    """Of the job's allocation and of the cgroup; OMP_NUM_THREADS is about other programs."""
    found = [] if quota is None else [(quota, "CPU quota of the cgroup")]
    names = ["SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE"] if "SLURM_JOB_ID" in environment else []
    names += ["NCPUS", "PBS_NCPUS"] if "PBS_JOBID" in environment else []
    for name in names:
        text = environment.get(name, "")
        if text.isdecimal() and 0 < int(text) < 1 << 20:
            found.append((float(text), name))
    return tuple(found)


def here(environment: Mapping[str, str]) -> Allocation:
    """What this process was given, read now."""
    cpus = frozenset(os.sched_getaffinity(0))
    siblings = {cpu: _siblings(cpu) for cpu in cpus}
    quota = cpu_quota_cores(texts(cgroup_files()))
    known = {cpu: group for cpu, group in siblings.items() if group}
    return Allocation(cpus, known, bounds(environment, quota))


def texts(paths: Iterable[str]) -> dict[str, str]:
    """The files that can be read, by path."""
    found = {}
    for path in paths:
        try:
            found[path] = Path(path).read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
    return found


def _siblings(cpu: int) -> frozenset[int]:
    read = texts([_TOPOLOGY.format(cpu)])
    return frozenset(parse_cpulist("".join(read.values())) or ())
