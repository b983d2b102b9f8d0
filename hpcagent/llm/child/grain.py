"""How finely a prompt that was read is reused: as finely as this engine computes the same bits.

On CPUs llama.cpp computes each token of a batch by itself, so that a token's keys and values are
the same bits in a batch of eight and of 32, as long as one kernel serves both. That rests on the
build (BLAS takes large batches only), the model's types and the processor, and is told nowhere. So
it is tried, once in a process: a block of the first long prompt is read again in each of the
smaller sizes, and what it leaves is compared, all keys and values and the logits of its last token.
Where a bit differs only whole blocks are ever reused.

Not tried where what a token gives rests on the others of its batch: mixtures of experts gather the
tokens of each expert, recurrent layers pass through them in chunks. Nor on GPUs, whose blocks have
too many smaller sizes to try.
"""

from __future__ import annotations

from collections.abc import Sequence

from hpcagent.llm.child.decode import Clock, Decoder, OutOfTime
from hpcagent.llm.memory import CPU_BATCH

GRAIN = 8  # tokens; with 4, seven sizes would have to be tried, and that costs more than it saves
LONG = 16  # blocks of a prompt for which a trial pays: it reads one and a half more


class Trial:
    """`grain`: tokens, of which a multiple is reused of a prompt that goes on differently."""

    def __init__(self, decoder: Decoder) -> None:
        self.grain = decoder.block
        self._decoder = decoder
        self._open = decoder.block == CPU_BATCH and decoder.rows_alone

    def due(self, kept: int, end: int, count: int) -> bool:
        """Whether to try now that a prompt of `count` tokens was read from `kept` to `end`."""
        block = self._decoder.block
        return self._open and kept <= block and end == 2 * block and count > LONG * block

    def run(self, sequence: int, tokens: list[int], clock: Clock) -> None:
        """Read the second of two blocks, `tokens`, in every size that a multiple of GRAIN leaves.

        It has just been read as a whole, with the logits of its last token. OutOfTime before the
        end leaves the trial open, and in `tokens` what the sequence holds.
        """
        self._open = False
        try:
            if self._same(sequence, tokens, clock):
                self.grain = GRAIN
        except OutOfTime:
            self._open = True
            raise

    def _same(self, sequence: int, tokens: list[int], clock: Clock) -> bool:
        block, whole = self._decoder.block, list(tokens)
        before = self._decoder.digests(sequence)
        if before is None:
            return False
        for start in range(2 * block - GRAIN, block, -GRAIN):
            if self._read(sequence, tokens, whole, start, clock) != before:
                self._read(sequence, tokens, whole, block, clock)
                return False
        return True

    def _read(
        self, sequence: int, held: list[int], whole: Sequence[int], start: int, clock: Clock
    ) -> tuple[str, str] | None:
        """What all tokens from `start` leave, evaluated together; `held` is what is there."""
        self._decoder.cut(sequence, start)
        del held[start:]
        self._decoder.decode(sequence, start, whole[start:], clock, logits=True)
        held += whole[start:]
        return self._decoder.digests(sequence)
