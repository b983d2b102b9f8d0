"""From what a job needs to what to ask for, exactly: a pure choice from the catalogue.

Cores become the CPUs that the partition counts, in the multiples in which it gives them out; memory
is rounded up to what can be asked for and held against what a node has for jobs. Nothing that is
not certain is promised: a limit that is not told does not bind.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from hpcagent.catalogue import (
    Bounds,
    Catalogue,
    Choice,
    Gpu,
    NodeType,
    Offer,
    Partition,
    Rejection,
    Wanted,
)
from hpcagent.records import Failure, Resources
from hpcagent.schedulers.catalogue_charge import Charge, charges, cost
from hpcagent.schedulers.catalogue_words import counted, hours, more_memory

_ENDLESS = 10**12


@dataclass(frozen=True)
class _Capacity:
    """The most that one job can be given of one node."""

    cpus: int
    memory_bytes: int
    gpu: Gpu | None

    @property
    def gpus(self) -> int:
        return self.gpu.count if self.gpu else 0


def fit(wanted: Wanted, catalogue: Catalogue) -> Choice | Failure:
    """The cheapest exact request, by the site's rates; a Failure tells why each partition does not.

    Where no rate applies, the one that reserves fewest core-hours comes first.
    """
    if min(wanted.cores, wanted.walltime_s, wanted.max_nodes) < 1 or wanted.memory_bytes < 0:
        return Failure("scheduler", "no_such_size", f"a job of this size cannot be: {wanted}")
    offers: list[tuple[tuple[float, ...], Offer]] = []
    rejected: list[Rejection] = []
    for place, partition in enumerate(catalogue.partitions):
        answers = _answers(wanted, partition, catalogue)
        good = _unlike_requests(answer for answer in answers if isinstance(answer, Offer))
        offers += [((*_price(offer), not partition.default, place), offer) for offer in good]
        if not good:
            words = dict.fromkeys(answer for answer in answers if isinstance(answer, str))
            rejected.append(Rejection(partition.name, "; or ".join(words)))
    if not offers:
        return Failure("scheduler", "nothing_fits", _told(rejected))
    first, *others = (offer for _, offer in sorted(offers, key=lambda pair: pair[0]))
    return Choice(first, tuple(others), tuple(rejected))


def _unlike_requests(offers: Iterable[Offer]) -> list[Offer]:
    """One offer for each request: node types of a partition may lead to the same."""
    return list({offer.resources: offer for offer in reversed(list(offers))}.values())[::-1]


def _told(rejected: Sequence[Rejection]) -> str:
    lines = [f"{one.partition}: {one.why}" for one in rejected]
    return "\n".join(lines) or "the batch system shows no partition"


def _price(offer: Offer) -> tuple[float, ...]:
    """What offers are sorted by: known costs first, then idle GPUs, then what is reserved."""
    node = sum(gpu.count for gpu in offer.node_type.gpus)
    idle = offer.resources.nodes * (node - offer.gpus_per_node)
    cores = offer.cpus / offer.node_type.cpus_per_core
    return (float(offer.cost is None), offer.cost or 0.0, float(idle), cores)


# --- a partition ---------------------------------------------------------------------------------


def _answers(wanted: Wanted, partition: Partition, catalogue: Catalogue) -> list[Offer | str]:
    """An offer or a reason for each node type; one reason where the partition will not do."""
    refused = _closed(wanted, partition)
    if refused:
        return [refused]
    bills = charges(wanted, partition, catalogue)
    if isinstance(bills, str):
        return [bills]
    if not partition.node_types:
        return ["it shows no nodes"]
    return [_offer(wanted, partition, one, bills, catalogue) for one in partition.node_types]


def _closed(wanted: Wanted, partition: Partition) -> str:
    bounds = partition.bounds
    if wanted.partitions and partition.name not in wanted.partitions:
        return "not among the partitions asked for"
    if not partition.available:
        return partition.why_not or "it takes no jobs"
    if bounds.max_walltime_s is not None and wanted.walltime_s > bounds.max_walltime_s:
        return f"MaxTime {hours(bounds.max_walltime_s)} < {hours(wanted.walltime_s)} asked"
    if bounds.min_nodes > wanted.max_nodes:
        return f"MinNodes {bounds.min_nodes} > {counted(wanted.max_nodes, 'node')} allowed"
    return ""


# --- a node type ---------------------------------------------------------------------------------


def _offer(
    wanted: Wanted,
    partition: Partition,
    node: NodeType,
    bills: Sequence[Charge],
    catalogue: Catalogue,
) -> Offer | str:
    unlike = _unlike(wanted, node)
    if unlike:
        return unlike
    most = _capacity(wanted, partition, node, catalogue.memory_unit_bytes)
    nodes = _node_count(wanted, partition, node, most)
    if isinstance(nodes, str):
        return nodes
    whole = partition.whole_nodes or wanted.exclusive
    memory = _rounded(-(-wanted.memory_bytes // nodes), catalogue.memory_unit_bytes)
    cpus = most.cpus if whole else _cpus(-(-wanted.cores // nodes), memory, partition, node)
    gpus = -(-wanted.gpus // nodes)
    bill = _billed(partition, bills, (nodes, cpus, memory, gpus))
    if isinstance(bill, str):
        return bill
    resources = Resources(
        walltime_s=wanted.walltime_s,
        nodes=nodes,
        cpus_per_task=cpus,
        memory_bytes=memory or _instead_of_default(partition, cpus, most.memory_bytes),
        partition=partition.name,
        account=bill.account,
        qos=bill.qos,
        exclusive=whole,
    )
    resources = _with_kind(resources, wanted.features, most.gpu, gpus, catalogue.chunked)
    return Offer(partition.name, node, resources, gpus, cost(partition, node, resources, gpus))


def _unlike(wanted: Wanted, node: NodeType) -> str:
    """Why this kind of node is not the kind wanted."""
    lacking = [name for name in wanted.features if name not in node.features]
    asleep = [name for name in lacking if name in node.inactive_features]
    if asleep:
        return f"feature {asleep[0]} is available, but not active"
    if lacking:
        return f"no feature {lacking[0]}"
    if wanted.gpus and not node.gpus:
        return "no GPUs"
    kinds = [gpu.kind for gpu in node.gpus]
    if wanted.gpus and wanted.gpu_kind and wanted.gpu_kind not in kinds:
        return f"no GPUs {wanted.gpu_kind}: {', '.join(kind or 'not told' for kind in kinds)}"
    return "" if node.up else f"{counted(len(node.nodes), 'node')} of this kind, none up"


def _capacity(wanted: Wanted, partition: Partition, node: NodeType, unit: int) -> _Capacity:
    bounds = partition.bounds
    cpus = min(node.schedulable_cpus, _or_endless(bounds.max_cpus_per_node))
    cpus -= cpus % node.cpu_unit
    memory = min(_or_endless(node.memory_bytes), _or_endless(bounds.max_memory_per_node_bytes))
    if bounds.max_memory_per_cpu_bytes is not None:
        memory = min(memory, cpus * bounds.max_memory_per_cpu_bytes)
    kinds = [g for g in node.gpus if wanted.gpu_kind in ("", g.kind)]
    return _Capacity(cpus, memory - memory % unit, max(kinds, key=lambda g: g.count, default=None))


def _or_endless(bound: int | None) -> int:
    return _ENDLESS * 1024**2 if bound is None else bound


def _node_count(wanted: Wanted, partition: Partition, node: NodeType, most: _Capacity) -> int | str:
    """The fewest nodes that hold it all, or why they are too many."""
    cores = most.cpus // node.cpus_per_core
    needs = (
        (wanted.cores, cores, f"{wanted.cores} cores > {cores} schedulable"),
        (wanted.memory_bytes, most.memory_bytes,
         _too_much_memory(wanted.memory_bytes, most.memory_bytes)),
        (wanted.gpus, most.gpus, f"{wanted.gpus} GPUs > {most.gpus}"),
    )  # fmt: skip
    nodes, why = partition.bounds.min_nodes, ""
    for need, holds, words in needs:
        if need and not holds:
            return words
        fewest = -(-need // holds) if need else 1
        if fewest > nodes:
            nodes, why = fewest, words
    if nodes > wanted.max_nodes:
        needs_more = "" if wanted.max_nodes == 1 else f": needs {counted(nodes, 'node')}"
        return f"{why} on a node{needs_more}"
    if nodes > node.up:
        return f"needs {counted(nodes, 'node')}, {node.up} of {len(node.nodes)} are up"
    return nodes


def _too_much_memory(asked: int, most: int) -> str:
    return f"{more_memory(asked, most)} schedulable"


def _rounded(amount: int, unit: int) -> int:
    return -(-amount // unit) * unit


def _cpus(cores: int, memory: int, partition: Partition, node: NodeType) -> int:
    """The CPUs of these cores in units; more where each CPU brings a bounded share of memory."""
    cpus = cores * node.cpus_per_core
    per_cpu = partition.bounds.max_memory_per_cpu_bytes
    if per_cpu:
        cpus = max(cpus, -(-memory // per_cpu))
    return _rounded(cpus, node.cpu_unit)


def _billed(
    partition: Partition, bills: Sequence[Charge], sizes: tuple[int, int, int, int]
) -> Charge | str:
    """The first charge whose QOS, like the partition, allows a job of this size."""
    over = _over(partition.bounds, *sizes)
    if over:
        return over
    for bill in bills:
        reason = _over(bill.bounds, *sizes)
        if not reason:
            return bill
        over = over or f"QOS {bill.qos or 'by default'}: {reason}"
    return over


def _over(bounds: Bounds, nodes: int, cpus: int, memory: int, gpus: int) -> str:
    """Which bound on a whole job is exceeded; sizes are those of one of its nodes."""
    if bounds.max_nodes is not None and nodes > bounds.max_nodes:
        return f"needs {counted(nodes, 'node')}, MaxNodes is {bounds.max_nodes}"
    if nodes * cpus > _or_endless(bounds.max_cpus):
        return f"{nodes * cpus} CPUs > {bounds.max_cpus} a job"
    if nodes * gpus > _or_endless(bounds.max_gpus):
        return f"{nodes * gpus} GPUs > {bounds.max_gpus} a job"
    if bounds.max_memory_bytes is not None and nodes * memory > bounds.max_memory_bytes:
        return f"{more_memory(nodes * memory, bounds.max_memory_bytes)} a job"
    return ""


def _instead_of_default(partition: Partition, cpus: int, most: int) -> int | None:
    """Memory to ask for where the site's default for so many CPUs is more than a node has."""
    bounds = partition.bounds
    default = bounds.default_memory_per_node_bytes or 0
    if bounds.default_memory_per_cpu_bytes:
        default = cpus * bounds.default_memory_per_cpu_bytes
    return most if default > most else None


def _with_kind(
    asked: Resources, features: Sequence[str], gpu: Gpu | None, gpus: int, chunked: bool
) -> Resources:
    """The request with its GPUs and features, in the words of the batch system."""
    resource = gpu.resource if gpu and gpus else ""
    if chunked:
        chunks = [f":{name}" for name in features]
        chunks += [f":{resource}={gpus}"] if resource else []
        return replace(asked, extra=tuple(chunks))
    gres = f"{resource}:{gpus}" if resource else None
    return replace(asked, gres=gres, constraint="&".join(features) or None)
