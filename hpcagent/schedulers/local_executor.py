"""Runs the jobs of a local queue, first come first served, one at a time.

Started by local.py as `python3 -I local_executor.py QUEUE`; standard library only, Python 3.6 and
newer. All state is in files, so that every process here may be killed at any instant:

    QUEUE/executor.lock          flock of the one executor      executor.json   who it is
    QUEUE/executor.log           what went wrong with the queue itself
    QUEUE/jobs/<id>/job.json     name, script, cwd, argv, walltime_s, umask, affinity
    QUEUE/jobs/<id>/environ.json the environment of the submitter
    QUEUE/jobs/<id>/claim.json   made once, by the shepherd that runs the job or by its canceller
    QUEUE/jobs/<id>/cancel       asks the shepherd to end the job
    QUEUE/jobs/<id>/exit.json    state, word, exit_code, reason: the job is over
    QUEUE/tmp/                   jobs that come or go

The executor forks a shepherd for each job; the shepherd starts the job in a session of its own,
holds the clock and writes the exit record, so that the end of the executor does no harm.
"""

import contextlib
import fcntl
import os
import shutil
import signal
import socket
import sys
import time
import traceback
from typing import Any, Dict, List, Optional, Set

if __name__ == "__main__":  # isolated mode (-I) leaves this package out of the path
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from hpcagent.schedulers.local_shepherd import (
    TICK_S,
    Session,
    boot_id,
    identify,
    is_alive,
    job_ids,
    read_json,
    record,
    shepherd,
    watch,
    write_json,
)

IDLE_S = 3.0  # an executor without work waits this long for more
KEEP_JOBS = 1000
KEEP_S = 30 * 86400.0
_STALE_S = 86400.0
_MAX_LOG_BYTES = 1 << 20


def resolve(job: str, found: Dict[str, Any]) -> None:
    """Bring a job that was claimed earlier to its exit record."""
    if found.get("by") == "cancel":
        record(job, "CANCELLED", "CANCELLED", None, "", tries=12)
        return
    if found.get("boot_id") != boot_id():
        reason = "the machine was started anew while the job ran"
        record(job, "NODE_FAIL", "REBOOTED", None, reason, tries=12)
        return
    while is_alive(found["shepherd"]):  # bounded: it holds the job to its wall time
        time.sleep(TICK_S)
    if os.path.exists(os.path.join(job, "exit.json")):
        return
    leader = found["leader"]
    deadline = float(found["deadline_monotonic_s"])
    verdict = watch(job, Session(leader), deadline, lambda: not is_alive(leader), time.sleep)
    if verdict:
        record(job, verdict, verdict, None, "", tries=12)
    else:
        reason = "executor lost it: the process that watched the job is gone; exit code unknown"
        record(job, "FAILED", "LOST", None, reason, tries=12)


def next_job(queue: str, done: Set[str]) -> Optional[str]:
    """The oldest job without an exit record; `done` remembers those that have one.

    Listed until two answers agree: a listing during a submission may miss an older job.
    """
    previous = None  # type: Optional[str]
    while True:
        oldest = None
        for name in job_ids(queue):
            if name in done:
                continue
            if not os.path.exists(os.path.join(queue, "jobs", name, "exit.json")):
                oldest = name
                break
            done.add(name)
        if oldest is None or oldest == previous:
            return oldest
        previous = oldest


def run_one(queue: str, name: str, lock: int) -> None:
    """Bring one job to its exit record, or say why that cannot be done and raise OSError."""
    job = os.path.join(queue, "jobs", name)
    for _ in range(3):
        found = read_json(os.path.join(job, "claim.json"))
        if found is not None:
            resolve(job, found)
            return
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                os.close(lock)
                shepherd(job)
                code = 0
            finally:
                if code:
                    log("job {}: {}".format(name, traceback.format_exc()))
                os._exit(code)
        os.waitpid(pid, 0)
        if os.path.exists(os.path.join(job, "exit.json")):
            return
        if not os.path.exists(os.path.join(job, "claim.json")):
            time.sleep(1.0)
    reason = "the job could not be started; see {}".format(os.path.join(queue, "executor.log"))
    record(job, "FAILED", "NOT_STARTED", None, reason, tries=12)


def serve(queue: str, lock: int, done: Set[str]) -> None:
    """Run jobs until none has come for a while."""
    idle_since = time.monotonic()
    while time.monotonic() - idle_since < IDLE_S:
        name = next_job(queue, done)
        if name is None:
            time.sleep(0.2)
            continue
        try:
            run_one(queue, name, lock)
        except (OSError, KeyError, TypeError, ValueError) as error:
            log("job {}: {!r}".format(name, error))
        done.add(name)
        idle_since = time.monotonic()


def prune(queue: str) -> None:
    """Remove finished jobs: old ones and those beyond the newest; the last id stays taken."""
    finished = []
    for name in job_ids(queue)[:-1]:
        with contextlib.suppress(OSError):
            mtime = os.stat(os.path.join(queue, "jobs", name, "exit.json")).st_mtime
            finished.append((name, mtime))
    beyond = len(finished) - KEEP_JOBS
    for index, (name, mtime) in enumerate(finished):
        if index < beyond or mtime < time.time() - KEEP_S:
            gone = os.path.join(queue, "tmp", "pruned-{}-{}".format(name, os.urandom(4).hex()))
            os.rename(os.path.join(queue, "jobs", name), gone)
            shutil.rmtree(gone, ignore_errors=True)
    for name in os.listdir(os.path.join(queue, "tmp")):
        path = os.path.join(queue, "tmp", name)
        with contextlib.suppress(OSError):
            if os.stat(path).st_mtime < time.time() - _STALE_S:
                shutil.rmtree(path, ignore_errors=True)


def log(words: str) -> None:
    sys.stderr.write("{} {}\n".format(time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), words))
    sys.stderr.flush()


def hold(queue: str, lock: int) -> None:
    """Be the executor until the queue is empty.

    A submitter puts its job in place, then looks for a living executor in executor.json. That
    file goes first here and the queue is looked through once more at the end: either the
    submitter misses the file and starts another executor, or this one sees its job.
    """
    me = os.path.join(queue, "executor.json")
    done = set()  # type: Set[str]
    while True:
        with contextlib.suppress(OSError):  # without it, submitters try to start one in vain
            write_json(
                me, {"boot_id": boot_id(), "host": socket.gethostname(), **identify(os.getpid())}
            )
        with contextlib.suppress(OSError):
            prune(queue)
        serve(queue, lock, done)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(me)
        fcntl.flock(lock, fcntl.LOCK_UN)
        if next_job(queue, done) is None:
            return
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return


def detach(queue: str) -> None:
    """Leave the terminal, the session and the working directory of whoever started this."""
    os.setsid()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    os.chdir("/")
    path = os.path.join(queue, "executor.log")
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    with contextlib.suppress(OSError):
        if os.stat(path).st_size > _MAX_LOG_BYTES:
            os.truncate(path, 0)
    handle = os.open(path, flags, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.close(handle)
    os.close(null)


def main(argv: List[str]) -> int:
    queue = os.path.abspath(argv[1])
    try:
        lock = os.open(os.path.join(queue, "executor.lock"), os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return 0  # another one is at work
    except OSError as error:
        sys.stderr.write("cannot lock {}/executor.lock: {}\n".format(queue, error.strerror))
        return 1
    if os.fork() == 0:
        detach(queue)
        hold(queue, lock)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
