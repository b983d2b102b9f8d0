"""What the commands of PBS answered: pure functions of exit status and text.

The exit status is the number of a PBS error modulo 256, so that an error can be 0; of several
faults in one call the last one decides. What is known of each job therefore comes from the lines
on stdout and stderr, and a job of which no line speaks is one that was not answered for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hpcagent.records import Ambiguous, JobState, JobStatus, Refused, Submitted
from hpcagent.schedulers import pbs_states, pbs_text
from hpcagent.shell import Ran

_HISTORY_OFF = "is not configured to maintain job history"
_CONNECTION = re.compile(r"cannot connect to server|Couldn't connect to cluster")
_UNKNOWN = re.compile(r"\w+: (?:Unknown Job Id|illegally formed job identifier:) (\S+)")
_FINISHED = re.compile(r"\w+: (\S+) Job has finished\b.*")
_OVER = re.compile(
    r"qdel: (?:Unknown Job Id|Job has finished|illegally formed job identifier:"
    r"|Request invalid for state of job|Request invalid for finished array subjob"
    r"|Invalid request) \S+"
)

# PBS error numbers modulo 256 (pbs_error.h) with which a server, or qsub before it asked one, says
# that it did not take a job. Any other end of qsub may have left one behind: system and protocol
# errors, lost connections, a full connection table, a server that shuts down.
_REFUSALS = frozenset((
    1, 2, 3, 4, 5, 6, 7, 12, 21, 32, 38, 39, 40, 51, 52, 58, 59, 61, 62, 65, 68, 69, 71, 77, 78,
    125, 154, 155, 156, 157, 159, 160, 166, 170, 171, 172, 173, 174, 175, 180, 181, 187, 188, 189,
    191, 194, 196, 197, 198, 200, 201, 206, 207, 214, 216, 227, 229, 236, 241, 242, 252,
))  # fmt: skip
_WORDS_LIMIT = 400
# A limit on what may be queued (max_queued); one on the size of a job is put otherwise.
_FULL = re.compile(r"would exceed .*limit|Maximum number of jobs already in queue")


def submission(ran: Ran) -> Submitted | Refused | Ambiguous:
    """What a call of qsub came to.

    Words about the connection are ambiguous even where the captures show that nothing was queued
    (162, at once): the job is looked up by its name, which costs little and cannot double it.
    """
    lines = [line.strip() for line in ran.stdout.split("\n")]
    told = [line for line in lines if pbs_text.is_told_id(line)]
    if told:  # whatever the exit status: the job is there
        return Submitted(told[-1])
    if ran.exit_code == 0:
        return Ambiguous(f"qsub gave no job id: {words(ran) or 'it printed nothing'}")
    if ran.exit_code in _REFUSALS and not _CONNECTION.search(ran.stderr) and words(ran):
        return Refused(words(ran), full=bool(_FULL.search(words(ran))))
    return Ambiguous(words(ran) or f"qsub ended with {ran.exit_code}")


def words(ran: Ran) -> str:
    """What a command said, in one line and without its usage text."""
    if ran.problem:
        return f"{ran.argv[0]}: {ran.problem}"
    said = (ran.stderr.strip() or ran.stdout.strip()).partition("usage:")[0]
    return pbs_text.one_line(said)[-_WORDS_LIMIT:].strip()


@dataclass(frozen=True)
class Jobs:
    """What one qstat told: the jobs it listed, and those it said are not known or are over.

    Each is kept under the job's number. `history_off`: the server keeps no history, and with -x it
    answers for no job at all.
    """

    listed: Mapping[str, Sequence[pbs_text.Block]]
    unknown: Mapping[str, Sequence[str]]
    finished: Mapping[str, Sequence[str]]
    history_off: bool
    silence: str

    def status(self, job_id: str) -> JobStatus | None:
        """The state of a job; None where the server said that it does not know it."""
        number = pbs_text.number(job_id)
        for block in self.listed.get(number, ()):
            if pbs_text.same_job(job_id, block.name):
                return pbs_states.status_of(job_id, block)
        if any(pbs_text.same_job(job_id, other) for other in self.unknown.get(number, ())):
            return None
        return JobStatus(job_id, JobState.UNKNOWN, "", missing=self.silence)

    def has_finished(self, job_id: str) -> bool:
        others = self.finished.get(pbs_text.number(job_id), ())
        return any(pbs_text.same_job(job_id, other) for other in others)


def jobs(ran: Ran) -> Jobs:
    """The answer of `qstat -f -w ID ...`, whatever it was."""
    listed: dict[str, list[pbs_text.Block]] = {}
    for block in pbs_text.blocks(ran.stdout, pbs_text.JOB):
        listed.setdefault(pbs_text.number(block.name), []).append(block)
    return Jobs(
        listed,
        _named(_UNKNOWN, ran.stderr),
        _named(_FINISHED, ran.stderr),
        ran.exit_code == 0 and _HISTORY_OFF in ran.stderr,
        words(ran) or "qstat did not answer for this job",
    )


def _named(form: re.Pattern[str], stderr: str) -> dict[str, list[str]]:
    """The job ids in the lines of one form, under their numbers."""
    found: dict[str, list[str]] = {}
    for line in stderr.split("\n"):
        match = form.fullmatch(line.strip())
        if match:
            found.setdefault(pbs_text.number(match.group(1)), []).append(match.group(1))
    return found


@dataclass(frozen=True)
class Selected:
    """What qselect told; `problem` says why it is no answer."""

    ids: tuple[str, ...]
    history_off: bool
    problem: str


def selected(ran: Ran) -> Selected:
    """Job ids, oldest first; lines that are none (a banner of the site) are left out."""
    lines = {line.strip() for line in ran.stdout.split("\n")}
    ids = sorted(filter(pbs_text.is_told_id, lines), key=pbs_text.age)
    if ran.exit_code != 0:
        return Selected((), False, words(ran) or f"qselect ended with {ran.exit_code}")
    return Selected(tuple(ids), _HISTORY_OFF in ran.stderr, "")


def not_cancelled(ran: Ran, ids: Sequence[str]) -> str:
    """Why some of these jobs may live on after qdel; empty where all have been told or are over."""
    if ran.exit_code == 0:
        return ""
    lines = [line.strip() for line in ran.stderr.split("\n")]
    if ran.problem or not any(lines):
        return words(ran) or f"qdel ended with {ran.exit_code} for {' '.join(ids)[:100]}"
    left = [line for line in lines if line and not _OVER.fullmatch(line)]
    return pbs_text.one_line("; ".join(left))[:_WORDS_LIMIT]
