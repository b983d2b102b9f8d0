"""Opens a run for writing: lease, journal, scheduler and agent, and closes them again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from hpcagent import plugins
from hpcagent.errors import EnvironmentProblem
from hpcagent.protocols import Scheduler
from hpcagent.study.agent import RunAgent
from hpcagent.study.codegen_agent import CodegenAgent
from hpcagent.study.codegen_writer import writer_of
from hpcagent.study.compare import CompareAgent
from hpcagent.study.compare_plan import COMPARISONS
from hpcagent.study.joint import Joint
from hpcagent.study.journal import JournalWriter, read_journal
from hpcagent.study.knowledge import Knowledge
from hpcagent.study.lease import Lease
from hpcagent.study.plan import KIND
from hpcagent.study.plan_agent import Beginner, PlanAgent, begins_nothing
from hpcagent.study.proposing import Proposer
from hpcagent.study.rundir import RunDir
from hpcagent.study.settings import TuneSettings
from hpcagent.study.state import Folding, TuneState
from hpcagent.study.task import TaskAgent
from hpcagent.study.task_plan import KINDS
from hpcagent.study.tune_agent import Agent

Publish = Callable[[RunDir, Knowledge], None]
Schedulers = Callable[[str], Scheduler]


def make_scheduler(name: str) -> Scheduler:
    """The scheduler plugin of this name; UsageError names the choices."""
    scheduler: Scheduler = plugins.load("hpcagent.schedulers", name, "scheduler").scheduler()
    return scheduler


def open_tune(
    run: RunDir,
    settings: TuneSettings,
    version: str,
    compare: Mapping[str, Any] | None = None,
    task: Mapping[str, Any] | None = None,
    plan: Mapping[str, Any] | None = None,
) -> None:
    """Write the first event of a new run; `compare`, `task` and `plan` are what others add."""
    with Lease.acquire(run.path) as lease, JournalWriter(run.journal, lease.check) as journal:
        if not journal.count:
            data: dict[str, Any] = {
                "kind": run.kind,
                "version": version,
                "settings": settings.to_json(),
            }
            data |= {} if compare is None else {"compare": compare}
            data |= {} if task is None else {"task": task}
            data |= {} if plan is None else {"plan": plan}
            journal.append("run_opened", data)


@contextmanager
def opened(
    run: RunDir,
    publish: Publish,
    begin: Beginner = begins_nothing,
    schedulers: Schedulers = make_scheduler,
) -> Iterator[RunAgent]:
    """The run's agent, with its lease held until the end of the block; RunInUse otherwise.

    `begin` makes the runs of a plan's steps.
    """
    if next(iter(read_journal(run.journal)), None) is None:
        raise _never_opened(run)
    folding = Folding(str(run.path))
    with (
        Lease.acquire(run.path) as lease,
        JournalWriter(run.journal, lease.check, heed=folding.add) as journal,
    ):
        settings = folding.state().settings
        scheduler = schedulers(settings.scheduler)
        if run.kind == KIND:
            joint = Joint(schedulers, settings.poll_s)
            planning = PlanAgent(
                run, journal, folding, scheduler, publish, begin,
                lambda step: opened(step, publish, begin, joint), joint,
            )  # fmt: skip
            try:
                yield planning
            finally:
                planning.leave()
            return
        if run.kind == "codegen":
            writing = CodegenAgent(
                run, journal, folding, scheduler, publish, writer=writer_of(settings)
            )
            try:
                yield writing
            finally:
                writing.close()
            return
        if run.kind in (*COMPARISONS, *KINDS):
            agent = CompareAgent if run.kind in COMPARISONS else TaskAgent
            yield agent(run, journal, folding, scheduler, publish)
            return
        proposer = Proposer(settings, run.llm_log)
        tuning = Agent(run, journal, folding, scheduler, proposer, publish)
        try:
            yield tuning
        finally:
            proposer.close()
            tuning.leave()


def read_state(run: RunDir) -> TuneState:
    """The state of a run as its journal has it now; reading needs no lease."""
    folding = Folding(str(run.path))
    for event in read_journal(run.journal):
        folding.add(event)
    if not folding.begun:
        raise _never_opened(run)
    return folding.state()


def _never_opened(run: RunDir) -> EnvironmentProblem:
    return EnvironmentProblem(f"{run.path}: the run was never opened; start a new one")
