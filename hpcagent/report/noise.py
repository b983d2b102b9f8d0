"""What a report says of disturbances: a table in the section on variability."""

from __future__ import annotations

from hpcagent.report import wording
from hpcagent.report.document import Block, Code, Line, paragraph, table
from hpcagent.study.summary import Disturbance, RunSummary

_MOST = 20


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
