"""The same configuration against itself: how often is an improvement claimed that is none?

Every round is one confirmation: the real worker, the real driver, the fixed number of pairs that a
claim rests on; the second configuration is the default under another id. After every fourth round
as many processes run in sequential blocks, all of one configuration and then all of the other
(`--blocks 0`: none).
"""

from __future__ import annotations

import math
import os
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import (
    TINY,
    Options,
    binomial_interval,
    finish,
    measure,
    new_run,
    options,
    prepared,
    scratch,
    table,
    tell,
)

if TYPE_CHECKING:
    from hpcagent.measure.results import Run
    from hpcagent.study.knowledge import Knowledge

A, B = "default", "same"
EVERY = 4  # a round of sequential blocks after so many interleaved ones


def main() -> None:
    chosen = options(
        __doc__,
        ("rounds", int, 200, "interleaved rounds"),
        ("minutes", float, 0.0, "stop after so long; 0: after all rounds"),
        ("blocks", int, 1, "sequential blocks as well"),
        ("threads", int, 0, "threads of both; 0: as many as the library takes"),
    )
    rounds = 8 if chosen.quick else chosen.extra["rounds"]
    interleaved: list[tuple[float, ...]] = []
    blocks: list[tuple[float, ...]] = []
    end = time.monotonic() + 60.0 * (chosen.extra["minutes"] or math.inf)
    loads = []
    with scratch() as folder:
        known, driver = prepared(new_run(folder, TINY, repeat_s=0.005))
        for index in range(rounds):
            if time.monotonic() > end:
                break
            loads.append(os.getloadavg()[0])
            spec = _spec(known, driver, index, chosen.extra["threads"])
            interleaved.append(_interleaved(folder / f"i{index}", known, spec))
            if chosen.extra["blocks"] and index % EVERY == EVERY - 1:
                blocks.append(_sequential(folder / f"s{index}", known, spec))
            if index % 10 == 9:
                tell(f"{index + 1} of {rounds} rounds")
    middle = statistics.median(loads)
    print(f"load average {min(loads):.1f} to {max(loads):.1f}, median {middle:.1f}\n")
    _report(chosen, known, interleaved, blocks)


def _spec(known: Knowledge, driver: str, index: int, threads: int) -> dict[str, Any]:
    """A confirmation of the default, as the agent would submit it, with a seed of its own."""
    from hpcagent.study.units import confirmation_plan

    plan = confirmation_plan(known, known.unpruned.default, driver)
    env = {"OPENBLAS_NUM_THREADS": str(threads)} if threads else {}
    config: dict[str, Any] = {"argv": [], "env": env, "binding": None}
    return {**plan.spec, "seed": 1000 + index, "budget_s": 600, "configs": [config]}


def _named(spec: Mapping[str, Any], names: Sequence[str]) -> list[dict[str, Any]]:
    return [{"id": name, **spec["configs"][0]} for name in names]


def _interleaved(folder: Path, known: Knowledge, spec: Mapping[str, Any]) -> tuple[float, ...]:
    from hpcagent.measure.statistics import paired_log_ratios

    changed = {"reference": A, "configs": _named(spec, (A, B))}
    return paired_log_ratios(measure(folder, known, {**spec, **changed}), B, A)


def _sequential(folder: Path, known: Knowledge, spec: Mapping[str, Any]) -> tuple[float, ...]:
    """The i-th of the second block over the i-th of the first; one warm-up process before."""
    pairs = range(int(spec["stop_rule"]["pairs"]))
    names = ["warm", *(f"a{i}" for i in pairs), *(f"b{i}" for i in pairs)]
    changed = {"mode": "once", "reference": "warm", "configs": _named(spec, names)}
    found = {run.config: run for run in measure(folder, known, {**spec, **changed})}
    return tuple(_objective(found[f"b{i}"]) - _objective(found[f"a{i}"]) for i in pairs)


def _objective(run: Run) -> float:
    if run.objective is None:
        raise SystemExit(f"a process failed: {run.status} {run.message}")
    return run.objective


def _report(
    chosen: Options, known: Knowledge, interleaved: list[tuple[float, ...]],
    blocks: list[tuple[float, ...]],
) -> None:  # fmt: skip
    from hpcagent.measure.statistics import claim

    settings = known.state.settings
    alpha, count = settings.alpha, len(interleaved)
    rows, false_claims = [], {}
    for effect in (settings.minimum_effect, 0.0):
        claims = [claim(ratios, alpha, effect) for ratios in interleaved]
        back = [claim([-r for r in ratios], alpha, effect) for ratios in interleaved]
        forward = sum(c.improved for c in claims)
        reverse = sum(c.improved for c in back)
        false_claims[str(effect)] = [forward, reverse]
        low, high = binomial_interval(forward + reverse, 2 * count)
        both = f"{100 * low:.2f} to {100 * high:.2f} %"
        rows.append((f"{effect:g}", count, forward, reverse, alpha / 2 * count, both))
    outside = sum(not c.low <= 1.0 <= c.high for c in claims)
    table(("minimum effect", "rounds", "false claims", "with the two exchanged",
           "promised of each", "rate of both, 95 %"), rows)  # fmt: skip
    widths = [math.log(c.high / c.low) for c in claims]
    low, high = binomial_interval(outside, count)
    widened = sum(c.note != "" for c in claims)
    print(f"intervals that miss 1: {outside} of {count} "
          f"(95 %: {100 * low:.2f} to {100 * high:.2f} %), "
          f"promised at most {100 * alpha:g} %; widened, as pairs were alike: {widened}; "
          f"median width in ln {statistics.median(widths):.4f}\n")  # fmt: skip
    spreads = {"interleaved": interleaved, "sequential blocks": blocks}
    table(
        ("order", "rounds", "sd of a pair's log ratio", "robust sd", "sd of a round's median",
         "largest median"),
        [(name, len(found), *_spread(found)) for name, found in spreads.items() if len(found) > 1],
    )  # fmt: skip
    figures = {"false_claims": false_claims, "missed": outside, "interleaved": interleaved,
               "blocks": blocks, "process_s": known.process_s}  # fmt: skip
    finish(chosen, figures)


def _spread(rounds: Sequence[Sequence[float]]) -> tuple[float, float, float, float]:
    ratios = [ratio for found in rounds for ratio in found]
    middle = statistics.median(ratios)
    robust = 1.4826 * statistics.median(abs(ratio - middle) for ratio in ratios)
    medians = [statistics.median(found) for found in rounds]
    return statistics.stdev(ratios), robust, statistics.stdev(medians), max(map(abs, medians))


if __name__ == "__main__":
    main()
