"""`hpcagent probe`: one collecting unit at each target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from hpcagent.catalogue import Catalogue
from hpcagent.errors import RunFailed
from hpcagent.records import Resources
from hpcagent.study import tune
from hpcagent.study.state import TuneState, Unit
from hpcagent.study.task_plan import Target, Task, why_given_up
from hpcagent.study.units import PROBE_BUDGET_S, PROBE_WALLTIME_S, Plan

PARTS: tuple[str, ...] = ("node", "software")
COMMAND_TIMEOUT_S = 20
# Loading modules one by one takes its time where a file system is slow.
LOOK_S = 240
_SPARE_S = PROBE_WALLTIME_S - PROBE_BUDGET_S


def probe_spec(parts: Sequence[str], measure: bool, folder: str) -> dict[str, Any]:
    """The collector's request: everything that can be asked, `measure`d figures where wanted.

    `folder` is a path whose file system is looked at: where runs are kept.
    """
    return {
        "schema": 1,
        "prefix": None,
        "extra_libraries": [],
        "timeout_s": COMMAND_TIMEOUT_S,
        "parts": list(parts),
        "measure": measure,
        "folder": folder,
        "look_s": LOOK_S,
        "budget_s": PROBE_BUDGET_S,
    }


def probe_unit(task: Task, target: Target, spec: dict[str, Any]) -> Plan:
    """The unit that asks a target's node what it is and has."""
    walltime_s = within(target.resources, PROBE_WALLTIME_S)
    asked = replace(target.resources, walltime_s=walltime_s)
    budget_s = min(PROBE_BUDGET_S, max(walltime_s - _SPARE_S, walltime_s // 2))
    return Plan("probe", task.purpose("probe", target), asked, {**spec, "budget_s": budget_s})


def within(there: Resources, walltime_s: int) -> int:
    """Seconds, but no more than the partition of a target allows."""
    return min(walltime_s, there.walltime_s or walltime_s)


@dataclass(frozen=True)
class Look:
    """What is asked of every node (`spec`), and what the batch system has (None: not asked).

    `earlier` maps a target's label to facts that were found there before, whose measured rates
    stand in for those that are not measured now.
    """

    spec: Mapping[str, Any]
    catalogue: Catalogue | None = None
    earlier: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, task: Task) -> Look:
        """RunFailed where the journal holds something else."""
        from pydantic import TypeAdapter, ValidationError

        try:
            return TypeAdapter(cls).validate_python(dict(task.request))
        except ValidationError as error:
            words = f"the journal is damaged: what to ask nodes is not told: {error}"
            raise RunFailed(" ".join(words.split())) from None


class _Probe:
    def plan(self, task: Task, state: TuneState, target: Target) -> Plan | None:
        unit = probe_unit(task, target, dict(Look.of(task).spec))
        return None if state.done(unit.purpose) is not None else unit

    def files(self, task: Task, state: TuneState, unit: Unit) -> dict[str, str]:
        return {}

    def close(self, task: Task, state: TuneState) -> tune.Close:
        return close(task, state, ("probe",), "probed")


PROBE = _Probe()


def close(task: Task, state: TuneState, stages: Sequence[str], outcome: str) -> tune.Close:
    """The end of a run whose targets each needed units of these stages; failed if none has them."""
    lost = {}
    for target in task.targets:
        given_up = (why_given_up(state, task.purpose(stage, target)) for stage in stages)
        failure = next((found for found in given_up if found is not None), None)
        if failure is not None:
            lost[target.label] = failure
    words = "; ".join(f"{label}: {failure.evidence}" for label, failure in lost.items())
    if len(lost) == len(task.targets):
        refused = all(failure.id == "scheduler.refused" for failure in lost.values())
        return tune.Close("failed", words, 4 if refused else 7)
    count = len(task.targets) - len(lost)
    return tune.Close(outcome, f"{count} of {len(task.targets)} targets; {words}".rstrip("; "), 0)
