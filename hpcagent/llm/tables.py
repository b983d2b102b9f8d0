"""What the configuration may say of a model: a `[models.ROLE]` table, a FILE or a URL."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from hpcagent.errors import UsageError
from hpcagent.llm.address import is_address, read_address
from hpcagent.llm.roles import ROLES

ALL = "all"  # the table that holds for every role without one of its own
SHIPPED = "embedded"  # in place of a path: the small model that ships, which only tunes
_MOST_TOKENS = 1 << 24


@dataclass(frozen=True)
class Sampling:
    """How answers are drawn; None leaves it to the engine (0.7, top-p 0.95) or the server.

    `seed` is added to the seed of each call, so that another one gives other answers.
    """

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class ModelChoice:
    """A model as it is configured: a GGUF `file`, or an `endpoint` (a URL or unix:/path).

    `name` is what the endpoint calls its model (empty: it serves one only), `context` in tokens
    (0: the model's own, at most 8192), `mmproj` the file that lets a model see. `api_key_file` is a
    file that holds the endpoint's key, `api_key_env` a variable that does; the key itself is never
    in a configuration. `ca_file` has the certificates that an https endpoint is trusted by. An
    answer may take `answer_seconds` (0: as long as the role sets).
    """

    file: str = ""
    endpoint: str = ""
    name: str = ""
    context: int = 0
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int = 0
    mmproj: str = ""
    api_key_file: str = ""
    api_key_env: str = ""
    ca_file: str = ""
    answer_seconds: float = 0.0

    @property
    def placed(self) -> bool:
        """Whether it says where the model is."""
        return bool(self.file or self.endpoint)

    @property
    def label(self) -> str:
        """The model in a few words, as `--model` takes it."""
        return f"{self.endpoint}#{self.name}" if self.endpoint and self.name else (
            self.endpoint or self.file
        )  # fmt: skip

    @property
    def sampling(self) -> Sampling:
        return Sampling(self.temperature, self.top_p, self.top_k, self.seed)

    def to_json(self) -> dict[str, Any]:
        return {key: value for key, value in asdict(self).items() if value != _DEFAULTS[key]}


_DEFAULTS: Mapping[str, Any] = MappingProxyType(asdict(ModelChoice()))
# Keys that only mean something of an endpoint.
SERVED = ("name", "api_key_file", "api_key_env", "ca_file")
_TEXTS = ("file", "endpoint", "mmproj", *SERVED)
_FILES = ("file", "mmproj", "api_key_file", "ca_file")
# Number keys: (whole, least, most).
_NUMBERS: Mapping[str, tuple[bool, float, float]] = MappingProxyType(
    {
        "context": (True, 1, _MOST_TOKENS),
        "temperature": (False, 0, 5),
        "top_p": (False, 0, 1),
        "top_k": (True, 0, 1_000_000),
        "seed": (True, 0, 2**31 - 1),
        "answer_seconds": (False, 1, 86400),
    }
)


def from_text(text: str, source: str) -> ModelChoice:
    """The model that `--model`, `model` or a variable names: FILE, URL or URL#NAME.

    UsageError names `source` where the URL is none.
    """
    if not is_address(text):
        return ModelChoice(file=text)
    endpoint, _, name = text.partition("#")
    _require_address(endpoint, source)
    return ModelChoice(endpoint=endpoint, name=name)


def from_table(role: str, table: object, source: str) -> ModelChoice:
    """The choice that `[models.role]` of the file `source` makes; UsageError names file and key."""
    where = f"{source}: [models.{role}]"
    if role != ALL and role not in ROLES:
        raise UsageError(f"{where}: there is no such role; roles: {', '.join((ALL, *ROLES))}")
    if not isinstance(table, Mapping):
        raise UsageError(f'{where}: must be a table, such as [models.{role}] with file = "..."')
    known = [each.name for each in fields(ModelChoice)]
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key not in known:
            raise UsageError(f"{where}: unknown key {key!r}; known: {', '.join(known)}")
        values[key] = _typed(key, value, f"{where}: {key}")
    choice = ModelChoice(**values)
    _check(choice, where)
    return _with_name(choice, where) if choice.endpoint else choice


def laid_over(choice: ModelChoice, base: ModelChoice) -> ModelChoice:
    """A table that names no model of its own: what it says, over the one of all roles."""
    said = {key: value for key, value in asdict(choice).items() if value != _DEFAULTS[key]}
    return replace(base, **said)


def from_json(data: Mapping[str, Any]) -> ModelChoice:
    """A choice as `to_json` gave it; keys of a later version are left out."""
    return ModelChoice(**{key: value for key, value in data.items() if key in _DEFAULTS})


def absolute(choice: ModelChoice) -> ModelChoice:
    """The same with its files as absolute paths."""
    paths = {key: getattr(choice, key) for key in _FILES if getattr(choice, key) != SHIPPED}
    told: dict[str, Any] = {k: str(Path(p).expanduser().absolute()) for k, p in paths.items() if p}
    return replace(choice, **told)


def check_served(choice: ModelChoice, where: str) -> None:
    """UsageError where a file is given what only an endpoint has, or the other way round, or an
    endpoint two keys."""
    said = [key for key in SERVED if getattr(choice, key)]
    if choice.file and said:
        raise UsageError(f"{where}: {said[0]} belongs to an endpoint, not to a file")
    if choice.mmproj and choice.endpoint:
        raise UsageError(f"{where}: mmproj belongs to a file; a server has its own")
    if choice.api_key_file and choice.api_key_env:
        raise UsageError(f"{where}: api_key_file and api_key_env name a key each: keep one")


def _with_name(choice: ModelChoice, where: str) -> ModelChoice:
    """The name of URL#NAME goes into `name`."""
    if not is_address(choice.endpoint):
        raise UsageError(
            f"{where}: endpoint {choice.endpoint!r}: write http://HOST:PORT/v1, https://... "
            "or unix:/PATH"
        )
    named = from_text(choice.endpoint, f"{where}: endpoint")
    return replace(choice, endpoint=named.endpoint, name=choice.name or named.name)


def _require_address(text: str, source: str) -> None:
    try:
        read_address(text)
    except UsageError as error:
        raise UsageError(f"{source}: {error}") from None


def _typed(key: str, value: object, where: str) -> str | int | float:
    if key in _TEXTS:
        if not isinstance(value, str):
            raise UsageError(f"{where} must be a text, not {value!r}")
        if not value.isprintable():
            raise UsageError(f"{where} has control characters: {value!r}")
        return value
    whole, least, most = _NUMBERS[key]
    number = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
    if not number or not isinstance(value, int | float) or not math.isfinite(value):
        raise UsageError(f"{where} must be a {'whole ' if whole else ''}number, not {value!r}")
    if not least <= value <= most:
        raise UsageError(f"{where} = {value} is out of range: {least:g} to {most:g}")
    return value if whole else float(value)


def _check(choice: ModelChoice, where: str) -> None:
    if choice.file and choice.endpoint:
        raise UsageError(f"{where}: file and endpoint exclude each other")
    if choice.file and is_address(choice.file):
        raise UsageError(f"{where}: file {choice.file!r} is an address: write endpoint = ...")
    check_served(choice, where)
