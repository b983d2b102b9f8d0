"""How probable the entries of a menu are, against what a plain evaluation of each path gives."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_gguf import make_tiny_gguf

from hpcagent.errors import UsageError
from hpcagent.llm.llamacpp import LlamaCpp
from hpcagent.llm.menus import reasoned
from hpcagent.llm.pipe import Child
from hpcagent.records import Limits, Message, Ranking

pytestmark = pytest.mark.llama

ASK = (Message("system", "Tune it."), Message("user", "Choose one."))
CHAT = [{"role": message.role, "content": message.text} for message in ASK]
LIMITS = Limits(8, 60)
MENUS = (
    ("A", "B", "C"),
    ("yes",),
    ("1", "12", "123", "13", "2"),  # entries that others go on from
    ("core=ZEN threads=8", "core=ZEN threads=16", "core=auto threads=8", "core=ZEN"),
    ("één", "e", "zwei\nZeilen", "$(x)"),
)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    words = ("core", "core=", "ZEN", "threads", "12", "ut", "\u2581threads")
    return make_tiny_gguf(tmp_path_factory.mktemp("models") / "tiny.gguf", words=words)


@pytest.fixture(scope="module")
def model(tiny: Path) -> Iterator[LlamaCpp]:
    llama = LlamaCpp(tiny)
    yield llama
    llama.close()


@pytest.fixture(scope="module")
def naive(tiny: Path) -> Iterator[Child]:
    """The same model, asked the long way."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    child = Child((sys.executable, str(Path(__file__).with_name("naive_ranking.py"))), env)
    child.ask({"path": str(tiny)}, 60)
    yield child
    child.close()


def brute_force(naive: Child, menu: Sequence[str]) -> list[float]:
    found = naive.ask({"messages": CHAT, "menu": list(menu)}, 60)
    rows: list[float] = found["log_probabilities"]
    return rows


def ranked(model: LlamaCpp, menu: Sequence[str]) -> Ranking:
    found = model.rank(ASK, menu, LIMITS)
    assert found.failure is None, found.failure
    return found


@pytest.mark.parametrize("menu", MENUS)
def test_a_ranking_is_what_evaluating_every_path_gives(
    naive: Child, model: LlamaCpp, menu: tuple[str, ...]
) -> None:
    found = ranked(model, menu).log_probabilities
    assert found == pytest.approx(brute_force(naive, menu), abs=1e-4)
    assert math.fsum(map(math.exp, found)) == pytest.approx(1.0)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.text("ab=1é", min_size=1, max_size=5), min_size=1, max_size=20, unique=True))
def test_any_menu_is_ranked_and_adds_up_to_one(
    naive: Child, model: LlamaCpp, menu: list[str]
) -> None:
    found = ranked(model, menu).log_probabilities
    assert found == pytest.approx(brute_force(naive, menu), abs=1e-4)
    assert math.fsum(map(math.exp, found)) == pytest.approx(1.0)


def test_the_same_question_has_the_same_answer(tiny: Path, model: LlamaCpp) -> None:
    menu = MENUS[3]
    again = [ranked(model, menu).log_probabilities for _ in range(3)]
    other = LlamaCpp(tiny)
    fresh = ranked(other, menu).log_probabilities
    other.close()
    assert again == [fresh] * 3, "to the last digit, whatever was in the cache"


def test_a_question_that_goes_on_from_the_last_pays_for_its_new_part(model: LlamaCpp) -> None:
    long = (Message("system", "Tune it. " * 40), *ASK[1:])
    first = model.rank(long, ("A", "B"), LIMITS)
    longer = (*long, Message("assistant", "because"), Message("user", "And now?"))
    found = model.rank(longer, ("A", "B"), LIMITS)
    assert first.tokens_cached < 100 and found.tokens_cached > 300
    assert 0 < found.tokens_in - found.tokens_cached < 64 + 60, "a block and what is new"


@pytest.mark.parametrize(("size", "evaluations"), [(64, 1), (1, 0)])
def test_labels_cost_one_evaluation_and_what_is_forced_none(
    naive: Child, size: int, evaluations: int
) -> None:
    menu = [chr(code) for code in range(48, 48 + size)]
    found = naive.ask({"messages": CHAT, "menu": menu}, 60)
    assert found["evaluations"] == evaluations


@pytest.mark.parametrize(
    ("menu", "words"),
    [
        ((), "nothing to choose from"),
        (("A", "B", "A"), "'A' is there twice"),
        (("A", ""), "empty"),
        ([str(n) for n in range(65)], "65 entries are more than 64"),
    ],
)
def test_what_is_no_menu_is_refused(model: LlamaCpp, menu: Sequence[str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        model.rank(ASK, menu, LIMITS)


def test_too_long_a_prompt_is_refused_and_the_next_one_ranked(tiny: Path) -> None:
    llama = LlamaCpp(tiny, context=300)
    found = llama.rank((Message("user", "x" * 400),), ("A", "B"), LIMITS)
    assert found.failure is not None and found.failure.id == "model.context_overflow"
    assert not found.log_probabilities
    assert llama.rank((Message("user", "x"),), ("A", "B"), LIMITS).failure is None
    llama.close()


def test_a_reason_comes_first_and_the_ranking_goes_on_from_it(model: LlamaCpp) -> None:
    limits = Limits(80, 60)
    for menu in (("A", "B", "C"), MENUS[2], MENUS[3], MENUS[4]):
        found = model.rank(ASK, menu, limits, 40, seed=3)
        assert found.failure is None, found.failure
        assert 0 < len(found.reason) <= 40 and found.reason.isprintable()
        assert len(found.log_probabilities) == len(menu)
        assert math.fsum(map(math.exp, found.log_probabilities)) == pytest.approx(1.0)
        assert model.rank(ASK, menu, limits, 40, seed=3) == replace(
            found, seconds=pytest.approx(0.0, abs=60), tokens_cached=pytest.approx(0, abs=999)
        )
        assert model.rank(ASK, menu, limits, 40, seed=4).reason != found.reason
    short = model.rank(ASK, ("A", "B"), Limits(9, 60), 40)
    assert short.failure is not None and short.failure.id == "model.truncated"


def test_the_choice_is_drawn_as_it_is_ranked(model: LlamaCpp) -> None:
    """An answer with the same reason chooses each entry as often as the ranking says."""
    menu = ("A", "B", "C")
    schema = reasoned(menu, 12)
    chosen = dict.fromkeys(menu, 0)
    wanted = dict.fromkeys(menu, 0.0)
    for seed in range(60):
        answer = json.loads(model.complete(ASK, schema, Limits(60, 60), seed).text)
        found = model.rank(ASK, menu, Limits(60, 60), 12, seed)
        assert answer["reason"] == found.reason, "the same seed writes the same"
        chosen[answer["choice"]] += 1
        for entry, value in zip(menu, found.log_probabilities, strict=True):
            wanted[entry] += math.exp(value / 0.7)  # the temperature of an answer
    total = sum(wanted.values())
    for entry in menu:
        assert abs(chosen[entry] - 60 * wanted[entry] / total) < 20


def test_answers_and_rankings_take_turns(model: LlamaCpp) -> None:
    schema: Mapping[str, Any] = {"type": "object", "properties": {"a": {"enum": ["x", "y"]}}}
    first = model.complete(ASK, schema, Limits(30, 60), 5)
    rows = ranked(model, MENUS[2]).log_probabilities
    assert model.complete(ASK, schema, Limits(30, 60), 5).text == first.text
    assert ranked(model, MENUS[2]).log_probabilities == rows
