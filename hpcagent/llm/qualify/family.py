"""What a family of tasks is: cases with their questions, and how an answer is judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpcagent.records import Message
from hpcagent.templates import render

# Raised whenever a case, a prompt or a rule of judgement changes: cards of one number compare.
QUALIFICATION = 3
SYSTEM = (
    "You help people who run programs on high-performance computers. Answer with what is asked "
    "for and nothing else."
)
LABELS = "ABCDEFGHIJ"


@dataclass(frozen=True)
class Judged:
    """What an answer is worth: `score` between 0 and 1, `valid` if it could be judged at all."""

    score: float
    valid: bool
    words: str = ""


WRONG_FORM = Judged(0.0, False, "no answer of the form asked for")


@dataclass(frozen=True)
class Case:
    """One question. Either `labels` to choose from, or a JSON `schema`, or neither: free text.

    `outcomes` are the scores of a model that answers blindly, each as likely; `group` names a part
    of the family that is told apart on the card.
    """

    name: str
    text: str
    judge: Callable[[str], Judged]
    labels: tuple[str, ...] = ()
    schema: Mapping[str, Any] | None = None
    max_tokens: int = 16
    outcomes: tuple[float, ...] = (0.0,)
    group: str = ""

    @property
    def messages(self) -> tuple[Message, ...]:
        return Message("system", SYSTEM), Message("user", self.text)


@dataclass(frozen=True)
class Family:
    """A kind of task. `chance` is the mean score of a model that answers blindly, or that always
    says the same where this does better; `needed` the mean score that makes fit for `role`.

    `counted`: scores are 0 or 1, so that they are a share. `why_not` says why answers cannot be
    judged here; empty where they can.
    """

    name: str
    title: str
    role: str
    chance: float
    chance_words: str
    needed: float
    counted: bool
    cases: Callable[[], tuple[Case, ...]]
    why_not: str = ""


def prompt(name: str, values: Mapping[str, Any]) -> str:
    """The text of prompts/NAME.j2."""
    return render(Path(__file__).resolve().parent / "prompts" / f"{name}.j2", values)


def one_of(right: str, labels: tuple[str, ...]) -> Callable[[str], Judged]:
    """The judge of a choice with one right label."""

    def judge(answer: str) -> Judged:
        if answer not in labels:
            return WRONG_FORM
        return Judged(float(answer == right), True, "" if answer == right else f"not {answer}")

    return judge


def rotated(right: str, others: list[str], place: int) -> list[str]:
    """All entries with the right one at `place`, so that no label is right more often."""
    at = place % (len(others) + 1)
    return [*others[:at], right, *others[at:]]
