"""The catalogue of a batch system, and a choice from it, for a terminal of up to 80 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from hpcagent.catalogue import Bounds, Catalogue, Choice, NodeType, Offer, Partition
from hpcagent.records import Failure
from hpcagent.schedulers.catalogue_words import counted, hours, size

_WIDEST, _NARROWEST = 80, 60
_COLUMNS = (("partition", 14), ("up/nodes", 9), ("CPUs", 5), ("cores", 8), ("memory", 8),
            ("GPUs", 14), ("max time", 11))  # fmt: skip
_MOST_NAMES = 12
_INDENT = "    "


def catalogue_text(catalogue: Catalogue, width: int = _WIDEST) -> str:
    """A row for each kind of node of each partition, what binds a job there, and the accounts."""
    columns = max(_NARROWEST, min(width, _WIDEST))
    lines = _row([name for name, _ in _COLUMNS], columns)
    for partition in catalogue.partitions:
        lines += _partition(partition, columns)
    lines += ["", *_accounts(catalogue, columns)]
    for what, why in catalogue.missing.items():
        lines += _wrapped(f"not known  {what}: {why}", columns, "           ")
    lines += _wrapped(
        "CPUs, cores and memory are what a job can be given of one node; 64x2: cores of two "
        "hardware threads; * marks the default.", columns, "",
    )  # fmt: skip
    return "\n".join(line.rstrip() for line in lines) + "\n"


def choice_text(found: Choice | Failure, width: int = _WIDEST) -> str:
    """What to ask for, what else would do, and why the rest does not."""
    columns = max(_NARROWEST, min(width, _WIDEST))
    if isinstance(found, Failure):
        lines = ["Nothing fits.", *_listed(found.evidence.split("\n"), columns)]
        return "\n".join(lines) + "\n"
    lines = [*_wrapped(f"Best: {offer_words(found.offer)}", columns, _INDENT)]
    for offer in found.others:
        lines += _wrapped(f"Else: {offer_words(offer)}", columns, _INDENT)
    if found.rejected:
        lines.append("Not:")
        lines += _listed([f"{one.partition}: {one.why}" for one in found.rejected], columns)
    return "\n".join(lines) + "\n"


def offer_words(offer: Offer) -> str:
    """An exact request in one line: `gpu: 1 node, 32 CPUs (16 cores), gpu:a100:2, 1 h`."""
    asked, node = offer.resources, offer.node_type
    cores = asked.cpus_per_task // node.cpus_per_core
    each = "" if asked.nodes == 1 else " each"
    cpus = f"{counted(asked.cpus_per_task, 'CPU')}{each}"
    if node.physical_cores is not None:
        cpus += f" ({counted(cores, 'core')})"
    words = [counted(asked.nodes, "node"), cpus]
    words += ["whole nodes"] if asked.exclusive else []
    words += [f"{size(asked.memory_bytes)} memory{each}"] if asked.memory_bytes else []
    words += [asked.gres] if asked.gres else []
    words += [f"features {asked.constraint}"] if asked.constraint else []
    words += [word.lstrip(":") for word in asked.extra]
    words += [f"account {asked.account}"] if asked.account else []
    words += [f"QOS {asked.qos}"] if asked.qos else []
    words.append(hours(asked.walltime_s))
    words += [f"costs {offer.cost:.6g}"] if offer.cost is not None else []
    return f"{offer.partition}: {', '.join(words)}"


# --- a partition ---------------------------------------------------------------------------------


def _partition(partition: Partition, columns: int) -> Iterator[str]:
    name = partition.name + ("*" if partition.default else "")
    limit = partition.bounds.max_walltime_s
    time = hours(limit) if limit is not None else "none"
    if not partition.node_types:
        yield from _row([name, "-", "-", "-", "-", "-", time], columns)
    for number, node in enumerate(partition.node_types):
        first = number == 0
        cells = [name if first else "", *_sizes(node), time if first else ""]
        yield from _row(cells, columns)
        for words in _node_words(node):
            yield from _wrapped(f"{_INDENT}{words}", columns, _INDENT * 2)
    for words in _partition_words(partition):
        yield from _wrapped(f"{_INDENT}{words}", columns, _INDENT * 2)


def _row(cells: Sequence[str], columns: int) -> list[str]:
    """Cells under their columns; a first one that is too long has a line of its own."""
    (_, wide), *rest = _COLUMNS
    first, *others = map(plain, cells)
    tail = " ".join(f"{cell:>{width}}" for cell, (_, width) in zip(others, rest, strict=True))
    if wide + 1 + len(tail) > columns:
        return _wrapped(" ".join((first, *others)), columns, _INDENT * 2)
    if len(first) > wide:
        return [*_wrapped(first, columns, _INDENT), f"{'':<{wide}} {tail}"]
    return [f"{first:<{wide}} {tail}"]


def _sizes(node: NodeType) -> list[str]:
    cores, threads = node.schedulable_cores, node.threads_per_core
    return [
        f"{node.up}/{len(node.nodes)}",
        str(node.schedulable_cpus),
        "?" if node.physical_cores is None else f"{cores}x{threads or '?'}",
        size(node.memory_bytes) if node.memory_bytes else "?",
        _gpus(node),
    ]


def _gpus(node: NodeType) -> str:
    """`4 a100`; a list that is too long for its column is counted, and told below."""
    told = _gpu_list(node)
    return told if len(told) <= _COLUMNS[5][1] else str(sum(gpu.count for gpu in node.gpus))


def _gpu_list(node: NodeType) -> str:
    return "+".join(f"{gpu.count} {gpu.kind}".strip() for gpu in node.gpus) or "-"


def _node_words(node: NodeType) -> Iterator[str]:
    if node.features:
        yield f"features: {_names(node.features)}"
    if node.inactive_features:
        yield f"not active: {_names(node.inactive_features)}"
    if _gpus(node) != _gpu_list(node):
        yield f"GPUs: {_gpu_list(node)}"
    if node.generic:
        yield f"generic resources: {_names(node.generic)}"
    if node.cpu_unit > 1:
        yield f"CPUs are given out {node.cpu_unit} at a time"
    if node.physical_cores is not None and node.schedulable_cores < node.physical_cores:
        yield f"{node.physical_cores} cores, {node.schedulable_cores} of them for jobs"
    if node.up < len(node.nodes):
        yield f"states: {', '.join(f'{word}: {count}' for word, count in node.states)}"


def _partition_words(partition: Partition) -> Iterator[str]:
    if not partition.available:
        yield f"not now: {partition.why_not}"
    if partition.whole_nodes:
        yield "jobs get whole nodes"
    if partition.unseen:
        yield f"{partition.unseen} more nodes are not shown"
    bounds = [*_bounds(partition.bounds)]
    if bounds:
        yield f"a job: {', '.join(bounds)}"
    access = partition.access
    for what, names in (
        ("accounts", access.accounts),
        ("not the accounts", access.denied_accounts),
        ("QOS", access.qos),
        ("not the QOS", access.denied_qos),
    ):
        if names:
            yield f"{what}: {_names(names)}"
    if partition.limits:
        yield f"limits: {_names(partition.limits)}"
    if partition.rate is not None:
        yield f"charge: {partition.rate.amount:g} per {partition.rate.per}"
    if partition.weights:
        yield f"billing weights: {partition.weights}"


def _bounds(bounds: Bounds) -> Iterator[str]:
    if bounds.min_nodes > 1:
        yield f"at least {bounds.min_nodes} nodes"
    if bounds.max_nodes is not None:
        yield f"at most {counted(bounds.max_nodes, 'node')}"
    for value, what, where in (
        (bounds.max_cpus, "CPU", ""),
        (bounds.max_cpus_per_node, "CPU", " of a node"),
        (bounds.max_gpus, "GPU", ""),
    ):
        if value is not None:
            yield f"at most {counted(value, what)}{where}"
    for value, words in (
        (bounds.max_memory_bytes, "at most {} memory"),
        (bounds.max_memory_per_node_bytes, "at most {} memory of a node"),
        (bounds.max_memory_per_cpu_bytes, "at most {} memory a CPU"),
        (bounds.default_memory_per_node_bytes, "{} memory of a node by default"),
        (bounds.default_memory_per_cpu_bytes, "{} memory a CPU by default"),
    ):
        if value is not None:
            yield words.format(size(value))
    if bounds.default_walltime_s is not None:
        yield f"{hours(bounds.default_walltime_s)} by default"


# --- the rest ------------------------------------------------------------------------------------


def _accounts(catalogue: Catalogue, columns: int) -> Iterator[str]:
    usable = {name for account in catalogue.accounts for name in account.qos}
    for account in catalogue.accounts:
        words = f"account    {account.name}{' (default)' if account.default else ''}"
        words += f", in {account.partition} only" if account.partition else ""
        words += f"; QOS {_names(account.qos)}" if account.qos else ""
        yield from _wrapped(words, columns, "           ")
    for qos in catalogue.qos:
        limit = qos.bounds.max_walltime_s
        bounds = [f"at most {hours(limit)}"] if limit is not None else []
        bounds += [*_bounds(qos.bounds), *qos.limits]
        if qos.name in usable and bounds:
            words = f"QOS        {qos.name}: {', '.join(bounds)}"
            yield from _wrapped(words, columns, "           ")


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_MOST_NAMES])
    more = len(names) - _MOST_NAMES
    return f"{shown} and {more} more" if more > 0 else shown


def plain(text: str) -> str:
    """Text of a batch system for a screen: what is not printable becomes `?`."""
    return "".join(char if char.isprintable() else "?" for char in text)


def _listed(lines: Sequence[str], columns: int) -> Iterator[str]:
    for line in lines:
        yield from _wrapped(f"{_INDENT}{line}", columns, _INDENT * 2)


def _wrapped(text: str, columns: int, further: str) -> list[str]:
    return textwrap.wrap(plain(text), columns, subsequent_indent=further, break_on_hyphens=False)
