"""The record of every call of a model: what was asked, what it cost, what became of the answer."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from hpcagent.protocols import LanguageModel, RankingModel
from hpcagent.records import Failure, Limits, Message, Ranking, Reply

FAILED = "failed:"
ANSWER, RANKING = "complete", "rank"


@dataclass(frozen=True)
class Call:
    """One call. `prompt_sha256` is over the JSON of all that determines the answer but the model.

    `thinking` is what the model wrote before its answer, `first_token_s` the seconds to its first
    token.

    `verdict` is what the asker made of the answer; "failed: ..." where there was none, None where
    the asker did not say. `messages` are (role, text) pairs in their order; `role` is the asker's,
    as in llm/roles.py. Of a menu, `ranking` has each entry with ln of its probability, `reason`
    what was written before, and `answer` the most probable one. `seconds` are the model's own,
    `waited_s` those of its asker, who may have waited for it to be loaded. `notes` tell what of the
    model is not as it was asked for, such as a shorter context, where that was not told before.
    """

    prompt_sha256: str
    model_sha256: str
    tokens_in: int
    tokens_out: int
    seconds: float
    answer: str
    verdict: str | None = None
    messages: tuple[tuple[str, str], ...] = ()
    role: str = ""
    op: str = ANSWER
    tokens_cached: int = 0
    first_token_s: float = 0.0
    ranking: tuple[tuple[str, float], ...] = ()
    reason: str = ""
    failure: Failure | None = None
    waited_s: float = 0.0
    thinking: str = ""
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


Sink = Callable[[Call], None]


@runtime_checkable
class Noted(Protocol):
    """A model that tells what is not as it was asked for."""

    @property
    def notes(self) -> tuple[str, ...]: ...


class Recording:
    """A LanguageModel that passes each call to `sink` once its verdict is known.

    A call that failed, or whose asker goes on to the next call without a verdict, is passed on as
    it is.
    """

    def __init__(self, model: LanguageModel, model_sha256: str, sink: Sink, role: str = "") -> None:
        self._model = model
        self._digest = model_sha256
        self._sink = sink
        self._role = role
        self._open: Call | None = None
        self._told: tuple[str, ...] = ()

    def complete(
        self,
        messages: Sequence[Message],
        schema: Mapping[str, Any] | None,
        limits: Limits,
        seed: int,
    ) -> Reply:
        self.flush()
        began = time.monotonic()
        reply = self._model.complete(messages, schema, limits, seed)
        self._begin(
            Call(
                prompt_sha256=prompt_digest(messages, schema, limits, seed),
                model_sha256=self._digest,
                tokens_in=reply.tokens_in,
                tokens_out=reply.tokens_out,
                seconds=reply.seconds,
                answer=reply.text,
                messages=_pairs(messages),
                role=self._role,
                tokens_cached=reply.tokens_cached,
                first_token_s=reply.first_token_s,
                thinking=reply.thinking,
                failure=reply.failure,
                waited_s=time.monotonic() - began,
            )
        )
        return reply

    def verdict(self, words: str) -> None:
        """What became of the latest answer; passes its record to the sink."""
        if self._open is not None:
            call, self._open = dataclasses.replace(self._open, verdict=words), None
            self._sink(call)

    def flush(self) -> None:
        """Pass on a call that is still without a verdict."""
        if self._open is not None:
            call, self._open = self._open, None
            self._sink(call)

    def _begin(self, call: Call) -> None:
        notes = self._model.notes if isinstance(self._model, Noted) else ()
        new = tuple(note for note in notes if note not in self._told)
        self._told += new
        self._open = dataclasses.replace(call, notes=new)
        if call.failure is not None:
            self.verdict(f"{FAILED} {call.failure.id}: {call.failure.evidence}")


class RankingRecording(Recording):
    """The same of a model that can rank a menu."""

    def __init__(self, model: RankingModel, model_sha256: str, sink: Sink, role: str = "") -> None:
        super().__init__(model, model_sha256, sink, role)
        self._ranks = model

    def rank(
        self,
        messages: Sequence[Message],
        menu: Sequence[str],
        limits: Limits,
        reason: int = 0,
        seed: int = 0,
    ) -> Ranking:
        self.flush()
        began = time.monotonic()
        found = self._ranks.rank(messages, menu, limits, reason, seed)
        rows = tuple(zip(menu, found.log_probabilities, strict=False))
        best = max(rows, key=lambda row: row[1])[0] if rows else ""
        self._begin(
            Call(
                prompt_sha256=menu_digest(messages, menu, limits, reason, seed),
                model_sha256=self._digest,
                tokens_in=found.tokens_in,
                tokens_out=found.tokens_out,
                seconds=found.seconds,
                answer=json.dumps({"reason": found.reason, "choice": best}) if reason else best,
                messages=_pairs(messages),
                role=self._role,
                op=RANKING,
                tokens_cached=found.tokens_cached,
                ranking=rows,
                reason=found.reason,
                failure=found.failure,
                waited_s=time.monotonic() - began,
            )
        )
        return found


def recording(model: LanguageModel, model_sha256: str, sink: Sink, role: str = "") -> Recording:
    """A Recording that can do what the model can."""
    if isinstance(model, RankingModel):
        return RankingRecording(model, model_sha256, sink, role)
    return Recording(model, model_sha256, sink, role)


def prompt_digest(
    messages: Sequence[Message], schema: Mapping[str, Any] | None, limits: Limits, seed: int
) -> str:
    """SHA-256 in hex of everything that determines an answer but the model.

    The order of the schema's keys counts: it is the order of the answer.
    """
    bounds = [limits.max_tokens]
    bounds += [limits.thinking_tokens] if limits.thinking_tokens else []
    return _digest([_pairs(messages), schema, *bounds, seed])


def menu_digest(
    messages: Sequence[Message], menu: Sequence[str], limits: Limits, reason: int, seed: int
) -> str:
    """The same of a menu; without a reason its ranking depends on neither bounds nor seed."""
    written = [reason, limits.max_tokens, seed] if reason else []
    return _digest([_pairs(messages), {RANKING: list(menu)}, *written])


def _digest(asked: Sequence[Any]) -> str:
    return hashlib.sha256(json.dumps(asked).encode("ascii")).hexdigest()


def _pairs(messages: Sequence[Message]) -> tuple[tuple[str, str], ...]:
    return tuple((message.role, message.text) for message in messages)
