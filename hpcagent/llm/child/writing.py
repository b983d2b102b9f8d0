"""Writes an answer: free text, or the parts of an outline with all that is forced put in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hpcagent.llm.child.confined import Matcher
from hpcagent.llm.child.decode import Run
from hpcagent.llm.child.prompt import THOUGHT_BEGINS, THOUGHT_ENDS
from hpcagent.llm.child.sampling import Sampler
from hpcagent.llm.child.trie import build, stretch
from hpcagent.llm.child.vocabulary import Unspeakable, Vocabulary

Part = tuple[str, Any, str]  # as grammar.outline makes them


class Full(Exception):
    """The answer has as many tokens as it may have, and is not at its end."""


@dataclass
class Written:
    """What has come of an answer so far."""

    text: bytearray = field(default_factory=bytearray)
    thinking: bytearray = field(default_factory=bytearray)
    tokens: int = 0
    first_token_s: float | None = None
    ended: bool = False


class Writer:
    """Feeds a run with what is forced and what is drawn; `written` holds it at any time."""

    def __init__(self, run: Run, sampler: Sampler, vocabulary: Vocabulary, most: int) -> None:
        self._run = run
        self._sampler = sampler
        self._vocabulary = vocabulary
        self._left = most
        self.written = Written()

    def free(self) -> None:
        """Text until the model ends it; Full where it does not."""
        while not self.written.ended:
            self.step()

    def step(self) -> None:
        """One token more of a free text, or its end."""
        token = self._drawn()
        if self._vocabulary.is_end(token):
            self.written.ended = True
        else:
            self._put([token], self.written.text)

    def think(self, most: int, begun: bool) -> None:
        """At most `most` tokens of thoughts, between their marks; `begun` where the prompt has the
        first one."""
        spell = self._vocabulary.spell
        if not begun:
            self._run.feed(spell(THOUGHT_BEGINS + "\n", special=True))
        closing = spell(THOUGHT_ENDS, special=True)
        kept, self._left = self._left, most
        if not self._thoughts(closing):
            self._run.feed(closing)
        self._left = kept
        self._run.feed(spell("\n\n"))

    def _thoughts(self, closing: Sequence[int]) -> bool:
        """Whether the model closed them itself."""
        mark, thinking = THOUGHT_ENDS.encode(), self.written.thinking
        while self._left:
            token = self._drawn()
            if self._vocabulary.is_end(token):
                return False
            self._put([token], thinking)
            if [token] == closing or thinking.endswith(mark):
                return True
        return False

    def follow(self, parts: Sequence[Part]) -> None:
        """The parts of an outline; Full where they take too many tokens."""
        for kind, what, then in parts:
            if kind == "fixed":
                self._force(then)
            elif kind == "choice":
                self._choose(what, then)
            else:
                self._fill(what, then)
        self.written.ended = True

    def confined(self, matcher: Matcher) -> None:
        """What a grammar admits, to its end; Full where that takes too many tokens."""
        while not matcher.ended:
            token = self._drawn()
            if not matcher.admits(token) or self._vocabulary.is_end(token):
                allowed = [t for t in matcher.all() if not self._vocabulary.is_end(t)]
                if not allowed:
                    raise Unspeakable("its vocabulary has no token that may come next")
                token = self._sampler.draw_from(allowed)
            self._put([token], self.written.text)
            matcher.take(token)
        self.written.ended = True

    def _choose(self, values: Sequence[str], then: str) -> None:
        """One of `values`; what follows ends it, so that none begins like another."""
        node = build([self._vocabulary.spell(value + then) for value in values])
        while True:
            forced, node = stretch(node)
            self._put(forced, self.written.text)
            if not node.children:
                return
            token = self._sampler.draw_from(list(node.children))
            self._mark()
            self._put([token], self.written.text)
            node = node.children[token]

    def _fill(self, most: int, then: str) -> None:
        """At most `most` characters, and what follows: a quote and more, drawn as it comes."""
        ends = self._endings(then)
        left = most
        while True:
            token = self._drawn()
            size = int(self._vocabulary.free_lengths[token])
            if not (0 < size <= left or ends.get(token, (most + 1, ""))[0] <= left):
                token = self._sampler.draw_from(self._allowed(left, ends))
                size = int(self._vocabulary.free_lengths[token])
            self._put([token], self.written.text)
            if token in ends:
                self._force(ends[token][1])
                return
            left -= size

    def _endings(self, then: str) -> dict[int, tuple[int, str]]:
        """token: (characters of text before the quote in it, what must still follow it)."""
        rest = then[1:].encode()
        return {
            token: (before, rest[len(after) :].decode())
            for token, before, after in self._vocabulary.closing
            if rest.startswith(after)
        }

    def _allowed(self, left: int, ends: dict[int, tuple[int, str]]) -> Any:
        import numpy as np

        lengths = self._vocabulary.free_lengths
        fitting = np.flatnonzero((lengths > 0) & (lengths <= left))
        closing = [token for token, (before, _) in ends.items() if before <= left]
        allowed = np.concatenate([fitting, np.array(closing, dtype=fitting.dtype)])
        if len(allowed) == 0:
            raise Unspeakable("its vocabulary has no token that ends a text")
        return allowed

    def _force(self, text: str) -> None:
        self._put(self._vocabulary.spell(text), self.written.text)

    def _drawn(self) -> int:
        token = self._sampler.draw()
        self._mark()
        return token

    def _mark(self) -> None:
        if self.written.first_token_s is None:
            self.written.first_token_s = self._run.seconds()

    def _put(self, tokens: Sequence[int], into: bytearray) -> None:
        fitting = tokens[: self._left]
        for token in fitting:
            into += self._vocabulary.piece(token)
        self._left -= len(fitting)
        self.written.tokens += len(fitting)
        if len(fitting) < len(tokens):
            raise Full
        self._run.feed(tokens)
