"""`hpcagent doctor`: a node is asked what it has, then its toolchains are tried there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from hpcagent.errors import RunFailed
from hpcagent.probe.launchers import parse_mpi_list
from hpcagent.probe.machine import parse_machine
from hpcagent.probe.rawfacts import RawFacts, as_mapping
from hpcagent.probe.software import Software
from hpcagent.probe.software_facts import parse_software
from hpcagent.records import Machine, Queue
from hpcagent.study import tune
from hpcagent.study.durable import parse_utc
from hpcagent.study.probe_task import PARTS, close, probe_spec, probe_unit, within
from hpcagent.study.state import TuneState, Unit
from hpcagent.study.task_plan import Target, Task
from hpcagent.study.units import Plan
from hpcagent.toolchain.agentchecks import AgentAsks, Site
from hpcagent.toolchain.cellspec import DoctorPlan, doctor_plan
from hpcagent.toolchain.choose import Preference
from hpcagent.toolchain.ranking import judge
from hpcagent.toolchain.verdict import DoctorResult

_MARGIN_S = 60
_NO_MPI = ("none", "openmpi", "cray_shasta")
_MOST_TYPES = 4


@dataclass(frozen=True)
class Visit:
    """What the doctor looks at, as the journal keeps it (`Task.request`).

    `all_` tries the full product; `folder` is where runs are kept; `login` are the raw facts of the
    machine where users build, None where jobs run on that one; the rest is what it was told of
    queues and accounts. `preferred` are the fields of what the configuration takes first.
    """

    all_: bool
    folder: str
    login_host: str
    login: Mapping[str, Any] | None
    queues: tuple[Mapping[str, Any], ...] = ()
    accounts: tuple[str, ...] = ()
    accounts_missing: str = ""
    preferred: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, task: Task) -> Visit:
        """RunFailed where the journal holds something else."""
        try:
            row = dict(task.request)
            lists = {name: tuple(row[name]) for name in ("queues", "accounts")}
            return cls(**{**row, **lists})
        except (KeyError, TypeError) as error:
            raise RunFailed(
                f"the journal is damaged: what to look at is not told: {error}"
            ) from None

    @property
    def site(self) -> Site:
        queues = tuple(Queue(**row) for row in self.queues)
        return Site(queues, self.accounts, self.accounts_missing)


class _Doctor:
    def plan(self, task: Task, state: TuneState, target: Target) -> Plan | None:
        visit = Visit.of(task)
        probe = state.done(task.purpose("probe", target))
        if probe is None:
            return probe_unit(task, target, probe_spec(PARTS, False, visit.folder))
        purpose = task.purpose("doctor", target)
        if state.done(purpose) is not None:
            return None
        spec = dict(_plan(visit, state, target, probe).spec)
        walltime_s = within(target.resources, int(spec["budget_s"]) + _MARGIN_S)
        spec["budget_s"] = max(walltime_s - _MARGIN_S, walltime_s // 2)
        asked = replace(target.resources, walltime_s=walltime_s)
        return Plan("doctor", purpose, asked, spec, float(spec["budget_s"]))

    def files(self, task: Task, state: TuneState, unit: Unit) -> dict[str, str]:
        target = next((t for t in task.targets if unit.purpose == task.purpose("doctor", t)), None)
        probe = state.done(task.purpose("probe", target)) if target else None
        if target is None or probe is None:
            return {}
        return dict(_plan(Visit.of(task), state, target, probe).files)

    def close(self, task: Task, state: TuneState) -> tune.Close:
        """Refusals and lost units end it as failed; what does not work is its very result."""
        return close(task, state, ("probe", "doctor"), "examined")


DOCTOR = _Doctor()


def diagnosed(task: Task, state: TuneState, target: Target) -> DoctorResult | None:
    """What the doctor found at this target; None before its unit has ended."""
    probe = state.done(task.purpose("probe", target))
    attempts = state.attempts(task.purpose("doctor", target))
    unit = next((u for u in reversed(attempts) if u.finished), None)
    if probe is None or unit is None:
        return None
    visit = Visit.of(task)
    software, machine = _facts(probe)
    return judge(
        _plan(visit, state, target, probe),
        software,
        machine,
        [step.to_json() for step in unit.steps],
        login=parse_machine(visit.login) if visit.login is not None else None,
        asks=_asks(visit, state, target, unit),
        site=visit.site,
        unfinished=unit.failure.evidence if unit.failure is not None else "",
    )


def _plan(visit: Visit, state: TuneState, target: Target, probe: Unit) -> DoctorPlan:
    software, machine = _facts(probe)
    asks, prefer = _asks(visit, state, target, None), Preference(**visit.preferred)
    types = srun_types(probe.facts or {}) if state.settings.scheduler == "slurm" else ()
    return doctor_plan(
        software, machine, all_=visit.all_, asks=asks, prefer=prefer, srun_types=types
    )


def srun_types(raw: Mapping[str, Any]) -> tuple[str, ...]:
    """What `srun --mpi=list` told on the node, without what starts no MPI of today."""
    node = RawFacts(RawFacts(RawFacts(raw).section("parts")).section("node"))
    record = as_mapping(node.section("commands").get("srun_mpi"))
    out, err = (str(record.get(name) or "") for name in ("stdout", "stderr"))
    listed = parse_mpi_list(out, err)
    names = listed.types if listed is not None else ()
    return tuple(name for name in names if name not in _NO_MPI)[:_MOST_TYPES]


def _facts(probe: Unit) -> tuple[Software, Machine]:
    facts = probe.facts or {}
    return parse_software(facts.get("parts", {}).get("software", {})), parse_machine(facts)


def _asks(visit: Visit, state: TuneState, target: Target, unit: Unit | None) -> AgentAsks:
    """Clocks are compared where the unit has run: it lay between its submission and its end."""
    asked = target.resources
    return AgentAsks(
        scheduler=state.settings.scheduler,
        partition=asked.partition,
        account=asked.account,
        walltime_s=unit.resources.walltime_s if unit is not None else 0,
        login_host=visit.login_host,
        asked_at=_seconds(unit.submitted_utc) if unit is not None else 0.0,
        seen_at=_seconds(unit.result_utc) if unit is not None else 0.0,
    )


def _seconds(utc: str) -> float:
    return parse_utc(utc).timestamp() if utc else 0.0
