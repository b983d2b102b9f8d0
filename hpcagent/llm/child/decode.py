"""Evaluates tokens: batches for llama_decode, and the run of an answer being written."""

from __future__ import annotations

import ctypes
import hashlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

from hpcagent.llm.child.pace import Pace

# Tokens; the kernels of llama.cpp for a few tokens give other bits than those for more (of its
# types for CPUs here, up to seven).
LEAST = 8
_BATCH_S = 10.0
_SLOWER = 1.2  # than before: what else the machine does is not known beforehand


class OutOfTime(Exception):
    """The next evaluation would end after the time limit."""


class Clock:
    """The time limit of one answer, from now on; it ends a little before the asker's own."""

    _MARGIN = 0.25  # of the limit, at most a second: the way back, and one token more than thought

    def __init__(self, limit_s: float) -> None:
        self.started = time.monotonic()
        self._end = self.started + limit_s - min(1.0, self._MARGIN * limit_s)

    def seconds(self) -> float:
        return time.monotonic() - self.started

    def check(self, needed_s: float) -> None:
        """OutOfTime unless `needed_s` are left."""
        if time.monotonic() + needed_s > self._end:
            raise OutOfTime


def parts(count: int, most: int) -> list[int]:
    """Sizes of the batches that `count` tokens are read in, one after another.

    At most `most` (a multiple of LEAST, twice that at least) and as few as that allows; all but the
    last are multiples of LEAST, and none is smaller than LEAST unless `count` is.
    """
    sizes = []
    while count > most:
        sizes.append(most if count - most >= LEAST else most - LEAST)
        count -= sizes[-1]
    return [*sizes, count]


def fitting(block: int, most: int, took: Mapping[int, float]) -> int:
    """`most` tokens, or fewer, a block at least, where these would take more than 10 s.

    A time limit is looked at, and the asker hears, between batches. `took` are seconds, by tokens.
    """
    largest = max(took, default=0)
    if most == block or not largest:
        return most
    slowly = int(_BATCH_S * largest / took[largest]) // LEAST * LEAST
    return max(block, min(most, slowly))


def learnt(took: Mapping[int, float], tokens: int, seconds: float) -> dict[int, float]:
    """Seconds by tokens, with one batch more: fewer take no longer, whatever they once took."""
    return {n: min(s, seconds) if n < tokens else s for n, s in took.items()} | {tokens: seconds}


