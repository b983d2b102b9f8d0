"""Which kind of node raw facts are of: a digest that two nodes alike share, at any time.

Facts that were had once can be shown again for a node whose digest is the same. What changes from
job to job or from minute to minute (load, free memory, clocks, affinity, cgroup limits, names and
serial numbers) has no part in it; hardware, kernel, distribution and drivers have.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from hpcagent.probe import fabric, gpus, numa, procfs
from hpcagent.probe.container import parse_os_release
from hpcagent.probe.look import part_of
from hpcagent.probe.lscpu import parse_cpu_table
from hpcagent.probe.rawfacts import RawFacts

# Lines of /proc/cpuinfo that name a processor; its clock and BogoMIPS vary.
_IDENTITY = (
    *("vendor_id", "cpu family", "model", "model name", "stepping", "flags", "cpu", "revision"),
    *("CPU implementer", "CPU variant", "CPU part", "CPU revision", "Features"),
)
_CACHE = r"/sys/devices/system/cpu/cpu[0-9]+/cache/(index[0-9]+/(?:level|type|size))"
# Identical nodes differ by the pages that their firmware and kernel keep.
_MEMORY_STEP = 1 << 30


def facts_digest(facts: Mapping[str, Any]) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of what identifies the node's type."""
    text = json.dumps(identity(facts), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def with_earlier(facts: Mapping[str, Any], earlier: Mapping[str, Any]) -> Mapping[str, Any]:
    """The facts with the rates that were measured earlier on a node of the same type.

    Unchanged where they have measured ones of their own, or the earlier ones are of another type
    of node. Measured rates carry their date (`t_utc`), which their facts then show.
    """
    node, before = (part_of(raw, "node").data for raw in (facts, earlier))
    measured = before.get("measured")
    if not node or node.get("measured") or not isinstance(measured, Mapping):
        return facts
    if facts_digest(facts) != facts_digest(earlier):
        return facts
    parts = RawFacts(facts).section("parts")
    return {**facts, "parts": {**parts, "node": {**node, "measured": measured}}}


def identity(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What the digest is of, as JSON values; facts.json of collect.py, with its part `node`."""
    base = RawFacts(facts)
    node = part_of(facts, "node")
    uname = base.section("uname")
    return {
        "machine": [str(uname.get(name, "")) for name in ("machine", "release")],
        "glibc": str(facts.get("glibc") or ""),
        "system": parse_os_release(node.text("/etc/os-release") or ""),
        "processors": _processors(base.text("/proc/cpuinfo") or ""),
        "cpus": [
            (cpu.id, cpu.core, cpu.socket, cpu.numa_node)
            for cpu in parse_cpu_table(base.stdout("lscpu_parse") or "")
        ],
        "caches": _caches(base),
        "memory": _rounded(procfs.parse_kib_field(base.text("/proc/meminfo") or "", "MemTotal")),
        "distances": [
            (n.id, n.distances) for n in numa.nodes_from_sysfs(node.texts(r".*/node\d+/distance"))
        ],
        "gpus": _gpus(node),
        "fabric": _fabric(node),
    }


def _processors(text: str) -> list[list[str]]:
    kinds = [[block.get(name, "") for name in _IDENTITY] for block in procfs.parse_cpuinfo(text)]
    return sorted(kinds)


def _caches(base: RawFacts) -> list[list[str]]:
    """By index only: which CPU of a kind was looked at depends on the job's mask."""
    places = ((re.fullmatch(_CACHE, path), text) for path, text in base.texts(_CACHE).items())
    return [list(row) for row in sorted({(at[1], text.strip()) for at, text in places if at})]


def _rounded(memory: int | None) -> int | None:
    return None if memory is None else round(memory / _MEMORY_STEP)


def _gpus(node: RawFacts) -> list[list[Any]]:
    """Of all, hidden ones (CUDA_VISIBLE_DEVICES) included: nvidia-smi and sysfs show them."""
    told = gpus.parse_nvidia_smi(node.stdout("nvidia_smi") or "")
    told += gpus.parse_rocm_smi(node.stdout("rocm_smi") or "")
    told += gpus.parse_xpu_smi(node.stdout("xpu_smi") or "")
    told = told or gpus.gpus_from_pci(node.texts(r"/sys/bus/pci/devices/.*"))
    return [[gpu.vendor, gpu.model, gpu.memory_bytes, gpu.driver, gpu.mig] for gpu in told]


def _fabric(node: RawFacts) -> list[list[Any]]:
    """Adapters and rates; a port's state changes with a cable."""
    ports = fabric.ports_from_sysfs(node.texts(r"/sys/class/(infiniband|cxi)/.*"))
    return [[port.device, port.port, port.kind, port.board, port.firmware] for port in ports]
