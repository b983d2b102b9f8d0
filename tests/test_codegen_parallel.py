"""Several attempts at once, as far as the journal goes: jobs end in any order, at no cost."""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from hpcagent.codegen.attempt import STAGES
from hpcagent.codegen.taskfile import find_task, read_task
from hpcagent.codegen.tree import DRAFTS, MEASURED
from hpcagent.records import Event, Resources
from hpcagent.study import tune
from hpcagent.study.codegen_story import Wish, story
from hpcagent.study.codegen_task import Toolbox, Write, close, next_step
from hpcagent.study.settings import TuneSettings
from hpcagent.study.state import Folding, TuneState, Unit, fold
from hpcagent.study.task_plan import Target, Task

HERE = Path(__file__).parent / "fixtures"
FACTS = json.loads((HERE / "probe/recorded-debian12-node1-icelake.json").read_text())
SOFTWARE = json.loads((HERE / "software/recorded-debian12-lmod.json").read_text())
SOFTWARE["libraries"] = {}
NOW = "2026-05-01T12:00:00Z"
ATTEMPTS = 9


class Simulated:
    """A run of a model's attempts: what the agent would journal, and jobs that end by a seed."""

    def __init__(self, name: str, parallel: int, seed: int) -> None:
        task, text = read_task(find_task(name))
        budget = task.budget.model_copy(update={"attempts": ATTEMPTS, "confirm_pairs": 9})
        wish = Wish(task.model_copy(update={"budget": budget}), text, model=True, parallel=parallel)
        self.task = Task("codegen", (Target("here", Resources(walltime_s=600)),), wish.to_json())
        self.events: list[Event] = []
        self.folding = Folding()
        self.toolbox = Toolbox()
        self.bad_reference = False
        self.draw = random.Random(seed)
        self.most = self.most_measured = 0
        settings = TuneSettings("", seed, "slurm", "", 0, 0)
        opened = {"kind": "codegen", "version": "0", "settings": settings.to_json()}
        self.write("run_opened", {**opened, "task": self.task.to_json()})

    def write(self, kind: str, data: dict[str, Any]) -> None:
        event = Event(len(self.events) + 1, NOW, kind, json.loads(json.dumps(data)))
        self.events.append(event)
        self.folding.add(event)

    @property
    def state(self) -> TuneState:
        return self.folding.state()

    def follow(self, step: tune.Step | Write) -> None:
        match step:
            case tune.Submit(plan):
                name = f"unit{len(self.state.units) + 1}"
                self.write("unit_intent", {
                    "unit": name, "kind": plan.kind, "purpose": plan.purpose, "pack": "",
                    "attempt": len(self.state.attempts(plan.purpose)) + 1,
                    "resources": asdict(plan.resources), "spec": plan.spec,
                })  # fmt: skip
                self.write("unit_submitted", {"unit": name, "job_id": name})
            case Write(number, operation, parent, reason):
                files = {f"kernel{number % 2}.c": f"/* {number} */"}
                self.write("decision", {
                    "what": f"attempt-{number}", "operation": operation, "parent": parent,
                    "reason": reason, "files": files, "parameters": {},
                })  # fmt: skip
            case tune.Wait():
                self.end(self.draw.choice(self.state.open_units))

    def end(self, unit: Unit) -> None:
        row: dict[str, Any] = {
            "unit": unit.name, "state": "COMPLETED", "failure": None, "node": "n1", "runs": [],
            "job_seconds": 1.0, "queued_seconds": 0.0,
        }  # fmt: skip
        if unit.kind == "probe":
            facts = {**FACTS, "parts": {"software": SOFTWARE}}
            self.write("facts", {"unit": unit.name, "raw": facts})
        elif unit.kind == "build":
            row["steps"] = list(self.steps(int(unit.purpose.rpartition("-")[2])))
        else:
            row["runs"] = self.runs(unit)
        self.write("unit_result", row)

    def steps(self, number: int) -> list[dict[str, Any]]:
        """A third of the attempts fail their checks, each by its number alone."""
        bad = self.bad_reference if number == 0 else random.Random(number).random() < 0.35
        rows = []
        for name in STAGES:
            told: dict[str, Any] = {"stage": name, "ok": True, "sha256": {}}
            failed = bad and name == "check"
            if failed:
                told = {
                    "stage": name,
                    "ok": False,
                    "kind": "numerics.wrong_result",
                    "evidence": "y",
                }
            rows.append({
                "step": name, "status": "failed" if failed else "ok", "exit": int(failed),
                "signal": None, "seconds": 0.1, "t_utc": NOW, "output": json.dumps(told) + "\n",
                "log": "", "message": "", "maxrss_bytes": 1,
            })  # fmt: skip
        return rows

    def runs(self, unit: Unit) -> list[dict[str, Any]]:
        rows = []
        for pair in range(unit.spec["stop_rule"]["pairs"] + 1):
            for order, config in enumerate(row["id"] for row in unit.spec["configs"]):
                number = int(config.rpartition("-")[2])
                value = -0.02 * number + 0.001 * self.draw.random()
                rows.append({
                    "config": config, "pair": pair, "order": order, "status": "ok",
                    "objective": value, "medians": {"large": 1.0}, "message": "",
                })  # fmt: skip
        return rows

    def advance(self) -> tune.Close | None:
        step = next_step(self.task, self.state, self.toolbox)
        if isinstance(step, tune.Close):
            return step
        self.follow(step)
        told = story(self.task, self.state) if self.state.units[1:] else None
        out = [u for u in self.state.open_units if u.kind == "build"]
        drafted = told is not None and len(told.attempts) > DRAFTS + 1
        self.most = max(self.most, len(out)) if drafted else 0
        measured = sum(u.kind == "round" for u in self.state.open_units)
        self.most_measured = max(self.most_measured, measured)
        return None

    def finish(self) -> tune.Close:
        for _ in range(600):
            ended = self.advance()
            if ended is not None:
                return ended
        raise AssertionError("it does not end")


