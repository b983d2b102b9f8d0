"""What a report says of disturbances: a table in the section on variability."""

from __future__ import annotations

from collections.abc import Callable

from hpcagent.measure.statistics import Interval
from hpcagent.report import wording
from hpcagent.report.document import Block, Code, Line, paragraph, table
from hpcagent.study.summary import Disturbance, RunSummary, Variation

_MOST = 20


def variation(summary: RunSummary) -> tuple[Block, ...]:
    """Coefficient of variation and quartiles of the whole workload, with their intervals."""
    if not summary.variation:
        return ()
    numeric = ("CV", "Lower quartile", "Upper quartile", "Processes")
    rows = [_variation(one) for one in summary.variation]
    coverage = summary.variation[0].seen.cv_interval.coverage
    what = "The whole workload" if summary.weighs else "Whole processes"
    told = (
        f"{what}; quartiles are of the times over their median. The intervals "
        f"cover with {wording.coverage(coverage)}, that of the CV (a bootstrap) about so."
    )
    return (paragraph(told), table(("Side", *numeric), rows, numeric))


def _variation(one: Variation) -> Line:
    seen = one.seen
    cv = f"{wording.percent(seen.cv)} ({_between(seen.cv_interval, wording.percent)})"
    quartiles = (
        f"{wording.ratio(value)} ({_between(interval, wording.ratio)})"
        for value, interval in (
            (seen.lower, seen.lower_interval),
            (seen.upper, seen.upper_interval),
        )
    )
    return (one.name, cv, *quartiles, str(seen.count))


def _between(interval: Interval | None, word: Callable[[float], str]) -> str:
    return "too few" if interval is None else f"{word(interval.low)} to {word(interval.high)}"


def disturbances(summary: RunSummary) -> tuple[Block, ...]:
    """What was odd, and what of the recorded figures moved with it."""
    found = summary.disturbances
    if not found:
        return ()
    more = f" The first {_MOST} of {len(found)} are shown." if len(found) > _MOST else ""
    told = (
        "Disturbances seen, of the confirmation and then of the latest rounds. None was left out "
        "of the figures: the estimates bound what a single process can do, and the intervals are "
        f"wider.{more}"
    )
    numeric = ("Cycle", "Times by")
    columns = ("What", *numeric, "Configuration", "Went with", "Unit")
    settings = {t.config.id: wording.differences(t.config, summary) for t in summary.trials}
    rows = [_row(one, settings.get(one.config, one.config)) for one in found[:_MOST]]
    return (paragraph(told), table(columns, rows, numeric))


def _row(one: Disturbance, settings: str) -> Line:
    return (
        one.what,
        str(one.pair or wording.NONE),
        wording.ratio(one.size),
        Code(wording.shorten(settings, 100)) if one.config else wording.NONE,
        one.reason or "nothing recorded",
        Code(one.unit),
    )
