"""What an answer of sbatch means: a job, a certain no, or neither.

After `Socket timed out` slurmctld may still take the job, so nothing that speaks of communication
is a refusal; nor is an answer that asks to try again (a full queue): looking the job up by its name
and submitting again is right in both cases. The words are those of src/common/slurm_errno.c and
src/sbatch/ of Slurm 20.11 to 25.11.
"""

from __future__ import annotations

import re

from hpcagent.records import Ambiguous, Refused, Submitted
from hpcagent.shell import Ran

_PARSABLE = re.compile(r"([1-9][0-9]{0,9})(?:;([A-Za-z0-9_][A-Za-z0-9_.-]*))?")
_TOLD = re.compile(r"Submitted batch job ([1-9][0-9]{0,9})(?: on cluster (\S+))?")
_ANSWERED = re.compile(r"(?:Batch job submission failed|allocation failure): (.*)")
_MOST_WORDS = 400

# What slurmctld says of a request that it has not taken.
_REFUSALS = re.compile(
    r"""
    Invalid\ (?!.*(credential|authentication|container|MPI\ plugin))
    | (CPU|Node|Task|Core)\ count\ specification\ invalid
    | Requested\ (?!nodes\ are\ busy)
    | Required\ (node|partition)\ not\ available
    | Partition\ in\ DOWN\ state
    | No\ partition\ specified
    | (Access|Permission|Access/permission)\ denied
    | User's\ group\ not\ permitted
    | More\ processors\ requested
    | Memory\ required\ by\ task\ is\ not\ available
    | Job\ (size|script|violates|dependency|--batch)
    | Job\ cannot\ be\ submitted\ without
    | Circular\ job\ dependency
    | Task\ distribution\ specification\ invalid
    | Pathname\ of\ a\ file
    | Only\ batch\ jobs\ are\ accepted
    | Duplicate\ generic\ resource
    | Burst\ Buffer\ (permission|request|resource)
    | Multiple\ (partition|KNL)
    | Cannot\ request\ more
    | System\ submissions\ disabled
    | X11\ forwarding\ not\ available
    | Job's\ account
    | Rejecting\ authentication\ of\ user
    | Unspecified\ error\Z  # what a job_submit plugin's plain refusal becomes
    """,
    re.VERBOSE | re.IGNORECASE,
)

# QOSMaxSubmitJobPerUserLimit, AssocMaxSubmitJobLimit, QOSGrpSubmitJobsLimit ...; releases that do
# not name the limit say what stands in the line of every limit's refusal.
_LIMIT = re.compile(r"\b(?:QOS|Assoc)\w+Limit\b")
_FULL = re.compile(r"(?:Max|Grp)Submit\w*Limit")
_SOME_LIMIT = "(job submit limit,"

# What sbatch says of a script or an option before it asks slurmctld at all.
_COMPLAINTS = re.compile(
    r"""
    Unable\ to\ open\ file
    | [Bb]atch\ script\ (is\ empty|contains)
    | does\ not\ look\ like\ a\ batch\ script
    | NULL\ character
    | DOS\ line\ breaks
    | unrecognized\ (option|--)
    | invalid\ option
    | option\ .*(requires\ an\ argument|is\ ambiguous|doesn't\ allow\ an\ argument)
    | [Ii]nvalid\ .*\ specification
    | [Ii]nvalid\ (directive|number|--|node|entry)
    | is\ not\ valid
    | [Uu]nmatched\ `
    | mutually\ exclusive
    | cli_filter\ plugin\ terminated
    | Script\ arguments\ not\ permitted
    """,
    re.VERBOSE,
)


def submission(ran: Ran) -> Submitted | Refused | Ambiguous:
    """The outcome of `sbatch --parsable`."""
    if ran.ok:
        ids = _ids(ran.stdout)
        if len(ids) == 1:
            return Submitted(ids[0])
        return Ambiguous(f"sbatch gave {len(ids) or 'no'} job ids: {ran.stdout.strip()[-200:]!r}")
    return _no(ran)


def _ids(text: str) -> list[str]:
    """The ids on lines of their own, between whatever a site prints besides."""
    found = []
    for line in text.split("\n"):
        told = _PARSABLE.fullmatch(line.strip()) or _TOLD.fullmatch(line.strip())
        if told is not None:
            found.append(f"{told[1]};{told[2]}" if told[2] else told[1])
    return list(dict.fromkeys(found))


def _no(ran: Ran) -> Refused | Ambiguous:
    words = said(ran)
    if ran.exit_code is None or ran.exit_code < 0:
        return Ambiguous(words or f"sbatch was ended by signal {-(ran.exit_code or 0)}")
    answers = _ANSWERED.findall(ran.stderr)
    if answers:
        refused = bool(_REFUSALS.match(answers[-1].strip()))
    else:
        refused = bool(_COMPLAINTS.search(ran.stderr))
    if refused and not _ids(ran.stdout):
        return Refused(words, full=_full(words))
    return Ambiguous(words or f"sbatch ended with exit code {ran.exit_code} and no word")


def _full(words: str) -> bool:
    """Whether a refusal is about how many jobs are queued, so that one that ends makes room."""
    return bool(_FULL.search(words) or (_SOME_LIMIT in words and not _LIMIT.search(words)))


def said(ran: Ran) -> str:
    """What a command said on stderr, in one line without its own name."""
    lines = (re.sub(r"^\w+: (error: |fatal: )?", "", line) for line in ran.stderr.split("\n"))
    words = "; ".join(line.strip() for line in lines if line.strip())
    return ran.problem or words[:_MOST_WORDS] or ran.quoted()
