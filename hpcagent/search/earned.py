"""The share of the evaluations that a language model has, and keeps only while its picks pay.

A fold over the history, so that it is the same after a resume. A model begins with 30 %. A round in
which a pick of it becomes the fastest so far pays: the share triples, up to 30 % again. A round in
which it does not, while the surrogate's picks since the last such round did, or were faster in the
middle, lags: a third of the share is left. It never falls below 5 %, so that a model that gets
better with more history can show it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from hpcagent.records import Config, Trial

MODEL, SURROGATE = "model", "surrogate"
SHARE = 0.3
FLOOR = 0.05
SLOWER = 0.01  # in ln(time): what a pick may be behind the surrogate's without lagging
_MOST_CREDIT = 1.0  # slots that it had no use for are not saved up


@dataclass(frozen=True)
class Earned:
    """`share` now; `credit` in slots that it has not had; rounds that `paid` and `lagged`."""

    share: float = SHARE
    credit: float = 0.0
    picks: int = 0
    paid: int = 0
    lagged: int = 0

    def words(self) -> str:
        if not self.picks:
            return ""
        return (
            f"its picks paid in {self.paid} and lagged in {self.lagged} rounds,"
            f" which leaves it {100 * self.share:.0f} % of the evaluations"
        )


def earned(history: Sequence[Trial]) -> Earned:
    """What the history so far has earned; trials by anyone else do not count."""
    state, best = Earned(), math.inf
    since: list[Trial] = []  # the surrogate's, since the model's last pick
    for number in sorted({trial.round for trial in history}):
        row = [trial for trial in history if trial.round == number]
        picks = [trial for trial in row if trial.proposed_by == MODEL]
        since += [trial for trial in row if trial.proposed_by == SURROGATE]
        state = _counted(state, row, picks)
        if picks and math.isfinite(best):
            state = _judged(state, picks, since, best)
            since = []
        best = min([best, *map(_value, row)])
    return state


def slots(history: Sequence[Trial], pending: Sequence[Config], k: int) -> int:
    """How many of `k` slots are the model's.

    What is pending is taken to hold as many picks as its share allowed.
    """
    state = earned(history)
    credit = state.credit + state.share * len(pending)
    credit -= math.floor(credit) if pending else 0
    return min(k, max(0, math.floor(min(_MOST_CREDIT, credit) + state.share * k + 1e-9)))


def _counted(state: Earned, row: Sequence[Trial], picks: Sequence[Trial]) -> Earned:
    ours = sum(trial.proposed_by in (MODEL, SURROGATE, "default") for trial in row)
    credit = min(_MOST_CREDIT, state.credit + state.share * ours - len(picks))
    return Earned(state.share, credit, state.picks + len(picks), state.paid, state.lagged)


def _judged(state: Earned, picks: Sequence[Trial], since: Sequence[Trial], best: float) -> Earned:
    if _gains(picks, best):
        share, paid, lagged = min(SHARE, 3 * state.share), 1, 0
    elif _gains(since, best) or _behind(picks, since):
        share, paid, lagged = max(FLOOR, state.share / 3), 0, 1
    else:
        share, paid, lagged = state.share, 0, 0
    credit = min(0.0, state.credit) if lagged else state.credit
    return Earned(share, credit, state.picks, state.paid + paid, state.lagged + lagged)


def _gains(trials: Sequence[Trial], best: float) -> bool:
    """Whether one is faster than the best before by more than its standard error."""
    return any(_value(trial) + _error(trial) < best for trial in trials)


def _behind(picks: Sequence[Trial], since: Sequence[Trial]) -> bool:
    if not since:
        return all(math.isinf(_value(trial)) for trial in picks)
    theirs = sorted(map(_value, since))[(len(since) - 1) // 2]
    return min(map(_value, picks)) > theirs + SLOWER


def _value(trial: Trial) -> float:
    """Its log ratio; infinite where it failed, was not measured, or may not win."""
    value = trial.log_ratio
    usable = trial.failure is None and trial.eligible and value is not None and abs(value) < 50
    return value if usable and value is not None else math.inf


def _error(trial: Trial) -> float:
    usable = trial.spread is not None and math.isfinite(trial.spread) and trial.spread > 0
    return trial.spread if usable and trial.spread is not None else 0.0
