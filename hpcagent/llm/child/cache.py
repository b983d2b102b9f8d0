"""What the model has read stays evaluated, so that a prompt costs only what is new in it.

Floating-point sums may depend on how many tokens are evaluated together and on where they lie, and
an answer must not depend on what was asked before. So a prompt is evaluated in the same batches
(`plan`), at the same places, whatever of it is taken from the cache: sequences have cells of their
own (llama.cpp's streams), and only whole batches are reused, or parts of which the engine has seen
that they give the same bits; where it has seen that, it reads more at once (see grain.py). The last
tokens are read together with what is forced at the beginning of the answer: each batch costs as
much as three to six tokens more, and a token alone as much as five to ten.

Recurrent layers have one state for all that was read, of which no part can be forgotten. Of models
that have such layers the state is kept at some places (`marks`), and reading goes on from there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from hpcagent.llm.child.decode import LEAST, Clock, Decoder, Run, parts
from hpcagent.llm.child.grain import Trial
from hpcagent.llm.memory import MOST_STATES, kept_states


@dataclass
class Held:
    """The tokens of a prompt that a sequence holds, as far as they can be reused."""

    tokens: list[int] = field(default_factory=list)
    used: int = 0  # the number of the call that used it last
    states: dict[int, bytes] = field(default_factory=dict)  # of recurrent layers, by the length


def plan(count: int, block: int) -> tuple[int, ...]:
    """Where the whole batches of a prompt of `count` tokens end; at least LEAST are left."""
    return tuple(range(block, count - LEAST + 1, block))


def marks(ends: Sequence[int], shared: int, most: int) -> frozenset[int]:
    """Where states are kept of a prompt whose whole batches end at `ends`; at most `most`.

    Where it began to differ from one before, the next may, too; it may go on where this one ends;
    what else there is lies evenly between.
    """
    if not ends or most < 1:
        return frozenset()
    chosen = [end for end in (shared, ends[-1]) if end in ends][:most]
    left = most - len(chosen)
    return frozenset((*chosen, *(ends[len(ends) * n // (left + 1)] for n in range(1, left + 1))))


def reusable(held: Sequence[int], tokens: Sequence[int], whole: int, grain: int) -> int:
    """How many first tokens of a prompt are kept of one of which `held` can be.

    A multiple of `grain`, not beyond the prompt's own last batch of `whole` tokens: what comes
    after that is read together with the answer.
    """
    last = max(plan(len(tokens), whole), default=0)
    pairs = zip(held, tokens[:last], strict=False)
    common = next((n for n, (old, new) in enumerate(pairs) if old != new), min(len(held), last))
    return common // grain * grain


class Cache:
    """The sequences of one model; each caller finds its own again by what it has in common."""

    def __init__(self, decoder: Decoder, sequences: int) -> None:
        self._decoder = decoder
        self._held = [Held() for _ in range(sequences)]
        self._calls = 0
        self._states = MOST_STATES if decoder.keeps_state else 0
        self._trial = Trial(decoder)

    def read(self, tokens: Sequence[int], clock: Clock) -> tuple[Run, int]:
        """(the run that goes on after the prompt, how many of its tokens were in the cache).

        What is left of the prompt is fed to the run and not evaluated yet. OutOfTime where the
        clock says so; what was read till then is kept. RuntimeError where llama.cpp cannot go on.
        """
        self._calls += 1
        index, kept = self._place(tokens)
        held = self._held[index]
        held.used = self._calls
        places = marks(plan(len(tokens), self._decoder.block), kept, self._states)
        kept = self._cut(index, kept)
        while size := self._next(len(held.tokens), len(tokens)):
            start, end = len(held.tokens), len(held.tokens) + size
            tried = self._trial.due(kept, end, len(tokens))
            self._decoder.decode(index, start, tokens[start:end], clock, logits=tried)
            held.tokens += tokens[start:end]
            if end in places:
                self._keep(index, end)
            if tried:
                self._trial.run(index, held.tokens, tokens, clock)
        read = len(held.tokens)
        run = Run(self._decoder, index, read, clock)
        run.feed(tokens[read:])
        if self._alike:
            # What the run evaluates of them can be reused as well; `_held_of` sees how far it came.
            held.tokens = list(tokens[: len(tokens) // self._trial.grain * self._trial.grain])
        return run, kept

    @property
    def _alike(self) -> bool:
        """Whether the size of a batch is seen to make no difference."""
        return self._decoder.most > self._decoder.block

    def _next(self, start: int, count: int) -> int:
        """Tokens of the next batch of a prompt of `count`; 0: the rest is left to the run."""
        left = count - start
        if self._alike:
            size = parts(left, self._decoder.fitting())[0]
            return size if size < left else 0
        block = self._decoder.block
        size = block - start % block
        return size if left - size >= LEAST else 0

    def _held_of(self, index: int) -> list[int]:
        """The tokens of a sequence that can be reused; a run may have ended before it read all."""
        held = self._held[index].tokens
        return held[: self._decoder.length(index)] if self._alike else held

    def forget(self) -> None:
        """All of it, so that the next prompt is read as in a process that is new."""
        for index in range(len(self._held)):
            self._held[index] = Held()
            self._decoder.cut(index, 0)

    def _place(self, tokens: Sequence[int]) -> tuple[int, int]:
        """(sequence, tokens of it to keep): the one with most in common, or a copy of that part.

        A copy is made where another prompt would lose more than it keeps.
        """
        grain = self._trial.grain
        whole = grain if self._alike else self._decoder.block
        held = [self._held_of(index) for index in range(len(self._held))]
        common = [reusable(each, tokens, whole, grain) for each in held]
        best = max(range(len(common)), key=lambda index: (common[index], -index))
        oldest = min(range(len(common)), key=lambda index: (self._held[index].used, index))
        if common[best] == 0:
            return oldest, 0
        if 2 * common[best] >= len(held[best]) or len(common) == 1:
            return best, common[best]
        if oldest == best:
            others = [index for index in range(len(common)) if index != best]
            oldest = min(others, key=lambda index: (self._held[index].used, index))
        self._decoder.copy(best, oldest)
        self._held[oldest] = Held(list(held[best]), states=dict(self._held[best].states))
        return oldest, common[best]

    def _cut(self, index: int, kept: int) -> int:
        """Forget what comes after `kept`, or more where the model cannot; how much is left."""
        held = self._held[index]
        if not self._decoder.cut(index, kept):  # recurrent models cannot go back in part
            kept = max((length for length in held.states if length <= kept), default=0)
            if not kept or not self._decoder.bring_back(index, kept, held.states[kept]):
                self._decoder.cut(index, 0)
                kept = 0
        held.tokens = held.tokens[:kept]
        held.states = {length: state for length, state in held.states.items() if length <= kept}
        return kept

    def _keep(self, index: int, length: int) -> None:
        """The state of a sequence here; as many as there may be, those of the longest."""
        states = self._held[index].states
        states[length] = self._decoder.state(index)
        self._states = min(self._states, kept_states(len(states[length])))
        for least in sorted(states)[: max(0, len(states) - self._states)]:
            del states[least]
