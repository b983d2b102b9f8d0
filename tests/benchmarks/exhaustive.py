"""One real OpenBLAS space measured point by point, and what `tune` finds in it at which cost.

1. Every point that feasibility left, with the real worker in rounds with the default as reference.
2. Live runs of the agent on the same work: the default strategy and, as its peer, random search.
3. The configurations that those would return after 1, 2, ... rounds, and the best of the table,
   once more, against each other with fresh pairs: only these pairs judge.
4. Both strategies replayed many times: proposals are answered with pairs drawn from the table.
"""

from __future__ import annotations

import math
import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import SMALL, finish, measure, new_run, options, prepared, scratch, table, tell

if TYPE_CHECKING:
    from hpcagent.measure.results import Run
    from hpcagent.measure.statistics import Effect
    from hpcagent.protocols import Strategy
    from hpcagent.records import Config, Trial
    from hpcagent.search.space import Space
    from hpcagent.study.knowledge import Knowledge
    from hpcagent.study.rundir import RunDir

STRATEGIES = ("surrogate", "random")
GROUP = 9  # challengers in a round of the table
PAIRS = 4  # cycles in a round of the table
BEST = 6  # of the table, judged again
REPEAT_S = 0.02
CHALLENGERS = 4  # as `tune` has it by default
MAX_PAIRS = 8  # the same


@dataclass(frozen=True)
class Live:
    """A live run: the configuration it would return after each round, and what that had cost."""

    strategy: str
    seed: int
    returned: tuple[Config, ...]
    measured: tuple[int, ...]
    processes: tuple[int, ...]
    seconds: tuple[float, ...]


def main() -> None:
    chosen = options(
        __doc__,
        ("passes", int, 3, "times that each point gets its pairs"),
        ("seeds", int, 3, "live runs of each strategy"),
        ("rounds", int, 6, "rounds of a run"),
        ("replays", int, 60, "replays of each strategy"),
    )
    wanted = {**chosen.extra, **({"passes": 1, "seeds": 1, "replays": 5} if chosen.quick else {})}
    with scratch() as folder:
        known, driver = prepared(new_run(folder, SMALL, repeat_s=REPEAT_S))
        points = list(known.space.points())
        if chosen.quick:
            points = random.Random(0).sample(points, 18)
        began = time.monotonic()
        surface = _table(folder, known, driver, points, wanted["passes"])
        table_s = time.monotonic() - began
        live = [
            _live(folder, strategy, seed, wanted["rounds"])
            for seed in range(1, wanted["seeds"] + 1)
            for strategy in STRATEGIES
        ]
        truth = _judge(folder, known, driver, surface, live)
    figures = _report_table(known, surface, table_s) | _report_live(known, live, truth)
    figures |= _report_replays(known, surface, wanted["replays"], wanted["rounds"])
    finish(chosen, figures)


# --- 1: the table --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Surface:
    """All rounds of the table and what they say of each configuration, by id."""

    configs: Mapping[str, Config]
    rounds: Sequence[Sequence[Run]]
    effects: Mapping[str, Effect]


def _table(
    folder: Path, known: Knowledge, driver: str, points: Sequence[Config], passes: int
) -> Surface:  # fmt: skip
    from hpcagent.measure.statistics import effects

    default = known.unpruned.default
    others = [config for config in points if config != default]
    rounds: list[tuple[Run, ...]] = []
    for number in range(passes):
        random.Random(number).shuffle(others)
        for at in range(0, len(others), GROUP):
            place = folder / f"table{number}-{at}"
            rounds.append(_round(place, known, driver, others[at : at + GROUP], PAIRS, len(rounds)))
            tell(f"pass {number + 1} of {passes}: {at + GROUP} of {len(others)} points")
    configs = {config.id: config for config in (default, *others)}
    return Surface(configs, rounds, effects(rounds, default.id))


def _round(
    folder: Path, known: Knowledge, driver: str, group: Sequence[Config], pairs: int, seed: int
) -> tuple[Run, ...]:  # fmt: skip
    from hpcagent.study.units import round_plan

    spec: dict[str, Any] = {**round_plan(known, 1, group, driver).spec}
    rule = {**spec["stop_rule"], "pairs": pairs}
    spec |= {"mode": "fixed", "stop_rule": rule, "budget_s": 900, "seed": 5000 + seed}
    return measure(folder, known, spec)


# --- 2: live runs --------------------------------------------------------------------------------


