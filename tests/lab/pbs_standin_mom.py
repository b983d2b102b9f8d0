"""The scheduler and the mom of the stand-in: it really runs the jobs, one at a time.

It ends, with all that it started, when its standard input is closed: also when the test is killed.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import sys
import time
from pathlib import Path

from lab.pbs_standin import vnode
from lab.pbs_standin_qsub import memory_kb
from lab.pbs_standin_state import NODE_CPUS, QUEUES, SERVER, Job, State, awaited, chunks, seconds

from hpcagent.schedulers import local_shepherd

TICK_S = 0.02
NAME = SERVER


def main() -> int:
    """`STATE-FOLDER`"""
    mom = Mom(State(Path(sys.argv[1])))
    try:
        while not select.select([sys.stdin], [], [], TICK_S)[0]:
            mom.tick()
    finally:
        mom.abandon()
    return 0


class Running:
    """The processes of a job."""

    def __init__(self, number: int, pid: int) -> None:
        self.number = number
        self.pid = pid
        self.session = local_shepherd.Session(local_shepherd.identify(pid))
        self.began = time.monotonic()
        self.verdict: int | None = None  # the Exit_status that PBS gives it
        self.status: int | None = None  # of waitpid

    def ended(self) -> bool:
        options = os.WEXITED | os.WNOWAIT | os.WNOHANG
        return self.status is not None or os.waitid(os.P_PID, self.pid, options) is not None

    def stop(self, verdict: int | None) -> None:
        self.verdict = verdict
        self.session.end()

    def reap(self) -> int:
        """Exit_status: what PBS ended it for, an exit code, or 256 and the signal."""
        if self.status is None:
            self.session.end()
            self.status = os.waitpid(self.pid, 0)[1]
        if self.verdict is not None:
            return self.verdict
        if os.WIFSIGNALED(self.status):
            return 256 + os.WTERMSIG(self.status)
        return os.WEXITSTATUS(self.status)


class Mom:
    def __init__(self, state: State) -> None:
        self.state = state
        self.running: Running | None = None
        self.staging: dict[int, float] = {}

    def tick(self) -> None:
        if self.running and self.state.faults()["node"] == "lost":
            self.running.session.signal(signal.SIGKILL)
        with self.state.locked():
            faults = self.state.faults()
            if faults["server"] != "up":
                return  # what ends meanwhile is told when the server is back
            self._finish_staging(faults["bring_s"])
            if self.running:
                self._watch(self.running, faults["node"])
            for job in self.state.jobs():
                if job.state == "H" and job.depend:
                    self._depend(job)
                elif job.state == "Q":
                    self._consider(job, faults["node"])

    def abandon(self) -> None:
        """Kill what runs, and let commands that hang go."""
        if self.running:
            self.running.session.signal(signal.SIGKILL)
            self.running.stop(None)
            self.running.reap()
        with contextlib.suppress(OSError, ValueError):
            self.state.set_faults(server="down")

    # --- starting -----------------------------------------------------------------------------

    def _consider(self, job: Job, node: str) -> None:
        why_not = self._why_not(job, node)
        if why_not:
            self._comment(job, why_not)
            return
        job.state, job.substate, job.on_node = "R", 42, True
        job.run_count += 1
        job.started, job.ended = time.time(), 0.0
        at = time.strftime("%a %b %e at %H:%M", time.gmtime(job.started))
        job.comment = f"Job run at {at} on {vnode(job)}"
        self.state.keep(job)
        self.running = Running(job.number, start(self.state, job))

    def _why_not(self, job: Job, node: str) -> str:
        count, chunk = chunks(job.select)
        cpus = int(chunk.get("ncpus", "1"))
        up = NODE_CPUS if node == "up" else 0
        if QUEUES[job.queue].get("started") == "False":
            return "Not Running: Queue not started."
        if count > 1 and job.place.startswith("scatter"):
            return "Can Never Run: Not enough total nodes available"
        if count * cpus > up:
            amounts = f"ncpus (R: {count * cpus} A: {up} T: {up})"
            return f"Can Never Run: Insufficient amount of resource: {amounts}"
        return "Not Running: No available resources on nodes" if self.running else ""

    def _comment(self, job: Job, comment: str) -> None:
        if job.comment != comment:
            job.comment = comment
            self.state.keep(job)

    def _depend(self, job: Job) -> None:
        """Release a job whose others have ended as it asked; end it where they cannot any more."""
        others = [self.state.job(number) for number in awaited(job)]
        if not others:
            job.state, job.substate, job.hold = "Q", 10, "n"
        elif any(other is None or other.finished for other in others):
            job.state, job.substate, job.ended = "F", 92, time.time()
        else:
            return
        self.state.keep(job)

    # --- ending -------------------------------------------------------------------------------

    def _watch(self, running: Running, node: str) -> None:
        job = self.state.job(running.number)
        assert job is not None
        if node == "away":
            return
        if node == "lost":
            self._lose(job, running)
        elif running.ended():
            self._end(job, running)
        elif job.deleted:
            running.stop(271)
            self._end(job, running)
        elif job.walltime and time.monotonic() - running.began > seconds(job.walltime):
            self._over(job, "walltime", str(int(time.monotonic() - running.began)), -29)
        elif memory_kb(job) and _memory_kb(running) > memory_kb(job):
            self._over(job, "mem", f"{_memory_kb(running)}kb", -27)

    def _over(self, job: Job, what: str, used: str, status: int) -> None:
        assert self.running is not None
        allowed = int(seconds(job.walltime)) if what == "walltime" else f"{memory_kb(job)}kb"
        self.running.stop(status)
        with spooled(self.state, job, "ER").open("a") as stream:
            stream.write(f"=>> PBS: job killed: {what} {used} exceeded limit {allowed}\n")
        job.comment += f" and exceeded resource {what}"
        self._end(job, self.running)

    def _lose(self, job: Job, running: Running) -> None:
        running.stop(-20)
        job.exit_status, job.ended = running.reap(), time.time()
        if job.rerunable:
            job.state, job.substate, job.on_node, job.started = "Q", 10, False, 0.0
            job.comment = "Not Running: Not enough free nodes available"
        else:
            job.state, job.substate = "F", 93
        self.running = None
        self.state.keep(job)

    def _end(self, job: Job, running: Running) -> None:
        job.exit_status, job.ended = running.reap(), time.time()
        self.running = None
        if job.deleted and running.verdict == 271:
            job.substate = 91
            job.comment += f" and terminated by {job.owner}"
        else:
            job.substate = 93 if job.exit_status else 92
            if "exceeded" not in job.comment:
                job.comment += " and failed" if job.exit_status else " and finished"
        if stage_out(self.state, job):
            job.state = "F"
        else:
            job.state = "E"
            self.staging[job.number] = time.monotonic()
        self.state.keep(job)

    def _finish_staging(self, after_s: float) -> None:
        for number, began in list(self.staging.items()):
            job = self.state.job(number)
            if job and time.monotonic() - began >= after_s:
                del self.staging[number]
                job.state, job.ended = "F", time.time()
                self.state.keep(job)


def _memory_kb(running: Running) -> int:
    total = 0
    for pid in running.session.members():
        with contextlib.suppress(OSError, IndexError):
            pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
            total += pages * os.sysconf("SC_PAGE_SIZE") // 1024
    return total


# --- the job's own process -----------------------------------------------------------------------


def spooled(state: State, job: Job, kind: str) -> Path:
    joined = "OU" if job.join == "oe" else kind
    return state.folder / "spool" / f"{job.number}.{SERVER}.{joined}"


def stage_out(state: State, job: Job) -> bool:
    """Copy what the job wrote to where it was to go; False where that cannot be done."""
    done = True
    wanted = [("OU", job.output)] + ([("ER", job.error)] if job.join == "n" else [])
    for kind, target in wanted:
        source, path = spooled(state, job, kind), Path(target.partition(":")[2])
        if target.endswith("/"):
            path = path / source.name
        try:
            if str(path) != os.devnull:
                shutil.copyfile(source, path)
                path.chmod(0o666 & ~job.umask)
        except OSError:
            done = False
    return done


def environ(state: State, job: Job) -> dict[str, str]:
    """What a job finds: a new login and the names that PBS sets, nothing of the submitter."""
    user = job.owner.partition("@")[0]
    cpus = chunks(job.select)[1].get("ncpus", "1")
    mine = {
        "ENVIRONMENT": "BATCH",
        "HOME": job.home,
        "LOGNAME": user,
        "NCPUS": cpus,
        "OMP_NUM_THREADS": cpus,
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "PBS_ENVIRONMENT": "PBS_BATCH",
        "PBS_JOBCOOKIE": "0",
        "PBS_JOBDIR": job.home,
        "PBS_JOBID": job.id,
        "PBS_JOBNAME": job.name,
        "PBS_MOMPORT": "15003",
        "PBS_NODEFILE": str(state.folder / "spool" / f"{job.id}.nodes"),
        "PBS_NODENUM": "0",
        "PBS_QUEUE": job.queue,
        "PBS_TASKNUM": "1",
        "SHELL": "/bin/bash",
        "TMPDIR": str(state.folder / "spool"),
        "USER": user,
    }
    asked = {"HOME": job.home, "LOGNAME": user, "PATH": job.path, "WORKDIR": job.workdir}
    return mine | {f"PBS_O_{name}": value for name, value in asked.items()} | job.variables


def start(state: State, job: Job) -> int:
    (state.folder / "spool" / f"{job.id}.nodes").write_text(f"{NAME}\n")
    pid = os.fork()
    if pid:
        while local_shepherd.process(pid)[1] != pid:  # until it leads its own session
            time.sleep(0.001)
        return pid
    try:
        os.setsid()
        os.umask(0o077)
        script = str(state.script(job.number))
        opened = {
            0: os.open(os.devnull, os.O_RDONLY),
            1: os.open(spooled(state, job, "OU"), os.O_WRONLY | os.O_CREAT | os.O_APPEND),
            2: os.open(spooled(state, job, "ER"), os.O_WRONLY | os.O_CREAT | os.O_APPEND),
        }
        for number, handle in opened.items():
            os.dup2(handle, number)
        os.closerange(3, 256)
        os.chdir(job.home)
        os.umask(job.umask)
        os.execve(script, [script], environ(state, job))
    except OSError:
        os.write(2, f"-bash: line 1: {script}: cannot execute: required file not found\n".encode())
    finally:
        os._exit(127)
