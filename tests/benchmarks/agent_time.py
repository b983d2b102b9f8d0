"""The agent's own time per round: proposing, intents, submission, polls and collection.

Whole runs on the local queue with a tiny workload, in this process; every turn is timed, waiting
between turns is not. Processor time includes children (submission may start the queue's executor).
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness import TINY, finish, new_run, options, scratch, table, tell

if TYPE_CHECKING:
    from hpcagent.study.knowledge import Knowledge
    from hpcagent.study.rundir import RunDir
    from hpcagent.study.state import TuneState
    from hpcagent.study.tune_agent import Agent
    from hpcagent.study.turn import Turn

STEPS = ("propose", "intent", "submit", "poll", "collect")


@dataclass(frozen=True)
class Cost:
    """One turn: which round it belongs to (0: none), what it did, seconds of wall and CPU."""

    round: int
    step: str
    wall_s: float
    cpu_s: float


def main() -> None:
    chosen = options(__doc__, ("runs", int, 4, "runs, each with a seed of its own"))
    runs, rounds = (1, 2) if chosen.quick else (chosen.extra["runs"], 6)
    costs: list[list[Cost]] = []
    with scratch() as folder:
        for seed in range(1, runs + 1):
            costs.append(_one_run(folder, seed, rounds))
            tell(f"run {seed} of {runs}")
    _report(costs, rounds)
    figures = {"runs": [[cost.__dict__ for cost in run] for run in costs]}
    finish(chosen, figures)


def _one_run(folder: Path, seed: int, rounds: int) -> list[Cost]:
    from hpcagent.study.session import opened

    run = new_run(folder, TINY, seed=seed, rounds=rounds, repeat_s=0.005)
    costs = []
    with opened(run, _no_report) as agent:
        while True:
            before, wall, cpu = agent.state, time.perf_counter(), _cpu_s()
            turn = agent.turn()
            spent = time.perf_counter() - wall, _cpu_s() - cpu
            costs.append(Cost(_round(before), _step(before, agent, turn), *spent))
            if turn.closed:
                return costs
            if turn.waiting:
                time.sleep(0.2)


def _no_report(run: RunDir, known: Knowledge) -> None:
    """The report is drawn once a run, not once a round; memory.py has it."""


def _cpu_s() -> float:
    spent = os.times()
    return time.process_time() + spent.children_user + spent.children_system


def _round(state: TuneState) -> int:
    if state.done("feasibility") is None or "search_ended" in state.decisions:
        return 0
    return len(state.rounds) + 1


def _step(before: TuneState, agent: Agent, turn: Turn) -> str:
    after = agent.state
    if len(after.proposed) > len(before.proposed):
        return "propose"
    if len(after.units) > len(before.units):
        return "intent"
    if not before.open_units:
        return "decide"
    if not before.open_units[0].job_id:
        return "submit"
    return "poll" if turn.waiting else "collect"


def _report(costs: Sequence[Sequence[Cost]], rounds: int) -> None:
    rows: list[list[object]] = []
    for step in STEPS:
        wall = [1e3 * c.wall_s for run in costs for c in run if c.step == step and c.round > 1]
        cpu = [1e3 * c.cpu_s for run in costs for c in run if c.step == step and c.round > 1]
        rows.append([step, len(wall), statistics.median(wall), max(wall), statistics.median(cpu)])
    head = ("step, after round 1", "turns", "wall ms, median", "wall ms, largest", "CPU ms, median")
    table(head, rows)
    rows = []
    every = range(1, rounds + 1)
    for name, indices in [*((str(i), (i,)) for i in every), ("2 and later", every[1:])]:
        own = [
            [c for c in run if c.round == index and c.step != "poll"]
            for run in costs
            for index in indices
        ]
        wall = [1e3 * sum(c.wall_s for c in run) for run in own]
        cpu = [1e3 * sum(c.cpu_s for c in run) for run in own]
        rows.append([name, statistics.median(wall), min(wall), max(wall), statistics.median(cpu)])
    head = ("round, polls left out", "wall ms, median", "smallest", "largest", "CPU ms, median")
    table(head, rows)


if __name__ == "__main__":
    main()
