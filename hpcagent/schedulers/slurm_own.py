"""What a job of Slurm asked for, read from `scontrol --oneliner show job`: pure functions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType

from hpcagent.records import OwnJob, Resources
from hpcagent.schedulers.slurm_answers import seconds

_FACTORS: Mapping[str, int] = MappingProxyType(
    {"": 2**20, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40, "P": 2**50}
)
_NOTHING = frozenset({"", "(null)", "N/A", "None", "none", "0"})
# A successor of a job without a limit is given one: nothing runs for ever by accident.
_UNLIMITED_S = 24 * 3600


def own_job(job_id: str, text: str, now: datetime) -> OwnJob | None:
    """The job as one line of scontrol (times in UTC) shows it; None where that is no such line."""
    if not re.match(rf"JobId={re.escape(job_id)} .* TimeLimit=", text):
        return None
    fields = _fields(text)
    nodes = _number(fields.get("NumNodes", ""))
    tasks = _number(fields.get("NumTasks", ""))
    asks = Resources(
        walltime_s=seconds(fields.get("TimeLimit", "")) or _UNLIMITED_S,
        nodes=nodes,
        tasks_per_node=-(-tasks // nodes),
        cpus_per_task=_number(fields.get("CPUs/Task", "")),
        memory_bytes=_bytes(fields.get("MinMemoryNode", "")),
        memory_per_cpu_bytes=_bytes(fields.get("MinMemoryCPU", "")),
        partition=_said(fields, "Partition"),
        account=_said(fields, "Account"),
        qos=_said(fields, "QOS"),
        reservation=_said(fields, "Reservation"),
        constraint=_said(fields, "Features"),
        gres=_gres(fields.get("TresPerNode", "")),
        licenses=_said(fields, "Licenses"),
        exclusive=fields.get("OverSubscribe") == "NO",
        extra=_gpus(fields.get("TresPerJob", "")),
    )
    return OwnJob(job_id, asks, _left(fields.get("EndTime", ""), now))


def _fields(text: str) -> dict[str, str]:
    """KEY=VALUE words. Between Command and StdOut there are paths, which are not looked at."""
    line = text.split("\n", 1)[0].split(" UserId=", 1)[-1]
    head, _, rest = line.partition(" Command=")
    tail = rest.rpartition(" StdOut=")[2]
    return {found[1]: found[2] for found in re.finditer(r"(?:^| )([A-Za-z/]+)=(\S*)", head + tail)}


def _said(fields: Mapping[str, str], key: str) -> str | None:
    value = fields.get(key, "")
    return None if value in _NOTHING else value


def _number(text: str) -> int:
    """The count in `4` or `2-4`, the smallest; 1 where there is none."""
    found = re.match(r"([1-9][0-9]{0,8})(-|$)", text)
    return int(found[1]) if found else 1


def _bytes(text: str) -> int | None:
    found = re.fullmatch(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)([KMGTP]?)", text)
    return int(float(found[1]) * _FACTORS[found[2]]) or None if found else None


def _gres(text: str) -> str | None:
    """`gres:gpu:1,gres/shard:2` as --gres takes it."""
    names = [re.sub(r"^gres[:/]", "", word) for word in text.split(",")]
    return ",".join(name for name in names if name not in _NOTHING) or None


def _gpus(text: str) -> tuple[str, ...]:
    found = re.fullmatch(r"gres[:/]gpu:([A-Za-z0-9_.:-]+)", text)
    return (f"--gpus={found[1]}",) if found else ()


def _left(end: str, now: datetime) -> float | None:
    try:
        when = datetime.fromisoformat(end).replace(tzinfo=UTC)
    except ValueError:
        return None
    return max(0.0, (when - now).total_seconds())
