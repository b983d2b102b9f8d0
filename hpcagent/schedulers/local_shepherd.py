"""The shepherd of one job of the local queue, and the files and processes it deals with.

It starts the job in a session of its own, holds the clock and writes the exit record; the executor
(local_executor.py, which also says what files there are) may die meanwhile. Standard library only,
Python 3.6 and newer.
"""

# Python 3.6 has neither the newer annotations nor all of pathlib.
# ruff: noqa: UP006, UP032, UP035, UP045, PTH105, PTH108, PTH110, PTH118, PTH120, PTH123, PTH208

import contextlib
import errno
import json
import os
import re
import signal
import time
from typing import Any, Callable, Dict, List, NoReturn, Optional, Tuple

GRACE_S = 10.0  # between SIGTERM and SIGKILL
TICK_S = 0.5
_JOB_ID = re.compile(r"[0-9]{8,}")


# --- files ---------------------------------------------------------------------------------------


def read_json(path: str) -> Optional[Dict[str, Any]]:
    """The object in a file: None where there is no file, empty where it holds something else."""
    try:
        with open(path, "rb") as stream:
            value = json.loads(stream.read().decode("utf-8"))
    except FileNotFoundError:
        return None
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def sync_directory(folder: str) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


def write_new(path: str, value: Dict[str, Any]) -> None:
    """A new private file, synced; raises OSError and leaves none where it fails."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(json.dumps(value, sort_keys=True).encode("ascii"))
            stream.flush()
            os.fsync(stream.fileno())
    except OSError:
        os.unlink(path)
        raise


def write_json(path: str, value: Dict[str, Any]) -> None:
    """Put a file in place in one step."""
    temporary = "{}.{}.tmp".format(path, os.urandom(4).hex())
    write_new(temporary, value)
    os.replace(temporary, path)
    sync_directory(os.path.dirname(path))


def claim(job: str, value: Dict[str, Any]) -> bool:
    """Make the job's claim.json, which only one can do; True for that one."""
    path = os.path.join(job, "claim.json")
    temporary = "{}.{}.tmp".format(path, os.urandom(4).hex())
    write_new(temporary, value)
    with contextlib.suppress(FileExistsError):
        os.link(temporary, path)
    os.unlink(temporary)
    sync_directory(job)
    # Read back: a link over NFS may succeed and yet be answered with "exists" when it is repeated.
    return read_json(path) == value


def job_ids(queue: str) -> List[str]:
    """Ids of all jobs of a queue in the order of submission."""
    try:
        names = os.listdir(os.path.join(queue, "jobs"))
    except FileNotFoundError:
        return []
    return sorted((name for name in names if _JOB_ID.fullmatch(name)), key=int)


# --- processes -----------------------------------------------------------------------------------


def boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as stream:
        return stream.read().strip()


def process(pid: int) -> Optional[Tuple[str, int, int]]:
    """State, session and start (ticks since boot) of a process, see proc(5); None: no such."""
    try:
        with open("/proc/{}/stat".format(pid), "rb") as stream:
            fields = stream.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return fields[0].decode("ascii"), int(fields[3]), int(fields[19])


def alive(pid: int, start: int) -> bool:
    """Whether the process of that number is still the one that began at `start`."""
    found = process(pid)
    return found is not None and found[0] not in "ZX" and found[2] == start


def identify(pid: int) -> Dict[str, int]:
    found = process(pid)
    return {"pid": pid, "start": found[2] if found else -1}


def is_alive(who: Dict[str, int]) -> bool:
    return alive(who["pid"], who["start"])


