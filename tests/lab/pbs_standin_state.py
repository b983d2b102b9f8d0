"""The state of the stand-in of a PBS server: a folder that its commands and its mom share.

`jobs/N.json` a job, `spool/` scripts and output, `calls` the commands so far,
`faults.json` what is to go wrong:

    server   "up", "down" (connection refused), "hung" (commands wait until it is up again)
    history  whether finished jobs are kept; switching it off discards them
    node     "up", "away" (nobody can reach it), "lost" (given up: its jobs end or go back)
    qsub     "" or "before"/"after": qsub is killed before/after the job was made
    cut      qstat loses its server after that many jobs (0: never)
    banner   text that every command prints first
    slow_s   how long every command takes to begin
    bring_s  how long output is tried to be brought that cannot
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

SERVER = "pbs01"
NODE_CPUS = 32
NODE_MEM_KB = 24684096
QUEUES: dict[str, dict[str, str]] = {
    "workq": {},
    "short": {
        "max_queued": "[u:PBS_GENERIC=3]",
        "resources_max.ncpus": "4",
        "resources_max.walltime": "00:10:00",
    },
    "closed": {"enabled": "False"},
    "stopped": {"started": "False"},
    "private": {"acl_user_enable": "True", "acl_users": "nobody"},
}
NO_FAULTS: dict[str, Any] = {
    "server": "up",
    "history": True,
    "node": "up",
    "qsub": "",
    "cut": 0,
    "banner": "",
    "slow_s": 0,
    "bring_s": 0.5,
}


@dataclass
class Job:
    """A job as the server keeps it; times are seconds since the epoch, 0 for never."""

    number: int
    name: str
    owner: str
    queue: str
    select: str
    place: str
    arguments: str
    workdir: str
    home: str
    path: str
    output: str
    error: str
    walltime: str = ""
    account: str = ""
    join: str = "n"
    variables: dict[str, str] = field(default_factory=dict)  # of -v
    depend: str = ""
    rerunable: bool = True
    umask: int = 0o077
    hold: str = "n"
    state: str = "Q"
    substate: int = 10
    comment: str = ""
    exit_status: int | None = None
    run_count: int = 0
    created: float = field(default_factory=time.time)
    started: float = 0.0
    ended: float = 0.0
    deleted: bool = False
    on_node: bool = False
    met: list[int] = field(default_factory=list)  # the others that have ended as it asked

    @property
    def id(self) -> str:
        return f"{self.number}.{SERVER}"

    @property
    def finished(self) -> bool:
        return self.state == "F"


def chunks(select: str) -> tuple[int, dict[str, str]]:
    """How many chunks and what each is: `2:ncpus=4:mem=1gb`."""
    count, *parts = select.split(":")
    return int(count), dict(part.split("=", 1) for part in parts)


def kilobytes(size: str) -> int:
    units = {"b": 1 / 1024, "kb": 1, "mb": 1024, "gb": 1024**2, "tb": 1024**3}
    number = size.rstrip("kmgtb")
    return int(int(number) * units[size[len(number) :] or "b"])


def seconds(walltime: str) -> float:
    total = 0.0
    for part in walltime.split(":"):
        total = total * 60 + float(part)
    return total


def awaited(job: Job) -> list[int]:
    """The numbers of the jobs that this one still waits for."""
    ids = [int(name.partition(".")[0]) for name in job.depend.split(":")[1:]]
    return [number for number in ids if number not in job.met]


def satisfied(job: Job, ended: Job) -> bool:
    kind = job.depend.partition(":")[0]
    if ended.exit_status is None or kind == "afterany":
        return kind == "afterany"
    return (ended.exit_status == 0) == (kind == "afterok")


class State:
    """The folder, and the lock that one command or the mom holds while it changes something."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def create(self, home: Path) -> None:
        for name in ("jobs", "spool"):
            (self.folder / name).mkdir(parents=True)
        (self.folder / "lock").touch()
        (self.folder / "calls").touch()
        self._write(self.folder / "next.json", 1)
        self._write(self.folder / "home.json", str(home))
        self._write(self.folder / "faults.json", NO_FAULTS)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        with (self.folder / "lock").open() as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield

    def faults(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "faults.json").read_text())
        return found

    def set_faults(self, **changes: Any) -> None:
        with self.locked():
            faults = self.faults()
            unknown = changes.keys() - faults.keys()
            if unknown:
                raise KeyError(f"no such fault: {unknown}")
            self._write(self.folder / "faults.json", {**faults, **changes})
            if changes.get("history") is False:
                for job in self.jobs():
                    if job.finished:
                        self.remove(job)

    def home(self) -> str:
        return str(json.loads((self.folder / "home.json").read_text()))

    def number(self) -> int:
        """The next job's; a job that is refused afterwards uses it up."""
        number = int(json.loads((self.folder / "next.json").read_text()))
        self._write(self.folder / "next.json", number + 1)
        return number

    def jobs(self) -> list[Job]:
        paths = sorted((self.folder / "jobs").glob("*.json"), key=lambda path: int(path.stem))
        return [Job(**json.loads(path.read_text())) for path in paths]

    def job(self, number: int) -> Job | None:
        path = self.folder / "jobs" / f"{number}.json"
        return Job(**json.loads(path.read_text())) if path.exists() else None

    def keep(self, job: Job) -> None:
        """Write a job; one that has finished is dropped where there is no history."""
        if job.finished:
            self._release(job)
        if job.finished and not self.faults()["history"]:
            self.remove(job)
            return
        self._write(self.folder / "jobs" / f"{job.number}.json", asdict(job))

    def _release(self, ended: Job) -> None:
        """Tell those that wait for this job that it has ended as they asked."""
        for job in self.jobs():
            waits = job.number != ended.number and not job.finished
            if waits and ended.number in awaited(job) and satisfied(job, ended):
                job.met.append(ended.number)
                self.keep(job)

    def remove(self, job: Job) -> None:
        (self.folder / "jobs" / f"{job.number}.json").unlink(missing_ok=True)

    def script(self, number: int) -> Path:
        return self.folder / "spool" / f"{number}.{SERVER}.SC"

    def _write(self, path: Path, value: Any) -> None:
        temporary = path.with_name(f"{path.name}.{os.getpid()}.new")
        temporary.write_text(json.dumps(value))
        temporary.replace(path)
