"""What an agent that is interrupted leaves behind, in words that claim no more than is known."""

from __future__ import annotations

from hpcagent.errors import HpcagentError
from hpcagent.protocols import Scheduler
from hpcagent.records import JobState, JobStatus
from hpcagent.study.driven import driven
from hpcagent.study.rundir import RunDir
from hpcagent.study.session import make_scheduler, read_state
from hpcagent.study.standing import in_one_line, standing
from hpcagent.study.state import TuneState, Unit


def left_out(run: RunDir) -> str:
    """The jobs of the run that are out, and how they stand.

    The local queue is asked. A batch system is not, as its answer may take minutes: told is how its
    jobs were last seen, and the command that tells how they stand now.
    """
    try:
        state = read_state(run)
        told = [_told(its, make_scheduler(its.settings.scheduler)) for _, its in driven(run, state)]
        return "; ".join(filter(None, told)) or "no job of it is out"
    except HpcagentError as error:
        return f"what of it is out is not known ({error})"


def _told(state: TuneState, scheduler: Scheduler) -> str:
    jobs: dict[str, Unit] = {}  # units of one pack share theirs
    for unit in state.open_units:
        if unit.job_id:
            jobs.setdefault(unit.job_id, unit)
    unsure = [
        f"{unit.purpose}: no answer to its submission yet, a job may be there"
        for unit in state.open_units
        if unit.job_state is JobState.SUBMITTING and not unit.job_id
    ]
    if not jobs:
        return in_one_line(unsure)
    if scheduler.pace.poll_s == 0:
        seen = scheduler.poll(tuple(jobs))
        told = [f"job {i} ({unit.purpose}) {_now(seen.get(i))}" for i, unit in jobs.items()]
        return in_one_line([*told, *unsure])
    told = [f"job {i} ({standing(unit)})" for i, unit in jobs.items()]
    asking = scheduler.question(tuple(jobs))
    return f"last seen: {in_one_line([*told, *unsure])}" + (asking and f" (now: {asking})")


def _now(status: JobStatus | None) -> str:
    if status is None:
        return "is not known to its queue any more"
    if status.state.terminal:
        return "has ended"
    return f"is {status.word.lower()}" + (f" ({status.reason})" if status.reason else "")
