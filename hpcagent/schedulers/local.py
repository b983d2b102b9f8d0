"""The `local` scheduler: a persistent queue on this machine, one job at a time.

Jobs outlive the process that submitted them; local_executor.py runs them and says what the files
of the queue are. The queue is one folder a user and host; only files are read to poll it.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import socket
import stat
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hpcagent import shell, templates
from hpcagent.catalogue import Catalogue
from hpcagent.errors import EnvironmentProblem, UsageError
from hpcagent.records import (
    Ambiguous,
    JobState,
    JobStatus,
    Pace,
    Queue,
    Refused,
    Resources,
    Submitted,
)
from hpcagent.schedulers import local_catalogue
from hpcagent.schedulers import local_shepherd as files

_EXECUTOR = Path(__file__).with_name("local_executor.py")
_PREFIX = "#HPCAGENT "
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_NUMBER = re.compile(r"[1-9][0-9]{0,8}")
_JOB_ID = re.compile(r"[0-9]{8,}")
_MAX_HEAD_BYTES = 1 << 16
_ATTEMPTS = 10_000


def scheduler() -> LocalScheduler:
    """The queue of this user on this host."""
    return LocalScheduler(queue_folder(os.environ, socket.gethostname()))


def queue_folder(env: Mapping[str, str], host: str) -> Path:
    """`$HPCAGENT_QUEUE`, else `hpcagent/queue/<host>` in the user's state directory."""
    if env.get("HPCAGENT_QUEUE"):
        return Path(env["HPCAGENT_QUEUE"]).absolute()
    state = Path(env.get("XDG_STATE_HOME") or "~/.local/state").expanduser()
    return state.absolute() / "hpcagent" / "queue" / (re.sub(r"[^A-Za-z0-9.-]", "_", host) or "_")


@dataclass(frozen=True)
class _Request:
    """What a script asks for; `argv` starts it."""

    name: str
    walltime_s: int
    argv: tuple[str, ...]


