"""A build in words: where it is and how to use it, or why there is none."""

from __future__ import annotations

import shlex

from hpcagent.report import wording
from hpcagent.report.columns import labelled, wrapped
from hpcagent.study.build_summary import BuildSummary

_STATES = {"built": "Built", "found": "Found", "failed": "Failed", "open": "Not yet"}


def build_lines(build: BuildSummary, columns: int, folder: str) -> list[str]:
    """Lines of at most `columns`; `folder` is the run's, in which the logs are."""
    if build.failure is not None:
        lines = labelled("Failed", wording.said(build.failure), columns)
        lines += labelled("Means", build.meaning, columns) if build.meaning else []
        lines += labelled("Cure", build.cure, columns) if build.cure else []
    elif build.state == "found":
        words = f"{build.prefix} (nothing had to be built: all inputs are the same)"
        lines = labelled("Found", words, columns)
    else:
        lines = labelled(_STATES[build.state], build.prefix or "the node is asked first", columns)
    for words in build.repairs:
        lines += labelled("Repaired", words, columns)
    lines += labelled("No repair", build.gave_up, columns) if build.gave_up else []
    lines += _inputs(build, columns)
    if build.log and build.unit:
        lines += labelled("Log", f"{folder}/work/{build.unit}/{build.log}", columns)
    if build.state in ("built", "found"):
        lines += _use(build, columns)
    return lines


def parameters_text(rows: list[tuple[str, str, tuple[str, ...], str]], columns: int) -> list[str]:
    """Each parameter as (name, meaning, values, default); the default stands in brackets."""
    lines: list[str] = []
    for name, meaning, values, default in rows:
        shown = " ".join(f"[{value}]" if value == default else value for value in values)
        lines += wrapped(f"{name}: {meaning}", columns)
        lines += ["   " + line for line in wrapped(shown, columns - 3)]
    return lines


def _inputs(build: BuildSummary, columns: int) -> list[str]:
    if not build.digest:
        return []
    title = f"{build.name} {build.version} from {build.source}, SHA-256 {build.sha256[:16]}..."
    lines = labelled("Source", title, columns)
    lines += labelled("Compiler", ", ".join(build.compilers), columns)
    if build.modules:
        lines += labelled("Modules", " ".join(build.modules), columns)
    words = " ".join(f"{name}={value}" for name, value in build.parameters.items())
    lines += labelled("Parameters", words, columns)
    for note in build.notes:
        lines += labelled("Note", note, columns)
    return lines


def _use(build: BuildSummary, columns: int) -> list[str]:
    lines = []
    if build.seconds.get("build"):
        lines += labelled("Took", wording.duration(sum(build.seconds.values())), columns)
    prefix = shlex.quote(build.prefix)
    lines += labelled("Use", f"module use {prefix}/modulefiles-lua (Tcl: modulefiles-tcl)", columns)
    lines += labelled("", f"module load {build.name}/{build.version}", columns)
    lines += labelled("Manifest", f"{build.prefix}/manifest.json", columns)
    if build.name == "openblas":
        lines += labelled(
            "Next", f"hpcagent tune --lib openblas --openblas-prefix {prefix}", columns
        )
    return lines
