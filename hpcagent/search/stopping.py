"""The stop rule that holds whatever the strategy: the target of the user is reached.

The other reasons are code as well: the budget (study.budget, the number of rounds), a strategy's
own (the surrogate's: nothing untried is expected to gain more than 0.3 %), and nothing left.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from hpcagent.errors import UsageError
from hpcagent.records import Trial

LARGEST = 1000.0
_TARGET = re.compile(r"([0-9]{1,4}(?:\.[0-9]{1,6})?)x?")


def read_target(text: str) -> float:
    """`1.2x` or `1.2`: how many times as fast as the default; UsageError for anything else."""
    match = _TARGET.fullmatch(text.strip())
    value = float(match.group(1)) if match else 0.0
    if not 1.0 < value <= LARGEST:
        raise UsageError(
            f"--target {text!r}: write how many times as fast as the default is enough,"
            " such as 1.2x"
        )
    return value


def target_reached(history: Sequence[Trial], target: float, measure: str = "fast") -> str:
    """The reason to stop, or nothing: one is better than `target` by its standard error.

    Whether it really is, the confirmation decides. A target of 0 is none. `measure` is the word for
    what was measured.
    """
    if target <= 1.0:
        return ""
    for trial in history:
        value, spread = trial.log_ratio, trial.spread or 0.0
        usable = trial.failure is None and trial.eligible
        if not usable or value is None or not abs(value) + abs(spread) < 50:
            continue
        if -(value + max(0.0, spread)) >= math.log(target):
            return (
                f"the target of {target:g}x is reached in the search: {trial.config} was"
                f" {math.exp(-value):.4g} times as {measure} as the default"
            )
    return ""
