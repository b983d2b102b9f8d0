"""The operation "complete": one answer to a chat, free or confined to an outline."""

from __future__ import annotations

import codecs
from collections.abc import Mapping, Sequence
from typing import Any

from hpcagent.llm.child.confined import Matcher
from hpcagent.llm.child.decode import Clock, OutOfTime, Run
from hpcagent.llm.child.load import Engine, failed
from hpcagent.llm.child.prompt import THOUGHT_BEGINS, THOUGHT_ENDS
from hpcagent.llm.child.sampling import Filters, Sampler
from hpcagent.llm.child.writing import Full, Writer, Written

_MARKS = 32  # tokens; more than the marks around thoughts take

_Json = Mapping[str, Any]


def answer(engine: Engine, request: _Json) -> dict[str, Any]:
    """One answer, or {failure}.

    {text, thinking, stopped, garbled, tokens_in, tokens_cached, tokens_out, seconds,
    first_token_s}: `stopped` is "" where the answer is whole, else "truncated" or "timeout", with
    the text until then; `garbled` counts what of the text is not UTF-8 (each shown as U+FFFD).
    """
    clock = Clock(request["timeout_s"])
    chat = engine.chat(request["messages"], bool(request["thinking_tokens"]))
    try:
        # Text that the vocabulary cannot spell ends here, or in an abort of the process.
        tokens = chat.tokens()
    except RuntimeError as error:
        return failed("unspeakable", str(error))
    wanted = request["max_tokens"]
    if request["thinking_tokens"]:
        wanted += request["thinking_tokens"] + _MARKS
    if len(tokens) + wanted > engine.context:
        return failed(
            "context_overflow",
            f"{len(tokens)} tokens of prompt and up to {wanted} of answer"
            f" exceed the context of {engine.context}",
        )
    begun = chat.text.rstrip().endswith(THOUGHT_BEGINS)
    try:
        return _answered(engine, tokens, request, clock, begun)
    except RuntimeError as error:
        return failed("decode", str(error))


def _answered(
    engine: Engine, tokens: Sequence[int], request: _Json, clock: Clock, begun: bool
) -> dict[str, Any]:
    try:
        engine.telling.reading(len(tokens))
        run, cached = engine.cache.read(tokens, clock)
    except OutOfTime:
        return failed("timeout", engine.telling.late(request["timeout_s"]))
    written, stopped = _written(engine, run, request, begun)
    text, garbled = _decoded(written)
    seconds = clock.seconds()
    return {
        "text": text,
        "thinking": written.thinking.decode("utf-8", "replace").removesuffix(THOUGHT_ENDS).strip(),
        "stopped": stopped,
        "garbled": garbled,
        "tokens_in": len(tokens),
        "tokens_cached": cached,
        "tokens_out": written.tokens,
        "seconds": seconds,
        "first_token_s": seconds if written.first_token_s is None else written.first_token_s,
    }


def _written(engine: Engine, run: Run, request: _Json, begun: bool) -> tuple[Written, str]:
    """(what was written, why it stopped before its end or "")."""
    sampler = Sampler(run, Filters.of(request.get("sampling", {})), request["seed"])
    writer = Writer(run, sampler, engine.vocabulary, request["max_tokens"])
    try:
        if request["thinking_tokens"]:
            writer.think(request["thinking_tokens"], begun)
        if request.get("grammar"):
            _confine(engine, writer, request["grammar"])
        elif request["outline"] is None:
            writer.free()
        else:
            writer.follow(request["outline"])
    except Full:
        return writer.written, "truncated"
    except OutOfTime:
        return writer.written, "timeout"
    finally:
        sampler.close()
    return writer.written, ""


def _confine(engine: Engine, writer: Writer, grammar: str) -> None:
    matcher = Matcher(engine.llama, grammar)
    try:
        writer.confined(matcher)
    finally:
        matcher.close()


def _decoded(written: Written) -> tuple[str, int]:
    """(text, how many of its characters stand for bytes that are not UTF-8).

    An answer that was stopped may end within a character, which is left out.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text = decoder.decode(bytes(written.text), final=written.ended)
    return text, text.count("\ufffd") - written.text.count("\ufffd".encode())
