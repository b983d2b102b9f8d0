"""`hpcagent chain`: what a batch job of the agent runs (bin/agent_job.sh, bin/agent_job.pbs)."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType, MappingProxyType

import click

from hpcagent.cli.main import INTERRUPTED
from hpcagent.cli.place import find_run, runs_folder
from hpcagent.cli.planbegin import command_of
from hpcagent.cli.runs import drive
from hpcagent.config import load_settings
from hpcagent.errors import HpcagentError, RunInUse, SchedulerUnreachable, UsageError
from hpcagent.protocols import Scheduler
from hpcagent.records import OwnJob
from hpcagent.study import chain as links
from hpcagent.study.agent import exit_code
from hpcagent.study.budget import awaits_approval
from hpcagent.study.driven import driven
from hpcagent.study.lease import HEARTBEAT_S, MISSED_HEARTBEATS
from hpcagent.study.plan import KIND
from hpcagent.study.plan_steps import step_folder
from hpcagent.study.rundir import RunDir, resolve
from hpcagent.study.session import make_scheduler, read_state
from hpcagent.study.state import TuneState
from hpcagent.study.submission import jobs_out

# A killed agent of another node keeps its lease for so long (study/lease.py).
_LEASE_S = HEARTBEAT_S * (MISSED_HEARTBEATS + 2)
# How long jobs without a number yet are waited for before the chain goes on without them.
_NUMBERLESS_S = 300.0
_BATCH_SYSTEMS = ("slurm", "pbs")
_WAITS_FOR_ANY = "slurm"  # PBS has no dependency that one of several jobs fulfils
# The commands that a chain may begin with, and the kind of run that each makes.
_BEGINS: Mapping[str, str] = MappingProxyType({"tune": "tune", "run": KIND})


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--in-allocation", is_flag=True,
              help="Measure inside this job instead of submitting jobs.")  # fmt: skip
@click.argument("words", nargs=-1, required=True, type=click.UNPROCESSED)
def chain(words: tuple[str, ...], in_allocation: bool) -> int:
    """Do one link of a run from inside a batch job, and submit the next.

    WORDS are `tune` or `run` with their options, or `resume RUN`. The job submits what can be
    measured, submits a successor that starts when that has ended, and exits: it never waits in its
    allocation for the queue. Killed, preempted or out of time, its successor goes on.
    `hpcagent cancel RUN` ends the run and the chain.

    \b
    Examples:
      sbatch bin/agent_job.sh tune --lib openblas
      sbatch bin/agent_job.sh run plan.yaml
      sbatch --exclusive bin/agent_job.sh --in-allocation tune --lib openblas
      qsub -v HPCAGENT_ARGS="tune --lib openblas" bin/agent_job.pbs
    """
    name, scheduler, job = _here()
    path = _run_path(words, job)
    if words[0] in _BEGINS:
        words = _completed(words, path, "local" if in_allocation else name)
    flags = ("--in-allocation",) if in_allocation else ()
    argv = (*_launcher(), "chain", *flags, *words)
    folder = links.chain_folder(path)
    ours = {name: os.environ[name] for name in os.environ if name.startswith("HPCAGENT_")}
    link = links.Chain(scheduler, job, folder, argv, Path.cwd(), ours, name)
    link.begin(_events(path))
    _interrupt_before_the_end(job)
    if in_allocation:
        os.environ["HPCAGENT_QUEUE"] = str(folder / "queue")
    try:
        code = _work(words, path, until_waiting=not in_allocation)
    except HpcagentError:  # a successor would meet the same
        with suppress(SchedulerUnreachable):
            link.end()
            if _run(path) is None:
                link.begin_anew()
        raise
    _ignore_warnings()
    return _hand_over(link, path, code)


def _here() -> tuple[str, Scheduler, OwnJob]:
    for name in _BATCH_SYSTEMS:
        scheduler = make_scheduler(name)
        job = _own_job(scheduler)
        if job is not None:
            return name, scheduler, job
    raise UsageError(
        "chain works inside a batch job: `sbatch bin/agent_job.sh tune --lib openblas`; elsewhere "
        "use `hpcagent tune` or `hpcagent step RUN`"
    )


def _own_job(scheduler: Scheduler) -> OwnJob | None:
    limit = time.monotonic() + links.LONGEST_OUTAGE_S
    while True:
        try:
            return scheduler.own_job()
        except SchedulerUnreachable:
            if time.monotonic() > limit:
                raise
            time.sleep(links.PAUSE_S)


def _run_path(words: Sequence[str], job: OwnJob) -> Path:
    if words[0] == "resume" and len(words) == 2:
        return find_run(words[1]).path
    if words[0] not in _BEGINS:
        raise UsageError(
            f"chain: {' '.join(words)!r}: write `tune ...`, `run PLAN.yaml` or `resume RUN`"
        )
    for number, word in enumerate(words):
        if word.startswith("--run-dir="):
            return Path(word.partition("=")[2]).absolute()
        if word == "--run-dir" and number + 1 < len(words):
            return Path(words[number + 1]).absolute()
    number_only = "".join(c if c.isalnum() else "-" for c in job.id)
    return runs_folder() / f"{_BEGINS[words[0]]}-job-{number_only}"


def _completed(words: tuple[str, ...], path: Path, scheduler: str) -> tuple[str, ...]:
    """The same command with the run's folder and the scheduler named, as every link needs it."""
    said = {word.partition("=")[0] for word in words}
    if "--run-dir" not in said:
        words = (*words, "--run-dir", str(path))
    configured = "scheduler" in load_settings(os.environ, Path.cwd()).sources
    if "--scheduler" not in said and not (configured and scheduler != "local"):
        words = (*words, "--scheduler", scheduler)
    return words


