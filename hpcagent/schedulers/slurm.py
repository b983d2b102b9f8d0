"""The `slurm` scheduler: sbatch, squeue, sacct, scontrol, scancel and sinfo, 20.11 to 25.11.

The controller (squeue) is asked once for all jobs; it remembers those that have ended for
MinJobAge, 300 s by default. Accounting (sacct) is asked only for what the controller does not
know, and a single job's record (scontrol) only where squeue gave no answer in its time.
"""

from __future__ import annotations

import os
import pwd
import re
import shlex
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
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
from hpcagent.schedulers import slurm_answers as answers
from hpcagent.schedulers import slurm_catalogue, slurm_own, slurm_request
from hpcagent.schedulers import slurm_environment as environment
from hpcagent.schedulers.slurm_states import ASKED_ID
from hpcagent.schedulers.slurm_submission import said, submission
from hpcagent.schedulers.slurm_times import age_s, ago, earlier
from hpcagent.schedulers.slurm_verdict import Witness, verdict

# sbatch itself goes on trying for 120 s where the queue is full (MAX_RETRIES in sbatch.c).
SUBMIT_S = 300.0
QUERY_S = 60.0
_MOST_IDS = 500  # in one command
_MOST_SINGLE = 20  # jobs asked for one by one where squeue is silent
_CLOCKS_S = 3600.0  # how far the clocks of two hosts may be apart
_LONGEST_SEARCH = timedelta(days=30)  # where it is not known when a job was submitted
_MOST_HEAD_BYTES = 1 << 16
_DISABLED = "accounting storage is disabled"
_NO_SUCH_JOB = "Invalid job id specified"
_OVER = re.compile(
    r"Invalid job id specified|already completing or completed|Job has already finished"
    r"|not pending nor running|Job/step already"
)


def scheduler() -> SlurmScheduler:
    """The Slurm that the commands on the PATH speak to."""
    return SlurmScheduler()


