"""Application cards: an application or library that can be tuned is one YAML file."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from hpcagent.apps.cardcheck import (
    VARIABLE,
    check_kind,
    check_library,
    check_values,
    check_words,
    refused,
)
from hpcagent.errors import UsageError
from hpcagent.expressions import compile_expression
from hpcagent.measure.objectives import COST, CV, ENERGY, MEMORY, THROUGHPUT, TIME
from hpcagent.yamlfile import Document, first_problem, load_yaml, number

if TYPE_CHECKING:
    from collections.abc import Collection

_FOLDER = Path(__file__).resolve().parent

_DRIVER = "openblas"
_BEGIN = "begin with a copy of hpcagent/apps/openblas.yaml"
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=40)]
# `figure of merit` names may be what the application calls them.
Label = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_.-]*$", max_length=64)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def _as_texts(value: Any) -> Any:
    """The numbers of a list as they would be written."""
    if not isinstance(value, list):
        return value
    for each in value:
        if isinstance(each, bool) or not isinstance(each, str | int | float):
            raise ValueError(f"{each!r} must be a number or text: put it between quotes")
    return [str(each) for each in value]


class Dimension(_Strict):
    """A parameter: where it acts (`when`), what it may be, and how it is set.

    `values` is an expression that gives a list, or a list of values that stand for themselves, as
    do a default and a hint that are among them; or `by` names a fact whose value picks one of
    `choices`. A value other than the default sets `env`, puts `argv` before the command, or
    (`binding`) restricts the CPUs. `probe` names the read-back that must show the value.
    `hint` is an expression for the value that knowledge of the hardware makes likely; the search
    gives it a small advantage until measurements say otherwise.
    `with_builds` false: left at its default where builds are searched as well. `limit: upper`: a
    size; larger values of it need more memory and time.
    """

    name: Name
    kind: Literal["ordinal", "categorical"]
    meaning: str
    when: str = "True"
    values: Annotated[str | list[str] | None, BeforeValidator(_as_texts)] = None
    by: str | None = None
    choices: dict[str, list[str]] | None = None
    default: str
    env: dict[str, str] = {}
    argv: list[str] = []
    binding: bool = False
    probe: str | None = None
    with_builds: bool = True
    hint: str | None = None
    limit: Literal["", "upper"] = ""

    @model_validator(mode="after")
    def _one_source_of_values(self) -> Dimension:
        if (self.values is None) == (self.by is None or self.choices is None):
            raise ValueError("give either 'values', or 'by' with 'choices'")
        if self.limit and self.kind != "ordinal":
            raise ValueError("only an ordinal has a limit")
        return self

    @property
    def listed(self) -> tuple[str, ...]:
        """The values that stand for themselves."""
        return tuple(self.values) if isinstance(self.values, list) else ()

    @property
    def acts(self) -> bool:
        """Whether it says itself what sets it."""
        return bool(self.env or self.argv or self.binding)

    @field_validator("env")
    @classmethod
    def _names(cls, value: dict[str, str]) -> dict[str, str]:
        for name in value:
            if not VARIABLE.match(name):
                raise ValueError(f"{name!r} is not the name of an environment variable")
        return value


class Build(_Strict):
    """How a library's benchmark driver is built (`template`, `params`), or an application.

    `program` describes what `hpcagent build --app` makes. Where an application is built in the
    search, `{name}` stands for a parameter in all of these but `source`, `sha256` and the program's
    sources: either a `program` with `compiler`, `mpi` and `blas` to build it with, or `commands`,
    run in turn in a copy of `source` with `env` and with `files` (name -> text) written into it.
    `programs` are files that they leave there and that go to `{prefix}/bin`; `makes` is what they
    install below `{prefix}`, with DESTDIR. All together may take `timeout_s`.
    """

    template: Name = "none"
    params: dict[str, list[str]] = {}
    program: dict[str, Any] | None = None
    source: str = ""
    sha256: str = ""
    compiler: str = ""
    mpi: str = ""
    blas: str = ""
    modules: list[str] = []
    commands: list[list[str]] = []
    env: dict[str, str] = {}
    files: dict[str, str] = {}
    programs: list[str] = []
    makes: list[str] = []
    timeout_s: Annotated[float, Field(gt=0, le=604800), BeforeValidator(number)] = 3600.0


class Command(_Strict):
    """What runs. With `launch: mpi` the words of `launcher` and `-n RANKS` come first; `ranks` is
    an expression (empty: the parameter of that name). A process may take `timeout_s` until the
    time of the default is known."""

    argv: Annotated[list[str], Field(min_length=1)]
    launch: Literal["none", "mpi"] = "none"
    launcher: Annotated[list[str], Field(min_length=1)] = ["mpirun"]
    ranks: str = ""
    timeout_s: Annotated[float, Field(gt=0, le=604800), BeforeValidator(number)] = 600.0


class FigureOfMerit(_Strict):
    """A figure that the application prints, for each key of the workload.

    `regex` has the group `value`, for a library `key` as well, and is matched at the beginning of a
    line; an application's that is empty stands for the time of the whole process. The first of a
    card is always measured; the others where an objective names them.
    """

    name: Label
    regex: str
    unit: str
    direction: Literal["min", "max"]

    @model_validator(mode="after")
    def _means_what_it_says(self) -> FigureOfMerit:
        try:
            groups = re.compile(self.regex).groupindex
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError(f"{self.regex!r} is not a regular expression: {error}") from None
        if self.regex and "value" not in groups:
            raise ValueError(f"{self.regex!r} lacks the group 'value': (?P<value>...)")
        if self.name in (THROUGHPUT, COST, ENERGY, MEMORY, CV):
            raise ValueError(f"{self.name} is an objective of every run: take another name")
        if self.name == TIME and (self.unit, self.direction) != ("s", "min"):
            raise ValueError("a figure called time is in s, and less of it is better")
        return self


class Residual(_Strict):
    pattern: str
    max: Annotated[float, Field(allow_inf_nan=False), BeforeValidator(number)]


class Answer(_Strict):
    """What a right result prints: the group `value` of the last line that `pattern` matches.

    It is `value`, or (None) what the default prints, to `tolerance` of its size (to `tolerance`
    where it is 0).
    """

    pattern: str
    tolerance: Annotated[float, Field(ge=0, allow_inf_nan=False), BeforeValidator(number)]
    value: Annotated[float | None, Field(allow_inf_nan=False), BeforeValidator(number)] = None


class Check(_Strict):
    """A library's has a residual; an application's may have both, or none."""

    residual: Residual | None = None
    answer: Answer | None = None


class Request(_Strict):
    nodes: int = 1
    tasks_per_node: str | int = 1
    cpus_per_task: str | int = 1
    exclusive: bool = True


class Card(_Strict):
    """An application sets its parameters by `{name}` in the words of its command, in `env` and in
    `files` (name -> text, written where it runs) as well; `derived` gives further such names, each
    an expression. `inputs` are files beside its card that are put where it runs. `cases` are the
    weights of what one process prints a figure of each, by the names that it prints."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=True)

    schema_: Literal[1] = Field(alias="schema")
    name: Name
    kind: Literal["library", "application"]
    title: str
    sources: list[dict[str, str]]
    build: Build
    command: Command
    inputs: list[str]
    sizes: list[str]
    unset: list[str]
    space: list[Dimension]
    restrictions: list[str]
    figures_of_merit: Annotated[list[FigureOfMerit], Field(min_length=1)]
    success: list[str]
    check: Check
    readback: dict[str, str]
    resources: Request
    env: dict[str, str] = {}
    derived: dict[str, str] = {}
    files: dict[str, str] = {}
    outputs: list[str] = []
    cases: dict[Label, Annotated[float, Field(gt=0, le=1e9, strict=False)]] = {}

    @property
    def is_application(self) -> bool:
        return self.kind == "application"

    @property
    def is_built(self) -> bool:
        """Whether it is an application that is built in the search."""
        return self.is_application and (self.build.program is not None or bool(self.build.commands))

    @field_validator("figures_of_merit")
    @classmethod
    def _names_differ(cls, value: list[FigureOfMerit]) -> list[FigureOfMerit]:
        names = [figure.name for figure in value]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"{name} is named twice")
        return value


