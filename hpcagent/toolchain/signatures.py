"""The list of failures (failures.yaml) as checked records: patterns, meaning, cure, repair."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from hpcagent import regexes
from hpcagent.errors import UsageError
from hpcagent.toolchain.finder import telling_parts
from hpcagent.toolchain.repairs import Repair
from hpcagent.yamlfile import Document, load_yaml

_TERM = re.compile(r"\{([a-z_]+)\}")

Counts = Literal["proof", "ending", "hint", "silent"]
Stage = Literal[
    "configure", "compile", "link", "load", "run", "mpi", "numerics", "scheduler", "environment",
    "model",
]  # fmt: skip
Words = Annotated[str, Field(min_length=10, max_length=320)]
Id = Annotated[str, Field(pattern=r"^[a-z]+\.[a-z][a-z0-9_-]*$", max_length=60)]
Regex = Annotated[str, Field(min_length=3, max_length=900)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Pattern(_Strict):
    """What one line must look like, and what must (not) stand on it or within `lines` lines.

    `twice`: the same words must stand within two lines once more (every rank says them).
    """

    match: Regex
    not_: Regex | None = Field(default=None, alias="not")
    near: Regex | None = None
    not_near: Regex | None = None
    lines: int = Field(default=12, ge=1, le=40)
    before_only: bool = False
    twice: bool = False
    counts: Counts | None = None

    @field_validator("match", "not_", "near", "not_near")
    @classmethod
    def _of_one_line(cls, value: str | None) -> str | None:
        if value is not None and ("\n" in value or r"\A" in value or r"\z" in value):
            raise ValueError("a pattern is matched against one line: leave out \\A, \\z and breaks")
        return value


class Failing(_Strict):
    """One kind of failure; fields as docs/diagnosis.md describes them."""

    id: Id
    meaning: Words
    cure: Words
    weight: int = Field(default=50, ge=1, le=99)
    counts: Counts = "proof"
    also: list[Id] = []
    exits: list[Annotated[int, Field(ge=1, le=255)]] = []
    beats: list[Id] = []
    repair: Repair | None = None
    patterns: list[str | Pattern] = []

    @field_validator("id")
    @classmethod
    def _stage(cls, value: str) -> str:
        if value.split(".")[0] not in Stage.__args__:  # type: ignore[attr-defined]
            raise ValueError(f"its stage is none of {', '.join(Stage.__args__)}")  # type: ignore[attr-defined]
        return value

    @property
    def stage(self) -> str:
        return self.id.partition(".")[0]

    @property
    def kind(self) -> str:
        return self.id.partition(".")[2]


class Forgiving(_Strict):
    """Words by which a program says that it goes on: see docs/diagnosis.md."""

    line: list[Regex] = []
    never: list[Regex] = []
    above: list[Regex] = []
    below: list[Regex] = []
    pardon: list[Regex] = []


class Asked(_Strict):
    """How answers to a configure script's questions are told: see docs/diagnosis.md."""

    line: list[Regex] = []
    tools: list[Regex] = []
    near: list[Regex] = []


class _File(_Strict):
    schema_: Literal[1] = Field(alias="schema")
    terms: dict[str, Regex] = {}
    ignore: list[Regex] = []
    endings: list[Regex] = []
    probes: list[Regex] = []
    survivable: list[Regex] = []
    forgiven: Forgiving = Forgiving()
    asked: Asked = Asked()
    epilogue: list[Regex] = []
    banners: list[Regex] = []
    failed_ends: list[Regex] = []
    good_ends: list[Regex] = []
    failures: list[Failing]


@dataclass(frozen=True)
class Place:
    """A pattern of the list: `where` is its file and line, for errors."""

    failing: Failing
    pattern: Pattern
    where: str

    @property
    def counts(self) -> Counts:
        return self.pattern.counts or self.failing.counts


