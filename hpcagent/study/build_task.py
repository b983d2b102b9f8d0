"""`hpcagent build`: at each target a node is asked what it has, then one unit builds and publishes.

Where it fails for a reason with a declared repair, a further unit tries it repaired. Pure functions
of the state: the recipe follows from the request and the node's facts, so a unit that was journaled
but not yet written when the agent died is written again, byte for byte.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from hpcagent.errors import UsageError
from hpcagent.records import Failure
from hpcagent.study import tune
from hpcagent.study.build_story import Mend, Story, story
from hpcagent.study.build_wish import Wish, software_asked, unit_of
from hpcagent.study.probe_task import probe_spec, probe_unit
from hpcagent.study.state import TuneState, Unit
from hpcagent.study.task_plan import Target, Task, why_given_up
from hpcagent.study.units import Plan
from hpcagent.toolchain.diagnosis import Found
from hpcagent.toolchain.recipe import Recipe, places
from hpcagent.toolchain.recipe import Unit as BuildUnit
from hpcagent.toolchain.stepruns import StepRun


@dataclass(frozen=True)
class Built:
    """What became of a target's build.

    `state` is built, found (it was there), failed, or open; `failure` says why it failed, `step` in
    which step, `cause` what its log says, `unit` where. `mends` are the repairs that were made,
    `gave_up` why there was no further one.
    """

    state: str
    recipe: Recipe | None = None
    prefix: str = ""
    failure: Failure | None = None
    step: StepRun | None = None
    steps: tuple[StepRun, ...] = ()
    cause: Found | None = None
    unit: str = ""
    mends: tuple[Mend, ...] = ()
    gave_up: str = ""


class _Build:
    def plan(self, task: Task, state: TuneState, target: Target) -> Plan | tune.Decide | None:
        probe = state.done(task.purpose("probe", target))
        if probe is None:
            wish = Wish.of(task)
            spec = probe_spec(("software",), False, wish.store)
            return probe_unit(task, target, {**spec, "software": software_asked(wish)})
        told = _told(task, state, target)
        if told is None or told.recipe is None or told.unit is not None or probe.facts is None:
            return None
        for what, reason in _decided(told, target):
            if what not in state.decisions:
                return tune.Decide(what, {"reason": reason})
        try:
            made = _made(told, probe.facts, target, state)
        except UsageError:
            return None  # `outcome` tells
        wish = told.wish
        memory = wish.memory_bytes or target.resources.memory_bytes
        asked = replace(target.resources, walltime_s=wish.walltime_s, memory_bytes=memory)
        budget_s = min(made.spec["budget_s"], math.floor(wish.walltime_s * 0.95))
        return Plan("build", told.purpose, asked, {**made.spec, "budget_s": budget_s})

    def files(self, task: Task, state: TuneState, unit: Unit) -> dict[str, str]:
        for target in task.targets:
            told = _told(task, state, target)
            probe = state.done(task.purpose("probe", target))
            if told is not None and told.purpose == unit.purpose and probe and probe.facts:
                return dict(_made(told, probe.facts, target, state).files)
        return {}

    def close(self, task: Task, state: TuneState) -> tune.Close:
        ends = [(target.label, outcome(task, state, target)) for target in task.targets]
        bad = [f"{label}: {b.failure.evidence}" for label, b in ends if b.failure is not None]
        good = [b for _, b in ends if b.failure is None]
        if not good:
            refused = all(b.failure and b.failure.id == "scheduler.refused" for _, b in ends)
            usage = all(b.failure and b.failure.id == "configure.request" for _, b in ends)
            return tune.Close("failed", "; ".join(bad), 4 if refused else 2 if usage else 7)
        word = "built" if any(b.state == "built" for b in good) else "found"
        text = ", ".join(dict.fromkeys(b.prefix for b in good))
        return tune.Close(word, "; ".join([text, *bad]), 7 if bad else 0)


BUILD = _Build()


def outcome(task: Task, state: TuneState, target: Target) -> Built:
    """What became of the build at this target, at any point of the run."""
    lost = why_given_up(state, task.purpose("probe", target))
    if lost is not None:
        return Built("failed", failure=lost)
    told = _told(task, state, target)
    if told is None:
        return Built("open")
    lost = why_given_up(state, told.purpose)
    if lost is not None:
        return Built("failed", failure=lost, mends=told.mends)
    try:
        prefix = places(told.recipe, told.wish.store)["prefix"] if told.recipe else ""
    except UsageError as error:
        return Built("failed", failure=Failure("configure", "request", str(error)))
    if told.unit is None or told.end is None:
        state_word = "failed" if told.failure is not None else "open"
        return Built(state_word, told.recipe, prefix, told.failure, mends=told.mends)
    end = told.end
    return Built(
        end.state, told.recipe, prefix, end.failure, end.step, told.unit.steps, end.cause,
        told.unit.name, told.mends, told.gave_up,
    )  # fmt: skip


def _told(task: Task, state: TuneState, target: Target) -> Story | None:
    """The tries at this target; None before its node has been asked."""
    probe = state.done(task.purpose("probe", target))
    if probe is None or probe.facts is None:
        return None
    return story(task, state, target, probe.facts)


def _decided(told: Story, target: Target) -> list[tuple[str, str]]:
    """What was chosen without being asked: modules that bring the toolchain, and repairs."""
    assert told.recipe is not None
    brought = [name for name in told.recipe.modules if name not in told.wish.modules]
    words = f"modules that bring the toolchain: {' '.join(brought)}"
    found = [(f"modules-{target.label}", words)] if brought else []
    return [*found, *((mend.what, mend.words) for mend in told.mends)]


def _made(told: Story, facts: Mapping[str, Any], target: Target, state: TuneState) -> BuildUnit:
    assert told.recipe is not None
    cpus, python = target.resources.cpus_per_task, state.settings.python
    return unit_of(told.recipe, told.wish, facts, cpus, python)
