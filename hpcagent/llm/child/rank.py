"""The operation "rank": how probable each entry of a menu is as the answer to a chat.

An entry's probability is the product of the model's probabilities of its tokens, each among those
that the menu allows at that place: what sampling confined to the menu would give. Where only one
token can follow nothing is computed, so a menu of one-token labels costs one evaluation.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

from hpcagent.llm.child.load import Engine, failed
from hpcagent.llm.child.prompt import prompt
from hpcagent.llm.child.trie import Node, branches, build

_Json = Mapping[str, Any]
_Path = tuple[int, ...]


def answer(engine: Engine, request: _Json) -> dict[str, Any]:
    """{log_probabilities, tokens_in, tokens_cached, seconds}, in the menu's order, or {failure}."""
    started = time.perf_counter()
    text, add_bos = prompt(engine.llama, request["messages"])
    try:
        # With the prompt before it: what an entry's first token is depends on it.
        prompt_tokens, *entries = [
            tuple(engine.llama.tokenize((text + end).encode("utf-8"), add_bos, special=True))
            for end in ("", *request["menu"])
        ]
    except RuntimeError as error:
        return failed("unspeakable", str(error))
    common = _common([prompt_tokens, *entries])
    longest = max(map(len, entries))
    if longest > engine.context:
        return failed(
            "context_overflow",
            f"{len(prompt_tokens)} tokens of prompt and up to {longest - len(prompt_tokens)} of"
            f" answer exceed the context of {engine.context}",
        )
    try:
        root = build([entry[common:] for entry in entries])
        found, made, cached = _ranked(engine.llama, prompt_tokens[:common], root, len(entries))
    except ValueError as error:
        return failed("unspeakable", str(error))
    except RuntimeError as error:
        return failed("decode", str(error))
    return {
        "log_probabilities": found,
        "tokens_in": made,
        "tokens_cached": cached,
        "seconds": time.perf_counter() - started,
    }


def _common(sequences: Sequence[Sequence[int]]) -> int:
    """How many first tokens all of them share."""
    columns = zip(*sequences, strict=False)
    return next((n for n, column in enumerate(columns) if len(set(column)) > 1), min(
        len(sequence) for sequence in sequences
    ))  # fmt: skip


def _ranked(llama: Any, start: _Path, root: Node, count: int) -> tuple[list[float], int, int]:
    """(ln of each entry's probability, tokens of prompt and branches, those found in the cache)."""
    found = [0.0] * count
    made, cached = len(start), len(start)
    # In this order each path begins with all that the one before shares with it.
    for place, (path, node) in enumerate(sorted(branches(root), key=lambda branch: branch[0])):
        kept = evaluate(llama, (*start, *path))
        if place == 0:
            made, cached = len(start) + len(path), min(kept, len(start) + len(path))
        else:
            made += len(start) + len(path) - kept
        for members, share in _shares(llama, node):
            for entry in members:
                found[entry] += share
    return found, made, cached


def _shares(llama: Any, node: Node) -> list[tuple[list[int], float]]:
    """(entries, ln of the share) of each way to go on from `node`, whose logits are at hand."""
    logits = last_logits(llama)
    ways = [(_below(child), float(logits[token])) for token, child in node.children.items()]
    if node.entry is not None:
        ends = {llama.token_eos(), _turn_end(llama)} - {-1}
        ways.append(([node.entry], log_sum([float(logits[token]) for token in ends])))
    whole = log_sum([value for _, value in ways])
    return [(members, value - whole) for members, value in ways]


def _below(node: Node) -> list[int]:
    """The entries that end at `node` or after it."""
    waiting, found = [node], []
    while waiting:
        each = waiting.pop()
        found += [] if each.entry is None else [each.entry]
        waiting += each.children.values()
    return found


def _turn_end(llama: Any) -> int:
    import llama_cpp

    return int(llama_cpp.llama_vocab_eot(llama_cpp.llama_model_get_vocab(llama.model)))


def log_sum(values: Sequence[float]) -> float:
    """ln of the sum of exp; minus infinity of nothing."""
    most = max(values, default=-math.inf)
    if math.isinf(most):
        return most
    return most + math.log(math.fsum(math.exp(value - most) for value in values))


def evaluate(llama: Any, tokens: Sequence[int]) -> int:
    """Make the logits after `tokens` the last ones; how many were in the cache already."""
    held = llama.input_ids[: llama.n_tokens].tolist()
    kept = _common([held, tokens[:-1]])
    if kept < len(held) and not llama._ctx.kv_cache_seq_rm(-1, kept, -1):
        llama._ctx.kv_cache_clear()  # a recurrent model cannot go back in part
        kept = 0
    llama.n_tokens = kept
    llama.eval(tokens[kept:])
    return kept


def last_logits(llama: Any) -> Any:
    """Of the latest evaluation: one value a token of the vocabulary, as a numpy view."""
    import numpy as np

    return np.ctypeslib.as_array(llama._ctx.get_logits(), shape=(llama.n_vocab(),))
