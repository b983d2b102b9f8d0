"""Where `exhaustive.py` measures: on this machine, or as jobs of a private Slurm that it starts."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from harness import ROOT, measure, tell

if TYPE_CHECKING:
    from lab.slurm_lab import Cluster

    from hpcagent.measure.results import Run
    from hpcagent.study.knowledge import Knowledge
    from hpcagent.study.state import Unit
    from hpcagent.study.units import Plan

PARTITION = "one"  # of the private Slurm: one node, so that no two jobs measure at once
LIVE = ("PENDING", "RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED")
ACCOUNTING_S = 60.0  # sacct comes after the facts
MARKER_S = 30.0  # a unit's marker, too, may be seen after the end of its job


@dataclass(frozen=True)
class Bill:
    """What units cost: seconds times the cores that their jobs held, and the wall time from the
    first submission to the last result, waiting in the queue included."""

    core_s: float
    wall_s: float


@dataclass(frozen=True)
class Measured:
    rounds: list[tuple[Run, ...]]
    bill: Bill


class Place(Protocol):
    """`settings` are those of a run whose units are to go there, `words` what tells `tune` so."""

    @property
    def settings(self) -> Mapping[str, Any]: ...

    @property
    def words(self) -> tuple[str, ...]: ...

    def measure(self, folder: Path, known: Knowledge, plans: Mapping[str, Plan]) -> Measured:
        """These rounds by the real worker, in folders of these names."""
        ...

    def core_seconds(self, units: Sequence[Unit]) -> dict[str, float]:
        """What the jobs of these units held, by unit."""
        ...


@contextmanager
def place(scheduler: str) -> Iterator[Place]:
    """`local` or `slurm`; processes and files of the Slurm are gone at the end."""
    if scheduler == "local":
        yield Here()
        return
    if scheduler != "slurm":
        raise SystemExit(f"--scheduler: {scheduler!r} is unknown: choose local or slurm")
    sys.path.insert(0, str(ROOT / "tests"))
    from lab import slurm_lab

    from hpcagent.measure.worker import PLACES_VARIABLE

    if missing := slurm_lab.absent():
        raise SystemExit(f"--scheduler slurm: {missing} is not installed")
    with slurm_lab.cluster() as cluster:
        for name in [k for k in os.environ if k.startswith(("SLURM_", "SBATCH_"))]:
            del os.environ[name]
        # Its nodes are nodes of their own: no unit waits for another hpcagent on this machine.
        os.environ.update({**cluster.env, PLACES_VARIABLE: str(cluster.folder)})
        tell(f"a private Slurm runs in {cluster.folder}")
        yield OnSlurm(cluster)


class Here:
    """The table by the worker alone, `tune` through the local queue."""

    settings: Mapping[str, Any] = {}
    words = ()

    def measure(self, folder: Path, known: Knowledge, plans: Mapping[str, Plan]) -> Measured:
        began = time.monotonic()
        rounds = []
        for name, plan in plans.items():
            rounds.append(measure(folder / name, known, plan.spec))
            tell(f"{name}: {len(rounds)} of {len(plans)} rounds")
        wall_s = time.monotonic() - began
        return Measured(rounds, Bill(wall_s * known.state.settings.cores, wall_s))

    def core_seconds(self, units: Sequence[Unit]) -> dict[str, float]:
        return {unit.name: unit.job_seconds * unit.resources.cpus_per_task for unit in units}


class OnSlurm:
    """Every unit is a job: the table's are all submitted at once, `tune` submits its own."""

    words = ("--scheduler", "slurm", "--partition", PARTITION)

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    @property
    def settings(self) -> Mapping[str, Any]:
        from hpcagent.records import Resources

        return {"scheduler": "slurm", "asks": Resources(walltime_s=0, partition=PARTITION)}

    def measure(self, folder: Path, known: Knowledge, plans: Mapping[str, Plan]) -> Measured:
        from hpcagent.measure.results import parse_results

        began = time.monotonic()
        jobs = {name: _submit(folder / name, known, plan) for name, plan in plans.items()}
        self._wait(folder, jobs, sum(plan.resources.walltime_s for plan in plans.values()))
        wall_s = time.monotonic() - began
        rounds = []
        for name, plan in plans.items():
            text = (folder / name / "result.jsonl").read_text("utf-8")
            rounds.append(parse_results(text, plan.spec["weights"]))
        return Measured(rounds, Bill(sum(self._charged(tuple(jobs)).values()), wall_s))

    def core_seconds(self, units: Sequence[Unit]) -> dict[str, float]:
        return self._charged([unit.name for unit in units if unit.job_id])

    def _wait(self, folder: Path, jobs: Mapping[str, str], limit_s: float) -> None:
        """Until every unit has its marker; SystemExit where one ended without, or badly."""
        began = time.monotonic()
        looked, marked = began, began
        while missing := [name for name in jobs if not _ended_well(folder / name)]:
            time.sleep(0.2)
            now = time.monotonic()
            if now - looked < 10.0:
                continue
            looked = now
            tell(f"{len(jobs) - len(missing)} of {len(jobs)} jobs have ended")
            states = self._cluster.jobs()
            if any(states.get(jobs[name]) in LIVE for name in missing):
                marked = now
            if now - marked > MARKER_S or now - began > limit_s:
                raise SystemExit(f"no result of {', '.join(missing)}")

    def _charged(self, names: Sequence[str]) -> dict[str, float]:
        """Core-seconds by job name, as Slurm accounts for them (whole seconds a job)."""
        limit = time.monotonic() + ACCOUNTING_S
        words = ("-a", "-X", "-n", "-P", "-S", "2000-01-01", "-o", "JobName,State,CPUTimeRAW")
        while True:
            rows = [row.split("|") for row in self._cluster.ask("sacct", *words).splitlines()]
            over = [row for row in rows if row[0] in set(names) and row[1] not in LIVE]
            if {row[0] for row in over} == set(names):
                found = dict.fromkeys(names, 0.0)
                for name, _, seconds in over:
                    found[name] += float(seconds)
                return found
            if time.monotonic() > limit:
                raise SystemExit("sacct does not know all jobs")
            time.sleep(0.5)