class LocalScheduler:
    """Scheduler (protocols.py) over the files of one queue folder."""

    pace = Pace()  # its jobs are files on this machine

    def __init__(self, queue: Path) -> None:
        self._queue = queue

    def directives(self, resources: Resources, name: str) -> list[str]:
        """Comment lines; UsageError for a name that no scheduler would take."""
        if not _NAME.fullmatch(name):
            raise UsageError(f"job name {name!r}: use letters, digits, dots and dashes, at most 64")
        cpus = resources.tasks_per_node * resources.cpus_per_task
        return [
            f"{_PREFIX}name={name}",
            f"{_PREFIX}walltime_s={resources.walltime_s}",
            f"{_PREFIX}nodes={resources.nodes}",
            f"{_PREFIX}cpus={cpus}",
        ]

    def launcher(self, resources: Resources) -> list[str]:
        tasks = resources.nodes * resources.tasks_per_node
        return [] if tasks == 1 else ["mpiexec", "-n", str(tasks)]

    def queues(self) -> tuple[Queue, ...]:
        return (Queue("local", nodes=1, cpus_per_node=len(os.sched_getaffinity(0)), default=True),)

    def catalogue(self) -> Catalogue:
        """This machine, as one partition."""
        return local_catalogue.this_machine()

    def own_job(self) -> None:
        """Its jobs submit nothing."""

    def submit(self, script: Path) -> Submitted | Refused | Ambiguous:
        """Queue a script and see to it that an executor runs.

        Refused where the script cannot be taken as it is. Raises EnvironmentProblem where the
        queue folder is not writable or full, or no executor starts: nothing is queued then.
        """
        path = script.absolute()
        try:
            request = _read_script(path)
        except UsageError as error:
            return Refused(str(error))
        try:
            self._prepare()
            staged = self._stage(path, request)
            job_id = self._enqueue(staged)
        except OSError as error:
            raise EnvironmentProblem(
                f"cannot queue {path} in {self._queue}: {error.strerror or error}; make room "
                "there, or name another folder in HPCAGENT_QUEUE"
            ) from None
        try:
            files.sync_directory(str(self._queue / "jobs"))
        except OSError as error:
            return Ambiguous(f"job {job_id}: {self._queue / 'jobs'}: {error.strerror or error}")
        words = self._start_executor()
        if words and self._withdraw(job_id):
            raise EnvironmentProblem(f"the local queue {self._queue} does not run: {words}")
        return Submitted(job_id)

    def find(self, name: str, since_utc: str = "") -> list[str]:
        """Ids of all jobs of this name, oldest first, finished ones included."""
        known = ((job_id, self._read(job_id, "job.json")) for job_id in self._ids())
        return [job_id for job_id, job in known if job and job.get("name") == name]

    def poll(self, ids: Sequence[str], since_utc: str = "") -> dict[str, JobStatus]:
        """What the files say of these jobs; starts an executor where one is needed and missing."""
        found = {job_id: status for job_id in ids if (status := self._status(job_id))}
        if all(status.state.terminal for status in found.values()):
            return found
        words = self._start_executor()
        if not words:
            return found
        reason = f"the local queue does not run: {words}"
        return {
            job_id: status if status.state.terminal else replace(status, reason=reason)
            for job_id, status in found.items()
        }

    def question(self, ids: Sequence[str]) -> str:
        """None: nobody but its agent asks this queue."""
        return ""

    def cancel(self, ids: Sequence[str]) -> None:
        """A queued job never runs; a running one gets SIGTERM, after ten seconds SIGKILL."""
        running = False
        for job_id in ids:
            status = self._status(job_id)
            if status is None or status.state.terminal:
                continue
            try:
                if not self._withdraw(job_id):
                    (self._job(job_id) / "cancel").touch(0o600)
                    running = True
            except FileNotFoundError:
                continue  # pruned meanwhile: it was over
            except OSError as error:
                raise EnvironmentProblem(
                    f"cannot cancel job {job_id} in {self._queue}: {error.strerror or error}"
                ) from None
        if running:
            self._start_executor()

    # --- the folder ---------------------------------------------------------------------------

    def _job(self, job_id: str) -> Path:
        return self._queue / "jobs" / job_id

    def _ids(self) -> list[str]:
        try:
            return files.job_ids(str(self._queue))
        except OSError as error:
            raise self._unreadable(error) from None

    def _read(self, job_id: str, name: str) -> dict[str, Any] | None:
        try:
            return files.read_json(str(self._job(job_id) / name))
        except OSError as error:
            raise self._unreadable(error) from None

    def _unreadable(self, error: OSError) -> EnvironmentProblem:
        return EnvironmentProblem(
            f"cannot read the local queue {self._queue}: {error.strerror or error}"
        )

    def _prepare(self) -> None:
        self._queue.mkdir(mode=0o700, parents=True, exist_ok=True)
        info = self._queue.stat()
        if info.st_uid != os.geteuid():
            raise EnvironmentProblem(
                f"the queue folder {self._queue} belongs to another user: name one of your own "
                "in HPCAGENT_QUEUE"
            )
        if stat.S_IMODE(info.st_mode) & 0o077:
            self._queue.chmod(0o700)
        (self._queue / "jobs").mkdir(mode=0o700, exist_ok=True)
        (self._queue / "tmp").mkdir(mode=0o700, exist_ok=True)

    def _stage(self, script: Path, request: _Request) -> Path:
        """The job's folder, complete, under a name that no executor looks at."""
        staged = self._queue / "tmp" / f"new-{secrets.token_hex(8)}"
        umask = os.umask(0o077)
        os.umask(umask)
        job = {
            "schema": 1,
            "name": request.name,
            "walltime_s": request.walltime_s,
            "argv": list(request.argv),
            "cwd": str(script.parent),
            "umask": umask,
            "affinity": sorted(os.sched_getaffinity(0)),
        }
        environ = {_text(key): _text(value) for key, value in os.environb.items()}
        try:
            staged.mkdir(mode=0o700)
            files.write_new(str(staged / "environ.json"), environ)
            files.write_new(str(staged / "job.json"), job)
            files.sync_directory(str(staged))
        except OSError:
            shutil.rmtree(staged, ignore_errors=True)
            raise
        return staged

    def _enqueue(self, staged: Path) -> str:
        """Rename into the first free number; the rename fails where another took it first."""
        for _ in range(_ATTEMPTS):
            ids = files.job_ids(str(self._queue))
            job_id = f"{int(ids[-1]) + 1 if ids else 1:08d}"
            try:
                staged.rename(self._job(job_id))
            except OSError:
                if self._job(job_id).exists():
                    continue
                shutil.rmtree(staged, ignore_errors=True)
                raise
            return job_id
        shutil.rmtree(staged, ignore_errors=True)
        raise EnvironmentProblem(f"no job number is free in {self._queue}: try again")

    def _withdraw(self, job_id: str) -> bool:
        """Take a job that has not started out of the queue; False where it has."""
        mine = {"by": "cancel", "token": secrets.token_hex(8)}
        return files.claim(str(self._job(job_id)), mine)

    def _start_executor(self) -> str:
        """Start an executor unless one lives; what went wrong, or nothing."""
        try:
            found = files.read_json(str(self._queue / "executor.json"))
        except OSError as error:
            return f"{self._queue}: {error.strerror or error}"
        if found and found.get("boot_id") == files.boot_id() and files.is_alive(found):
            return ""
        ran = shell.run([sys.executable, "-I", str(_EXECUTOR), str(self._queue)], timeout_s=60)
        if ran.ok:
            return ""
        return f"{sys.executable}: {ran.quoted() or f'its executor ended with {ran.exit_code}'}"

    def _status(self, job_id: str) -> JobStatus | None:
        status = self._state(job_id) if _JOB_ID.fullmatch(job_id) else None
        if status is None:
            return None
        job = self._read(job_id, "job.json") or {}
        return replace(status, name=str(job.get("name", "")))

    def _state(self, job_id: str) -> JobStatus | None:
        ended = self._read(job_id, "exit.json")
        if ended is not None:
            return _ended(job_id, ended)
        if not self._job(job_id).is_dir():
            return None
        claimed = self._read(job_id, "claim.json")
        if claimed is None:
            return JobStatus(job_id, JobState.QUEUED, "QUEUED")
        if claimed.get("by") == "cancel":
            return JobStatus(job_id, JobState.CANCELLED, "CANCELLED")
        if (self._job(job_id) / "cancel").exists():
            return JobStatus(job_id, JobState.COMPLETING, "CANCELLING")
        return JobStatus(job_id, JobState.RUNNING, "RUNNING")


