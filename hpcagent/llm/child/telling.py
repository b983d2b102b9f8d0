"""Tells the asker how far the answer to a request is, about once a second."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hpcagent.llm.child.decode import Clock, Decoder
from hpcagent.llm.progress import MEASURING, READING, WRITING

EVERY_S = 1.0


class Telling:
    """`tell` gets what llm.progress.read understands."""

    def __init__(
        self, tell: Callable[[Mapping[str, Any]], None], now: Callable[[], float] = time.monotonic
    ) -> None:
        self._tell = tell
        self._now = now
        self._last = now()
        self.begin()

    def begin(self) -> None:
        """Another request; nothing is known of its prompt yet."""
        self._prompt, self._before = 0, -1
        self._read = self._written = 0
        self._since = self._now()

    def reading(self, tokens: int) -> None:
        """A prompt of so many tokens is read now, and then an answer is written."""
        self.begin()
        self._prompt = tokens

    def evaluated(self, start: int, end: int) -> None:
        """The tokens from `start` to `end` of prompt and answer."""
        if not self._prompt:
            return
        if self._before < 0:
            self._before = min(start, self._prompt)
        if end <= self._prompt:
            self._read = end
            self._say(READING, end, self._prompt, self._before)
        else:
            if not self._written:
                self._since = self._now()
            self._written = end - self._prompt
            self._say(WRITING, self._written, 0, 0)

    def measured(self, repeats: int, of: int) -> None:
        self._say(MEASURING, repeats, of, 0)

    def late(self, limit_s: float) -> str:
        """Why there is no answer in the time, with the speed of what was not in the cache."""
        new, end = self._read - max(0, self._before), "; they are kept for the next question"
        words = f"{self._read} of {self._prompt} tokens of its prompt were read"
        if self._written:
            new, end = self._written, ""
            words = f"its prompt was read, and {new} tokens of the answer were written"
        seconds = self._now() - self._since
        speed = f", {new / seconds:.2g} a second" if new > 0 and seconds > 0 else ""
        return f"no answer within {limit_s:g} s: {words}{speed}{end}"

    def _say(self, what: str, done: int, of: int, before: int) -> None:
        now = self._now()
        if now - self._last >= EVERY_S:
            self._last = now
            seconds = now - self._since
            told = {"what": what, "done": done, "of": of, "before": before, "seconds": seconds}
            self._tell(told)


class TellingDecoder(Decoder):
    """A Decoder of which `telling` hears."""

    telling: Telling

    def decode(
        self, sequence: int, start: int, tokens: Sequence[int], clock: Clock, logits: bool
    ) -> None:
        super().decode(sequence, start, tokens, clock, logits)
        self.telling.evaluated(start, start + len(tokens))
