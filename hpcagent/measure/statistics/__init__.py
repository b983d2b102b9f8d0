"""What the numbers say: intervals that cover as stated, claims, effects, variability, drift.

All functions are pure and deterministic. Log ratios are ln(time / time of the reference):
negative is faster; a speed-up is exp(-log ratio).
"""

from hpcagent.measure.statistics.claims import (
    Claim,
    Speedup,
    case_speedups,
    claim,
    in_common,
    together,
)
from hpcagent.measure.statistics.dependence import Dependence, dependence
from hpcagent.measure.statistics.drift import Shift, Trend, kendall, level_shift, trend
from hpcagent.measure.statistics.effects import (
    HUBER_K,
    PRIOR_DEGREES,
    PRIOR_SIGMA,
    SPREAD_FLOOR,
    Effect,
    Timed,
    effects,
)
from hpcagent.measure.statistics.intervals import (
    Interval,
    median_interval,
    pairs_needed,
    quantile_interval,
    t_interval,
)
from hpcagent.measure.statistics.multiple import Verdict, holm, verdicts
from hpcagent.measure.statistics.pairs import paired_log_ratios, paired_log_ratios_by_key
from hpcagent.measure.statistics.variability import (
    Variability,
    coefficient_of_variation,
    cv_ratio_interval,
    variability,
)

__all__ = [
    "HUBER_K",
    "PRIOR_DEGREES",
    "PRIOR_SIGMA",
    "SPREAD_FLOOR",
    "Claim",
    "Dependence",
    "Effect",
    "Interval",
    "Shift",
    "Speedup",
    "Timed",
    "Trend",
    "Variability",
    "Verdict",
    "case_speedups",
    "claim",
    "coefficient_of_variation",
    "cv_ratio_interval",
    "dependence",
    "effects",
    "holm",
    "in_common",
    "kendall",
    "level_shift",
    "median_interval",
    "paired_log_ratios",
    "paired_log_ratios_by_key",
    "pairs_needed",
    "quantile_interval",
    "t_interval",
    "together",
    "trend",
    "variability",
    "verdicts",
]
