"""How finely a read prompt is reused: only as finely as the bits were seen to be the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_gguf import Shape, make_tiny_gguf, many_words
from tiny_kinds import make_kind

from hpcagent.llm.child.decode import LEAST, Clock, OutOfTime, fitting, learnt, parts
from hpcagent.llm.child.grain import GRAIN, LONG, Trial
from hpcagent.llm.llamacpp import LlamaCpp
from hpcagent.llm.memory import CPU_BATCH
from hpcagent.llm.memory import CPU_BLOCK as BLOCK
from hpcagent.records import Limits, Message, Reply

CLOCK = Clock(60)
ROOM = CPU_BATCH
LONG_PROMPT = list(range(LONG * BLOCK + 1))


def sizes(batch: int) -> str:
    """Bits that a batch of this size gives its tokens, where the size makes no difference."""
    return "the same"


class Computer:
    """A decoder; `bits` says what a batch of a size gives its tokens, `late` ends the time there.

    Tokens of whole groups of four may be computed by another kernel than what is left of a batch,
    as llama.cpp does for weights that it has rearranged (`groups`).
    """

    silent = False

    def __init__(
        self,
        bits: Callable[[int], object] = sizes,
        late: int = 0,
        alone: bool = True,
        groups: bool = False,
    ) -> None:
        self.block = self.most = BLOCK
        self.room, self.rows_alone = ROOM, alone
        self.held: list[tuple[int, object]] = []
        self.read: list[int] = []
        self._bits, self._late, self._groups = bits, late, groups

    def decode(
        self, sequence: int, start: int, tokens: list[int], clock: Clock, logits: bool
    ) -> None:
        assert start == len(self.held), "as llama.cpp: a sequence has no holes"
        assert len(tokens) <= self.room
        if len(tokens) == self._late:
            raise OutOfTime
        self.read.append(len(tokens))
        rest = len(tokens) // 4 * 4 if self._groups else len(tokens)
        bits = self._bits(len(tokens))
        self.held += [(t, (bits, n >= rest)) for n, t in enumerate(tokens)]

    def cut(self, sequence: int, length: int) -> bool:
        del self.held[length:]
        return True

    def digests(self, sequence: int) -> tuple[str, str] | None:
        return None if self.silent else (str(self.held), str(self.held[-1]))


def told_of(reply: Reply) -> str:
    return reply.failure.kind if reply.failure else ""


def tried(computer: Computer, first: int = 0) -> tuple[Trial, list[int]]:
    """A trial of a prompt whose first blocks were just read, and what it leaves of the prompt."""
    trial, held = Trial(computer), LONG_PROMPT[: 2 * BLOCK]  # type: ignore[arg-type]
    for start in (0, BLOCK):
        computer.decode(0, start, held[start : start + BLOCK], CLOCK, logits=True)
    computer.read.clear()
    computer._late = first or computer._late
    try:
        trial.run(0, held, LONG_PROMPT, CLOCK)
    except OutOfTime:
        assert trial.due(0, 2 * BLOCK, len(LONG_PROMPT)), "it is made again"
    assert held == [token for token, _ in computer.held], "it knows what is left"
    return trial, held


def as_blocks(computer: Computer) -> bool:
    """Whether all that is held is as whole blocks gave it."""
    whole = Computer(computer._bits, groups=computer._groups)
    for start in range(0, len(computer.held), BLOCK):
        whole.decode(0, start, LONG_PROMPT[start : start + BLOCK], CLOCK, logits=True)
    return whole.held == computer.held


@pytest.mark.parametrize("groups", [False, True])
def test_where_all_sizes_give_the_same_bits_a_prompt_is_read_in_batches_of_any_size(
    groups: bool,
) -> None:
    computer = Computer(lambda size: size < LEAST, groups=groups)
    trial, held = tried(computer)
    assert (trial.grain, computer.most) == (GRAIN, ROOM)
    assert len(held) > 2 * BLOCK and len(held) % LEAST == 0, "what was read is kept"
    assert not any(other for _, bits in computer.held for other in bits)
    assert sum(computer.read) <= 186 + len(held) - 2 * BLOCK
    assert not trial.due(0, 2 * BLOCK, 9999), "once in a process"


@pytest.mark.parametrize("threshold", range(LEAST + 1, ROOM))
def test_a_kernel_for_more_or_fewer_tokens_leaves_whole_blocks_or_its_parts(threshold: int) -> None:
    """As a BLAS has one for large batches."""
    computer = Computer(lambda size: size >= threshold)
    trial, _ = tried(computer)
    assert computer.most == BLOCK and as_blocks(computer)
    assert trial.grain == (LEAST if threshold > BLOCK else BLOCK)
    assert not trial.due(0, 2 * BLOCK, 9999)


def test_a_kernel_for_even_numbers_leaves_parts_of_blocks() -> None:
    """As processors of ARM have, which multiply two rows by two."""
    computer = Computer(lambda size: size % 2)
    trial, held = tried(computer)
    assert (trial.grain, computer.most) == (LEAST, BLOCK)
    assert as_blocks(computer) and len(held) == 2 * BLOCK


@pytest.mark.parametrize(
    "bits", [lambda size: size > BLOCK and size % 4 == 0, lambda size: 40 < size < 90]
)
def test_a_kernel_for_some_larger_batches_leaves_parts_of_blocks(
    bits: Callable[[int], object],
) -> None:
    computer = Computer(bits)
    trial, _ = tried(computer)
    assert (trial.grain, computer.most) == (LEAST, BLOCK) and as_blocks(computer)


def test_where_four_tokens_more_differ_parts_of_eight_are_reused() -> None:
    trial, _ = tried(computer := Computer(lambda size: size % LEAST))
    assert (trial.grain, computer.most) == (LEAST, BLOCK) and as_blocks(computer)


@pytest.mark.parametrize("other", [2 * LEAST, 3 * LEAST])
def test_where_a_part_of_a_block_differs_whole_blocks_are_reused(other: int) -> None:
    computer = Computer(lambda size: size % 2 or size == other)
    trial, _ = tried(computer)
    assert (trial.grain, computer.most) == (BLOCK, BLOCK) and as_blocks(computer)
    assert sum(computer.read) <= 346


def test_where_keys_and_values_are_not_told_whole_blocks_are_reused() -> None:
    computer = Computer()
    computer.silent = True
    trial, _ = tried(computer)
    assert trial.grain == BLOCK and computer.most == BLOCK and as_blocks(computer)
    assert not trial.due(0, 2 * BLOCK, 9999)


@pytest.mark.parametrize("late", [LEAST, BLOCK - 1, ROOM - 1])
@pytest.mark.parametrize("bits", [sizes, lambda size: size % 2])
def test_a_trial_that_runs_out_of_time_is_made_again(
    late: int, bits: Callable[[int], object]
) -> None:
    trial, _ = tried(computer := Computer(bits), first=late)
    assert trial.grain == BLOCK and computer.most == BLOCK


def test_only_a_long_prompt_is_tried_and_only_after_two_blocks() -> None:
    trial, long = Trial(Computer()), LONG * BLOCK + 1  # type: ignore[arg-type]
    assert trial.due(0, 2 * BLOCK, long) and trial.due(BLOCK, 2 * BLOCK, long)
    assert trial.due(8 * BLOCK, 9 * BLOCK, long), "whatever of it was there before"
    assert not trial.due(0, 2 * BLOCK, long - 1), "it would cost more than it saves"
    assert not trial.due(0, BLOCK, long) and not trial.due(0, long // BLOCK * BLOCK, long)
    assert not trial.due(2 * BLOCK, 2 * BLOCK + LEAST, long)
    mixed = Trial(Computer(alone=False))  # type: ignore[arg-type]
    assert not mixed.due(0, 2 * BLOCK, long) and mixed.grain == BLOCK


@given(st.lists(st.tuples(st.integers(1, 96), st.floats(0.01, 100.0)), max_size=8))
def test_fewer_tokens_are_never_thought_to_take_longer_than_more_took_last(
    batches: list[tuple[int, float]],
) -> None:
    took: dict[int, float] = {}
    for tokens, seconds in batches:
        took = learnt(took, tokens, seconds)
        assert all(s <= seconds for n, s in took.items() if n <= tokens)


@given(count=st.integers(1, 999), most=st.integers(2, 40).map(lambda n: n * LEAST))
def test_a_prompt_is_parted_into_few_batches_none_of_them_small(count: int, most: int) -> None:
    found = parts(count, most)
    assert sum(found) == count and max(found) <= most
    assert len(found) == -(-count // most)
    assert all(size % LEAST == 0 for size in found[:-1])
    assert min(found) >= min(LEAST, count)


@pytest.mark.parametrize(
    ("took", "tokens"),
    [
        ({}, ROOM),
        ({8: 0.5}, ROOM),
        ({32: 8.0}, 40),
        ({1: 9.0, 96: 20.0}, 48),
        ({96: 500.0}, BLOCK),
    ],
)
def test_a_slow_model_reads_fewer_tokens_at_once(took: dict[int, float], tokens: int) -> None:
    """So that a time limit is kept and it can be seen how far it is."""
    assert fitting(BLOCK, ROOM, took) == tokens
    assert fitting(BLOCK, BLOCK, took) == BLOCK, "whole blocks where batches are not seen alike"


@pytest.mark.llama
@pytest.mark.parametrize("quantised", [False, True])
def test_wherever_a_prompt_goes_on_differently_it_answers_as_a_cold_one(
    tmp_path: Path, quantised: bool
) -> None:
    shape = Shape(width=64, layers=2, heads=2, forward=128, quantised=quantised)
    path = make_tiny_gguf(tmp_path / "small.gguf", shape=shape, words=many_words(3000))
    told = "".join(f"round {number} took as long as before; " for number in range(60))
    places = range(len(told) - 11, len(told) // 3, -len(told) // 17)
    questions = [told, *(f"{told[:place]} and the next?" for place in places)]
    limits = Limits(max_tokens=6, timeout_s=120)

    def asked(model: LlamaCpp, text: str) -> tuple[str, int]:
        reply = model.complete((Message("user", text),), None, limits, 3)
        assert told_of(reply) in ("", "truncated") and reply.tokens_in > LONG * BLOCK // 3
        return reply.text, reply.tokens_cached

    warm = LlamaCpp(path, sequences=1)
    try:
        answers = [asked(warm, text) for text in questions]
    finally:
        warm.close()
    assert all(cached for _, cached in answers[1:]) and len({text for text, _ in answers}) > 3
    for question, (text, _) in list(zip(questions, answers, strict=True))[1::3]:
        cold = LlamaCpp(path, sequences=1)
        try:
            assert asked(cold, question) == (text, 0)
        finally:
            cold.close()


@pytest.mark.llama
def test_a_long_prompt_is_tried_after_shorter_ones_that_begin_as_it_does(tmp_path: Path) -> None:
    path = make_tiny_gguf(tmp_path / "small.gguf", words=many_words(3000))
    told = "".join(f"round {number} took as long as before; " for number in range(60))
    limits = Limits(max_tokens=1, timeout_s=120)
    model = LlamaCpp(path, sequences=1)
    try:
        for text in (told[: len(told) // 5], told):
            model.complete((Message("user", text),), None, limits, 3)
        cached = [
            model.complete((Message("user", told[:-place] + "?"),), None, limits, 3).tokens_cached
            for place in (30, 50, 70)
        ]
    finally:
        model.close()
    assert any(count % BLOCK for count in cached), "parts of blocks were reused"


@pytest.mark.llama
def test_of_a_mixture_of_experts_only_whole_blocks_are_reused(tmp_path: Path) -> None:
    path = make_kind(tmp_path / "experts.gguf", "qwen3moe")
    model = LlamaCpp(path)
    told = "as before; " * 100
    try:
        for end in ("", "x", "yz", "yzab"):
            reply = model.complete(
                (Message("user", told + end),), None, Limits(max_tokens=2, timeout_s=120), 3
            )
            assert told_of(reply) in ("", "truncated") and reply.tokens_in > LONG * BLOCK
            assert reply.tokens_cached % BLOCK == 0 and (reply.tokens_cached or not end)
    finally:
        model.close()
