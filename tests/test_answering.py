"""Answers of a type: what the grammar admits validates, what validates it admits, repeats end."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field
from tiny_gguf import make_tiny_gguf

from hpcagent.errors import UsageError
from hpcagent.llm.answering import Refused, ask, schema_of
from hpcagent.llm.digits import integer_rule
from hpcagent.llm.grammar import gbnf, longest, violation
from hpcagent.llm.llamacpp import LlamaCpp
from hpcagent.records import Failure, Limits, Message, Reply

ASK = (Message("system", "Be short."), Message("user", "Well?"))
LIMITS = Limits(4000, 60)


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid")
    word: Annotated[str, Field(min_length=1, max_length=6)]
    rank: Annotated[int, Field(ge=-7, le=120)]


class Everything(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    sure: bool
    share: Annotated[float, Field(ge=-1, le=3)]
    kind: Literal["a", "b", 'c"']
    only: Literal["x"]
    tags: Annotated[list[Annotated[str, Field(max_length=4)]], Field(max_length=3)]
    parts: Annotated[list[Part], Field(min_length=1, max_length=2)]
    level: Annotated[int, Field(ge=3, le=3000)] | None = None


# --- the grammar ---------------------------------------------------------------------------------

_TOKEN = re.compile(r'"((?:[^"\\]|\\.)*)"|\[(?:[^\]\\]|\\.)*\]|r\d+|\{\d+,?\d*\}|[|()?]|\s+')


def pattern(grammar: str) -> str:
    """The grammar as a regular expression: rules refer to earlier ones only, but for the root."""
    rules: dict[str, str] = {}
    root, *others = grammar.splitlines()
    for line in others:
        name, body = line.split(" ::= ", 1)
        tokens = list(_TOKEN.finditer(body))
        assert "".join(token[0] for token in tokens) == body
        rules[name] = f"(?:{''.join(_as_regex(token, rules) for token in tokens)})"
    return rules[root.split(" ::= ")[1]]


def _as_regex(token: re.Match[str], rules: Mapping[str, str]) -> str:
    text = token[0]
    if text.isspace():
        return ""
    if text[0] == '"':
        return re.escape(token[1].replace('\\"', '"').replace("\\\\", "\\"))
    return rules.get(text, "(?:" if text == "(" else text)


scalars = st.one_of(
    st.text("ab\"\\é ", max_size=4), st.integers(-50, 50), st.booleans(), st.none()
)  # fmt: skip
leaves = st.one_of(
    st.builds(lambda v: {"enum": v}, st.lists(scalars, min_size=1, max_size=4)),
    st.builds(lambda v: {"const": v}, scalars),
    st.sampled_from([{"type": "boolean"}, {"type": "null"}]),
    st.builds(
        lambda a, b: {"type": "string", "minLength": min(a, b), "maxLength": max(a, b)},
        st.integers(0, 5), st.integers(0, 5),
    ),
    st.builds(
        lambda kind, a, b: {"type": kind, "minimum": min(a, b), "maximum": max(a, b)},
        st.sampled_from(["integer", "number"]), st.integers(-1200, 1200), st.integers(-1200, 1200),
    ),
)  # fmt: skip
schemas = st.recursive(
    leaves,
    lambda part: st.one_of(
        st.builds(
            lambda each, a, b: {
                "type": "array", "items": each, "minItems": min(a, b), "maxItems": max(a, b)
            },
            part, st.integers(0, 3), st.integers(0, 3),
        ),
        st.builds(
            lambda names, parts: {
                "type": "object", "properties": dict(zip(names, parts, strict=True))
            },
            st.lists(st.text("ab\"-", min_size=1, max_size=3), min_size=2, max_size=2, unique=True),
            st.lists(part, min_size=2, max_size=2),
        ),
        st.builds(lambda a, b: {"anyOf": [a, b]}, part, part),
    ),
    max_leaves=5,
)  # fmt: skip


@settings(max_examples=80, deadline=None)
@given(schema=schemas, data=st.data())
def test_what_the_grammar_admits_validates(schema: dict[str, Any], data: st.DataObject) -> None:
    text = data.draw(
        st.from_regex(f"\\A{pattern(gbnf(schema))}\\Z", alphabet=st.characters(max_codepoint=126))
    )
    assert violation(json.loads(text), schema) == ""
    assert len(text) <= longest(schema)


def valid(schema: Mapping[str, Any]) -> st.SearchStrategy[str]:
    """Compact JSON of valid values; free texts without quotes and backslashes."""
    if "enum" in schema or "const" in schema or schema.get("type") in ("boolean", "null"):
        if schema.get("type") == "boolean":
            return st.sampled_from(["true", "false"])
        values = schema.get("enum", [schema.get("const")])
        return st.sampled_from(values).map(json.dumps)
    if "anyOf" in schema:
        return st.one_of(*map(valid, schema["anyOf"]))
    kind = schema["type"]
    if kind == "string":
        free = st.text(
            st.characters(min_codepoint=32, max_codepoint=126, exclude_characters='"\\'),
            min_size=schema["minLength"], max_size=schema["maxLength"],
        )  # fmt: skip
        return free.map(json.dumps)
    if kind == "integer":
        return st.integers(schema["minimum"], schema["maximum"]).map(str)
    if kind == "number":
        scaled = st.integers(schema["minimum"] * 10**6, schema["maximum"] * 10**6)
        return scaled.map(lambda n: f"{Decimal(n) / 10**6:f}")
    if kind == "array":
        items = st.lists(
            valid(schema["items"]), min_size=schema["minItems"], max_size=schema["maxItems"]
        )
        return items.map(lambda parts: f"[{','.join(parts)}]")
    named = [(json.dumps(name), valid(part)) for name, part in schema["properties"].items()]
    return st.tuples(*(part for _, part in named)).map(
        lambda parts: (
            "{" + ",".join(f"{n}:{p}" for (n, _), p in zip(named, parts, strict=True)) + "}"
        )
    )


@settings(max_examples=80, deadline=None)
@given(schema=schemas, data=st.data())
def test_what_validates_the_grammar_admits(schema: dict[str, Any], data: st.DataObject) -> None:
    text = data.draw(valid(schema))
    assert violation(json.loads(text), schema) == ""
    assert re.fullmatch(pattern(gbnf(schema)), text), text


@given(a=st.integers(-(10**12), 10**12), width=st.integers(0, 3000))
def test_whole_numbers_are_exactly_those_between_the_bounds(a: int, width: int) -> None:
    low, high = a, min(a + width, 10**12)
    rule = re.compile(pattern(f"root ::= r0\nr0 ::= {integer_rule(low, high)}"))
    for number in {low, high, (low + high) // 2, low + 1, high - 1}:
        assert bool(rule.fullmatch(str(number))) == (low <= number <= high)
    for other in (low - 1, high + 1, low - 10, high + 10, low * 10 - 1):
        assert bool(rule.fullmatch(str(other))) == (low <= other <= high)
    assert not rule.fullmatch("-0") and not rule.fullmatch(f"0{abs(low)}")


# --- types ---------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_type_takes_whatever_its_grammar_admits(data: st.DataObject) -> None:
    grammar = pattern(gbnf(schema_of(Everything)))
    text = data.draw(st.from_regex(f"\\A{grammar}\\Z", alphabet=st.characters(max_codepoint=126)))
    Everything.model_validate_json(text)


@pytest.mark.parametrize(
    "annotation",
    [
        str, int, float, list[bool], Annotated[list[str], Field(max_length=2)],
        Annotated[int, Field(ge=0)], Annotated[int, Field(gt=0, lt=5)], dict[str, int], Any,
        Annotated[str, Field(max_length=5, pattern="a+")], Annotated[float, Field(ge=0.5, le=1)],
        "Loop",
    ],
)  # fmt: skip
def test_a_type_without_bounds_is_refused(annotation: Any) -> None:
    from pydantic import create_model

    class Loop(BaseModel):
        again: Annotated[list[Loop], Field(max_length=1)]

    Loop.model_rebuild(_types_namespace={"Loop": Loop})
    whole = Loop if annotation == "Loop" else create_model("Answer", x=(annotation, ...))
    with pytest.raises(UsageError, match="schema"):
        schema_of(whole)


@pytest.mark.llama
def test_llama_cpp_reads_the_grammar_of_every_kind(tmp_path: Path) -> None:
    llama = LlamaCpp(make_tiny_gguf(tmp_path / "tiny.gguf"))
    try:
        found = [ask(llama, ASK, Everything, LIMITS, seed, repeats=0) for seed in range(4)]
    finally:
        llama.close()
    assert all(isinstance(each, Everything) for each in found), found


# --- asking --------------------------------------------------------------------------------------


class Scripted:
    def __init__(self, *answers: str | Reply) -> None:
        self.answers = answers
        self.asked: list[tuple[Message, ...]] = []
        self.seeds: list[int] = []
        self.bounds: list[int] = []

    def complete(
        self, messages: Sequence[Message], schema: object, limits: Limits, seed: int
    ) -> Reply:
        answer = self.answers[min(len(self.asked), len(self.answers) - 1)]
        self.asked.append(tuple(messages))
        self.seeds.append(seed)
        self.bounds.append(limits.max_tokens)
        return Reply(answer) if isinstance(answer, str) else answer


def failed(kind: str) -> Reply:
    return Reply("", failure=Failure("model", kind, "why"))


GOOD = '{"word":"ok","rank":5}'


def test_a_bad_answer_is_repeated_with_the_words_of_both_checks() -> None:
    model = Scripted('{"word":"ok","rank":500}', '{"word":"no","rank":1}', GOOD)
    verdicts: list[str] = []
    found = ask(
        model, ASK, Part, LIMITS, 7, check=lambda p: "" if p.word == "ok" else "say ok",
        tell=verdicts.append,
    )  # fmt: skip
    assert found == Part(word="ok", rank=5)
    assert [len(asked) for asked in model.asked] == [2, 4, 4]
    assert "rank: Input should be less than or equal to 120" in model.asked[1][-1].text
    assert "say ok" in model.asked[2][-1].text
    assert len(set(model.seeds)) == 3 and model.seeds[0] == 7
    assert verdicts[1:] == ["rejected: say ok", "accepted"]


@pytest.mark.parametrize(
    ("answers", "calls", "kind"),
    [
        (("[]",), 3, "rejected"),
        (("not json",), 3, "rejected"),
        ((failed("timeout"),), 3, "timeout"),
        ((failed("unavailable"), GOOD), 1, "unavailable"),
        ((failed("context_overflow"), GOOD), 1, "context_overflow"),
        ((GOOD.replace("ok", "o\x1bk"), "{}", failed("busy")), 3, "busy"),
    ],
)
def test_asking_ends(answers: tuple[str | Reply, ...], calls: int, kind: str) -> None:
    model = Scripted(*answers)
    found = ask(model, ASK, Part, LIMITS, 1, check=lambda p: "" if p.word.isprintable() else "odd")
    assert isinstance(found, Refused)
    assert (found.calls, found.kind, len(model.asked)) == (calls, kind, calls)
    assert found.words


def test_a_long_answer_gets_less_room_where_the_context_is_short() -> None:
    """A schema's bound holds for a token each byte, and few models need so many."""

    class Long(BaseModel):
        text: Annotated[str, Field(max_length=900)]

    model = Scripted(failed("context_overflow"), '{"text":"fits"}')
    assert ask(model, ASK, Long, Limits(2000, 60), 1) == Long(text="fits")
    first, second = model.bounds
    assert 900 < first < 1000 and second == first // 3
    stubborn = Scripted(failed("context_overflow"))
    refused = ask(stubborn, ASK, Long, Limits(2000, 60), 1)
    assert isinstance(refused, Refused) and (refused.calls, refused.kind) == (2, "context_overflow")


