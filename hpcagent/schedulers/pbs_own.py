"""What a PBS job asked for, read from its own record (`qstat -f -w`): a pure function."""

from __future__ import annotations

import re

from hpcagent.records import OwnJob, Resources
from hpcagent.schedulers.pbs_places import seconds, size_bytes
from hpcagent.schedulers.pbs_text import JOB, Block, blocks, same_job

# A successor of a job without a limit is given one: nothing runs for ever by accident.
_UNLIMITED_S = 24 * 3600
_ACCOUNT_OF_NOBODY = "_pbs_project_default"
_OURS = frozenset({"ncpus", "mem", "mpiprocs", "ompthreads"})
_CHUNK = re.compile(r"(?:([1-9][0-9]{0,5}):)?([^+]*)")


def own_job(job_id: str, text: str) -> OwnJob | None:
    """The job in this listing; None where it is not there.

    Its used wall time comes from the node and may be minutes old, or not there in the beginning.
    """
    block = next((b for b in blocks(text, JOB) if same_job(job_id, b.name)), None)
    if block is None:
        return None
    limit = seconds(block.get("Resource_List.walltime"))
    used = seconds(block.get("resources_used.walltime")) or 0
    left_s = None if limit is None else float(max(0, limit - used))
    return OwnJob(block.name, _asks(block, limit or _UNLIMITED_S), left_s)


def _asks(block: Block, walltime_s: int) -> Resources:
    """The first chunk of its select statement, which is all that an agent's job has."""
    found = _CHUNK.match(block.get("Resource_List.select"))
    count, chunk = (found.group(1), found.group(2)) if found else (None, "")
    parts = dict(part.split("=", 1) for part in chunk.split(":") if "=" in part)
    account = block.get("Account_Name")
    return Resources(
        walltime_s=walltime_s,
        nodes=int(count or 1),
        cpus_per_task=_count(parts.get("ncpus", "")),
        memory_bytes=size_bytes(parts.get("mem", "")),
        partition=block.get("queue") or None,
        account=account if account and account != _ACCOUNT_OF_NOBODY else None,
        exclusive="excl" in block.get("Resource_List.place").split(":"),
        extra=tuple(f":{name}={value}" for name, value in parts.items() if name not in _OURS),
    )


def _count(text: str) -> int:
    return int(text) if re.fullmatch("[1-9][0-9]{0,5}", text) else 1
