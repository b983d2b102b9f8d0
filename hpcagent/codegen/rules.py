"""The rules of the screen (screen.yaml) as checked data, for the spec of a unit."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from hpcagent.errors import UsageError
from hpcagent.yamlfile import load_yaml

Word = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=60)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _Names(_Strict):
    words: list[Word] = []
    calls: list[Word] = []
    heads: list[Word] = []
    strings: list[str] = []
    directives: list[str] = []
    attributes: list[str] = []

    @field_validator("strings", "directives", "attributes")
    @classmethod
    def _patterns(cls, values: list[str]) -> list[str]:
        for value in values:
            try:
                re.compile(value)
            except re.error as error:
                raise ValueError(f"{value!r} is no pattern: {error}") from None
        return values


class _Kind(_Names):
    policy: Literal["reject", "report"]
    meaning: Annotated[str, Field(min_length=10, max_length=200)]
    fortran: _Names | None = None
    program: _Names | None = None


class _File(_Strict):
    schema_: Literal[1] = Field(alias="schema")
    kinds: dict[str, _Kind]


@cache
def rules(program: bool = False) -> dict[str, Any]:
    """kind -> rule, as screen.screen takes them; for a function, or for a whole program."""
    found = load_rules(Path(__file__).with_name("screen.yaml"))
    return {
        kind: _of_program(rule) if program else _of_function(rule) for kind, rule in found.items()
    }


def _of_function(rule: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in rule.items() if key != "program"}


def _of_program(rule: dict[str, Any]) -> dict[str, Any]:
    """Its own lists in the place of those for a function; what it defines is its own matter."""
    left = _of_function(rule) | {"whole": True}
    if "program" not in rule:
        return left
    dropped = ("words", "calls", "heads", "fortran")
    kept = {key: value for key, value in left.items() if key not in dropped}
    return {**kept, **rule["program"], "fortran": rule["program"]}


def load_rules(path: Path) -> dict[str, Any]:
    """A file of rules; UsageError with file and line for what is wrong in it."""
    document = load_yaml(path)
    try:
        file = _File.model_validate(document.data)
    except ValidationError as error:
        first = error.errors()[0]
        at = tuple(key for key in first["loc"] if isinstance(key, str | int))
        words = f"{'.'.join(map(str, at))}: {first['msg']}"
        raise UsageError(f"{document.where(*at)}: {words}") from None
    return {
        kind: rule.model_dump(exclude_defaults=True, exclude_none=True)
        for kind, rule in file.kinds.items()
    }
