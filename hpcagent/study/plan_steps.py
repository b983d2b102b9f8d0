"""The runs below a plan: where they are, how they stand, and what a step leaves for later ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hpcagent.errors import HpcagentError, UsageError
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


def plan_above(run: RunDir) -> RunDir | None:
    """The plan whose step a run is; None: it is none's."""
    if run.path.parent.name != FOLDER:
        return None
    above = _readable(run.path.parent.parent)
    return above if above is not None and above.kind == plan.KIND else None


def has_jobs(folder: Path) -> bool:
    """Whether units have been written there, whatever else became of the run."""
    return any((folder / "work").glob("*"))


def folder_of(run: RunDir, state: TuneState, step: plan.PlanStep) -> Path | None:
    """Where the run of a step is, also one that was taken over; None: it has not begun."""
    if step.taken is not None:
        return Path(step.taken["results"][plan.RUN])
    begun = plan.told(state, plan.BEGIN, step.name) is not None
    return step_folder(run.path, step.name) if begun else None


def begun_runs(run: RunDir, state: TuneState) -> Iterator[tuple[plan.PlanStep, RunDir]]:
    """The steps of a plan whose run can be read, ended ones included, in the plan's order."""
    for step in plan.Plan.of(state).steps:
        folder = folder_of(run, state, step)
        found = None if folder is None else _readable(folder)
        if found is not None:
            yield step, found


def _readable(folder: Path) -> RunDir | None:
    try:
        return open_run(folder) if opened_before(folder) else None
    except HpcagentError:
        return None


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
