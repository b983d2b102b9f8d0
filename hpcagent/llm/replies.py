"""What a model server answered, read with suspicion: pure functions of a response."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from hpcagent.llm import events
from hpcagent.llm.grammar import violation
from hpcagent.llm.http import Response
from hpcagent.llm.tables import ModelChoice
from hpcagent.llm.thoughts import parted
from hpcagent.records import Failure, Message, Reply

_MOST_ENTRY = 4000  # characters of what a server says of a model that are kept
# llama-server, vLLM, SGLang and LM Studio say one of the first; TGI says the last two.
_OVERFLOW = ("context length", "context size", "context window", "exceed_context_size",
             "must have less than", "max_new_tokens` must be")  # fmt: skip
# What servers answer to a field that they do not know or cannot serve; llama-cpp-python says 500.
_REFUSALS = (400, 415, 422, 501)
_THOUGHTS = ("reasoning_content", "reasoning")  # of llama-server, vLLM, SGLang; of Ollama
_OF_FORMAT = ("response_format", "json_schema", "json_object", "grammar")


class BadReply(Exception):
    """An answer that cannot be used; `kind` as a failure of the stage model."""

    def __init__(self, kind: str, words: str) -> None:
        super().__init__(words)
        self.kind = kind


def require_ok(response: Response, choice: ModelChoice) -> None:
    """BadReply in words of the cure unless the status is 200."""
    status = response.status
    if status == 200:
        return
    said = error_words(response)
    if overflows(response):
        words = f"the server refused the prompt: {said or f'status {status}'}"
        raise BadReply("context_overflow", words)
    if status in (401, 403):
        place = choice.api_key_file or choice.api_key_env
        cure = f"is the key in {place} the right one?" if place else "set api_key_file"
        raise BadReply("unauthorised", f"status {status}: {cure} {said}".rstrip())
    if status == 404:
        cure = "is the URL right (most end in /v1), and the model's name?"
        raise BadReply("http", f"status 404: {cure} {said}".rstrip())
    if status == 429 or status == 503:
        raise BadReply("busy", f"status {status}, the server has no room now: {said}".rstrip(" :"))
    if 300 <= status < 400:
        where = f" to {_printable(response.location)}" if response.location else ""
        raise BadReply("http", f"status {status}: a redirection{where}, which is not followed")
    raise BadReply("http", f"status {status}: {said}".rstrip(" :"))


def overflows(response: Response) -> bool:
    """Whether the prompt is too long for the server's context: servers say so in words only."""
    if response.status not in (400, 413, 422):
        return False
    words = response.body[:4000].decode("utf-8", errors="replace").lower()
    return response.status == 413 or any(each in words for each in _OVERFLOW)


def refuses_format(response: Response) -> bool:
    """Whether another form of the answer may be asked for: it is this one that is refused."""
    if response.status in _REFUSALS:
        return not overflows(response)
    words = response.body[:4000].decode("utf-8", errors="replace")
    return response.status == 500 and any(each in words for each in _OF_FORMAT)


def read(response: Response, schema: Mapping[str, Any] | None) -> Reply:
    """The first choice of a completion; what is wrong with it is the reply's failure."""
    answer = events.whole(response.body) if events.streams(response) else _json(response)
    choices = answer.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise _without_choices(answer, response)
    message = choices[0].get("message")
    if not isinstance(message, dict):
        raise BadReply("invalid", "the first choice has no message")
    costs = _costs(answer.get("usage"))
    text = _text(message.get("content")) or _misplaced(message, schema)
    thoughts, wrong = "", ""
    if schema is None:
        thoughts, text = parted(text)
    elif text.strip():
        text, wrong = _checked(text, schema)
    failure = None
    if not text.strip():
        failure = Failure("model", "invalid", _why_empty(message, choices[0], thoughts))
        text = ""
    elif choices[0].get("finish_reason") == "length" and (wrong or schema is None):
        words = f"{costs.tokens_out} tokens, no end: {_printable(text)}"
        failure = Failure("model", "truncated", words)
    elif wrong:
        failure = Failure("model", "invalid", wrong)
    return dataclasses.replace(costs, text=text, failure=failure, thinking=thoughts)


def only_thoughts(response: Response) -> bool:
    """Whether an answer was stopped by its length before it began."""
    if response.status != 200:
        return False
    try:
        answer = events.whole(response.body) if events.streams(response) else _json(response)
    except BadReply:
        return False
    choices = answer.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(choice, dict) or choice.get("finish_reason") != "length":
        return False
    message = choice.get("message")
    text = _text(message.get("content")).strip() if isinstance(message, dict) else ""
    return not parted(text)[1]


def entry(response: Response, name: str) -> dict[str, Any]:
    """What the list of models says of the one called `name`, or of the only one."""
    rows = _json(response).get("data")
    if not isinstance(rows, list):
        raise BadReply("nonsense", "its list of models has no data: is this a model server?")
    known = {
        row["id"]: row
        for row in rows
        if isinstance(row, dict) and isinstance(row.get("id"), str) and row["id"]
    }
    if not known:
        raise BadReply("http", "the server has no model loaded")
    name = f"{name}:latest" if name not in known and f"{name}:latest" in known else name  # Ollama
    if not name and len(known) > 1:
        raise BadReply("http", f"it serves several models: set name, one of {_names(known)}")
    if name and name not in known:
        raise BadReply("http", f"it has no model {name!r}; it serves {_names(known)}")
    row = known[name or next(iter(known))]
    if len(json.dumps(row)) > _MOST_ENTRY:
        row = {"id": row["id"]}
    return dict(row)


def timed(reply: Reply, seconds: float) -> Reply:
    return dataclasses.replace(reply, seconds=seconds)


