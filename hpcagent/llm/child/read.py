"""The operation "read": a prompt is read ahead, so that a later one that begins so costs less."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hpcagent.llm.child.decode import Clock, OutOfTime
from hpcagent.llm.child.load import Engine, failed

_Json = Mapping[str, Any]


def answer(engine: Engine, request: _Json) -> dict[str, Any]:
    """{tokens_in, seconds} or {failure}; what was read in time is kept in any case."""
    clock = Clock(request["timeout_s"])
    try:
        tokens = engine.chat(request["messages"]).tokens()
    except RuntimeError as error:
        return failed("unspeakable", str(error))
    if len(tokens) > engine.context:
        words = f"{len(tokens)} tokens of prompt exceed the context of {engine.context}"
        return failed("context_overflow", words)
    try:
        engine.telling.reading(len(tokens))
        engine.cache.read(tokens, clock)[0].evaluate()
    except OutOfTime:
        return failed("timeout", engine.telling.late(request["timeout_s"]))
    except RuntimeError as error:
        return failed("decode", str(error))
    return {"tokens_in": len(tokens), "seconds": clock.seconds()}
