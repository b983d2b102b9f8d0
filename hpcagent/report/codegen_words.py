"""Words that the report of a code generation says in each of its forms."""

from __future__ import annotations

from collections.abc import Sequence

from hpcagent.codegen.tree import CHECKER, GIVEN, REFERENCE
from hpcagent.report import wording
from hpcagent.study.codegen_summary import AttemptSummary, CodegenSummary

GATE = "gate"


def ordered(attempts: Sequence[AttemptSummary]) -> list[tuple[AttemptSummary, int]]:
    """Parents before their children, with the depth of each."""
    children: dict[int | None, list[AttemptSummary]] = {}
    for attempt in attempts:
        children.setdefault(attempt.parent, []).append(attempt)
    found: list[tuple[AttemptSummary, int]] = []
    open_ = [(attempt, 0) for attempt in reversed(children.get(None, []))]
    while open_:
        attempt, level = open_.pop()
        found.append((attempt, level))
        below = children.get(attempt.number, [])
        open_ += [(child, level + 1) for child in reversed(below) if child is not attempt]
    return found


def name(attempt: AttemptSummary) -> str:
    """What an attempt is called in the tree."""
    return attempt.label if attempt.operation in (REFERENCE, CHECKER, GIVEN) else attempt.operation


def refused(attempt: AttemptSummary) -> bool:
    """Whether the gate refused it for what it tried, rather than for a fault."""
    return attempt.failure is not None and attempt.failure.stage == GATE


def verdict(attempt: AttemptSummary) -> str:
    """What became of it, without figures."""
    if attempt.failure is not None:
        return f"{'refused' if refused(attempt) else 'failed'}: {attempt.failure.id}"
    if attempt.speedup is not None:
        return f"{attempt.speedup:.3f}x"
    if attempt.operation == CHECKER and attempt.state == "checked":
        return "passed its own test"
    return {"open": "under way", "checked": "passed, not measured"}.get(attempt.state, "passed")


def ended(summary: CodegenSummary, attempt: AttemptSummary) -> str:
    """What became of it, with its figures, for a line of the tree."""
    if attempt.failure is not None:
        return f"{'refused' if refused(attempt) else 'failed'}  {attempt.failure.id}"
    if attempt.speedup is None:
        return verdict(attempt)
    spread = f" +-{100 * attempt.spread:.1f} %" if attempt.spread is not None else ""
    rates = ", ".join(rate(attempt, case) for case in attempt.rates)
    figures = f"  {rates} {summary.unit}" if rates else ""
    return f"{attempt.speedup:6.3f}x{spread}{figures}"


def rate(attempt: AttemptSummary, case: str) -> str:
    """The figure of a case, and its share of what the node can do."""
    share = f" ({percent(attempt.shares[case])} of peak)" if case in attempt.shares else ""
    return f"{case} {attempt.rates[case]:.4g}{share}"


def percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def claimed(summary: CodegenSummary) -> str:
    """What fresh pairs say of the best; empty without a confirmation."""
    claim = summary.claim
    if claim is None or summary.best is None:
        return ""
    return (
        f"{summary.attempts[summary.best].label}: {wording.ratio(claim.speedup)} "
        f"{summary.baseline} "
        f"({wording.coverage(claim.coverage)} interval {wording.interval(claim.low, claim.high)}, "
        f"{wording.plural(claim.pairs, 'fresh pair')})"
    )


def counters(summary: CodegenSummary) -> str:
    """Why the evidence holds no hardware counters; empty where nobody has tried yet."""
    if not summary.counters:
        return ""
    return f"hardware counters cannot be read on this node ({summary.counters})"
