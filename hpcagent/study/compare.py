"""A comparison of node types: what comes next, and the agent that does it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from hpcagent.study import tune, units
from hpcagent.study.agent import RunAgent
from hpcagent.study.attempts import given_up
from hpcagent.study.compare_plan import Comparison, block_plan
from hpcagent.study.compare_result import compared, scaled, side_results
from hpcagent.study.state import TuneState, Unit
from hpcagent.study.turn import Turn


def next_step(comparison: Comparison, state: TuneState) -> tune.Step:
    """The one thing to do now; blocks go out one after the other, so that none disturbs another."""
    if state.open_units:
        return tune.Wait()
    lost = _lost(comparison, state)
    for block, index in comparison.order(state.settings.seed):
        if index not in lost and state.done(comparison.purpose(block, index)) is None:
            return tune.attempt(state, block_plan(comparison, state, block, index))
    return _end(comparison, state)


def _lost(comparison: Comparison, state: TuneState) -> frozenset[int]:
    """The numbers of nodes of a scaling study on which it does not run: the others tell as much
    without them. Of two node types neither can be done without."""
    if not comparison.scaling:
        return frozenset()
    order = comparison.order(state.settings.seed)
    return frozenset(i for b, i in order if given_up(state, comparison.purpose(b, i)) is not None)


def _end(comparison: Comparison, state: TuneState) -> tune.Close:
    sides = side_results(comparison, state)
    found = scaled(comparison, sides)
    nothing = all(r.best is None and r.default is None for r in compared(comparison, sides))
    if nothing or (found is not None and found.shown < 2):
        return tune.Close("failed", "too few valid measurements for any comparison", 7)
    count = comparison.blocks * len(comparison.sides)
    lost = [comparison.sides[index].label for index in sorted(_lost(comparison, state))]
    many = "node" if lost == ["1"] else "nodes"
    told = f"; it does not run on {', '.join(lost)} {many}" if lost else ""
    words = f"all {count} blocks are measured" if not lost else "the other blocks are measured"
    return tune.Close("compared", words + told, 0)


class CompareAgent(RunAgent):
    """The one writer of a comparison's run."""

    @cached_property
    def _comparison(self) -> Comparison:
        return Comparison.of(self.state)

    def _advance(self) -> Turn:
        return self._follow(next_step(self._comparison, self.state))

    def _files(self, unit: Unit) -> dict[str, str]:
        plan = units.Plan(unit.kind, unit.purpose, unit.resources, unit.spec)
        workload = self._comparison.workload
        beside = {"workload.txt": workload} if workload else {}
        return units.unit_files(None, plan, unit.name) | beside

    def _started_with(self, unit: Unit) -> tuple[str, Sequence[str]]:
        side = self._comparison.side_of(unit)
        return side.python, side.prologue