class Decoder:
    """A llama.cpp context of `sequences` times `context` tokens, up to `room` of them at once.

    `most` is how many are read at once: `block`, until more are seen to give the same bits.
    `pace` sets how many threads compute; without it all do that `llama` was opened with.
    """

    def __init__(
        self,
        llama: Any,
        context: int,
        sequences: int,
        block: int,
        room: int,
        pace: Pace | None = None,
    ) -> None:
        import llama_cpp

        self._api = llama_cpp
        self._llama = llama  # whose model must outlive the context
        self.block = self.most = block
        self.room = room
        self.context = _open(llama, context, sequences, room)
        self._memory = llama_cpp.llama_get_memory(self.context)
        self._values = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(llama.model))
        self._batch = _Batch(room)
        model = llama.model
        self.keeps_state = bool(
            llama_cpp.llama_model_is_recurrent(model) or llama_cpp.llama_model_is_hybrid(model)
        )
        # Whether what a token gives is computed without the tokens after it in its batch.
        self.rows_alone = not self.keeps_state and not _experts(llama.metadata)
        self._took: dict[int, float] = {}  # seconds, by the tokens of a batch
        self._pace = pace

    def decode(
        self, sequence: int, start: int, tokens: Sequence[int], clock: Clock, logits: bool
    ) -> None:
        """Evaluate at most `room` tokens at positions from `start`; RuntimeError, OutOfTime."""
        clock.check(_SLOWER * self._expected(len(tokens)))
        before = time.monotonic()
        batch = self._batch.filled(sequence, start, tokens, logits)
        result = self._paced(batch) if self._pace else self._api.llama_decode(self.context, batch)
        if result != 0:
            raise RuntimeError(f"llama_decode returned {result}")
        self._took = learnt(self._took, len(tokens), time.monotonic() - before)

    def fitting(self) -> int:
        """Tokens to read at once."""
        return fitting(self.block, self.most, self._took)

    def _expected(self, count: int) -> float:
        """Seconds of a batch, by those of smaller ones; a few tokens alone tell nothing of more."""
        smaller = {n: s for n, s in self._took.items() if n <= count}
        nearest = max(smaller, default=0)
        grown = smaller[nearest] * count / nearest if nearest >= LEAST else 0.0
        larger = min((s for n, s in self._took.items() if n > count), default=grown)
        return max([min(grown, larger), *smaller.values()], default=0.0)

    def _paced(self, batch: Any) -> int:
        assert self._pace
        before = self._pace.threads
        self._pace.begin()
        result = self._api.llama_decode(self.context, batch)
        self._pace.end()
        if self._pace.threads != before:
            threads = self._pace.threads
            self._api.llama_set_n_threads(self.context, threads, threads)
        return int(result)

    def logits(self) -> Any:
        """Of the latest evaluation: one value a token of the vocabulary, a numpy view."""
        import numpy as np

        pointer = self._api.llama_get_logits_ith(self.context, -1)
        if not pointer:
            raise RuntimeError("llama.cpp has no logits")
        return np.ctypeslib.as_array(pointer, shape=(self._values,))

    def length(self, sequence: int) -> int:
        """Tokens that a sequence holds."""
        return int(self._api.llama_memory_seq_pos_max(self._memory, sequence)) + 1

    def cut(self, sequence: int, length: int) -> bool:
        """Forget a sequence beyond `length`; False where the model cannot."""
        return bool(self._api.llama_memory_seq_rm(self._memory, sequence, length, -1))

    def state(self, sequence: int) -> bytes:
        """Of the recurrent layers: what a sequence is brought back to, where it cannot be cut."""
        flags = self._api.LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY
        size = self._api.llama_state_seq_get_size_ext(self.context, sequence, flags)
        held = (ctypes.c_uint8 * size)()
        got = self._api.llama_state_seq_get_data_ext(self.context, held, size, sequence, flags)
        return bytes(held) if got == size else b""

    def bring_back(self, sequence: int, length: int, state: bytes) -> bool:
        """Cut to `length`, of which `state` is; False where that fails, and all is forgotten."""
        held = (ctypes.c_uint8 * len(state)).from_buffer_copy(state)
        flags = self._api.LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY
        done = self._api.llama_state_seq_set_data_ext(
            self.context, held, len(state), sequence, flags
        )
        if done and self.cut(sequence, length):
            return True
        self.cut(sequence, 0)
        return False

    def digests(self, sequence: int) -> tuple[str, str] | None:
        """Of all keys and values of a sequence, and of the latest logits; None: untold."""
        size = self._api.llama_state_seq_get_size(self.context, sequence)
        held = (ctypes.c_uint8 * size)()
        got = self._api.llama_state_seq_get_data(self.context, held, size, sequence)
        if got != size:
            return None
        return hashlib.sha256(held).hexdigest(), hashlib.sha256(self.logits()).hexdigest()

    def copy(self, source: int, target: int) -> None:
        self._api.llama_memory_seq_rm(self._memory, target, -1, -1)
        self._api.llama_memory_seq_cp(self._memory, source, target, -1, -1)


