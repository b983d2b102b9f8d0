"""Why a job waits: Slurm's reason codes in words a user can act on.

From squeue(1), JOB REASON CODES, and what slurmctld puts in their place, 20.11 to 25.11.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Explanation:
    """`hopeless`: it cannot start as it was asked for unless somebody changes a setting."""

    words: str
    hopeless: bool = False


_EXACT: Mapping[str, Explanation] = MappingProxyType(
    {
        "Priority": Explanation("jobs of higher priority come first"),
        "Resources": Explanation("it waits for resources to become free"),
        "Dependency": Explanation("it waits for another job to end"),
        "DependencyNeverSatisfied": Explanation("the job it depends on ended otherwise", True),
        "BeginTime": Explanation("the start time asked for has not come"),
        "Prolog": Explanation("the node's prolog is running"),
        "Cleaning": Explanation("its last run is still being cleaned up"),
        "Licenses": Explanation("it waits for a licence"),
        "Reservation": Explanation("it waits for its reservation to begin"),
        "ReservationDeleted": Explanation("its reservation was deleted", True),
        "PartitionTimeLimit": Explanation("the time asked for is over the partition's limit", True),
        "PartitionNodeLimit": Explanation(
            "the number of nodes is outside the partition's limits, or its nodes are down"
        ),
        "PartitionConfig": Explanation(
            "the partition's nodes that are up do not have what it asks for"
        ),
        "PartitionDown": Explanation("the partition is down"),
        "PartitionInactive": Explanation("the partition is inactive and starts no jobs"),
        "JobHeldUser": Explanation("held by its user: scontrol release starts it"),
        "JobHeldAdmin": Explanation("held by an administrator"),
        "JobHoldMaxRequeue": Explanation("held, because it was requeued too often"),
        "JobArrayTaskLimit": Explanation("as many tasks of the array run as may at once"),
        "BadConstraints": Explanation("no node can meet what it asks for", True),
        "InvalidAccount": Explanation("the account is not valid", True),
        "InvalidQOS": Explanation("the QOS is not valid", True),
        "AccountNotAllowed": Explanation("the account may not use this partition", True),
        "QOSNotAllowed": Explanation("the QOS may not be used here", True),
        "QOSUsageThreshold": Explanation("the QOS's usage threshold is passed"),
        "ReqNodeNotAvail": Explanation("nodes it needs are down, drained or reserved"),
        "NodeDown": Explanation("a node it needs is down"),
        "FrontEndDown": Explanation("the front end is down"),
        "SchedDefer": Explanation("the scheduler tries it in its next pass"),
        "FedJobLock": Explanation("the federation's clusters are agreeing on it"),
        "MaxMemPerLimit": Explanation("the memory asked for is over the node's limit", True),
        "DeadLine": Explanation("its deadline cannot be met", True),
        "JobLaunchFailure": Explanation("its launch failed, or a signal ended it"),
        "SystemFailure": Explanation("Slurm or a file system or network failed"),
        "NonZeroExitCode": Explanation("it ended with an exit code other than 0"),
        "RaisedSignal": Explanation("a signal ended it"),
        "TimeLimit": Explanation("it used up its time limit"),
        "InactiveLimit": Explanation("it was inactive for longer than the limit"),
        "OutOfMemory": Explanation("it used more memory than it had asked for"),
        "AccountingPolicy": Explanation("an accounting limit holds it back"),
        "BurstBufferResources": Explanation("it waits for burst buffer space"),
        "BurstBufferStageIn": Explanation("its data are being staged in"),
        "BurstBufferOperation": Explanation("a burst buffer operation failed"),
    }
)

# Families of codes; the first that matches holds.
_FAMILIES: tuple[tuple[re.Pattern[str], Explanation], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), explanation)
    for pattern, explanation in (
        (
            r"ReqNodeNotAvail.*maintenance",
            Explanation("nodes it needs are reserved for maintenance: it would not end before"),
        ),
        (
            r"Nodes required for job are DOWN",
            Explanation("nodes it needs are down, drained or reserved for other partitions"),
        ),
        (
            r"launch failed requeued held",
            Explanation("its launch failed; held until somebody releases it"),
        ),
        (
            r"Job's (account|QOS) not permitted to use this partition",
            Explanation("the account or QOS may not use this partition", True),
        ),
        (
            r"Job is at or exceeds",
            Explanation("the compute time of its account or QOS is used up"),
        ),
        (r"Reservation \S+ which this job was running under", Explanation("its reservation ended")),
        (r"job requeued in held state", Explanation("held until somebody releases it")),
        (
            r"(QOS|Assoc)?Max\w*Per(Job|Node)(Limit)?$",
            Explanation("it asks for more than the limits allow one job", True),
        ),
        (r"QOSMin", Explanation("it asks for less than the QOS demands", True)),
        (
            r"(QOS|Assoc)Grp\w*(Minutes|Wall)",
            Explanation("the compute time of its account or QOS is used up"),
        ),
        (r"(QOS|Assoc)Grp", Explanation("its account or QOS is at its limit now")),
        (
            r"((QOS|Assoc)Max|Max\w*Per(User|Account)|QOS\w*Limit|Association\w*Limit)",
            Explanation("your jobs are at a limit now"),
        ),
    )
)


# What a job ended for; other reasons are of its time in the queue and stay recorded after it.
_ENDS = frozenset(
    {
        "BadConstraints", "DeadLine", "DependencyNeverSatisfied", "InactiveLimit",
        "JobLaunchFailure", "MaxMemPerLimit", "NodeDown", "NonZeroExitCode", "OutOfMemory",
        "RaisedSignal", "SystemFailure", "TimeLimit",
    }
)  # fmt: skip


def explain(reason: str) -> Explanation:
    """What a reason means; no words where it is not known or there is none."""
    plain = reason.strip().replace("_", " ")
    for pattern, explanation in _FAMILIES:
        if pattern.match(plain):
            return explanation
    word = re.match(r"[A-Za-z]+", plain)
    return _EXACT.get(word.group(), Explanation("")) if word else Explanation("")


def told(reason: str, waits: bool) -> str:
    """The scheduler's word followed by what it means; empty where there is none that counts.

    `waits`: the job is in the queue. Of another one only the reason of its end is of interest.
    """
    plain = reason.strip()
    if plain in ("", "None", "(null)", "N/A") or not (waits or plain in _ENDS):
        return ""
    words = explain(plain).words
    return f"{plain}: {words}" if words else plain
