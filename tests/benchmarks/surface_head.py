"""NAME.json of a recorded surface: name, objective, parameters, default."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from hpcagent.records import Config, Param
from hpcagent.report.wording import shorten

COLUMNS = ("status", "samples")  # of NAME.csv.gz, beside one for each parameter
_KINDS = ("ordinal", "categorical")
_DIRECTIONS = ("min", "max")
# How a name ends that tells the size, where no family is named: dgemm_512, dgemm_64x64x1024.
_SIZE = re.compile(r"_\d+(x\d+)*\Z")
# Exponents of four digits at most: a longer one is a typing error, and slow to compare.
_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d{1,4})?\s*", re.ASCII | re.IGNORECASE)

# The listed value that a text means; None where it is none of them.
Meaning = Callable[[str], str | None]


class BadSurface(Exception):
    """One line: file, line, what is wrong, what was expected."""


@dataclass(frozen=True)
class Head:
    """`inverse` where more is better; `points` is how many rows there should be, where it says."""

    name: str
    family: str
    params: tuple[Param, ...]
    inverse: bool
    default: Config | None
    points: float | None


def shown(value: object) -> str:
    """As it stands in a message: a text in quotes, other JSON as such; no control characters, not
    long."""
    return shorten(repr(value) if isinstance(value, str) else json.dumps(value), 60)


def read_head(path: Path) -> Head:
    """BadSurface with the file, and the line where the JSON itself is wrong."""
    try:
        return _head(_json(path.read_bytes()))
    except OSError as error:
        raise BadSurface(f"{path}: {error.strerror}") from None
    except json.JSONDecodeError as error:
        raise BadSurface(f"{path}:{error.lineno}: no JSON: {error.msg}") from None
    except BadSurface as error:
        raise BadSurface(f"{path}: {error}") from None


def meaning(param: Param) -> Meaning:
    """The same text, else the same number: 16, 16.0 and 1.6e1 are one value of a list of numbers,
    unless the list itself tells such texts apart."""
    known = {value: value for value in param.values}
    numbers = {number: v for v in param.values if (number := _number(v)) is not None}
    if len(numbers) < len(param.values):
        numbers = {}

    def find(text: str) -> str | None:
        if text not in known and (number := _number(text)) in numbers:
            assert number is not None
            known[text] = numbers[number]
        return known.get(text)

    return find


def not_listed(param: Param, text: str) -> str:
    """What is wrong with a text that is no value of the parameter."""
    some = shorten(", ".join(param.values), 60)
    null = " (null is written None)" if not text and "None" in param.values else ""
    return f"{shown(text)} is none of the values of {shown(param.name)}: {some}{null}"


def _number(text: str) -> Decimal | None:
    return Decimal(text.strip()) if _NUMBER.fullmatch(text) else None


def _json(raw: bytes) -> Mapping[str, Any]:
    try:
        head = json.loads(raw.decode("utf-8-sig"))
        # JSON can spell halves of characters, which nothing can be written with.
        json.dumps(head, ensure_ascii=False).encode("utf-8")
    except UnicodeError:
        raise BadSurface("not UTF-8; write it as that") from None
    except json.JSONDecodeError:
        raise
    except ValueError:
        raise BadSurface("a whole number has thousands of digits; expected shorter ones") from None
    except RecursionError:
        raise BadSurface("nested too deeply; a surface has lists of values, no more") from None
    if not isinstance(head, dict) or "params" not in head:
        raise BadSurface("no surface: expected an object with name, objective, params and default;"
                         " move what is none out of the folder")  # fmt: skip
    return head


def _head(head: Mapping[str, Any]) -> Head:
    name, points = head.get("name"), head.get("points")
    if isinstance(name, (dict, list, bool)) or name is None or not str(name).strip():
        raise BadSurface(f"name is {shown(name)}; expected a word")
    params = _params(head["params"])
    counted = isinstance(points, (int, float)) and not isinstance(points, bool)
    return Head(
        name=str(name),
        family=str(head.get("family") or _SIZE.sub("", str(name))),
        params=params,
        inverse=_inverse(head.get("objective")),
        default=_default(head.get("default"), params),
        points=points if counted else None,
    )


def _inverse(objective: object) -> bool:
    if not isinstance(objective, dict):
        raise BadSurface("no objective; expected {unit, direction}, the direction min or max")
    direction = objective.get("direction")
    said = direction.lower() if isinstance(direction, str) else direction
    if said not in _DIRECTIONS:
        raise BadSurface(f"the objective's direction is {shown(direction)}; expected min or max")
    return bool(said == "max")


def _params(rows: object) -> tuple[Param, ...]:
    if not isinstance(rows, list) or not rows:
        raise BadSurface("params is no list of parameters; expected [{name, kind, values}, ...]")
    params = tuple(_param(number, row) for number, row in enumerate(rows, start=1))
    names = [param.name for param in params]
    if twice := repeated(names):
        raise BadSurface(f"the parameter {shown(twice)} is there twice")
    return params


def _param(number: int, row: object) -> Param:
    name = row.get("name") if isinstance(row, dict) else None
    if not isinstance(row, dict) or not isinstance(name, str) or not name:
        raise BadSurface(f"parameter {number} has no name that is a word; expected {{name, kind, "
                         "values}")  # fmt: skip
    if name in COLUMNS:
        raise BadSurface(f"a parameter is called {name}, as a column that every surface has")
    given, values = row.get("kind"), row.get("values")
    kind = given.lower() if isinstance(given, str) else given
    if kind not in _KINDS:
        raise BadSurface(f"the kind of {shown(name)} is {shown(given)}; expected ordinal or "
                         "categorical")  # fmt: skip
    if not isinstance(values, list) or not values:
        raise BadSurface(f"{shown(name)} has no list of values")
    words = tuple(map(str, values))
    if twice := repeated(words):
        raise BadSurface(f"the value {shown(twice)} of {shown(name)} is there twice")
    return Param(name, kind, words, words[0])


def repeated(words: Sequence[str]) -> str | None:
    """The first that is there twice."""
    return next((word for n, word in enumerate(words) if word in words[:n]), None)


def _default(given: object, params: Sequence[Param]) -> Config | None:
    if given is None:
        return None
    if not isinstance(given, dict):
        raise BadSurface(f"default is {shown(given)}; expected {{parameter: value, ...}} or null")
    names = [param.name for param in params]
    for name in [*(n for n in names if n not in given), *(n for n in given if n not in names)]:
        raise BadSurface(f"default {'lacks' if name in names else 'has'} {shown(name)}; expected "
                         f"a value of each parameter: {shorten(', '.join(names), 60)}")  # fmt: skip
    found = {}
    for param in params:
        text = str(given[param.name])
        value = meaning(param)(text)
        if value is None:
            raise BadSurface(f"default: {not_listed(param, text)}")
        found[param.name] = value
    return Config.of(found)
