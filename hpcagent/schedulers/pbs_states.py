"""What the attributes of a PBS job say about its state, as a pure function.

The states, substates and exit statuses are those of a recorded OpenPBS 23.06.06; the numbers of
failed starts are named in its `job.h` (JOB_EXEC_*, JOB_SUBSTATE_*). `Exit_status` alone proves
nothing: it is there in Q, R, B, H and E after an earlier start, and not there for a job that never
ran. Only the states F and X (a job of an array) are an end.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from hpcagent.records import JobState, JobStatus
from hpcagent.schedulers.pbs_text import Block, one_line

_ENDED = frozenset("FX")
_LIVE: Mapping[str, JobState] = MappingProxyType(
    {
        "Q": JobState.QUEUED,
        "T": JobState.QUEUED,  # on its way to another queue
        "W": JobState.QUEUED,
        "H": JobState.HELD,
        "R": JobState.RUNNING,
        "B": JobState.RUNNING,  # an array of which a job has begun
        "S": JobState.SUSPENDED,
        "U": JobState.SUSPENDED,  # someone uses the workstation it runs on
        "E": JobState.COMPLETING,
    }
)
_ON_A_NODE = frozenset("RSUEFX")
_DEPENDENCY_HOLD = "22"
_STAGE_IN_FAILED = "37"
_DELETED = "91"
# After 21 failed starts the server holds a job for good.
_GIVEN_UP = "too many failed attempts to run"

# Exit_status below zero: PBS ended the job or could not start it.
_OWN_ENDS: Mapping[int, tuple[JobState, str]] = MappingProxyType(
    {
        -1: (JobState.BOOT_FAIL, "the node could not start it"),
        -2: (JobState.BOOT_FAIL, "the node could not start it (prologue or output files)"),
        -3: (JobState.BOOT_FAIL, "the node could not start it"),
        -4: (JobState.NODE_FAIL, "the node's PBS was restarted"),
        -5: (JobState.NODE_FAIL, "the node's PBS was restarted"),
        -6: (JobState.NODE_FAIL, "the node's PBS was restarted"),
        -10: (JobState.BOOT_FAIL, "the node does not know the user or group"),
        -11: (JobState.PREEMPTED, "it was to run again"),
        -12: (JobState.PREEMPTED, "it was checkpointed and ended"),
        -13: (JobState.BOOT_FAIL, "the node refused the user's password"),
        -14: (JobState.NODE_FAIL, "one of its nodes failed"),
        -15: (JobState.PREEMPTED, "it was to go on from a checkpoint"),
        -16: (JobState.BOOT_FAIL, "a hook of the site refused it on the node"),
        -17: (JobState.BOOT_FAIL, "a hook of the site refused it on the node"),
        -18: (JobState.PREEMPTED, "a hook of the site sent it back to the queue"),
        -19: (JobState.CANCELLED, "a hook of the site deleted it"),
        -20: (JobState.NODE_FAIL, "the connection to its node was lost"),
        -21: (JobState.BOOT_FAIL, "the node found its PBS folders insecure"),
        -22: (JobState.BOOT_FAIL, "a hook of the site failed on the node"),
        -23: (JobState.BOOT_FAIL, "Kerberos credentials were missing"),
        -24: (JobState.FAILED, "it used more CPUs than it asked for"),
        -25: (JobState.FAILED, "it used more CPUs than it asked for"),
        -26: (JobState.OUT_OF_MEMORY, "it used more virtual memory than it asked for"),
        -27: (JobState.OUT_OF_MEMORY, "it used more memory than it asked for"),
        -28: (JobState.TIMEOUT, "its CPU time was over"),
        -29: (JobState.TIMEOUT, "its wall time was over"),
        -30: (JobState.NODE_FAIL, "its nodes could not join the job"),
    }
)

# What a comment of the scheduler means for the user. "Can Never Run" also stands there while a
# node is down.
_EXPLAINED: tuple[tuple[str, str], ...] = (
    ("can never run", "no node fits now; it starts if one that is down comes back"),
    ("dedicated time", "a maintenance is near: a shorter wall time could start before it"),
    ("reservation", "others have reserved: a shorter wall time could start before"),
    ("queue not started", "the queue takes jobs but starts none until an operator says so"),
    ("limit", "it starts when other jobs under this limit have ended"),
    ("too many failed attempts", "only an operator can release it; the node's prologue may fail"),
)
_HOLDERS: Mapping[str, str] = MappingProxyType(
    {"u": "the user", "o": "an operator", "s": "the system or an administrator", "p": "a password"}
)
_EXIT_STATUS = re.compile(r"-?[0-9]{1,9}")


def status_of(job_id: str, job: Block) -> JobStatus:
    """The state of one job; any attributes are taken, and only F and X can be an end."""
    return replace(_status(job_id, job), name=one_line(job.get("Job_Name")))


def _status(job_id: str, job: Block) -> JobStatus:
    word = one_line(job.get("job_state"))[:20]
    node = hosts(job.get("exec_host")) if word in _ON_A_NODE else ""
    if word in _ENDED:
        state, code, reason = _end(job)
        return JobStatus(job_id, state, word, code, reason, node=node)
    if word in _LIVE:
        state, reason = _live(word, job), _why_not_done(word, job)
        hopeless = word == "H" and _GIVEN_UP in job.get("comment")
        return JobStatus(job_id, state, word, reason=reason, hopeless=hopeless, node=node)
    words = f"qstat gives the state {word!r}, which is not known"
    if word == "M":
        words = "the job was moved to another PBS server, which was not asked"
    return JobStatus(job_id, JobState.UNKNOWN, word, missing=words)


def hosts(exec_host: str) -> str:
    """The hosts of `n1/0*4+n2/0*4`, each once: `n1,n2`."""
    names = (part.partition("/")[0].strip("() ") for part in one_line(exec_host).split("+"))
    return ",".join(dict.fromkeys(name for name in names if name))


def _live(word: str, job: Block) -> JobState:
    # A job that waits for others is released without anybody's doing.
    if word == "H" and job.get("substate") == _DEPENDENCY_HOLD:
        return JobState.QUEUED
    return _LIVE[word]


def _why_not_done(word: str, job: Block) -> str:
    comment = one_line(job.get("comment"))
    if word == "H" and job.get("substate") == _DEPENDENCY_HOLD:
        return f"waits for other jobs: {one_line(job.get('depend'))}"
    if word == "H" and not comment:
        held_by = [_HOLDERS[kind] for kind in job.get("Hold_Types") if kind in _HOLDERS]
        return f"held by {' and '.join(held_by) or 'someone'}"
    if word == "W" and job.get("substate") == _STAGE_IN_FAILED:
        return f"staging in its files failed {comment}".strip()
    if word == "W" and not comment:
        return f"waits until {one_line(job.get('Execution_Time')) or 'its start time'}"
    return _explained(comment) if word in "QHWT" else comment


def _explained(comment: str) -> str:
    for mark, meaning in _EXPLAINED:
        if mark in comment.lower():
            return f"{comment} ({meaning})"
    return comment


def _end(job: Block) -> tuple[JobState, int | None, str]:
    """State, exit code and reason of a job that has ended."""
    comment = one_line(job.get("comment"))
    text = job.get("Exit_status")
    if not _EXIT_STATUS.fullmatch(text):
        return (*_end_without_status(job), comment or _never_ran(job))
    number = int(text)
    if job.get("substate") == _DELETED:
        return JobState.CANCELLED, _exit_code(number), comment or "deleted"
    if number < 0:
        state, meaning = _OWN_ENDS.get(number, (JobState.FAILED, f"PBS gives the end {number}"))
        return state, None, f"{comment} ({meaning})" if comment else meaning
    state = JobState.COMPLETED if number == 0 else JobState.FAILED
    return state, _exit_code(number), comment


def _exit_code(number: int) -> int | None:
    """128 + signal as shells say: PBS adds 256 to the number of the signal."""
    if number < 0:
        return None
    return number if number < 256 else 128 + number - 256


def _end_without_status(job: Block) -> tuple[JobState, int | None]:
    """A job that never ran was taken away, by qdel or by a dependency that cannot be met."""
    if job.get("stime") and job.get("substate") != _DELETED:
        return JobState.FAILED, None
    return JobState.CANCELLED, None


def _never_ran(job: Block) -> str:
    if job.get("substate") == _DELETED:
        return "deleted before it ran" if not job.get("stime") else "deleted"
    if job.get("stime"):
        return "ended without an exit status"
    if job.get("depend").startswith("after"):
        return f"never ran: a dependency cannot be met: {one_line(job.get('depend'))}"
    return "never ran"
