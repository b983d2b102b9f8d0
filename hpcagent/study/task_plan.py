"""What a probe, a doctor's visit or a build was asked to do: its targets and what comes next.

Such a run visits each target (this machine, or a kind of node of a partition) by itself: one that
refuses or fails does not keep the others from theirs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from hpcagent.errors import RunFailed
from hpcagent.records import Failure, Resources
from hpcagent.study import tune
from hpcagent.study.state import TuneState, Unit, unusable_opening
from hpcagent.study.units import Plan

KINDS = ("probe", "doctor", "build", "codegen", "kernels")
_REFUSED = "scheduler.refused"


@dataclass(frozen=True)
class Target:
    """Where units go: `label` names it to people, `resources` is what each job there asks for.

    Its walltime_s is the most that the partition allows (0: not known), a unit asks for its own.
    """

    label: str
    resources: Resources


@dataclass(frozen=True)
class Task:
    """`request` is what its kind wants to know besides (plain JSON values)."""

    kind: str
    targets: tuple[Target, ...]
    request: Mapping[str, Any]

    @classmethod
    def of(cls, state: TuneState) -> Task:
        """What the run of this state was opened with; RunFailed where that is no task."""
        if state.task is None:
            raise RunFailed("the journal is not that of a probe, a doctor's visit or a build")
        try:
            rows = state.task["targets"]
            targets = tuple(
                Target(str(row["label"]), Resources.from_json(row["resources"])) for row in rows
            )
            return cls(str(state.task["kind"]), targets, dict(state.task["request"]))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise unusable_opening(error) from None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def purpose(self, stage: str, target: Target) -> str:
        return f"{stage}-{target.label}"


class Kind(Protocol):
    """What a kind of task does at a target, and how it ends. Pure functions of the state."""

    def plan(self, task: Task, state: TuneState, target: Target) -> Plan | tune.Decide | None:
        """The target's next unit (or one that is out), or what has to be decided before it; None:
        it needs no more."""
        ...

    def files(self, task: Task, state: TuneState, unit: Unit) -> dict[str, str]:
        """What a unit's folder holds beside what every unit of its sort has."""
        ...

    def close(self, task: Task, state: TuneState) -> tune.Close: ...


def next_step(kind: Kind, task: Task, state: TuneState) -> tune.Step:
    """The one thing to do now; the targets' units are out side by side."""
    out = {unit.purpose for unit in state.open_units}
    for target in task.targets:
        plan = kind.plan(task, state, target)
        if isinstance(plan, tune.Decide):
            return plan
        if plan is None or plan.purpose in out:
            continue
        step = _attempt(state, plan)
        if isinstance(step, tune.Submit | tune.Decide):
            return step
    return tune.Wait() if out else kind.close(task, state)


def why_given_up(state: TuneState, purpose: str) -> Failure | None:
    """The last failure of a unit that has no successful attempt."""
    if state.done(purpose) is not None:
        return None
    failures = [unit.failure for unit in state.attempts(purpose) if unit.failure is not None]
    return failures[-1] if failures else None


def _attempt(state: TuneState, plan: Plan) -> tune.Step:
    failure = why_given_up(state, plan.purpose)
    if failure is not None and failure.id == _REFUSED:
        return tune.Close("failed", failure.evidence, 4)
    return tune.attempt(state, plan)
