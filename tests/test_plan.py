"""What comes next of a plan, for any plan and any way in which its steps end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcagent.errors import RunFailed
from hpcagent.study import plan
from hpcagent.study.plan import Begin, Plan, PlanStep, Skip, next_step
from hpcagent.study.settings import TuneSettings
from hpcagent.study.state import TuneState
from hpcagent.study.tune import Close

SETTINGS = TuneSettings("", 1, "local", "", 0, 0)
GOOD: Mapping[str, Any] = {"outcome": "built", "text": "there", "exit_code": 0}
BAD: Mapping[str, Any] = {"outcome": "failed", "text": "no compiler", "exit_code": 3}


def opened(steps: list[PlanStep]) -> tuple[Plan, TuneState]:
    made = Plan("/x/plan.yaml", "/x", tuple(steps))
    return made, TuneState(SETTINGS, "2026-01-01T00:00:00Z", "0", plan=made.to_json())


def decided(state: TuneState, what: str, data: Mapping[str, Any]) -> TuneState:
    return replace(state, decisions={**state.decisions, what: {"what": what, **data}})


def begun(state: TuneState, step: PlanStep, words: tuple[str, ...] = ()) -> TuneState:
    return decided(state, f"begin {step.name}", {"words": list(words), "reason": ""})


def ended(state: TuneState, step: PlanStep, closed: Mapping[str, Any], **results: str) -> TuneState:
    data = plan.closing(step, closed, {"run": f"/runs/{step.name}", **results})
    return decided(state, data["what"], data)


def skipped(state: TuneState, skip: Skip) -> TuneState:
    return decided(state, f"skip {skip.step.name}", {"reason": skip.reason})


@st.composite
def plans(draw: st.DrawFn) -> list[PlanStep]:
    count = draw(st.integers(1, 7))
    steps = []
    for n in range(count):
        needs = draw(st.lists(st.integers(0, n - 1), unique=True, max_size=3)) if n else []
        scheduler = draw(st.sampled_from(["local", "slurm", ""]))
        steps.append(PlanStep(f"s{n}", "tune", (), tuple(f"s{i}" for i in needs), scheduler))
    return steps


@given(plans(), st.randoms(use_true_random=False))
def test_every_plan_comes_to_its_end_in_an_order_that_its_needs_allow(
    steps: list[PlanStep], chance: Any
) -> None:
    made, state = opened(steps)
    well: dict[str, bool] = {}
    for _ in range(5 * len(steps) + 5):
        out = plan.active(made, state)
        assert sum(step.here for step in out) <= 1  # on this machine they take turns
        match next_step(made, state):
            case Begin(step, words):
                assert all(well[name] for name in step.needs)
                state = begun(state, step, words)
            case Skip() as skip:
                assert any(not well.get(name, True) or name not in well for name in skip.step.needs)
                well[skip.step.name] = False
                state = skipped(state, skip)
            case None:
                step = chance.choice(out)
                well[step.name] = chance.random() < 0.7
                state = ended(state, step, GOOD if well[step.name] else BAD)
            case Close(outcome, text, code):
                assert set(well) == {step.name for step in steps}
                assert f"{sum(well.values())} of {len(steps)} step" in text
                assert (outcome, code) == (("done", 0) if all(well.values()) else ("failed", 3))
                return
    raise AssertionError("it never ends")


def test_steps_of_a_batch_system_are_under_way_side_by_side() -> None:
    here, there = PlanStep("a", "tune", (), (), "local"), PlanStep("b", "tune", (), (), "slurm")
    last = PlanStep("c", "tune", (), (), "local")
    made, state = opened([here, there, last])
    for step in (here, there):
        assert next_step(made, state) == Begin(step, ())
        state = begun(state, step)
    assert next_step(made, state) is None  # the other one of this machine waits
    assert next_step(made, ended(state, here, GOOD)) == Begin(last, ())


def test_a_reference_is_the_result_of_the_step_that_ended() -> None:
    lib = PlanStep("lib", "build", ("--lib", "openblas"))
    tune = PlanStep("t", "tune", ("--openblas-prefix={lib.prefix}/lib", "{x"), ("lib",))
    made, state = opened([lib, tune])
    done = ended(begun(state, lib), lib, GOOD, prefix="/opt/a b")
    assert next_step(made, done) == Begin(tune, ("--openblas-prefix=/opt/a b/lib", "{x"))
    without = next_step(made, ended(begun(state, lib), lib, GOOD))
    assert without == Skip(tune, "lib has left no prefix")


def test_what_failed_is_told_and_the_first_exit_code_is_the_plan_s() -> None:
    steps = [PlanStep("a", "build", ()), PlanStep("b", "tune", (), ("a",)),
             PlanStep("c", "tune", (), ("b",)), PlanStep("d", "probe", ())]  # fmt: skip
    made, state = opened(steps)
    state = ended(begun(state, steps[0]), steps[0], BAD)
    skip = next_step(made, state)
    assert skip == Skip(steps[1], "it needs a, which ended with: failed")
    state = skipped(state, skip)
    skip = next_step(made, state)
    assert skip == Skip(steps[2], "it needs b, which is left out")
    state = skipped(state, skip)
    assert next_step(made, state) == Begin(steps[3], ())
    state = ended(begun(state, steps[3]), steps[3], GOOD)
    words = "1 of 4 steps done; a: failed; b: left out; c: left out"
    assert next_step(made, state) == Close("failed", words, 3)


def test_a_cancelled_step_is_not_done() -> None:
    one = PlanStep("a", "tune", ())
    made, state = opened([one])
    cancelled = {"outcome": "cancelled", "text": "on request", "exit_code": 0}
    state = ended(begun(state, one), one, cancelled)
    assert next_step(made, state) == Close("failed", "0 of 1 step done; a: cancelled", 7)


def test_a_step_that_is_stuck_keeps_no_other_from_beginning_and_the_plan_open() -> None:
    steps = [PlanStep("a", "tune", ()), PlanStep("b", "tune", ())]
    made, state = opened(steps)
    state = begun(state, steps[0])
    assert next_step(made, state) is None
    assert next_step(made, state, {"a"}) == Begin(steps[1], ())
    state = ended(begun(state, steps[1]), steps[1], GOOD)
    assert next_step(made, state, {"a"}) is None


def test_a_plan_is_what_it_was_opened_with() -> None:
    made, state = opened([PlanStep("a", "tune", ("--lib", "x"), ("b",), "slurm", "plan.yaml:3")])
    assert Plan.of(state) == made
    with pytest.raises(RunFailed, match="not that of a plan"):
        Plan.of(replace(state, plan=None))
    with pytest.raises(RunFailed, match="damaged"):
        Plan.of(replace(state, plan={"steps": [{"name": 1}]}))