def strict(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema as servers want it: what the grammar takes for granted is said."""
    found = dict(schema)
    if "properties" in schema:
        found["properties"] = {name: strict(part) for name, part in schema["properties"].items()}
        found["required"] = list(schema["properties"])
        found["additionalProperties"] = False
    if "items" in schema:
        found["items"] = strict(schema["items"])
    if "anyOf" in schema:
        found["anyOf"] = [strict(part) for part in schema["anyOf"]]
    return found


def format_field(form: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """The field of a request that confines its answer; nothing where no server has it.

    The schema stands in "json_object" too: llama-cpp-python and llama-server take it from there,
    others pass over it.
    """
    if form == "json_schema":
        named = {"name": "answer", "strict": True, "schema": strict(schema)}
        return {"response_format": {"type": form, "json_schema": named}}
    if form == "json_object":
        return {"response_format": {"type": form, "schema": strict(schema)}}
    return {}


def with_schema_in_words(messages: Sequence[Message], schema: Mapping[str, Any]) -> list[Message]:
    """For a server that cannot be given the schema: the last message says it."""
    words = (
        "Answer with one JSON object and nothing else, by this JSON schema:\n"
        f"{json.dumps(strict(schema), separators=(',', ':'))}"
    )
    *before, last = messages
    return [*before, Message(last.role, f"{last.text}\n\n{words}")]


def _checked(text: str, schema: Mapping[str, Any]) -> tuple[str, str]:
    """(the JSON in its shortest form, what is wrong with it).

    Line ends within texts are taken as they are: grammars of some servers let them through.
    """
    try:
        value = json.loads(_bare(text), strict=False)
    except (ValueError, RecursionError):
        return text, f"the answer is not JSON: {_printable(text)}"
    wrong = violation(value, schema)
    if wrong:
        return text, wrong
    value = json.loads(_whole(json.dumps(value, ensure_ascii=False)))
    return json.dumps(value, separators=(",", ":")), ""


def _bare(text: str) -> str:
    """Without what models put around JSON where nothing forbids it: thoughts, a code block."""
    text = text.strip()
    if not text.startswith("{"):  # a chat template may have begun the thoughts already
        text = parted(text)[1]
    if text.startswith("```") and text.endswith("```"):
        return text[3:-3].strip().removeprefix("json")
    return text


def _json(response: Response) -> dict[str, Any]:
    kind = response.content_type.partition(";")[0].strip().lower()
    if kind != "application/json":
        raise BadReply("nonsense", f"not JSON but {_printable(kind or 'nothing in particular')}")
    try:
        answer = json.loads(response.body.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise BadReply("nonsense", f"not UTF-8 at byte {error.start}") from None
    except (ValueError, RecursionError):
        raise BadReply("nonsense", f"not JSON: it begins {response.body[:40]!r}") from None
    if not isinstance(answer, dict):
        raise BadReply("nonsense", "its JSON is no object")
    return answer


def _text(content: object) -> str:
    """The text of a message; halves of characters in its escapes are no text."""
    return _whole(events.text(content))


def _whole(text: str) -> str:
    return text.encode("utf-8", errors="replace").decode("utf-8")


def _misplaced(message: Mapping[str, Any], schema: Mapping[str, Any] | None) -> str:
    """An answer by the schema that the server took for thoughts, as vLLM's reasoning parsers do
    where a model does not think."""
    for name in _THOUGHTS if schema is not None else ():
        text = _text(message.get(name))
        if schema is not None and text.strip() and not _checked(text, schema)[1]:
            return text
    return ""


def _without_choices(answer: Mapping[str, Any], response: Response) -> BadReply:
    """Some servers and gateways tell an error with the status of a success."""
    said = ("error", "detail", "message")
    if answer.get("object") == "error" or any(name in answer for name in said):
        overflow = overflows(dataclasses.replace(response, status=400))
        kind = "context_overflow" if overflow else "http"
        return BadReply(kind, f"an error with status 200: {error_words(response)}")
    return BadReply("invalid", "the answer has no choices")


def _costs(usage: object) -> Reply:
    found = usage if isinstance(usage, dict) else {}
    details = found.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else 0
    return Reply(
        "",
        tokens_in=_count(found.get("prompt_tokens")),
        tokens_out=_count(found.get("completion_tokens")),
        tokens_cached=_count(cached),
    )


def _count(value: object) -> int:
    fits = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**9
    return value if isinstance(value, int) and fits else 0


def _why_empty(message: Mapping[str, Any], choice: Mapping[str, Any], thoughts: str) -> str:
    if message.get("tool_calls"):
        return "it calls a tool instead of answering; none was offered"
    if message.get("refusal"):
        return f"it refuses: {_printable(str(message['refusal']))}"
    if choice.get("finish_reason") == "length":
        return "all its tokens went into thinking, none into the answer"
    if choice.get("finish_reason") == "content_filter":
        return "a filter of the server kept the answer back"
    if thoughts or any(_text(message.get(name)).strip() for name in _THOUGHTS):
        return "the answer is empty: the server takes all that it wrote for thoughts"
    return "the answer is empty"


def error_words(response: Response) -> str:
    """The server's own words on an error, in one short line."""
    text = response.body[:4000].decode("utf-8", errors="replace")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return _printable(text)
    for key in ("error", "detail", "message"):
        found = found.get(key, found) if isinstance(found, dict) else found
    return _printable(found if isinstance(found, str) else json.dumps(found))


def _names(known: Mapping[str, object]) -> str:
    shown = [_printable(name) for name in sorted(known)[:8]]
    return ", ".join(shown) + (f" and {len(known) - 8} more" if len(known) > 8 else "")


def _printable(text: str) -> str:
    kept = "".join(char if char.isprintable() else " " for char in text[:2000])
    return " ".join(kept.split())[:200]