class Run:
    """One sequence that is being written; what is fed to it is evaluated when it is needed."""

    def __init__(self, decoder: Decoder, sequence: int, length: int, clock: Clock) -> None:
        self._decoder = decoder
        self._sequence = sequence
        self._length = length
        self._clock = clock
        self._fed: list[int] = []
        self._kept: tuple[int, bytes] = (0, b"")

    @property
    def context(self) -> Any:
        return self._decoder.context

    def seconds(self) -> float:
        """Since the question."""
        return self._clock.seconds()

    @property
    def length(self) -> int:
        """Of all that was fed, with what came before."""
        return self._length + len(self._fed)

    def back(self, length: int) -> bool:
        """Forget what was fed beyond `length`; False where the model cannot."""
        evaluated = min(self._length, length)
        if evaluated < self._length and not self._decoder.cut(self._sequence, evaluated):
            return False
        self._fed = self._fed[: length - evaluated] if evaluated == self._length else []
        self._length = evaluated
        return True

    def keep(self) -> None:
        """Make it possible to come back to this place, with a model that cannot forget a part."""
        if self._decoder.keeps_state:
            self.evaluate()
            self._kept = (self._length, self._decoder.state(self._sequence))

    def return_to_kept(self) -> bool:
        length, state = self._kept
        self._fed = []
        if not state or not self._decoder.bring_back(self._sequence, length, state):
            return False
        self._length = length
        return True

    def feed(self, tokens: Sequence[int]) -> None:
        self._fed += tokens

    def logits(self) -> Any:
        """What the model thinks may come next (see Decoder.logits)."""
        self.evaluate()
        return self._decoder.logits()

    def evaluate(self) -> None:
        """All that was fed."""
        for size in parts(len(self._fed), self._decoder.fitting()) if self._fed else ():
            part, self._fed = self._fed[:size], self._fed[size:]
            self._decoder.decode(
                self._sequence, self._length, part, self._clock, logits=not self._fed
            )
            self._length += len(part)


class _Batch:
    """A llama_batch of our own arrays, used again and again."""

    def __init__(self, most: int) -> None:
        import llama_cpp

        self._tokens = (llama_cpp.llama_token * most)()
        self._positions = (llama_cpp.llama_pos * most)()
        self._counts = (ctypes.c_int32 * most)(*[1] * most)
        self._sequence = (llama_cpp.llama_seq_id * 1)()
        pointer = ctypes.POINTER(llama_cpp.llama_seq_id)
        same = ctypes.cast(self._sequence, pointer)
        self._sequences = (pointer * most)(*[same] * most)
        self._wanted = (ctypes.c_int8 * most)()
        self._batch = llama_cpp.llama_batch(
            n_tokens=0,
            token=self._tokens,
            embd=None,
            pos=self._positions,
            n_seq_id=self._counts,
            seq_id=self._sequences,
            logits=self._wanted,
        )

    def filled(self, sequence: int, start: int, tokens: Sequence[int], logits: bool) -> Any:
        count = len(tokens)
        self._tokens[:count] = tokens
        self._positions[:count] = range(start, start + count)
        self._sequence[0] = sequence
        self._wanted[:count] = [0] * count
        self._wanted[count - 1] = logits
        self._batch.n_tokens = count
        return self._batch


def _experts(metadata: Mapping[str, str]) -> bool:
    return any(
        key.endswith(".expert_count") and value.strip("0") for key, value in metadata.items()
    )


def attention() -> int:
    """Flash attention where a GPU computes.

    On CPUs llama.cpp's is twice as slow for one token, or a few, after a thousand others, and
    only a little faster for whole blocks.
    """
    import llama_cpp

    if llama_cpp.llama_supports_gpu_offload():
        return int(llama_cpp.LLAMA_FLASH_ATTN_TYPE_AUTO)
    return int(llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED)


def _open(llama: Any, context: int, sequences: int, room: int) -> Any:
    """A context beside the binding's own, whose cache is not reached by several sequences."""
    import llama_cpp

    parameters = llama_cpp.llama_context_default_params()
    parameters.n_ctx = context * sequences
    parameters.n_seq_max = sequences
    parameters.kv_unified = False
    parameters.n_batch = parameters.n_ubatch = room
    parameters.n_threads = llama.n_threads
    parameters.n_threads_batch = llama.n_threads_batch
    parameters.flash_attn_type = attention()
    opened = llama_cpp.llama_init_from_model(llama.model, parameters)
    if not opened:
        raise ValueError(f"no memory for {sequences} x {context} tokens of context")
    return opened
