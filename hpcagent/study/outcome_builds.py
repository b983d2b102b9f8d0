"""What a run built, in records."""

from __future__ import annotations

import math
from dataclasses import replace

from hpcagent.apps.variants import Variant, needed
from hpcagent.study.building import variant_purpose
from hpcagent.study.knowledge import Knowledge
from hpcagent.study.state import Unit
from hpcagent.study.summary import BuildTried
from hpcagent.toolchain.buildend import build_end
from hpcagent.toolchain.recipe import places

_THERE = ("built", "found")


def builds_of(known: Knowledge) -> tuple[BuildTried, ...]:
    """The builds that were asked for, in the order in which they were."""
    if known.variants is None:
        return ()
    default = known.unpruned.default
    proposed = [p.config for rows in known.state.proposed.values() for p in rows]
    looked_into = known.builds_seen.looked_into if known.builds_seen is not None else ()
    found = needed(known.variants, [default, *proposed, *looked_into])
    variants = {name: known.variants.of(config) for name, config in found.items()}
    usual, best = dict(known.variants.of(default).values), _best(known)
    begins = variant_purpose("")
    asked = [u.purpose for u in known.state.units if u.purpose.startswith(begins)]
    names = [n for p in dict.fromkeys(asked) if (n := p.removeprefix(begins)) in variants]
    rows = [_row(known, variants[name], usual, best.get(name)) for name in names]
    alike = known.builds_seen.alike if known.builds_seen is not None else {}
    numbers = {name: number for number, name in enumerate(names, start=1)}
    return tuple(
        replace(row, alike=numbers.get(alike.get(name, ""), 0))
        for name, row in zip(names, rows, strict=True)
    )


def _row(
    known: Knowledge, variant: Variant, usual: dict[str, str], speedup: float | None
) -> BuildTried:
    assert known.variants is not None
    unit = known.state.attempts(variant_purpose(variant.id))[-1]
    end = build_end(unit.steps) if unit.steps else None
    failure = unit.failure or (end.failure if end is not None else None)
    state = "failed" if failure is not None else end.state if end is not None else "open"
    return BuildTried(
        changed=tuple(pair for pair in variant.values if usual[pair[0]] != pair[1]),
        state=state,
        seconds=_seconds(unit),
        prefix=places(variant.recipe, known.variants.store)["prefix"] if state in _THERE else "",
        failure=failure,
        speedup=speedup,
        unit=unit.name,
    )


def _seconds(unit: Unit) -> float:
    return sum(step.seconds for step in unit.steps)


def _best(known: Knowledge) -> dict[str, float]:
    """The speed-up of the fastest configuration of each build, as the search has measured it."""
    assert known.variants is not None
    found: dict[str, float] = {}
    for trial in known.trials:
        if trial.log_ratio is not None:
            name = known.variants.of(trial.config).id
            found[name] = max(found.get(name, 0.0), math.exp(-trial.log_ratio))
    return found
