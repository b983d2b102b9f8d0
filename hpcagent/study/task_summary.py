"""From the journal of a probe, a doctor's visit or a build to the record that is shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from hpcagent.catalogue import Catalogue
from hpcagent.probe.digest import facts_digest, with_earlier
from hpcagent.probe.machine import parse_machine
from hpcagent.probe.node import NodeFacts
from hpcagent.probe.nodefacts import parse_node
from hpcagent.probe.software import Software
from hpcagent.probe.software_facts import parse_software
from hpcagent.records import Failure, Machine
from hpcagent.study import budget
from hpcagent.study.build_summary import BuildSummary, summarise_build
from hpcagent.study.codegen_summary import CodegenSummary, summarise_codegen
from hpcagent.study.doctor_task import diagnosed
from hpcagent.study.facts_cache import Kept, place_name
from hpcagent.study.kernels_task import KIND, verdicts
from hpcagent.study.probe_task import Look
from hpcagent.study.rundir import RunDir
from hpcagent.study.state import TuneState, Unit
from hpcagent.study.task_plan import Target, Task, why_given_up
from hpcagent.toolchain.verdict import DoctorResult


@dataclass(frozen=True)
class TargetSummary:
    """What became of one target. `failure` is why nothing is known of it, `unit` where it was.

    `digest` is the same for nodes of one type (probe.digest).
    """

    label: str
    partition: str
    node: str
    unit: str
    probed_utc: str
    failure: Failure | None
    machine: Machine | None = None
    software: Software | None = None
    build: BuildSummary | None = None
    hardware: NodeFacts | None = None
    digest: str = ""
    doctor: DoctorResult | None = None
    codegen: CodegenSummary | None = None
    kernels: Mapping[str, Failure | None] | None = None  # why each failed at the gate


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
    catalogue: Catalogue | None = None


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
        catalogue=Look.of(task).catalogue if task.kind == "probe" else None,
    )


def _target(task: Task, state: TuneState, target: Target) -> TargetSummary:
    purpose = task.purpose("probe", target)
    given_up = (why_given_up(state, task.purpose(stage, target)) for stage in ("probe", task.kind))
    unit = state.done(purpose)
    found = TargetSummary(
        label=target.label,
        partition=target.resources.partition or "",
        node=unit.node if unit is not None else "",
        unit=_last(state, purpose),
        probed_utc=unit.result_utc if unit is not None else "",
        failure=next((failure for failure in given_up if failure is not None), None),
        build=summarise_build(task, state, target) if task.kind == "build" else None,
        doctor=diagnosed(task, state, target) if task.kind == "doctor" else None,
        codegen=summarise_codegen(task, state) if task.kind == "codegen" else None,
        kernels=verdicts(task, state) if task.kind == KIND else None,
    )
    facts = _facts(task, target, unit)
    return found if facts is None else with_facts(found, facts)


def _facts(task: Task, target: Target, unit: Unit | None) -> Mapping[str, Any] | None:
    """What the unit found, with rates that were measured earlier where it measured none."""
    if unit is None or unit.facts is None:
        return None
    earlier = Look.of(task).earlier.get(target.label) if task.kind == "probe" else None
    return unit.facts if earlier is None else with_earlier(unit.facts, earlier)


def with_facts(found: TargetSummary, facts: Mapping[str, Any]) -> TargetSummary:
    """The summary of a target with what its raw facts say."""
    return replace(
        found,
        machine=parse_machine(facts),
        software=software_of(facts),
        hardware=parse_node(facts) if part_of(facts, "node") is not None else None,
        digest=facts_digest(facts),
    )


def kept_facts(run: RunDir, state: TuneState, cluster: str) -> tuple[Kept, ...]:
    """What the run found, to be kept for later ones; `cluster` as in facts_cache.place_name."""
    task = Task.of(state)
    found = []
    for target in task.targets:
        unit = state.done(task.purpose("probe", target))
        facts = _facts(task, target, unit)
        if unit is not None and facts is not None:
            place = place_name(state.settings.scheduler, cluster, target.label)
            digest = facts_digest(facts)
            found.append(Kept(place, unit.node, unit.result_utc, digest, run.id, facts))
    return tuple(found)


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
