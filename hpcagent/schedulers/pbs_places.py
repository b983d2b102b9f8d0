"""Queues and nodes as PBS describes them: `qstat -Q -f`, `pbsnodes -a`, `qstat -B -f`."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hpcagent.records import Queue
from hpcagent.schedulers.pbs_text import NODE, QUEUE, SERVER, Block, blocks, one_line

# Words in a node's state with which it takes no job, now or until an operator acts.
_AWAY = frozenset(
    ("down", "offline", "stale", "state-unknown", "unresolvable", "maintenance", "Stale")
)
_SIZE = re.compile(r"([0-9]{1,18})([kmgtp]?)([bw]?)", re.IGNORECASE)
_POWER = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_WORD_BYTES = 8  # `w`: words of the server's machine, 64 bits everywhere PBS runs now
_TIME = re.compile(r"(?:(?:([0-9]{1,9}):)?([0-9]{1,9}):)?([0-9]{1,9})(?:\.[0-9]*)?")


def queues(queues_text: str, nodes_text: str, server_text: str, user: str) -> tuple[Queue, ...]:
    """The execution and routing queues, each with the nodes that it can send jobs to.

    Sizes are those of the smallest host that is up (of all, where none is). `user` is who the
    access lists are read for.
    """
    nodes = blocks(nodes_text, NODE)
    servers = blocks(server_text, SERVER)
    default = servers[0].get("default_queue") if servers else ""
    found = (_queue(queue, nodes, default, user) for queue in blocks(queues_text, QUEUE))
    return tuple(queue for queue in found if queue is not None)


def seconds(text: str) -> int | None:
    """`HH:MM:SS`, `MM:SS` or seconds; None for anything else."""
    match = _TIME.fullmatch(text.strip())
    if not match:
        return None
    hours, minutes, rest = (int(part or 0) for part in match.groups())
    return 3600 * hours + 60 * minutes + rest


def size_bytes(text: str) -> int | None:
    """`24684096kb`, `1gb`, `100` (bytes); None for anything else."""
    match = _SIZE.fullmatch(text.strip())
    if not match:
        return None
    number, scale, unit = match.groups()
    size = int(number) * 1024 ** _POWER[scale.lower()]
    return int(size * (_WORD_BYTES if unit.lower() == "w" else 1))


def _queue(queue: Block, nodes: Sequence[Block], default: str, user: str) -> Queue | None:
    mine = hosts(nodes_of(queue.name, nodes))
    up = {host: parts for host, parts in mine.items() if not any(map(is_away, parts))}
    sizes = [host_size(parts) for parts in (up or mine).values()]
    sizes = [size for size in sizes if size[0] > 0]
    if not sizes:
        return None
    why_not = closed(queue, user) or ("" if up else "every node of it is down")
    memory = [size[1] for size in sizes if size[1]]
    return Queue(
        queue.name,
        nodes=len(sizes),
        cpus_per_node=min(size[0] for size in sizes),
        max_walltime_s=seconds(queue.get("resources_max.walltime")),
        memory_bytes=min(memory) if memory else None,
        default=queue.name == default,
        available=not why_not,
        why_not=why_not,
    )


def nodes_of(queue: str, nodes: Sequence[Block]) -> list[Block]:
    """The nodes given to this queue alone; where there are none, those given to no queue."""
    own = [node for node in nodes if node.get("queue") == queue]
    return own or [node for node in nodes if not node.get("queue")]


def hosts(nodes: Sequence[Block]) -> dict[str, list[Block]]:
    """The virtual nodes of each host: a host may be split, by socket for instance."""
    hosts: dict[str, list[Block]] = {}
    for node in nodes:
        hosts.setdefault(node.get("resources_available.host") or node.name, []).append(node)
    return hosts


def is_away(node: Block) -> bool:
    return any(word.strip() in _AWAY for word in node.get("state").split(","))


def host_size(parts: Sequence[Block]) -> tuple[int, int]:
    """CPUs and bytes of memory of a host; a part without CPUs counts for nothing."""
    cpus = [node.get("resources_available.ncpus") for node in parts]
    memory = [size_bytes(node.get("resources_available.mem")) or 0 for node in parts]
    return sum(int(n) for n in cpus if re.fullmatch("[0-9]{1,9}", n)), sum(memory)


def closed(queue: Block, user: str) -> str:
    """Why a queue runs no job of this user; empty where it does."""
    if queue.get("enabled") != "True":
        return "the queue is not enabled: it takes no jobs"
    if queue.get("started") != "True":
        return "the queue is not started: it runs no jobs"
    entries = [entry.strip().lstrip("+") for entry in queue.get("acl_users").split(",")]
    names = {entry.partition("@")[0] for entry in entries}
    if queue.get("acl_user_enable") == "True" and not names & {user, "*"}:
        return f"its access list does not name {one_line(user)}"
    return ""