def _submit(folder: Path, known: Knowledge, plan: Plan) -> str:
    """The job's id. The files are those that the agent itself would write."""
    from hpcagent.records import Submitted
    from hpcagent.study.session import make_scheduler
    from hpcagent.study.units import program, script, unit_files

    settings = known.state.settings
    scheduler = make_scheduler(settings.scheduler)
    folder.mkdir(parents=True)
    for name, text in unit_files(known, plan, folder.name).items():
        (folder / name).write_text(text, encoding="utf-8")
    text = script(
        program(plan.purpose, plan.spec), plan.resources, folder.name, [folder], scheduler,
        settings.python, settings.prologue,
    )  # fmt: skip
    (folder / "job.sh").write_text(text, encoding="utf-8")
    answer = scheduler.submit(folder / "job.sh")
    if not isinstance(answer, Submitted):
        raise SystemExit(f"{folder.name} was not submitted: {answer}")
    return answer.job_id


def _ended_well(folder: Path) -> bool:
    marker = folder / "done.json"
    if not marker.exists():
        return False
    done = json.loads(marker.read_text("utf-8"))
    if done["exit"] != 0:
        raise SystemExit(f"{folder.name} ended with {done['exit']}: {done.get('notes')}")
    return True


def table_plan(plan: Plan, pairs: int, seed: int) -> Plan:
    """The round with so many pairs of every point, none dropped, and time for all of them."""
    spec: dict[str, Any] = {**plan.spec}
    spec |= {"mode": "fixed", "budget_s": 900, "seed": seed}
    spec["stop_rule"] = {**spec["stop_rule"], "pairs": pairs}
    walltime_s = spec["budget_s"] + spec["timeout_s"] + 60
    resources = replace(plan.resources, walltime_s=walltime_s)
    return replace(plan, spec=spec, resources=resources)
