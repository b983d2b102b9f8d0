"""A plan as it is shown: plain values, from its journal and those of its steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hpcagent.errors import HpcagentError
from hpcagent.study import budget, plan
from hpcagent.study.durable import seconds_between
from hpcagent.study.plan_steps import folder_of, opened_before
from hpcagent.study.rundir import RunDir, open_run
from hpcagent.study.session import read_state
from hpcagent.study.state import TuneState

WAITING, UNDER_WAY, DONE, FAILED, LEFT_OUT = "waiting", "under way", "done", "failed", "left out"
# What there is to tell of a step's run, in a sentence.
Teller = Callable[[RunDir, TuneState], str]


@dataclass(frozen=True)
class Span:
    """A job of a step, in seconds: submitted so long after the plan was begun, then how long it
    was queued and how long it ran."""

    start: float
    queued: float
    ran: float


@dataclass(frozen=True)
class StepSummary:
    """`run` is the folder of its run (empty: none yet), `told` a sentence on it, or why there is
    none; `words` are those of its command, with what was referred to put in once it has begun.
    A step that was taken over from an earlier run costs this one nothing."""

    name: str
    command: str
    words: tuple[str, ...]
    needs: tuple[str, ...]
    state: str
    told: str
    run: str
    outcome: str
    exit_code: int | None
    core_hours: float
    created_utc: str
    closed_utc: str
    spans: tuple[Span, ...] = ()


@dataclass(frozen=True)
class PlanSummary:
    """`outcome` is empty while the plan goes on; `core_hours` are those of all steps."""

    run_id: str
    title: str
    file: str
    version: str
    created_utc: str
    closed_utc: str
    outcome: str
    outcome_text: str
    core_hours: float
    steps: tuple[StepSummary, ...]


def summarise_plan(run: RunDir, state: TuneState, tell: Teller) -> PlanSummary:
    """The summary of a plan at any point of its life."""
    wanted = plan.Plan.of(state)
    steps = tuple(_step(step, run, state, tell) for step in wanted.steps)
    closed = state.closed or {}
    return PlanSummary(
        run_id=run.id,
        title=wanted.title,
        file=wanted.file,
        version=state.version,
        created_utc=state.created_utc,
        closed_utc=state.closed_utc,
        outcome=str(closed.get("outcome", "")),
        outcome_text=str(closed.get("text", "")),
        core_hours=sum(step.core_hours for step in steps),
        steps=steps,
    )


def _step(step: plan.PlanStep, run: RunDir, state: TuneState, tell: Teller) -> StepSummary:
    begin, end, skip = (plan.told(state, w, step.name) for w in (plan.BEGIN, plan.END, plan.SKIP))
    folder = folder_of(run, state, step)
    child, said = (None, "") if folder is None else _child(folder, tell)
    mine = None if step.taken is not None else child
    if step.taken is not None:
        said = f"taken over: {said}"
    if skip is not None:
        said = str(skip["reason"]).removeprefix(f"{LEFT_OUT}: ")
    elif begin is None and end is None and step.needs and state.closed is None:
        said = f"for {', '.join(n for n in step.needs if not plan.told(state, plan.END, n))}"
    return StepSummary(
        name=step.name,
        command=step.command,
        words=tuple(begin["words"]) if begin is not None else step.words,
        needs=step.needs,
        state=_state(begin is not None, skip is not None, end is not None and plan.ended_well(end),
                     end is not None),
        told=said,
        run="" if child is None else str(folder),
        outcome=str(end["outcome"]) if end is not None else "",
        exit_code=int(end["exit_code"]) if end is not None else None,
        core_hours=0.0 if mine is None else budget.spent_core_hours(mine),
        created_utc="" if child is None else child.created_utc,
        closed_utc="" if child is None else child.closed_utc,
        spans=() if mine is None else _spans(mine, state.created_utc),
    )  # fmt: skip


def _child(folder: Path, tell: Teller) -> tuple[TuneState | None, str]:
    """The state of a step's run and what there is to tell of it, or why neither can be read."""
    try:
        if not opened_before(folder):
            return None, ""
        below = open_run(folder)
        state = read_state(below)
        return state, tell(below, state)
    except HpcagentError as error:
        return None, f"it cannot be read: {error}"


def _spans(state: TuneState, began_utc: str) -> tuple[Span, ...]:
    """The jobs that have ended; the units of one pack share theirs."""
    first = {unit.job_id: unit for unit in reversed(state.units) if unit.job_id and unit.finished}
    return tuple(
        Span(seconds_between(began_utc, one.submitted_utc), one.queued_seconds, one.job_seconds)
        for one in reversed(first.values())
    )


def _state(begun: bool, skipped: bool, well: bool, ended: bool) -> str:
    if skipped:
        return LEFT_OUT
    if ended:
        return DONE if well else FAILED
    return UNDER_WAY if begun else WAITING
