"""Queues and hosts of a PBS as a catalogue: `qstat -Q -f`, `pbsnodes -av`, `qstat -B -f`.

PBS counts CPUs as its nodes were told to (`ncpus`) and does not say whether one is a core or a
thread of a core. Resources of a site (`resources_available.NAME`) are what other systems call
features; a GPU is counted in `ngpus`. Attributes: PBS Professional Reference Guide, chapter 6.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from hpcagent.catalogue import Bounds, Catalogue, Gpu, NodeType, Partition
from hpcagent.schedulers import pbs_places
from hpcagent.schedulers.pbs_places import seconds, size_bytes
from hpcagent.schedulers.pbs_text import NODE, QUEUE, SERVER, Block, blocks, one_line

_AVAILABLE = "resources_available."
_KIB = 1024
# Resources of PBS itself (pbs_resources(7B)) that say nothing of what kind of node it is.
_OWN = frozenset((
    "arch", "host", "vnode", "ncpus", "mem", "vmem", "ngpus", "naccelerators", "accelerator_memory",
    "accelerator_model", "hbmem", "nodect", "nodes", "mpiprocs", "ompthreads", "Qlist",
    "hpcbp_enable", "hpcbp_stage_protocol", "hpcbp_user_name", "hpcbp_webservice_address",
))  # fmt: skip
_LIMITS = ("max_run", "max_run_res", "max_queued", "max_queued_res", "max_running", "max_user_run",
           "acl_groups", "acl_hosts")  # fmt: skip
_EXCLUSIVE = re.compile(r"(?:force|default)_excl(?:host)?")
_NO_ACCOUNTS = "PBS keeps no list of accounts that a user may ask for"
_NO_CORES = "PBS does not say whether a CPU (ncpus) is a core or a hardware thread"


def catalogue(queues_text: str, nodes_text: str, server_text: str, user: str) -> Catalogue:
    """The queues with the hosts that each can send jobs to; `user` is who access is told for."""
    nodes = blocks(nodes_text, NODE)
    servers = blocks(server_text, SERVER)
    default = servers[0].get("default_queue") if servers else ""
    queues = blocks(queues_text, QUEUE)
    return Catalogue(
        "pbs",
        tuple(
            _partition(queue, _behind(queue, queues, user), nodes, queue.name == default, user)
            for queue in queues
        ),
        memory_unit_bytes=_KIB,
        chunked=True,
        missing={"accounts": _NO_ACCOUNTS, "cores": _NO_CORES},
    )


def _behind(queue: Block, queues: Sequence[Block], user: str) -> tuple[Block, ...]:
    """The queues that take jobs from this routing queue alone (`from_route_only`)."""
    names = {name.strip() for name in queue.get("route_destinations").split(",")}
    return tuple(
        one
        for one in queues
        if queue.get("queue_type") == "Route"
        and one.name in names
        and one.get("from_route_only") == "True"
        and not pbs_places.closed(one, user)
    )


def _partition(
    queue: Block, behind: Sequence[Block], nodes: Sequence[Block], default: bool, user: str
) -> Partition:
    """`behind` stands in for a routing queue whose queues cannot be asked for themselves."""
    route = queue.get("queue_type") == "Route"
    places = behind if route else (queue,)
    found = {
        node.name: node
        for place in places
        for node in _chosen(place, pbs_places.nodes_of(place.name, nodes))
    }
    mine = list(found.values())
    hosts = {
        host: parts
        for host, parts in pbs_places.hosts(mine).items()
        if pbs_places.host_size(parts)[0] > 0
    }
    types = _grouped(hosts)
    why_not = _why_not(queue, types, user, routed=bool(behind))
    told = (key for key in queue.attributes if key in _LIMITS or key.startswith("resources_min."))
    limits = (f"{key}={one_line(queue.get(key))}" for key in told)
    routes = (one_line(queue.get("route_destinations")),) if route else ()
    return Partition(
        queue.name,
        types,
        bounds=_routed(_bounds(queue), [_bounds(one) for one in behind]),
        default=default,
        available=not why_not,
        why_not=why_not,
        whole_nodes=bool(mine) and all(_EXCLUSIVE.fullmatch(n.get("sharing")) for n in mine),
        limits=(*limits, *(f"route_destinations={text}" for text in routes if text)),
    )


def _why_not(queue: Block, types: Sequence[NodeType], user: str, *, routed: bool) -> str:
    closed = pbs_places.closed(queue, user)
    if closed:
        return closed
    if queue.get("from_route_only") == "True":
        return "it takes jobs from routing queues only"
    if queue.get("queue_type") == "Route" and not routed:
        return "it passes jobs on to other queues: choose one of those"
    if not types:
        return "no node takes its jobs"
    return "" if any(one.up for one in types) else "every node of it is down"


def _chosen(queue: Block, nodes: Sequence[Block]) -> list[Block]:
    """Nodes that have what the queue asks for in every chunk (`default_chunk.Qlist = gpuq`)."""
    asked = {
        name.removeprefix("default_chunk."): value
        for name, value in queue.attributes.items()
        if name.startswith("default_chunk.")
    }
    plain = {name: value for name, value in asked.items() if name not in _OWN or name == "Qlist"}
    return [
        node
        for node in nodes
        if all(value in node.get(_AVAILABLE + name).split(",") for name, value in plain.items())
    ]


def _grouped(hosts: Mapping[str, Sequence[Block]]) -> tuple[NodeType, ...]:
    groups: dict[tuple[object, ...], list[str]] = {}
    for host, parts in hosts.items():
        groups.setdefault(
            (*pbs_places.host_size(parts), _gpus(parts), _features(parts)), []
        ).append(host)
    return tuple(_group(names, hosts) for names in groups.values())


def _group(names: Sequence[str], hosts: Mapping[str, Sequence[Block]]) -> NodeType:
    parts = hosts[names[0]]
    cpus, memory = pbs_places.host_size(parts)
    states = Counter(_state(hosts[name]) for name in names)
    return NodeType(
        nodes=tuple(names),
        up=sum(not any(map(pbs_places.is_away, hosts[name])) for name in names),
        schedulable_cpus=cpus,
        memory_bytes=memory or None,
        gpus=_gpus(parts),
        features=_features(parts),
        states=tuple(states.items()),
    )


def _state(parts: Sequence[Block]) -> str:
    """The state of a host: that of a part that is away, else of the first."""
    away = next((part for part in parts if pbs_places.is_away(part)), parts[0])
    return one_line(away.get("state")) or "unknown"


def _gpus(parts: Sequence[Block]) -> tuple[Gpu, ...]:
    counts = [part.get(f"{_AVAILABLE}ngpus") for part in parts]
    count = sum(int(text) for text in counts if re.fullmatch("[0-9]{1,6}", text))
    kinds = {part.get(f"{_AVAILABLE}accelerator_model") for part in parts} - {""}
    return (Gpu(one_line(kinds.pop()) if len(kinds) == 1 else "", count, "ngpus"),) if count else ()


def _features(parts: Sequence[Block]) -> tuple[str, ...]:
    """`NAME=VALUE` of resources that are no amounts, as a chunk asks for them."""
    found: dict[str, None] = {}
    for part in parts:
        for name, value in part.attributes.items():
            resource = name.removeprefix(_AVAILABLE)
            if resource == name or resource in _OWN or _is_amount(value):
                continue
            found |= dict.fromkeys(f"{resource}={one}" for one in one_line(value).split(",") if one)
    return tuple(found)


def _is_amount(value: str) -> bool:
    return size_bytes(value) is not None or re.fullmatch(r"[0-9.+-]+", value) is not None


def _bounds(queue: Block) -> Bounds:
    return Bounds(
        max_walltime_s=seconds(queue.get("resources_max.walltime")),
        default_walltime_s=seconds(queue.get("resources_default.walltime")),
        min_nodes=_count(queue.get("resources_min.nodect")) or 1,
        max_nodes=_count(queue.get("resources_max.nodect")),
        max_cpus=_count(queue.get("resources_max.ncpus")),
        max_gpus=_count(queue.get("resources_max.ngpus")),
        max_memory_bytes=size_bytes(queue.get("resources_max.mem")),
    )


def _routed(own: Bounds, behind: Sequence[Bounds]) -> Bounds:
    """What the queues behind a routing queue allow between them, where it does not say itself."""
    if not behind:
        return own

    def most(said: int | None, *others: int | None) -> int | None:
        known = [one for one in others if one is not None]
        return said if said is not None or len(known) < len(others) else max(known)

    return replace(
        own,
        max_walltime_s=most(own.max_walltime_s, *(one.max_walltime_s for one in behind)),
        min_nodes=max(own.min_nodes, min(one.min_nodes for one in behind)),
        max_nodes=most(own.max_nodes, *(one.max_nodes for one in behind)),
        max_cpus=most(own.max_cpus, *(one.max_cpus for one in behind)),
        max_gpus=most(own.max_gpus, *(one.max_gpus for one in behind)),
    )


def _count(text: str) -> int | None:
    return int(text) if re.fullmatch("[0-9]{1,9}", text) else None