def _ended(job_id: str, record: Mapping[str, Any]) -> JobStatus:
    try:
        state = JobState(record.get("state"))
    except ValueError:
        return JobStatus(job_id, JobState.UNKNOWN, "DAMAGED", None, "its exit record is damaged")
    code = record.get("exit_code")
    return JobStatus(
        job_id,
        state,
        str(record.get("word", "")),
        code if isinstance(code, int) else None,
        str(record.get("reason", "")),
    )


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _read_script(path: Path) -> _Request:
    """What the head of a script asks for; UsageError in words for the user."""
    templates.clean(path, "job script")
    if path.exists() and not path.is_file():
        raise UsageError(f"{path}: not a file")
    try:
        with path.open("rb") as stream:
            head = stream.read(_MAX_HEAD_BYTES)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from None
    lines = head.decode("utf-8", "surrogateescape").split("\n")
    if not lines[0].startswith("#!") or not lines[0][2:].strip():
        raise UsageError(f"{path}:1: a job script begins with #! and its interpreter")
    interpreter = lines[0][2:].strip().split(None, 1)
    asked: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        if line.strip() and not line.startswith("#"):
            break  # as with other schedulers, requests stand above the first command
        if line.startswith(_PREFIX.strip()):
            key, value = _directive(f"{path}:{number}", line)
            asked[key] = value
    missing = [key for key in ("name", "walltime_s") if key not in asked]
    if missing:
        raise UsageError(f"{path}: the line {_PREFIX}{missing[0]}=... is missing")
    _check_size(asked)
    return _Request(asked["name"], int(asked["walltime_s"]), (*interpreter, str(path)))


def _directive(where: str, line: str) -> tuple[str, str]:
    key, equals, value = line[len(_PREFIX) :].strip().partition("=")
    forms = {"name": _NAME, "walltime_s": _NUMBER, "nodes": _NUMBER, "cpus": _NUMBER}
    if not line.startswith(_PREFIX) or not equals or key not in forms:
        raise UsageError(f"{where}: {line!r} is not a request; known: {', '.join(forms)}")
    if not forms[key].fullmatch(value):
        raise UsageError(f"{where}: {value!r} is not a value for {key}")
    return key, value


def _check_size(asked: Mapping[str, str]) -> None:
    cpus = len(os.sched_getaffinity(0))
    if int(asked.get("nodes", "1")) > 1:
        raise UsageError(f"it asks for {asked['nodes']} nodes, this machine is one")
    if int(asked.get("cpus", "1")) > cpus:
        raise UsageError(f"it asks for {asked['cpus']} CPUs, this process may use {cpus}")
