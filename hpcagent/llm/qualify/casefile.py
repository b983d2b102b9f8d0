"""The files of cases: YAML that is part of the program, checked as it is read."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from hpcagent.errors import UsageError
from hpcagent.yamlfile import Document, load_yaml


class Row(BaseModel):
    """A case as its file has it."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


_R = TypeVar("_R", bound=Row)


@cache
def document(name: str) -> Document:
    """cases/NAME.yaml."""
    return load_yaml(Path(__file__).resolve().parent / "cases" / f"{name}.yaml")


def rows(name: str, kind: type[_R]) -> tuple[_R, ...]:
    """The cases of cases/NAME.yaml; UsageError with file and line where one is wrong."""
    file = document(name)
    found = []
    for index, row in enumerate(file.data["cases"]):
        try:
            found.append(kind.model_validate(row))
        except ValidationError as error:
            first = error.errors()[0]
            where = file.where("cases", index, *first["loc"])
            raise UsageError(f"{where}: {first['msg']}") from None
    return tuple(found)