def _live(folder: Path, strategy: str, seed: int, rounds: int) -> Live:
    from hpcagent.study.session import opened

    run = new_run(
        folder, SMALL, strategy=strategy, seed=seed, rounds=rounds, repeat_s=REPEAT_S,
        challengers=CHALLENGERS, max_pairs=MAX_PAIRS,
    )  # fmt: skip
    with opened(run, _no_report) as agent:
        while "search_ended" not in agent.state.decisions:
            turn = agent.turn()
            if turn.closed:
                raise SystemExit(f"a run ended early: {turn.words}")
            if turn.waiting:
                time.sleep(0.1)
        after = [_after(agent.known, index) for index in range(1, rounds + 1)]
    tell(f"live: {strategy}, seed {seed}: {after[-1].best.config}")
    return Live(
        strategy,
        seed,
        tuple(known.best.config for known in after),
        tuple(len(known.trials) - 1 for known in after),
        tuple(sum(len(unit.runs) for unit in known.state.rounds) for known in after),
        tuple(sum(unit.job_seconds for unit in known.state.rounds) for known in after),
    )


def _no_report(run: RunDir, known: Knowledge) -> None:
    """No report is wanted here."""


def _after(known: Knowledge, rounds: int) -> Knowledge:
    """What was known after so many rounds: proposals do not depend on the budget."""
    from hpcagent.study.knowledge import Knowledge

    late = {unit.name for unit in known.state.rounds[rounds:]}
    units = tuple(unit for unit in known.state.units if unit.name not in late)
    return Knowledge(replace(known.state, units=units))


# --- 3: the judgement ----------------------------------------------------------------------------


def _judge(
    folder: Path, known: Knowledge, driver: str, surface: Surface, live: Sequence[Live]
) -> Mapping[str, Effect]:  # fmt: skip
    """Fresh effects of the best of the table and of everything a live run would return."""
    from hpcagent.measure.statistics import effects

    default = known.unpruned.default
    ranked = sorted(surface.effects, key=lambda name: surface.effects[name].log_ratio)
    finalists = {name: surface.configs[name] for name in ranked[:BEST]}
    finalists |= {config.id: config for run in live for config in run.returned}
    finalists.pop(default.id, None)
    rounds: list[tuple[Run, ...]] = []
    for number in range(3):
        others = list(finalists.values())
        random.Random(number).shuffle(others)
        for at in range(0, len(others), GROUP):
            place = folder / f"judge{number}-{at}"
            seed = 900 + len(rounds)
            rounds.append(_round(place, known, driver, others[at : at + GROUP], 10, seed))
        tell(f"{len(others)} finalists, {number + 1} of 3")
    return effects(rounds, default.id)


# --- 4: replays ----------------------------------------------------------------------------------


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


# --- reports -------------------------------------------------------------------------------------


def _report_table(known: Knowledge, surface: Surface, seconds: float) -> dict[str, Any]:
    effects = surface.effects
    runs = sum(len(found) for found in surface.rounds)
    print(f"table: {len(effects)} of {known.space.size} points ({known.unpruned.size} before "
          f"feasibility), {runs} processes, {seconds:.0f} s\n")  # fmt: skip
    ranked = sorted(effects, key=lambda name: effects[name].log_ratio)
    rows = []
    for place in sorted({0, 1, 2, 3, 4, len(ranked) // 4, len(ranked) // 2, len(ranked) - 1}):
        effect = effects[ranked[place]]
        rows.append((place + 1, math.exp(-effect.log_ratio), effect.spread,
                     str(surface.configs[ranked[place]])))  # fmt: skip
    place = ranked.index(known.unpruned.default.id)
    rows.append((place + 1, 1.0, 0.0, "the default"))
    table(("rank", "speed-up", "standard error of ln", "configuration"), rows)
    found = {str(surface.configs[n]): (e.log_ratio, e.spread) for n, e in effects.items()}
    return {"table": found, "table_s": seconds, "table_processes": runs}


def _report_live(
    known: Knowledge, live: Sequence[Live], truth: Mapping[str, Effect]
) -> dict[str, Any]:
    best = min(truth.values(), key=lambda effect: effect.log_ratio)
    print(f"judged with fresh pairs: the best of {len(truth)} finalists is "
          f"{math.exp(-best.log_ratio):.3f} times as fast as the default "
          f"(standard error of ln {best.spread:.3f})\n")  # fmt: skip
    rows = []
    for run in live:
        for at, config in enumerate(run.returned):
            effect = truth[config.id].log_ratio
            share = math.exp(best.log_ratio - effect)
            cost = (run.measured[at], run.processes[at], run.seconds[at])
            gained = (math.exp(-effect), share, str(config))
            rows.append((run.strategy, run.seed, at + 1, *cost, *gained))
    table(("live", "seed", "rounds", "points", "processes", "seconds", "speed-up",
           "share of the best", "returned"), rows)  # fmt: skip
    return {"live": rows, "best": best.log_ratio}


def _report_replays(
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


if __name__ == "__main__":
    main()
