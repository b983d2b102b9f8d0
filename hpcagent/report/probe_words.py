"""The facts of a node in words: labels, numbers with their units, one line an adapter or folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from hpcagent.probe.node import (
    CacheLevel,
    FabricPort,
    Fact,
    FileSystem,
    Gpu,
    HugePagePool,
    Noun,
    NumaNode,
)
from hpcagent.probe.values import format_cpulist
from hpcagent.report import wording

_LABELS = {
    "cpu_model": "model",
    "not_microarchitecture": "which it is not",
    "compiler_native": "compiler's choice",
    "cpus": "CPUs",
    "offline_cpus": "CPUs offline",
    "isolated_cpus": "CPUs isolated",
    "smt": "SMT control",
    "siblings": "CPUs of each core",
    "numa": "NUMA nodes",
    "numa_balancing": "NUMA balancing",
    "agreement": "sources agree",
    "memory": "in all",
    "memory_limit": "limit",
    "transparent_huge_pages": "transparent huge pages",
    "huge_page_pools": "huge page pools",
    "bound_double": "bound (double)",
    "bound_single": "bound (single)",
    "memory_bandwidth": "memory bandwidth",
    "peak_double_core": "peak (double, a core)",
    "peak_double": "peak (double)",
    "peak_single": "peak (single)",
    "cpus_allowed": "CPUs allowed",
    "cpu_quota": "CPU quota",
    "limit_as": "address space",
    "limit_memlock": "ulimit -l (memlock)",
    "limit_stack": "ulimit -s (stack)",
    "limit_nofile": "ulimit -n (nofile)",
    "limit_core": "ulimit -c (core)",
    "limit_nproc": "ulimit -u (nproc)",
    "gpus": "GPUs",
    "visible_gpus": "visible",
    "msr": "MSR device",
    "file_systems": "folders",
    "srun_mpi": "srun --mpi",
    "srun_mpi_default": "srun's default",
}
_RATES = ("B/s", "FLOP/s")
_MOST = 16


def label(name: str) -> str:
    return _LABELS.get(name, name.replace("_", " "))


def lines_of(fact: Fact) -> tuple[str, ...]:
    """The value, one line for each thing that it lists."""
    value = fact.value
    if not isinstance(value, tuple):
        return (_scalar(value, fact.unit),)
    words = _each(value)
    if fact.name == "srun_mpi":
        return (", ".join(words),)
    if fact.name == "siblings" and len(words) > 4:
        return ("; ".join(words[:3]) + f"; ... {words[-1]}",)
    if len(words) > _MOST:
        words = (*words[:_MOST], f"and {len(words) - _MOST} more")
    return words


def short_source(source: str, length: int = 28) -> str:
    """A path by its last two names or one: the whole one is in the JSON form."""
    if source.startswith("/") and " " not in source:
        parts = source.split("/")
        tails = [source, "/".join(parts[-2:]), parts[-1]]
        source = next((tail for tail in tails if len(tail) <= length), tails[-1])
    return wording.middle(wording.visible(source), length)


def _scalar(value: str | int | float | bool, unit: str) -> str:
    if isinstance(value, str):
        return value
    if unit == "B":
        return wording.size(int(value))
    if unit in _RATES:
        return _rate(float(value), unit)
    number = f"{value:g}" if isinstance(value, float) else str(value)
    return f"{number} {unit}".rstrip()


def _rate(value: float, unit: str) -> str:
    """In G or T (powers of ten), four digits."""
    return f"{value / 1e12:.4g} T{unit}" if value >= 1e13 else f"{value / 1e9:.4g} G{unit}"


def _each(values: Sequence[str] | Sequence[Noun]) -> tuple[str, ...]:
    gpus = [value for value in values if isinstance(value, Gpu)]
    if gpus:
        return _gpus(gpus)
    return tuple(value if isinstance(value, str) else _noun(value) for value in values)


def _noun(value: Noun) -> str:
    match value:
        case CacheLevel():
            line = f", {value.line_bytes}-byte lines" if value.line_bytes else ""
            size = wording.size(value.size_bytes)
            kind = "" if value.kind == "unified" else f" {value.kind}"
            shared = wording.plural(value.shared_by, "CPU")
            return f"L{value.level}{kind}: {value.instances} x {size} for {shared} each{line}"
        case NumaNode():
            return _numa(value)
        case HugePagePool():
            more = f", {value.overcommit} on demand" if value.overcommit else ""
            return f"{wording.size(value.page_bytes)}: {value.free} of {value.pages} free{more}"
        case FileSystem():
            return _file_system(value)
        case FabricPort():
            rate = f", {value.rate_gbit_s:g} Gbit/s" if value.rate_gbit_s else ""
            firmware = f", firmware {value.firmware}" if value.firmware else ""
            return f"{value.device} port {value.port}: {value.kind} {value.state}{rate}{firmware}"
        case Gpu():
            return _gpu(value)


def _numa(node: NumaNode) -> str:
    cpus = f"CPUs {format_cpulist(node.cpus)}" if node.cpus else "no CPUs"
    words = [f"{node.id}: {cpus}"]
    if node.memory_bytes is not None:
        words.append(wording.size(node.memory_bytes))
    if len(node.distances) > 1:
        words.append("distances " + " ".join(map(str, node.distances)))
    return ", ".join(words)


def _file_system(place: FileSystem) -> str:
    kinds = {True: "shared", False: "node-local", None: "shared or not: unknown"}
    mount = "" if place.mount == place.path else f" on {place.mount}"
    words = f"{place.role}: {place.path}{mount} ({place.kind}, {kinds[place.shared]})"
    if place.free_bytes is not None:
        words += f", {wording.size(place.free_bytes)} free of {wording.size(place.size_bytes)}"
    if place.quota_bytes is not None and place.quota_used_bytes is not None:
        used = wording.size(place.quota_used_bytes)
        words += f", quota {used} of {wording.size(place.quota_bytes)} used"
    return words + (", read only" if place.read_only else "")


def _gpus(gpus: Sequence[Gpu]) -> tuple[str, ...]:
    """Equal ones in one line."""
    counts = Counter(_gpu(gpu) for gpu in gpus)
    return tuple(f"{count} x {words}" for words, count in counts.items())


def _gpu(gpu: Gpu) -> str:
    words = [gpu.model or f"unnamed {gpu.vendor} GPU"]
    if gpu.memory_bytes is not None:
        words.append(wording.size(gpu.memory_bytes))
    if gpu.capability:
        kind = "compute capability " if gpu.vendor == "nvidia" else ""
        words.append(kind + gpu.capability)
    if gpu.driver:
        words.append(f"driver {gpu.driver}")
    return ", ".join(words) + (", in MIG slices" if gpu.mig else "")