class SlurmScheduler:
    """Scheduler (protocols.py) over Slurm's commands.

    Where accounting is disabled by configuration, or sacct is not installed, the controller's
    memory is all there is, and its answer is complete.
    """

    pace = Pace(poll_s=30.0, settle_s=120.0)

    def __init__(self, submit_s: float = SUBMIT_S, query_s: float = QUERY_S) -> None:
        self._submit_s = submit_s
        self._query_s = query_s

    def directives(self, resources: Resources, name: str) -> list[str]:
        """`#SBATCH` lines; UsageError for a value that Slurm or a line could not take."""
        return slurm_request.directives(resources, name)

    def launcher(self, resources: Resources) -> list[str]:
        return slurm_request.launcher(resources)

    # --- submission ---------------------------------------------------------------------------

    def submit(self, script: Path) -> Submitted | Refused | Ambiguous:
        """Queue a script; EnvironmentProblem where sbatch cannot be run."""
        ran = self._sbatch(script, ("--parsable",))
        return ran if isinstance(ran, Refused) else submission(ran)

    def test_only(self, script: Path) -> Refused | None:
        """What Slurm would refuse the script for; nothing is queued. None also without an answer.

        Slurm also says no to what would wait, such as a partition whose nodes are down now.
        """
        ran = self._sbatch(script, ("--test-only",))
        if isinstance(ran, Refused):
            return ran
        answer = None if ran.ok else submission(ran)
        return answer if isinstance(answer, Refused) else None

    def _sbatch(self, script: Path, words: Sequence[str]) -> shell.Ran | Refused:
        path = script.absolute()
        try:
            templates.clean(path, "job script")
            head = _head(path)
        except UsageError as error:
            return Refused(str(error))
        streams = [self._stream(str(path.with_name(name))) for name in ("out", "err")]
        if None in streams:
            return Refused(f"{path}: Slurm writes no output where the path has a backslash")
        ran = shell.run(
            [
                "sbatch",
                *words,
                "--export=ALL",
                f"--chdir={path.parent}",
                f"--output={streams[0]}",
                f"--error={streams[1]}",
                str(path),
            ],
            self._submit_s,
            env=environment.for_submission(os.environ, slurm_request.stated(head)),
            cwd=path.parent,
        )
        if ran.exit_code is None and not ran.problem.startswith("timed out"):
            raise _not_there(ran)
        return ran

    def _stream(self, path: str) -> str | None:
        if "\\" not in path:
            return slurm_request.stream(path)
        found = re.search(r"\b([0-9]{2})\.([0-9]{2})\b", self._ask("sbatch", "--version").stdout)
        version = (int(found[1]), int(found[2])) if found else (99, 0)
        return slurm_request.stream(path, version)

    # --- asking -------------------------------------------------------------------------------

    def find(self, name: str, since_utc: str = "") -> list[str]:
        """Ids of all jobs of exactly this name, oldest first, finished ones included.

        Raises SchedulerUnreachable where a job of this name could be known to a witness that gave
        no answer: always without the controller; without accounting only where the controller
        knows none and its memory does not reach back to `since_utc`.
        """
        if not slurm_request.NAME.fullmatch(name):
            return []
        found: list[str] = []
        for cluster in environment.clusters(os.environ):
            suffix = f";{cluster}" if cluster else ""
            found += [job_id + suffix for job_id in self._find(name, since_utc, cluster)]
        return found

    def _find(self, name: str, since_utc: str, cluster: str) -> list[str]:
        controller = self._controller(cluster, f"--name={name}")
        if controller.silent:
            raise SchedulerUnreachable(f"slurm: {controller.silent}")
        since = earlier(since_utc, timedelta(seconds=_CLOCKS_S)) or ago(_LONGEST_SEARCH)
        accounting = self._accounting(cluster, f"--name={name}", f"--starttime={since}")
        found = answers.named(name, controller.rows + accounting.rows)
        if accounting.silent and not found and not self._remembers(since_utc):
            raise SchedulerUnreachable(f"slurm: {accounting.silent}")
        return found

    def _remembers(self, since_utc: str) -> bool:
        """Whether the controller still knows every job submitted since then."""
        age = age_s(since_utc)
        ran = self._ask("scontrol", "show", "config")
        return age is not None and ran.ok and age < answers.memory_age_s(ran.stdout)

    def poll(self, ids: Sequence[str], since_utc: str = "") -> dict[str, JobStatus]:
        """Statuses by id: of squeue, then of sacct for what squeue does not know.

        A job that only a silent witness could know is UNKNOWN, and `missing` says which.
        """
        found: dict[str, JobStatus] = {}
        for cluster, shown in _by_cluster(ids).items():
            found |= self._poll(cluster, shown, since_utc)
        return found

    def _poll(self, cluster: str, shown: dict[str, str], since_utc: str) -> dict[str, JobStatus]:
        controller = self._controller(cluster)
        if controller.silent and cluster and self._no_such_cluster(cluster):
            return {}
        accounting = Witness()
        rest = [slurm_id for slurm_id in shown.values() if controller.row(slurm_id) is None]
        for some in _portions(rest):
            part = self._recorded(cluster, some, since_utc)
            silent = part.silent or accounting.silent
            accounting = Witness(accounting.rows + part.rows, silent)
            if part.silent:
                break
        if controller.silent and "timed out" in controller.silent:
            controller = self._one_by_one(cluster, rest, controller)
        told = {
            job_id: verdict(job_id, slurm_id, controller, accounting)
            for job_id, slurm_id in shown.items()
        }
        return {job_id: status for job_id, status in told.items() if status is not None}

    def _recorded(self, cluster: str, ids: Sequence[str], since_utc: str) -> Witness:
        since = earlier(since_utc, timedelta(seconds=_CLOCKS_S))
        limits = (f"--starttime={since}",) if since else ()
        jobs = f"--jobs={','.join(ids)}"
        return self._accounting(cluster, jobs, *limits)

    def _controller(self, cluster: str, *words: str) -> Witness:
        """All jobs of this user that the controller knows, hidden partitions included."""
        ran = self._ask(
            "squeue",
            *_on(cluster),
            "--noheader",
            "--all",
            "--states=all",
            f"--user={os.getuid()}",
            *words,
            f"--Format={answers.QUEUE_FORMAT}",
        )
        return Witness(answers.rows(ran.stdout) if ran.ok else (), _silent("squeue", ran))

    def _accounting(self, cluster: str, *words: str) -> Witness:
        ran = self._ask(
            "sacct",
            *_on(cluster),
            "--noheader",
            "--parsable2",
            "--allocations",
            f"--user={os.getuid()}",
            *words,
            f"--format={answers.ACCOUNT_FORMAT}",
        )
        if _DISABLED in ran.stderr or ran.problem == "not found":
            return Witness()
        return Witness(answers.rows(ran.stdout) if ran.ok else (), _silent("sacct", ran))

    def _one_by_one(self, cluster: str, ids: Sequence[str], squeue: Witness) -> Witness:
        """Single records, which a busy controller finds faster than all jobs of a user."""
        known: tuple[answers.Row, ...] = ()
        for slurm_id in ids[:_MOST_SINGLE]:
            ran = self._ask(
                "scontrol", *_on(cluster), "--all", "--oneliner", "show", "job", slurm_id
            )
            if not ran.ok and _NO_SUCH_JOB not in ran.stderr + ran.stdout:
                return Witness(known, squeue.silent)
            known += answers.shown_jobs(ran.stdout)
        return Witness(known, squeue.silent if len(ids) > _MOST_SINGLE else "")

    def _no_such_cluster(self, cluster: str) -> bool:
        """Whether Slurm's database is sure that it has no cluster of this name."""
        ran = self._ask(
            "sacctmgr", "--noheader", "--parsable2", "list", "clusters", "format=Cluster"
        )
        if _DISABLED in ran.stderr or "not running a supported accounting" in ran.stderr:
            return True
        return ran.ok and cluster not in ran.stdout.split()

    # --- the rest -----------------------------------------------------------------------------

    def question(self, ids: Sequence[str]) -> str:
        """squeue, which tells of a job that is over for some minutes more."""
        commands = [
            ["squeue", *_on(cluster), "--states=all", f"--jobs={','.join(shown.values())}"]
            for cluster, shown in _by_cluster(ids).items()
        ]
        return "; ".join(map(shlex.join, commands))

    def cancel(self, ids: Sequence[str]) -> None:
        """Ask for their end; those that have ended or are not known are no error."""
        for cluster, shown in _by_cluster(ids).items():
            for some in _portions(list(shown.values())):
                ran = self._ask("scancel", *_on(cluster), *some)
                if ran.problem == "not found":
                    raise _not_there(ran)
                if not _heard(ran) and not (cluster and self._no_such_cluster(cluster)):
                    raise SchedulerUnreachable(f"slurm: scancel: {said(ran)}")

    def queues(self) -> tuple[Queue, ...]:
        """The partitions this user sees, as they are now."""
        found = ""
        for cluster in environment.clusters(os.environ):
            form = f"--format={answers.SINFO_FORMAT}"
            ran = self._ask("sinfo", *_on(cluster), "--noheader", form)
            if ran.problem == "not found":
                raise _not_there(ran)
            if not ran.ok:
                raise SchedulerUnreachable(f"slurm: sinfo: {said(ran)}")
            found += ran.stdout
        return answers.queues(found)

    def catalogue(self) -> Catalogue:
        """Partitions, node types and limits, with the accounts where accounting tells them."""
        return slurm_catalogue.read(self._ask, environment.clusters(os.environ), _user())

    def accounts(self) -> tuple[str, ...]:
        """Accounts this user may charge, the default one first; empty where none are kept."""
        user = _user()
        if not user:
            return ()
        found: list[str] = []
        for what, field in (("user", "DefaultAccount"), ("associations", "Account")):
            ran = self._ask(
                "sacctmgr", "--noheader", "--parsable2", "show", what, f"user={user}",
                f"format={field}",
            )  # fmt: skip
            found += answers.accounts(ran.stdout) if ran.ok else ()
        return tuple(dict.fromkeys(found))

    def own_job(self) -> OwnJob | None:
        """The job this process runs in; SchedulerUnreachable where Slurm does not tell of it."""
        job_id = os.environ.get("SLURM_JOB_ID", "")
        if not re.fullmatch(r"[1-9][0-9]{0,9}", job_id):
            return None
        ran = self._ask("scontrol", "--all", "--oneliner", "show", "job", job_id)
        found = slurm_own.own_job(job_id, ran.stdout, datetime.now(UTC)) if ran.ok else None
        if found is None:
            raise SchedulerUnreachable(f"slurm: scontrol show job {job_id}: {said(ran)}")
        return found

    def _ask(self, *words: str) -> shell.Ran:
        return shell.run(words, self._query_s, env=environment.for_queries(os.environ))


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return ""


