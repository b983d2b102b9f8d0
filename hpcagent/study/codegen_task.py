"""`hpcagent codegen`: a node is asked what it has, then attempts are built, checked and measured.

Each attempt is a unit of its own; what passed is measured against the reference and the best so
far, interleaved; the best is confirmed with fresh pairs. Pure functions of the state.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hpcagent.codegen import attempt as making
from hpcagent.codegen.cases import operations, working_set
from hpcagent.codegen.taskfile import TaskFile
from hpcagent.codegen.tools import Tools, choose_tools
from hpcagent.codegen.tree import DRAFT, DRAFTS, GIVEN, REFERENCE, choose
from hpcagent.errors import UsageError
from hpcagent.measure.statistics import Claim, claim, paired_log_ratios
from hpcagent.probe.machine import parse_machine, peak_gflops
from hpcagent.probe.nodefacts import parse_node
from hpcagent.probe.software_facts import parse_software
from hpcagent.study import tune
from hpcagent.study.attempts import given_up
from hpcagent.study.codegen_story import Attempt, Story, Wish, story
from hpcagent.study.probe_task import PARTS, probe_spec, probe_unit
from hpcagent.study.round_rule import stop_rule
from hpcagent.study.state import TuneState, Unit
from hpcagent.study.task_plan import Target, Task
from hpcagent.study.units import Plan

WIDTH = 2  # attempts that are out side by side
CHALLENGERS = 4  # measured in one unit, beside the reference
_MARGIN_S = 120
_START_S = 3.0  # of a process beyond its calls: the quarantine, inputs, the reference's answer
_LARGEST_CACHES = 4  # times the last level: what is larger comes from memory
_ABOVE_TRIAD = 1.3  # a probe's triad may have been disturbed
_FIGURE = r"figure (?P<key>\S+) (?P<value>\S+)$"
_PASSED = "checked outputs equal$"


@dataclass(frozen=True)
class Write:
    """A model is to write the attempt of this number."""

    number: int
    operation: str
    parent: int | None
    reason: str


def next_step(task: Task, state: TuneState) -> tune.Step | Write:
    """The one thing to do now."""
    target = task.targets[0]
    probe = state.done(task.purpose("probe", target))
    if probe is None:
        if state.open_units:
            return tune.Wait()
        return tune.attempt(state, _probe(task, target))
    told = story(task, state)
    try:
        tools = tools_of(told.wish, probe)
    except UsageError as error:
        return tune.Close("failed", str(error), 3)
    return (
        _reference_step(told, tools, target)
        or _attempt_step(told, tools, target)
        or _measure_step(told, tools, target, probe)
        or _write_step(told)
        or _confirm_step(told, tools, target, probe)
        or close(told)
    )


def _probe(task: Task, target: Target) -> Plan:
    """The memory's bandwidth is measured only where a figure is judged by it."""
    wish = Wish.of(task)
    measured = wish.task.metric.unit == "GB/s"
    parts = PARTS if measured else ("software",)
    return probe_unit(task, target, probe_spec(parts, measured, wish.folder))


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
        words = f"the reference fails its own checks ({first.failure.id}): {first.failure.evidence}"
        return tune.Close("failed", words, 2 if first.checked.stage == "check" else 7)
    lost = given_up(told.state, first.purpose)
    if lost is not None:
        return tune.Close("failed", f"the reference: {lost[0].evidence} [{lost[1]}]", 7)
    return _submit(told, tools, target, first, None)


def _attempt_step(told: Story, tools: Tools, target: Target) -> tune.Step | None:
    """The next attempt that is neither done nor out."""
    out = told.state.open_units
    if any(unit.purpose.startswith("measure") for unit in out) or len(out) >= WIDTH:
        return tune.Wait()
    for attempt in told.attempts[1:]:
        if attempt.waits and attempt.purpose not in {unit.purpose for unit in out}:
            return _submit(told, tools, target, attempt, told.reference)
    return None


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
    if not waiting:
        return None
    if told.state.open_units or _drafting(told):
        return None
    best = told.best
    members = [*([best] if best is not None else []), *waiting[:CHALLENGERS]]
    number = 1 + len({u.purpose for u in told.measured})
    spec = measure_spec(told, tools, probe, members, f"measure-{number}", "paired")
    return _measuring(told, target, f"measure-{number}", spec)


def _measuring(told: Story, target: Target, purpose: str, spec: dict[str, Any]) -> tune.Step:
    """A measurement that cannot be had ends the run only where nothing was ever measured."""
    walltime_s = math.ceil(spec["budget_s"] + spec["timeout_s"] + 60)
    asked = replace(target.resources, walltime_s=walltime_s)
    plan = Plan("round", purpose, asked, spec, float(spec["budget_s"]))
    return tune.attempt(told.state, plan)


