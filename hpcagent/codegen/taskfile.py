"""The task of a code generation as a checked record: what is wanted, and how it is judged."""

from __future__ import annotations

import keyword
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidationError, field_validator

from hpcagent.codegen.screen import of_others
from hpcagent.codegen.taskfields import (
    Argument,
    Budget,
    Cases,
    Contract,
    Metric,
    Parameters,
    Strict,
    Tolerance,
    Toolchain,
)
from hpcagent.codegen.taskrules import check_task, dotted
from hpcagent.errors import UsageError
from hpcagent.yamlfile import Document, load_yaml

_FOLDER = Path(__file__).resolve().parent / "tasks"
MAX_SOURCE_BYTES = 65536
PYTHON = "python"  # of a checker only
SUFFIXES = {"c": (".c",), "c++": (".cpp", ".cc"), "fortran": (".f90", ".F90")}
# Words that cannot be names in C, C++ or Fortran sources that the harness is linked with.
_WORDS = (
    "auto break case char const continue default do double else enum extern float for goto if "
    "inline int long register restrict return short signed sizeof static struct switch typedef "
    "union unsigned void volatile while main class new delete this template comm"
)
_RESERVED = frozenset(_WORDS.split())

# A name that may be left out.
_Name = Annotated[str, Field(pattern=r"^(?:[a-z][a-z0-9_]*)?$", max_length=40)]