def _head(script: Path) -> str:
    """The head of a script, where its directives are; UsageError in words for the user."""
    if script.exists() and not script.is_file():
        raise UsageError(f"{script}: not a file")
    try:
        with script.open("rb") as stream:
            head = stream.read(_MOST_HEAD_BYTES)
    except OSError as error:
        raise UsageError(f"{script}: {error.strerror or error}") from None
    if not head.startswith(b"#!"):
        raise UsageError(f"{script}:1: a job script begins with #! and its interpreter")
    return head.decode("utf-8", "surrogateescape")


def _by_cluster(ids: Sequence[str]) -> dict[str, dict[str, str]]:
    """Ids that can be Slurm's, by cluster: the caller's spelling and Slurm's own."""
    found: dict[str, dict[str, str]] = {}
    for job_id in ids:
        asked = ASKED_ID.fullmatch(job_id)
        if asked is not None:
            found.setdefault(asked["cluster"] or "", {})[job_id] = asked["id"]
    return found


def _on(cluster: str) -> tuple[str, ...]:
    return (f"--clusters={cluster}",) if cluster else ()


def _portions(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    return (ids[first : first + _MOST_IDS] for first in range(0, len(ids), _MOST_IDS))


def _silent(command: str, ran: shell.Ran) -> str:
    """Why a witness did not answer; one that speaks of an error may have left something out."""
    if ran.ok and not re.search(r"\berror: ", ran.stderr):
        return ""
    return f"{command}: {said(ran) or f'exit code {ran.exit_code}'}"


def _heard(ran: shell.Ran) -> bool:
    """Whether scancel reached the controller: it complained of nothing but jobs that are over."""
    complaints = [line for line in ran.stderr.split("\n") if line.strip()]
    if ran.ok:
        return True
    return bool(complaints) and all(_OVER.search(line) for line in complaints)


def _not_there(ran: shell.Ran) -> EnvironmentProblem:
    return EnvironmentProblem(
        f"{ran.argv[0]} cannot be run ({ran.problem}): load the site's Slurm module, or choose "
        "another scheduler with --scheduler"
    )