def send(pid: int, start: int, number: int) -> None:
    """Signal a process if it is still the one that began at `start`, else nobody."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if not hasattr(os, "pidfd_open") or not hasattr(signal, "pidfd_send_signal"):
            if alive(pid, start):
                os.kill(pid, number)
            return
        handle = os.pidfd_open(pid)  # from here on the number cannot come to mean another one
        try:
            if alive(pid, start):
                signal.pidfd_send_signal(handle, number)
        finally:
            os.close(handle)


class Session:
    """All processes of a job: those in the session that its first process leads.

    While the leader exists (a zombie will do) nobody else can own its session number. Afterwards
    only processes that were seen before are still taken for ours.
    """

    def __init__(self, leader: Dict[str, int]) -> None:
        self.leader = leader
        self.known = {leader["pid"]: leader["start"]}  # type: Dict[int, int]

    def members(self) -> Dict[int, int]:
        """Living members, number to start."""
        seen = self._scan() if self._has_leader() else {}
        if seen and self._has_leader():
            self.known.update(seen)
        self.known = {pid: start for pid, start in self.known.items() if alive(pid, start)}
        return self.known

    def _has_leader(self) -> bool:
        found = process(self.leader["pid"])
        return found is not None and found[2] == self.leader["start"]

    def _scan(self) -> Dict[int, int]:
        seen = {}
        for name in os.listdir("/proc"):
            if name.isdigit():
                found = process(int(name))
                if found and found[1] == self.leader["pid"]:
                    seen[int(name)] = found[2]
        return seen

    def signal(self, number: int) -> None:
        for pid, start in list(self.members().items()):
            send(pid, start, number)

    def end(self) -> None:
        """SIGTERM to all, SIGKILL to those left after the grace; returns when none is left."""
        if not self.members():
            return
        self.signal(signal.SIGTERM)
        self.signal(signal.SIGCONT)
        deadline = time.monotonic() + GRACE_S
        while self.members() and time.monotonic() < deadline:
            time.sleep(0.05)
        deadline = time.monotonic() + GRACE_S
        while self.members() and time.monotonic() < deadline:  # again: one may have forked
            self.signal(signal.SIGKILL)
            time.sleep(0.05)


# --- the shepherd of one job ---------------------------------------------------------------------


def watch(
    job: str,
    session: Session,
    deadline: float,
    ended: Callable[[], bool],
    nap: Callable[[float], object],
) -> str:
    """Wait for the end of a job and of all its processes.

    Returns CANCELLED or TIMEOUT where it was ended (`deadline` is on the monotonic clock), else
    an empty word.
    """
    verdict = ""
    while not ended():
        left = deadline - time.monotonic()
        if os.path.exists(os.path.join(job, "cancel")):
            verdict = "CANCELLED"
        elif left <= 0:
            verdict = "TIMEOUT"
        if verdict:
            break
        nap(min(TICK_S, left))
    session.end()
    return verdict


def record(job: str, state: str, word: str, code: Optional[int], reason: str, tries: int) -> None:
    """Write the exit record; a full disk is waited for, five seconds a try."""
    value = {
        "state": state,
        "word": word,
        "exit_code": code,
        "reason": reason,
        "finished_utc": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    for left in range(tries - 1, -1, -1):
        try:
            write_json(os.path.join(job, "exit.json"), value)
            return
        except OSError as error:
            if not left or error.errno == errno.ENOENT:
                raise
            time.sleep(5.0)


def shepherd(job: str) -> None:
    """Run one job from its claim to its exit record."""
    os.setsid()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    request = read_json(os.path.join(job, "job.json")) or {}
    environ = read_json(os.path.join(job, "environ.json")) or {}
    go_r, go_w = os.pipe()
    complaint_r, complaint_w = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(go_w)
        become_job(request, environ, go_r, complaint_w)
    os.close(go_r)
    os.close(complaint_w)
    leader = identify(pid)
    deadline = time.monotonic() + float(request.get("walltime_s", 0))
    mine = {
        "by": "shepherd",
        "boot_id": boot_id(),
        "shepherd": identify(os.getpid()),
        "leader": leader,
        "deadline_monotonic_s": deadline,
    }
    if not claim(job, mine):
        return  # it was cancelled; the child sees the closed pipe and ends
    os.write(go_w, b"g")
    os.close(go_w)
    verdict = watch(job, Session(leader), deadline, lambda: _exited(pid), _nap)
    status = os.waitpid(pid, 0)[1]
    complaint = os.read(complaint_r, 4096).decode("utf-8", "replace")
    state, word, code, reason = outcome(verdict, status, complaint)
    record(job, state, word, code, reason, tries=720)


def _exited(pid: int) -> bool:
    """Whether a child has ended, leaving it a zombie that keeps its number."""
    options = os.WEXITED | os.WNOWAIT | os.WNOHANG
    return os.waitid(os.P_PID, pid, options) is not None


def _nap(seconds: float) -> object:
    return signal.sigtimedwait({signal.SIGCHLD}, seconds)


def outcome(verdict: str, status: int, complaint: str) -> Tuple[str, str, Optional[int], str]:
    """State, word, exit code (128 + signal for a killed job, as shells say) and reason."""
    signalled = os.WIFSIGNALED(status)
    code = 128 + os.WTERMSIG(status) if signalled else os.WEXITSTATUS(status)
    if verdict:
        return verdict, verdict, code, ""
    if complaint:
        return "FAILED", "NOT_STARTED", code, complaint
    if signalled:
        return "FAILED", "SIGNALLED", code, "ended by signal {}".format(os.WTERMSIG(status))
    return ("FAILED" if code else "COMPLETED"), "EXITED", code, ""


def become_job(
    request: Dict[str, Any], environ: Dict[str, str], go_r: int, complaint_w: int
) -> NoReturn:
    """In the child: wait for the word to go, then turn into the job's script."""
    code = 127
    try:
        os.setsid()
        if os.read(go_r, 1) != b"g":
            os._exit(0)
        os.umask(request["umask"])
        with contextlib.suppress(OSError):  # the CPUs may have been taken away since
            os.sched_setaffinity(0, request["affinity"])
        os.chdir(_bytes(request["cwd"]))
        for target, flags, name in (
            (0, os.O_RDONLY, b"/dev/null"),
            (1, os.O_WRONLY | os.O_CREAT | os.O_APPEND, b"out"),
            (2, os.O_WRONLY | os.O_CREAT | os.O_APPEND, b"err"),
        ):
            handle = os.open(name, flags, 0o600)
            os.dup2(handle, target)
            os.close(handle)
        for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        argv = [_bytes(word) for word in request["argv"]]
        os.execve(argv[0], argv, {_bytes(key): _bytes(environ[key]) for key in environ})
    except OSError as error:
        words = "cannot start the job: {}: {}".format(error.strerror, error.filename)
        os.write(complaint_w, words.encode("utf-8", "replace")[:4096])
    except (KeyError, TypeError, ValueError) as error:
        words = "cannot start the job: its record is damaged: {!r}".format(error)
        os.write(complaint_w, words.encode("utf-8", "replace")[:4096])
    finally:
        os._exit(code)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
