"""How finely a prompt that was read is reused: as finely as this engine computes the same bits.

On CPUs llama.cpp computes each token of a batch by itself, so that a token's keys and values are
the same bits in a batch of eight and of 96, as long as one kernel serves both. That rests on the
build (BLAS takes large batches only), the model's types and the processor, and is told nowhere. So
it is tried, once in a process, on the first long prompt: some of its tokens are read again in other
batches, and what these leave is compared, all keys and values and the logits of the last token.

Two things are tried. Whether the smallest batches, a block, one of an odd size and two that are
larger than a block agree: then batches may be of any size from the smallest on, from any multiple
of four. Where that is not so (kernels for even numbers of tokens, as on ARM), whether all smaller
sizes of a block agree: then parts of blocks are reused, and blocks stay as they are. Where a bit
differs there as well, only whole blocks are ever reused.

Not tried where what a token gives rests on the others of its batch: mixtures of experts gather the
tokens of each expert, recurrent layers pass through them in chunks. Nor on GPUs, whose blocks have
too many smaller sizes to try.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hpcagent.llm.child.decode import LEAST, Clock, Decoder

# Tokens: kernels for weights that are rearranged take so many of a batch at once, from its first.
GRAIN = 4
# Blocks of a prompt for which a trial pays: it reads 186 tokens more where all agree, 346 at most.
LONG = 16


class Trial:
    """`grain`: tokens, of which a multiple is reused of a prompt that goes on differently."""

    def __init__(self, decoder: Decoder) -> None:
        self.grain = decoder.block
        self._decoder = decoder
        self._open = decoder.room > decoder.block and decoder.rows_alone

    def due(self, kept: int, end: int, count: int) -> bool:
        """Whether to try now that a prompt of `count` tokens was read from `kept` to `end`."""
        block = self._decoder.block
        there = end >= 2 * block and end - kept >= block and count - end >= 2 * block
        return self._open and there and end % block == 0 and count > LONG * block

    def run(self, sequence: int, held: list[int], tokens: Sequence[int], clock: Clock) -> None:
        """Try with the last two blocks that were read of a prompt, `tokens`, and what comes next.

        The last one has just been read, with the logits of its last token. `held` is what the
        sequence holds, and is kept true; it may be more afterwards. OutOfTime before the end leaves
        the trial open.
        """
        block, room = self._decoder.block, self._decoder.room
        attempt = _Attempt(self._decoder, sequence, held, tokens, clock)
        if not attempt.parts_alike([LEAST]):
            attempt.read_again(block)
        elif attempt.parts_alike([LEAST + GRAIN]) and attempt.more_alike(block, room):
            self.grain, self._decoder.most = GRAIN, room
        else:
            attempt.read_again(block, room - block)
            if attempt.parts_alike(range(2 * LEAST, block, LEAST)):
                self.grain = LEAST
            else:
                attempt.read_again(block)
        self._open = False


@dataclass(frozen=True)
class _Attempt:
    """Reads tokens of a prompt anew; `held` is kept true."""

    decoder: Decoder
    sequence: int
    held: list[int]
    tokens: Sequence[int]
    clock: Clock

    def parts_alike(self, sizes: Iterable[int]) -> bool:
        """Whether parts of the last block, in these sizes, give the same bits as all of it."""
        return self._same(len(self.held), sizes)

    def more_alike(self, block: int, room: int) -> bool:
        """Whether an odd batch and an even one, of more than a block, are as blocks and a rest."""
        whole = len(self.held)
        odd, kept = whole + block - 1, (whole + block - 1) // LEAST * LEAST
        self._read(whole, odd)
        alike = self._same(odd, [room - 1])
        if alike:
            self._cut(kept)
            alike = self._same(kept, [2 * block], logits=False)
        if not alike:
            self._cut(whole)
        return alike

    def read_again(self, block: int, tokens: int = 0) -> None:
        """The last blocks, as many as `tokens` need, one at least, as they were read before."""
        end = len(self.held)
        for start in range(end - max(block, tokens // block * block), end, block):
            self._read(start, start + block)

    def _same(self, end: int, sizes: Iterable[int], logits: bool = True) -> bool:
        """Whether the last tokens before `end`, read in these sizes, leave what is there now.

        `logits`: those of the last token count, too, which must be the latest that was read.
        """
        before = self._left(logits)
        if not before:
            return False
        for size in sizes:
            self._read(end - size, end)
            if self._left(logits) != before:
                return False
        return True

    def _left(self, logits: bool) -> tuple[str, ...]:
        found = self.decoder.digests(self.sequence) or ()
        return found if logits else found[:1]

    def _read(self, start: int, end: int) -> None:
        """The prompt's tokens from `start` to `end` anew, in one batch; what came after is gone."""
        self._cut(start)
        batch = self.tokens[start:end]
        self.decoder.decode(self.sequence, start, batch, self.clock, logits=True)
        self.held.extend(batch)

    def _cut(self, length: int) -> None:
        self.decoder.cut(self.sequence, length)
        del self.held[length:]
