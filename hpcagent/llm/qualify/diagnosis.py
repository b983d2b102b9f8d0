"""Diagnosis: the filtered log of a failure, and of six causes the one that it shows."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from hpcagent.llm.qualify.casefile import Row, document, rows
from hpcagent.llm.qualify.family import LABELS, Case, Family, one_of, prompt, rotated

_CAUSES = 6


class Failed(Row):
    id: str
    others: list[str]
    shown: str


def failures() -> tuple[Failed, ...]:
    return rows("diagnosis", Failed)


def meanings() -> dict[str, str]:
    found: dict[str, str] = document("diagnosis").data["meanings"]
    return found


@cache
def _cases() -> tuple[Case, ...]:
    told = meanings()
    return tuple(_case(place, row, told) for place, row in enumerate(failures()))


def _case(place: int, row: Failed, told: Mapping[str, str]) -> Case:
    order = rotated(row.id, list(row.others), place)
    labels = tuple(LABELS[: len(order)])
    right = labels[order.index(row.id)]
    menu = [f"{label}: {told[name]}" for label, name in zip(labels, order, strict=True)]
    text = prompt("diagnosis", {"log": row.shown.rstrip(), "menu": menu})
    return Case(row.id, text, one_of(right, labels), labels, outcomes=_blind(len(labels)))


def _blind(count: int) -> tuple[float, ...]:
    return (1.0, *[0.0] * (count - 1))


FAMILY = Family(
    name="diagnosis",
    title="diagnosis of failures",
    role="debug",
    chance=1 / _CAUSES,
    chance_words="one of six causes, at random",
    needed=0.7,
    counted=True,
    cases=_cases,
)
