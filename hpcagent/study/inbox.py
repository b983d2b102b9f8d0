"""Requests of other processes to the one that holds a run: one file each, renamed into place."""

from __future__ import annotations

import re
import secrets
import stat
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpcagent.errors import UsageError
from hpcagent.records import Failure
from hpcagent.study.durable import (
    json_bytes,
    parse_object,
    problem,
    sync_directory,
    utc_now,
    utc_text,
    write_atomic,
)

SCHEMA = 1
TYPES = frozenset({"approve", "advise", "cancel", "stop"})
_NAME = re.compile(r"(\d{20})-[0-9a-f]{8}\.json")
_MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class Request:
    """A request that waits; `data` holds all its fields but the type."""

    path: Path
    type: str
    data: Mapping[str, Any]

    @property
    def id(self) -> str:
        """Unique within the run; journal it to tell a request that was already served."""
        return self.path.stem


def post(run_dir: Path, request: Mapping[str, Any]) -> Path:
    """Leave a request, for instance `{"type": "advise", "text": "..."}`; returns its file.

    Requests are taken in the order of posting. Raises UsageError for an unknown type or a value
    that JSON lacks, EnvironmentProblem where the file cannot be written.
    """
    type = request.get("type")
    if type not in TYPES:
        raise UsageError(f"request type {type!r}: choose one of {', '.join(sorted(TYPES))}")
    data = {key: value for key, value in request.items() if key != "type"}
    record = {"schema": SCHEMA, "type": type, "t_utc": utc_text(utc_now()), "data": data}
    try:
        raw = json_bytes(record)
    except (TypeError, ValueError) as error:
        raise UsageError(f"request {type}: not JSON: {error}") from None
    if len(raw) > _MAX_BYTES:
        raise UsageError(f"request {type}: {len(raw)} bytes, at most {_MAX_BYTES} are taken")
    folder = run_dir / "inbox"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        path = folder / f"{_next_number(folder):020d}-{secrets.token_hex(4)}.json"
        write_atomic(path, raw)
    except OSError as error:
        raise problem("leave a request in", folder, error) from None
    return path


def _next_number(folder: Path) -> int:
    """Nanoseconds since the epoch, or one more than the last request where the clock went back."""
    taken = [int(match[1]) for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))]
    return max([time.time_ns(), *(number + 1 for number in taken)])


def pending(run_dir: Path, on_bad: Callable[[Failure], None] | None = None) -> list[Request]:
    """The requests that wait, oldest first.

    A file that is not a valid request is set aside (`.bad` is added to its name) and given to
    `on_bad`. Raises EnvironmentProblem where the inbox cannot be read.
    """
    folder = run_dir / "inbox"
    try:
        paths = sorted(folder.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise problem("read", folder, error) from None
    requests = []
    for path in paths:
        if path.suffix != ".json" or path.name.startswith("."):
            continue
        try:
            requests.append(_read(path))
        except FileNotFoundError:
            continue
        except ValueError as error:
            _set_aside(path)
            if on_bad is not None:
                on_bad(Failure("environment", "bad_request", f"{path}: {error}"))
        except OSError as error:
            raise problem("read", path, error) from None
    return requests


def _read(path: Path) -> Request:
    if not _NAME.fullmatch(path.name):
        raise ValueError("not the name of a request")
    info = path.lstat()
    if not stat.S_ISREG(info.st_mode):
        raise ValueError("not a regular file")
    if info.st_size > _MAX_BYTES:
        raise ValueError(f"{info.st_size} bytes, at most {_MAX_BYTES} are taken")
    record = parse_object(path.read_bytes())
    if record.get("schema") != SCHEMA:
        raise ValueError(f"field schema is {record.get('schema')!r}, not {SCHEMA}")
    type, data = record.get("type"), record.get("data")
    if not isinstance(type, str) or type not in TYPES:
        raise ValueError(f"field type is {type!r}")
    if not isinstance(data, dict):
        raise ValueError("field data is not an object")
    return Request(path, type, data)


def _set_aside(path: Path) -> None:
    with suppress(FileNotFoundError):
        try:
            path.rename(path.with_name(path.name + ".bad"))
        except FileNotFoundError:
            raise
        except OSError as error:
            raise problem("set aside", path, error) from None


def consume(request: Request) -> None:
    """Remove a request that was served; one that is gone already is fine."""
    try:
        request.path.unlink(missing_ok=True)
        sync_directory(request.path.parent)
    except OSError as error:
        raise problem("remove", request.path, error) from None
