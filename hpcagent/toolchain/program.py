"""A user's program as data: its sources, and the declared choices for building it.

The same description stands in an application's card (`build`) and in a file of its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from hpcagent.errors import UsageError
from hpcagent.yamlfile import first_problem, load_yaml

LANGUAGES: Mapping[str, str] = MappingProxyType(
    {
        ".c": "c",
        ".cc": "c++",
        ".cpp": "c++",
        ".cxx": "c++",
        ".C": "c++",
        ".f": "fortran",
        ".F": "fortran",
        ".f90": "fortran",
        ".F90": "fortran",
        ".f95": "fortran",
        ".F95": "fortran",
        ".f03": "fortran",
        ".F03": "fortran",
        ".f08": "fortran",
        ".F08": "fortran",
        ".for": "fortran",
        ".FOR": "fortran",
    }
)
_PATH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*(?:/[A-Za-z0-9_][A-Za-z0-9_.+-]*)*\Z")
_DEFINE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:=[A-Za-z0-9_.+-]+)?\Z")
_LIBRARY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_+.-]*\Z")
_FOLDER = re.compile(r"(?:/[A-Za-z0-9_+.@-]+)+\Z")
_WORD = re.compile(r"[A-Za-z0-9_./+,=:@%-]+\Z")

# Targets of the makefiles, and what lies in the unit's folder.
_TAKEN = frozenset(
    {"all", "build", "check", "claim", "clean", "depend", "edit_cache", "help", "install", "logs",
     "objects", "package", "rebuild_cache", "source", "test"}
)  # fmt: skip

_BEGIN = "docs/environment.md has an example"

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$", max_length=40)]
Language = Literal["c", "c++", "fortran"]


# Flags that old or large codes need, and some that are worth trying; which languages take each.
EXTRA_FLAGS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "-fallow-argument-mismatch": ("fortran",),
        "-ffree-line-length-none": ("fortran",),
        "-fcommon": ("c",),
        "-mcmodel=medium": ("c", "c++", "fortran"),
        "-fPIC": ("c", "c++", "fortran"),
        "-ffast-math": ("c", "c++", "fortran"),
        "-funroll-loops": ("c", "c++", "fortran"),
        "-flto": ("c", "c++", "fortran"),
    }
)
# What is for a user to try, and no repair of a build.
TUNING_FLAGS = frozenset({"-ffast-math", "-funroll-loops", "-flto"})
# Those that the link needs as well.
LINK_FLAGS = frozenset({"-flto"})
ExtraFlag = Literal[
    "-fallow-argument-mismatch", "-ffree-line-length-none", "-fcommon", "-mcmodel=medium", "-fPIC",
    "-ffast-math", "-funroll-loops", "-flto",
]  # fmt: skip


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Check(_Strict):
    """How the built program is run to see that it works: it must exit with 0.

    `oversubscribe` lets Open MPI start more ranks than there are slots, `bind` none leaves them
    unbound; `stack` and `open_files` raise these limits.
    """

    arguments: list[str] = []
    ranks: Annotated[int, Field(ge=1, le=64)] = 1
    timeout_s: Annotated[int, Field(ge=1, le=3600)] = 120
    oversubscribe: Literal["no", "yes"] = "no"
    bind: Literal["default", "none"] = "default"
    stack: Literal["default", "unlimited"] = "default"
    open_files: Literal["default", "maximum"] = "default"

    @field_validator("arguments")
    @classmethod
    def _words(cls, value: list[str]) -> list[str]:
        for word in value:
            if not _WORD.match(word):
                raise ValueError(f"{word!r} is no plain word")
        return value


class Program(_Strict):
    """What is built. `integers` is what the program passes to BLAS: lp64 or ilp64, or none.

    `microarchitecture` is "node", "portable" or archspec's name; `linker` the language whose
    compiler links (by default the only one; with several it has to be said). `libraries` are
    linked by their names (z for -lz), `link_group` searches their archives again and again,
    `run_path` are folders where they are found at run time.
    """

    name: Name
    version: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$", max_length=40)] = "1"
    sources: Annotated[list[str], Field(min_length=1, max_length=2000)]
    includes: list[str] = []
    defines: list[str] = []
    linker: Language | None = None
    build_system: Literal["make", "cmake"] = "make"
    standards: dict[Language, str] = {}
    optimisation: Literal["O0", "O1", "O2", "O3"] = "O2"
    microarchitecture: str = "node"
    openmp: Literal["off", "on"] = "off"
    mpi: Literal["none", "wrapper", "explicit"] = "none"
    integers: Literal["none", "lp64", "ilp64"] = "none"
    lapack: Literal["no", "yes"] = "no"
    flags: list[ExtraFlag] = []
    libraries: Annotated[list[str], Field(max_length=100)] = []
    link_group: Literal["off", "on"] = "off"
    pie: Literal["default", "off"] = "default"
    run_path: Annotated[list[str], Field(max_length=20)] = []
    check: Check | None = None

    @field_validator("name")
    @classmethod
    def _free(cls, value: str) -> str:
        if value in _TAKEN:
            raise ValueError(f"{value!r} is a word of the build itself: choose another name")
        return value

    @field_validator("sources", "includes")
    @classmethod
    def _paths(cls, value: list[str]) -> list[str]:
        for path in value:
            if not _PATH.match(path) or ".." in path.split("/"):
                raise ValueError(f"{path!r}: a relative path of letters, digits and _ . + - only")
        return value

    @field_validator("sources")
    @classmethod
    def _known(cls, value: list[str]) -> list[str]:
        for path in value:
            if PurePosixPath(path).suffix not in LANGUAGES:
                raise ValueError(f"{path!r}: known endings are {' '.join(LANGUAGES)}")
        if len(set(value)) != len(value):
            raise ValueError("a source is listed twice")
        return value

    @field_validator("libraries")
    @classmethod
    def _names(cls, value: list[str]) -> list[str]:
        for name in value:
            if not _LIBRARY.match(name):
                raise ValueError(f"{name!r}: write the library's name without -l, lib and .so")
        return value

    @field_validator("run_path")
    @classmethod
    def _folders(cls, value: list[str]) -> list[str]:
        for path in value:
            if not _FOLDER.match(path) or ".." in path.split("/"):
                raise ValueError(f"{path!r}: an absolute path of letters, digits and _ + . @ -")
        return value

    @field_validator("defines")
    @classmethod
    def _defines(cls, value: list[str]) -> list[str]:
        for word in value:
            if not _DEFINE.match(word):
                raise ValueError(f"{word!r}: write NAME or NAME=VALUE, without blanks or quotes")
        return value

    @model_validator(mode="after")
    def _one_linker(self) -> Program:
        if self.linker is None and len(self.languages) > 1:
            raise ValueError(f"say which of {', '.join(self.languages)} links it: linker")
        if self.linker is not None and self.linker not in self.languages:
            raise ValueError(f"linker {self.linker!r}: no source is in that language")
        if self.lapack == "yes" and self.integers == "none":
            raise ValueError("lapack: yes needs integers: lp64 or ilp64")
        return self

    @property
    def languages(self) -> tuple[str, ...]:
        found = {language_of(source) for source in self.sources}
        return tuple(language for language in ("c", "c++", "fortran") if language in found)

    @property
    def links_with(self) -> str:
        return self.linker or self.languages[0]


def language_of(source: str) -> str:
    return LANGUAGES[PurePosixPath(source).suffix]


def is_fortran(source: str) -> bool:
    return language_of(source) == "fortran"


def read_program(path: Path, changes: Mapping[str, str] = MappingProxyType({})) -> Program:
    """The description in a YAML file, with some of its fields changed (`--set NAME=VALUE`).

    UsageError with file, line and field where it is malformed.
    """
    document = load_yaml(path)
    data = document.data
    if not isinstance(data, dict):
        raise UsageError(f"{path}: a mapping with name and sources is expected")
    return checked(data, document.where, changes)


def checked(data: Mapping[str, Any], where: Any, changes: Mapping[str, str]) -> Program:
    """`where(*keys)` names the place of a field in its file."""
    for name in changes:
        if name not in CHOICES:
            raise UsageError(f"--set {name}: choose among {', '.join(CHOICES)}")
    try:
        return Program.model_validate({**data, **changes})
    except ValidationError as error:
        fields = {*Program.model_fields, *Check.model_fields}
        raise UsageError(first_problem(where, error.errors(), fields, _BEGIN)) from None


# What a user or a model may change without touching the description.
CHOICES = ("build_system", "optimisation", "microarchitecture", "openmp", "mpi")
