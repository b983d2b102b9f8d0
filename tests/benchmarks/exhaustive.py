"""One real OpenBLAS space measured point by point, and what `tune` finds in it at which cost.

1. Every point that feasibility left, with the real worker in rounds with the default as reference.
2. Live runs of `hpcagent tune` on the same work: the default strategy and, as its peer, random
   search.
3. The configurations that those would return after 1, 2, ... rounds, and the best of the table,
   once more, against each other with fresh pairs: only these pairs judge.
4. Both strategies replayed many times: proposals are answered with pairs drawn from the table.

With `--scheduler slurm` all of it is jobs of a private Slurm (tests/lab), which this script starts
and ends: the units of the table are submitted at once, `tune` submits its own.
"""

from __future__ import annotations

import os
import random
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from exhaustive_places import Bill, Measured, Place, place, table_plan
from exhaustive_replays import CHALLENGERS, MAX_PAIRS, report_replays
from exhaustive_report import After, Live, Surface, report_live, report_table
from harness import SMALL, finish, new_run, options, prepared, scratch, tell, tune_words

if TYPE_CHECKING:
    from hpcagent.measure.statistics import Effect
    from hpcagent.records import Config
    from hpcagent.study.knowledge import Knowledge
    from hpcagent.study.state import Unit

STRATEGIES = ("surrogate", "random")
GROUP = 9  # challengers in a round of the table
PAIRS = 4  # cycles in a round of the table
BEST = 6  # of the table, judged again
JUDGED = (3, 10)  # groupings of the judgement, cycles in each
REPEAT_S = 0.02
TUNE_S = 1800  # a run that takes longer hangs


def main() -> None:
    chosen = options(
        __doc__,
        ("scheduler", str, "local", "local or slurm"),
        ("passes", int, 3, "times that each point gets its pairs"),
        ("seeds", int, 3, "live runs of each strategy"),
        ("first", int, 1, "seed of the first one"),
        ("rounds", int, 6, "rounds of a run"),
        ("replays", int, 60, "replays of each strategy"),
    )
    wanted = {**chosen.extra, **({"passes": 1, "seeds": 1, "replays": 5} if chosen.quick else {})}
    loads = [os.getloadavg()]
    with scratch() as folder, place(wanted["scheduler"]) as here:
        known, driver = prepared(new_run(folder, SMALL, repeat_s=REPEAT_S, **here.settings))
        points = list(known.space.points())
        if chosen.quick:
            points = random.Random(0).sample(points, 18)
        surface = _table(here, folder, known, driver, points, wanted["passes"])
        loads.append(os.getloadavg())
        live = [
            _live(here, folder, strategy, seed, wanted["rounds"])
            for seed in range(wanted["first"], wanted["first"] + wanted["seeds"])
            for strategy in STRATEGIES
        ]
        loads.append(os.getloadavg())
        truth = _judge(here, folder, known, driver, surface, live)
    loads.append(os.getloadavg())
    figures = {"scheduler": wanted["scheduler"], "loads": loads, "library": _library(known)}
    figures |= report_table(known, surface) | report_live(surface, live, truth)
    figures |= report_replays(known, surface, wanted["replays"], wanted["rounds"])
    finish(chosen, figures)


def _library(known: Knowledge) -> dict[str, str]:
    library = known.needed_library()
    return {"version": library.version, "core": library.core, "cpu": known.machine.cpu_model}


# --- 1: the table --------------------------------------------------------------------------------


def _table(
    here: Place, folder: Path, known: Knowledge, driver: str, points: Sequence[Config], passes: int
) -> Surface:  # fmt: skip
    from hpcagent.measure.statistics import effects

    default = known.unpruned.default
    others = [config for config in points if config != default]
    groups = _groups(others, passes)
    found = _rounds(here, folder / "table", known, driver, groups, PAIRS, 5000)
    configs = {config.id: config for config in (default, *others)}
    return Surface(configs, found.rounds, effects(found.rounds, default.id), found.bill)


def _groups(others: Sequence[Config], times: int) -> list[list[Config]]:
    """Every configuration so many times, in random company."""
    groups = []
    for number in range(times):
        mixed = list(others)
        random.Random(number).shuffle(mixed)
        groups += [mixed[at : at + GROUP] for at in range(0, len(mixed), GROUP)]
    return groups


