"""From the journal of a code generation to the record that is shown."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from hpcagent.codegen.cases import operations
from hpcagent.measure.statistics import Claim
from hpcagent.records import Failure
from hpcagent.study.codegen_story import Attempt, Story, story
from hpcagent.study.codegen_task import confirmed, tools_of
from hpcagent.study.state import TuneState
from hpcagent.study.task_plan import Task


@dataclass(frozen=True)
class AttemptSummary:
    """One attempt. `speedup` is against the baseline (None: not measured), `spread` the standard
    error of its logarithm; `rates` the figure of each measured case in the task's unit; `worst`
    the largest error in units of what is allowed, `seconds` what its checks took."""

    number: int
    operation: str
    parent: int | None
    label: str
    state: str
    reason: str
    stage: str
    failure: Failure | None
    speedup: float | None
    spread: float | None
    rates: Mapping[str, float]
    worst: float | None
    instrumented: bool
    seconds: float
    files: Mapping[str, str]
    parameters: Mapping[str, str]
    unit: str


@dataclass(frozen=True)
class CodegenSummary:
    """`function` names the function or program, `baseline` what speed-ups are relative to: the
    reference, or the label of the first attempt that passed. `best` is the number of the fastest
    attempt that passed; `claim` what fresh pairs say of it.

    `walls` are the protections of the quarantine: a name, and "" or why the node has it not.
    """

    task: str
    function: str
    language: str
    parallel: str
    unit: str
    tools: str
    attempts: tuple[AttemptSummary, ...]
    best: int | None
    claim: Claim | None
    walls: Mapping[str, str] = field(default_factory=dict)
    baseline: str = "the reference"


def summarise_codegen(task: Task, state: TuneState) -> CodegenSummary:
    told = story(task, state)
    wanted = told.wish.task
    probe = state.done(task.purpose("probe", task.targets[0]))
    return CodegenSummary(
        task=wanted.name,
        function=wanted.subject,
        language=wanted.language,
        parallel=wanted.parallel,
        unit=wanted.metric.unit,
        tools=tools_of(told.wish, probe).words if probe is not None and state.units[1:] else "",
        attempts=tuple(_attempt(told, one) for one in told.attempts),
        best=told.best.number if told.best is not None else None,
        claim=confirmed(told),
        walls=_walls(told),
        baseline=told.baseline.label if told.baseline is not None else "",
    )


def _attempt(told: Story, one: Attempt) -> AttemptSummary:
    check = one.checked.told.get("check", {}) if one.checked is not None else {}
    effect = one.effect if one.failure is None else None
    worst = check.get("worst")
    return AttemptSummary(
        number=one.number,
        operation=one.operation,
        parent=one.parent,
        label=one.label,
        state=one.node.state,
        reason=one.reason,
        stage=one.checked.stage if one.checked is not None else "",
        failure=one.failure,
        speedup=math.exp(-effect.log_ratio) if effect is not None else None,
        spread=effect.spread if effect is not None and not one.baseline else None,
        rates=_rates(told, one),
        worst=float(worst) if isinstance(worst, int | float) else None,
        instrumented=bool(check.get("instrumented")),
        seconds=one.seconds,
        files=dict(one.source.files) if one.source is not None else {},
        parameters=dict(one.source.parameters) if one.source is not None else {},
        unit=one.unit,
    )


def _rates(told: Story, one: Attempt) -> dict[str, float]:
    found = {}
    for name, seconds in one.medians.items():
        count = operations(told.wish.task, name)
        found[name] = seconds if count is None else count / seconds / 1e9
    return found


def _walls(told: Story) -> dict[str, str]:
    """Of the last attempt that was checked."""
    for one in reversed(told.attempts):
        check = one.checked.told.get("check", {}) if one.checked is not None else {}
        if check.get("protections"):
            rows = check["protections"].items()
            return {str(name): "" if how is True else str(how) for name, how in rows}
    return {}
