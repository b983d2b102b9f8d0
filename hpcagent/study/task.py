"""The agent of a probe, a doctor's visit or a build."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from types import MappingProxyType

from hpcagent.errors import SchedulerRefused
from hpcagent.records import Refused
from hpcagent.study import units
from hpcagent.study.agent import RunAgent
from hpcagent.study.build_task import BUILD
from hpcagent.study.codegen_task import CODEGEN
from hpcagent.study.doctor_task import DOCTOR
from hpcagent.study.kernels_task import KERNELS
from hpcagent.study.packs import Pack
from hpcagent.study.probe_task import PROBE
from hpcagent.study.state import Unit
from hpcagent.study.task_plan import Kind, Task, next_step
from hpcagent.study.turn import Turn

_KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "probe": PROBE,
        "doctor": DOCTOR,
        "build": BUILD,
        "codegen": CODEGEN,
        "kernels": KERNELS,
    }
)


def kind_of(task: Task) -> Kind:
    return _KINDS[task.kind]


class TaskAgent(RunAgent):
    """The one writer of such a run."""

    @cached_property
    def _task(self) -> Task:
        return Task.of(self.state)

    def _advance(self) -> Turn:
        return self._follow(next_step(kind_of(self._task), self._task, self.state))

    def _files(self, unit: Unit) -> dict[str, str]:
        plan = units.Plan(unit.kind, unit.purpose, unit.resources, unit.spec)
        own = kind_of(self._task).files(self._task, self.state, unit)
        return units.unit_files(None, plan, unit.name) | own

    def _refused(self, pack: Pack, answer: Refused) -> Turn:
        """Of several targets one may be refused: the others are visited all the same."""
        try:
            return super()._refused(pack, answer)
        except SchedulerRefused as error:
            if len(self._task.targets) == 1:
                raise
            return Turn(str(error))

    def _closes_when_refused(self) -> bool:
        return len(self._task.targets) == 1