@pytest.mark.parametrize(("name", "parallel"), [("triad-c", 1), ("sort-c", 2), ("triad-c", 4)])
def test_so_many_attempts_are_under_way_and_one_measurement(name: str, parallel: int) -> None:
    """Whether there is a reference, or a checker and the first that passed."""
    run = Simulated(name, parallel, seed=3)
    ended = run.finish()
    assert ended.outcome == "improved"
    told = story(run.task, run.state)
    assert len(told.attempts) == ATTEMPTS + 1
    assert run.most_measured == 1
    if parallel > 1:
        assert 1 < run.most <= parallel
    else:
        assert run.most <= 2  # drafts, side by side
    counted = Counter(unit.purpose for unit in run.state.units)
    assert set(counted.values()) == {1}
    # What is improved is never what another one is improving just now, where there is a choice.
    assert all(a.node.state == MEASURED or a.failure for a in told.attempts[1:])
    assert told.baseline is not None
    assert (told.baseline.number == 0) == (name == "triad-c")


def test_whatever_the_journal_holds_the_next_step_follows_from_it() -> None:
    """Cut anywhere, also with two in flight, a run goes on with what it would have done."""
    run = Simulated("triad-c", 2, seed=1)
    steps: dict[int, object] = {}
    for _ in range(600):
        step = next_step(run.task, run.state, run.toolbox)
        steps[len(run.events)] = step
        if isinstance(step, tune.Close):
            break
        run.follow(step)
    two = [n for n in steps if len(fold(run.events[:n]).open_units) == 2]
    assert len(two) > 3
    for count in [*two[::2], *list(steps)[::7]]:
        assert next_step(run.task, fold(run.events[:count]), run.toolbox) == steps[count]


def test_a_run_that_is_cut_asks_and_submits_nothing_twice() -> None:
    whole = Simulated("triad-c", 2, seed=5)
    whole.finish()
    for cut in (25, 40, 52):
        assert len(whole.events) > cut
        again = Simulated("triad-c", 2, seed=5)
        for event in whole.events[1:cut]:
            again.write(event.type, dict(event.data))
        again.finish()
        counted = Counter(unit.purpose for unit in again.state.units)
        assert set(counted.values()) == {1}
        written = [e.data["what"] for e in again.events if e.type == "decision"]
        assert len(set(written)) == len(written)
        assert close(story(again.task, again.state)).outcome == "improved"


def test_a_reference_that_fails_its_own_checks_ends_the_run() -> None:
    run = Simulated("triad-c", 1, seed=1)
    run.bad_reference = True
    ended = run.finish()
    assert (ended.outcome, ended.exit_code) == ("failed", 2)
    assert ended.text.startswith("the reference fails its own checks (numerics.wrong_result)")
