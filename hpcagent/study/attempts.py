"""When a unit is tried again, and when it is given up."""

from __future__ import annotations

from hpcagent.records import Failure
from hpcagent.study.state import TuneState

MAX_ATTEMPTS = 2
# What befalls a job from outside (a lost node, a preemption) is no fault of the unit.
MAX_MISHAPS = 4
# A unit that failed this way fails again: no second attempt.
_FINAL_STAGES = frozenset({"configure", "compile", "link", "load", "numerics", "environment"})
_FINAL = frozenset({"scheduler.never_started"})
_MISHAPS = frozenset(
    f"scheduler.{kind}" for kind in ("node_fail", "boot_fail", "preempted", "stopped", "lost")
)


def given_up(state: TuneState, purpose: str) -> tuple[Failure, str] | None:
    """The failure of a unit that is not tried again, and the name of the last attempt."""
    failed = [u for u in state.attempts(purpose) if u.failure is not None]
    if not failed or state.done(purpose) is not None:
        return None
    failure = failed[-1].failure
    assert failure is not None
    most = MAX_MISHAPS if failure.id in _MISHAPS else MAX_ATTEMPTS
    if len(failed) >= most or failure.id in _FINAL or failure.stage in _FINAL_STAGES:
        return failure, failed[-1].name
    return None
