"""One query of a scheduler for the jobs of several runs that one process drives."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hpcagent.catalogue import Catalogue
from hpcagent.protocols import Scheduler
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


@dataclass
class Joint:
    """Makes a scheduler once for each name: those that ask share its answers.

    `poll_s` are the seconds between two queries that are configured (None: the scheduler's pace).
    """

    make: Callable[[str], Scheduler]
    poll_s: float | None = None
    monotonic: Callable[[], float] = time.monotonic
    made: dict[str, JointScheduler] = field(default_factory=dict)

    def __call__(self, name: str) -> JointScheduler:
        if name not in self.made:
            scheduler = self.make(name)
            poll_s = scheduler.pace.poll_s if self.poll_s is None else self.poll_s
            self.made[name] = JointScheduler(scheduler, poll_s, self.monotonic)
        return self.made[name]


class JointScheduler:
    """The same scheduler, asked for the jobs of all runs where it is asked for those of one.

    An answer holds for `poll_s` seconds. It is never one of before a job was asked for, nor of
    before one was cancelled.
    """

    def __init__(
        self, scheduler: Scheduler, poll_s: float, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._scheduler = scheduler
        self._poll_s = poll_s
        self._monotonic = monotonic
        self._since: dict[str, str] = {}  # of the jobs that are worth asking for
        self._asked: frozenset[str] = frozenset()
        self._answer: dict[str, JobStatus] = {}
        self._until = 0.0

    def watch(self, since_utc: Mapping[str, str]) -> None:
        """Ask for these jobs as well when it is asked the next time: id -> when submitted."""
        self._since |= since_utc

    def poll(self, ids: Sequence[str], since_utc: str = "") -> dict[str, JobStatus]:
        if not (self._asked.issuperset(ids) and self._monotonic() < self._until):
            self._ask(ids, since_utc)
        return {one: self._answer[one] for one in ids if one in self._answer}

    def _ask(self, ids: Sequence[str], since_utc: str) -> None:
        self._since |= dict.fromkeys(ids, since_utc)
        known = "" not in self._since.values()
        earliest = min(self._since.values()) if self._since and known else ""
        self._answer = self._scheduler.poll(tuple(self._since), earliest)
        self._asked = frozenset(self._since)
        self._until = self._monotonic() + self._poll_s
        running = {i for i, status in self._answer.items() if not status.state.terminal}
        self._since = {i: since for i, since in self._since.items() if i in running}

    def cancel(self, ids: Sequence[str]) -> None:
        self._until = 0.0
        self._scheduler.cancel(ids)

    @property
    def pace(self) -> Pace:
        return self._scheduler.pace

    def directives(self, resources: Resources, name: str) -> list[str]:
        return self._scheduler.directives(resources, name)

    def launcher(self, resources: Resources) -> list[str]:
        return self._scheduler.launcher(resources)

    def submit(self, script: Path) -> Submitted | Refused | Ambiguous:
        return self._scheduler.submit(script)

    def find(self, name: str, since_utc: str = "") -> list[str]:
        return self._scheduler.find(name, since_utc)

    def question(self, ids: Sequence[str]) -> str:
        return self._scheduler.question(ids)

    def queues(self) -> tuple[Queue, ...]:
        return self._scheduler.queues()

    def catalogue(self) -> Catalogue:
        return self._scheduler.catalogue()

    def own_job(self) -> OwnJob | None:
        return self._scheduler.own_job()
