"""Writes the report of a code generation: each file complete or not there at all."""

from __future__ import annotations

from hpcagent.report import html, markdown
from hpcagent.report.codegen_figures import codegen_figures
from hpcagent.report.codegen_sections import box, sections
from hpcagent.report.write import write_text
from hpcagent.study.codegen_summary import CodegenSummary
from hpcagent.study.rundir import RunDir


def write_codegen(run: RunDir, summary: CodegenSummary, outcome: str, headline: str) -> None:
    """report.md, report.html, figures/*.svg, and the best attempt's sources in best/.

    Raises EnvironmentProblem where a file cannot be written.
    """
    drawn = codegen_figures(summary)
    for name, svg in drawn.items():
        write_text(run.result / "figures" / f"{name}.svg", svg)
    title = f"{summary.task}: code generation {run.id}"
    parts = sections(summary, headline)
    paths = {name: f"figures/{name}.svg" for name in drawn}
    write_text(run.result / "report.md", markdown.page(title, parts, paths))
    foot = f"hpcagent {run.version}, run {run.id}"
    page = html.document(title, box(summary, outcome), foot, parts, drawn)
    write_text(run.result / "report.html", page)
    if summary.best is not None:
        for name, text in summary.attempts[summary.best].files.items():
            write_text(run.result / "best" / name, text)
