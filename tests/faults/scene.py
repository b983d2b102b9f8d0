"""A run of `hpcagent tune` on a private Slurm, its agents, and the moments at which to disturb it.

Each round's job comes to a gate before its worker starts. A test disturbs something, lets the job
pass, and goes on when the next one is at the gate: so a fault meets the phase that is meant.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from faults.tools import Tools, make_tools, wrap_driver
from lab.slurm_lab import Cluster
from mainjob import ROOT, Bench, make_bench

from hpcagent.study.journal import read_journal
from hpcagent.study.rundir import open_run
from hpcagent.study.session import read_state
from hpcagent.study.state import TuneState, Unit

LONG = os.environ.get("HPCAGENT_FAULTS") == "long"
DEADLINE_S = 300.0
# What an agent may end with while its surroundings are disturbed: the environment (3), a refusal
# (4). A run that somebody else has (6) is expected only where a test says so.
DISTURBED = (3, 4)
GRACE_S, SETTLE_S, LOST_S = 4.0, 3.0, 6.0


class Stuck(AssertionError):
    """What was waited for did not come."""


@dataclass
class Scene:
    """A run and who works on it. `codes` are the exit codes of the agents that ended."""

    bench: Bench
    cluster: Cluster
    tools: Tools
    words: Sequence[str]
    codes: list[int] = field(default_factory=list)
    kills: int = 0
    released: int = 0
    _next_release: float = 0.0
    agent: subprocess.Popen[bytes] | None = None
    _said: IO[bytes] | None = None
    _size: int = -1
    _state: TuneState | None = None

    # --- the run ---------------------------------------------------------------------------------

    @property
    def run(self) -> Path:
        return self.bench.run

    @property
    def state(self) -> TuneState:
        """What the journal says now."""
        size = (self.run / "journal.jsonl").stat().st_size
        if self._state is None or size != self._size:
            self._state, self._size = read_state(open_run(self.run)), size
        return self._state

    @property
    def opened(self) -> bool:
        journal = self.run / "journal.jsonl"
        return journal.exists() and any(True for _ in read_journal(journal))

    @property
    def closed(self) -> bool:
        return self.opened and self.state.closed is not None

    @property
    def results(self) -> int:
        return sum(unit.finished for unit in self.state.units)

    def unit(self, name: str) -> Unit:
        return next(unit for unit in self.state.units if unit.name == name)

    def folder(self, unit: str) -> Path:
        return self.run / "work" / unit

    # --- agents ----------------------------------------------------------------------------------

    def argv(self) -> list[str]:
        """The command that begins or continues the run."""
        words = ["resume", str(self.run)] if self.opened else self.words
        return self.bench.argv(*words)

    def start(self) -> None:
        self._said = (self.bench.folder / "said").open("ab")
        self.agent = subprocess.Popen(
            self.argv(), cwd=self.bench.folder, env=self.bench.env,
            stdout=self._said, stderr=self._said,
        )  # fmt: skip

    def kill(self) -> None:
        """SIGKILL to the agent, if one runs."""
        if self.agent is not None and self.agent.poll() is None:
            self.agent.kill()
            self.agent.wait()
            self.kills += 1
        self.leave()

    def leave(self) -> int | None:
        """Forget the agent if it has ended; its exit code."""
        if self.agent is None or self.agent.poll() is None:
            return None
        code = self.agent.returncode
        self.agent = None
        if self._said is not None:
            self._said.close()
        self.codes.append(code)
        return code

    def keep(self) -> None:
        """See to it that an agent works on the run, as a user (or cron) would."""
        code = self.leave()
        if code is not None and code not in (-signal.SIGKILL, 0, *DISTURBED):
            raise Stuck(f"the agent ended with {code}: {self.said()[-3000:]}")
        if self.agent is None and not self.closed:
            self.start()
        self.release()

    def mend(self) -> None:
        """Both nodes take jobs, whatever earlier trouble made Slurm drain one."""
        for node in ("n1", "n2"):
            self.cluster.run("scontrol", "update", f"nodename={node}", "state=resume")

    def release(self) -> None:
        """What an administrator does with a job that Slurm itself has held: its launch failed, for
        instance because the host was too busy for slurmd's patience."""
        if time.monotonic() < self._next_release:
            return
        self._next_release = time.monotonic() + 3
        for row in self.ask("squeue", "-t", "PD", "-o", "%i %r").splitlines():
            job, _, reason = row.partition(" ")
            if reason.startswith("launch failed"):
                self.released += 1
                self.cluster.run("scontrol", "release", job)

    def said(self) -> str:
        path = self.bench.folder / "said"
        return path.read_text(errors="replace") if path.exists() else ""

    def step(self, *before: str, timeout_s: float = 300) -> subprocess.CompletedProcess[str]:
        """One `hpcagent step`; `before` are words in front of it, such as strace's."""
        done = subprocess.run(
            [*before, *self.bench.argv("step", str(self.run))], cwd=self.bench.folder,
            env=self.bench.env, capture_output=True, text=True, errors="replace",
            timeout=timeout_s, check=False,
        )  # fmt: skip
        assert "Traceback" not in done.stderr, done.stderr
        return done

    # --- moments ---------------------------------------------------------------------------------

    def until(self, true: Callable[[], object], what: str, kept: bool = True) -> None:
        limit = time.monotonic() + DEADLINE_S
        while not true():
            if kept:
                self.keep()
            if time.monotonic() > limit:
                raise Stuck(f"waited in vain: {what}; {self.told()}")
            time.sleep(0.05)

    def told(self) -> str:
        jobs = self.ask("squeue") + self.cluster.run("sinfo", "-h", "-N", "-o", "%n %T %E").stdout
        last = [f"{u.purpose} {u.job_id} {u.job_state} {u.word}" for u in self.state.units[-2:]]
        return f"{last}; queue: {jobs}; plans: {self.tools.done()[-5:]}; {self.said()[-1500:]}"

    def waiting(self) -> str:
        """The unit that is at the gate now; empty where there is none."""
        for unit in self.state.open_units if self.opened else ():
            there = self.tools.waits(unit.name) and unit.job_id
            if there and not (self.tools.folder / "pass" / unit.name).exists():
                return unit.name
        return ""

    def next_round(self, kept: bool = True) -> str:
        """The unit whose job is at the gate; waits for it."""
        self.until(lambda: self.waiting() or self.closed, "a round comes to the gate", kept)
        if self.closed:
            raise Stuck(f"the run is closed: {self.state.closed}")
        return self.waiting()

    def job(self, unit: str) -> str:
        """The job of a unit that came to the gate last, whatever the agent knows of it."""
        rows = (self.tools.folder / "starts").read_text().splitlines()
        return next(job for name, job, _ in map(str.split, reversed(rows)) if name == unit)

    def ask(self, command: str, *words: str) -> str:
        """What squeue or another of Slurm's commands says, without a title."""
        return self.cluster.run(command, "--all", "--noheader", *words).stdout

    def let(self, unit: str) -> None:
        self.tools.let(unit)

    def ended(self, unit: str, kept: bool = True) -> Unit:
        """The unit when its result is in the journal."""
        self.until(lambda: self.unit(unit).finished, f"{unit} ends", kept)
        return self.unit(unit)

    def measured(self, unit: str) -> None:
        """Wait for the worker's own end marker, whoever looks."""
        marker = self.folder(unit) / "done.json"
        self.until(marker.exists, f"{unit} is measured", kept=self.agent is not None)

    def prepare(self) -> None:
        """Up to the first round at the gate; from then on every process of the driver is noted."""
        self.next_round()
        build = self.state.done("build")
        assert build is not None
        wrap_driver(self.tools, self.folder(build.name) / "driver")

    def rounds(self, count: int) -> None:
        """Let so many rounds pass in peace."""
        for _ in range(count):
            unit = self.next_round()
            self.let(unit)
            self.ended(unit)

    def finish(self) -> int:
        """Let the run come to its end, however many rounds are left; the last agent's exit code."""
        self.tools.unplan()
        self.tools.open()
        while not self.closed:
            before = self.results
            self.until(lambda b=before: self.closed or self.results > b, "another unit ends")
        if self.agent is not None:
            self.agent.wait(timeout=DEADLINE_S)
        code = self.leave()
        return self.codes[-1] if code is None else code


