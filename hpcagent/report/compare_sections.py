"""report.md of a comparison, section by section."""

from __future__ import annotations

import shlex

from hpcagent.report import scaling, wording
from hpcagent.report.compare_words import (
    costs,
    count,
    defaults,
    few_nodes,
    headline,
    level_cells,
    sentences,
    side_name,
    tuned,
)
from hpcagent.report.document import Block, Code, Line, Listing, Section, paragraph, table
from hpcagent.study.compare_result import Block as Measured
from hpcagent.study.compare_result import CompareSummary, SideResult
from hpcagent.study.scaling import WEAK


def sections(summary: CompareSummary) -> tuple[Section, ...]:
    if summary.scaling is not None and summary.outcome == "compared":
        first = scaling.sections(summary, tuned(summary))
    else:
        first = (_result(summary), _certainty(summary))
    return (
        *first,
        _sides(summary),
        _blocks(summary),
        _settings(summary),
        _failed(summary),
        _reproduce(summary),
    )


def _result(summary: CompareSummary) -> Section:
    if summary.outcome != "compared":
        return Section("Result", (paragraph(headline(summary)),))
    blocks: list[Block] = [paragraph(words) for words in sentences(summary)]
    blocks += [paragraph("Defaults: ", words) for words in defaults(summary)]
    blocks += [paragraph("Cost: ", words) for words in costs(summary)]
    return Section("Result", tuple(blocks))


def _certainty(summary: CompareSummary) -> Section:
    numeric = ("Speed ratio", "Interval", "Degrees of freedom")
    rows: list[Line] = []
    for pair in summary.results:
        for which, ratio in (("best", pair.best), ("default", pair.default)):
            cells: Line = (wording.NONE,) * 4
            if ratio is not None:
                ends = wording.interval(ratio.low, ratio.high)
                cells = (f"{ratio.ratio:.4g}", ends, str(ratio.degrees), ratio.verdict)
            rows.append((f"{pair.first} over {pair.second}", which, *cells))
    rule = (
        f"Each allocation counts with one number, so the interval holds the spread between "
        f"allocations and nodes. It is Welch's t interval on the logarithms, covers with "
        f"{wording.coverage(summary.coverage)} for its pair alone, and is exact where the "
        f"logarithms are normally distributed. A difference is claimed only where the whole "
        f"interval is beyond {wording.stated(summary.minimum_effect)}."
    )
    columns = (summary.what.capitalize(), "Settings", *numeric, "Verdict")
    notes = [paragraph(f"{words}.") for words in few_nodes(summary)]
    return Section("How sure is it", (table(columns, rows, numeric), paragraph(rule), *notes))


def _sides(summary: CompareSummary) -> Section:
    numeric = (
        "CPUs", "Default", "CV within", "CV between", "Best", "CV within (best)",
        "CV between (best)",
        "Core-hours a thousand runs" if summary.application else "Core-hours a million calls",
    )  # fmt: skip
    many = 1e3 if summary.application else 1e6
    rows: list[Line] = [
        (side.label, side.cpu, str(side.cpus), *level_cells(side), _cost(side, many))
        for side in summary.sides
    ]
    what = "run over its cases" if summary.application else "call over the workload"
    words = (
        f"Seconds are the weighted geometric mean of a {what}. CV is the "
        "coefficient of variation, of processes within a block and of blocks; the core-hours are "
        "those of the best settings."
    )
    columns = (summary.what.capitalize(), "CPU", *numeric)
    return Section("Sides", (table(columns, rows, numeric), paragraph(words)))


def _cost(side: SideResult, many: float) -> str:
    seconds = side.best.seconds
    return wording.NONE if seconds is None else f"{side.cpus * seconds * many / 3600:.3g}"


def _blocks(summary: CompareSummary) -> Section:
    numeric = ("Block", "Default", "CV", "Best", "CV (best)", "Runs")
    rows = [_block(side, block) for side in summary.sides for block in side.blocks]
    columns = (summary.what.capitalize(), "Node", *numeric, "Unit")
    done = paragraph(f"{count(summary)}, {summary.pairs} runs of each configuration in a block.")
    return Section("Blocks", (table(columns, rows, numeric), done) if rows else (done,))


def _block(side: SideResult, block: Measured) -> Line:
    return (
        side.label,
        block.node,
        str(block.number),
        wording.seconds(block.default.seconds),
        wording.percent(block.default.cv),
        wording.seconds(block.best.seconds),
        wording.percent(block.best.cv),
        f"{block.default.runs}, {block.best.runs}",
        Code(f"work/{block.unit}/"),
    )


def _settings(summary: CompareSummary) -> Section:
    rows: list[Line] = [
        (side.label, Code(wording.shorten(side.settings, 300)), side.gain or "nothing was better",
         Code(wording.shorten(side.library, 300)), Code(side.path))
        for side in summary.sides
    ]  # fmt: skip
    columns = (
        summary.what.capitalize(),
        "Best settings",
        "Against its default",
        "Application" if summary.application else "Library",
        "Run",
    )
    return Section("Settings", (table(columns, rows),))


def _failed(summary: CompareSummary) -> Section:
    rows: list[Line] = [(Code(w), Code(wording.said(f))) for w, f in summary.failures]
    if not rows:
        return Section("What failed", (paragraph("Nothing failed."),))
    return Section("What failed", (table(("Where", "Failure and evidence"), rows),))


def _reproduce(summary: CompareSummary) -> Section:
    words = ["hpcagent", summary.kind, *dict.fromkeys(side.path for side in summary.sides)]
    if summary.scaling is not None:
        words += ["--nodes", ",".join(side.label for side in summary.sides)]
        words += ["--weak"] if summary.scaling.kind == WEAK else []
        words += ["--efficiency", f"{summary.scaling.threshold:g}"]
    words += ["--blocks", str(summary.blocks), "--pairs", str(summary.pairs)]
    words += ["--seed", str(summary.seed)]
    order = (
        "In every block each ", side_name(summary, "").strip(), " was measured once, in an "
        "allocation of its own, in an order drawn from the seed and reversed in every other "
        "block. All measured the same workload with the same repeats and inputs. Requests are in ",
        Code("work/<unit>/spec.json"), ", samples in ", Code("work/<unit>/result.jsonl"), ".",
    )  # fmt: skip
    spent = f"{summary.core_hours:.3g} core-hours, {wording.duration(summary.wall_s)}."
    return Section(
        "How it was measured",
        (paragraph(*order), paragraph("Spent: ", spent), Listing((shlex.join(words),))),
    )
