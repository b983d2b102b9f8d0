"""`hpcagent codegen`: a node is asked what it has, then attempts are built, checked and measured.

Each attempt is a unit of its own; what passed is measured against the reference and the best so
far, interleaved; the best is confirmed with fresh pairs. Pure functions of the state.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from hpcagent.codegen import attempt as making
from hpcagent.codegen.tools import Tools, choose_tools
from hpcagent.codegen.tree import CHECKED, CHECKER, DRAFT, DRAFTS, GIVEN, REFERENCE, choose
from hpcagent.errors import UsageError
from hpcagent.measure.statistics import Claim, claim, paired_log_ratios
from hpcagent.probe.machine import parse_machine
from hpcagent.probe.software_facts import parse_software
from hpcagent.schedulers.catalogue_words import counted
from hpcagent.study import tune
from hpcagent.study.attempts import given_up
from hpcagent.study.codegen_measuring import measure_spec
from hpcagent.study.codegen_story import Attempt, Story, Wish, story
from hpcagent.study.probe_task import PARTS, probe_spec, probe_unit
from hpcagent.study.state import TuneState, Unit
from hpcagent.study.task_plan import Target, Task
from hpcagent.study.units import Plan

WIDTH = 2  # attempts that are out side by side
CHALLENGERS = 4  # measured in one unit, beside the reference
_MARGIN_S = 120


@dataclass(frozen=True)
class Write:
    """A model is to write the attempt of this number."""

    number: int
    operation: str
    parent: int | None
    reason: str


class Toolbox:
    """With what a node's programs are built, told from its facts once: they do not change."""

    def __init__(self) -> None:
        self._tools: dict[str, Tools] = {}

    def of(self, wish: Wish, probe: Unit) -> Tools:
        """UsageError where something is missing."""
        if probe.name not in self._tools:
            self._tools[probe.name] = tools_of(wish, probe)
        return self._tools[probe.name]


def next_step(task: Task, state: TuneState, toolbox: Toolbox) -> tune.Step | Write:
    """The one thing to do now."""
    target = task.targets[0]
    probe = state.done(task.purpose("probe", target))
    if probe is None:
        if state.open_units:
            return tune.Wait()
        return tune.attempt(state, _probe(task, target))
    told = story(task, state)
    try:
        tools = toolbox.of(told.wish, probe)
    except UsageError as error:
        return tune.Close("failed", str(error), 3)
    return (
        _reference_step(told, tools, target)
        or _weak_checker(told)
        or _attempt_step(told, tools, target)
        or _measure_step(told, tools, target, probe)
        or _write_step(told)
        or _confirm_step(told, tools, target, probe)
        or close(told)
    )


def _probe(task: Task, target: Target) -> Plan:
    """The memory's bandwidth is measured only where a figure is judged by it; no library is asked
    what it is, as none but the compilers' is linked."""
    wish = Wish.of(task)
    measured = wish.task.metric.unit == "GB/s"
    parts = PARTS if measured else ("software",)
    asked = probe_spec(parts, measured, wish.folder) | {"software": {"libraries": False}}
    return probe_unit(task, target, asked)


def tools_of(wish: Wish, probe: Unit) -> Tools:
    """With what the programs are built on this node; UsageError where something is missing."""
    facts = probe.facts or {}
    software = parse_software(facts.get("parts", {}).get("software", {}))
    return choose_tools(wish.task, software, parse_machine(facts), wish.compiler)


# --- the reference and the attempts ---------------------------------------------------------------


def _reference_step(told: Story, tools: Tools, target: Target) -> tune.Step | None:
    first = told.attempts[0]
    if first.checked is not None:
        if first.failure is None:
            return None
        words = f"{first.label} fails its own checks ({first.failure.id}): {first.failure.evidence}"
        return tune.Close("failed", words, 2 if first.checked.stage == "check" else 7)
    lost = given_up(told.state, first.purpose)
    if lost is not None:
        return tune.Close("failed", f"{first.label}: {lost[0].evidence} [{lost[1]}]", 7)
    return _submit(told, tools, target, first, None)


