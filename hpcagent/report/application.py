"""What a report says of an application in the place of a library and its routines."""

from __future__ import annotations

import shlex

from hpcagent.report import wording
from hpcagent.report.document import (
    Block,
    Code,
    Figure,
    Line,
    Listing,
    Section,
    paragraph,
    table,
)
from hpcagent.study.summary import ApplicationSummary, RunSummary


def how_to_run(summary: RunSummary, application: ApplicationSummary) -> list[Block]:
    """The confirmed configuration as it is started."""
    blocks: list[Block] = [
        paragraph("The confirmed configuration, run by ", Code("result/run.sh"), ":")
    ]
    if summary.best is not None:
        changed = wording.differences(summary.best, summary)
        blocks.insert(0, paragraph("What differs from the default: ", Code(changed), "."))
    settings = [f"{name}={value}" for name, value in summary.best_environment]
    blocks.append(Listing((*settings, shlex.join(application.command))))
    if summary.best_build:
        lines = tuple(f"{what}: {line}" for what, line in summary.best_build)
        blocks += [paragraph("Built in ", Code(application.prefix), " by"), Listing(lines)]
    if application.files:
        names = ", ".join(name for name, _ in application.files)
        blocks.append(paragraph("Its files are in ", Code("result/files/"), f": {names}."))
    return blocks


def times(summary: RunSummary, other: str, source: Block) -> Section:
    """What the default and the `other` side took in the confirmation."""
    if not summary.cases:
        words = "What it prints is no time: the gain above is that of its own figure."
        nothing = "Not confirmed yet." if summary.claim is None else words
        return Section("Times", (paragraph(nothing),))
    [case] = summary.cases
    numeric = ("Default", other, "Speed-up", "Interval", "Pairs")
    row: Line = (
        wording.seconds(case.default_s),
        wording.seconds(case.best_s),
        wording.ratio(case.speedup),
        wording.interval(case.low, case.high),
        str(len(case.ratios)),
    )
    return Section(
        "Times",
        (
            source,
            table(numeric, [row], numeric),
            paragraph("Median and interval of the paired ratios; the times are medians."),
            Figure("pairs", "Speed-up of every pair, median and interval."),
        ),
    )


def described(application: ApplicationSummary) -> Block:
    """The card, and what runs by default."""
    rows: list[Line] = [
        ("What", application.title),
        ("Card", Code(application.card)),
        ("Its folder", Code(application.folder)),
        ("Installed in", Code(application.prefix) if application.prefix else wording.NONE),
        (
            "By default",
            Code(shlex.join(application.default)) if application.default else wording.NONE,
        ),
        ("Reads", ", ".join(application.inputs) or wording.NONE),
        ("Written for it", ", ".join(name for name, _ in application.files) or wording.NONE),
    ]
    return table(("Application", "Value"), rows)
