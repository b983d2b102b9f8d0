"""Partitions as `scontrol --oneliner show partition` tells of them: pure functions.

What a partition leaves open the configuration of the whole (`scontrol show config`) may settle.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from hpcagent.catalogue import Access, Bounds, Partition, Qos
from hpcagent.schedulers.slurm_answers import seconds
from hpcagent.schedulers.slurm_nodes import MIB, Node, fields, grouped, nodes, words

# Limits that are not on the size of a job, as the partition names them, and what means "none".
_TOLD: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "MaxCPUsPerSocket": ("UNLIMITED",),
        "AllowGroups": ("ALL",),
        "AllocNodes": ("ALL",),
        "ReqResv": ("NO",),
        "ExclusiveUser": ("NO",),
        "QoS": ("N/A",),
    }
)


def settings(text: str) -> dict[str, str]:
    """`Name = value` lines of `scontrol show config`."""
    found = re.finditer(r"^([A-Za-z]\w*)[ \t]*=[ \t]*(\S*)[ \t]*$", text, re.MULTILINE)
    return {match[1]: match[2] for match in found}


def partitions(
    partitions_text: str, nodes_text: str, config: Mapping[str, str], qos: Sequence[Qos] = ()
) -> tuple[Partition, ...]:
    """The partitions this user sees, in Slurm's order; `qos` are those known, by name."""
    found: list[Partition] = []
    known_qos = {one.name: one for one in qos}
    by_select: dict[str, tuple[Node, ...]] = {}
    for line in partitions_text.split("\n"):
        told = fields(line.strip())
        if not told.get("PartitionName"):
            continue
        own = told.get("SelectTypeParameters", "NONE")
        select = own if own != "NONE" else config.get("SelectTypeParameters", "")
        if select not in by_select:
            by_select[select] = nodes(nodes_text, select)
        partition = _partition(told, by_select[select], config)
        found.append(_under(partition, known_qos.get(told.get("QoS", ""))))
    return tuple(found)


def _partition(
    told: Mapping[str, str], known: Iterable[Node], config: Mapping[str, str]
) -> Partition:
    name = told["PartitionName"]
    types = grouped(node for node in known if name in node.partitions)
    seen = sum(len(one.nodes) for one in types)
    why_not = _why_not(told, sum(one.up for one in types), seen)
    limits = (
        f"{key}={told[key]}" for key, none in _TOLD.items() if told.get(key, none[0]) not in none
    )
    return Partition(
        name,
        types,
        bounds=_bounds(told, config),
        access=Access(
            accounts=_allowed(told, "AllowAccounts"),
            denied_accounts=words(told.get("DenyAccounts", "")),
            qos=_allowed(told, "AllowQos"),
            denied_qos=words(told.get("DenyQos", "")),
        ),
        default=told.get("Default") == "YES",
        available=not why_not,
        why_not=why_not,
        whole_nodes=told.get("OverSubscribe") == "EXCLUSIVE"
        or config.get("SelectType") == "select/linear",
        limits=tuple(limits),
        weights=told.get("TRESBillingWeights", ""),
        unseen=max(0, (_count(told, "TotalNodes") or 0) - seen),
    )


def _why_not(told: Mapping[str, str], up: int, seen: int) -> str:
    state = told.get("State", "UP")
    if state != "UP":
        return f"the partition is {state.lower()}"
    if told.get("RootOnly") == "YES":
        return "it takes jobs of root only"
    return "every node of it is down or drained" if seen and not up else ""


def _bounds(told: Mapping[str, str], config: Mapping[str, str]) -> Bounds:
    return Bounds(
        max_walltime_s=seconds(told.get("MaxTime", "")),
        default_walltime_s=seconds(told.get("DefaultTime", "")),
        min_nodes=max(1, _count(told, "MinNodes") or 1),
        max_nodes=_count(told, "MaxNodes"),
        max_cpus_per_node=_count(told, "MaxCPUsPerNode"),
        max_memory_per_node_bytes=_memory(told, config, "MaxMem", "Node"),
        max_memory_per_cpu_bytes=_memory(told, config, "MaxMem", "CPU"),
        default_memory_per_node_bytes=_memory(told, config, "DefMem", "Node"),
        default_memory_per_cpu_bytes=_memory(told, config, "DefMem", "CPU"),
    )


def _memory(told: Mapping[str, str], config: Mapping[str, str], kind: str, per: str) -> int | None:
    """DefMemPerCPU and its like: of the partition, else of the whole where it has none of a kind.

    A node's and a CPU's exclude each other (slurm.conf(5)).
    """
    own = any(_count(told, f"{kind}Per{other}") for other in ("Node", "CPU"))
    megabytes = _count(told if own else config, f"{kind}Per{per}")
    return megabytes * MIB if megabytes else None


def _allowed(told: Mapping[str, str], key: str) -> tuple[str, ...]:
    value = told.get(key, "ALL")
    return () if value.upper() == "ALL" else words(value)


def _count(told: Mapping[str, str], key: str) -> int | None:
    found = re.fullmatch(r"[0-9]{1,12}", told.get(key, ""))
    return int(found[0]) if found else None


def _under(partition: Partition, qos: Qos | None) -> Partition:
    """The partition under its own QOS, whose limits every job in it is held to as well."""
    if qos is None:
        return partition
    ours, its = partition.bounds, qos.bounds
    bounds = replace(
        ours,
        max_walltime_s=least(ours.max_walltime_s, its.max_walltime_s),
        max_nodes=least(ours.max_nodes, its.max_nodes),
        max_cpus=least(ours.max_cpus, its.max_cpus),
        max_gpus=least(ours.max_gpus, its.max_gpus),
        max_memory_bytes=least(ours.max_memory_bytes, its.max_memory_bytes),
    )
    return replace(partition, bounds=bounds, limits=(*partition.limits, *qos.limits))


def least(*bounds: int | None) -> int | None:
    """The strictest of several bounds."""
    return min((bound for bound in bounds if bound is not None), default=None)