def _weak_checker(told: Story) -> tune.Close | tune.Wait | None:
    """A checker that takes a spoilt result for a right one judges nothing."""
    weak = [a for a in told.attempts if a.failure and a.failure.id == "gate.weak_checker"]
    if weak and told.state.open_units:
        return tune.Wait()
    if not weak or weak[0].failure is None:
        return None
    evidence = " ".join(weak[0].failure.evidence.split())
    words = f"the checker {told.wish.task.checker} cannot be relied on: {evidence}"
    return tune.Close("failed", words, 2)


def _attempt_step(told: Story, tools: Tools, target: Target) -> tune.Step | None:
    """The next attempt that is neither done nor out.

    Beside a measurement they go out only where several are wanted: on its node they wait for it
    (the node's lock), on the local queue there is one job at a time.
    """
    out = told.state.open_units
    if _measuring_now(told) and told.wish.parallel == 1:
        return tune.Wait()
    for attempt in told.attempts[1:]:
        if attempt.waits and attempt.purpose not in {unit.purpose for unit in out}:
            if len(_building(told)) >= max(WIDTH, told.wish.parallel):
                return None if told.wish.parallel > 1 else tune.Wait()
            return _submit(told, tools, target, attempt, told.reference)
    return None


def _measuring_now(told: Story) -> bool:
    """Of measurements there is never more than one."""
    return any(unit.kind == "round" for unit in told.state.open_units)


def _building(told: Story) -> list[Unit]:
    return [unit for unit in told.state.open_units if unit.kind == "build"]


def _submit(
    told: Story, tools: Tools, target: Target, attempt: Attempt,
    reference: Mapping[str, Any] | None,
) -> tune.Step:  # fmt: skip
    if attempt.purpose in {unit.purpose for unit in told.state.open_units}:
        return tune.Wait()
    assert attempt.source is not None
    python = told.state.settings.python
    spec = making.attempt_spec(told.wish.task, tools, attempt.source, reference, python)
    asked = replace(target.resources, walltime_s=int(spec["budget_s"]) + _MARGIN_S)
    return tune.attempt(told.state, Plan("build", attempt.purpose, asked, spec))


# --- the measurement ------------------------------------------------------------------------------


def _measure_step(told: Story, tools: Tools, target: Target, probe: Unit) -> tune.Step | None:
    waiting = [a for a in told.attempts[1:] if a.passed and a.log_ratio is None and not a.failure]
    if not (waiting or _alone(told)) or _measuring_now(told) or _drafting(told):
        return None
    if told.wish.parallel == 1 and told.state.open_units:
        return None
    best = told.best
    members = [*([best] if best is not None else []), *waiting[:CHALLENGERS]]
    number = 1 + len({u.purpose for u in told.measured})
    spec = measure_spec(told, tools, probe, members, f"measure-{number}", "paired")
    return _measuring(told, target, f"measure-{number}", spec)


def _alone(told: Story) -> bool:
    """Without a reference, and with nobody to compare with at the end: its time is measured."""
    one = told.baseline
    if one is None or told.wish.task.reference or told.measured or told.state.open_units:
        return False
    return not one.medians and not _may_write(told)


def _measuring(told: Story, target: Target, purpose: str, spec: dict[str, Any]) -> tune.Step:
    """A measurement that cannot be had ends the run only where nothing was ever measured."""
    walltime_s = math.ceil(spec["budget_s"] + spec["timeout_s"] + 60)
    asked = replace(target.resources, walltime_s=walltime_s)
    plan = Plan("round", purpose, asked, spec, float(spec["budget_s"]))
    return tune.attempt(told.state, plan)


# --- the model, the confirmation and the end ------------------------------------------------------


def _may_write(told: Story) -> bool:
    wish = told.wish
    written = [a for a in told.attempts if a.operation not in (GIVEN, REFERENCE, CHECKER)]
    return wish.model and len(written) < wish.task.budget.attempts and not told.gave_up


def _drafting(told: Story) -> bool:
    """The first drafts are written without a look at what became of one another."""
    drafts = sum(attempt.operation == DRAFT for attempt in told.attempts)
    return _may_write(told) and drafts < DRAFTS


def _write_step(told: Story) -> Write | tune.Step | None:
    """What a model writes next, as long as fewer are under way than may be."""
    full = len(_under_way(told)) >= told.wish.parallel or not _may_write(told)
    if told.state.open_units and full and not _drafting(told):
        return tune.Wait()
    if not _may_write(told):
        return None
    choice = choose(told.nodes, told.state.settings.seed)
    return Write(len(told.attempts), choice.operation, choice.parent, choice.reason)


