"""A point that the surrogate would take next, and why."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hpcagent.records import Config


@dataclass(frozen=True)
class Candidate:
    """A point with what the surrogate expects of it, as natural logs of the time ratio.

    `improvement` is the expected improvement over the best so far times `feasibility`; None for
    all three figures while there are too few measurements for a fit. `promise` is the greatest
    improvement of any untried point at the time, for the stop rule. `said` tells that an expert
    tipped the choice, `aim` what a point of the design is for.
    """

    config: Config
    mean: float | None
    spread: float | None
    improvement: float | None
    feasibility: float
    promise: float | None = None
    said: str = ""
    aim: str = ""

    def reason(self) -> str:
        if self.mean is None or self.spread is None or self.improvement is None:
            return self.aim
        speed = math.expm1(-self.mean)
        words = "better" if speed >= 0 else "worse"
        error = math.exp(-self.mean) * self.spread
        text = (
            f"EI {100 * self.improvement:.2g} %, predicted {100 * abs(speed):.1f} %"
            f" +- {100 * error:.1f} % {words} than the default"
        )
        if self.feasibility < 0.995:
            text += f", runs with probability {self.feasibility:.2f}"
        return f"{text}; {self.said}" if self.said else text
