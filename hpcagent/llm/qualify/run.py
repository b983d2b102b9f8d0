"""The run of a qualification: every case that has no answer yet is asked, one after another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from hpcagent.errors import EnvironmentProblem
from hpcagent.llm.endpoint import Endpoint
from hpcagent.llm.qualify import diagnosis, invent, kernel, menu, merit
from hpcagent.llm.qualify.answers import Answers
from hpcagent.llm.qualify.ask import Answer, ask
from hpcagent.llm.qualify.family import Case, Family
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

    What a server says in place of the model (a status, a page, nothing) is no answer: it is told,
    and asked for again by the next run. EnvironmentProblem where answers are missing at the end, or
    the model cannot answer any more; what it answered is kept.
    """
    served = isinstance(model, Endpoint)
    slow: list[Answer] = []  # what a server was too slow for, unless it has gone
    missed: list[Answer] = []
    for name, case, number, count in _asked(chosen, answers):
        answer = ask(model, case, name, timeout_s)
        if answer.gone:
            raise EnvironmentProblem(
                f"the model does not answer: {answer.failure}; "
                f"what it answered is kept in {answers.path}"
            )
        if served and answer.slow:
            slow.append(answer)
        elif served and answer.of_the_server:
            missed.append(answer)
        else:
            _keep(answers, (*slow, answer))
            slow.clear()
        told(answer, number, count)
    _keep(answers, slow)
    if missed:
        raise EnvironmentProblem(
            f"{len(missed)} answers did not come: {missed[-1].failure}; what came is kept in "
            f"{answers.path}, and the same command asks for the others"
        )


def _asked(chosen: Sequence[Family], answers: Answers) -> Iterator[tuple[str, Case, int, int]]:
    """(name, case, its number, their count) of each case that has no answer yet."""
    for family in chosen:
        cases = family.cases()
        for number, case in enumerate(cases, 1):
            name = f"{family.name}/{case.name}"
            if name not in answers.known:
                yield name, case, number, len(cases)


def _keep(answers: Answers, those: Sequence[Answer]) -> None:
    for answer in those:
        answers.add(answer)
