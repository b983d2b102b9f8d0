"""`--budget` of `hpcagent tune`: rounds, core-hours and time, within the site's limit."""

from __future__ import annotations

import re

from hpcagent.cli.asks import DURATION, UNIT_S
from hpcagent.config import Settings
from hpcagent.errors import BudgetError, UsageError

_BUDGET = re.compile(r"(rounds|core-hours|wall)=(.+)\Z")


def budget_of(configured: Settings, items: tuple[str, ...]) -> tuple[int, float, float]:
    """Rounds, core-hours and seconds; the site's limit on core-hours wins over any wish."""
    rounds: float = configured.rounds
    core_hours, wall_s = configured.core_hours, configured.wall_minutes * 60.0
    for item in items:
        match = _BUDGET.match(item)
        if match is None:
            raise UsageError(f"--budget {item!r}: write rounds=N, core-hours=X or wall=30m")
        key, text = match.groups()
        value = _number(item, text, key)
        if key == "rounds":
            rounds = value
        elif key == "core-hours":
            core_hours = value
        else:
            wall_s = value
    if rounds < 1:
        raise BudgetError("rounds: at least one round is needed (--budget rounds=1)")
    limit = configured.max_core_hours
    if limit and (core_hours == 0 or core_hours > limit):
        core_hours = limit
    return int(rounds), core_hours, wall_s


def _number(item: str, text: str, key: str) -> float:
    if DURATION.match(text.removeprefix("-")) and text.startswith("-"):
        raise UsageError(f"--budget {item!r}: it must be above 0")
    match = DURATION.match(text)
    if match is None or (match.group(2) and key != "wall"):
        raise UsageError(f"--budget {item!r}: {text!r} is not a number" + _hint(key))
    value = float(match.group(1)) * (UNIT_S[match.group(2)] if key == "wall" else 1.0)
    if key == "rounds" and (value != int(value) or value > 1000):
        raise UsageError(f"--budget {item!r}: a whole number up to 1000 is expected")
    if key != "rounds" and value == 0:
        raise BudgetError(
            f"--budget {item!r}: nothing can be done with that: leave it out for no such bound; "
            "of one that is too small the run says what would have done"
        )
    return value


def _hint(key: str) -> str:
    return " with s, m or h" if key == "wall" else ""
