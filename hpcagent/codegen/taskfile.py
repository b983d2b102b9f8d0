"""The task of a code generation as a checked record: what is wanted, and how it is judged."""

from __future__ import annotations

import keyword
import math
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from hpcagent.errors import UsageError
from hpcagent.expressions import Expression, compile_expression
from hpcagent.yamlfile import Document, load_yaml

_FOLDER = Path(__file__).resolve().parent / "tasks"
MAX_SOURCE_BYTES = 65536
# One array: what a node can surely hold four of (reference and candidate do not run at once).
MAX_ELEMENTS = 2**28
INTEGERS = ("int", "long")
SUFFIXES = {"c": (".c",), "c++": (".cpp", ".cc"), "fortran": (".f90", ".F90")}
# Words that cannot be names in C, C++ or Fortran sources that the harness is linked with.
_WORDS = (
    "auto break case char const continue default do double else enum extern float for goto if "
    "inline int long register restrict return short signed sizeof static struct switch typedef "
    "union unsigned void volatile while main class new delete this template comm"
)
_RESERVED = frozenset(_WORDS.split())

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=40)]
Flag = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.=+-]*$", max_length=60)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Sizes = dict[Name, int]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Values(_Strict):
    """How an input is filled: `uniform` from `low` to `high`; `constant`, that is `low`; the row
    offsets of a sparse matrix (`csr_offsets`: from 0 to the number `total`), and the ascending
    column indices that go with them (`csr_columns`: below the number `below`)."""

    kind: Literal["uniform", "constant", "csr_offsets", "csr_columns"] = "uniform"
    low: float = -1.0
    high: float = 1.0
    total: str = ""
    offsets: str = ""
    below: str = ""

    @model_validator(mode="after")
    def _whole(self) -> Values:
        if not (math.isfinite(self.low) and math.isfinite(self.high)) or self.low > self.high:
            raise ValueError("low and high have to be finite, and low not above high")
        if self.kind == "csr_offsets" and not self.total:
            raise ValueError("csr_offsets need 'total', the number of elements")
        if self.kind == "csr_columns" and not (self.offsets and self.below):
            raise ValueError("csr_columns need 'offsets', an argument, and 'below', a number")
        return self


class Argument(_Strict):
    """An argument of the function. Without a shape it is a number, passed by value; an array is a
    pointer to its first element. The shape's expressions count elements and read whole numbers
    among the arguments."""

    name: Name
    type: Literal["int", "long", "float", "double"]
    intent: Literal["in", "out", "inout"] = "in"
    shape: list[str | int] = []
    values: Values = Values()
    meaning: str = ""

    @property
    def is_size(self) -> bool:
        return not self.shape and self.type in INTEGERS


class Tolerance(_Strict):
    """`elementwise`: |got - wanted| <= absolute + relative |wanted| everywhere; `l2`: the same of
    the Euclidean norms of whole arrays."""

    norm: Literal["elementwise", "l2"] = "elementwise"
    relative: float = 0.0
    absolute: float = 0.0

    @model_validator(mode="after")
    def _means_something(self) -> Tolerance:
        for name, value in (("relative", self.relative), ("absolute", self.absolute)):
            if not math.isfinite(value) or value < 0:
                raise ValueError(f"{name} is {value}: it has to be a finite number, not negative")
        if self.relative == 0 and self.absolute == 0:
            raise ValueError(
                "both are zero, which no other order of operations meets: give relative or absolute"
            )
        return self


class Metric(_Strict):
    """What is shown: seconds, or a rate with `count`, the operations or bytes of one call."""

    unit: Literal["s", "GFLOP/s", "GB/s"] = "s"
    count: str = ""

    @model_validator(mode="after")
    def _counted(self) -> Metric:
        if (self.unit == "s") != (not self.count):
            raise ValueError("GFLOP/s and GB/s need 'count'; a time in s has none")
        return self


class Contract(_Strict):
    """What callers may do, so what is tried: arguments that may be one and the same array
    (`aliases`), a NaN among the inputs that has to reach the outputs as the reference has it
    (`nan`), and inputs that are subnormal (`subnormals`)."""

    aliases: list[Annotated[list[Name], Field(min_length=2, max_length=2)]] = []
    nan: bool = False
    subnormals: bool = False


