"""A comparison of node types: what comes next, and the agent that does it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hpcagent.protocols import Scheduler
from hpcagent.study import tune, units
from hpcagent.study.agent import RunAgent, Turn
from hpcagent.study.clock import SYSTEM, Clock
from hpcagent.study.compare_plan import Comparison, block_plan
from hpcagent.study.compare_result import compared, side_results
from hpcagent.study.journal import JournalWriter
from hpcagent.study.knowledge import Knowledge
from hpcagent.study.rundir import RunDir
from hpcagent.study.standing import waiting_for
from hpcagent.study.state import Folding, TuneState, Unit


def next_step(comparison: Comparison, state: TuneState) -> tune.Step:
    """The one thing to do now; blocks go out one after the other, so that none disturbs another."""
    if state.open_units:
        return tune.Wait()
    for block, index in comparison.order(state.settings.seed):
        if state.done(comparison.purpose(block, index)) is None:
            return tune.attempt(state, block_plan(comparison, state, block, index))
    return _end(comparison, state)


def _end(comparison: Comparison, state: TuneState) -> tune.Close:
    results = compared(comparison, side_results(comparison, state))
    if all(result.best is None and result.default is None for result in results):
        return tune.Close("failed", "too few valid measurements for any comparison", 7)
    count = comparison.blocks * len(comparison.sides)
    return tune.Close("compared", f"all {count} blocks are measured", 0)


class CompareAgent(RunAgent):
    """The one writer of a comparison's run."""

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
        self._comparison = Comparison.of(self.state)

    def _advance(self) -> Turn:
        step = next_step(self._comparison, self.state)
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
        workload = {"workload.txt": self._comparison.workload}
        return units.unit_files(None, plan, unit.name) | workload

    def _started_with(self, unit: Unit) -> tuple[str, Sequence[str]]:
        side = self._comparison.side_of(unit)
        return side.python, side.prologue
