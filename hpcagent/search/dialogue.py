"""One slot of the strategy `model`: the exchange with a language model that fills it.

A model that can rank writes a reason and then ranks the labels of the menu, which it cannot get
wrong; the last label stands for a configuration of its own. Any other model writes reason and
configuration as JSON. Every loop here is bounded.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hpcagent.protocols import LanguageModel, RankingModel
from hpcagent.records import Config, Failure, Limits, Message, Ranking, Reply
from hpcagent.search.options import unbounded
from hpcagent.search.question import (
    REASON_LENGTH,
    SHORT_REASON,
    SHORTEST,
    Question,
    answer_bound,
    one_line,
)

REPEATS = 2
AROUND = 40  # tokens at most of what stands around the reason
ASK_CONFIG = 'Which one? Answer with one JSON object: "config", a value for every parameter.'
_NO_TIME = "the run's time has none left for it"
_LEAST_S = 1.0
# What another try cannot mend.
_FINAL = ("unavailable", "changed", "context_overflow", "not_in_transcript", "unauthorised",
          "forbidden", "untrusted")  # fmt: skip


@dataclass(frozen=True)
class Refused:
    """No usable answer: how many calls were made and what was wrong with the last."""

    calls: int
    words: str


@dataclass(frozen=True)
class Chosen:
    config: Config
    reason: str


class Dialogue:
    """`tell` hears once after each call what became of its answer."""

    def __init__(
        self,
        model: LanguageModel,
        question: Question,
        timeout_s: float,
        tell: Callable[[str], None],
        left_s: Callable[[], float] = unbounded,
    ) -> None:
        self._model = model
        self._question = question
        self._timeout_s = timeout_s
        self._tell = tell
        self._left_s = left_s
        self._calls = 0
        self._shortened = 0
        self._reason = REASON_LENGTH
        self._tail: tuple[Message, ...] = ()

    def choose(self, seed: int) -> Chosen | Refused:
        if self._question.ranked and isinstance(self._model, RankingModel):
            return self._ranked(self._model, seed)
        return self._free(self._question.schema(), seed, "")

    def _ranked(self, model: RankingModel, seed: int) -> Chosen | Refused:
        words = ""
        for attempt in range(1 + REPEATS):
            if self._left_s() <= 0:
                return Refused(self._calls, words or _NO_TIME)
            found = self._rank(model, seed + 1000 * attempt)
            if found.failure is None:
                return self._picked(found, seed)
            words = _words(found.failure)
            if _final(found.failure):
                break
            if found.failure.kind == "timeout" and attempt:
                self._reason = SHORT_REASON  # what was read is kept; most of the rest is the reason
        return Refused(self._calls, words)

    def _picked(self, found: Ranking, seed: int) -> Chosen | Refused:
        """The most probable entry; of equal ones the first."""
        rows, reason = found.log_probabilities, one_line(found.reason)
        best = max(range(len(rows)), key=lambda index: rows[index])
        offered = self._question.offered(self._shortened)
        if best < len(offered):
            self._tell("accepted")
            return Chosen(offered[best].config, reason)
        self._tell("another")
        label = self._question.labels(self._shortened)[best]
        self._say(json.dumps({"reason": reason, "choice": label}), ASK_CONFIG)
        return self._free(self._question.config_schema(), seed, reason)

    def _free(self, schema: Mapping[str, Any], seed: int, reason: str) -> Chosen | Refused:
        words = ""
        for attempt in range(1 + REPEATS):
            if self._left_s() <= 0:
                return Refused(self._calls, words or _NO_TIME)
            reply = self._complete(schema, seed + 1000 * attempt)
            if reply.failure is not None:
                words = _words(reply.failure)
                if _final(reply.failure):
                    break
                continue
            checked = self._question.check(reply.text)
            if isinstance(checked, tuple):
                self._tell("accepted")
                return Chosen(checked[0], checked[1] or reason)
            words = checked
            self._tell(f"rejected: {checked}")
            self._say(reply.text, f"This cannot be used: {checked}. Answer again.")
        return Refused(self._calls, words)

    def _seconds(self) -> float:
        return max(_LEAST_S, min(self._timeout_s, self._left_s()))

    def _say(self, answer: str, asked: str) -> None:
        self._tail = (*self._tail, Message("assistant", answer), Message("user", asked))

    def _complete(self, schema: Mapping[str, Any], seed: int) -> Reply:
        limits = Limits(answer_bound(schema), self._seconds())
        while True:
            self._calls += 1
            reply = self._model.complete(self._messages(), schema, limits, seed)
            if not (_overflows(reply.failure) and self._shorten()):
                return reply

    def _rank(self, model: RankingModel, seed: int) -> Ranking:
        limits = Limits(self._reason + AROUND, self._seconds())
        while True:
            self._calls += 1
            menu = self._question.labels(self._shortened)
            found = model.rank(self._messages(), menu, limits, self._reason, seed)
            if not (_overflows(found.failure) and self._shorten()):
                return found

    def _messages(self) -> tuple[Message, ...]:
        return (*self._question.messages(self._shortened), *self._tail)

    def _shorten(self) -> bool:
        """Shorten the prompt by a step that changes it; False where none is left."""
        before = self._messages()
        while self._shortened < SHORTEST:
            self._shortened += 1
            if self._messages() != before:
                return True
        return False


def _overflows(failure: Failure | None) -> bool:
    return failure is not None and failure.kind == "context_overflow"


def _final(failure: Failure | None) -> bool:
    return failure is not None and failure.kind in _FINAL


def _words(failure: Failure) -> str:
    return one_line(f"{failure.id}: {failure.evidence}")
