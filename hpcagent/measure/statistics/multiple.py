"""Which of many configurations are faster or slower, with one error rate for all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hpcagent.measure import worker
from hpcagent.measure.statistics.effects import Effect
from hpcagent.measure.statistics.intervals import check_coverage

# The chance of any wrong verdict among all trials of a search, as reports state it.
VERDICT_LEVEL = 0.05


@dataclass(frozen=True)
class Verdict:
    """`verdict` is "faster", "slower" or "open"; `p` is adjusted for the number of configurations.

    "faster" is a statement about the search's own runs, and no claim: that needs fresh pairs.
    """

    p: float
    verdict: str


def holm(chances: Mapping[str, float]) -> dict[str, float]:
    """Adjusted p values: at most `level` of them being below it by chance, whatever is true.

    S. Holm, A simple sequentially rejective multiple test procedure, Scand. J. Stat. 6 (1979)
    65-70; valid for p values that depend on one another in any way.
    """
    found, largest = {}, 0.0
    for rank, name in enumerate(sorted(chances, key=lambda name: (chances[name], name))):
        largest = max(largest, min(1.0, (len(chances) - rank) * chances[name]))
        found[name] = largest
    return found


def verdicts(effects: Mapping[str, Effect], baseline: str, level: float) -> dict[str, Verdict]:
    """Every configuration but the baseline against it, two-sided, family-wise error at `level`.

    Student's t with the degrees of freedom behind each standard error, then Holm's procedure.
    """
    check_coverage(1.0 - level)
    others = {name: effect for name, effect in effects.items() if name != baseline}
    chances = {
        name: worker.t_tail(effect.log_ratio / max(effect.spread, effect.reach), effect.degrees)
        for name, effect in others.items()
    }
    adjusted = holm(chances)
    return {
        name: Verdict(adjusted[name], _word(effect.log_ratio, adjusted[name] < level))
        for name, effect in others.items()
    }


def _word(log_ratio: float, sure: bool) -> str:
    if not sure:
        return "open"
    return "faster" if log_ratio < 0.0 else "slower"
