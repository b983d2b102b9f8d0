"""Where a probe, a doctor's visit or a build goes: this machine, a partition, or all of them."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from hpcagent.catalogue import Catalogue, NodeType, Partition
from hpcagent.cli.asks import choose_scheduler, max_wait_s, node_cores, resources
from hpcagent.config import Settings, rates
from hpcagent.errors import EnvironmentProblem
from hpcagent.records import Resources
from hpcagent.study.session import make_scheduler
from hpcagent.study.settings import TuneSettings
from hpcagent.study.task_plan import Target

ALL = "all"
HERE = "here"


@dataclass(frozen=True)
class Place:
    """The batch system and what is visited through it; `closed` are partitions that take no jobs,
    each with its reason. `catalogue` is None on this machine."""

    scheduler: str
    targets: tuple[Target, ...]
    closed: Mapping[str, str]
    catalogue: Catalogue | None = None


def place(said: str | None, words: Mapping[str, Any], configured: Settings) -> Place:
    """What the options name. Raises UsageError, EnvironmentProblem, SchedulerRefused.

    `words` are the job options that were given (asks.asked); `--partition all` visits every
    partition that takes jobs.
    """
    name = choose_scheduler(said, configured, words)
    scheduler = make_scheduler(name)
    asks = resources(words, configured)
    if name == "local":
        cores = int(words.get("cores") or len(os.sched_getaffinity(0)))
        return Place(name, (Target(HERE, replace(asks, cpus_per_task=cores)),), {})
    catalogue = scheduler.catalogue().priced(rates(configured.charge_rates))
    if asks.partition == ALL:
        return _everywhere(catalogue, asks, words)
    cores = node_cores(name, scheduler, asks, words.get("cores"))
    label = asks.partition or "default"
    shown = tuple(p for p in catalogue.partitions if _is_asked(p, asks.partition))
    most_s = shown[0].bounds.max_walltime_s if len(shown) == 1 else None
    target = Target(label, replace(asks, cpus_per_task=cores, walltime_s=most_s or 0))
    return Place(name, (target,), {}, replace(catalogue, partitions=shown))


def _is_asked(partition: Partition, name: str | None) -> bool:
    return partition.default if name is None else partition.name == name


def _everywhere(catalogue: Catalogue, asks: Resources, words: Mapping[str, Any]) -> Place:
    """Every kind of node of every partition that takes jobs."""
    targets: list[Target] = []
    closed: dict[str, str] = {}
    for partition in catalogue.partitions:
        if not partition.available:
            closed[partition.name] = partition.why_not
            continue
        for node_type in partition.node_types:
            label, there = _one_of(partition, node_type, asks, chunked=catalogue.chunked)
            if node_type.up == 0:
                closed[label] = "none of its nodes takes jobs"
            elif label not in {target.label for target in targets}:
                whole = node_type.schedulable_cpus if asks.exclusive else node_type.cpu_unit
                cores = int(words.get("cores") or whole)
                targets.append(Target(label, replace(there, cpus_per_task=cores)))
    if not targets:
        raise EnvironmentProblem(f"{catalogue.scheduler}: no partition takes jobs now")
    return Place(catalogue.scheduler, tuple(targets), closed, catalogue)


def _one_of(
    partition: Partition, node_type: NodeType, asks: Resources, *, chunked: bool
) -> tuple[str, Resources]:
    """A label for nodes of this type, and the request that gets one of them.

    Told apart by a feature that no other type of the partition has, else by the node's name; PBS,
    where both belong into the chunks of a request, is asked for any node of the queue.
    """
    most_s = partition.bounds.max_walltime_s or 0
    there = replace(asks, partition=partition.name, walltime_s=most_s)
    if len(partition.node_types) == 1 or chunked:
        return partition.name, there
    others = {f for t in partition.node_types if t is not node_type for f in t.features}
    own = next((feature for feature in node_type.features if feature not in others), None)
    if own is not None:
        wanted = f"({asks.constraint})&{own}" if asks.constraint else own
        return f"{partition.name}-{own}", replace(there, constraint=wanted)
    node = node_type.nodes[0]
    extra = (*asks.extra, f"--nodelist={node}")
    return f"{partition.name}-{node}", replace(there, extra=extra)


def job_settings(configured: Settings, scheduler: str, words: Mapping[str, Any]) -> TuneSettings:
    """How the units of such a run are looked after."""
    return TuneSettings(
        app="",
        seed=1,
        scheduler=scheduler,
        strategy=configured.strategy,
        rounds=0,
        challengers=0,
        python=configured.python or (sys.executable if scheduler == "local" else "python3"),
        prologue=configured.prologue,
        poll_s=configured.poll_seconds or None,
        settle_s=configured.settle_seconds or None,
        grace_s=configured.grace_seconds,
        lost_s=configured.lost_seconds,
        max_wait_s=max_wait_s(configured, words.get("max_wait")),
        approve_core_hours=configured.approve_core_hours,
    )
