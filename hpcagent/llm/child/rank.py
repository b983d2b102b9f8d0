"""The operation "rank": how probable each entry of a menu is as the answer to a chat.

An entry's probability is the product of the model's probabilities of its tokens, each among those
that the menu allows at that place: what sampling confined to the menu would give. Where only one
token can follow nothing is computed, so a menu of one-token labels costs one evaluation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from hpcagent.llm.child.decode import Clock, OutOfTime, Run
from hpcagent.llm.child.load import Engine, failed
from hpcagent.llm.child.prompt import prompt
from hpcagent.llm.child.trie import Node, branches, build

_Json = Mapping[str, Any]
_Path = tuple[int, ...]


def answer(engine: Engine, request: _Json) -> dict[str, Any]:
    """{log_probabilities, tokens_in, tokens_cached, seconds}, in the menu's order, or {failure}."""
    clock = Clock(request["timeout_s"])
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
        walk = _Walk(engine, prompt_tokens[:common], clock)
        found = _ranked(walk, root, len(entries))
    except ValueError as error:
        return failed("unspeakable", str(error))
    except RuntimeError as error:
        return failed("decode", str(error))
    except OutOfTime:
        limit = f"{request['timeout_s']:g} s"
        return failed("timeout", f"no ranking within {limit}: the time was over before its end")
    return {
        "log_probabilities": found,
        "tokens_in": walk.tokens,
        "tokens_cached": walk.cached,
        "seconds": clock.seconds(),
    }


def _common(sequences: Sequence[Sequence[int]]) -> int:
    """How many first tokens all of them share."""
    columns = zip(*sequences, strict=False)
    return next((n for n, column in enumerate(columns) if len(set(column)) > 1), min(
        len(sequence) for sequence in sequences
    ))  # fmt: skip


class _Walk:
    """Goes from branching to branching of a menu, after the prompt."""

    def __init__(self, engine: Engine, start: _Path, clock: Clock) -> None:
        self.engine = engine
        self._start = start
        self._clock = clock
        self._run: Run | None = None
        self._path: _Path = ()
        self.tokens, self.cached = len(start), 0

    def logits(self, path: _Path) -> Any:
        """What may follow the prompt and `path`."""
        run, shared = self._run, _common([path, self._path])
        if run is None or not run.back(len(self._start) + shared):
            run, kept = self.engine.cache.read(self._start, self._clock)
            self.cached, shared = (kept if self._run is None else self.cached), 0
        self._run, self._path = run, path
        run.feed(path[shared:])
        self.tokens += len(path) - shared
        return run.logits()


def _ranked(walk: _Walk, root: Node, count: int) -> list[float]:
    """ln of each entry's probability."""
    found = [0.0] * count
    # In this order each path begins with all that the one before shares with it.
    for path, node in sorted(branches(root), key=lambda branch: branch[0]):
        for members, share in _shares(walk.engine, walk.logits(path), node):
            for entry in members:
                found[entry] += share
    return found


def _shares(engine: Engine, logits: Any, node: Node) -> list[tuple[list[int], float]]:
    """(entries, ln of the share) of each way to go on from `node`."""
    ways = [(_below(child), float(logits[token])) for token, child in node.children.items()]
    if node.entry is not None:
        ways.append(([node.entry], log_sum([float(logits[t]) for t in _ends(engine)])))
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


def _ends(engine: Engine) -> list[int]:
    """The tokens that end an answer; of a sequence and of a turn, where these differ."""
    import llama_cpp

    vocabulary = llama_cpp.llama_model_get_vocab(engine.llama.model)
    found = {llama_cpp.llama_vocab_eos(vocabulary), llama_cpp.llama_vocab_eot(vocabulary)}
    return sorted(found - {-1})


def log_sum(values: Sequence[float]) -> float:
    """ln of the sum of exp; minus infinity of nothing."""
    most = max(values, default=-math.inf)
    if math.isinf(most):
        return most
    return most + math.log(math.fsum(math.exp(value - most) for value in values))
