"""Where a probe, a doctor's visit or a build goes: this machine, a partition, or all of them."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from hpcagent.cli.asks import choose_scheduler, max_wait_s, node_cores, resources
from hpcagent.config import Settings
from hpcagent.errors import EnvironmentProblem
from hpcagent.protocols import Scheduler
from hpcagent.records import Resources
from hpcagent.study.session import make_scheduler
from hpcagent.study.settings import TuneSettings
from hpcagent.study.task_plan import Target

ALL = "all"
HERE = "here"


@dataclass(frozen=True)
class Place:
    """The batch system and what is visited through it; `closed` are partitions that take no jobs,
    each with its reason."""

    scheduler: str
    targets: tuple[Target, ...]
    closed: Mapping[str, str]


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
    if asks.partition != ALL:
        cores = node_cores(name, scheduler, asks, words.get("cores"))
        label = asks.partition or "default"
        return Place(name, (Target(label, replace(asks, cpus_per_task=cores)),), {})
    return _everywhere(name, scheduler, asks, words)


def _everywhere(
    name: str, scheduler: Scheduler, asks: Resources, words: Mapping[str, Any]
) -> Place:
    targets, closed = [], {}
    for queue in scheduler.queues():
        if not queue.available:
            closed[queue.name] = queue.why_not
            continue
        cores = int(words.get("cores") or (queue.cpus_per_node if asks.exclusive else 1))
        there = replace(asks, partition=queue.name, cpus_per_task=cores)
        targets.append(Target(queue.name, there))
    if not targets:
        raise EnvironmentProblem(f"{name}: no partition takes jobs now")
    return Place(name, tuple(targets), closed)


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
