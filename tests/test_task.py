"""Runs that visit targets (probe, doctor, build): what comes next, and what a unit leaves."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from hpcagent.errors import RunFailed
from hpcagent.measure.results import Done
from hpcagent.records import Event, Failure, JobState, Resources
from hpcagent.study import tune
from hpcagent.study.attempts import mended, within_node
from hpcagent.study.collecting import Collected, collect
from hpcagent.study.durable import parse_utc, utc_now
from hpcagent.study.probe_task import PROBE, Look, probe_spec
from hpcagent.study.settings import TuneSettings
from hpcagent.study.state import TuneState, Unit, fold
from hpcagent.study.task_plan import Target, Task, next_step, why_given_up
from hpcagent.toolchain.stepruns import StepRun, parse_steps

SETTINGS = TuneSettings("", 1, "slurm", "surrogate", 0, 0)
TARGETS = tuple(Target(name, Resources(60, partition=name)) for name in ("old", "new"))
TASK = Task("probe", TARGETS, Look(probe_spec((), False, "/runs")).to_json())


class Story:
    """A journal in memory."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.add(
            "run_opened",
            {"version": "1", "settings": SETTINGS.to_json(), "task": TASK.to_json()},
        )

    def add(self, kind: str, data: dict[str, Any]) -> None:
        seq = len(self.events) + 1
        stored = json.loads(json.dumps(data))
        self.events.append(Event(seq, f"2026-01-01T00:00:{seq:02d}Z", kind, stored))

    @property
    def state(self) -> TuneState:
        return fold(self.events)

    def step(self) -> tune.Step:
        return next_step(PROBE, TASK, self.state)

    def submit(self) -> str:
        """What comes next is submitted; its name."""
        step = self.step()
        assert isinstance(step, tune.Submit)
        plan, name = step.plan, f"u{len(self.events)}"
        self.add("unit_intent", {"unit": name, "kind": plan.kind, "purpose": plan.purpose,
                                 "attempt": 1, "resources": asdict(plan.resources),
                                 "spec": plan.spec})  # fmt: skip
        self.add("unit_submitted", {"unit": name, "job_id": "1"})
        return name

    def end(self, name: str, failure: Failure | None = None, **more: Any) -> None:
        unit = next(u for u in self.state.units if u.name == name)
        collected = Collected(JobState.COMPLETED, failure, **more, ran_s=1.0)

        self.add("unit_result", collected.to_json(unit, utc_now()))


def test_targets_are_visited_side_by_side_and_their_facts_kept_apart() -> None:
    story = Story()
    first, second = story.submit(), story.submit()
    assert [u.resources.partition for u in story.state.units] == ["old", "new"]
    assert isinstance(story.step(), tune.Wait)
    story.add("facts", {"unit": second, "raw": {"host": "n2"}})
    story.end(second)
    story.add("facts", {"unit": first, "raw": {"host": "n1"}})
    story.end(first)
    assert [u.facts for u in story.state.units] == [{"host": "n1"}, {"host": "n2"}]
    step = story.step()
    assert isinstance(step, tune.Close)
    assert (step.outcome, step.exit_code) == ("probed", 0)


def test_a_refused_target_does_not_keep_the_others_from_theirs() -> None:
    story = Story()
    first, second = story.submit(), story.submit()
    story.end(first, Failure("scheduler", "refused", "Invalid qos"))
    story.end(second)
    step = story.step()
    assert isinstance(step, tune.Close)
    assert (step.exit_code, step.text) == (0, "1 of 2 targets; old: Invalid qos")


def test_where_every_target_is_refused_the_run_ends_as_refused() -> None:
    story = Story()
    for name in (story.submit(), story.submit()):
        story.end(name, Failure("scheduler", "refused", "Invalid qos"))
    step = story.step()
    assert isinstance(step, tune.Close)
    assert (step.outcome, step.exit_code) == ("failed", 4)


def test_a_failed_unit_is_tried_again_and_given_up_in_the_end() -> None:
    story = Story()
    crash = Failure("run", "worker", "exit code 1")
    for _ in range(4):  # two attempts at each of the two targets
        story.end(story.submit(), crash)
    step = story.step()
    assert isinstance(step, tune.Close)
    assert (step.outcome, step.exit_code) == ("failed", 7)
    assert why_given_up(story.state, "probe-old") == crash


