"""What Slurm's commands print, as pure functions of text.

Every row begins and ends with the job's id, so a row that a site's banner broke or that was cut
off is not a row. Unknown lines are left out; nothing here raises.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hpcagent.records import JobState, JobStatus, Queue
from hpcagent.schedulers.slurm_reasons import explain, told
from hpcagent.schedulers.slurm_states import SHOWN_ID, base_id, concerns, exit_code, state_of

# The name stands before the reason, which is free text: whatever that holds, a name of ours, which
# has no `|`, is read as it is.
_QUEUE_FIELDS = ("JobArrayID", "State", "exit_code", "SubmitTime", "NodeList", "Name", "Reason")
_ACCOUNT_FIELDS = ("JobID", "State", "ExitCode", "Submit", "NodeList", "JobName", "Reason")
QUEUE_FORMAT = ",".join(f"{field}:|" for field in (*_QUEUE_FIELDS, "JobArrayID"))
ACCOUNT_FORMAT = ",".join((*_ACCOUNT_FIELDS, "JobID"))
# partition, availability, time limit, nodes, CPUs, memory (MB); `*` marks the default partition
SINFO_FORMAT = "%P|%a|%l|%D|%c|%m|"

_WORD = re.compile(r"[A-Z][A-Z_]*\+?( by [^|]*)?")
_EXIT = re.compile(r"([0-9]+(:[0-9]+)?)?")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}|Unknown|N/A|None|")
_NO_NODES = ("", "(null)", "None assigned", "None", "N/A")
_SIZE = re.compile(r"([0-9]{1,15})\+?")


@dataclass(frozen=True)
class Row:
    """A job or a part of one as squeue, sacct or scontrol shows it."""

    id: str
    word: str
    exit: str
    submitted: str
    nodes: str
    name: str
    reason: str

    @property
    def state(self) -> JobState:
        return state_of(self.word, self.reason)

    def status(self, job_id: str) -> JobStatus:
        state = self.state
        reason = told(self.reason, state in (JobState.QUEUED, JobState.HELD))
        if state is JobState.UNKNOWN:
            reason = f"Slurm's word {self.word!r} is no state known here; {reason}".rstrip("; ")
        return JobStatus(
            job_id,
            state,
            self.word,
            exit_code(state, self.exit),
            reason,
            node=self.nodes,
            name=self.name,
            hopeless=state is JobState.QUEUED and explain(self.reason).hopeless,
        )


def rows(text: str) -> tuple[Row, ...]:
    """The rows of squeue with QUEUE_FORMAT, or of sacct with ACCOUNT_FORMAT."""
    found = []
    for line in text.split("\n"):
        fields = line.strip().removesuffix("|").split("|")
        if len(fields) < 8 or fields[0] != fields[-1]:
            continue
        shown, word, ended, submitted, nodes = (field.strip() for field in fields[:5])
        if not (
            SHOWN_ID.fullmatch(shown)
            and _WORD.fullmatch(word)
            and _EXIT.fullmatch(ended)
            and _TIME.fullmatch(submitted)
        ):
            continue
        nodes = "" if nodes in _NO_NODES else nodes
        reason = "|".join(fields[6:-1])
        found.append(Row(shown, word, ended, submitted, nodes, fields[5], reason))
    return tuple(found)


def row_of(job_id: str, known: Iterable[Row]) -> Row | None:
    """The row that speaks for a job.

    Of several records of the same id (a requeued job has one for each run) the latest counts. Of
    several parts (an array, a heterogeneous job) the liveliest, then one that did not complete.
    """
    latest: dict[str, Row] = {}
    for row in known:
        if not concerns(row.id, job_id):
            continue
        before = latest.get(row.id)
        if before is None or before.submitted <= row.submitted:
            latest[row.id] = row
    return max(latest.values(), key=_liveliness, default=None)


_ALIVE = (
    JobState.HELD,
    JobState.QUEUED,
    JobState.UNKNOWN,
    JobState.SUSPENDED,
    JobState.COMPLETING,
    JobState.RUNNING,
)


def _liveliness(row: Row) -> int:
    state = row.state
    if state.terminal:
        return int(state is not JobState.COMPLETED)
    return 2 + _ALIVE.index(state)


def named(name: str, known: Iterable[Row]) -> list[str]:
    """Ids of the jobs of exactly this name, oldest first; squeue and sacct ignore the case.

    A job that failed without ever having had a node is left out: slurmctld keeps such a record of
    a submission that it refused ("Requested node configuration is not available").
    """
    mine = [
        row
        for row in known
        if row.name == name and not (row.state is JobState.FAILED and not row.nodes)
    ]
    ordered = sorted(mine, key=lambda row: (row.submitted, int(base_id(row.id))))
    return list(dict.fromkeys(base_id(row.id) for row in ordered))


def shown_jobs(text: str) -> tuple[Row, ...]:
    """The rows of `scontrol --oneliner show job`."""
    found = []
    for line in text.split("\n"):
        ids = re.match(
            r"JobId=([0-9]+)(?: ArrayJobId=([0-9]+) ArrayTaskId=([0-9,:%-]+))?"
            r"(?: HetJobId=([0-9]+) HetJobOffset=([0-9]+))? ",
            line,
        )
        rest = re.search(
            r" JobState=(\S+) Reason=(.*?) Dependency=.* ExitCode=([0-9]+:[0-9]+) "
            r".*\bSubmitTime=(\S+) .* NodeList=(\S*) ",
            line,
        )
        if ids and rest:
            name = re.search(r" JobName=(.*?) UserId=", line)
            word, reason, ended, submitted, nodes = rest.groups()
            nodes = "" if nodes in _NO_NODES else nodes
            shown, told_name = _shown(*ids.groups()), name[1] if name else ""
            found.append(Row(shown, word, ended, submitted, nodes, told_name, reason))
    return tuple(found)


def _shown(job: str, array: str | None, task: str | None, het: str | None, part: str | None) -> str:
    if array and task:
        return f"{array}_{task}" if task.isdigit() else f"{array}_[{task}]"
    return f"{het}+{part}" if het and part else job


def queues(text: str) -> tuple[Queue, ...]:
    """The partitions of `sinfo --format=SINFO_FORMAT`, in its order, one each."""
    found: dict[str, Queue] = {}
    for line in text.split("\n"):
        queue = _queue(line.strip().split("|"))
        if queue is not None:
            known = found.get(queue.name)
            found[queue.name] = queue if known is None else _both(known, queue)
    return tuple(found.values())


def _queue(fields: Sequence[str]) -> Queue | None:
    if len(fields) != 7 or not re.fullmatch(r"[^\s|]+", fields[0]):
        return None
    sizes = [_SIZE.fullmatch(field) for field in fields[3:6]]
    if not all(sizes):
        return None
    nodes, cpus, megabytes = (int(size[1]) for size in sizes if size)
    up = fields[1] == "up"
    return Queue(
        fields[0].removesuffix("*"),
        nodes,
        cpus,
        seconds(fields[2]),
        megabytes * 1024**2 or None,
        fields[0].endswith("*"),
        up,
        "" if up else f"the partition is {fields[1]}",
    )


def _both(a: Queue, b: Queue) -> Queue:
    """Two rows of a partition whose nodes differ: the sum of the nodes, the smallest sizes."""
    memory = [size for size in (a.memory_bytes, b.memory_bytes) if size is not None]
    return Queue(
        a.name,
        a.nodes + b.nodes,
        min(a.cpus_per_node, b.cpus_per_node),
        a.max_walltime_s,
        min(memory, default=None),
        a.default,
        a.available,
        a.why_not,
    )


def seconds(text: str) -> int | None:
    """A time limit as Slurm prints it: `D-HH:MM:SS`, `HH:MM:SS`, `MM:SS`; None: there is none."""
    found = re.fullmatch(r"(?:([0-9]{1,9})-)?([0-9]{1,9}(?::[0-9]{1,2}){0,2})", text.strip())
    if found is None:
        return None
    parts = [int(part) for part in found[2].split(":")]
    if found[1] is not None:
        hours, minutes, rest = (*parts, 0, 0)[:3]
        return int(found[1]) * 86400 + hours * 3600 + minutes * 60 + rest
    if len(parts) == 1:
        return parts[0] * 60
    hours, minutes, rest = parts if len(parts) == 3 else (0, *parts)
    return hours * 3600 + minutes * 60 + rest


def accounts(text: str) -> tuple[str, ...]:
    """Account names, one a line, in the order in which they first appear."""
    lines = (line.strip().split("|")[0] for line in text.split("\n"))
    return tuple(dict.fromkeys(line for line in lines if re.fullmatch(r"[A-Za-z0-9_.@+-]+", line)))


def memory_age_s(text: str) -> int:
    """MinJobAge of `scontrol show config`: how long slurmctld remembers a job that has ended."""
    found = re.search(r"^MinJobAge\s*=\s*([0-9]{1,9})\s", text, re.MULTILINE)
    return int(found[1]) if found else 0
