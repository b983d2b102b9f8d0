"""A code generation for a terminal."""

from __future__ import annotations

from hpcagent.codegen.tree import CHECKER, REFERENCE
from hpcagent.report import codegen_words as words
from hpcagent.report import wording
from hpcagent.report.columns import columns_of, labelled, wrapped
from hpcagent.study.codegen_summary import AttemptSummary, CodegenSummary

_EVIDENCE_LINES = 4
_WIDTH = 400
_NAME = 26


def codegen_lines(summary: CodegenSummary, columns: int) -> list[str]:
    """The tree with what became of each attempt, the result, and the walls that were missing."""
    what = f"{summary.function} in {summary.language}, {summary.parallel}"
    lines = labelled("Task", f"{summary.task}: {what}", columns)
    lines += labelled("Built with", summary.tools, columns) if summary.tools else []
    lines += ["", *tree_lines(summary, columns), ""]
    claimed = words.claimed(summary)
    if claimed and summary.claim is not None:
        lines += labelled("Best", claimed, columns)
        lines += labelled("Note", summary.claim.note, columns) if summary.claim.note else []
    lines += _walls(summary, columns)
    return lines + (labelled("No counters", summary.counters, columns) if summary.counters else [])


def tree_lines(summary: CodegenSummary, columns: int, evidence: bool = True) -> list[str]:
    """The attempts, each below the one that it came from; with the beginning of the evidence."""
    lines: list[str] = []
    for attempt, level in words.ordered(summary.attempts):
        lines += _attempt(summary, attempt, level, columns, evidence)
    return lines


def _walls(summary: CodegenSummary, columns: int) -> list[str]:
    missing = {name: why for name, why in summary.walls.items() if why}
    lines: list[str] = []
    for name, why in missing.items():
        lines += labelled("No wall", f"{name.replace('_', ' ')}: {why}", columns)
    if summary.walls and not missing:
        stood = "no network, private processes and files, read-only system, limits: all stood"
        lines += labelled("Walls", stood, columns)
    return lines


def _attempt(
    summary: CodegenSummary, attempt: AttemptSummary, level: int, columns: int, evidence: bool
) -> list[str]:
    number = "    " if attempt.operation in (REFERENCE, CHECKER) else f"{attempt.number:>3} "
    best = "*" if attempt.number in summary.path else " "
    room = _NAME - min(2 * level, _NAME // 2)
    name = wording.middle(wording.visible(words.name(attempt)), room)
    head = " " * (_NAME - room) + name
    pad = " " * max(0, _NAME - columns_of(head))
    lines = _hanging(f"{number}{best}{head}{pad} {words.ended(summary, attempt)}", columns)
    if evidence and attempt.failure is not None:
        for text in attempt.evidence.strip().splitlines()[:_EVIDENCE_LINES]:
            lines += [f"{' ' * 8}{piece}" for piece in wrapped(text[:_WIDTH].strip(), columns - 8)]
    return lines


def _hanging(line: str, columns: int) -> list[str]:
    """One line where it fits; else what does not fit stands indented below."""
    if columns_of(line) <= columns:
        return [line]
    head, _, rest = line.rpartition("  ")
    if columns_of(head.rstrip()) > columns:
        head, rest = line[: _NAME + 5], line[_NAME + 5 :].strip()
    return [head.rstrip(), *(f"{' ' * 8}{piece}" for piece in wrapped(rest, columns - 8))]
