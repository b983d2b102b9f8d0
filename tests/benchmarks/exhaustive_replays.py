"""Strategies replayed against a measured table: proposals are answered with pairs drawn from it."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from exhaustive_report import Surface
from harness import table, tell

if TYPE_CHECKING:
    from hpcagent.protocols import Strategy
    from hpcagent.records import Config, Trial
    from hpcagent.search.space import Space
    from hpcagent.study.knowledge import Knowledge

CHALLENGERS = 4  # as `tune` has it by default
MAX_PAIRS = 8  # the same


def report_replays(
    known: Knowledge, surface: Surface, replays: int, rounds: int
) -> dict[str, Any]:  # fmt: skip
    from hpcagent.search.options import Options
    from hpcagent.search.random import Random
    from hpcagent.search.surrogate import create

    best = min(effect.log_ratio for effect in surface.effects.values())
    made: dict[str, Callable[[], Strategy]] = {
        "surrogate": lambda: create(Options()),
        "random": Random,
    }
    rows, figures = [], {}
    for name, make in made.items():
        shares: list[list[float]] = [[] for _ in range(rounds)]
        for seed in range(1, replays + 1):
            for at, config in enumerate(_replay(make(), known, surface, seed, rounds)):
                shares[at].append(math.exp(best - surface.effects[config.id].log_ratio))
        tell(f"{replays} replays of {name}")
        for at, values in enumerate(shares):
            low, middle, high = statistics.quantiles(values, n=4)
            rows.append((name, at + 1, CHALLENGERS * (at + 1), middle, low, high, min(values)))
        figures[f"replay_{name}"] = shares
    table(("replayed", "rounds", "points", "share of the best, median", "lower quartile",
           "upper quartile", "worst"), rows)  # fmt: skip
    return figures


def _replay(
    strategy: Strategy, known: Knowledge, surface: Surface, seed: int, rounds: int
) -> list[Config]:  # fmt: skip
    """The best configuration after each round; every proposal gets MAX_PAIRS drawn ratios."""
    from hpcagent.records import Stop, Trial

    pairs = _pairs(surface, known.unpruned.default.id)
    draw = random.Random(seed)
    history = [Trial(known.unpruned.default, 0.0, 0.0, None, 0, "default")]
    best: list[Config] = []
    space = _measured_space(known.space, surface)
    for index in range(1, rounds + 1):
        proposals = strategy.propose(space, history, (), CHALLENGERS, seed * 1_000_003 + index)
        for proposal in () if isinstance(proposals, Stop) else proposals:
            ratios = draw.choices(pairs[proposal.config.id], k=MAX_PAIRS)
            error = statistics.stdev(ratios) / math.sqrt(len(ratios))
            middle = statistics.median(ratios)
            trial = Trial(proposal.config, middle, error, None, index, proposal.proposed_by)
            history.append(trial)
        best.append(_best(history))
    return best


def _measured_space(space: Space, surface: Surface) -> Space:
    return space.excluding([p.id for p in space.points() if p.id not in surface.effects])


def _pairs(surface: Surface, default: str) -> dict[str, list[float]]:
    from hpcagent.measure.statistics import paired_log_ratios

    found: dict[str, list[float]] = {name: [] for name in surface.configs}
    for runs in surface.rounds:
        for name in {run.config for run in runs} - {default}:
            found[name] += paired_log_ratios(runs, name, default)
    return found


def _best(history: Sequence[Trial]) -> Config:
    """As the agent steers: the fastest that is faster by more than its standard error."""
    better = [t for t in history[1:] if (t.log_ratio or 0.0) + (t.spread or 0.0) < 0.0]
    return min(better, key=lambda t: t.log_ratio or 0.0, default=history[0]).config
