"""How finely a read prompt is reused: only as finely as the bits were seen to be the same."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_gguf import Shape, make_tiny_gguf, many_words
from tiny_kinds import make_kind

from hpcagent.llm.child.cache import BLOCK
from hpcagent.llm.child.decode import Clock, OutOfTime
from hpcagent.llm.child.grain import GRAIN, LONG, Trial
from hpcagent.llm.llamacpp import LlamaCpp
from hpcagent.records import Limits, Message, Reply

CLOCK = Clock(60)


class Computer:
    """A decoder whose batches of the sizes `other` give other bits; `late` ends the time there."""

    silent = False

    def __init__(self, other: tuple[int, ...] = (), late: int = 0, alone: bool = True) -> None:
        self.block, self.rows_alone = BLOCK, alone
        self.bits: list[tuple[int, bool]] = []
        self._other, self._late = other, late

    def decode(
        self, sequence: int, start: int, tokens: list[int], clock: Clock, logits: bool
    ) -> None:
        assert start == len(self.bits), "as llama.cpp: a sequence has no holes"
        if len(tokens) == self._late:
            raise OutOfTime
        self.bits += [(token, len(tokens) in self._other) for token in tokens]

    def cut(self, sequence: int, length: int) -> bool:
        del self.bits[length:]
        return True

    def digests(self, sequence: int) -> tuple[str, str] | None:
        return None if self.silent else (str(self.bits), str(self.bits[-1]))


def told_of(reply: Reply) -> str:
    return reply.failure.kind if reply.failure else ""


def tried(computer: Computer) -> tuple[Trial, list[int]]:
    """A trial of two blocks that have just been read, and what it leaves in the sequence."""
    trial, tokens = Trial(computer), list(range(2 * BLOCK))  # type: ignore[arg-type]
    for start in (0, BLOCK):
        computer.decode(0, start, tokens[start : start + BLOCK], CLOCK, logits=True)
    try:
        trial.run(0, tokens, CLOCK)
    except OutOfTime:
        assert tokens == [token for token, _ in computer.bits], "it knows what is left"
    return trial, tokens


def test_parts_of_a_block_are_reused_where_all_sizes_give_the_same_bits() -> None:
    trial, tokens = tried(Computer())
    assert (trial.grain, tokens) == (GRAIN, list(range(2 * BLOCK)))
    assert not trial.due(0, 2 * BLOCK, 9999), "once in a process"


@pytest.mark.parametrize("other", range(GRAIN, BLOCK, GRAIN))
def test_one_size_with_other_bits_leaves_whole_blocks(other: int) -> None:
    computer = Computer(other=(other,))
    trial, tokens = tried(computer)
    assert trial.grain == BLOCK and not trial.due(0, 2 * BLOCK, 9999)
    assert computer.bits == [(token, False) for token in range(2 * BLOCK)], "read again as a whole"
    assert tokens == list(range(2 * BLOCK))


def test_where_keys_and_values_are_not_told_whole_blocks_are_reused() -> None:
    computer = Computer()
    computer.silent = True
    trial, tokens = tried(computer)
    assert trial.grain == BLOCK and not trial.due(0, 2 * BLOCK, 9999)
    assert tokens == list(range(2 * BLOCK)) == [token for token, _ in computer.bits]


@pytest.mark.parametrize("late", range(GRAIN, BLOCK, GRAIN))
def test_a_trial_that_runs_out_of_time_is_made_again(late: int) -> None:
    trial, _ = tried(Computer(late=late))
    assert trial.grain == BLOCK and trial.due(0, 2 * BLOCK, LONG * BLOCK + 1)


def test_only_the_second_block_of_a_long_prompt_is_tried() -> None:
    trial, long = Trial(Computer()), LONG * BLOCK + 1  # type: ignore[arg-type]
    assert trial.due(0, 2 * BLOCK, long) and trial.due(BLOCK, 2 * BLOCK, long)
    assert not trial.due(0, 2 * BLOCK, long - 1), "it would cost more than it saves"
    assert not trial.due(0, BLOCK, long) and not trial.due(2 * BLOCK, 3 * BLOCK, long)
    mixed = Trial(Computer(alone=False))  # type: ignore[arg-type]
    assert not mixed.due(0, 2 * BLOCK, long) and mixed.grain == BLOCK


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
