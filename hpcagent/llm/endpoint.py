"""A model behind an OpenAI-compatible server of the laboratory's own: llama-server, vLLM, Ollama.

The chat completions interface as these three document it: POST {base}/chat/completions with
`response_format` {"type": "json_schema"} (another server may know "json_object" only, with the
schema in it as llama-cpp-python's or without, or none), GET {base}/models. Whatever comes back is
checked here by the same schema.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from hpcagent.errors import EnvironmentProblem, UsageError
from hpcagent.llm import replies
from hpcagent.llm.address import Forbidden, read_address, require_allowed
from hpcagent.llm.credentials import key_of, tls_context
from hpcagent.llm.http import HttpFailed, Request, Response, exchange
from hpcagent.llm.replies import BadReply
from hpcagent.llm.tables import ModelChoice
from hpcagent.llm.unmarked import unmarked
from hpcagent.records import Failure, Limits, Message, Reply

MAX_LOSSES = 3
MODELS_S = 10.0
_FORMATS = ("json_schema", "json_object", "none")
_NO_LIST = (404, 405, 501)
_THOUGHTS = 4096  # tokens before an answer, of models that think whether they are asked to or not
_LEAST_TOKENS = 1024  # an answer is not cut to less
_BLANKS = 64  # tokens: a server's grammar may let blanks stand between the parts of an answer
# Of a served model: what differs from request to request.
PASSING = ("created", "permission", "permissions")
_LOST = ("refused", "timeout", "died", "nonsense", "too_large", "forbidden", "untrusted", "http",
         "unauthorised")  # fmt: skip


class Endpoint:
    """A LanguageModel behind HTTP; nothing is asked before the first call.

    Only hosts of the list `allowed` are spoken to. After three calls in a row that got no answer at
    all every further one fails as `model.unavailable`. Failure kinds: refused, timeout, died,
    nonsense, too_large, forbidden, untrusted, http (a status other than 200), unauthorised (no
    answer); busy, context_overflow, truncated, invalid, unavailable. UsageError and
    EnvironmentProblem where the configuration itself cannot serve.
    """

    def __init__(self, choice: ModelChoice, allowed: Sequence[str]) -> None:
        self._choice = choice
        self._allowed = tuple(allowed)
        self._address = read_address(choice.endpoint)
        self._name = choice.name
        self._entry: Mapping[str, Any] | None = None
        self._format = 0
        self._heeded = True  # whether answers came out as the format asks for
        self._most_tokens = sys.maxsize  # of an answer
        self._thoughts = 0  # tokens that an answer may have for them besides
        self._losses = 0
        self._last = ""
        self.device = ""  # where it computes, in words; known from the first answer on
        try:
            require_allowed(self._address, self._allowed)
        except Forbidden as forbidden:
            raise UsageError(f"model endpoint {forbidden}") from None
        self._context = tls_context(self._address, choice.ca_file)
        key_of(choice)

    @property
    def form(self) -> str:
        """How answers are confined, as far as is known: json_schema, json_object or none."""
        return _FORMATS[self._format]

    def complete(
        self,
        messages: Sequence[Message],
        schema: Mapping[str, Any] | None,
        limits: Limits,
        seed: int,
    ) -> Reply:
        """One answer that obeys `schema`, or free text where that is None."""
        if self._losses >= MAX_LOSSES:
            words = f"{self._losses} calls in a row got no answer, last: {self._last}"
            return Reply("", failure=Failure("model", "unavailable", words))
        started = time.monotonic()
        try:
            reply = self._asked(messages, schema, limits, seed)
        except HttpFailed as failed:
            reply = self._failed(failed.kind, str(failed))
        except BadReply as bad:
            reply = self._failed(bad.kind, str(bad))
        except EnvironmentProblem as problem:  # the key's file, which may change at any time
            reply = self._failed("unauthorised", str(problem))
        return replies.timed(reply, time.monotonic() - started)

    def identity(self) -> dict[str, Any]:
        """What is known of the model: address, name, and what the server says of it.

        Raises EnvironmentProblem where the server does not answer as it should.
        """
        try:
            name, entry = self._served()
        except (HttpFailed, BadReply) as error:
            raise EnvironmentProblem(f"model endpoint {self._address.text}: {error}") from None
        return {"endpoint": self._address.text, "name": name, "served": dict(entry)}

    def close(self) -> None:
        """Nothing is kept open between calls."""

    def _asked(
        self,
        messages: Sequence[Message],
        schema: Mapping[str, Any] | None,
        limits: Limits,
        seed: int,
    ) -> Reply:
        """The reply in the first format from the remembered one on that the server takes."""
        deadline = time.monotonic() + limits.timeout_s
        name, _ = self._served()
        formats = range(self._format, len(_FORMATS)) if schema is not None else (len(_FORMATS) - 1,)
        for index in formats:
            body = self._body(name, messages, schema, _FORMATS[index], limits)
            body |= _sampling(self._choice, seed)
            response = self._posted(body, deadline)
            last = index == len(_FORMATS) - 1
            if not last and replies.refuses_format(response):
                continue
            replies.require_ok(response, self._choice)
            reply = replies.read(response, schema)
            self._losses, self.device = 0, f"server at {self._address.text}"
            if schema is not None:
                self._format = index
                wrong = reply.failure is not None and reply.failure.kind == "invalid"
                self._heeded = self._heeded and not wrong
            return reply
        raise AssertionError("the last format is always answered")

    def _posted(self, body: dict[str, Any], deadline: float) -> Response:
        """The response; where question and answer together exceed the context, that to the same
        question with a shorter answer: servers refuse what might not fit. Where thoughts took all
        that the answer might have, there is more room from then on."""
        wanted = body["max_tokens"]
        while True:
            body["max_tokens"] = min(wanted + self._thoughts, self._most_tokens)
            left = max(0.01, deadline - time.monotonic())
            response = self._exchange("/chat/completions", body, left)
            if replies.only_thoughts(response) and not self._thoughts:
                self._thoughts = _THOUGHTS
                continue
            given = body["max_tokens"]
            shorter = max(given // 2, wanted) if given > wanted else given // 2
            if not replies.overflows(response) or (given <= wanted and shorter < _LEAST_TOKENS):
                return response
            self._most_tokens = shorter

    def _failed(self, kind: str, words: str) -> Reply:
        if kind in _LOST:
            self._losses, self._last = self._losses + 1, words
        return Reply("", failure=Failure("model", kind, f"{self._address.text}: {words}"))

    def _served(self) -> tuple[str, Mapping[str, Any]]:
        """The model's name at the server, and its entry there; asked for once."""
        if self._entry is None:
            response = self._exchange("/models", None, MODELS_S)
            if response.status in _NO_LIST and self._name:  # not every server has the list
                self._entry = {}
            elif response.status in _NO_LIST:
                words = "it has no list of models: name one (URL#NAME), or is the URL right (most"
                raise BadReply("http", f"status {response.status}: {words} end in /v1)?")
            else:
                replies.require_ok(response, self._choice)
                self._entry = replies.entry(response, self._name)
                self._name = self._name or str(self._entry["id"])
        return self._name, self._entry

    def _exchange(self, path: str, body: Mapping[str, Any] | None, timeout_s: float) -> Response:
        key = key_of(self._choice)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        data = None if body is None else json.dumps(body, ensure_ascii=True).encode("ascii")
        request = Request(path, data, headers)
        return exchange(self._address, request, self._allowed, timeout_s, self._context)

    def _body(
        self,
        name: str,
        messages: Sequence[Message],
        schema: Mapping[str, Any] | None,
        form: str,
        limits: Limits,
    ) -> dict[str, Any]:
        """A server that takes the schema and does not keep to it is told it in words as well."""
        told = list(messages)
        if schema is not None and (form != "json_schema" or not self._heeded):
            told = replies.with_schema_in_words(told, schema)
        body: dict[str, Any] = {
            "model": name,
            "messages": [{"role": m.role, "content": unmarked(_encodable(m.text))} for m in told],
            "max_tokens": limits.max_tokens + limits.thinking_tokens,
            "stream": False,
        }
        if schema is not None:
            body["max_tokens"] += _BLANKS
            body |= replies.format_field(form, schema)
        return body


def digest(identity: Mapping[str, Any]) -> str:
    """SHA-256 in hex of what is known of a served model.

    What differs from request to request is left out: llama-server gives the time of the request as
    that of the model's creation, vLLM draws ids of permissions.
    """
    served = {k: v for k, v in identity["served"].items() if k not in PASSING}
    text = json.dumps({**identity, "served": served}, sort_keys=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _sampling(choice: ModelChoice, seed: int) -> dict[str, Any]:
    """What is configured; `top_k` is no field of the interface, but all three servers take it."""
    drawn = {"temperature": choice.temperature, "top_p": choice.top_p, "top_k": choice.top_k}
    said = {key: value for key, value in drawn.items() if value is not None}
    return {"seed": (seed + choice.seed) % 2**31, **said}


def _encodable(text: str) -> str:
    return text.encode("utf-8", errors="replace").decode("utf-8")