def _rounds(
    here: Place, folder: Path, known: Knowledge, driver: str, groups: Sequence[Sequence[Config]],
    pairs: int, seed: int,
) -> Measured:  # fmt: skip
    from hpcagent.study.units import round_plan

    plans = {}
    for number, group in enumerate(groups):
        plan = round_plan(known, 1, group, driver)
        plans[f"{folder.name}-{number}"] = table_plan(plan, pairs, seed + number)
    tell(f"{folder.name}: {len(plans)} rounds, {sum(len(group) for group in groups)} challengers")
    return here.measure(folder, known, plans)


# --- 2: live runs --------------------------------------------------------------------------------


def _live(here: Place, folder: Path, strategy: str, seed: int, rounds: int) -> Live:
    from hpcagent.study.knowledge import Knowledge
    from hpcagent.study.rundir import open_run
    from hpcagent.study.session import read_state

    name = f"{strategy}-{seed}"
    words = tune_words(
        folder, name, SMALL, "--strategy", strategy, "--seed", str(seed), "--challengers",
        str(CHALLENGERS), "--budget", f"rounds={rounds}", *here.words,
    )  # fmt: skip
    env = {"HPCAGENT_PROCESS_SECONDS": str(REPEAT_S), "HPCAGENT_MAX_PAIRS": str(MAX_PAIRS)}
    began = time.monotonic()
    done = subprocess.run(
        words, cwd=folder, env={**os.environ, **env}, capture_output=True, text=True,
        timeout=TUNE_S, check=False,
    )  # fmt: skip
    wall_s = time.monotonic() - began
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(words)}: {done.returncode}: {done.stdout}{done.stderr}")
    known = Knowledge(read_state(open_run(folder / name)))
    held = here.core_seconds(known.state.units)
    after = _after_each(known, held)
    first = next(unit for unit in known.state.units if unit.kind == "round")
    earlier = [unit for unit in known.state.units if unit.kind != "round"]
    before_s = _seconds(known.state.created_utc, first.intent_utc)
    outcome = str((known.state.closed or {}).get("outcome"))
    tell(f"live: {name}, {wall_s:.0f} s, {outcome}: {after[-1].returned}")
    return Live(
        strategy,
        seed,
        after,
        Bill(sum(held.get(unit.name, 0.0) for unit in earlier), before_s),
        Bill(sum(held.values()), wall_s),
        outcome,
    )


def _after_each(known: Knowledge, held: Mapping[str, float]) -> tuple[After, ...]:
    """After each round; what failed attempts at a round held is counted, too."""
    rounds = known.state.rounds
    tries = [unit for unit in known.state.units if unit.purpose.startswith("round-")]
    found = []
    for count, last in enumerate(rounds, 1):
        then = _then(known, rounds[count:])
        core_s = sum(held.get(unit.name, 0.0) for unit in tries[: tries.index(last) + 1])
        wall_s = _seconds(tries[0].intent_utc, last.result_utc)
        processes = sum(len(unit.runs) for unit in rounds[:count])
        points = len(then.trials) - 1
        found.append(After(then.best.config, points, processes, Bill(core_s, wall_s)))
    return tuple(found)


def _then(known: Knowledge, late: Sequence[Unit]) -> Knowledge:
    """What was known before these rounds: proposals do not depend on the budget."""
    from hpcagent.study.knowledge import Knowledge

    names = {unit.name for unit in late}
    units = tuple(unit for unit in known.state.units if unit.name not in names)
    return Knowledge(replace(known.state, units=units))


def _seconds(since_utc: str, until_utc: str) -> float:
    from hpcagent.study.durable import parse_utc

    return (parse_utc(until_utc) - parse_utc(since_utc)).total_seconds()


# --- 3: the judgement ----------------------------------------------------------------------------


def _judge(
    here: Place, folder: Path, known: Knowledge, driver: str, surface: Surface,
    live: Sequence[Live],
) -> Mapping[str, Effect]:  # fmt: skip
    """Fresh effects of the best of the table and of everything a live run would return."""
    from hpcagent.measure.statistics import effects

    default = known.unpruned.default
    finalists = {name: surface.configs[name] for name in surface.ranked[:BEST]}
    finalists |= {config.id: config for run in live for config in run.configs}
    finalists.pop(default.id, None)
    times, pairs = JUDGED
    groups = _groups(list(finalists.values()), times)
    found = _rounds(here, folder / "judge", known, driver, groups, pairs, 900)
    return effects(found.rounds, default.id)


if __name__ == "__main__":
    main()
