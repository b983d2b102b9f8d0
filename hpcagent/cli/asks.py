"""The options that say what every job asks for, and the request they make."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, TypeVar

import click

from hpcagent.config import Settings
from hpcagent.errors import EnvironmentProblem, SchedulerRefused, UsageError
from hpcagent.protocols import Scheduler
from hpcagent.records import Queue, Resources

Command = TypeVar("Command", bound=Callable[..., Any])
_META = "hpcagent.asks"
_SIZE = re.compile(r"([0-9]+)([KMGT]?)B?\Z", re.IGNORECASE)
_FACTOR: Mapping[str, int] = MappingProxyType(
    {"": 2**20, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
)
DURATION = re.compile(r"(\d+(?:\.\d+)?)(s|m|min|h)?\Z")
UNIT_S: Mapping[str | None, float] = MappingProxyType(
    {None: 60.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
)
# A program of each batch system, in the order in which they are looked for.
_PROGRAMS: Mapping[str, str] = MappingProxyType({"slurm": "sbatch", "pbs": "qsub"})
# Configured keys that make sense in a batch system only.
_TEXTS = (
    "partition", "account", "qos", "reservation", "constraint", "gres", "licenses", "hint",
    "memory", "memory_per_cpu",
)  # fmt: skip


def _keep(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    if value not in (None, ()):
        ctx.meta.setdefault(_META, {})[param.name] = value


def _option(*words: str, **settings: Any) -> Callable[[Command], Command]:
    return click.option(*words, callback=_keep, expose_value=False, **settings)


_REQUEST = (
    _option("--partition", "--queue", "partition", metavar="NAME",
            help="Partition (PBS: queue) that jobs are sent to."),
    _option("--account", metavar="NAME", help="Account that is charged."),
    _option("--qos", metavar="NAME", help="Quality of service."),
    _option("--reservation", metavar="NAME", help="Advance reservation to run in."),
    _option("--constraint", metavar="EXPR", help="Features that nodes must have."),
    _option("--gres", metavar="LIST", help="Generic resources a node, for instance gpu:1."),
    _option("--licenses", metavar="LIST", help="Licences to hold."),
    _option("--mem", "memory", metavar="SIZE", help="Memory a node, for instance 8G."),
    _option("--mem-per-cpu", "memory_per_cpu", metavar="SIZE", help="Memory a CPU."),
    _option("--hint", metavar="WORD", help="Slurm's hint, for instance nomultithread."),
    _option("--cores", type=click.IntRange(1), metavar="N",
            help="CPUs a job asks for. [default: a whole node's; with --shared 1]"),
    _option("--shared", is_flag=True, default=None,
            help="Let others run on the node meanwhile. [default: exclusive]"),
    _option("--scheduler-option", "extra", multiple=True, metavar="WORD",
            help="A further option in the scheduler's own words; may be repeated."),
    _option("--max-wait", metavar="TIME",
            help="Take back a job that has not started after TIME, for instance 12h."),
)  # fmt: skip
MOST_AHEAD, MOST_PACK = 8, 16
_ROUNDS = (
    _option("--ahead", type=click.IntRange(1, MOST_AHEAD), metavar="N",
            help="Jobs with rounds that may be queued at once. [default: 1]"),
    _option("--pack", type=click.IntRange(1, MOST_PACK), metavar="N",
            help="Rounds measured one after the other in one job. [default: 1]"),
)  # fmt: skip


def job_options(command: Command) -> Command:
    """Add the options of a run with rounds; `asked` gives what was said."""
    return _with(command, (*_REQUEST, *_ROUNDS))


def request_options(command: Command) -> Command:
    """Add the options that say what a job asks for; `asked` gives what was said."""
    return _with(command, _REQUEST)


def _with(command: Command, options: Sequence[Callable[[Command], Command]]) -> Command:
    for option in reversed(options):
        command = option(command)
    return command


def asked() -> Mapping[str, Any]:
    """The job options of the running command, by name; absent is what was not said."""
    found: Mapping[str, Any] = click.get_current_context().meta.get(_META, {})
    return found


def choose_scheduler(said: str | None, configured: Settings, words: Mapping[str, Any]) -> str:
    """The scheduler's name: as said, as configured, or the one found where a job option needs one.

    Raises EnvironmentProblem where an option needs a batch system and there is none.
    """
    if said or "scheduler" in configured.sources:
        return said or configured.scheduler
    wishes = [key for key in _TEXTS if key in words or getattr(configured, key)]
    if not wishes:
        return configured.scheduler
    for name, program in _PROGRAMS.items():
        if shutil.which(program):
            return name
    raise EnvironmentProblem(
        f"--{wishes[0].replace('_', '-')} needs a batch system, and neither sbatch nor qsub is on "
        "the PATH: load its module, or name a scheduler with --scheduler"
    )


def max_wait_s(configured: Settings, text: str | None) -> float:
    return configured.max_wait_hours * 3600.0 if text is None else duration_s("--max-wait", text)


def duration_s(option: str, text: str) -> float:
    """Seconds of "90m", "12h", "45s"; a number alone counts minutes."""
    match = DURATION.match(text)
    if match is None or float(match.group(1)) == 0:
        raise UsageError(f"{option} {text!r}: write a time such as 90m or 12h")
    return float(match.group(1)) * UNIT_S[match.group(2)]


def resources(words: Mapping[str, Any], configured: Settings) -> Resources:
    """What each job asks for beyond its size; options win over the configuration."""
    texts = {key: words.get(key) or getattr(configured, key) or None for key in _TEXTS}
    if "<" in (texts["constraint"] or ""):
        raise UsageError(
            f"--constraint {texts['constraint']!r} names features of nodes; what the result must "
            "keep to is said with --within"
        )
    memory, per_cpu = texts.pop("memory"), texts.pop("memory_per_cpu")
    if memory and per_cpu:
        if "memory" in words and "memory_per_cpu" in words:
            raise UsageError("--mem and --mem-per-cpu exclude each other: give one of them")
        memory, per_cpu = (None, per_cpu) if "memory_per_cpu" in words else (memory, None)
    return replace(
        Resources.from_json({"walltime_s": 0, **texts}),
        memory_bytes=_bytes("--mem", memory) if memory else None,
        memory_per_cpu_bytes=_bytes("--mem-per-cpu", per_cpu) if per_cpu else None,
        exclusive=configured.exclusive and not words.get("shared"),
        extra=(*configured.scheduler_options, *words.get("extra", ())),
    )


def _bytes(option: str, text: str) -> int:
    """Sizes as Slurm reads them: a number without a unit is in megabytes."""
    match = _SIZE.fullmatch(text.strip())
    if match is None or int(match.group(1)) == 0:
        raise UsageError(f"{option} {text!r}: write a size such as 500M or 8G")
    return int(match.group(1)) * _FACTOR[match.group(2).upper()]


def node_cores(name: str, scheduler: Scheduler, wanted: Resources, said: int | None) -> int:
    """CPUs that the first job asks for: as said, else those of the queue's smallest node.

    Raises SchedulerRefused where there is no such queue, or it takes no jobs, and UsageError for
    a wish that no request can carry.
    """
    scheduler.directives(replace(wanted, walltime_s=60), "hpcagent")
    if name == "local":
        return said or len(os.sched_getaffinity(0))
    queue = _queue(name, scheduler.queues(), wanted.partition)
    if said is not None:
        return said
    return queue.cpus_per_node if queue is not None and wanted.exclusive else 1


def _queue(name: str, queues: tuple[Queue, ...], wanted: str | None) -> Queue | None:
    if wanted is None:
        return next((queue for queue in queues if queue.default), None)
    found = next((queue for queue in queues if queue.name == wanted), None)
    if found is None and "," not in wanted and "@" not in wanted:
        known = ", ".join(sorted(queue.name for queue in queues)) or "none"
        raise SchedulerRefused(f"{name} has no partition or queue {wanted!r}; there are: {known}")
    if found is not None and not found.available:
        raise SchedulerRefused(f"{name}: {wanted} takes no jobs now: {found.why_not}")
    return found
