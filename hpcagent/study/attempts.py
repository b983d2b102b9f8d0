"""When a unit is tried again, with what, and when it is given up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from hpcagent.records import Failure, Resources
from hpcagent.study.state import TuneState, Unit
from hpcagent.toolchain.diagnosis import diagnose
from hpcagent.toolchain.repairs import MIN_CONFIDENCE
from hpcagent.toolchain.signatures import Failing, catalogue

MAX_ATTEMPTS = 2
# What befalls a job from outside (a lost node, a preemption) is no fault of the unit.
MAX_MISHAPS = 4
# A node on which another unit of the user's measures: short units cannot wait for it long, so that
# it is the time that all of them have waited that ends it.
_BUSY = "scheduler.node_in_use"
BUSY_S = 600.0
MAX_BUSY = 60
# A unit that failed this way fails again: no second attempt.
_FINAL_STAGES = frozenset({"configure", "compile", "link", "load", "numerics", "environment"})
_FINAL = frozenset({"scheduler.never_started"})
_MISHAPS = frozenset(
    f"scheduler.{kind}"
    for kind in ("node_fail", "boot_fail", "preempted", "stopped", "lost", "node_in_use")
)

# What a repair of a resource changes in a request.
_FIELDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"walltime": ("walltime_s",), "memory": ("memory_bytes", "memory_per_cpu_bytes")}
)


def given_up(state: TuneState, purpose: str) -> tuple[Failure, str] | None:
    """The failure of a unit that is not tried again, and the name of the last attempt."""
    failed = [u for u in state.attempts(purpose) if u.failure is not None]
    if not failed or state.done(purpose) is not None:
        return None
    failure = failed[-1].failure
    assert failure is not None
    busy = [unit for unit in failed if unit.failure is not None and unit.failure.id == _BUSY]
    most, tries = MAX_MISHAPS, len(failed) - len(busy)
    if failure.id == _BUSY:
        waited_s = sum(unit.job_seconds for unit in busy)
        most, tries = MAX_MISHAPS if waited_s >= BUSY_S else MAX_BUSY, len(busy)
    elif failure.id not in _MISHAPS:
        most = MAX_ATTEMPTS
    if tries >= most or failure.id in _FINAL or failure.stage in _FINAL_STAGES:
        return failure, failed[-1].name
    return None


def mended(state: TuneState, purpose: str, asked: Resources) -> tuple[Resources, tuple[str, ...]]:
    """What the next attempt asks for, after those that ran out of it, and each reason in words.

    A job that was out of memory or time asks for the multiple that the list of failures declares:
    of what it had where it asked for no memory of its own and its program told. Unchanged where
    there is no reason.
    """
    words = []
    for unit in state.attempts(purpose):
        entry = _entry(unit.failure)
        factor = _multiple(entry)
        for name in factor:
            had = getattr(asked, name)
            if name == "memory_bytes" and asked.memory_per_cpu_bytes is None:
                had = had or unit.memory_bytes
            if had is not None:
                asked = replace(asked, **{name: had * factor[name]})
                words.append(f"{entry.id if entry else ''}: {name} x {factor[name]}")
    return asked, tuple(words)


def within_node(asked: Resources, tried: Sequence[Unit], most_bytes: int | None) -> Resources:
    """A repair's multiple cut to what the smallest node has (`most_bytes`; None: not known), but
    never below what the last attempt asked for."""
    if asked.memory_bytes is None or most_bytes is None or not tried:
        return asked
    last = tried[-1].resources.memory_bytes or 0
    return replace(asked, memory_bytes=max(last, min(asked.memory_bytes, most_bytes)))


def _entry(failure: Failure | None) -> Failing | None:
    """What the list says of a job's failure.

    A batch system may end a job for its memory and call that no more than failed (Slurm's
    OverMemoryKill): then the words of its daemons, which the evidence quotes, tell.
    """
    if failure is None or failure.stage != "scheduler":
        return None
    if failure.id != "scheduler.failed":
        return catalogue().get(failure.id)
    causes = diagnose(failure.evidence.replace("\\n", "\n").encode("utf-8"), 1).causes
    sure = [cause for cause in causes[:1] if cause.confidence >= MIN_CONFIDENCE]
    return catalogue().get(sure[0].id) if sure and sure[0].stage == "scheduler" else None


def _multiple(entry: Failing | None) -> dict[str, int]:
    """Field of a request -> factor, as the repair of this failure says."""
    repair = entry.repair if entry is not None else None
    if repair is None or (repair.change, repair.action) != ("resource", "multiply"):
        return {}
    return {name: int(repair.value) for name in _FIELDS.get(repair.name, ())}