class Cases(_Strict):
    """Sizes: those that are only `check`ed (odd ones), and those that are `measure`d, by name.

    `vary`: from where to where a size may be drawn for three more checks, which nobody knows when a
    source is written; sizes that are not named there are those of the last check.
    """

    check: Annotated[list[Sizes], Field(min_length=1, max_length=40)]
    measure: Annotated[dict[Name, Sizes], Field(min_length=1, max_length=8)]
    vary: dict[Name, Annotated[list[int], Field(min_length=2, max_length=2)]] = {}


class Parameters(_Strict):
    """Build parameters that an attempt may choose; the first of each is what is taken unsaid."""

    optimisation: Annotated[list[Literal["O1", "O2", "O3"]], Field(min_length=1)] = ["O3"]
    march: Annotated[list[Literal["native", "portable"]], Field(min_length=1)] = ["native"]
    flags: Annotated[
        list[Literal["", "fast-math", "unroll-loops", "wide-vectors"]], Field(min_length=1)
    ] = [""]


class Budget(_Strict):
    """Attempts of a model; seconds that one attempt's checks may take; pairs of a measurement, and
    fresh pairs that confirm the best (0: it is not confirmed, and nothing is claimed)."""

    attempts: Annotated[int, Field(ge=1, le=500)] = 12
    seconds: Annotated[int, Field(ge=5, le=7200)] = 120
    max_pairs: Annotated[int, Field(ge=3, le=100)] = 8
    confirm_pairs: Annotated[int, Field(ge=0, le=200)] = 20
    memory_gib: Positive = 4.0

    @field_validator("confirm_pairs")
    @classmethod
    def _enough(cls, value: int) -> int:
        if 0 < value < 9:
            raise ValueError("confirm_pairs: a claim needs at least 9, or 0 for no claim")
        return value


class Toolchain(_Strict):
    """Words as those of `hpcagent build --compiler` and `--mpi`; empty: what is found first."""

    compiler: str = ""
    mpi: str = ""


class TaskFile(_Strict):
    """A task. `reference` is a source file beside it, in C, C++ or Fortran; `ranks` are the numbers
    of MPI processes that are checked, the last of which is measured."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=True)

    schema_: Literal[1] = Field(alias="schema")
    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$", max_length=40)]
    text: Annotated[str, Field(min_length=10, max_length=8000)]
    language: Literal["c", "c++", "fortran"]
    parallel: Literal["serial", "openmp", "mpi"] = "serial"
    function: Name
    arguments: Annotated[list[Argument], Field(min_length=1, max_length=20)]
    reference: str
    cases: Cases
    repeats: Annotated[int, Field(ge=3, le=100)] = 5
    tolerance: Tolerance
    metric: Metric = Metric()
    contract: Contract = Contract()
    libraries: list[Literal["m", "openblas"]] = ["m"]
    toolchain: Toolchain = Toolchain()
    parameters: Parameters = Parameters()
    budget: Budget = Budget()
    ranks: list[Annotated[int, Field(ge=1, le=64)]] = []

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
    def file_names(self) -> tuple[str, ...]:
        """The files that an attempt may consist of."""
        return (f"kernel{SUFFIXES[self.language][0]}",)

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
    """The task and the text of its reference. UsageError with file, line, field and cure."""
    document = load_yaml(path)
    task = parse_task(document)
    place = document.where("reference")
    source = path.parent / task.reference
    if "/" in task.reference or not _language_of(task.reference):
        known = " ".join(s for suffixes in SUFFIXES.values() for s in suffixes)
        raise UsageError(f"{place}: reference: a file beside the task, ending in one of {known}")
    return task, read_source(source, f"{place}: reference")


def parse_task(document: Document) -> TaskFile:
    """The checked task of a document; UsageError says where it is wrong."""
    try:
        task = TaskFile.model_validate(document.data)
    except ValidationError as error:
        raise UsageError(_first_problem(document, error)) from None
    _check_expressions(document, task)
    _check_cases(document, task)
    _check_rest(document, task)
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


def reference_language(task: TaskFile) -> str:
    return _language_of(task.reference)


def _language_of(name: str) -> str:
    return next((lang for lang, ends in SUFFIXES.items() if name.endswith(ends)), "")


def expression(task: TaskFile, text: str | int) -> Expression:
    """An expression over the task's sizes."""
    return compile_expression(str(text), task.sizes)