def card_names() -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.yaml")))


@cache
def load_card(name: str) -> Card:
    """The card of this name; UsageError where there is none or it is malformed."""
    if name not in card_names():
        raise UsageError(f"unknown library {name!r}; known: {', '.join(card_names())}")
    return read_card(_FOLDER / f"{name}.yaml")


def read_card(path: Path) -> Card:
    """The card of a library; UsageError, with file and line, where it is malformed."""
    document = load_yaml(path)
    card = checked(document)
    check_library(document, card)
    return card


def is_file(lib: str) -> bool:
    """Whether `--lib` names a user's own card, and not one that ships."""
    return "/" in lib or lib.endswith((".yaml", ".yml"))


def own_card(path: Path, facts: Collection[str]) -> tuple[Card, dict[str, Any]]:
    """A user's card, and its data as a run keeps them; UsageError, with file and line.

    `facts` are the names that its expressions may use beside its parameters.
    """
    document = load_yaml(path)
    check_kind(document, "library", "an application is tuned with --app FILE.yaml")
    card = checked(document)
    if card.build.template != _DRIVER or card.build.program is not None or not card.space:
        raise UsageError(
            f"{document.where('build')}: build: only what OpenBLAS's driver measures can be tuned "
            f"so far: template {_DRIVER}, no program, and a space"
        )
    if card.name in card_names():
        raise UsageError(
            f"{document.where('name')}: name: {card.name} is a card that ships, whose history is "
            "another: give yours a name of its own"
        )
    check_library(document, card)
    check_words(document, card)
    check_expressions(document, card, facts)
    return card, dict(document.data)


def check_expressions(document: Document, card: Card, facts: Collection[str]) -> None:
    """UsageError for what can be told of them before the machine is known."""
    found: list[tuple[tuple[str | int, ...], str, frozenset[str]]] = [
        (("space", index, field), text, frozenset(facts))
        for index, dimension in enumerate(card.space)
        for field in ("when", "default", "values", "hint")
        if isinstance(text := getattr(dimension, field), str) and text not in dimension.listed
    ]
    for index, dimension in enumerate(card.space):
        if dimension.by is not None and dimension.by not in facts:
            words = f"there is no fact {dimension.by}; there are {', '.join(sorted(facts))}"
            raise refused(document, ("space", index, "by"), words)
    known = frozenset(facts) | {dimension.name for dimension in card.space}
    found += [(("restrictions", i), text, known) for i, text in enumerate(card.restrictions)]
    for keys, text, names in found:
        try:
            compile_expression(text, names)
        except UsageError as error:
            raise UsageError(f"{document.where(*keys)}: {error}") from None
    check_values(document, card)


def checked(document: Document, begin: str = _BEGIN) -> Card:
    """The card of a document, as far as each field goes; `begin` says where to get one."""
    try:
        return Card.model_validate(document.data)
    except ValidationError as error:
        problem = first_problem(document.where, error.errors(), _fields(), begin)
        raise UsageError(problem) from None


def _fields() -> frozenset[str]:
    """Every name that stands in a card."""
    parts = (Card, Dimension, Build, Command, FigureOfMerit, Check, Residual, Answer, Request)
    return frozenset(
        field.alias or name for part in parts for name, field in part.model_fields.items()
    )
