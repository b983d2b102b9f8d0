"""The declared parameters of a build: enumerated, with defaults, and what each value renders to.

A user or a model picks values; everything else about the build's files is fixed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from hpcagent.errors import UsageError
from hpcagent.expressions import compile_expression
from hpcagent.probe.microarch import lineage
from hpcagent.yamlfile import Document, load_yaml

_FOLDER = Path(__file__).resolve().parent
_ANY = "*"
# What every shell, make and CMake take as it stands, or several of them: a list for make or CMake.
_TEXT = re.compile(r"[A-Za-z0-9_.{}+-]*(?:[ ;][A-Za-z0-9_.{}+-]+)*\Z")

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=40)]
Rendered = dict[str, dict[str, str]]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Parameter(_Strict):
    """One choice; see the head of openblas_build.yaml for the fields."""

    name: Name
    meaning: str
    values: list[str] | None = None
    choices: dict[str, list[str]] | None = None
    default: str | None = None
    default_by: dict[str, str] | None = None
    fits: Literal["cpus"] | None = None
    tuned: list[str] | Literal["lineage"] | None = None
    make: Rendered = {}
    cmake: Rendered = {}

    @model_validator(mode="after")
    def _whole(self) -> Parameter:
        if (self.values is None) == (self.choices is None):
            raise ValueError("give either 'values' or 'choices'")
        if [self.default, self.default_by, self.fits].count(None) != 2:
            raise ValueError("give one of 'default', 'default_by' and 'fits'")
        known = {*(self.values or ()), *(v for row in (self.choices or {}).values() for v in row)}
        tuned = self.tuned if isinstance(self.tuned, list) else []
        used = {self.default, *tuned, *(self.default_by or {}).values(), *self.make, *self.cmake}
        strange = used - known - {None, _ANY}
        if strange:
            raise ValueError(f"{sorted(map(str, strange))[0]!r} is not among the values")
        return self

    @field_validator("make", "cmake")
    @classmethod
    def _texts(cls, value: Rendered) -> Rendered:
        for row in value.values():
            for name, text in row.items():
                if not re.match(r"[A-Za-z_]\w*\Z", name, re.ASCII) or not _TEXT.match(text):
                    raise ValueError(f"{name}={text!r} cannot stand in a Makefile unquoted")
        return value

    def enumeration(self, architecture: str) -> tuple[str, ...]:
        if self.choices is None:
            return tuple(self.values or ())
        return tuple(self.choices.get(architecture, ()))


class Rule(_Strict):
    holds: str
    cure: str


class Parameters(_Strict):
    """All parameters of one library's build."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=True)

    schema_: Literal[1] = Field(alias="schema")
    name: Name
    title: str
    parameters: list[Parameter]
    rules: list[Rule]
    unset: list[str]

    def named(self, name: str) -> Parameter:
        for parameter in self.parameters:
            if parameter.name == name:
                return parameter
        names = ", ".join(p.name for p in self.parameters)
        raise UsageError(f"{self.name} has no build parameter {name!r}; they are: {names}")


@dataclass(frozen=True)
class Place:
    """What the defaults and the rules depend on: the node that is built for."""

    architecture: str
    microarchitecture: str
    cpus: int


def load_parameters(name: str) -> Parameters:
    """The parameters of the library of this name; UsageError where it is not known."""
    known = sorted(path.stem.removesuffix("_build") for path in _FOLDER.glob("*_build.yaml"))
    if name not in known:
        raise UsageError(f"{name!r} cannot be built from source; known: {', '.join(known)}")
    return read_parameters(_FOLDER / f"{name}_build.yaml")


@cache
def read_parameters(path: Path) -> Parameters:
    document = load_yaml(path)
    try:
        return Parameters.model_validate(document.data)
    except ValidationError as error:
        raise UsageError(_first_problem(document, error)) from None


def resolve(of: Parameters, given: Mapping[str, str], place: Place) -> dict[str, str]:
    """A value for every parameter: the given ones checked, the others by default.

    UsageError, one line, for an unknown name, a value outside its enumeration, or a rule.
    """
    for name in given:
        of.named(name)
    values: dict[str, str] = {}
    for parameter in of.parameters:
        allowed = parameter.enumeration(place.architecture)
        if not allowed:
            raise UsageError(f"{of.name} has no {parameter.name} for {place.architecture!r}")
        value = given.get(parameter.name) or _default(parameter, allowed, place)
        if value not in allowed:
            raise UsageError(f"{parameter.name}={value}: choose one of {', '.join(allowed)}")
        values[parameter.name] = value
    known = {**values, "architecture": place.architecture, "cpus": place.cpus}
    for rule in of.rules:
        if not compile_expression(rule.holds, known.keys()).evaluate(known):
            raise UsageError(rule.cure)
    return values


def rendered(of: Parameters, values: Mapping[str, str], system: str) -> tuple[tuple[str, str], ...]:
    """The variables that make or CMake is given, in the order of the parameters."""
    found: dict[str, str] = {}
    for parameter in of.parameters:
        table = parameter.make if system == "make" else parameter.cmake
        value = values[parameter.name]
        for name, text in {**table.get(_ANY, {}), **table.get(value, {})}.items():
            found[name] = text.replace("{value}", value)
    return tuple(found.items())


def unset_names(of: Parameters) -> tuple[str, ...]:
    """The variables that must not reach the build from its environment, sorted."""
    tables = [table for p in of.parameters for table in (p.make, p.cmake)]
    own = {name for table in tables for row in table.values() for name in row}
    return tuple(sorted({*of.unset, *own}))


def parse_assignments(words: Sequence[str]) -> dict[str, str]:
    """`name=value` words of a command line; UsageError for another form, or a name given twice."""
    found: dict[str, str] = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not sign or not name or not value:
            raise UsageError(f"--set {word!r}: write NAME=VALUE")
        if name in found:
            raise UsageError(f"--set {word!r}: {name} is given twice")
        found[name] = value
    return found


def _default(parameter: Parameter, allowed: Sequence[str], place: Place) -> str:
    if parameter.default is not None:
        return parameter.default
    if parameter.fits is not None:
        enough = [value for value in allowed if int(value) >= place.cpus]
        return enough[0] if enough else allowed[-1]
    for name in lineage(place.microarchitecture):
        if (parameter.default_by or {}).get(name) in allowed:
            return str((parameter.default_by or {})[name])
    raise UsageError(
        f"{parameter.name}: nothing is known of {place.microarchitecture!r}; "
        f"choose one of {', '.join(allowed)}"
    )


def _first_problem(document: Document, error: ValidationError) -> str:
    problem: Mapping[str, Any] = error.errors()[0]
    keys = tuple(problem["loc"])
    field = ".".join(str(key) for key in keys) or "file"
    return f"{document.where(*keys)}: {field}: {problem['msg']}"
