"""The measurements of a code generation: who meets whom, how, and what cannot be true. Pure."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from typing import Any

from hpcagent.codegen import attempt as making
from hpcagent.codegen.cases import operations, working_set
from hpcagent.codegen.taskfile import TaskFile
from hpcagent.codegen.tools import Tools
from hpcagent.codegen.tree import REFERENCE
from hpcagent.probe.machine import parse_machine, peak_gflops
from hpcagent.probe.nodefacts import parse_node
from hpcagent.study.codegen_story import Attempt, Story
from hpcagent.study.round_rule import HANG_FACTOR, stop_rule
from hpcagent.study.state import Unit

_START_S = 3.0  # of a process beyond its calls: the quarantine, inputs, the reference's answer
_LARGEST_CACHES = 4  # times the last level: what is larger comes from memory
_ABOVE_TRIAD = 1.3  # a probe's triad may have been disturbed
_FIGURE = r"figure (?P<key>\S+) (?P<value>\S+)$"
_PASSED = "checked outputs equal$"


def measure_spec(
    told: Story, tools: Tools, probe: Unit, members: Sequence[Attempt], purpose: str, mode: str
) -> dict[str, Any]:
    """The worker's spec: the baseline and these attempts, each a process that checks itself."""
    task, settings = told.wish.task, told.state.settings
    keys = sorted(task.cases.measure)
    first = told.baseline
    assert first is not None
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
        # Most of a process is its start within walls: one that takes long says little of a source.
        "stop_rule": {
            **stop_rule(settings), "abandon_multiple": float(HANG_FACTOR),
            "max_pairs": pairs, "pairs": pairs,
        },
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
    if attempt.operation == REFERENCE:
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
