"""The operation "rank": how probable each entry of a menu is as the answer to a chat.

An entry's probability is the product of the model's probabilities of its tokens, each among those
that the menu allows at that place: what sampling confined to the menu would give. Where only one
token can follow nothing is computed, so a menu of one-token labels costs one evaluation.

A reason may come first: then the answer is JSON, {"reason": ..., "choice": ENTRY}, written up to
the choice. What is ranked then goes on from what has been evaluated; nothing is read again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hpcagent.llm.child.chat import Chat
from hpcagent.llm.child.decode import Clock, OutOfTime, Run
from hpcagent.llm.child.load import Engine, failed
from hpcagent.llm.child.sampling import Filters, Sampler
from hpcagent.llm.child.trie import Node, branches, build
from hpcagent.llm.child.writing import Full, Writer

_Json = Mapping[str, Any]
_Path = tuple[int, ...]


@dataclass(frozen=True)
class _Place:
    """Where the choice is made: the run up to there, and each entry's tokens from there on."""

    run: Run
    entries: Sequence[_Path]
    tokens_in: int
    cached: int
    tokens_out: int = 0
    reason: str = ""


def answer(engine: Engine, request: _Json) -> dict[str, Any]:
    """{log_probabilities, reason, tokens_in, tokens_cached, tokens_out, seconds}, or {failure}.

    The probabilities are in the order of the menu.
    """
    clock = Clock(request["timeout_s"])
    chat = engine.chat(request["messages"])
    try:
        place = (_written if request["outline"] else _read)(engine, request, chat, clock)
        if isinstance(place, dict):
            return place
        walk = _Walk(place.run)
        found = _ranked(engine, walk, build(place.entries), len(place.entries))
    except ValueError as error:
        return failed("unspeakable", str(error))
    except Full:
        return failed("truncated", f"no end of its reason in {request['max_tokens']} tokens")
    except RuntimeError as error:
        return failed("decode", str(error))
    except OutOfTime:
        return failed("timeout", engine.telling.late(request["timeout_s"]))
    return {
        "log_probabilities": found,
        "reason": place.reason,
        "tokens_in": place.tokens_in,
        "tokens_cached": place.cached,
        "tokens_out": place.tokens_out + walk.tokens,
        "seconds": clock.seconds(),
    }


def _read(engine: Engine, request: _Json, chat: Chat, clock: Clock) -> _Place | dict[str, Any]:
    """The prompt, and the entries as they are spelt after it."""
    try:
        # With the prompt before it: what an entry's first token is depends on it.
        prompt_tokens, *entries = [tuple(chat.tokens(end)) for end in ("", *request["menu"])]
    except RuntimeError as error:
        return failed("unspeakable", str(error))
    common = _common([prompt_tokens, *entries])
    longest = max(map(len, entries)) - len(prompt_tokens)
    too_long = _too_long(engine, len(prompt_tokens), longest)
    if too_long is not None:
        return too_long
    engine.telling.reading(common)
    run, cached = engine.cache.read(prompt_tokens[:common], clock)
    return _Place(run, [entry[common:] for entry in entries], common, cached)


def _written(engine: Engine, request: _Json, chat: Chat, clock: Clock) -> _Place | dict[str, Any]:
    """The prompt, the reason after it, and the entries as JSON has them after that."""
    try:
        tokens = chat.tokens()
    except RuntimeError as error:
        return failed("unspeakable", str(error))
    too_long = _too_long(engine, len(tokens), request["max_tokens"])
    if too_long is not None:
        return too_long
    engine.telling.reading(len(tokens))
    run, cached = engine.cache.read(tokens, clock)
    *before, (_, values, then) = request["outline"]
    sampler = Sampler(run, Filters.of(request["sampling"]), request["seed"])
    writer = Writer(run, sampler, engine.vocabulary, request["max_tokens"])
    try:
        writer.follow(before)
    finally:
        sampler.close()
    entries = [tuple(engine.vocabulary.spell(value + then)) for value in values]
    opening, ending = before[0][2], before[-1][2]
    said = bytes(writer.written.text).decode("utf-8", "replace")
    reason = said.removeprefix(opening).removesuffix(ending)
    return _Place(run, entries, len(tokens), cached, writer.written.tokens, reason)


def _too_long(engine: Engine, prompt_tokens: int, longest: int) -> dict[str, Any] | None:
    if prompt_tokens + longest <= engine.context:
        return None
    return failed(
        "context_overflow",
        f"{prompt_tokens} tokens of prompt and up to {longest} of answer"
        f" exceed the context of {engine.context}",
    )


def _common(sequences: Sequence[Sequence[int]]) -> int:
    """How many first tokens all of them share."""
    columns = zip(*sequences, strict=False)
    return next((n for n, column in enumerate(columns) if len(set(column)) > 1), min(
        len(sequence) for sequence in sequences
    ))  # fmt: skip


class _Walk:
    """Goes from branching to branching of a menu."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._start = run.length
        self._path: _Path = ()
        self.tokens = 0

    def keep(self) -> None:
        """There will be more than one branching."""
        self._run.keep()

    def logits(self, path: _Path) -> Any:
        """What may follow `path`; RuntimeError where the model cannot go back."""
        shared = _common([path, self._path])
        if not self._run.back(self._start + shared):
            shared = 0
            if not self._run.return_to_kept():
                raise RuntimeError("this model cannot go back within a menu")
        self._run.feed(path[shared:])
        self._path = path
        self.tokens += len(path) - shared
        return self._run.logits()


def _ranked(engine: Engine, walk: _Walk, root: Node, count: int) -> list[float]:
    """ln of each entry's probability."""
    found = [0.0] * count
    # In this order each path begins with all that the one before shares with it.
    ways = sorted(branches(root), key=lambda branch: branch[0])
    if len(ways) > 1:
        walk.keep()
    for path, node in ways:
        for members, share in _shares(engine, walk.logits(path), node):
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
