"""The record of every call of a model: what was asked, what it cost, what became of the answer."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hpcagent.protocols import LanguageModel
from hpcagent.records import Limits, Message, Reply

FAILED = "failed:"


@dataclass(frozen=True)
class Call:
    """One call. `prompt_sha256` is over the JSON of messages, schema, limits and seed.

    `thinking` is what the model wrote before its answer, `first_token_s` the seconds to its first
    token.

    `verdict` is what the asker made of the answer; "failed: ..." where there was none, None where
    the asker did not say. `messages` are (role, text) pairs in their order.
    """

    prompt_sha256: str
    model_sha256: str
    tokens_in: int
    tokens_out: int
    seconds: float
    answer: str
    verdict: str | None = None
    messages: tuple[tuple[str, str], ...] = ()
    tokens_cached: int = 0
    first_token_s: float = 0.0
    thinking: str = ""

    def as_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


class Recording:
    """A LanguageModel that passes each call to `sink` once its verdict is known.

    A call that failed, or whose asker goes on to the next call without a verdict, is passed on as
    it is.
    """

    def __init__(
        self, model: LanguageModel, model_sha256: str, sink: Callable[[Call], None]
    ) -> None:
        self._model = model
        self._digest = model_sha256
        self._sink = sink
        self._open: Call | None = None

    def complete(
        self,
        messages: Sequence[Message],
        schema: Mapping[str, Any] | None,
        limits: Limits,
        seed: int,
    ) -> Reply:
        self.flush()
        reply = self._model.complete(messages, schema, limits, seed)
        self._open = Call(
            prompt_sha256=prompt_digest(messages, schema, limits, seed),
            model_sha256=self._digest,
            tokens_in=reply.tokens_in,
            tokens_out=reply.tokens_out,
            seconds=reply.seconds,
            answer=reply.text,
            messages=tuple((message.role, message.text) for message in messages),
            tokens_cached=reply.tokens_cached,
            first_token_s=reply.first_token_s,
            thinking=reply.thinking,
        )
        if reply.failure is not None:
            self.verdict(f"{FAILED} {reply.failure.id}: {reply.failure.evidence}")
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


def prompt_digest(
    messages: Sequence[Message], schema: Mapping[str, Any] | None, limits: Limits, seed: int
) -> str:
    """SHA-256 in hex of everything that determines an answer but the model.

    The order of the schema's keys counts: it is the order of the answer.
    """
    asked = [[dataclasses.astuple(m) for m in messages], schema, limits.max_tokens, seed]
    if limits.thinking_tokens:
        asked.append(limits.thinking_tokens)
    return hashlib.sha256(json.dumps(asked).encode("ascii")).hexdigest()
