"""The run of a qualification: every case that has no answer yet is asked, one after another."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from statistics import fmean

from hpcagent.errors import EnvironmentProblem
from hpcagent.llm.endpoint import Endpoint
from hpcagent.llm.qualify import diagnosis, invent, kernel, menu, merit
from hpcagent.llm.qualify.answers import Answers
from hpcagent.llm.qualify.ask import Answer, ask
from hpcagent.llm.qualify.family import Case, Family
from hpcagent.protocols import LanguageModel

NAMES = ("menu", "diagnosis", "merit", "kernel", "invent")

UNREAD_REPEATS = 2  # as often as a run goes on with a prompt that was not read in its time

# (the answer, its number among the cases of its family, their count, seconds that are left)
Told = Callable[[Answer, int, int, float], None]


def families(only: Sequence[str] = (), without: Sequence[str] = ()) -> tuple[Family, ...]:
    """Those named, all without a name, but for those of `without`."""
    everything = (menu.FAMILY, diagnosis.FAMILY, merit.FAMILY, kernel.family(), invent.FAMILY)
    chosen = (one for one in everything if not only or one.name in only)
    return tuple(one for one in chosen if one.name not in without)


def missing(chosen: Sequence[Family], answers: Answers, timeout_s: float) -> int:
    """How many answers are still to be had."""
    return sum(1 for _ in _asked(chosen, answers, timeout_s))


def run(
    chosen: Sequence[Family], model: LanguageModel, answers: Answers, timeout_s: float, told: Told
) -> None:
    """Ask until there is an answer to each case; each is kept at once.

    A question that was not read in the time is gone on with, twice; what a model had less time for
    than now is asked again. What a server says in place of the model (a status, a page, nothing)
    is no answer: it is told, and asked for again by the next run. EnvironmentProblem where answers
    are missing at the end, or the model cannot answer any more; what it answered is kept.
    """
    served = isinstance(model, Endpoint)
    slow: list[Answer] = []  # what a server was too slow for, unless it has gone
    missed: list[Answer] = []
    wanted = tuple(_asked(chosen, answers, timeout_s))
    took = Took([name for name, *_ in wanted])
    for name, case, number, count in wanted:
        began = time.monotonic()
        answer = ask(model, case, name, timeout_s)
        for _ in range(0 if served else UNREAD_REPEATS):
            if answer.unread:
                answer = ask(model, case, name, timeout_s)
        took.note(name, time.monotonic() - began)
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
        told(answer, number, count, took.left_s)
    _keep(answers, slow)
    if missed:
        raise EnvironmentProblem(
            f"{len(missed)} answers did not come: {missed[-1].failure}; what came is kept in "
            f"{answers.path}, and the same command asks for the others"
        )


class Took:
    """What each answer took, and so what the others will: as those of their family so far, else as
    all."""

    def __init__(self, names: Sequence[str]) -> None:
        self._left = list(names)
        self._seconds: dict[str, list[float]] = {}

    def note(self, name: str, seconds: float) -> None:
        self._left.remove(name)
        self._seconds.setdefault(_family(name), []).append(seconds)

    @property
    def left_s(self) -> float:
        everything = [each for family in self._seconds.values() for each in family]
        mean = {name: fmean(found) for name, found in self._seconds.items()}
        return sum(mean.get(_family(name), fmean(everything)) for name in self._left)


def _family(name: str) -> str:
    return name.partition("/")[0]


def _asked(
    chosen: Sequence[Family], answers: Answers, timeout_s: float
) -> Iterator[tuple[str, Case, int, int]]:
    """(name, case, its number, their count) of each case that has no answer yet."""
    for family in chosen:
        cases = family.cases()
        for number, case in enumerate(cases, 1):
            name = f"{family.name}/{case.name}"
            known = answers.known.get(name)
            if known is None or 0 < known.limit_s < timeout_s:
                yield name, case, number, len(cases)


def _keep(answers: Answers, those: Sequence[Answer]) -> None:
    for answer in those:
        answers.add(answer)
