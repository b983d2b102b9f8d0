"""Nodes as `scontrol --oneliner show node` tells of them, grouped by what they are: pure functions.

The words are those of scontrol(1) and of slurm.conf(5), 20.11 to 25.11.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from hpcagent.catalogue import Gpu, NodeType

MIB = 2**20
_NOTHING = frozenset({"", "(null)", "N/A", "n/a", "NONE", "None", "none"})
# With these in its state a node takes no job, now or until somebody acts. Those that sleep or wake
# (POWERED_DOWN, POWERING_UP, CLOUD), and those planned or reserved for somebody, do.
_AWAY = frozenset((
    "DOWN", "DRAIN", "DRAINED", "DRAINING", "ERROR", "FAIL", "FAILING", "FUTURE", "INVAL",
    "INVALID", "INVALID_REG", "MAINT", "MAINTENANCE", "NOT_RESPONDING", "NO_RESPOND",
    "REBOOT_ISSUED", "UNKNOWN",
))  # fmt: skip
# Marks behind a state that sinfo(1) explains, and the older scontrol prints too.
_MARKS: Mapping[str, str] = MappingProxyType({
    "*": "NOT_RESPONDING", "~": "POWERED_DOWN", "#": "POWERING_UP", "!": "POWER_DOWN",
    "%": "POWERING_DOWN", "$": "MAINT", "@": "REBOOT", "^": "REBOOT_ISSUED", "-": "PLANNED",
})  # fmt: skip
_COUNT = re.compile(r"([0-9]{1,12})([KMGTP]?)")
_POWER: Mapping[str, int] = MappingProxyType({"": 0, "K": 1, "M": 2, "G": 3, "T": 4, "P": 5})


@dataclass(frozen=True)
class Node:
    """One node: its partitions, its state, and what it is, `type` being a group of one."""

    name: str
    partitions: tuple[str, ...]
    word: str
    up: bool
    type: NodeType


def fields(line: str) -> dict[str, str]:
    """KEY=VALUE words; of two of one name the first counts, so that free text replaces nothing."""
    found: dict[str, str] = {}
    for match in re.finditer(r"(?:^| )([A-Za-z_]+)=(\S*)", line):
        found.setdefault(match[1], match[2])
    return found


def words(value: str) -> tuple[str, ...]:
    """A list with commas; empty where Slurm says that there is nothing."""
    return tuple(word for word in value.split(",") if word not in _NOTHING)


def nodes(text: str, select: str) -> tuple[Node, ...]:
    """The nodes of a listing; `select` is SelectTypeParameters, which says what is given out."""
    lines = (line.strip() for line in text.split("\n"))
    found = (_node(fields(line), select) for line in lines if line.startswith("NodeName="))
    return tuple(node for node in found if node is not None)


def _node(told: Mapping[str, str], select: str) -> Node | None:
    total, sockets = _number(told, "CPUTot"), _number(told, "Sockets")
    cores, threads = sockets * _number(told, "CoresPerSocket"), _number(told, "ThreadsPerCore")
    state = told.get("State", "")
    if not (total and told.get("NodeName") and state):
        return None
    # CPUs may be fewer than there are threads: then a CPU is a core (slurm.conf(5), CPUs).
    per_core = threads if cores and threads and total > cores else 1
    usable = _number(told, "CPUEfctv") or total - per_core * _number(told, "CoreSpecCount")
    gpus, generic = gres(told.get("Gres", ""))
    active = words(told.get("ActiveFeatures", "")) or words(told.get("Features", ""))
    memory = _number(told, "RealMemory") - _number(told, "MemSpecLimit")
    up = not _AWAY & set(state_words(state))
    alike = NodeType(
        nodes=(told["NodeName"],),
        up=int(up),
        schedulable_cpus=max(0, usable),
        cpu_unit=_unit(select, per_core, total // sockets if sockets else 1),
        cpus_per_core=per_core,
        physical_cores=cores or None,
        threads_per_core=threads or None,
        sockets=sockets or None,
        # slurm.conf(5): RealMemory is 1 where the site left it alone
        memory_bytes=memory * MIB if memory > 1 else None,
        gpus=gpus,
        generic=generic,
        features=active,
        inactive_features=tuple(
            word for word in words(told.get("AvailableFeatures", "")) if word not in active
        ),
        states=((state, 1),),
    )
    return Node(told["NodeName"], words(told.get("Partitions", "")), state, up, alike)


def _unit(select: str, cpus_per_core: int, cpus_per_socket: int) -> int:
    """CPUs that are given out together: no two jobs share a core whose threads are configured."""
    return max(1, cpus_per_socket) if "CR_SOCKET" in select.upper() else cpus_per_core


def state_words(state: str) -> tuple[str, ...]:
    """`IDLE*+DRAIN` as IDLE, NOT_RESPONDING, DRAIN."""
    found: list[str] = []
    for part in state.upper().split("+"):
        plain = part.rstrip("".join(_MARKS))
        found += [plain, *(_MARKS[mark] for mark in part[len(plain) :])]
    return tuple(found)


def gres(text: str) -> tuple[tuple[Gpu, ...], tuple[str, ...]]:
    """GPUs, and the other generic resources in Slurm's words.

    `gpu:a100:4(S:0-1),gpu:2,nvme:no_consume:1T`: a name, perhaps a type and a count.
    """
    counts: Counter[str] = Counter()
    generic = []
    for word in words(re.sub(r"\([^()]*\)", "", text)):
        parts = [part for part in word.split(":") if part != "no_consume"]
        if parts[0] != "gpu":
            generic.append(word)
            continue
        kind = parts[1] if len(parts) > 1 and not _COUNT.fullmatch(parts[1]) else ""
        counts[kind] += _count(parts[-1]) if len(parts) > (2 if kind else 1) else 1
    found = (Gpu(kind, n, f"gpu:{kind}" if kind else "gpu") for kind, n in counts.items() if n)
    return tuple(found), tuple(generic)


def _count(text: str) -> int:
    match = _COUNT.fullmatch(text)
    return int(match[1]) * 1024 ** _POWER[match[2]] if match else 1


def _number(told: Mapping[str, str], key: str) -> int:
    found = re.fullmatch(r"[0-9]{1,12}", told.get(key, ""))
    return int(found[0]) if found else 0


def grouped(known: Iterable[Node]) -> tuple[NodeType, ...]:
    """Node types, in the order of their first node."""
    groups: dict[NodeType, list[Node]] = {}
    for node in known:
        alike = _without_names(node.type)
        groups.setdefault(alike, []).append(node)
    return tuple(_group(alike, members) for alike, members in groups.items())


def _without_names(one: NodeType) -> NodeType:
    return replace(one, nodes=(), up=0, states=())


def _group(alike: NodeType, members: Sequence[Node]) -> NodeType:
    states = Counter(node.word for node in members)
    return replace(
        alike,
        nodes=tuple(node.name for node in members),
        up=sum(node.up for node in members),
        states=tuple(states.items()),
    )
