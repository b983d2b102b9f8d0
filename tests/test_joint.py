"""Several runs of one process ask a scheduler once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from hpcagent.protocols import Scheduler
from hpcagent.records import JobState, JobStatus, Pace
from hpcagent.study.joint import Joint, JointScheduler


class Counting:
    """Knows some jobs, and counts what it is asked."""

    pace = Pace(poll_s=60.0)

    def __init__(self, **states: JobState) -> None:
        self.states = states
        self.asked: list[tuple[tuple[str, ...], str]] = []
        self.cancelled: list[str] = []

    def poll(self, ids: Sequence[str], since_utc: str = "") -> dict[str, JobStatus]:
        self.asked.append((tuple(ids), since_utc))
        return {i: JobStatus(i, self.states[i], "word") for i in ids if i in self.states}

    def cancel(self, ids: Sequence[str]) -> None:
        self.cancelled += ids


def joint(counting: Counting) -> tuple[JointScheduler, list[float]]:
    now = [100.0]
    return JointScheduler(cast(Scheduler, counting), counting.pace.poll_s, lambda: now[0]), now


def test_what_one_run_asks_answers_the_others_until_the_pace_allows_another_query() -> None:
    counting = Counting(a=JobState.RUNNING, b=JobState.QUEUED)
    both, now = joint(counting)
    assert set(both.poll(["a"], "2026-01-02")) == {"a"}
    assert set(both.poll(["b"], "2026-01-01")) == {"b"}  # a job that was not asked for yet
    assert counting.asked[-1] == (("a", "b"), "2026-01-01")
    now[0] += 59
    assert both.poll(["a"], "2026-01-02")["a"].state is JobState.RUNNING
    assert both.poll(["b"], "2026-01-01")["b"].state is JobState.QUEUED
    assert len(counting.asked) == 2
    counting.states["a"] = JobState.COMPLETED
    now[0] += 2
    assert both.poll(["b"], "2026-01-01")["b"].state is JobState.QUEUED
    assert both.poll(["a"], "2026-01-02")["a"].state is JobState.COMPLETED
    assert len(counting.asked) == 3


def test_what_has_ended_or_is_not_known_is_not_asked_for_on_behalf_of_others() -> None:
    counting = Counting(a=JobState.COMPLETED, b=JobState.RUNNING)
    both, now = joint(counting)
    assert "gone" not in both.poll(["a", "b", "gone"])
    now[0] += 61
    both.poll(["b"])
    assert counting.asked[-1][0] == ("b",)


def test_after_a_cancellation_nothing_old_is_told() -> None:
    counting = Counting(a=JobState.RUNNING)
    both, _ = joint(counting)
    both.poll(["a"])
    both.cancel(["a"])
    counting.states["a"] = JobState.CANCELLED
    assert both.poll(["a"])["a"].state is JobState.CANCELLED
    assert counting.cancelled == ["a"]


def test_a_scheduler_without_a_pace_is_asked_each_time() -> None:
    counting = Counting(a=JobState.RUNNING)
    counting.pace = Pace()
    both, _ = joint(counting)
    both.poll(["a"])
    both.poll(["a"])
    assert len(counting.asked) == 2


def test_a_start_that_is_not_told_asks_for_all_times() -> None:
    counting = Counting(a=JobState.RUNNING, b=JobState.RUNNING)
    both, _ = joint(counting)
    both.poll(["a"], "2026-01-01")
    both.poll(["b"], "")
    assert counting.asked[-1][1] == ""


def test_jobs_that_are_watched_are_asked_for_with_the_first_query() -> None:
    counting = Counting(a=JobState.RUNNING, b=JobState.QUEUED)
    both, _ = joint(counting)
    both.watch({"a": "2026-01-02", "b": "2026-01-01"})
    both.poll(["a"], "2026-01-02")
    both.poll(["b"], "2026-01-01")
    assert counting.asked == [(("a", "b"), "2026-01-01")]


def test_the_configured_time_between_queries_holds() -> None:
    counting = Counting(a=JobState.RUNNING)
    shared = Joint(lambda name: cast(Scheduler, counting), 0.0)("slurm")
    shared.poll(["a"])
    shared.poll(["a"])
    assert len(counting.asked) == 2


def test_a_scheduler_is_made_once() -> None:
    made: list[Any] = []

    def make(name: str) -> Scheduler:
        made.append(name)
        return cast(Scheduler, Counting())

    shared = Joint(make)
    assert shared("slurm") is shared("slurm")
    assert shared("pbs") is not shared("slurm")
    assert made == ["slurm", "pbs"]
