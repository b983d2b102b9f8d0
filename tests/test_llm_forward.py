"""The engine against a forward pass of our own: the same model, prompt and probabilities."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from plain_llama import PlainLlama, spelt
from tiny_gguf import BYTE_TOKENS, EOS, Shape, make_tiny_gguf

from hpcagent.llm.llamacpp import LlamaCpp
from hpcagent.records import Limits, Message

pytestmark = pytest.mark.llama

BOS = 1
TEMPLATE = "{{ messages[0]['content'] }}"
PROMPT = "Which is best: 16, 160 or none of these?\nWords: \u8a08\u7b97, and so on. "
MENU = ("16", "160", "none", "no", "\u8a08")
# llama.cpp keeps keys and values with 11 bits; on a trained model of 0.26 M parameters and 130
# tokens that moved logarithms of probabilities by up to 0.027, and a cache of floats by 0.00002.
ROUGHLY = 0.05


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    shape = Shape(width=64, heads=4, layers=3, forward=96)
    target = tmp_path_factory.mktemp("forward") / "model.gguf"
    return make_tiny_gguf(target, seed=11, template=TEMPLATE, shape=shape)


@pytest.fixture(scope="module")
def model(path: Path) -> Iterator[LlamaCpp]:
    opened = LlamaCpp(path, sampling={"temperature": 0.0})
    yield opened
    opened.close()


def logs(logits: np.ndarray) -> np.ndarray:
    above = logits - logits.max(axis=-1, keepdims=True)
    return above - np.log(np.exp(above).sum(axis=-1, keepdims=True))


def test_what_it_writes_is_what_is_most_probable(path: Path, model: LlamaCpp) -> None:
    reply = model.complete((Message("user", PROMPT),), None, Limits(60, 60), 0)
    assert reply.tokens_in == len(spelt(PROMPT)) + 1
    assert reply.failure is not None and reply.failure.kind == "truncated"
    # What is not UTF-8 shows as another character; from there on the tokens are not known.
    said = reply.text.partition("\ufffd")[0].encode()
    assert len(said) >= 8
    plain, tokens = PlainLlama(path), [BOS, *spelt(PROMPT)]
    for byte in said:
        found = plain.logits(tokens)[-1]
        ways = {BYTE_TOKENS + byte, *spelt(chr(byte) if byte < 128 else "")}
        tokens.append(max(ways, key=found.__getitem__))
        assert found.max() - found[tokens[-1]] < ROUGHLY


def test_a_ranking_is_the_product_of_its_tokens(path: Path, model: LlamaCpp) -> None:
    ranked = model.rank((Message("user", PROMPT),), MENU, Limits(40, 60))
    plain = PlainLlama(path)
    rows = [(*spelt(entry), EOS) for entry in MENU]

    def shared(row: tuple[int, ...], at: int) -> float:
        """ln of the share of a token among those that the menu has at its place."""
        allowed = sorted({other[at] for other in rows if other[:at] == row[:at]})
        last = plain.logits([BOS, *spelt(PROMPT), *row[:at]])[-1][allowed]
        return float(logs(last)[allowed.index(row[at])])

    expected = [sum(shared(row, at) for at in range(len(row))) for row in rows]
    assert ranked.log_probabilities == pytest.approx(expected, abs=ROUGHLY)