def _check_expressions(document: Document, task: TaskFile) -> None:
    whole = [a.name for a in task.arguments if a.shape and a.type in INTEGERS]
    for index, argument in enumerate(task.arguments):
        at: list[tuple[tuple[str | int, ...], str | int]] = [
            (("arguments", index, "shape", i), text) for i, text in enumerate(argument.shape)
        ]
        for key in ("total", "below"):
            if getattr(argument.values, key):
                at.append((("arguments", index, "values", key), getattr(argument.values, key)))
        for keys, text in at:
            _compiled(document, task, keys, text)
        offsets = argument.values.offsets
        before = [a.name for a in task.arguments[:index] if a.name in whole]
        if offsets and offsets not in before:
            where = document.where("arguments", index, "values", "offsets")
            raise UsageError(
                f"{where}: offsets: no array of whole numbers before it is {offsets!r}"
            )
    if task.metric.count:
        _compiled(document, task, ("metric", "count"), task.metric.count)


def _compiled(
    document: Document, task: TaskFile, keys: tuple[str | int, ...], text: str | int
) -> None:
    try:
        expression(task, text)
    except UsageError as error:
        raise UsageError(f"{document.where(*keys)}: {_dotted(keys)}: {error}") from None


def _check_cases(document: Document, task: TaskFile) -> None:
    rows: list[tuple[tuple[str | int, ...], Sizes]] = [
        (("cases", "check", i), sizes) for i, sizes in enumerate(task.cases.check)
    ]
    rows += [(("cases", "measure", name), sizes) for name, sizes in task.cases.measure.items()]
    for name, (low, high) in task.cases.vary.items():
        if name not in task.sizes or low > high:
            where = f"{document.where('cases', 'vary', name)}: cases.vary.{name}"
            raise UsageError(f"{where}: it has to be a size, with its least and its largest value")
    for end in (0, 1):
        drawn = {name: ends[end] for name, ends in task.cases.vary.items()}
        rows.append((("cases", "vary"), {**task.cases.check[-1], **drawn}))
    for keys, sizes in rows:
        where = f"{document.where(*keys)}: {_dotted(keys)}"
        if set(sizes) != set(task.sizes):
            raise UsageError(f"{where}: it has to give {', '.join(task.sizes) or 'no sizes'}")
        for argument in task.arrays:
            count = 1
            for text in argument.shape:
                value = expression(task, text).evaluate(sizes)
                if type(value) is not int or value < 0:
                    raise UsageError(f"{where}: the shape of {argument.name} is {value}")
                count *= value
            if count > MAX_ELEMENTS:
                raise UsageError(f"{where}: {argument.name} has more than {MAX_ELEMENTS} elements")
        for argument in task.arguments:
            top = 2**31 if argument.type == "int" else 2**63
            if argument.is_size and not -top <= sizes[argument.name] < top:
                raise UsageError(f"{where}: {argument.name} does not fit its type")


def _check_rest(document: Document, task: TaskFile) -> None:
    names = {a.name: a for a in task.arrays}
    for index, pair in enumerate(task.contract.aliases):
        where = f"{document.where('contract', 'aliases', index)}: contract.aliases"
        for name in pair:
            if name not in names:
                raise UsageError(f"{where}: {name!r} is no array of the interface")
        one, other = (names[name] for name in pair)
        if (one.type, one.shape) != (other.type, other.shape):
            raise UsageError(f"{where}: {one.name} and {other.name} differ in type or shape")
    if (task.parallel == "mpi") != bool(task.ranks):
        raise UsageError(
            f"{document.where('ranks')}: ranks: a task with parallel: mpi needs them, such as "
            "[1, 2, 3, 4]; no other has any"
        )
    if not re.fullmatch(r"[\x20-\x7e\n]*", task.text):
        raise UsageError(f"{document.where('text')}: text: plain ASCII, without tabs")


def _first_problem(document: Document, error: ValidationError) -> str:
    problem: dict[str, Any] = dict(error.errors()[0])
    keys = tuple(problem["loc"])
    words = str(problem["msg"]).removeprefix("Value error, ")
    return f"{document.where(*keys)}: {_dotted(keys) or 'task'}: {words}"


def _dotted(keys: tuple[str | int, ...]) -> str:
    return ".".join(str(key) for key in keys)
