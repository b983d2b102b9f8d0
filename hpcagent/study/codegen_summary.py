"""From the journal of a code generation to the record that is shown."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hpcagent.codegen.cases import operations
from hpcagent.codegen.outcome import evidence_for_model
from hpcagent.measure.statistics import Claim
from hpcagent.records import Failure
from hpcagent.study.codegen_measuring import fastest_possible
from hpcagent.study.codegen_story import Attempt, Story, story
from hpcagent.study.codegen_task import confirmed, tools_of
from hpcagent.study.state import TuneState, Unit
from hpcagent.study.task_plan import Task


@dataclass(frozen=True)
class AttemptSummary:
    """One attempt. `speedup` is against the baseline (None: not measured), `spread` the standard
    error of its logarithm; `rates` the figure of each measured case in the task's unit, `shares`
    that of the node's peak where one is known; `worst` the largest error in units of what is
    allowed, `seconds` what its unit took, and `stages` what each stage did. `evidence` is that of
    the failure, filtered; `remarks` what the compiler said of loops."""

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
    shares: Mapping[str, float] = field(default_factory=dict)
    stages: Mapping[str, float] = field(default_factory=dict)
    flags: tuple[str, ...] = ()
    evidence: str = ""
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class RoundSummary:
    """A measurement: what it was for, its unit, how many processes ran, and what it took."""

    purpose: str
    unit: str
    processes: int
    seconds: float


@dataclass(frozen=True)
class CodegenSummary:
    """`function` names the function or program, `baseline` what speed-ups are relative to: the
    reference, or the label of the first attempt that passed. `best` is the number of the fastest
    attempt that passed; `claim` what fresh pairs say of it.

    `walls` are the protections of the quarantine: a name, and "" or why the node has it not.
    `path` are the attempts that led to the best, from the first; `counters` is why the node's
    hardware counters cannot be read ("" where they can, or nobody has tried yet).
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
    path: tuple[int, ...] = ()
    rounds: tuple[RoundSummary, ...] = ()
    counters: str = ""
    baseline: str = "the reference"


def summarise_codegen(task: Task, state: TuneState) -> CodegenSummary:
    told = story(task, state)
    wanted = told.wish.task
    probe = state.done(task.purpose("probe", task.targets[0]))
    limits = fastest_possible(wanted, probe) if probe is not None else {}
    return CodegenSummary(
        task=wanted.name,
        function=wanted.subject,
        language=wanted.language,
        parallel=wanted.parallel,
        unit=wanted.metric.unit,
        tools=tools_of(told.wish, probe).words if probe is not None and state.units[1:] else "",
        attempts=tuple(_attempt(told, one, limits) for one in told.attempts),
        best=told.best.number if told.best is not None else None,
        claim=confirmed(told),
        walls=_walls(told),
        baseline=told.baseline.label if told.baseline is not None else "",
        path=_path(told),
        rounds=_rounds(state),
        counters=str(_told(told.attempts[0], "link").get("counters", "")),
    )


def _told(one: Attempt, stage: str) -> Mapping[str, Any]:
    return one.checked.told.get(stage, {}) if one.checked is not None else {}


def _attempt(told: Story, one: Attempt, limits: Mapping[str, float]) -> AttemptSummary:
    check = _told(one, "check")
    unit = told.state.done(one.purpose)
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
        shares={n: limits[n] / seconds for n, seconds in one.medians.items() if n in limits},
        stages={step.step: step.seconds for step in unit.steps} if unit is not None else {},
        flags=_flags(unit),
        evidence=evidence_for_model(one.failure) if one.failure is not None else "",
        remarks=one.checked.remarks if one.checked is not None else (),
    )


def _flags(unit: Unit | None) -> tuple[str, ...]:
    """What the source was compiled with."""
    row = unit.spec.get("attempt", {}) if unit is not None else {}
    return tuple(str(flag) for flag in row.get("kernel_flags", ()))


def _path(told: Story) -> tuple[int, ...]:
    """The best, its parent, and so on, in the order in which they came to be."""
    found: list[int] = []
    place = told.best.number if told.best is not None else None
    while place is not None and place not in found:
        found.append(place)
        place = told.attempts[place].parent
    return tuple(reversed(found))


def _rounds(state: TuneState) -> tuple[RoundSummary, ...]:
    return tuple(
        RoundSummary(u.purpose, u.name, len(u.runs), u.job_seconds)
        for u in state.units
        if u.finished and u.failure is None and "codegen" in u.spec
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
        check = _told(one, "check")
        if check.get("protections"):
            rows = check["protections"].items()
            return {str(name): "" if how is True else str(how) for name, how in rows}
    return {}
