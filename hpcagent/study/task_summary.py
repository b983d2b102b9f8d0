"""From the journal of a probe, a doctor's visit or a build to the record that is shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hpcagent.probe.machine import parse_machine
from hpcagent.probe.software import Software
from hpcagent.probe.software_facts import parse_software
from hpcagent.records import Failure, Machine
from hpcagent.study import budget
from hpcagent.study.rundir import RunDir
from hpcagent.study.state import TuneState, Unit
from hpcagent.study.task_plan import Target, Task, why_given_up


@dataclass(frozen=True)
class TargetSummary:
    """What became of one target. `failure` is why nothing is known of it, `unit` where it was."""

    label: str
    partition: str
    node: str
    unit: str
    probed_utc: str
    failure: Failure | None
    machine: Machine | None
    software: Software | None


@dataclass(frozen=True)
class TaskSummary:
    """`outcome` is empty while the run goes on."""

    run_id: str
    kind: str
    version: str
    scheduler: str
    created_utc: str
    closed_utc: str
    outcome: str
    outcome_text: str
    core_hours: float
    targets: tuple[TargetSummary, ...]


def summarise_task(run: RunDir, state: TuneState) -> TaskSummary:
    """The summary of such a run at any point of its life."""
    task = Task.of(state)
    closed = state.closed or {}
    return TaskSummary(
        run_id=run.id,
        kind=run.kind,
        version=state.version,
        scheduler=state.settings.scheduler,
        created_utc=state.created_utc,
        closed_utc=state.closed_utc,
        outcome=str(closed.get("outcome", "")),
        outcome_text=str(closed.get("text", "")),
        core_hours=budget.spent_core_hours(state),
        targets=tuple(_target(task, state, target) for target in task.targets),
    )


def _target(task: Task, state: TuneState, target: Target) -> TargetSummary:
    purpose = task.purpose("probe", target)
    unit = state.done(purpose)
    facts = unit.facts if unit is not None else None
    return TargetSummary(
        label=target.label,
        partition=target.resources.partition or "",
        node=unit.node if unit is not None else "",
        unit=_last(state, purpose),
        probed_utc=unit.result_utc if unit is not None else "",
        failure=why_given_up(state, purpose),
        machine=parse_machine(facts) if facts is not None else None,
        software=software_of(facts),
    )


def software_of(facts: Mapping[str, Any] | None) -> Software | None:
    """The software among raw facts; None where it was not asked for."""
    raw = part_of(facts, "software")
    return None if raw is None else parse_software(raw)


def part_of(facts: Mapping[str, Any] | None, name: str) -> Mapping[str, Any] | None:
    parts = (facts or {}).get("parts")
    found = parts.get(name) if isinstance(parts, Mapping) else None
    return found if isinstance(found, Mapping) else None


def _last(state: TuneState, purpose: str) -> str:
    attempts: tuple[Unit, ...] = state.attempts(purpose)
    return attempts[-1].name if attempts else ""
