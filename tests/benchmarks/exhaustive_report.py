"""What `exhaustive.py` records and how it is shown."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from harness import table

if TYPE_CHECKING:
    from exhaustive_places import Bill

    from hpcagent.measure.results import Run
    from hpcagent.measure.statistics import Effect
    from hpcagent.records import Config
    from hpcagent.study.knowledge import Knowledge

COST = ("points", "processes", "core-h", "wall s")
RUNS = ("live", "seed", "rounds", *COST, "speed-up", "share of the best", "returned")
SIDES = ("search", "runs", "rounds", *COST, "share, median", "lowest", "highest")


@dataclass(frozen=True)
class Surface:
    """All rounds of the table and what they say of each configuration, by id; and their cost."""

    configs: Mapping[str, Config]
    rounds: Sequence[Sequence[Run]]
    effects: Mapping[str, Effect]
    bill: Bill

    @property
    def ranked(self) -> list[str]:
        return sorted(self.effects, key=lambda name: self.effects[name].log_ratio)

    @property
    def processes(self) -> int:
        return sum(len(found) for found in self.rounds)


@dataclass(frozen=True)
class After:
    """A run after so many rounds: what it would return, and what these rounds had cost."""

    returned: Config
    points: int
    processes: int
    bill: Bill

    @property
    def cost(self) -> tuple[int, int, float, float]:
        return self.points, self.processes, self.bill.core_s / 3600, self.bill.wall_s


@dataclass(frozen=True)
class Live:
    """A run of `tune`: after each round, and what came before the first one and in all."""

    strategy: str
    seed: int
    after: tuple[After, ...]
    before: Bill
    whole: Bill
    outcome: str

    @property
    def configs(self) -> tuple[Config, ...]:
        return tuple(after.returned for after in self.after)


def report_table(known: Knowledge, surface: Surface) -> dict[str, Any]:
    effects, ranked = surface.effects, surface.ranked
    print(f"table: {len(effects)} of {known.space.size} points ({known.unpruned.size} before "
          f"feasibility), {surface.processes} processes, {surface.bill.core_s / 3600:.3f} "
          f"core-hours, {surface.bill.wall_s:.0f} s\n")  # fmt: skip
    rows = []
    for place in sorted({0, 1, 2, 3, 4, len(ranked) // 4, len(ranked) // 2, len(ranked) - 1}):
        effect = effects[ranked[place]]
        rows.append((place + 1, math.exp(-effect.log_ratio), effect.spread,
                     str(surface.configs[ranked[place]])))  # fmt: skip
    place = ranked.index(known.unpruned.default.id)
    rows.append((place + 1, 1.0, 0.0, "the default"))
    table(("rank", "speed-up", "standard error of ln", "configuration"), rows)
    found = {str(surface.configs[n]): (e.log_ratio, e.spread) for n, e in effects.items()}
    return {"table": found, "table_processes": surface.processes} | {
        f"table_{name}": value for name, value in asdict(surface.bill).items()
    }


def report_live(
    surface: Surface, live: Sequence[Live], truth: Mapping[str, Effect]
) -> dict[str, Any]:
    """Every run after each round, then each strategy beside the table; only `truth` judges."""
    best = min(truth.values(), key=lambda effect: effect.log_ratio)
    print(f"judged with fresh pairs: the best of {len(truth)} finalists is "
          f"{math.exp(-best.log_ratio):.3f} times as fast as the default "
          f"(standard error of ln {best.spread:.3f})\n")  # fmt: skip

    def share(config: Config) -> float:
        return math.exp(best.log_ratio - truth[config.id].log_ratio)

    rows = []
    for run in live:
        for at, after in enumerate(run.after):
            gained = math.exp(-truth[after.returned.id].log_ratio)
            chosen = (gained, share(after.returned), str(after.returned))
            rows.append((run.strategy, run.seed, at + 1, *after.cost, *chosen))
    table(RUNS, rows)
    sides = [_exhaustive(surface, share)]
    for strategy in sorted({run.strategy for run in live}, reverse=True):
        sides += _strategy([run for run in live if run.strategy == strategy], share)
    table(SIDES, sides)
    _overheads(live)
    judged = {config.id: str(config) for run in live for config in run.configs}
    judged |= {name: str(config) for name, config in surface.configs.items()}
    return {
        "live": [dict(zip(RUNS, row, strict=True)) for row in rows],
        "sides": [dict(zip(SIDES, row, strict=True)) for row in sides],
        "runs": [_run(run) for run in live],
        "judged": {judged[name]: (e.log_ratio, e.spread) for name, e in truth.items()},
    }


def _exhaustive(surface: Surface, share: Callable[[Config], float]) -> tuple[object, ...]:
    """What whoever had measured the whole table would take: its first."""
    points, bill = len(surface.effects) - 1, surface.bill
    cost = (points, surface.processes, bill.core_s / 3600, bill.wall_s)
    return ("exhaustive", "", "", *cost, share(surface.configs[surface.ranked[0]]), "", "")


def _strategy(runs: Sequence[Live], share: Callable[[Config], float]) -> list[tuple[object, ...]]:
    """Medians over the runs; a run that ended early stays as it was."""
    rows: list[tuple[object, ...]] = []
    for at in range(max(len(run.after) for run in runs)):
        there = [run.after[min(at, len(run.after) - 1)] for run in runs]
        shares = [share(after.returned) for after in there]
        cost = [statistics.median(column) for column in zip(*(x.cost for x in there), strict=True)]
        spread = (statistics.median(shares), min(shares), max(shares))
        rows.append((runs[0].strategy, len(runs), at + 1, *cost, *spread))
    return rows


def _overheads(live: Sequence[Live]) -> None:
    rows = []
    for run in live:
        before, whole = run.before, run.whole
        rows.append((run.strategy, run.seed, before.core_s / 3600, before.wall_s,
                     whole.core_s / 3600, whole.wall_s, run.outcome))  # fmt: skip
    table(("live", "seed", "core-h before round 1", "wall s before", "core-h in all",
           "wall s in all", "outcome"), rows)  # fmt: skip


def _run(run: Live) -> dict[str, Any]:
    return {"strategy": run.strategy, "seed": run.seed, "before": asdict(run.before),
            "whole": asdict(run.whole), "outcome": run.outcome}  # fmt: skip