def _under_way(told: Story) -> list[Attempt]:
    """Attempts of which it is not yet known what they are worth."""
    return [a for a in told.attempts[1:] if a.waits or a.node.state == CHECKED]


def _confirm_step(told: Story, tools: Tools, target: Target, probe: Unit) -> tune.Step | None:
    """Fresh pairs for the best, where it looks better than the reference at all."""
    best, pairs = told.best, told.wish.task.budget.confirm_pairs
    if best is None or best.log_ratio is None or best.log_ratio >= 0.0 or not pairs:
        return None
    purpose = _confirmation(told, best)
    if confirmed(told) is not None or purpose is None or given_up(told.state, purpose) is not None:
        return None
    spec = measure_spec(told, tools, probe, [best], purpose, "fixed")
    return _measuring(told, target, purpose, spec)


def confirmed(told: Story) -> Claim | None:
    """What fresh pairs say of the best; None without a whole confirmation."""
    best, settings = told.best, told.state.settings
    if best is None:
        return None
    for purpose in _confirmations(best):
        unit = told.state.done(purpose)
        if unit is not None:
            ratios = paired_log_ratios(tuple(unit.runs), best.purpose, str(unit.spec["reference"]))
            if len(ratios) >= int(unit.spec["stop_rule"]["pairs"]):
                return claim(ratios, settings.alpha, settings.minimum_effect)
    return None


def _confirmations(best: Attempt) -> tuple[str, str]:
    """A node may fail the first one."""
    return f"confirm-{best.number}", f"confirm-{best.number}-again"


def _confirmation(told: Story, best: Attempt) -> str | None:
    """The first that is not done; None where all are."""
    return next((p for p in _confirmations(best) if told.state.done(p) is None), None)


def close(told: Story) -> tune.Close:
    """The end, when there is nothing more to do."""
    best, baseline = told.best, told.baseline
    tried = counted(len(told.attempts) - 1, "attempt")
    if best is None or baseline is None:
        reason = f"; {told.gave_up}" if told.gave_up else ""
        words = f"none of {tried} passed the gate and was measured{reason}"
        return tune.Close("nothing passed", words, 7)
    made = confirmed(told)
    if made is None and not told.wish.task.budget.confirm_pairs and best.effect is not None:
        ratio = math.exp(-best.effect.log_ratio)
        words = f"{best.label}: {ratio:.3f}x {baseline.label} in {best.effect.pairs} pairs"
        return tune.Close("measured", f"{words}; not confirmed, so not claimed", 0)
    if made is None and best is baseline and len([a for a in told.attempts if a.passed]) == 2:
        words = f"{best.label} is the only one of {tried} that passed"
        return tune.Close("nothing better", words, 0)
    if made is None:
        words = f"of {tried} none is shown to be faster than {baseline.label}"
        return tune.Close("nothing better", words, 0)
    shown = (
        f"{best.label} takes {1 / made.speedup:.3f} of the time of {baseline.label}: "
        f"{made.speedup:.3f}x ({100 * made.coverage:.2f} % interval "
        f"{made.low:.4g} to {made.high:.4g}, "
        f"{made.pairs} fresh pairs)"
    )
    return tune.Close("improved" if made.improved else "nothing better", shown, 0)


class _Codegen:
    """As task_plan.Kind has it; what comes next is `next_step`'s."""

    def plan(self, task: Task, state: TuneState, target: Target) -> Plan | tune.Decide | None:
        """The first unit, which a dry run shows."""
        unit = _probe(task, target)
        return None if state.done(unit.purpose) is not None else unit

    def files(self, task: Task, state: TuneState, unit: Unit) -> dict[str, str]:
        if "attempt" in unit.spec:
            told = story(task, state)
            mine = next(a for a in told.attempts if a.purpose == unit.purpose)
            assert mine.source is not None
            return making.attempt_files(told.wish.task, mine.source, unit.spec["attempt"])
        if "codegen" in unit.spec:
            rows = unit.spec["codegen"].items()
            configs = {f"{name}.json": json.dumps(row, sort_keys=True) + "\n" for name, row in rows}
            return configs | making.driver_files()
        return {}

    def close(self, task: Task, state: TuneState) -> tune.Close:
        return close(story(task, state))


CODEGEN = _Codegen()
