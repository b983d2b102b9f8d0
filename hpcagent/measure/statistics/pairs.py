"""From runs to paired log ratios: the two sides of a cycle, side by side."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from hpcagent.measure.results import Run


def paired_log_ratios(runs: Sequence[Run], challenger: str, reference: str) -> tuple[float, ...]:
    """ln(challenger / reference) of the objective, for every cycle in which both are ok."""
    return _paired(runs, challenger, reference, lambda run: run.objective)


def paired_log_ratios_by_key(
    runs: Sequence[Run], challenger: str, reference: str
) -> dict[str, tuple[float, ...]]:
    """ln(challenger / reference) of the median time of every key, in cycles where both are ok."""
    keys = sorted({key for run in runs if run.config == challenger for key in run.medians})
    ratios = {key: _paired(runs, challenger, reference, _log_median(key)) for key in keys}
    return {key: values for key, values in ratios.items() if values}


def _log_median(key: str) -> Callable[[Run], float | None]:
    return lambda run: math.log(run.medians[key]) if key in run.medians else None


def _paired(
    runs: Sequence[Run], challenger: str, reference: str, value: Callable[[Run], float | None]
) -> tuple[float, ...]:
    cycles: dict[int, dict[str, float]] = {}
    for run in runs:
        found = value(run) if run.ok and run.pair > 0 else None
        if found is not None:
            cycles.setdefault(run.pair, {})[run.config] = found
    both = [cycles[pair] for pair in sorted(cycles)]
    return tuple(c[challenger] - c[reference] for c in both if challenger in c and reference in c)
