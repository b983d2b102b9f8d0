"""A chain of batch jobs that drives a run: each does what can be done, and another follows it.

A link never waits in its allocation for the queue. Before it does anything it submits its
successor, to start when it has ended, however it ends; when the run's jobs are out it submits
another one that waits for these, and takes the first back. Of a plan it waits for the last job of
any step, where the scheduler knows such a dependency: steps differ in length.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from hpcagent.apps.render import job_script
from hpcagent.errors import EnvironmentProblem, RunFailed, SchedulerRefused, SchedulerUnreachable
from hpcagent.protocols import Scheduler
from hpcagent.records import Ambiguous, OwnJob, Refused
from hpcagent.study.durable import json_bytes, parse_object, problem, write_atomic
from hpcagent.study.rundir import unit_name
from hpcagent.templates import quote_sh

# Links in a row that moved the run by no event: something keeps them from working.
MAX_IDLE = 3
WARN_S = 120
# A link lives as long as the controller is away, for nobody else would go on.
LONGEST_OUTAGE_S = 900.0
PAUSE_S = 10.0


@dataclass(frozen=True)
class ChainState:
    """What chain.json holds: the successor, how long the chain has not moved the run, and which
    batch `system` its jobs are in (empty: not told)."""

    link: int = 0
    next_job: str = ""
    events: int = -1
    idle: int = 0
    system: str = ""


class Chain:
    """The successors of one run's agent; `folder` keeps their scripts and output.

    Each starts `argv` in `cwd`, with `environment` on top of what the scheduler gives it.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        job: OwnJob,
        folder: Path,
        argv: Sequence[str],
        cwd: Path,
        environment: Mapping[str, str],
        system: str = "",
    ) -> None:
        self._scheduler = scheduler
        self._job = job
        self._folder = folder
        self._argv = tuple(argv)
        self._cwd = cwd
        self._exports = tuple(f"export {k}={quote_sh(v)}" for k, v in sorted(environment.items()))
        self._state = replace(read_chain(folder), system=system)

    def begin(self, events: int) -> None:
        """Submit the successor that starts when this job has ended.

        `events` is the length of the run's journal. Raises RunFailed where several links in a row
        have not moved it, SchedulerRefused where this node may not submit.
        """
        idle = self._state.idle + 1 if events == self._state.events else 0
        if idle >= MAX_IDLE:
            raise RunFailed(
                f"the last {idle} agent jobs did nothing; no other is submitted: see {self._folder}"
            )
        self._keep(replace(self._state, events=events, idle=idle))
        if not self._followed():
            self._follow((self._job.id,))

    def _followed(self) -> bool:
        """A job that is run again, after a preemption, has submitted its successor before."""
        following = self._state.next_job
        if following in ("", self._job.id):
            return False
        status = self._scheduler.poll([following]).get(following)
        # A link that died while it submitted has counted a successor that may not be there.
        links = (self._state.link, self._state.link - 1)
        names = [unit_name(str(self._folder), link) for link in links]
        return status is not None and status.is_of(*names) and not status.state.terminal

    def wait_for(self, jobs: Sequence[str], any_of: bool = False) -> str:
        """Let the successor wait for these jobs (or for any of them) instead of this one; its
        number."""
        guard = self._state.next_job
        self._follow(jobs, any_of)
        self._scheduler.cancel([guard])
        return self._state.next_job

    def end(self) -> None:
        """The run is over: no successor."""
        drop(self._scheduler, self._folder)

    def begin_anew(self) -> None:
        """Nothing is left of a run whose first job was refused: the next try is a chain's first."""
        self._keep(ChainState(link=self._state.link, system=self._state.system))

    def _follow(self, after: Sequence[str], any_of: bool = False) -> None:
        link = self._state.link + 1
        name = unit_name(str(self._folder), link)
        script = self._write(link, name, after, any_of)
        self._keep(replace(self._state, link=link))
        self._keep(replace(self._state, next_job=self._submitted(script, name)))

    def _submitted(self, script: Path, name: str) -> str:
        """Submit a script once, and find its job where that gets no answer."""
        answer = self._scheduler.submit(script)
        began = time.monotonic()
        while isinstance(answer, Ambiguous):
            waited_s = time.monotonic() - began
            if waited_s > LONGEST_OUTAGE_S:
                raise SchedulerUnreachable(f"no answer to a submission: {answer.words}")
            time.sleep(PAUSE_S)
            with suppress(SchedulerUnreachable):
                found = self._scheduler.find(name)
                if found:
                    return found[0]
                if waited_s > self._scheduler.pace.settle_s:
                    answer = self._scheduler.submit(script)
        if isinstance(answer, Refused):
            raise SchedulerRefused(
                f"a job may not submit its successor from here: {answer.words}; tune inside the "
                "allocation (chain --in-allocation), or call `hpcagent step RUN` from a login node"
            )
        return answer.job_id

    def _write(self, link: int, name: str, after: Sequence[str], any_of: bool) -> Path:
        asks = replace(self._job.asks, after=tuple(after), after_any=any_of, warn_s=WARN_S)
        folder = self._folder / f"{link:04d}"
        directives = self._scheduler.directives(asks, name)
        text = job_script(directives, self._exports, str(self._cwd), list(self._argv))
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_atomic(folder / "job.sh", text.encode("utf-8"))
        except OSError as error:
            raise problem("write", folder / "job.sh", error) from None
        return folder / "job.sh"

    def _keep(self, state: ChainState) -> None:
        self._state = state
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            write_atomic(self._folder / "chain.json", json_bytes(asdict(state)))
        except OSError as error:
            raise problem("write", self._folder / "chain.json", error) from None


def chain_folder(run: Path) -> Path:
    """Beside the run, for the first link starts before the run is made."""
    return run.with_name(run.name + ".agent")


def read_chain(folder: Path) -> ChainState:
    try:
        values = parse_object((folder / "chain.json").read_bytes())
        return ChainState(**values)
    except FileNotFoundError:
        return ChainState()
    except OSError as error:
        raise problem("read", folder / "chain.json", error) from None
    except (ValueError, TypeError) as error:
        raise EnvironmentProblem(
            f"{folder / 'chain.json'} is damaged ({error}): remove it"
        ) from None


def drop(scheduler: Scheduler, folder: Path) -> None:
    """Take back the successor of a run's agent, if there is one."""
    state = read_chain(folder)
    if state.next_job:
        scheduler.cancel([state.next_job])
