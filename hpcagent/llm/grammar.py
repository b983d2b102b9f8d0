"""From a JSON schema to a llama.cpp grammar (GBNF), and the check of an answer by that schema.

The subset: objects whose properties are all required, in their order; enums and constants of texts,
whole numbers, true, false and null; texts with `maxLength`; integers and numbers between `minimum`
and `maximum`; arrays with `maxItems`; `anyOf`. Answers are compact JSON in printable ASCII without
escapes in free texts, so that every answer is short, complete and bounded, and any vocabulary that
has the printable characters can spell it. The converter of llama-cpp-python admits free white space
and escapes, and folds names that differ in punctuation into one rule; therefore this one.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from hpcagent.errors import UsageError
from hpcagent.llm.digits import integer_rule, longest_number, number_rule

_FREE = r"[ !#-\[\]-~]"  # printable ASCII without the quote and the backslash
_MAX_DEPTH = 8
_MAX_TEXT = 2000  # llama.cpp refuses longer repetitions
_MAX_ITEMS = 64
_MAX_NUMBER = 10**12


def gbnf(schema: Mapping[str, Any]) -> str:
    """The grammar of exactly the answers `schema` allows; UsageError outside the subset."""
    rules: list[str] = []
    root = _rule(schema, rules, 0)
    return f"root ::= {root}\n" + "".join(rules)


def linear(schema: Mapping[str, Any]) -> bool:
    """Whether `outline` can say it: the parts of an answer are always the same."""
    kind = _kind(schema)
    if kind == "object":
        return all(linear(part) for part in _properties(schema).values())
    return kind == "enum" or (kind == "string" and not schema.get("minLength"))


def outline(schema: Mapping[str, Any]) -> list[tuple[str, Any, str]]:
    """The same answers as (kind, what may stand there, text that must follow), in their order.

    The first is ("fixed", "", TEXT); then ("text", most characters, TEXT) for a free text without
    its quotes, and ("choice", [JSON texts without their quotes], TEXT). UsageError as of `gbnf`.
    Only for what `linear` is true of; choices of other values than texts stand with all they need.
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
        if kind == "string":
            fixed('"')
            parts.append(("text", schema["maxLength"], '"'))
            return
        values = [_spelt(value) for value in _values(schema)]
        quoted = all(value.startswith('"') for value in values)
        fixed('"' if quoted else "")
        values = [value[1:-1] for value in values] if quoted else values
        parts.append(("choice", list(dict.fromkeys(values)), '"' if quoted else ""))

    walk(schema, 0)
    return parts


def longest(schema: Mapping[str, Any]) -> int:
    """Characters of the longest answer the grammar allows: an upper bound on its tokens."""
    kind = _kind(schema)
    if kind == "enum":
        return max(len(_spelt(value)) for value in _values(schema))
    if kind == "string":
        return int(schema["maxLength"]) + 2
    if kind in ("integer", "number"):
        return longest_number(*_bounds(schema), fraction=kind == "number")
    if kind == "array":
        most = int(schema["maxItems"])
        return 2 + most * longest(schema["items"]) + max(0, most - 1)
    if kind == "anyOf":
        return max(longest(part) for part in schema["anyOf"])
    parts = [len(_spelt(name)) + 1 + longest(part) for name, part in _properties(schema).items()]
    return sum(parts) + max(0, len(parts) - 1) + 2


def violation(value: Any, schema: Mapping[str, Any], where: str = "answer") -> str:
    """What is wrong with a parsed answer, in a few words; empty where nothing is."""
    kind = _kind(schema)
    if kind == "enum":
        allowed = any(type(value) is type(each) and value == each for each in _values(schema))
        return "" if allowed else f"{where}: {_short(value)} is not allowed"
    if kind == "string":
        return _text_violation(value, schema, where)
    if kind in ("integer", "number"):
        return _number_violation(value, kind, _bounds(schema), where)
    if kind == "array":
        return _array_violation(value, schema, where)
    if kind == "anyOf":
        problems = [violation(value, part, where) for part in schema["anyOf"]]
        return "" if "" in problems else problems[0]
    return _object_violation(value, schema, where)


def _text_violation(value: Any, schema: Mapping[str, Any], where: str) -> str:
    if not isinstance(value, str):
        return f"{where}: {_short(value)} is not a text"
    if len(value) < schema.get("minLength", 0):
        return f"{where}: shorter than {schema['minLength']} characters"
    too_long = len(value) > schema["maxLength"]
    return f"{where}: longer than {schema['maxLength']} characters" if too_long else ""


def _number_violation(value: Any, kind: str, bounds: tuple[int, int], where: str) -> str:
    wanted = int if kind == "integer" else int | float
    if not isinstance(value, wanted) or isinstance(value, bool) or not math.isfinite(value):
        return f"{where}: {_short(value)} is no {'whole ' if kind == 'integer' else ''}number"
    low, high = bounds
    return "" if low <= value <= high else f"{where}: {value} is not between {low} and {high}"


