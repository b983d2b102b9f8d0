"""From a JSON schema to a llama.cpp grammar (GBNF), and the check of an answer by that schema.

The subset: objects whose properties are all required, in their order; enums of texts; texts with
`maxLength`. Answers are compact JSON in printable ASCII without escapes in free texts, so that
every answer is short, complete and bounded, and any vocabulary that has the printable characters
can spell it. The converter of llama-cpp-python admits free white space and escapes, and folds
names that differ in punctuation into one rule; therefore this one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from hpcagent.errors import UsageError

_FREE = r"[ !#-\[\]-~]"  # printable ASCII without the quote and the backslash
_MAX_DEPTH = 8
_MAX_TEXT = 2000  # llama.cpp refuses longer repetitions


def gbnf(schema: Mapping[str, Any]) -> str:
    """The grammar of exactly the answers `schema` allows; UsageError outside the subset."""
    rules: list[str] = []
    root = _rule(schema, rules, 0)
    return f"root ::= {root}\n" + "".join(rules)


def outline(schema: Mapping[str, Any]) -> list[tuple[str, Any, str]]:
    """The same answers as (kind, what may stand there, text that must follow), in their order.

    The first is ("fixed", "", TEXT); then ("text", most characters, TEXT) for a free text without
    its quotes, and ("choice", [JSON texts without their quotes], TEXT). UsageError as of `gbnf`.
    """
    parts: list[tuple[str, Any, str]] = [("fixed", "", "")]

    def fixed(text: str) -> None:
        kind, what, then = parts[-1]
        parts[-1] = (kind, what, then + text)

    def walk(schema: Mapping[str, Any], depth: int) -> None:
        if depth > _MAX_DEPTH:
            raise UsageError(f"schema: nested deeper than {_MAX_DEPTH}")
        kind = _kind(schema)
        if kind == "object":
            for place, (name, part) in enumerate(_properties(schema).items()):
                fixed(("," if place else "{") + _spelt(name) + ":")
                walk(part, depth + 1)
            fixed("}")
            return
        fixed('"')
        values = [_spelt(value)[1:-1] for value in dict.fromkeys(schema.get("enum", ()))]
        parts.append(("choice", values, '"') if values else ("text", schema["maxLength"], '"'))

    walk(schema, 0)
    return parts


def longest(schema: Mapping[str, Any]) -> int:
    """Characters of the longest answer the grammar allows: an upper bound on its tokens."""
    kind = _kind(schema)
    if kind == "enum":
        return max(len(_spelt(value)) for value in schema["enum"])
    if kind == "string":
        return int(schema["maxLength"]) + 2
    parts = [len(_spelt(name)) + 1 + longest(part) for name, part in _properties(schema).items()]
    return sum(parts) + max(0, len(parts) - 1) + 2


def violation(value: Any, schema: Mapping[str, Any], where: str = "answer") -> str:
    """What is wrong with a parsed answer, in a few words; empty where nothing is."""
    kind = _kind(schema)
    if kind == "enum":
        return "" if value in schema["enum"] else f"{where}: {_short(value)} is not allowed"
    if kind == "string":
        if not isinstance(value, str):
            return f"{where}: {_short(value)} is not a text"
        too_long = len(value) > schema["maxLength"]
        return f"{where}: longer than {schema['maxLength']} characters" if too_long else ""
    if not isinstance(value, dict):
        return f"{where}: {_short(value)} is not an object"
    properties = _properties(schema)
    for name in properties:
        if name not in value:
            return f"{where}: {name!r} is missing"
    for name in value:
        if name not in properties:
            return f"{where}: {name!r} is not expected"
    problems = (violation(value[n], part, f"{where}.{n}") for n, part in properties.items())
    return next((problem for problem in problems if problem), "")


def _kind(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        values = schema["enum"]
        if not values or not all(isinstance(value, str) for value in values):
            raise UsageError("schema: an enum needs at least one value, all of them texts")
        return "enum"
    kind = schema.get("type")
    if kind == "string":
        length = schema.get("maxLength")
        if not isinstance(length, int) or not 0 <= length <= _MAX_TEXT:
            raise UsageError(f"schema: a text needs a maxLength of at most {_MAX_TEXT}")
        return "string"
    if kind == "object" and schema.get("properties"):
        return "object"
    raise UsageError(f"schema: {_short(dict(schema))} is neither an object, an enum nor a text")


def _properties(schema: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    properties: Mapping[str, Mapping[str, Any]] = schema["properties"]
    return properties


def _rule(schema: Mapping[str, Any], rules: list[str], depth: int) -> str:
    """The name or literal that stands for `schema`; longer ones are appended to `rules`."""
    if depth > _MAX_DEPTH:
        raise UsageError(f"schema: nested deeper than {_MAX_DEPTH}")
    kind = _kind(schema)
    if kind == "enum":
        body = " | ".join(_literal(_spelt(value)) for value in schema["enum"])
    elif kind == "string":
        body = f'"\\"" {_FREE}{{0,{schema["maxLength"]}}} "\\""'
    else:
        pairs = [
            f" {_literal(_spelt(name) + ':')} {_rule(part, rules, depth + 1)} "
            for name, part in _properties(schema).items()
        ]
        body = f'"{{"{_literal(",").join(pairs)}"}}"'
    name = f"r{len(rules)}"
    rules.append(f"{name} ::= {body}\n")
    return name


def _spelt(value: str) -> str:
    """The JSON of a text, ASCII only."""
    return json.dumps(value, ensure_ascii=True)


def _literal(text: str) -> str:
    """A GBNF literal of printable ASCII text."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
