"""The score card: what a model's answers are worth, family by family, and what it is fit for.

Made of the answers alone. A share has the interval of Clopper and Pearson and the exact binomial
chance of doing as well blindly; a mean score has Student's t interval and the exact chance of the
sum of blind answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import fmean
from typing import Any

from hpcagent.llm.qualify.ask import Answer
from hpcagent.llm.qualify.family import QUALIFICATION, WRONG_FORM, Case, Family, Judged
from hpcagent.measure.statistics.intervals import t_interval
from hpcagent.measure.statistics.proportions import at_least, share_interval, sum_at_least

COVERAGE = 0.95
BY_LUCK = 0.05  # a result that blind answers reach as often proves nothing
FIT, DOUBTFUL, UNFIT, NOT_RUN = "fit", "better than chance", "no better than chance", "not run"


@dataclass(frozen=True)
class Outcome:
    """What one answer was worth."""

    case: str
    answer: str
    score: float
    valid: bool
    words: str
    group: str


@dataclass(frozen=True)
class Score:
    """A family on the card. `mean` is over all cases, unanswered ones counted as 0; `low` and
    `high` its interval; `luck` the chance that blind answers do as well. `groups` are means."""

    family: str
    title: str
    role: str
    verdict: str
    words: str
    chance: float
    chance_words: str
    needed: float
    cases: int = 0
    counted: bool = True
    valid: int = 0
    valid_low: float = 0.0
    valid_high: float = 1.0
    mean: float = 0.0
    low: float = 0.0
    high: float = 1.0
    luck: float = 1.0
    ranked: bool = False
    tokens_in: int = 0
    tokens_out: int = 0
    seconds: float = 0.0
    groups: Mapping[str, float] = field(default_factory=dict)
    failures: Mapping[str, int] = field(default_factory=dict)
    outcomes: tuple[Outcome, ...] = ()


@dataclass(frozen=True)
class Card:
    """`notes` say what this model could not give."""

    qualification: int
    model: Mapping[str, Any]
    scores: tuple[Score, ...]
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def card(
    families: Sequence[Family], answers: Mapping[str, Answer], model: Mapping[str, Any]
) -> Card:
    """`answers` by family/case; families without all of theirs are told as not run."""
    scores = tuple(_score(one, answers) for one in families)
    asked = [
        (case, answers[name])
        for family in families
        for case in family.cases()
        if (name := f"{family.name}/{case.name}") in answers and not answers[name].failure
    ]
    return Card(QUALIFICATION, dict(model), scores, tuple(_notes(asked)))


def _notes(asked: Sequence[tuple[Case, Answer]]) -> Iterator[str]:
    if any(case.labels and answer.how != "ranked" for case, answer in asked):
        yield (
            "It tells no probabilities: choices were asked for as JSON, so that each is one draw "
            "and no ranking."
        )
    if asked and not any(answer.tokens_out for _, answer in asked):
        yield "It does not tell how many tokens its answers took."


def _score(family: Family, answers: Mapping[str, Answer]) -> Score:
    cases = () if family.why_not else family.cases()
    given = [answers.get(f"{family.name}/{case.name}") for case in cases]
    there = [answer for answer in given if answer is not None]
    if not cases or len(there) < len(cases):
        words = family.why_not or f"{NOT_RUN}: {len(there)} of {len(cases)} answers"
        return Score(family.name, family.title, family.role, NOT_RUN, words,
                     family.chance, family.chance_words, family.needed)  # fmt: skip
    judged = [_judged(case, answer) for case, answer in zip(cases, there, strict=True)]
    return _measured(family, cases, there, judged)


def _judged(case: Case, answer: Answer) -> Judged:
    if answer.failure:
        return Judged(0.0, False, answer.failure)
    return case.judge(answer.text) if answer.text else WRONG_FORM


def _measured(
    family: Family, cases: Sequence[Case], answers: Sequence[Answer], judged: Sequence[Judged]
) -> Score:
    scores = [one.score for one in judged]
    valid = sum(one.valid for one in judged)
    valid_share = share_interval(valid, len(cases), COVERAGE)
    mean, low, high, luck = _statistics(family, cases, scores)
    groups = {case.group: _group_mean(case.group, cases, scores) for case in cases if case.group}
    verdict, words = _verdict(family, mean, luck, groups)
    return Score(
        family.name, family.title, family.role, verdict, words, family.chance,
        family.chance_words, family.needed, len(cases), family.counted,
        valid, valid_share.low, valid_share.high, mean, low, high, luck,
        any(answer.how == "ranked" for answer in answers),
        sum(answer.tokens_in for answer in answers), sum(answer.tokens_out for answer in answers),
        sum(answer.seconds for answer in answers), groups, _failures(answers),
        tuple(
            Outcome(case.name, answer.text, one.score, one.valid, one.words, case.group)
            for case, answer, one in zip(cases, answers, judged, strict=True)
        ),
    )  # fmt: skip


def _statistics(
    family: Family, cases: Sequence[Case], scores: Sequence[float]
) -> tuple[float, float, float, float]:
    """(mean, its interval, the chance that blind answers are as good)."""
    mean = fmean(scores)
    if family.counted:
        right = round(sum(scores))
        found = share_interval(right, len(scores), COVERAGE)
        return mean, found.low, found.high, at_least(right, len(scores), family.chance)
    found = t_interval(scores, COVERAGE)
    luck = sum_at_least(sum(scores), [case.outcomes for case in cases])
    return mean, max(0.0, found.low), min(1.0, found.high), luck


def _group_mean(group: str, cases: Sequence[Case], scores: Sequence[float]) -> float:
    return fmean(s for case, s in zip(cases, scores, strict=True) if case.group == group)


def _verdict(
    family: Family, mean: float, luck: float, groups: Mapping[str, float]
) -> tuple[str, str]:
    """A role needs a result that luck does not explain, good enough in every part."""
    if luck > BY_LUCK:
        return UNFIT, f"{UNFIT} at {family.title}: not fit for {family.role}"
    worst = min(groups, key=lambda name: groups[name], default="")
    if mean >= family.needed and (not worst or groups[worst] >= 0.8 * family.needed):
        return FIT, f"{DOUBTFUL} at {family.title}: fit for {family.role}"
    why = f"{mean:.0%}, {family.needed:.0%} wanted"
    if mean >= family.needed:
        why = f"only {groups[worst]:.0%} of {worst}"
    return DOUBTFUL, f"{DOUBTFUL} at {family.title}, but not good enough for {family.role} ({why})"


def _failures(answers: Sequence[Answer]) -> dict[str, int]:
    found: dict[str, int] = {}
    for answer in answers:
        if answer.failure:
            kind = answer.failure.partition(":")[0]
            found[kind] = found.get(kind, 0) + 1
    return found