def test_a_prompt_too_long_is_shortened_once() -> None:
    short = (Message("user", "short"),)
    model = Scripted(failed("context_overflow"), '{"word":"","rank":1}', GOOD)
    found = ask(model, ASK, Part, LIMITS, 1, shorter=lambda: short)
    assert isinstance(found, Part)
    assert model.asked[1] == short
    assert model.asked[2][0] == short[0], "the repeat is of the shortened prompt"
    stubborn = Scripted(failed("context_overflow"))
    refused = ask(stubborn, ASK, Part, LIMITS, 1, shorter=lambda: short)
    assert isinstance(refused, Refused) and refused.calls == 2


def test_all_calls_end_in_their_time() -> None:
    """Where the time of all is nearly over, no other call is begun."""
    model = Scripted("[]", GOOD)
    refused = ask(model, ASK, Part, LIMITS, 1, all_s=3.0)
    assert isinstance(refused, Refused) and (refused.calls, refused.kind) == (1, "rejected")
    assert isinstance(ask(Scripted("[]", GOOD), ASK, Part, LIMITS, 1, all_s=60.0), Part)


def test_a_prompt_that_takes_too_long_is_gone_on_with_and_then_shortened() -> None:
    short = (Message("user", "short"),)
    model = Scripted(failed("timeout"), failed("timeout"), GOOD)
    assert isinstance(ask(model, ASK, Part, LIMITS, 1, shorter=lambda: short), Part)
    assert model.asked == [ASK, ASK, short]
