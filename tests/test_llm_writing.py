"""How answers are written, without a model: what is drawn, what is forced, what is kept."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcagent.llm.child.cache import plan, reusable
from hpcagent.llm.child.writing import Full, Writer
from hpcagent.llm.grammar import outline, violation

PIECES = ["", *[chr(code) for code in range(32, 127)], '",', '":"', ' "x', "ab", 'b"', "\n", "é"]
END = 0


class Spelt:
    """A vocabulary whose tokens are the numbers of PIECES; texts are spelt by the longest."""

    pieces = tuple(piece.encode() for piece in PIECES)
    free_lengths = np.array(
        [len(piece) if piece.isascii() and not set(piece) & set('"\\\n') else 0 for piece in PIECES]
    )
    closing = tuple(
        (token, len(piece.partition('"')[0]), piece.partition('"')[2].encode())
        for token, piece in enumerate(PIECES)
        if '"' in piece
    )

    def piece(self, token: int) -> bytes:
        return self.pieces[token]

    def is_end(self, token: int) -> bool:
        return token == END

    def spell(self, text: str, special: bool = False) -> list[int]:
        tokens = []
        while text:
            piece = max((each for each in PIECES if each and text.startswith(each)), key=len)
            tokens.append(PIECES.index(piece))
            text = text[len(piece) :]
        return tokens


class Drawn:
    """Draws what it is told, in turn; confined draws take the first that may stand there."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = list(texts)
        self.confined = 0

    def draw(self) -> int:
        return PIECES.index(self.texts.pop(0)) if self.texts else END

    def draw_from(self, allowed: Any) -> int:
        self.confined += 1
        wanted = PIECES.index(self.texts.pop(0)) if self.texts else -1
        return wanted if wanted in allowed else int(allowed[0])


class Fed:
    def __init__(self) -> None:
        self.tokens: list[int] = []

    def feed(self, tokens: Sequence[int]) -> None:
        self.tokens += tokens

    def seconds(self) -> float:
        return 0.5


def written(
    schema: dict[str, Any], drawn: Sequence[str], most: int = 1000
) -> tuple[str, Drawn, Fed]:
    sampler, run = Drawn(drawn), Fed()
    writer = Writer(run, sampler, Spelt(), most)  # type: ignore[arg-type]
    try:
        writer.follow(outline(schema))
    except Full:
        assert writer.written.tokens == most and not writer.written.ended
    return writer.written.text.decode(), sampler, run


def pick(*values: str) -> dict[str, Any]:
    return {"type": "object", "properties": {"pick": {"enum": list(values)}}}


def text(most: int, more: bool = False) -> dict[str, Any]:
    properties: dict[str, Any] = {"why": {"type": "string", "maxLength": most}}
    if more:
        properties["n"] = {"enum": ["1"]}
    return {"type": "object", "properties": properties}


def test_what_can_only_be_one_way_is_never_drawn() -> None:
    made, sampler, run = written(pick("the only one"), [])
    assert json.loads(made) == {"pick": "the only one"}
    assert sampler.confined == 0
    assert b"".join(map(Spelt().piece, run.tokens)).decode() == made


def test_a_choice_draws_only_where_its_entries_part() -> None:
    made, sampler, _ = written(pick("16", "160", "1", "x"), ["1", "6", "0"])
    assert json.loads(made) == {"pick": "160"}
    assert sampler.confined == 3
    ended, sampler, _ = written(pick("16", "160", "1", "x"), ["1", '"'])
    assert json.loads(ended) == {"pick": "1"} and sampler.confined == 2


def test_a_text_is_drawn_freely_and_its_end_may_hold_what_must_follow() -> None:
    made, sampler, _ = written(text(9, more=True), ["h", "ab", '",'])
    assert made == '{"why":"hab","n":"1"}' and sampler.confined == 0


@pytest.mark.parametrize("refused", ["\n", "é", "\\", ' "x', '":"'])
def test_what_may_not_stand_there_is_drawn_again(refused: str) -> None:
    made, sampler, _ = written(text(9), ["h", refused, '"'])
    assert made == '{"why":"h"}' and sampler.confined == 1


