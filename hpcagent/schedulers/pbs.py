"""The `pbs` scheduler: OpenPBS and PBS Professional through their commands.

How the request is written is in pbs_request.py, what the answers mean in pbs_answers.py.
"""

from __future__ import annotations

import os
import pwd
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hpcagent import shell, templates
from hpcagent.catalogue import Catalogue
from hpcagent.errors import EnvironmentProblem, SchedulerUnreachable, UsageError
from hpcagent.records import (
    Ambiguous,
    JobStatus,
    OwnJob,
    Pace,
    Queue,
    Refused,
    Resources,
    Submitted,
)
from hpcagent.schedulers import (
    pbs_answers,
    pbs_catalogue,
    pbs_own,
    pbs_places,
    pbs_request,
    pbs_text,
)

# What PBS sets in a job, and what MPI starters do, is not for the jobs that a job submits; the
# names by which the commands find their server (pbs.conf(8)) are.
_OF_A_JOB = re.compile(r"PBS_|PMI|OMPI_")
_OF_THE_SITE = frozenset((
    "PBS_CONF_FILE", "PBS_DEFAULT", "PBS_SERVER", "PBS_EXEC", "PBS_HOME", "PBS_PRIMARY",
    "PBS_SECONDARY", "PBS_BATCH_SERVICE_PORT", "PBS_BATCH_SERVICE_PORT_DIS", "PBS_AUTH_METHOD",
    "PBS_SUPPORTED_AUTH_METHODS", "PBS_ENCRYPT_METHOD", "PBS_LEAF_NAME", "PBS_LEAF_ROUTERS",
    "PBS_PUBLIC_HOST_NAME", "PBS_OUTPUT_HOST_NAME", "PBS_TMPDIR",
))  # fmt: skip
# Output of PBS itself (a prologue, a hook, the kill of a job that used too much memory).
_LOG = "pbs.log"
# qsub takes printable ASCII; what copies the file at the job's end may take less.
_LOG_FOLDER = re.compile(r"/[A-Za-z0-9_.,+=@%/-]*")
_NOT_THERE = "not found"


@dataclass(frozen=True)
class Timeouts:
    """Seconds a command may take; a server that is stopped lets qstat and qsub hang for ever."""

    query_s: float = 60.0
    submit_s: float = 180.0


def scheduler() -> PbsScheduler:
    """The PBS server that the commands on PATH speak to."""
    return PbsScheduler()


