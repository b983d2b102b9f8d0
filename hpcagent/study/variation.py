"""How much the default and the candidate varied in the confirmation."""

from __future__ import annotations

import math

from hpcagent.measure.statistics import variability
from hpcagent.measure.worker import median
from hpcagent.records import Config
from hpcagent.study.knowledge import Knowledge
from hpcagent.study.summary import Variation

COVERAGE = 0.95


def variation(known: Knowledge) -> tuple[Variation, ...]:
    """One each for the default and the candidate; none before there is a confirmation."""
    confirm = known.state.done("confirm")
    values = known.state.decisions.get("winner", {}).get("config")
    if confirm is None or not values:
        return ()
    sides = (("default", known.unpruned.default), ("candidate", Config.of(values)))
    found = []
    for name, config in sides:
        logs = [
            one.objective
            for one in confirm.runs.timings()
            if one.config == config.id and one.ok and one.pair > 0 and one.objective is not None
        ]
        if len(logs) > 1:
            found.append(_one(name, logs, known.state.settings.seed))
    return tuple(found)


def _one(name: str, logs: list[float], seed: int) -> Variation:
    """Relative to the median, so that neither the unit of the times nor their size matters."""
    middle = median(logs)
    times = [math.exp(max(-300.0, min(300.0, value - middle))) for value in logs]
    return Variation(name, variability(times, COVERAGE, seed))