def test_a_text_that_is_full_can_only_end() -> None:
    made, sampler, _ = written(text(3), ["ab", "ab", "c", "c"])
    assert made == '{"why":"abc"}' and sampler.confined == 2
    assert written(text(0), ["a", "a"])[0] == '{"why":""}'


def test_the_limit_of_tokens_cuts_even_what_is_forced() -> None:
    assert written(pick("abcdef"), [], most=4)[0] == '{"pi'


def test_thoughts_come_first_and_are_closed() -> None:
    sampler, run = Drawn(["h", "i", *"</think>", "!"]), Fed()
    writer = Writer(run, sampler, Spelt(), 4)  # type: ignore[arg-type]
    writer.think(20, begun=False)
    writer.free()
    assert writer.written.thinking == b"hi</think>" and writer.written.text == b"!"
    assert b"".join(map(Spelt().piece, run.tokens)) == b"<think>\nhi</think>\n\n!"


@pytest.mark.parametrize("drawn", [["h"] * 30, ["h", "h", "h"]])
def test_thoughts_without_an_end_get_one(drawn: list[str]) -> None:
    sampler, run = Drawn(drawn), Fed()
    Writer(run, sampler, Spelt(), 4).think(3, begun=True)  # type: ignore[arg-type]
    assert b"".join(map(Spelt().piece, run.tokens)) == b"hhh</think>\n\n"


names = st.text(st.characters(codec="ascii"), min_size=1, max_size=6)
leaves = st.one_of(
    st.builds(lambda n: {"type": "string", "maxLength": n}, st.integers(0, 8)),
    st.builds(lambda v: {"enum": v}, st.lists(st.text(max_size=6), min_size=1, max_size=5)),
)
objects = st.recursive(
    leaves,
    lambda inner: st.builds(
        lambda p: {"type": "object", "properties": p},
        st.dictionaries(names, inner, min_size=1, max_size=3),
    ),
    max_leaves=6,
)


@given(objects, st.lists(st.sampled_from(PIECES[1:]), max_size=40))
def test_whatever_is_drawn_the_answer_obeys_its_schema(
    schema: dict[str, Any], drawn: list[str]
) -> None:
    made, _, _ = written(schema, drawn)
    assert violation(json.loads(made), schema) == ""


# --- what a prompt finds in the cache ---


def test_a_prompt_is_read_in_whole_blocks_and_the_rest_left_to_the_answer() -> None:
    assert plan(1, 32) == ()
    assert plan(39, 32) == (), "a few tokens are left, for a smaller batch gives other bits"
    assert plan(40, 32) == (32,)
    assert plan(100, 32) == (32, 64)


@given(
    st.lists(st.integers(0, 1), max_size=400),
    st.lists(st.integers(0, 1), min_size=1, max_size=200),
    st.integers(0, 400),
    st.sampled_from((8, 64)),
)
def test_only_what_would_be_read_the_same_way_is_kept(
    before: list[int], more: list[int], shared: int, grain: int
) -> None:
    held = before[: max(plan(len(before), 64), default=0)]
    tokens = [*before[:shared], *more]
    kept = reusable(held, tokens, 64, grain)
    assert kept % grain == 0 and tokens[:kept] == held[:kept]
    last = max(plan(len(tokens), 64), default=0)
    assert kept <= last, "what comes after the last whole batch is read together"
    assert kept + grain > min(last, len(held)) or tokens[: kept + grain] != held[: kept + grain]


def test_a_prompt_asked_again_is_kept_but_for_its_last_block() -> None:
    tokens = list(range(150))
    held = tokens[:128]
    assert reusable(held, tokens, 64, 64) == 128
    assert reusable(held, [*tokens, 1, 2, 3], 64, 64) == 128
    assert reusable(held, [*tokens[:100], 7, *range(60)], 64, 64) == 64
    assert reusable(held, [*tokens[:100], 7, *range(60)], 64, 8) == 96
    assert reusable(held, [*tokens[:100], 7], 64, 8) == 64
    assert reusable(held, tokens[:64], 64, 8) == 0
    assert reusable(held, tokens[:64], 8, 8) == 56, "where batches of any size are alike"
