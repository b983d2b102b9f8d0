"""What a model is worth: two searches compared on surfaces, from the runs of the benchmark."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from hpcagent.embedded.card import Effect

COUNTS = ("5", "10", "20", "30")  # evaluations, as tests/benchmarks/search.py reports them
WITH, WITHOUT = "hpcagent, embedded", "hpcagent"
_DRAWS = 2000

Runs = Mapping[str, Sequence[tuple[Sequence[float], Sequence[float]]]]


def effect(where: str, runs: Path) -> Effect:
    """From what `search.py --json` wrote. ValueError where one of the two searches is missing."""
    pairs = _pairs(json.loads(runs.read_text(encoding="utf-8")))
    if not pairs:
        raise ValueError(f"{runs}: no run of both {WITH!r} and {WITHOUT!r} with the same seed")
    ratios = {}
    for n, count in enumerate(COUNTS):
        tables = [np.array([(a[n], b[n]) for a, b in pairs[name]]) for name in sorted(pairs)]
        ratios[count] = _ratio(tables)
    return Effect(where, ratios)


def _ratio(tables: Sequence[np.ndarray]) -> tuple[float, float, float]:
    """Geometric mean over surfaces of the ratio of mean qualities, with a bootstrap over seeds."""
    rng = np.random.default_rng(1)
    drawn = []
    for _ in range(_DRAWS):
        again = [table[rng.integers(len(table), size=len(table))] for table in tables]
        drawn.append(_level(again))
    low, high = np.quantile(drawn, (0.025, 0.975))
    return _level(tables), float(low), float(high)


def _level(tables: Sequence[np.ndarray]) -> float:
    logs = [math.log(t[:, 0].mean() / max(t[:, 1].mean(), 1e-9)) for t in tables]
    return math.exp(sum(logs) / len(logs))


def _pairs(rows: Sequence[Mapping[str, object]]) -> Runs:
    found: dict[tuple[object, object], dict[object, Sequence[float]]] = {}
    for row in rows:
        key = (row["surface"], row["seed"])
        found.setdefault(key, {})[row["method"]] = row["quality"]  # type: ignore[assignment]
    pairs: dict[str, list[tuple[Sequence[float], Sequence[float]]]] = {}
    for (surface, _), both in found.items():
        if WITH in both and WITHOUT in both:
            pairs.setdefault(str(surface), []).append((both[WITH], both[WITHOUT]))
    return pairs
