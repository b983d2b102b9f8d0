"""Writes a run's report: each file complete or not there at all."""

from __future__ import annotations

from pathlib import Path

from hpcagent.errors import EnvironmentProblem
from hpcagent.report import figures, html, markdown
from hpcagent.study.durable import write_atomic
from hpcagent.study.summary import RunSummary


def write_report(summary: RunSummary, folder: Path) -> tuple[Path, ...]:
    """Write figures/*.svg, report.md and report.html into `folder`; the paths written.

    Raises EnvironmentProblem where a file cannot be written (full disk, no permission).
    """
    drawn = figures.figures(summary)
    paths = {name: f"figures/{name}.svg" for name in drawn}
    texts = {folder / paths[name]: svg for name, svg in drawn.items()}
    texts[folder / "report.md"] = markdown.markdown(summary, paths)
    texts[folder / "report.html"] = html.page(summary, drawn)
    for path, text in texts.items():
        write_text(path, text)
    return tuple(texts)


def write_text(path: Path, text: str) -> None:
    """Put a file in place in one step; its mode follows the user's umask, as it is to be shared."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, text.encode("utf-8"), shared=True)
    except OSError as error:
        raise EnvironmentProblem(
            f"cannot write {path}: {error.strerror or error}; make room or name a writable "
            "directory, then ask for the report again: nothing measured is lost"
        ) from None
