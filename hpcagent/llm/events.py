"""A completion as a stream of events, which a server or a gateway sends though none was asked for.

The chunks of the chat completions interface: `data: {"choices": [{"delta": {"content"}}]}`, at the
end `data: [DONE]`. They are put together to what would have come in one piece. Pure.
"""

from __future__ import annotations

import json
from typing import Any

from hpcagent.llm.http import Response

_DATA = "data:"
_DONE = "[DONE]"


def streams(response: Response) -> bool:
    kind = response.content_type.partition(";")[0].strip().lower()
    return kind == "text/event-stream"


def whole(body: bytes) -> dict[str, Any]:
    """The completion: {"choices", "usage"}, or the first chunk that has no choices of its own.

    A stream without its end is a completion that was cut off ("finish_reason": "length").
    """
    text, finish, usage, ended = "", None, None, False
    for line in body.decode("utf-8", errors="replace").splitlines():
        chunk = _chunk(line)
        if chunk is None:
            ended = ended or line.removeprefix(_DATA).strip() == _DONE
            continue
        if "error" in chunk:
            return chunk
        usage = chunk.get("usage") or usage
        choices = chunk.get("choices")
        first = choices[0] if isinstance(choices, list) and choices else None
        if isinstance(first, dict):
            delta = first.get("delta")
            piece = delta.get("content") if isinstance(delta, dict) else None
            text += piece if isinstance(piece, str) else ""
            finish = first.get("finish_reason") or finish
    if not ended and finish is None:
        finish = "length"
    choice = {"message": {"role": "assistant", "content": text}, "finish_reason": finish}
    return {"choices": [choice], "usage": usage}


def _chunk(line: str) -> dict[str, Any] | None:
    if not line.startswith(_DATA):
        return None
    try:
        found = json.loads(line.removeprefix(_DATA))
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
