"""The operation "complete": one answer to a chat, confined by a grammar."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from hpcagent.llm.child.load import Engine, failed
from hpcagent.llm.child.prompt import prompt

# Where the request does not say otherwise; llama.cpp's own default of top_k is 40.
TOP_P = 0.95
TEMPERATURE = 0.7
TOP_K = 40

_Json = Mapping[str, Any]


def answer(engine: Engine, request: _Json) -> dict[str, Any]:
    """One answer: {text, complete, tokens_in, tokens_out, seconds} or {failure}."""
    started = time.perf_counter()
    text, add_bos = prompt(engine.llama, request["messages"])
    try:
        # Text that the vocabulary cannot spell ends here, or in an abort of the process.
        tokens = engine.llama.tokenize(text.encode("utf-8"), add_bos=add_bos, special=True)
    except RuntimeError as error:
        return failed("unspeakable", str(error))
    wanted = len(tokens) + request["max_tokens"]
    if wanted > engine.context:
        return failed(
            "context_overflow",
            f"{len(tokens)} tokens of prompt and up to {request['max_tokens']} of answer"
            f" exceed the context of {engine.context}",
        )
    try:
        made, text, complete = _decode(engine, tokens, request)
    except RuntimeError as error:
        return failed("decode", str(error))
    return {
        "text": text,
        "complete": complete,
        "tokens_in": len(tokens),
        "tokens_out": made,
        "seconds": time.perf_counter() - started,
    }


def _decode(engine: Engine, tokens: Sequence[int], request: _Json) -> tuple[int, str, bool]:
    """(tokens made, text, whether the text is a whole JSON value)."""
    import llama_cpp

    llama = engine.llama
    llama.set_seed(request["seed"])
    vocabulary = llama_cpp.llama_model_get_vocab(llama.model)
    grammar = llama_cpp.LlamaGrammar.from_string(request["grammar"], verbose=False)
    made: list[int] = []
    text, complete = "", False
    drawn = {
        "temp": request.get("temperature", TEMPERATURE),
        "top_p": request.get("top_p", TOP_P),
        "top_k": request.get("top_k", TOP_K),
    }
    for token in llama.generate(tokens, grammar=grammar, **drawn):
        if llama_cpp.llama_vocab_is_eog(vocabulary, token):
            break
        made.append(token)
        if b"}" in llama.detokenize([token]):
            text = _text(llama, made)
            complete = _is_json(text)
        if complete or len(made) >= request["max_tokens"]:
            break
    return len(made), text if complete else _text(llama, made), complete


def _text(llama: Any, tokens: Sequence[int]) -> str:
    raw: bytes = llama.detokenize(list(tokens))
    return raw.decode("utf-8", errors="replace")


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
