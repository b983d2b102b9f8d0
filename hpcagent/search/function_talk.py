"""What a user's function is told, and how its answers are read: pure functions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from hpcagent.protocols import SearchSpace
from hpcagent.records import Config, Failure, Stop, Trial
from hpcagent.search.function_call import Odd

STOP = "STOP"
ANALYSIS_LINES = 40
ANALYSIS_LENGTH = 160  # characters a line
_DEEPEST = 3
_NAMED = 3  # of what is left out of an analysis


def request(
    space: SearchSpace,
    history: Sequence[Trial],
    pending: Sequence[Config],
    facts: Mapping[str, str],
    seed: int,
    problem: str = "",
) -> dict[str, Any]:
    """JSON for one call; what is pending comes last in the history."""
    params = [
        {
            "name": param.name,
            "kind": param.kind,
            "values": list(param.values),
            "default": param.default,
            "meaning": param.meaning,
        }
        for param in space.params
    ]
    told = {
        "params": params,
        "restrictions": list(space.restrictions),
        "default": space.default.values,
        "facts": dict(facts),
        "seed": seed,
        "problem": problem,
    }
    waiting = [{**_entry(Trial(c, None, None, None, 0, "")), "status": "pending"} for c in pending]
    return {"space": told, "history": [*map(_entry, history), *waiting]}


def _entry(trial: Trial) -> dict[str, Any]:
    value, spread = trial.log_ratio, trial.spread
    usable = trial.failure is None and value is not None and abs(value) < 100
    status = "failed" if trial.failure else "measured" if usable else "not measured"
    ratio = math.exp(value) if usable and value is not None else None
    known = ratio is not None and spread is not None and math.isfinite(spread) and spread >= 0
    return {
        "config": trial.config.values,
        "status": status,
        "ratio": ratio,
        "error": ratio * spread if known and ratio is not None and spread is not None else None,
        "allowed": trial.eligible,
        "failure": trial.failure.id if trial.failure else None,
        "evidence": trial.failure.evidence[:400] if trial.failure else None,
        "round": trial.round,
        "proposed_by": trial.proposed_by,
    }


def read_answer(
    value: Any,
    space: SearchSpace,
    history: Sequence[Trial],
    pending: Sequence[Config],
    odd: Odd | None = None,
) -> Config | Stop | str:
    """The configuration, the wish to stop, or what is wrong with the answer in one line.

    `odd` is what the answer had beside `value` that is no plain data.
    """
    if isinstance(value, str) and value.partition(":")[0].strip() == STOP:
        words = one_line(value.partition(":")[2], 200)
        return Stop(f"the user's function said STOP{': ' if words else ''}{words}")
    if not isinstance(value, dict):
        shown = one_line(odd.whole if odd else repr(value), 60)
        return f"it returned {shown}; return {{name: value, ...}} or 'STOP'"
    for name, look in odd.parts if odd else ():
        return _no_value(name, look)
    for name, given in value.items():
        if not isinstance(given, str | int | float):
            return _no_value(str(name), repr(given))
    found = space.validate({str(name): str(given) for name, given in value.items()})
    if isinstance(found, Failure):
        return one_line(found.evidence, 300)
    if found in {trial.config for trial in history}:
        return f"{found} was tried before"
    return f"{found} is pending" if found in pending else found


def _no_value(name: str, look: str) -> str:
    return f"{one_line(name, 40)}: {one_line(look, 60)} is no value; give texts"


def left_out(odd: Odd) -> str:
    """What is wrong with an analysis that has parts which are no plain data."""
    if not odd.parts or not odd.parts[0][0]:
        return f"it returned {one_line(odd.whole, 60)}; return a dict, a list or a text"
    told = ", ".join(f"{one_line(n, 40)} ({one_line(look, 40)})" for n, look in odd.parts[:_NAMED])
    more = " and others" if len(odd.parts) > _NAMED else ""
    return f"left out, for no finite number, text, list or dict: {told}{more}"


def read_analysis(value: Any) -> str:
    """Lines for a prompt, bounded and harmless; empty where there is nothing to tell."""
    lines = [line for line in _lines(value, "", 0) if line]
    more = len(lines) - ANALYSIS_LINES
    shown = lines[:ANALYSIS_LINES]
    return "\n".join([*shown, f"({more} more lines are left out)"] if more > 0 else shown)


def _lines(value: Any, name: str, depth: int) -> list[str]:
    head = f"{name}: " if name else ""
    if isinstance(value, dict) and depth < _DEEPEST:
        return [
            line
            for key, part in value.items()
            for line in _lines(part, f"{name}.{key}" if name else str(key), depth + 1)
        ]
    if isinstance(value, float):
        return [one_line(f"{head}{value:.6g}", ANALYSIS_LENGTH)]
    if isinstance(value, str) and "\n" in value:
        return [one_line(head + line, ANALYSIS_LENGTH) for line in value.splitlines()]
    return [one_line(f"{head}{value}", ANALYSIS_LENGTH)]


def one_line(text: str, most: int) -> str:
    """Printable ASCII on one line, at most `most` characters."""
    kept = "".join(char if " " <= char <= "~" else " " for char in text)
    return " ".join(kept.split())[:most]
