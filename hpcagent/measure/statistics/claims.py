"""What may be claimed of fresh pairs, fixed in number."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from hpcagent.measure import worker
from hpcagent.measure.results import Run
from hpcagent.measure.statistics.dependence import dependence, widened
from hpcagent.measure.statistics.intervals import median_interval
from hpcagent.measure.statistics.pairs import paired_log_ratios_by_key


@dataclass(frozen=True)
class Claim:
    """The speed-up (median over the pairs) with its interval; `improved`: it may be claimed.

    `note` says why the interval is wider than that of independent pairs; else it is empty.
    """

    speedup: float
    low: float
    high: float
    coverage: float
    improved: bool
    pairs: int
    note: str = ""


@dataclass(frozen=True)
class Speedup:
    """The speed-up of one key (median over the pairs) with its interval."""

    speedup: float
    low: float
    high: float
    coverage: float
    pairs: int


def claim(log_ratios: Sequence[float], alpha: float, minimum_effect: float) -> Claim:
    """What may be said of fresh pairs, fixed in number: ln(time winner / time default) each.

    They are in the order in which they were measured, job after job where there are several, each
    in an order drawn for it alone (see worker.cycle_order). The interval has coverage 1 - alpha on
    two sides, so a configuration that is no better is claimed with a probability of alpha / 2 at
    most, for noise of any shape that meets both sides alike. Noise that stays with one side over
    several pairs is looked for, and widens the interval (`note`); what is not seen of it
    (docs/benchmarks.md has figures) is beyond one allocation: see `together`. `improved` only where
    the whole interval of the speed-up lies above 1 + `minimum_effect`. Raises UsageError for too
    few pairs.
    """
    low, middle, high, coverage = _speedup(log_ratios, 1.0 - alpha)
    seen = dependence(log_ratios)
    improved = low > 1.0 + minimum_effect
    note = seen.words if seen.found else ""
    return Claim(middle, low, high, coverage, improved, len(log_ratios), note)


def together(whole: Claim, alone: Sequence[Claim], sure: Sequence[Claim]) -> Claim:
    """The claim of several jobs: of all their pairs (`whole`), where each job shows it as well.

    `alone` are those of each job at the lesser certainty that one has to show by itself, `sure` the
    same at that of the whole. The interval is that which two hulls have in common: that of `whole`
    and `alone`, and that of `sure`, which is narrower where the jobs differ for good, as nodes do.
    The first holds the truth wherever `whole` does; the second misses it only where every job
    does, in the same direction. `pairs` are those of a job.
    """
    first = (whole, *alone)
    pooled, each = (all(claim.improved for claim in claims) for claims in (first, sure))
    low, high = in_common(first, sure)
    return replace(
        whole,
        low=low,
        high=high,
        improved=pooled or each,
        pairs=min(claim.pairs for claim in alone),
        note=_note(whole, alone),
    )


def in_common(
    first: Sequence[Claim | Speedup], sure: Sequence[Claim | Speedup]
) -> tuple[float, float]:
    """What the hulls of two groups of intervals have in common, as `together` explains."""
    groups = (first, sure)
    return (
        max(min(each.low for each in group) for group in groups),
        min(max(each.high for each in group) for group in groups),
    )


def _note(whole: Claim, alone: Sequence[Claim]) -> str:
    of_jobs = dict.fromkeys(claim.note for claim in alone if claim.note)
    if of_jobs or not whole.note:
        return "; ".join(of_jobs)
    return f"the jobs differ ({', '.join(f'{claim.speedup:.4g}' for claim in alone)})"


def case_speedups(
    jobs: Sequence[Sequence[Run]], winner: str, reference: str, coverage: float
) -> dict[str, Speedup]:
    """The speed-up of every key that all jobs have, each with an interval of its own coverage.

    Raises UsageError where a key has too few pairs.
    """
    each = [paired_log_ratios_by_key(runs, winner, reference) for runs in jobs]
    found = {}
    for key in each[0]:
        if all(key in ratios for ratios in each):
            pairs = [ratio for ratios in each for ratio in ratios[key]]
            low, middle, high, achieved = _speedup(pairs, coverage)
            found[key] = Speedup(middle, low, high, achieved, len(pairs))
    return found


def _speedup(log_ratios: Sequence[float], coverage: float) -> tuple[float, float, float, float]:
    interval, seen = median_interval(log_ratios, coverage), dependence(log_ratios)
    if seen.found:
        interval = widened(interval, log_ratios)
    middle = worker.median(log_ratios)
    low, high = _exp(-interval.high), _exp(-interval.low)
    return low, _exp(-middle), high, interval.coverage


def _exp(value: float) -> float:
    """exp without overflow: nobody tells e^700 from more."""
    return math.exp(max(-700.0, min(700.0, value)))