def test_a_journal_that_was_changed_by_hand_is_named() -> None:
    story = Story()
    story.events[0].data["task"].pop("targets")
    with pytest.raises(RunFailed, match="the journal is damaged"):
        Task.of(fold(story.events))


def test_what_steps_left_is_kept_in_the_order_of_their_ends(tmp_path: Path) -> None:
    rows = [
        {"step": "a", "status": "failed", "exit": 1, "output": "first try"},
        {"step": "b", "status": "signal", "signal": 4},
        "not a line",
        {"step": "a", "status": "ok", "exit": 0, "seconds": 1.5},
        {"status": "ok"},
    ]
    text = "".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows)
    (tmp_path / "result.jsonl").write_text(text)
    unit = Unit("u", "build", "build-here", 1, Resources(60), {"steps": []}, "")
    done = Done(0, "", "", "n1")
    assert collect(tmp_path, unit, done).steps == (
        StepRun("b", "signal", signal=4),
        StepRun("a", "ok", exit=0, seconds=1.5),
    )
    stopped = collect(tmp_path, unit, Done(143, "", "", "n1"))
    assert stopped.stopped
    assert len(stopped.steps) == 2


@pytest.mark.parametrize(
    "line",
    [
        "",
        "[]",
        "1",
        '{"step": {}}',
        '{"step": "a", "status": "ok", "exit": "x"}',
        '{"step": "a", "status": "ok", "seconds": "soon"}',
    ],
)
def test_a_damaged_line_of_a_step_is_left_out(line: str) -> None:
    assert parse_steps(line + "\n") == ()


def test_a_job_that_ran_out_of_time_asks_for_more_and_says_so() -> None:
    story = Story()
    first = story.submit()
    asked_s = story.state.units[0].resources.walltime_s
    story.end(first, Failure("scheduler", "timeout", "TIMEOUT"))
    step = story.step()
    assert isinstance(step, tune.Decide)
    assert "walltime_s x 2" in step.data["reason"]
    story.add("decision", {"what": step.what, **step.data})
    again = story.submit()
    assert story.state.units[-1].resources.walltime_s == 2 * asked_s
    # A lost node says nothing about the request.
    story.end(again, Failure("scheduler", "node_fail", "NODE_FAIL"))
    step = story.step()
    assert isinstance(step, tune.Submit)


def test_only_what_was_asked_for_can_be_multiplied() -> None:
    state = Story()
    unit = state.submit()
    state.end(unit, Failure("scheduler", "out_of_memory", "OUT_OF_MEMORY"))
    plain = Resources(60)
    assert mended(state.state, "probe-old", plain) == (plain, ())
    each, why = mended(state.state, "probe-old", Resources(60, memory_per_cpu_bytes=100))
    assert (each.memory_per_cpu_bytes, each.memory_bytes) == (200, None)
    assert why == ("scheduler.out_of_memory: memory_per_cpu_bytes x 2",)


def test_a_job_without_a_wish_gets_a_multiple_of_the_site_s_default() -> None:
    story = Story()
    unit = story.submit()
    out_of_memory = Failure("scheduler", "out_of_memory", "OUT_OF_MEMORY")
    ended = Collected(JobState.OUT_OF_MEMORY, out_of_memory, memory_bytes=400 << 20)
    first = story.state.units[0]
    story.add("unit_result", ended.to_json(first, parse_utc("2026-01-01T00:00:00Z")))
    more, why = mended(story.state, "probe-old", Resources(60))
    assert (more.memory_bytes, why) == (800 << 20, ("scheduler.out_of_memory: memory_bytes x 2",))
    tried = story.state.attempts("probe-old")
    assert within_node(more, tried, None) == more
    assert within_node(more, tried, 600 << 20).memory_bytes == 600 << 20
    own = [replace(first, resources=Resources(60, memory_bytes=700 << 20))]
    assert within_node(more, own, 600 << 20).memory_bytes == 700 << 20
    assert unit == first.name