@dataclass(frozen=True, eq=False)
class Catalogue:
    """All failures by id, and all their patterns with terms put in. Equal only to itself."""

    failures: Mapping[str, Failing]
    places: tuple[Place, ...]
    ignore: tuple[str, ...]
    endings: tuple[str, ...]
    probes: tuple[str, ...]
    survivable: tuple[str, ...]
    forgiven: Forgiving
    asked: Asked
    epilogue: tuple[str, ...]
    banners: tuple[str, ...]
    failed_ends: tuple[str, ...]
    good_ends: tuple[str, ...]

    def get(self, name: str) -> Failing | None:
        """The entry of an id, or of another name it goes by."""
        return self.failures.get(name) or self._aliases.get(name)

    @cached_property
    def _aliases(self) -> dict[str, Failing]:
        return {name: entry for entry in self.failures.values() for name in entry.also}

    @cached_property
    def alternation(self) -> str:
        """One pattern that finds at least every line that any of the patterns matches."""
        found = (p for place in self.places for p in telling_parts(place.pattern.match))
        return f"(?m)(?:{'|'.join(dict.fromkeys(f'(?:{p})' for p in found))})"


@cache
def catalogue() -> Catalogue:
    """The list that hpcagent comes with."""
    return load_catalogue(Path(__file__).with_name("failures.yaml"))


def load_catalogue(path: Path) -> Catalogue:
    """A file of failures; UsageError with file and line for whatever is wrong in it."""
    document = load_yaml(path)
    try:
        file = _File.model_validate(document.data)
    except ValidationError as error:
        first = error.errors()[0]
        at = tuple(key for key in first["loc"] if isinstance(key, str | int))
        words = f"{'.'.join(map(str, at))}: {first['msg']}"
        raise UsageError(f"{document.where(*at)}: {words}") from None
    failures: dict[str, Failing] = {}
    for index, entry in enumerate(file.failures):
        for name in (entry.id, *entry.also):
            if any(name == other.id or name in other.also for other in failures.values()):
                raise UsageError(f"{document.where('failures', index)}: {name} is listed twice")
        failures[entry.id] = entry
    _check_names(document, file, failures)
    places = tuple(_places(document, file))
    found = Catalogue(
        failures, places, tuple(file.ignore), tuple(file.endings), tuple(file.probes),
        tuple(file.survivable), file.forgiven, file.asked, tuple(file.epilogue),
        tuple(file.banners), tuple(file.failed_ends), tuple(file.good_ends),
    )  # fmt: skip
    _check_patterns(document, found)
    return found


def _check_names(document: Document, file: _File, failures: Mapping[str, Failing]) -> None:
    for index, entry in enumerate(file.failures):
        for name in entry.beats:
            if name not in failures or name == entry.id:
                where = document.where("failures", index, "beats")
                raise UsageError(f"{where}: {entry.id} beats {name}, which is no other id here")


def _check_patterns(document: Document, found: Catalogue) -> None:
    try:
        regexes.compiled("|".join(f"(?:{p.pattern.match})" for p in found.places), "all patterns")
    except UsageError:
        for place in found.places:  # to say which
            regexes.compiled(place.pattern.match, place.where)
        raise
    for place in found.places:
        for text in (place.pattern.not_, place.pattern.near, place.pattern.not_near):
            if text is not None:
                regexes.compiled(text, place.where)
    for name in (
        "ignore",
        "endings",
        "probes",
        "survivable",
        "epilogue",
        "banners",
        "failed_ends",
        "good_ends",
    ):
        for index, text in enumerate(getattr(found, name)):
            regexes.compiled(text, document.where(name, index))
    for key, group in (("forgiven", found.forgiven), ("asked", found.asked)):
        for name in type(group).model_fields:
            for index, text in enumerate(getattr(group, name)):
                regexes.compiled(text, document.where(key, name, index))


def _places(document: Document, file: _File) -> list[Place]:
    found = []
    for index, entry in enumerate(file.failures):
        for number, given in enumerate(entry.patterns):
            where = document.where("failures", index, "patterns", number)
            pattern = Pattern(match=given) if isinstance(given, str) else given
            texts = {
                name: _expanded(text, file.terms, where)
                for name in ("match", "not_", "near", "not_near")
                if (text := getattr(pattern, name)) is not None
            }
            found.append(Place(entry, pattern.model_copy(update=texts), where))
    return found


def _expanded(text: str, terms: Mapping[str, str], where: str) -> str:
    def put(match: re.Match[str]) -> str:
        if match.group(1) not in terms:
            raise UsageError(f"{where}: {match.group(0)} is none of the terms")
        return terms[match.group(1)]

    return _TERM.sub(put, text)
