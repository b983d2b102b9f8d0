"""How much the default and the candidate varied in the confirmation."""

from __future__ import annotations

import math

from hpcagent.measure.objectives import TIME, losses
from hpcagent.measure.statistics import variability
from hpcagent.measure.worker import median
from hpcagent.records import Config
from hpcagent.study.confirmations import confirmations
from hpcagent.study.knowledge import Knowledge
from hpcagent.study.state import Unit
from hpcagent.study.summary import Variation

COVERAGE = 0.95


def variation(known: Knowledge) -> tuple[Variation, ...]:
    """One each for the default and the candidate; none before there is a confirmation."""
    confirmed = confirmations(known.state)
    values = known.state.decisions.get("winner", {}).get("config")
    if not confirmed or not values:
        return ()
    sides = (("default", known.unpruned.default), ("candidate", Config.of(values)))
    found = []
    for name, config in sides:
        logs = [value for unit in confirmed for value in _relative(known, unit, config)]
        if len(logs) > 1:
            found.append(_one(name, logs, known.state.settings.seed))
    return tuple(found)


def _relative(known: Knowledge, unit: Unit, config: Config) -> list[float]:
    """Logarithms over the job's own median, so that neither the unit of the times nor their size
    matters, nor how fast its node is."""
    logs = losses(TIME, unit.runs, config.id, known.goals.scales)
    middle = median(logs) if logs else 0.0
    return [value - middle for value in logs]


def _one(name: str, logs: list[float], seed: int) -> Variation:
    times = [math.exp(max(-300.0, min(300.0, value))) for value in logs]
    return Variation(name, variability(times, COVERAGE, seed))
