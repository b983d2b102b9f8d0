"""The agent of a probe, a doctor's visit or a build."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from hpcagent.errors import SchedulerRefused
from hpcagent.protocols import Scheduler
from hpcagent.records import Refused
from hpcagent.study import tune, units
from hpcagent.study.agent import RunAgent, Turn
from hpcagent.study.build_task import BUILD
from hpcagent.study.clock import SYSTEM, Clock
from hpcagent.study.doctor_task import DOCTOR
from hpcagent.study.journal import JournalWriter
from hpcagent.study.knowledge import Knowledge
from hpcagent.study.packs import Pack
from hpcagent.study.probe_task import PROBE
from hpcagent.study.rundir import RunDir
from hpcagent.study.standing import waiting_for
from hpcagent.study.state import Folding, Unit
from hpcagent.study.task_plan import Kind, Task, next_step

_KINDS: Mapping[str, Kind] = MappingProxyType({"probe": PROBE, "doctor": DOCTOR, "build": BUILD})


def kind_of(task: Task) -> Kind:
    return _KINDS[task.kind]


class TaskAgent(RunAgent):
    """The one writer of such a run."""

    def __init__(
        self,
        run: RunDir,
        journal: JournalWriter,
        folding: Folding,
        scheduler: Scheduler,
        publish: Callable[[RunDir, Knowledge], None],
        clock: Clock = SYSTEM,
    ) -> None:
        super().__init__(run, journal, folding, scheduler, publish, clock)
        self._task = Task.of(self.state)
        self._kind = kind_of(self._task)

    def _advance(self) -> Turn:
        step = next_step(self._kind, self._task, self.state)
        if isinstance(step, tune.Submit):
            return self._open(step.plan)
        if isinstance(step, tune.Decide):
            return self._decide(step)
        if isinstance(step, tune.Close):
            self._close(step)
            return Turn(step.text, closed=True)
        return Turn(waiting_for(self.state), waiting=True)

    def _files(self, unit: Unit) -> dict[str, str]:
        plan = units.Plan(unit.kind, unit.purpose, unit.resources, unit.spec)
        own = self._kind.files(self._task, self.state, unit)
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
