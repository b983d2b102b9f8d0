"""The run of a qualification: every case that has no answer yet is asked, one after another."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hpcagent.errors import EnvironmentProblem
from hpcagent.llm.qualify import diagnosis, invent, kernel, menu, merit
from hpcagent.llm.qualify.answers import Answers
from hpcagent.llm.qualify.ask import Answer, ask
from hpcagent.llm.qualify.family import Family
from hpcagent.protocols import LanguageModel

NAMES = ("menu", "diagnosis", "merit", "kernel", "invent")

# (the answer, its number among the cases of its family, their count)
Told = Callable[[Answer, int, int], None]


def families(only: Sequence[str] = (), without: Sequence[str] = ()) -> tuple[Family, ...]:
    """Those named, all without a name, but for those of `without`."""
    everything = (menu.FAMILY, diagnosis.FAMILY, merit.FAMILY, kernel.family(), invent.FAMILY)
    chosen = (one for one in everything if not only or one.name in only)
    return tuple(one for one in chosen if one.name not in without)


def missing(chosen: Sequence[Family], answers: Answers) -> int:
    """How many answers are still to be had."""
    names = (f"{one.name}/{case.name}" for one in chosen for case in one.cases())
    return sum(name not in answers.known for name in names)


def run(
    chosen: Sequence[Family], model: LanguageModel, answers: Answers, timeout_s: float, told: Told
) -> None:
    """Ask until there is an answer to each case; each is kept at once.

    EnvironmentProblem where the model cannot answer any more; what it answered is kept.
    """
    for family in chosen:
        cases = family.cases()
        for number, case in enumerate(cases, 1):
            name = f"{family.name}/{case.name}"
            if name in answers.known:
                continue
            answer = ask(model, case, name, timeout_s)
            if answer.gone:
                raise EnvironmentProblem(
                    f"the model does not answer: {answer.failure}; "
                    f"what it answered is kept in {answers.path}"
                )
            answers.add(answer)
            told(answer, number, len(cases))