def measure_spec(
    told: Story, tools: Tools, probe: Unit, members: Sequence[Attempt], purpose: str, mode: str
) -> dict[str, Any]:
    """The worker's spec: the reference and these attempts, each a process that checks itself."""
    task, settings = told.wish.task, told.state.settings
    keys = sorted(task.cases.measure)
    first = told.attempts[0]
    everyone = [first, *(a for a in members if a.number != first.number)]
    process_s = _START_S + task.budget.seconds / 4
    pairs = task.budget.max_pairs if mode == "paired" else task.budget.confirm_pairs
    python = settings.python
    return {
        "schema": 1,
        "mode": mode,
        "reference": first.purpose,
        "configs": [
            {"id": a.purpose, "argv": [python, "drive.py", "measure", f"{a.purpose}.json"],
             "env": {}, "binding": None}
            for a in everyone
        ],
        "unset": ["LD_PRELOAD"],
        "command": [],
        "timeout_s": task.budget.seconds + 60,
        "check": {
            "figure": _FIGURE,
            "direction": "min",
            "minimum": fastest_possible(task, probe),
            "keys": keys,
            "success": [_PASSED],
            "readback": {},
        },
        "weights": {key: 1.0 / len(keys) for key in keys},
        "budget_s": math.ceil(process_s * (1 + pairs) * len(everyone)),
        "seed": _seed(told, purpose),
        "stop_rule": {**stop_rule(settings), "max_pairs": pairs, "pairs": pairs},
        "codegen": {
            a.purpose: _config(told, tools, a) for a in everyone
        },
    }  # fmt: skip


def _config(told: Story, tools: Tools, attempt: Attempt) -> dict[str, Any]:
    """What drive.py measures; digests are those that were journaled when it was built."""
    assert attempt.checked is not None
    task = told.wish.task
    digests = attempt.checked.digests
    own: dict[str, Any] = {"folder": f"../{attempt.unit}/build", "sha256": digests}
    if attempt.number == 0:
        own["trusted"] = True
    return {
        "spec": making.measured_row(task, tools, told.reference),
        "program": own,
        "ranks": task.ranks[-1] if task.ranks else 0,
        "threads": making.threads(task, tools)[-1],
    }


def _seed(told: Story, purpose: str) -> int:
    """Of the order of processes; it depends on all sources, so no source can have known it."""
    sources = [a.source.files for a in told.attempts if a.source is not None]
    text = json.dumps([told.state.created_utc, purpose, [dict(s) for s in sources]], sort_keys=True)
    return int(hashlib.sha256(text.encode()).hexdigest()[:7], 16)


def fastest_possible(task: TaskFile, probe: Unit) -> dict[str, float]:
    """Seconds of each measured case below which a time is implausible on this node.

    Operations over the peak of the instruction set; bytes over the bandwidth that the probe's own
    triad reached, for what no cache can hold.
    """
    machine = parse_machine(probe.facts or {})
    limits: dict[str, float] = {}
    for name in task.cases.measure:
        count = operations(task, name)
        if count is None:
            continue
        if task.metric.unit == "GFLOP/s":
            single = all(a.type != "double" for a in task.arguments)
            peak = peak_gflops(machine, "single" if single else "double")
            if peak is not None:
                limits[name] = count / (peak * 1e9 * max(1, len(machine.cpus_allowed)))
            continue
        rate = parse_node(probe.facts or {}).value("memory_bandwidth")
        last = max((c.size_bytes * c.instances for c in machine.caches), default=0)
        large = working_set(task, name) >= _LARGEST_CACHES * last > 0
        if large and isinstance(rate, int | float) and rate > 0:
            limits[name] = count / (_ABOVE_TRIAD * rate)
    return limits


# --- the model, the confirmation and the end ------------------------------------------------------


def _may_write(told: Story) -> bool:
    wish = told.wish
    written = [a for a in told.attempts if a.operation not in (GIVEN, REFERENCE)]
    return wish.model and len(written) < wish.task.budget.attempts and not told.gave_up


def _drafting(told: Story) -> bool:
    """The first drafts are written without a look at what became of one another."""
    drafts = sum(attempt.operation == DRAFT for attempt in told.attempts)
    return _may_write(told) and drafts < DRAFTS


def _write_step(told: Story) -> Write | tune.Step | None:
    if told.state.open_units and not _drafting(told):
        return tune.Wait()
    if not _may_write(told):
        return None
    choice = choose(told.nodes, told.state.settings.seed)
    return Write(len(told.attempts), choice.operation, choice.parent, choice.reason)


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
            ratios = paired_log_ratios(tuple(unit.runs), best.purpose, told.attempts[0].purpose)
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
    best = told.best
    tried = len(told.attempts) - 1
    if best is None:
        reason = f"; {told.gave_up}" if told.gave_up else ""
        words = f"none of {tried} attempts passed the gate and was measured{reason}"
        return tune.Close("nothing passed", words, 7)
    made = confirmed(told)
    if made is None and not told.wish.task.budget.confirm_pairs and best.effect is not None:
        ratio = math.exp(-best.effect.log_ratio)
        words = f"{best.label}: {ratio:.3f}x the reference in {best.effect.pairs} pairs"
        return tune.Close("measured", f"{words}; not confirmed, so not claimed", 0)
    if made is None:
        words = f"of {tried} attempts none is shown to be faster than the reference"
        return tune.Close("nothing better", words, 0)
    shown = (
        f"{best.label} takes {1 / made.speedup:.3f} of the reference's time: {made.speedup:.3f}x "
        f"({100 * made.coverage:.2f} % interval {made.low:.3f} to {made.high:.3f}, "
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
