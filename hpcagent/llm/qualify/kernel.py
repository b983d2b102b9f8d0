"""Small kernels: a function that a model writes has to compile and to give the right results.

What a model wrote is only ever built and run by the gate of `hpcagent codegen`, which is not known
here: who knows it gives verdicts. Without them the family is told as not run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from hpcagent.llm.qualify.casefile import Row, rows
from hpcagent.llm.qualify.family import WRONG_FORM, Case, Family, Judged, prompt

NAME = "kernel"
PASSED = ""
LONGEST = 20_000
_TOKENS = 600
_FENCED = re.compile(r"```[A-Za-z0-9+]*[^\S\n]*[A-Za-z0-9_.]*[^\S\n]*\n(.*?)\n?```", re.DOTALL)


class Wanted(Row):
    """`arguments`, `check` and `vary` are those of a task of code generation; `reference` is the
    body of the function in C."""

    name: str
    prototype: str
    text: str
    arguments: list[dict[str, Any]]
    check: list[dict[str, int]]
    vary: dict[str, list[int]]
    reference: str

    @property
    def source(self) -> str:
        """The reference as a whole source."""
        body = "".join(f"    {line}\n" for line in self.reference.splitlines())
        return f'#include "kernel.h"\n\n{self.prototype.rstrip(";")}\n{{\n{body}}}\n'


# Name of a case -> what the gate found wrong with the answer's source; PASSED: nothing.
Verdicts = Mapping[str, str]


def kernels() -> tuple[Wanted, ...]:
    return rows(NAME, Wanted)


def source_in(answer: str) -> str:
    """The first fenced block of an answer; empty where there is none, or a far too long one."""
    match = _FENCED.search(answer.replace("\r\n", "\n"))
    found = match.group(1) if match else ""
    if not found.strip() or len(found) > LONGEST:
        return ""
    return found.encode("utf-8", "replace").decode("utf-8") + "\n"


def family(verdicts: Verdicts | None = None, why_not: str = "") -> Family:
    """The family, judged by `verdicts`; `why_not` says why it could not be run.

    Every answer that has a source needs a verdict: KeyError where one is missing.
    """
    told = verdicts or {}
    return Family(
        name=NAME,
        title="small kernels in C",
        role="codegen",
        chance=0.0,
        chance_words="a text at random does not compile",
        needed=0.6,
        counted=True,
        cases=lambda: tuple(_case(row, told) for row in kernels()),
        why_not=why_not,
    )


def _case(row: Wanted, verdicts: Verdicts) -> Case:
    text = prompt(NAME, {"prototype": row.prototype, "text": row.text})

    def judged(answer: str) -> Judged:
        if not source_in(answer):
            return WRONG_FORM
        wrong = verdicts[row.name]
        return Judged(float(wrong == PASSED), True, wrong)

    return Case(row.name, text, judged, max_tokens=_TOKENS)
