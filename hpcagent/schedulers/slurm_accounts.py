"""Accounts and QOS as `sacctmgr --parsable2` lists them: pure functions of text."""

from __future__ import annotations

import re
from collections.abc import Iterator

from hpcagent.catalogue import Account, Bounds, Qos
from hpcagent.schedulers.slurm_answers import seconds

ASSOCIATIONS = ("Account", "Partition", "QOS", "DefaultQOS")
QOS = ("Name", "MaxWall", "MaxTRES", "MaxJobsPerUser", "MaxSubmitJobsPerUser", "Flags")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+%-]*")
_SIZE = re.compile(r"([0-9]{1,12})([KMGTP]?)")
_POWER = " KMGTP"
_TOLD = ((3, "MaxJobsPerUser"), (4, "MaxSubmitJobsPerUser"), (5, "Flags"))


def accounts(text: str, default: str) -> tuple[Account, ...]:
    """The associations of a user, `sacctmgr show associations format=ASSOCIATIONS`."""
    found = [
        Account(name, name == default, partition, tuple(filter(None, qos.split(","))), default_qos)
        for name, partition, qos, default_qos in _rows(text, len(ASSOCIATIONS))
    ]
    return tuple(sorted(found, key=lambda account: not account.default))


def qos(text: str) -> tuple[Qos, ...]:
    """`sacctmgr show qos format=QOS`; MaxTRES are those of one job."""
    found = []
    for row in _rows(text, len(QOS)):
        tres = dict(word.partition("=")[::2] for word in row[2].split(",") if "=" in word)
        bounds = Bounds(
            max_walltime_s=seconds(row[1]),
            max_nodes=_amount(tres.get("node", "")),
            max_cpus=_amount(tres.get("cpu", "")),
            max_gpus=_amount(tres.get("gres/gpu", "")),
            max_memory_bytes=_amount(tres.get("mem", ""), of_memory=True),
        )
        limits = (f"{name}={row[at]}" for at, name in _TOLD if row[at])
        found.append(Qos(row[0], bounds, tuple(limits)))
    return tuple(found)


def _rows(text: str, count: int) -> Iterator[list[str]]:
    """Rows of that many fields that begin with a name; --parsable2 of 22.05 may add a last `|`."""
    for line in text.split("\n"):
        row = [field.strip() for field in line.split("|")]
        if len(row) == count + 1 and not row[-1]:
            row.pop()
        if len(row) == count and _NAME.fullmatch(row[0]):
            yield row


def _amount(text: str, of_memory: bool = False) -> int | None:
    """A count, or memory in bytes: megabytes where no unit is given."""
    found = _SIZE.fullmatch(text)
    if found is None:
        return None
    unit = found[2] or ("M" if of_memory else "")
    return int(found[1]) * (1024 ** _POWER.index(unit) if unit else 1)