def _launcher() -> tuple[str, ...]:
    """The words that start this program."""
    launcher = os.environ.get("HPCAGENT_LAUNCHER")
    return (launcher,) if launcher else (sys.executable, "-m", "hpcagent")


def _events(path: Path) -> int:
    """How many there are in the journals of a run and of its steps, if it is a plan."""
    journals = [path / "journal.jsonl", *step_folder(path, "").glob("*/journal.jsonl")]
    return sum(one.read_bytes().count(b"\n") for one in journals if one.exists())


def _interrupt_before_the_end(job: OwnJob) -> None:
    """SIGUSR1 is Slurm's warning (--signal); PBS has none, so the walltime is watched as well."""
    signal.signal(signal.SIGUSR1, _interrupt)
    signal.signal(signal.SIGALRM, _interrupt)
    if job.left_s is not None and job.left_s > 2 * links.WARN_S:
        signal.setitimer(signal.ITIMER_REAL, job.left_s - links.WARN_S)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _ignore_warnings() -> None:
    signal.setitimer(signal.ITIMER_REAL, 0)
    for number in (signal.SIGUSR1, signal.SIGALRM):
        signal.signal(number, signal.SIG_IGN)


def _work(words: tuple[str, ...], path: Path, until_waiting: bool) -> int:
    """One command's worth; 0 where there is more to do later."""
    deadline = time.monotonic() + _NUMBERLESS_S
    while True:
        code = _one_go(words, path, until_waiting)
        run = _run(path)
        if code or not until_waiting or run is None or time.monotonic() > deadline:
            return code
        state = read_state(run)
        if state.closed is not None or _jobs(run, state) or _awaits_approval(run, state):
            return code
        time.sleep(5)  # its submission got no answer yet


def _one_go(words: tuple[str, ...], path: Path, until_waiting: bool) -> int:
    limit = time.monotonic() + _LEASE_S
    while True:
        try:
            run = _run(path)
            if run is not None and _events(path):
                return drive(run, until_waiting=until_waiting, as_json=False)
            extra = ["--no-wait"] if until_waiting else []
            command, name = command_of(words[0]), f"hpcagent {words[0]}"
            return int(command.main([*words[1:], *extra], name, standalone_mode=False))
        except RunInUse:
            if time.monotonic() > limit:
                raise
            time.sleep(HEARTBEAT_S / 3)


def _run(path: Path) -> RunDir | None:
    return resolve(str(path), os.environ) if (path / "run.json").exists() else None


def _jobs(run: RunDir, state: TuneState) -> list[str]:
    return sorted(frozenset().union(*(jobs_out(its) for _, its in driven(run, state))))


def _awaits_approval(run: RunDir, state: TuneState) -> bool:
    return any(awaits_approval(its) for _, its in driven(run, state))


def _hand_over(link: links.Chain, path: Path, code: int) -> int:
    """Leave the run to the right successor; the job's exit code."""
    run = _run(path)
    if run is None:  # refused before there was a run: a successor would be refused as well
        link.end()
        return code
    state = read_state(run)
    if state.closed is not None:
        link.end()
        return exit_code(state)
    if code not in (0, INTERRUPTED):
        link.end()
        return code
    jobs = _jobs(run, state)
    if not jobs and _awaits_approval(run, state):
        link.end()
        return 0
    out = [its for _, its in driven(run, state) if jobs_out(its)]
    names = {its.settings.scheduler for its in out}
    if jobs and names.issubset(_BATCH_SYSTEMS):
        several = len(out) > 1 and names == {_WAITS_FOR_ANY}
        jobs = [_last_job(its) for its in out] if several else jobs
        told = (" or " if several else ", ").join(jobs)
        # Where this fails, the successor that waits for this job's end goes on.
        with suppress(HpcagentError):
            click.echo(f"successor: job {link.wait_for(jobs, several)} waits for {told}", err=True)
    return 0


def _last_job(state: TuneState) -> str:
    """With it most of what a step waits for has ended."""
    return [unit.job_id for unit in state.open_units if unit.job_id][-1]