def _array_violation(value: Any, schema: Mapping[str, Any], where: str) -> str:
    if not isinstance(value, list):
        return f"{where}: {_short(value)} is not a list"
    least, most = schema.get("minItems", 0), schema["maxItems"]
    if not least <= len(value) <= most:
        return f"{where}: {len(value)} items, it has to be {least} to {most}"
    items = (violation(each, schema["items"], f"{where}[{n}]") for n, each in enumerate(value))
    return next((problem for problem in items if problem), "")


def _object_violation(value: Any, schema: Mapping[str, Any], where: str) -> str:
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
    """What the schema is of; UsageError where it is not in the subset, or has no bounds."""
    if "enum" in schema or "const" in schema or schema.get("type") in ("boolean", "null"):
        values = _values(schema)
        if not values or not all(isinstance(v, str | int | bool | None) for v in values):
            raise UsageError(
                "schema: an enum needs at least one value: texts, whole numbers, true, false, null"
            )
        return "enum"
    if "anyOf" in schema:
        if not schema["anyOf"]:
            raise UsageError("schema: anyOf needs at least one part")
        return "anyOf"
    kind = schema.get("type")
    if kind == "string":
        length, least = schema.get("maxLength"), schema.get("minLength", 0)
        if not isinstance(length, int) or not 0 <= least <= length <= _MAX_TEXT:
            raise UsageError(f"schema: a text needs a maxLength of at most {_MAX_TEXT}")
        return "string"
    if kind in ("integer", "number"):
        _bounds(schema)
        return str(kind)
    if kind == "array" and "items" in schema:
        most, least = schema.get("maxItems"), schema.get("minItems", 0)
        if not isinstance(most, int) or not 0 <= least <= most <= _MAX_ITEMS:
            raise UsageError(f"schema: an array needs maxItems of at most {_MAX_ITEMS}")
        return "array"
    if kind == "object" and schema.get("properties"):
        return "object"
    raise UsageError(
        f"schema: {_short(dict(schema))} is no object, array, number, enum or text with bounds"
    )


def _values(schema: Mapping[str, Any]) -> Sequence[Any]:
    if "enum" in schema:
        values: Sequence[Any] = schema["enum"]
        return values
    if "const" in schema:
        return (schema["const"],)
    return (True, False) if schema["type"] == "boolean" else (None,)


def _bounds(schema: Mapping[str, Any]) -> tuple[int, int]:
    low, high = schema.get("minimum"), schema.get("maximum")
    whole = all(isinstance(x, int | float) and float(x).is_integer() for x in (low, high))
    if not whole or low is None or high is None or not -_MAX_NUMBER <= low <= high <= _MAX_NUMBER:
        raise UsageError(
            f"schema: a number needs minimum and maximum, whole and at most {_MAX_NUMBER} from zero"
        )
    return int(low), int(high)


def _properties(schema: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    properties: Mapping[str, Mapping[str, Any]] = schema["properties"]
    return properties


def _rule(schema: Mapping[str, Any], rules: list[str], depth: int) -> str:
    """The name or literal that stands for `schema`; longer ones are appended to `rules`."""
    if depth > _MAX_DEPTH:
        raise UsageError(f"schema: nested deeper than {_MAX_DEPTH}")
    body = _body(schema, rules, depth)
    name = f"r{len(rules)}"
    rules.append(f"{name} ::= {body}\n")
    return name


def _body(schema: Mapping[str, Any], rules: list[str], depth: int) -> str:
    kind = _kind(schema)
    if kind == "enum":
        return " | ".join(_literal(_spelt(value)) for value in _values(schema))
    if kind == "string":
        length = f"{{{schema.get('minLength', 0)},{schema['maxLength']}}}"
        return f'"\\"" {_FREE}{length} "\\""'
    if kind == "integer":
        return integer_rule(*_bounds(schema))
    if kind == "number":
        return number_rule(*_bounds(schema))
    if kind == "array":
        return _array(schema, _rule(schema["items"], rules, depth + 1))
    if kind == "anyOf":
        return " | ".join(_rule(part, rules, depth + 1) for part in schema["anyOf"])
    pairs = [
        f" {_literal(_spelt(name) + ':')} {_rule(part, rules, depth + 1)} "
        for name, part in _properties(schema).items()
    ]
    return f'"{{"{_literal(",").join(pairs)}"}}"'


def _array(schema: Mapping[str, Any], item: str) -> str:
    least, most = schema.get("minItems", 0), schema["maxItems"]
    if most == 0:
        return '"[" "]"'
    items = f'{item} ("," {item}){{{max(0, least - 1)},{most - 1}}}' if most > 1 else item
    return f'"[" {items} "]"' if least else f'"[" ({items})? "]"'


def _spelt(value: str | int | bool | None) -> str:
    """The JSON of a value, ASCII only."""
    return json.dumps(value, ensure_ascii=True)


def _literal(text: str) -> str:
    """A GBNF literal of printable ASCII text."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
