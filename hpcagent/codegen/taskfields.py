"""What a task of code generation is made of: its fields as checked records."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from hpcagent.yamlfile import number

INTEGERS = ("int", "long")
BYTES: Mapping[str, int] = MappingProxyType({"int": 4, "long": 8, "float": 4, "double": 8})
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=40)]
Real = Annotated[float, BeforeValidator(number)]
Positive = Annotated[Real, Field(gt=0, allow_inf_nan=False)]
Sizes = dict[Name, int]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Values(Strict):
    """How an input is filled: `uniform` from `low` to `high`; `constant`, that is `low`; the row
    offsets of a sparse matrix (`csr_offsets`: from 0 to the number `total`), and the ascending
    column indices that go with them (`csr_columns`: below the number `below`)."""

    kind: Literal["uniform", "constant", "csr_offsets", "csr_columns"] = "uniform"
    low: Real = -1.0
    high: Real = 1.0
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


class Argument(Strict):
    """An argument. Without a shape it is a number: passed by value, or a word of the command line.

    An array is a pointer to its first element, or a file; with `stdout` a program prints it. The
    shape's expressions count elements and read whole numbers among the arguments.
    """

    name: Name
    type: Literal["int", "long", "float", "double"]
    intent: Literal["in", "out", "inout"] = "in"
    shape: list[str | int] = []
    values: Values = Values()
    stdout: bool = False
    meaning: str = ""

    @property
    def is_size(self) -> bool:
        return not self.shape and self.type in INTEGERS


class Tolerance(Strict):
    """`elementwise`: |got - wanted| <= absolute + relative |wanted| everywhere; `l2`: the same of
    the Euclidean norms of whole arrays."""

    norm: Literal["elementwise", "l2"] = "elementwise"
    relative: Real = 0.0
    absolute: Real = 0.0

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


class Metric(Strict):
    """What is shown: seconds, or a rate with `count`, the operations or bytes of one call."""

    unit: Literal["s", "GFLOP/s", "GB/s"] = "s"
    count: str = ""

    @model_validator(mode="after")
    def _counted(self) -> Metric:
        if (self.unit == "s") != (not self.count):
            raise ValueError("GFLOP/s and GB/s need 'count'; a time in s has none")
        return self


class Contract(Strict):
    """What callers may do, so what is tried: arguments that may be one and the same array
    (`aliases`), a NaN among the inputs that has to reach the outputs as the reference has it
    (`nan`), and inputs that are subnormal (`subnormals`)."""

    aliases: list[Annotated[list[Name], Field(min_length=2, max_length=2)]] = []
    nan: bool = False
    subnormals: bool = False


class Cases(Strict):
    """Sizes: those that are only `check`ed (odd ones), and those that are `measure`d, by name.

    `vary`: from where to where a size may be drawn for three more checks, which nobody knows when a
    source is written; sizes that are not named there are those of the last check.
    """

    check: Annotated[list[Sizes], Field(min_length=1, max_length=40)]
    measure: Annotated[dict[Name, Sizes], Field(min_length=1, max_length=8)]
    vary: dict[Name, Annotated[list[int], Field(min_length=2, max_length=2)]] = {}


class Parameters(Strict):
    """Build parameters that an attempt may choose; the first of each is what is taken unsaid."""

    optimisation: Annotated[list[Literal["O1", "O2", "O3"]], Field(min_length=1)] = ["O3"]
    march: Annotated[list[Literal["native", "portable"]], Field(min_length=1)] = ["native"]
    flags: Annotated[
        list[Literal["", "fast-math", "unroll-loops", "wide-vectors"]], Field(min_length=1)
    ] = [""]


class Budget(Strict):
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


class Toolchain(Strict):
    """Words as those of `hpcagent build --compiler` and `--mpi`; empty: what is found first."""

    compiler: str = ""
    mpi: str = ""
