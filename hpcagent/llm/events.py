"""A completion as a stream of events, which a server or a gateway sends though none was asked for.

The chunks of the chat completions interface: `data: {"choices": [{"delta": {"content"}}]}`, at the
end `data: [DONE]`. They are put together to what would have come in one piece. Pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from hpcagent.llm.http import Response

_DATA = "data:"
_DONE = "[DONE]"
_LINE_END = re.compile("\r\n|\n|\r")  # of the format; a text within a line may hold others
_OF_ERRORS = {"detail", "message"}  # keys, where "error" is none
_TEXTS = ("content", "reasoning_content", "reasoning", "refusal")  # of a message


def streams(response: Response) -> bool:
    kind = response.content_type.partition(";")[0].strip().lower()
    return kind == "text/event-stream"


def whole(body: bytes) -> dict[str, Any]:
    """The completion: {"choices", "usage"}, or the first chunk that tells of an error.

    A stream without its end is a completion that was cut off ("finish_reason": "length").
    """
    message: dict[str, Any] = {"role": "assistant", "content": ""}
    finish, usage, ended = None, None, False
    for line in _LINE_END.split(body.decode("utf-8-sig", errors="replace")):
        chunk = _chunk(line)
        if chunk is None:
            ended = ended or line.removeprefix(_DATA).strip() == _DONE
            continue
        if chunk.get("error") or ("choices" not in chunk and _OF_ERRORS & chunk.keys()):
            return chunk
        usage = chunk.get("usage") or usage
        choices = chunk.get("choices")
        first = choices[0] if isinstance(choices, list) and choices else None
        if isinstance(first, dict):
            _add(message, first.get("delta") or _unheard(message, first.get("message")))
            finish = first.get("finish_reason") or finish
    if not ended and finish is None:
        finish = "length"
    return {"choices": [{"message": message, "finish_reason": finish}], "usage": usage}


def _unheard(message: Mapping[str, Any], given: object) -> object:
    """A message in one piece; some servers repeat so, at the end, what came in pieces."""
    return None if any(message.get(name) for name in _TEXTS) else given


def _add(message: dict[str, Any], delta: object) -> None:
    """What came of the message; some servers send it in one piece, or its text in parts."""
    if not isinstance(delta, Mapping):
        return
    for name in _TEXTS:
        piece = text(delta.get(name))
        if piece:
            message[name] = message.get(name, "") + piece
    if delta.get("tool_calls"):
        message["tool_calls"] = delta["tool_calls"]


def text(content: object) -> str:
    """The text of a message; some servers give it in parts."""
    if isinstance(content, list):
        parts = (part.get("text") for part in content if isinstance(part, dict))
        return "".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else ""


def _chunk(line: str) -> dict[str, Any] | None:
    if not line.startswith(_DATA):
        return None
    try:
        found = json.loads(line.removeprefix(_DATA))
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
