"""Recall and precision of named causes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from planted.case import Case, Made
from planted.expected import right

from hpcagent.toolchain.diagnosis import Found, diagnose
from hpcagent.toolchain.repairs import MIN_CONFIDENCE


@dataclass(frozen=True)
class Scored:
    """`right`: ids that name what was planted (none: nothing failed); `named`: ranked causes;
    `acted_on`: the first has a repair that a loop would try."""

    name: str
    stage: str
    right: frozenset[str]
    named: tuple[str, ...]
    acted_on: bool = False

    def found(self, depth: int) -> bool:
        return not self.right.isdisjoint(self.named[:depth])

    def told(self) -> str:
        return f"{self.name}: {', '.join(self.named[:3]) or 'nothing'}"


@dataclass(frozen=True)
class Figures:
    count: int
    first: int
    among_three: int
    named: int

    @property
    def recall(self) -> float:
        return self.first / self.count if self.count else 1.0

    @property
    def precision(self) -> float:
        """Of the logs for which a cause was named, the share whose first cause is right."""
        return self.first / self.named if self.named else 1.0


def score(
    cases: Iterable[Case], logs: Mapping[str, Made], exit_codes: bool = False
) -> list[Scored]:
    """Every log that is there; the diagnosis sees the log alone unless `exit_codes`."""
    rows = []
    for case in cases:
        if case.name in logs:
            made = logs[case.name]
            causes = diagnose(made.log, made.exit if exit_codes else None).causes
            named = tuple(cause.id for cause in causes)
            acted = bool(causes) and _would_be_acted_on(causes[0])
            rows.append(Scored(case.name, case.stage, right(case.kind), named, acted))
    return rows


def _would_be_acted_on(cause: Found) -> bool:
    return cause.repair is not None and cause.confidence >= MIN_CONFIDENCE


def figures(scored: Iterable[Scored]) -> Figures:
    """Successful logs count towards precision only."""
    rows = list(scored)
    failures = [row for row in rows if row.right]
    return Figures(
        count=len(failures),
        first=sum(row.found(1) for row in failures),
        among_three=sum(row.found(3) for row in failures),
        named=sum(bool(row.named) for row in rows),
    )
