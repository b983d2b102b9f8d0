"""The runs below a plan: where they are, how they stand, and what a step leaves for later ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hpcagent.errors import UsageError
from hpcagent.study import plan
from hpcagent.study.build_task import outcome
from hpcagent.study.journal import read_journal
from hpcagent.study.knowledge import Knowledge
from hpcagent.study.outcome import summarise
from hpcagent.study.rundir import RunDir, open_run
from hpcagent.study.state import TuneState
from hpcagent.study.task_plan import Task

FOLDER = "steps"


def step_folder(run: Path, name: str) -> Path:
    return run / FOLDER / name


def opened_before(folder: Path) -> bool:
    """Whether there is a run whose journal has begun."""
    try:
        run = open_run(folder)
    except UsageError:
        return False
    return next(iter(read_journal(run.journal)), None) is not None


def begun_runs(run: RunDir, state: TuneState) -> Iterator[tuple[plan.PlanStep, RunDir]]:
    """The steps of a plan whose run is there, ended ones included, in the plan's order."""
    for step in plan.Plan.of(state).steps:
        folder = step_folder(run.path, step.name)
        if step.taken is not None:
            folder = Path(step.taken["results"][plan.RUN])
        elif not plan.told(state, plan.BEGIN, step.name):
            continue
        if opened_before(folder):
            yield step, open_run(folder)


def results_of(run: RunDir, known: Knowledge) -> dict[str, str]:
    """What later steps may refer to: field -> value."""
    found = {plan.RUN: str(run.path)}
    if run.kind == "build":
        prefixes = _prefixes(known.state)
        if len(prefixes) == 1:
            found[plan.PREFIX] = prefixes[0]
    elif run.kind == "tune":
        library = summarise(run, known).library
        if library is not None:
            found[plan.LIBRARY] = library.path
    return found


def _prefixes(state: TuneState) -> list[str]:
    """Where a build's results are: one for each kind of node that differs."""
    task = Task.of(state)
    ends = [outcome(task, state, target) for target in task.targets]
    return list(dict.fromkeys(end.prefix for end in ends if end.failure is None))
