"""What disturbed the measurements of a run, for its report."""

from __future__ import annotations

import math

from hpcagent.measure.noise import noise_notes
from hpcagent.records import Config
from hpcagent.study.confirmations import confirmations, shown_by
from hpcagent.study.knowledge import Knowledge
from hpcagent.study.state import TuneState, Unit
from hpcagent.study.summary import Disturbance

# A long run has thousands of rounds; the confirmation and the latest of them tell enough.
_LATEST_ROUNDS = 20
_PER_UNIT = 5
_OVER_TIME = ("drift", "jump")


def disturbances(state: TuneState) -> tuple[Disturbance, ...]:
    """Those of the confirmation, then those of the latest rounds, the latest first."""
    units = [*confirmations(state), *reversed(state.rounds[-_LATEST_ROUNDS:])]
    return tuple(one for unit in units for one in _of(unit)[:_PER_UNIT])


def oddities(state: TuneState) -> tuple[str, ...]:
    """What the worker noted of the confirmation and of the latest rounds, the latest first."""
    units = [unit for unit in state.units if unit.kind == "round" and unit.notes]
    return tuple(
        f"{unit.purpose}: {note}"
        for unit in reversed(units[-_LATEST_ROUNDS:])
        for note in unit.notes
    )[:_PER_UNIT]


def warnings(known: Knowledge) -> tuple[str, ...]:
    """What in the confirmation bears on the claim."""
    confirmed = confirmations(known.state)
    values = known.state.decisions.get("winner", {}).get("config")
    if not confirmed or not values:
        return ()
    result = shown_by(known, confirmed, Config.of(values))
    found = [result.claim.note] if result is not None and result.claim.note else []
    for one in (one for unit in confirmed for one in _of(unit)):
        if one.what in _OVER_TIME:
            why = one.reason or "nothing that was recorded explains it"
            found.append(
                f"the node changed during the confirmation ({one.what}: times by "
                f"{one.size:.3f}; {why}); both sides met it, and the interval allows for it"
            )
    return tuple(found)


def _of(unit: Unit) -> list[Disturbance]:
    return [
        Disturbance(unit.name, n.what, n.pair, n.config, math.exp(n.size), n.reason)
        for n in noise_notes(tuple(unit.runs))
    ]
