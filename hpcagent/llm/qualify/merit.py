"""Figures of merit: a regular expression made from one output has to find the figure in others."""

from __future__ import annotations

import json
from functools import cache

from hpcagent import regexes
from hpcagent.errors import UsageError
from hpcagent.llm.qualify.casefile import Row, rows
from hpcagent.llm.qualify.family import WRONG_FORM, Case, Family, Judged, prompt

_LONGEST = 160
_SCHEMA = {
    "type": "object",
    "properties": {"regex": {"type": "string", "maxLength": _LONGEST}},
}


class Output(Row):
    name: str
    wanted: str
    output: str
    figure: str
    unseen: str
    unseen_figure: str


def outputs() -> tuple[Output, ...]:
    return rows("merit", Output)


@cache
def _cases() -> tuple[Case, ...]:
    return tuple(_case(row) for row in outputs())


def _case(row: Output) -> Case:
    text = prompt("merit", {"output": row.output, "wanted": row.wanted, "figure": row.figure})
    return Case(row.name, text, lambda answer: judge(row, answer), schema=_SCHEMA,
                max_tokens=_LONGEST + 16)  # fmt: skip


def judge(row: Output, answer: str) -> Judged:
    """1 where the expression finds the right figure in both outputs."""
    pattern = _pattern(answer)
    if pattern is None:
        return WRONG_FORM
    try:
        found = regexes.compiled(f"(?m){pattern}", row.name)
    except UsageError:
        return Judged(0.0, False, "no regular expression of RE2")
    if found.groups != 1:
        return Judged(0.0, False, f"{found.groups} groups, not one")
    for text, figure, which in (
        (row.output, row.figure, "output shown"), (row.unseen, row.unseen_figure, "unseen one"),
    ):  # fmt: skip
        match = found.search(text.encode())
        got = "nothing" if match is None else (match.group(1) or b"").decode(errors="replace")
        if got != figure:
            return Judged(0.0, True, f"finds {got[:30]!r} in the {which}, not {figure!r}")
    return Judged(1.0, True)


def _pattern(answer: str) -> str | None:
    try:
        found = json.loads(answer)
    except ValueError:
        return None
    pattern = found.get("regex") if isinstance(found, dict) else None
    return pattern if isinstance(pattern, str) and 0 < len(pattern) <= _LONGEST else None


FAMILY = Family(
    name="merit",
    title="expressions for figures of merit",
    role="manager",
    chance=0.0,
    chance_words="an expression at random finds nothing",
    needed=0.7,
    counted=True,
    cases=_cases,
)
