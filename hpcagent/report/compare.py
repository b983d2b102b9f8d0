"""The result of a comparison: for a terminal, and as report.md."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from hpcagent.report import html, scaling, wording
from hpcagent.report.columns import Column, labelled, laid_out, wrapped
from hpcagent.report.compare_sections import sections
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
from hpcagent.report.markdown import page
from hpcagent.report.scaling_figure import scaling_figures
from hpcagent.report.write import write_text
from hpcagent.study.compare_result import CompareSummary, SideResult, summarise_comparison
from hpcagent.study.rundir import RunDir
from hpcagent.study.scaling import Scaling
from hpcagent.study.state import TuneState

_WIDEST, _NARROWEST = 80, 40
_LABEL_COLUMNS = 20

__all__ = ["headline", "publish_comparison", "terminal"]


def publish_comparison(run: RunDir, state: TuneState) -> None:
    """Write result/report.md, of a scaling study also report.html and its figure;
    EnvironmentProblem where the disk is full."""
    summary = summarise_comparison(run, state)
    noun = "scaling" if summary.scaling is not None else "comparison"
    title, parts = f"{summary.app}: {noun} {summary.run_id}", sections(summary)
    drawn = {} if summary.scaling is None else scaling_figures(summary.scaling, tuned(summary))
    paths = {name: f"figures/{name}.svg" for name in drawn}
    for name, text in drawn.items():
        write_text(run.result / paths[name], text)
    write_text(run.result / "report.md", page(title, parts, paths))
    if summary.scaling is not None:
        box = {"tone": "plain", "number": summary.outcome, "note": headline(summary)}
        foot = f"hpcagent {summary.version}, run {summary.run_id}"
        write_text(run.result / "report.html", html.document(title, box, foot, parts, drawn))


def terminal(summary: CompareSummary, width: int, folder: str) -> str:
    """The result in lines of at most `width` columns, and never more than 80."""
    columns = max(_NARROWEST, min(width, _WIDEST))
    parts = [
        _head(summary, columns),
        _sides(summary, columns),
        _blocks(summary, columns),
        _facts(summary, columns, folder),
    ]
    return "\n\n".join("\n".join(lines) for lines in parts if lines) + "\n"


def _head(summary: CompareSummary, columns: int) -> list[str]:
    told = sentences(summary) if summary.outcome == "compared" else (headline(summary),)
    return [line for words in told for line in wrapped(words, columns)]


def _sides(summary: CompareSummary, columns: int) -> list[str]:
    sides = [side for side in summary.sides if side.blocks]
    if not sides:
        return []
    if summary.scaling is not None:
        return _scaling(summary.scaling, tuned(summary), columns)
    levels = [level_cells(side) for side in sides]
    titles = ("default", "CV in", "between", "best", "CV in", "between")
    ranks = (3, 4, 5, 0, 1, 2)
    shown = [
        Column(summary.what, tuple(_label(side) for side in sides), 0),
        Column("CPUs", tuple(str(side.cpus) for side in sides), 6),
    ]
    for place, (title, rank) in enumerate(zip(titles, ranks, strict=True)):
        shown.append(Column(title, tuple(level[place] for level in levels), rank))
    return laid_out(shown if tuned(summary) else shown[:-3], columns)


def _scaling(found: Scaling, several: bool, columns: int) -> list[str]:
    lines = laid_out(scaling.columns(found.tuned), columns)
    if not several:
        return lines
    default = laid_out(scaling.columns(found.default), columns)
    return [*lines, "", "with the default settings", *default]


def _blocks(summary: CompareSummary, columns: int) -> list[str]:
    rows = [
        (_label(side), str(block.number), wording.visible(block.node) or wording.NONE,
         wording.seconds(block.default.seconds), wording.percent(block.default.cv, 2),
         wording.seconds(block.best.seconds), wording.percent(block.best.cv, 2))
        for side in summary.sides
        for block in side.blocks
    ]  # fmt: skip
    if not rows:
        return []
    titles = (summary.what, "block", "node", "default", "CV", "best", "CV")
    ranks = (0, 1, 2, 4, 6, 3, 5)
    cells = zip(*rows, strict=True)
    shown = [Column(t, tuple(c), r) for t, c, r in zip(titles, cells, ranks, strict=True)]
    return laid_out(shown if tuned(summary) else shown[:-2], columns)


def _label(side: SideResult) -> str:
    return wording.middle(wording.visible(side.label), _LABEL_COLUMNS)


def _facts(summary: CompareSummary, columns: int, folder: str) -> list[str]:
    settings = [f"{side_name(summary, side.label)}: {side.settings}" for side in summary.sides]
    lines = _listed("Defaults", defaults(summary), columns)
    lines += _listed("Cost", costs(summary), columns)
    lines += _listed("Settings", [wording.shorten(words, 300) for words in settings], columns)
    lines += _listed("Note", few_nodes(summary), columns)
    failed = [f"{where}: {wording.said(failure)}" for where, failure in summary.failures]
    lines += _listed("Failed", failed, columns)
    lines += labelled("Measured", _measured(summary), columns)
    lines += labelled("Spent", _spent(summary), columns)
    lines += labelled("In", folder, columns)
    if summary.outcome == "":
        again = shlex.quote(folder)
        return lines + labelled("Next", f"hpcagent resume {again}", columns)
    page = "report.html" if summary.scaling is not None else "report.md"
    return lines + labelled("Report", f"result/{page}", columns)


def _listed(label: str, told: Sequence[str], columns: int) -> list[str]:
    lines: list[str] = []
    for place, words in enumerate(told):
        lines += labelled(label if place == 0 else "", words, columns)
    return lines


def _measured(summary: CompareSummary) -> str:
    what = "a call over the workload" if not summary.application else "a run"
    return (
        f"times are geometric means of {what} "
        f"({wording.visible(summary.workload_source)}), {summary.pairs} runs a block; "
        f"{count(summary)}"
    )


def _spent(summary: CompareSummary) -> str:
    return f"{summary.core_hours:.3g} core-hours, {wording.duration(summary.wall_s)}"
