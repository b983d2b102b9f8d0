"""Asks a model for an answer of a given type: schema, grammar, two checks, bounded repeats."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from hpcagent.errors import UsageError
from hpcagent.llm import grammar
from hpcagent.protocols import LanguageModel
from hpcagent.records import Limits, Message

if TYPE_CHECKING:
    from pydantic import BaseModel

REPEATS = 2
ACCEPTED = "accepted"
# Asked again, it would say the same.
_FINAL = ("unavailable", "changed", "context_overflow", "unauthorised", "forbidden", "untrusted")
_KEPT = ("type", "enum", "const", "minLength", "maxLength", "minItems", "maxItems", "minimum",
         "maximum")  # fmt: skip
# The schema's bound holds for a token each byte; a vocabulary of words needs about a third of it.
_LEAST_TOKENS = 200
_MAX_NESTING = 16
_LEAST_S = 5.0  # that another call is begun with

A = TypeVar("A", bound="BaseModel")


@dataclass(frozen=True)
class Refused:
    """No usable answer: how many calls were made, what was wrong with the last, and its kind.

    `kind` is that of the model's failure, "rejected" where an answer was there.
    """

    calls: int
    words: str
    kind: str


def ask(
    model: LanguageModel,
    messages: Sequence[Message],
    answer: type[A],
    limits: Limits,
    seed: int,
    check: Callable[[A], str] | None = None,
    repeats: int = REPEATS,
    tell: Callable[[str], None] | None = None,
    shorter: Callable[[], Sequence[Message]] | None = None,
    all_s: float = math.inf,
) -> A | Refused:
    """An answer that `answer` and `check` find nothing wrong with, after 1 + `repeats` calls.

    `check` returns what is wrong in a few words (empty: nothing); the model reads them before it
    answers again. `tell` hears the verdict on every answer that was there. `shorter` gives the
    messages anew where they exceeded the context, once; after that a third of the answer's room has
    to do. It also does where the time was over twice: a model keeps what it has read, and goes on
    with that once. All calls take `all_s` at most. `limits.max_tokens` bounds an answer beside the
    schema, which bounds it too.
    """
    from pydantic import ValidationError

    schema = schema_of(answer)
    limits = _bounded(limits, schema)
    question = asked = tuple(messages)
    words, kind = "", ""
    end_s = time.monotonic() + all_s
    for attempt in range(1 + repeats):
        left_s = end_s - time.monotonic()
        if attempt and left_s <= _LEAST_S:
            return Refused(attempt, words, kind)
        limited = replace(limits, timeout_s=min(limits.timeout_s, left_s))
        reply = model.complete(asked, schema, limited, seed + 1000 * attempt)
        if reply.failure is not None:
            kind, words = reply.failure.kind, f"{reply.failure.id}: {reply.failure.evidence}"
            if kind == "context_overflow" and shorter is not None:
                question = asked = tuple(shorter())
                shorter = None
            elif kind == "context_overflow" and limits.max_tokens >= 3 * _LEAST_TOKENS:
                limits = replace(limits, max_tokens=limits.max_tokens // 3)
            elif kind == "timeout" and attempt and shorter is not None:
                question = asked = tuple(shorter())
                shorter = None
            elif kind in _FINAL:
                return Refused(attempt + 1, words, kind)
            continue
        try:
            found = answer.model_validate_json(reply.text)
        except ValidationError as error:
            kind, words = "rejected", _first(error.errors())
        else:
            kind, words = "rejected", check(found) if check is not None else ""
            if not words:
                _told(tell, ACCEPTED)
                return found
        _told(tell, f"rejected: {words}")
        asked = (*question, Message("assistant", reply.text), Message("user", _again(words)))
    return Refused(1 + repeats, words, kind)


def schema_of(answer: type[BaseModel]) -> dict[str, Any]:
    """The type's JSON schema in the subset of `grammar`; UsageError where it has no bounds.

    Objects, choices and texts without `min_length` are the cheapest to confine a model to: their
    parts are always the same (`grammar.linear`).
    Every field has to be given, those with a default too: an answer says all that was asked.
    """
    whole = answer.model_json_schema()
    schema = _reduced(whole, whole.get("$defs", {}), 0)
    grammar.gbnf(schema)
    return schema


def _reduced(part: Mapping[str, Any], named: Mapping[str, Any], depth: int) -> dict[str, Any]:
    if depth > _MAX_NESTING:
        raise UsageError("schema: a type that contains itself")
    if "$ref" in part:
        name = str(part["$ref"]).rpartition("/")[2]
        return _reduced(named[name], named, depth + 1)
    for word in ("pattern", "format", "multipleOf", "exclusiveMinimum", "exclusiveMaximum"):
        if word in part:
            raise UsageError(f"schema: {word} cannot be said in the grammar; check it afterwards")
    found = {key: part[key] for key in _KEPT if key in part}
    if "properties" in part:
        found["properties"] = {
            name: _reduced(each, named, depth + 1) for name, each in part["properties"].items()
        }
    if "items" in part:
        found["items"] = _reduced(part["items"], named, depth + 1)
    if "anyOf" in part:
        found["anyOf"] = [_reduced(each, named, depth + 1) for each in part["anyOf"]]
    return found


def _bounded(limits: Limits, schema: Mapping[str, Any]) -> Limits:
    most = min(limits.max_tokens, grammar.longest(schema) + 1)
    return Limits(most, limits.timeout_s, limits.thinking_tokens)


def _again(words: str) -> str:
    return f"This cannot be used: {words}. Answer again."


def _first(errors: Sequence[Mapping[str, Any]]) -> str:
    """The first of pydantic's complaints, with its place."""
    first = errors[0]
    place = ".".join(map(str, first["loc"])) or "answer"
    return f"{place}: {first['msg']}"


def _told(tell: Callable[[str], None] | None, words: str) -> None:
    if tell is not None:
        tell(words)
