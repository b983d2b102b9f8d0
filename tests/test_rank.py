"""How probable the entries of a menu are, against what a plain evaluation of each path gives."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_gguf import make_tiny_gguf

from hpcagent.errors import UsageError
from hpcagent.llm.child import rank
from hpcagent.llm.child.load import Engine, load
from hpcagent.llm.child.prompt import prompt
from hpcagent.llm.llamacpp import LlamaCpp
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
def engine(tiny: Path) -> Iterator[Engine]:
    """The same model in this process."""
    found = load({"path": str(tiny), "context": 4096, "threads": 1, "seed": 0})
    assert isinstance(found, Engine)
    yield found
    found.llama.close()


def brute_force(engine: Engine, menu: Sequence[str]) -> list[float]:
    """Each entry's tokens one after the other, each prefix evaluated from nothing."""
    llama = engine.llama
    text, add_bos = prompt(llama, CHAT)
    rows = [
        (*llama.tokenize((text + entry).encode(), add_bos=add_bos, special=True), "end")
        for entry in menu
    ]
    return [
        math.fsum(_share(llama, rows, row[:at], row[at]) for at in range(len(row))) for row in rows
    ]


def _share(llama: Any, rows: Sequence[Any], before: Sequence[Any], token: Any) -> float:
    """ln of the probability of `token` among what the menu's rows have after `before`."""
    allowed = {row[len(before)] for row in rows if row[: len(before)] == before}
    if len(allowed) == 1:
        return 0.0
    llama.reset()
    llama._ctx.kv_cache_clear()
    llama.eval(list(before))
    logits = rank.last_logits(llama)
    value = {t: float(logits[llama.token_eos() if t == "end" else t]) for t in allowed}
    return value[token] - math.log(math.fsum(map(math.exp, value.values())))


def ranked(model: LlamaCpp, menu: Sequence[str]) -> Ranking:
    found = model.rank(ASK, menu, LIMITS)
    assert found.failure is None, found.failure
    return found


@pytest.mark.parametrize("menu", MENUS)
def test_a_ranking_is_what_evaluating_every_path_gives(
    engine: Engine, model: LlamaCpp, menu: tuple[str, ...]
) -> None:
    found = ranked(model, menu).log_probabilities
    assert found == pytest.approx(brute_force(engine, menu), abs=1e-4)
    assert math.fsum(map(math.exp, found)) == pytest.approx(1.0)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.text("ab=1é", min_size=1, max_size=5), min_size=1, max_size=20, unique=True))
def test_any_menu_is_ranked_and_adds_up_to_one(
    engine: Engine, model: LlamaCpp, menu: list[str]
) -> None:
    found = ranked(model, menu).log_probabilities
    assert found == pytest.approx(brute_force(engine, menu), abs=1e-4)
    assert math.fsum(map(math.exp, found)) == pytest.approx(1.0)


def test_the_same_question_has_the_same_answer(tiny: Path, model: LlamaCpp) -> None:
    menu = MENUS[3]
    again = [ranked(model, menu).log_probabilities for _ in range(3)]
    other = LlamaCpp(tiny)
    fresh = ranked(other, menu).log_probabilities
    other.close()
    assert again[1] == again[2]
    assert again[0] == pytest.approx(fresh, abs=1e-4)
    assert sorted(range(4), key=again[0].__getitem__) == sorted(range(4), key=fresh.__getitem__)


def test_a_question_that_goes_on_from_the_last_pays_for_its_new_part(model: LlamaCpp) -> None:
    ranked(model, ("A", "B"))
    longer = (*ASK, Message("assistant", "because"), Message("user", "And now?"))
    found = model.rank(longer, ("A", "B"), LIMITS)
    assert found.tokens_cached > 20
    assert 0 < found.tokens_in - found.tokens_cached < 60


def test_sixty_four_labels_cost_one_evaluation(engine: Engine) -> None:
    calls = []
    plain = engine.llama.eval
    patch = pytest.MonkeyPatch()
    patch.setattr(engine.llama, "eval", lambda tokens: (calls.append(1), plain(tokens)))
    menu = [chr(code) for code in range(48, 48 + 64)]
    found = rank.answer(engine, {"messages": CHAT, "menu": menu})
    patch.undo()
    assert len(calls) == 1 and len(found["log_probabilities"]) == 64


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


def test_answers_and_rankings_take_turns(model: LlamaCpp) -> None:
    schema: Mapping[str, Any] = {"type": "object", "properties": {"a": {"enum": ["x", "y"]}}}
    first = model.complete(ASK, schema, Limits(30, 60), 5)
    rows = ranked(model, MENUS[2]).log_probabilities
    assert model.complete(ASK, schema, Limits(30, 60), 5).text == first.text
    assert ranked(model, MENUS[2]).log_probabilities == pytest.approx(rows, abs=1e-4)