class PbsScheduler:
    """Scheduler (protocols.py) over qsub, qstat, qselect, qdel and pbsnodes."""

    pace = Pace(poll_s=30.0, settle_s=120.0)

    def __init__(self, timeouts: Timeouts | None = None) -> None:
        self._timeouts = timeouts or Timeouts()
        self._history = True  # until the server says that it keeps none

    def directives(self, resources: Resources, name: str) -> list[str]:
        return pbs_request.directives(resources, name)

    def launcher(self, resources: Resources) -> list[str]:
        return pbs_request.launcher(resources)

    def submit(self, script: Path) -> Submitted | Refused | Ambiguous:
        """Queue a script through one that is made beside it (`NAME.pbs`).

        Raises EnvironmentProblem where that cannot be written, or PBS is not installed.
        """
        path = script.absolute()
        try:
            text = _read(path)
            words = pbs_request.interpreter(text)
            if not words:
                raise UsageError(f"{path}:1: a job script begins with #! and its interpreter")
            lines = self._still_awaited(pbs_request.head(text))
            wrapped = pbs_request.wrapper(lines, str(path), words, _umask())
        except UsageError as error:
            return Refused(str(error))
        made = path.with_name(f"{path.name}.pbs")
        try:
            made.write_text(wrapped, encoding="utf-8")
        except OSError as error:
            raise EnvironmentProblem(f"cannot write {made}: {error.strerror or error}") from None
        log = str(path.parent / _LOG) if _LOG_FOLDER.fullmatch(str(path.parent)) else "/dev/null"
        # -f: no qsub stays behind in the background that would send later jobs for this one.
        argv = ["qsub", "-f", "-j", "oe", "-o", log, f"./{made.name}"]
        ran = shell.run(argv, self._timeouts.submit_s, environment(os.environ), cwd=path.parent)
        if ran.problem == _NOT_THERE:
            raise _not_installed("qsub")
        return pbs_answers.submission(ran)

    def find(self, name: str, since_utc: str = "") -> list[str]:
        """Ids of all jobs of exactly this name, oldest first; finished ones from the history."""
        if not pbs_request.is_job_name(name):
            return []
        for history in (True, False) if self._history else (False,):
            ran = self._run("qselect", *(["-x"] if history else []), "-N", name)
            answer = pbs_answers.selected(ran)
            if answer.problem:
                raise SchedulerUnreachable(f"PBS did not say which jobs it has: {answer.problem}")
            if not answer.history_off:
                return list(answer.ids)
            self._history = False
        return list(answer.ids)

    def poll(self, ids: Sequence[str], since_utc: str = "") -> dict[str, JobStatus]:
        """The state of these jobs; absent where the server said that it does not know the job.

        A server without history (the default of PBS) says so of every job that has ended: it has no
        other witness, and the marker in the job's own folder must tell how it went.
        """
        asked = list(dict.fromkeys(job_id for job_id in ids if pbs_text.is_job_id(job_id)))
        if not asked:
            return {}
        told = self._jobs(asked, self._history)
        if told.history_off:
            self._history = False
            told = self._jobs(asked, history=False)
        found = {job_id: told.status(job_id) for job_id in asked}
        ended = [job_id for job_id in asked if told.has_finished(job_id)]
        if ended:  # the history has been switched on meanwhile
            self._history = True
            late = self._jobs(ended, history=True)
            found |= {job_id: late.status(job_id) for job_id in ended}
        return {job_id: status for job_id, status in found.items() if status}

    def question(self, ids: Sequence[str]) -> str:
        """qstat, which also says of a job that is over that it is."""
        asked = [job_id for job_id in ids if pbs_text.is_job_id(job_id)]
        return shlex.join(["qstat", "-f", *asked])

    def cancel(self, ids: Sequence[str]) -> None:
        """qdel: SIGTERM, after the site's delay SIGKILL; what is over or not known is no error."""
        asked = list(dict.fromkeys(job_id for job_id in ids if pbs_text.is_job_id(job_id)))
        if not asked:
            return
        left = pbs_answers.not_cancelled(self._run("qdel", *asked), asked)
        if left:
            raise SchedulerUnreachable(f"PBS may still run a job that was to be cancelled: {left}")

    def queues(self) -> tuple[Queue, ...]:
        """The queues with the nodes they can use."""
        queues = self._answer("qstat", "-Q", "-f")
        nodes = self._answer("pbsnodes", "-a")
        server = self._answer("qstat", "-B", "-f")
        return pbs_places.queues(queues, nodes, server, _user())

    def catalogue(self) -> Catalogue:
        """The queues that jobs can be sent to, with the hosts behind each."""
        return pbs_catalogue.catalogue(
            self._answer("qstat", "-Q", "-f"),
            self._answer("pbsnodes", "-av"),
            self._answer("qstat", "-B", "-f"),
            _user(),
        )

    def own_job(self) -> OwnJob | None:
        """The job this process runs in; SchedulerUnreachable where PBS does not tell of it."""
        job_id = os.environ.get("PBS_JOBID", "")
        if not pbs_text.is_job_id(job_id):
            return None
        found = pbs_own.own_job(job_id, self._answer("qstat", "-f", "-w", job_id))
        if found is None:
            raise SchedulerUnreachable(f"PBS did not tell of this job, {job_id}")
        return found

    # --- commands -----------------------------------------------------------------------------

    def _run(self, *argv: str) -> shell.Ran:
        return shell.run(argv, self._timeouts.query_s, environment(os.environ))

    def _answer(self, *argv: str) -> str:
        """What a command printed; SchedulerUnreachable where it did not answer."""
        ran = self._run(*argv)
        if ran.problem == _NOT_THERE:
            raise _not_installed(argv[0])
        if not ran.ok:
            words = pbs_answers.words(ran) or f"it ended with {ran.exit_code}"
            raise SchedulerUnreachable(f"PBS did not answer {' '.join(argv)}: {words}")
        return ran.stdout

    def _jobs(self, ids: Sequence[str], history: bool) -> pbs_answers.Jobs:
        return pbs_answers.jobs(
            self._run("qstat", *(["-x"] if history else []), "-f", "-w", *ids),
        )

    def _still_awaited(self, lines: list[str]) -> list[str]:
        """The request without dependencies on jobs that have ended or are not known any more."""
        ids = pbs_request.waits_for(lines)
        if not ids:
            return lines
        known = self.poll(ids)
        ended = [job for job in ids if job not in known or known[job].state.terminal]
        return pbs_request.without(lines, ended)


def environment(env: Mapping[str, str]) -> dict[str, str]:
    """What the commands of PBS are given: nothing of an outer job or of an MPI start."""
    return {
        name: value
        for name, value in env.items()
        if name in _OF_THE_SITE or not _OF_A_JOB.match(name)
    }


def _read(path: Path) -> str:
    """The text of a job script; UsageError in words for the user."""
    templates.clean(path, "job script")
    try:
        if not path.is_file():
            raise UsageError(
                f"{path}: {'not a file' if path.exists() else 'there is no such file'}"
            )
        return path.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from None


def _umask() -> int:
    umask = os.umask(0o077)
    os.umask(umask)
    return umask


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return ""


def _not_installed(command: str) -> EnvironmentProblem:
    return EnvironmentProblem(
        f"{command} is not on PATH: load the module of PBS, or name another scheduler"
    )
