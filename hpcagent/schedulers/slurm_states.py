"""Slurm's words for a job's state, its exit codes and its ids, as pure functions.

The words are those of sacct(1) and squeue(1), JOB STATE CODES, of 20.11 to 25.11.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from hpcagent.records import JobState

_STATES: Mapping[str, JobState] = MappingProxyType(
    {
        "PENDING": JobState.QUEUED,
        "REQUEUED": JobState.QUEUED,
        "REQUEUE_FED": JobState.QUEUED,
        "REQUEUED_CRON": JobState.QUEUED,
        "EXPEDITING": JobState.QUEUED,
        "REQUEUE_HOLD": JobState.HELD,
        "SPECIAL_EXIT": JobState.HELD,
        "RESV_DEL_HOLD": JobState.HELD,
        "SUSPENDED": JobState.SUSPENDED,
        "STOPPED": JobState.SUSPENDED,
        "CONFIGURING": JobState.RUNNING,
        "POWER_UP_NODE": JobState.RUNNING,
        "RUNNING": JobState.RUNNING,
        "RESIZING": JobState.RUNNING,
        "SIGNALING": JobState.RUNNING,
        "COMPLETING": JobState.COMPLETING,
        "STAGE_OUT": JobState.COMPLETING,
        "UPDATE_DB": JobState.COMPLETING,
        # The job of this id has started on another cluster of the federation.
        "REVOKED": JobState.UNKNOWN,
        "COMPLETED": JobState.COMPLETED,
        "FAILED": JobState.FAILED,
        "TIMEOUT": JobState.TIMEOUT,
        "OUT_OF_MEMORY": JobState.OUT_OF_MEMORY,
        "NODE_FAIL": JobState.NODE_FAIL,
        "BOOT_FAIL": JobState.BOOT_FAIL,
        "DEADLINE": JobState.DEADLINE,
        "PREEMPTED": JobState.PREEMPTED,
        "CANCELLED": JobState.CANCELLED,
    }
)

_HELD = re.compile(r"JobHeld(User|Admin)|JobHoldMaxRequeue|.*requeued[ _](in[ _])?held.*", re.I)

# `12`, `12_3`, `12_[0-3,7%2]`, `12+0`; what is asked for may name a cluster: `12;cluster`.
SHOWN_ID = re.compile(r"(?P<base>[1-9][0-9]{0,9})(_([0-9]+|\[[0-9,:%.-]+\])|\+[0-9]+)?")
ASKED_ID = re.compile(
    r"(?P<id>[1-9][0-9]{0,9}(_[0-9]+|\+[0-9]+)?)(;(?P<cluster>[A-Za-z0-9_][A-Za-z0-9_.-]*))?"
)
_TASKS = re.compile(r"\[([0-9,:-]+)(%[0-9]+)?\]")
_SIGNALS = 64  # above it are Slurm's own marks, as 125 for a job that ran out of memory


def state_of(word: str, reason: str = "") -> JobState:
    """The state a word stands for; UNKNOWN, which is not an end, where it is not known.

    Takes `CANCELLED by 1000`, and words cut to a column (`CANCELLED+`, `OUT_OF_ME+`) where only
    one state begins so. A pending job is HELD where `reason` says so.
    """
    plain = word.split(" by ", 1)[0].strip()
    stem = plain.removesuffix("+")
    state = _STATES.get(stem)
    if state is None and plain.endswith("+") and stem:
        found = {_STATES[name] for name in _STATES if name.startswith(stem)}
        state = found.pop() if len(found) == 1 else None
    if state is JobState.QUEUED and _HELD.fullmatch(reason.strip()):
        return JobState.HELD
    return state or JobState.UNKNOWN


def exit_code(state: JobState, text: str) -> int | None:
    """The exit code as a shell gives it, 128 + signal included.

    `text` is `code:signal` (sacct, scontrol, newer squeue) or a wait status (squeue until 22.05).
    A zero of a job that did not complete says nothing (TIMEOUT is recorded as 0:0): None. sacct of
    22.05 shows codes from 128 on less 128, so that 9 may have been 137.
    """
    if not state.terminal:
        return None
    if re.fullmatch(r"[0-9]{1,9}", text):
        code, signal = int(text) >> 8 & 0xFF, int(text) & 0x7F
    elif re.fullmatch(r"[0-9]{1,3}:[0-9]{1,3}", text):
        code, signal = (int(part) for part in text.split(":"))
    else:
        return None
    if 0 < signal <= _SIGNALS:
        return 128 + signal
    if code:
        return code
    return 0 if state is JobState.COMPLETED and not signal else None


def concerns(shown: str, asked: str) -> bool:
    """Whether a row's id is that of the job asked for, or of a part of it.

    `12` has the parts `12_3`, `12_[0-3]` and `12+1`; `12_3` is part of a row `12_[0-3]`.
    """
    if shown == asked:
        return True
    found = SHOWN_ID.fullmatch(shown)
    if found is None:
        return False
    if asked == found["base"]:
        return True
    base, underscore, task = asked.partition("_")
    tasks = _TASKS.fullmatch(shown[len(base) + 1 :])
    return bool(underscore) and base == found["base"] and tasks is not None and _has(tasks[1], task)


def base_id(shown: str) -> str:
    """The id a submission was answered with: `12` for `12_[0-3]`."""
    found = SHOWN_ID.fullmatch(shown)
    return found["base"] if found else shown


def _has(tasks: str, task: str) -> bool:
    """Whether a list such as `0-3,7,10-20:2` holds a number."""
    for part in tasks.split(","):
        found = re.fullmatch(r"([0-9]+)(?:-([0-9]+)(?::([1-9][0-9]*))?)?", part)
        if found is None:
            continue
        first, last, step = int(found[1]), int(found[2] or found[1]), int(found[3] or 1)
        if first <= int(task) <= last and (int(task) - first) % step == 0:
            return True
    return False
