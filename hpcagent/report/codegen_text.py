"""A code generation for a terminal, and as Markdown with the sources and the evidence."""

from __future__ import annotations

from collections.abc import Sequence

from hpcagent.codegen.tree import CHECKER, REFERENCE
from hpcagent.report.columns import labelled, wrapped
from hpcagent.study.codegen_summary import AttemptSummary, CodegenSummary

_EVIDENCE_LINES = 4
_WIDTH = 400


def codegen_lines(summary: CodegenSummary, columns: int) -> list[str]:
    """The tree with what became of each attempt, the result, and the walls that were missing."""
    what = f"{summary.function} in {summary.language}, {summary.parallel}"
    lines = labelled("Task", f"{summary.task}: {what}", columns)
    lines += labelled("Built with", summary.tools, columns) if summary.tools else []
    lines += [""]
    for attempt, level in _ordered(summary.attempts):
        lines += _attempt(summary, attempt, level, columns)
    lines += [""]
    claim = summary.claim
    if claim is not None and summary.best is not None:
        words = (
            f"{summary.attempts[summary.best].label}: {claim.speedup:.3f}x {summary.baseline} "
            f"({100 * claim.coverage:.2f} % interval {claim.low:.3f} to {claim.high:.3f}, "
            f"{claim.pairs} fresh pairs)"
        )
        lines += labelled("Best", words, columns)
        lines += labelled("Note", claim.note, columns) if claim.note else []
    missing = {name: why for name, why in summary.walls.items() if why}
    for name, why in missing.items():
        lines += labelled("No wall", f"{name.replace('_', ' ')}: {why}", columns)
    if summary.walls and not missing:
        words = "no network, private processes and files, read-only system, limits: all stood"
        lines += labelled("Walls", words, columns)
    return lines


def _ordered(attempts: Sequence[AttemptSummary]) -> list[tuple[AttemptSummary, int]]:
    """Parents before their children, with the depth of each."""
    found: list[tuple[AttemptSummary, int]] = []

    def visit(parent: int | None, level: int) -> None:
        for attempt in attempts:
            if attempt.parent == parent:
                found.append((attempt, level))
                visit(attempt.number, level + 1)

    visit(None, 0)
    return found


def _attempt(
    summary: CodegenSummary, attempt: AttemptSummary, level: int, columns: int
) -> list[str]:
    number = "    " if attempt.operation in (REFERENCE, CHECKER) else f"{attempt.number:>3} "
    name = (
        attempt.label if attempt.operation in (REFERENCE, CHECKER, "given") else attempt.operation
    )
    head = "  " * level + name
    line = f"{number}{head:<26.26} {_ended(summary, attempt)}"
    lines = _hanging(line, columns)
    if attempt.failure is not None:
        evidence = attempt.failure.evidence.strip().splitlines()[:_EVIDENCE_LINES]
        for text in evidence:
            lines += [f"{' ' * 8}{piece}" for piece in wrapped(text[:_WIDTH].strip(), columns - 8)]
    return lines


def _hanging(line: str, columns: int) -> list[str]:
    """One line where it fits; else what does not fit stands indented below."""
    if len(line) <= columns:
        return [line]
    head, _, rest = line.rpartition("  ")
    return [head.rstrip(), *(f"{' ' * 8}{piece}" for piece in wrapped(rest, columns - 8))]


def _ended(summary: CodegenSummary, attempt: AttemptSummary) -> str:
    if attempt.failure is not None:
        word = "refused" if attempt.failure.stage == "gate" else "failed"
        return f"{word}  {attempt.failure.id}"
    if attempt.speedup is None:
        if attempt.operation == CHECKER:
            return "under way" if attempt.state == "open" else "passed its own test"
        return {"open": "under way", "checked": "passed, not measured"}.get(attempt.state, "passed")
    rates = ", ".join(f"{name} {_figure(rate)}" for name, rate in attempt.rates.items())
    spread = f" +-{100 * attempt.spread:.1f} %" if attempt.spread is not None else ""
    return f"{attempt.speedup:6.3f}x{spread}  {rates} {summary.unit}".rstrip()


def _figure(value: float) -> str:
    return f"{value:.4g}"


def codegen_markdown(summary: CodegenSummary, headline: str) -> str:
    """The whole tree with sources and evidence."""
    parts = [f"# {summary.task}", headline, "", "```", *codegen_lines(summary, 80), "```", ""]
    for attempt in summary.attempts:
        parts += [f"## Attempt {attempt.number}: {attempt.label}", ""]
        parts += [f"{attempt.operation}: {attempt.reason}", ""] if attempt.reason else []
        parts += [f"Ended: {_ended(summary, attempt)}, after {attempt.seconds:.1f} s.", ""]
        if attempt.worst is not None:
            how = "instrumented and as measured" if attempt.instrumented else "as measured"
            words = f"Largest error: {attempt.worst:.3g} of what is allowed; checked {how}."
            parts += [words, ""]
        if attempt.failure is not None:
            parts += [*_fenced("", attempt.failure.evidence), ""]
        if attempt.parameters:
            chosen = " ".join(f"{name}={value}" for name, value in attempt.parameters.items())
            parts += [f"Build parameters: {chosen}", ""]
        for name, text in sorted(attempt.files.items()):
            parts += [f"{name}:", "", *_fenced(name.rpartition(".")[2], text), ""]
    return "\n".join(parts).rstrip() + "\n"


def _fenced(language: str, text: str) -> list[str]:
    """A block whose fence is longer than any within."""
    fence = "```"
    while fence in text:
        fence += "`"
    return [fence + language, text.rstrip("\n"), fence]
