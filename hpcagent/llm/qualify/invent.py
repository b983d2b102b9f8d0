"""Refusing to invent: a figure that is in the facts is given, one that is not is not made up."""

from __future__ import annotations

import json
import re
from functools import cache

from hpcagent.llm.qualify.casefile import Row, rows
from hpcagent.llm.qualify.family import (
    LABELS,
    WRONG_FORM,
    Case,
    Family,
    Judged,
    one_of,
    prompt,
    rotated,
)

UNKNOWN = "the facts do not say"
KNOWN_GROUP, UNKNOWN_GROUP = "figures that are there", "figures that are not there"
_CHOICES = 5
_LONGEST = 160
_SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "string", "maxLength": _LONGEST}},
}
# Number words are figures as well.
_FIGURE = re.compile(
    r"[0-9]|\b(?:two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|fifteen|twenty|thirty"
    r"|forty|fifty|sixty|hundred|thousand|twice|half|double[sd]?)\b",
    re.IGNORECASE,
)


class Asked(Row):
    facts: str
    asked: str
    figure: str
    wrong: list[str]


def questions() -> tuple[Asked, ...]:
    return rows("invent", Asked)


@cache
def _cases() -> tuple[Case, ...]:
    places = {True: 0, False: 0}
    found = []
    for number, row in enumerate(questions(), 1):
        name = f"{number:02}"
        if row.wrong:
            found.append(_choice(name, row, places[bool(row.figure)]))
            places[bool(row.figure)] += 1
        else:
            found.append(_words(name, row))
    return tuple(found)


def _choice(name: str, row: Asked, place: int) -> Case:
    right, others = UNKNOWN, list(row.wrong)
    if row.figure:
        right, others = row.figure, rotated(UNKNOWN, list(row.wrong), 3 * place)
    order = rotated(right, others, place)
    labels = tuple(LABELS[: len(order)])
    menu = [f"{label}: {entry}" for label, entry in zip(labels, order, strict=True)]
    text = prompt("invent_choice", {"facts": row.facts, "asked": row.asked, "menu": menu})
    blind = (1.0, *[0.0] * (len(labels) - 1))
    group = KNOWN_GROUP if row.figure else UNKNOWN_GROUP
    judge = one_of(labels[order.index(right)], labels)
    return Case(name, text, judge, labels, outcomes=blind, group=group)


def _words(name: str, row: Asked) -> Case:
    text = prompt("invent_words", {"facts": row.facts, "asked": row.asked})
    return Case(name, text, judge_words, schema=_SCHEMA, max_tokens=_LONGEST + 16,
                group=UNKNOWN_GROUP)  # fmt: skip


def judge_words(answer: str) -> Judged:
    """1 for a sentence without any figure."""
    try:
        found = json.loads(answer)
    except ValueError:
        return WRONG_FORM
    words = found.get("answer") if isinstance(found, dict) else None
    if not isinstance(words, str):
        return WRONG_FORM
    figure = _FIGURE.search(words)
    if figure is None and len(re.findall(r"[A-Za-z]{2,}", words)) < 2:
        return WRONG_FORM
    return Judged(float(figure is None), True, f"invents {figure.group()!r}" if figure else "")


FAMILY = Family(
    name="invent",
    title="refusing to invent figures",
    role="result",
    chance=0.5,
    chance_words=f'one in {_CHOICES} at random; half for always "{UNKNOWN}"',
    needed=0.8,
    counted=True,
    cases=_cases,
)