class TaskFile(Strict):
    """A task: a `function` that our harness calls, or a whole `program` with a main of its own.

    Its results are those of the `reference`, a source beside the task in C, C++ or Fortran, or are
    judged by a `checker`, such a source or one in Python. `ranks` are the numbers of MPI processes
    that are checked, the last of which is measured.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=True)

    schema_: Literal[1] = Field(alias="schema")
    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$", max_length=40)]
    text: Annotated[str, Field(min_length=10, max_length=8000)]
    language: Literal["c", "c++", "fortran"]
    parallel: Literal["serial", "openmp", "mpi"] = "serial"
    function: _Name = ""
    program: _Name = ""
    arguments: Annotated[list[Argument], Field(min_length=1, max_length=20)]
    reference: str = ""
    checker: str = ""
    cases: Cases
    repeats: Annotated[int, Field(ge=1, le=100)] = 5
    tolerance: Tolerance | None = None
    metric: Metric = Metric()
    contract: Contract = Contract()
    libraries: list[Literal["m", "openblas"]] = Field(default=["m"])
    toolchain: Toolchain = Toolchain()
    parameters: Parameters = Parameters()
    budget: Budget = Budget()
    ranks: list[Annotated[int, Field(ge=1, le=64)]] = Field(default=[])

    @field_validator("function")
    @classmethod
    def _callable(cls, value: str) -> str:
        if value in _RESERVED or of_others(value):
            raise ValueError(f"{value!r} is a name of a language or of the C library: take another")
        return value

    @field_validator("arguments")
    @classmethod
    def _interface(cls, value: list[Argument]) -> list[Argument]:
        names = [argument.name for argument in value]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"{name} stands there twice")
            if name in _RESERVED or keyword.iskeyword(name):
                raise ValueError(f"{name!r} is a word of a language, or the harness's own")
        if not any(argument.intent != "in" for argument in value):
            raise ValueError("nothing comes out: an array has to have the intent out or inout")
        for argument in value:
            if argument.intent != "in" and not argument.shape:
                raise ValueError(f"{argument.name} comes out, so it needs a shape ([1] for one)")
        return value

    @property
    def sizes(self) -> tuple[str, ...]:
        """The whole numbers that a case gives."""
        return tuple(a.name for a in self.arguments if a.is_size)

    @property
    def arrays(self) -> tuple[Argument, ...]:
        return tuple(a for a in self.arguments if a.shape)

    @property
    def outputs(self) -> tuple[Argument, ...]:
        return tuple(a for a in self.arguments if a.intent != "in")

    @property
    def subject(self) -> str:
        """What is written: the name of the function, or of the program."""
        return self.function or self.program

    @property
    def judge(self) -> str:
        """The file that says what is right: the reference, or the checker."""
        return self.reference or self.checker

    @property
    def stem(self) -> str:
        """Of the files that an attempt consists of."""
        return "main" if self.program else "kernel"

    @property
    def file_names(self) -> tuple[str, ...]:
        """The files that an attempt may consist of."""
        return (f"{self.stem}{SUFFIXES[self.language][0]}",)

    def choices(self) -> dict[str, tuple[str, ...]]:
        """Build parameter -> its values, the default first."""
        return {name: tuple(values) for name, values in self.parameters.model_dump().items()}


def task_names() -> tuple[str, ...]:
    """The tasks that come with hpcagent."""
    return tuple(sorted(path.parent.name for path in _FOLDER.glob("*/task.yaml")))


def find_task(word: str) -> Path:
    """The file of a shipped task, or the path itself; UsageError where there is neither."""
    if word in task_names():
        return _FOLDER / word / "task.yaml"
    path = Path(word)
    if path.is_dir():
        path = path / "task.yaml"
    if not path.is_file():
        known = ", ".join(task_names())
        raise UsageError(f"{word}: no such task file; tasks that come with hpcagent: {known}")
    return path


def read_task(path: Path) -> tuple[TaskFile, str]:
    """The task and the text of its reference or checker. UsageError with file, line and cure."""
    document = load_yaml(path)
    task = parse_task(document)
    key = "reference" if task.reference else "checker"
    place = document.where(key)
    if (
        "/" in task.judge
        or not source_language(task.judge)
        or (task.reference and source_language(task.reference) == PYTHON)
    ):
        known = " ".join(s for suffixes in SUFFIXES.values() for s in suffixes)
        also = "" if task.reference else " or .py"
        words = f"a file beside the task, ending in one of {known}{also}"
        raise UsageError(f"{place}: {key}: {words}")
    return task, read_source(path.parent / task.judge, f"{place}: {key}")


def parse_task(document: Document) -> TaskFile:
    """The checked task of a document; UsageError says where it is wrong."""
    try:
        task = TaskFile.model_validate(document.data)
    except ValidationError as error:
        raise UsageError(_first_problem(document, error)) from None
    check_task(document, task)
    return task


def read_source(path: Path, what: str) -> str:
    """A source file's text; UsageError for one that is absent, too large, or no text."""
    try:
        if path.stat().st_size > MAX_SOURCE_BYTES:
            raise UsageError(f"{what}: {path} is larger than {MAX_SOURCE_BYTES // 1024} KiB")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{what}: {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{what}: {path} is not UTF-8 text") from None


def judge_language(task: TaskFile) -> str:
    """The language of the reference, or of the checker."""
    return source_language(task.judge)


def source_language(name: str) -> str:
    """By the end of a file's name; empty where it is none of ours."""
    known = {**SUFFIXES, PYTHON: (".py",)}
    return next((lang for lang, ends in known.items() if name.endswith(ends)), "")


def _first_problem(document: Document, error: ValidationError) -> str:
    problem: dict[str, Any] = dict(error.errors()[0])
    keys = tuple(problem["loc"])
    return f"{document.where(*keys)}: {dotted(keys) or 'task'}: {_plain(problem)}"


def _plain(problem: dict[str, Any]) -> str:
    """What pydantic says of a value, in words for people who write YAML."""
    sort, words = str(problem["type"]), str(problem["msg"]).removeprefix("Value error, ")
    if sort == "extra_forbidden":
        return "there is no such field here (docs/codegen.md has them all)"
    if sort == "missing":
        return "it is missing"
    if sort == "string_pattern_mismatch":
        joint = "-" if "-]" in problem["ctx"]["pattern"] else "_"
        return f"small letters, digits and {joint} only, and a letter first"
    if sort in ("model_type", "model_attributes_type", "dict_type"):
        return "it has to be a mapping, such as {name: value}"
    words = words.removeprefix("Input should be a valid ").removeprefix("Input should be ")
    return (
        words if words == str(problem["msg"]) or sort == "value_error" else f"it has to be {words}"
    )