def make_scene(folder: Path, cluster: Cluster, rounds: int, seed: int, *words: str) -> Scene:
    bench = make_bench(folder)
    tools = make_tools(folder / "tools")
    strange = ("SLURM", "SBATCH_", "SQUEUE_", "SACCT_", "SCANCEL_", "SINFO_")
    env = {
        **{name: value for name, value in bench.env.items() if not name.startswith(strange)},
        **cluster.env,
        "PATH": tools.path,
        "HPCAGENT_PYTHON": str(tools.python),
        "HPCAGENT_POLL_SECONDS": "0.2",
        "HPCAGENT_SETTLE_SECONDS": f"{SETTLE_S:g}",
        "HPCAGENT_GRACE_SECONDS": f"{GRACE_S:g}",
        "HPCAGENT_LOST_SECONDS": f"{LOST_S:g}",
        "PYTHONPATH": str(ROOT),
    }
    fixed = ["tune", "--lib", "openblas", "--workload", "mix.yaml", "--challengers", "1"]
    fixed += ["--run-dir", str(bench.run), "--strategy", "random", "--partition", "both"]
    fixed += ["--shared", "--seed", str(seed), "--budget", f"rounds={rounds}", *words]
    return Scene(Bench(folder, env), cluster, tools, fixed)


def pause(chance: random.Random, most_s: float) -> None:
    time.sleep(chance.uniform(0.0, most_s))
