"""Small kernels: a function that a model writes has to compile and to give the right results.

What a model wrote is only ever run in the quarantine of `hpcagent codegen`. Until it is given as a
`Bench` the family is told as not run; its tasks are here.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from hpcagent.llm.qualify.casefile import Row, rows
from hpcagent.llm.qualify.family import WRONG_FORM, Case, Family, Judged, prompt

NEEDS = "the quarantine of hpcagent codegen, in which alone code of a model is run"
LONGEST = 20_000
_TOKENS = 600
_FENCED = re.compile(r"```[A-Za-z0-9+]*[ \t]*\n(.*?)\n?```", re.DOTALL)


class Wanted(Row):
    name: str
    prototype: str
    text: str
    check: str


# (the function's source, what was wanted) -> what is wrong, in words; empty: nothing.
Bench = Callable[[str, Wanted], str]


def kernels() -> tuple[Wanted, ...]:
    return rows("kernel", Wanted)


def check_program(row: Wanted, word: str) -> str:
    """A program that is linked with the function; it prints `word` where that is right.

    The function cannot know the word, so it cannot end the program as if all were well.
    """
    body = "".join(f"    {line}\n" for line in row.check.splitlines())
    return (
        f"#include <math.h>\n#include <stdio.h>\n\n{row.prototype}\n\n"
        "static int near(double x, double y)\n{\n"
        "    return fabs(x - y) <= 1e-12 * (1.0 + fabs(y));\n}\n\n"
        f"static int wrong(void)\n{{\n{body}}}\n\n"
        f'int main(void)\n{{\n    return wrong() || puts("{word}") < 0;\n}}\n'
    )


def source_in(answer: str) -> str:
    """The first fenced block of an answer; empty where there is none, or a far too long one."""
    match = _FENCED.search(answer)
    found = match.group(1) if match else ""
    return found if len(found) <= LONGEST else ""


def judge(row: Wanted, answer: str, bench: Bench) -> Judged:
    source = source_in(answer)
    if not source.strip():
        return WRONG_FORM
    wrong = bench(source + "\n", row)
    return Judged(float(not wrong), True, wrong)


def family(bench: Bench | None) -> Family:
    """The family, run with `bench`, or told as not run where there is none."""

    def cases() -> tuple[Case, ...]:
        return tuple(_case(row, bench) for row in kernels())

    return Family(
        name="kernel",
        title="small kernels in C",
        role="codegen",
        chance=0.0,
        chance_words="a text at random does not compile",
        needed=0.6,
        counted=True,
        cases=cases,
        needs="" if bench else NEEDS,
    )


def _case(row: Wanted, bench: Bench | None) -> Case:
    text = prompt("kernel", {"prototype": row.prototype, "text": row.text})

    def judged(answer: str) -> Judged:
        return judge(row, answer, bench) if bench else Judged(0.0, False, f"not run: needs {NEEDS}")

    return Case(row.name, text, judged, max_tokens=_TOKENS)
