"""The seams of hpcagent on one screen: what a plugin has to be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from hpcagent.catalogue import Catalogue
from hpcagent.records import (
    Ambiguous,
    Config,
    Failure,
    JobStatus,
    Limits,
    Message,
    Outlook,
    OwnJob,
    Pace,
    Param,
    Proposal,
    Queue,
    Ranking,
    Refused,
    Reply,
    Resources,
    Stop,
    Submitted,
    Trial,
)


class SearchSpace(Protocol):
    """What a strategy may ask of a space (search.space.Space has more)."""

    @property
    def params(self) -> tuple[Param, ...]: ...

    @property
    def restrictions(self) -> tuple[str, ...]: ...

    @property
    def default(self) -> Config: ...

    @property
    def combinations(self) -> int:
        """Those of all values, valid or not."""
        ...

    @property
    def enumerable(self) -> bool:
        """Whether `points` can list it; else there are `sample` and `neighbours`."""
        ...

    def points(self) -> Sequence[Config]:
        """Every valid configuration, in a fixed order; UsageError where there are too many."""
        ...

    def contains(self, config: Config) -> bool: ...

    def sample(self, n: int, seed: int) -> Sequence[Config]:
        """Up to `n` distinct valid configurations, the same for the same seed."""
        ...

    def neighbours(self, config: Config) -> Sequence[Config]:
        """Valid configurations that differ in one parameter, by a step where it is ordinal."""
        ...

    def validate(self, values: Mapping[str, str]) -> Config | Failure:
        """The configuration of these values, or what is wrong with them in one line."""
        ...


class Scheduler(Protocol):
    """A batch system: pure command builders and pure parsers of text behind these calls.

    `since_utc` is the earliest submission of the jobs asked for (ISO 8601, UTC; empty: not known).
    Calls that ask raise SchedulerUnreachable where there is no answer.
    """

    @property
    def pace(self) -> Pace: ...

    def directives(self, resources: Resources, name: str) -> list[str]:
        """The comment lines that carry the request, for the head of a job script."""
        ...

    def launcher(self, resources: Resources) -> list[str]:
        """The words put before a parallel command; empty for one task."""
        ...

    def submit(self, script: Path) -> Submitted | Refused | Ambiguous:
        """Queue a script; `out`, `err` and the working directory are where it lies."""
        ...

    def find(self, name: str, since_utc: str = "") -> list[str]:
        """Ids of all jobs of exactly this name, oldest first, finished ones included."""
        ...

    def poll(self, ids: Sequence[str], since_utc: str = "") -> dict[str, JobStatus]:
        """One query for all. Absent is what every witness was asked for and none knows.

        It never raises SchedulerUnreachable: a job that only a silent witness could know is there
        with the state UNKNOWN and the witness in `missing`.
        """
        ...

    def question(self, ids: Sequence[str]) -> str:
        """The command by which a user asks how these jobs stand; empty where there is none."""
        ...

    def cancel(self, ids: Sequence[str]) -> None:
        """Ask for the end of these jobs; those that have ended or are not known are no error."""
        ...

    def queues(self) -> tuple[Queue, ...]: ...

    def catalogue(self) -> Catalogue:
        """What this user can be given: partitions, node types, limits and accounts.

        What a witness other than the scheduler itself did not tell is in `missing`.
        """
        ...

    def own_job(self) -> OwnJob | None:
        """The job that this process runs in; None outside of one."""
        ...


class Strategy(Protocol):
    def propose(
        self,
        space: SearchSpace,
        history: Sequence[Trial],
        pending: Sequence[Config],
        k: int,
        seed: int,
    ) -> tuple[Proposal, ...] | Stop:
        """Up to `k` unvisited configurations, best first; a pure function of its arguments."""
        ...


class LanguageModel(Protocol):
    def complete(
        self,
        messages: Sequence[Message],
        schema: Mapping[str, Any] | None,
        limits: Limits,
        seed: int,
    ) -> Reply:
        """An answer that obeys the JSON schema, or a Reply that carries a Failure.

        Without a schema the answer is free text, which ends where the model ends it.
        """
        ...


@runtime_checkable
class RankingModel(LanguageModel, Protocol):
    """A model that can tell its probabilities."""

    def rank(
        self,
        messages: Sequence[Message],
        menu: Sequence[str],
        limits: Limits,
        reason: int = 0,
        seed: int = 0,
    ) -> Ranking:
        """How probable each entry of `menu` is as the answer to `messages`.

        With `reason`, the answer is JSON with "reason" (a text of so many characters at most, for
        which the seed is) and "choice"; else it is the entry alone.
        """
        ...


class PointModel(Protocol):
    """A model that has learnt to tune: it predicts results of points from a history."""

    def refusal(self, space: SearchSpace) -> str:
        """Why it cannot express this space; empty where it can."""
        ...

    def expect(
        self, space: SearchSpace, history: Sequence[Trial], points: Sequence[Config], seed: int
    ) -> Outlook:
        """What is to be expected of each point; a function of the arguments."""
        ...
