"""Files that survive a crash whole: written beside, synced, then renamed into place."""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import stat
from collections.abc import Collection, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hpcagent.errors import EnvironmentProblem

TEMPORARY = ".tmp-"  # how the name of an unfinished file begins
_UNFINISHED = re.compile(re.escape(TEMPORARY) + r"(.+)-[0-9a-f]{8}")
_HINTS = {
    errno.ENOSPC: "free some space there, or choose a directory on another file system",
    errno.EDQUOT: "your quota is used up: free some space, or choose another file system",
    errno.EFBIG: "raise the file size limit (ulimit -f)",
    errno.EACCES: "choose a directory that you may write to, or mend its permissions",
    errno.EPERM: "choose a directory that you may write to, or mend its permissions",
    errno.EROFS: "choose a directory on a file system that is mounted read-write",
    errno.EIO: "the file system reports an error: look at it before you go on",
    errno.ENOENT: "create the directory first",
    errno.ENOTDIR: "a part of this path is a file: choose another one",
    errno.ENAMETOOLONG: "choose a shorter name",
}
_HINTS_TO_READ = {
    errno.EACCES: "mend its permissions, or those of the folders above it",
    errno.EPERM: "mend its permissions, or those of the folders above it",
    errno.EIO: _HINTS[errno.EIO],
}


def utc_now() -> datetime:
    return datetime.now(UTC)


def utc_text(moment: datetime) -> str:
    """ISO 8601 in UTC with milliseconds, for instance `2026-11-22T01:53:01.250Z`."""
    text = moment.astimezone(UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def parse_utc(text: str) -> datetime:
    """The moment that `utc_text` wrote; ValueError for anything else."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"no time zone in {text!r}")
    return moment.astimezone(UTC)


def seconds_between(early: str, late: str) -> float:
    """Not below 0: a clock may have been set back in between; 0 where a stamp cannot be read."""
    try:
        return max(0.0, (parse_utc(late) - parse_utc(early)).total_seconds())
    except ValueError:
        return 0.0


def json_bytes(value: Mapping[str, Any]) -> bytes:
    """One line of ASCII JSON with sorted keys; TypeError or ValueError for what JSON lacks."""
    text = json.dumps(
        value, ensure_ascii=True, sort_keys=True, allow_nan=False, separators=(",", ":")
    )
    return text.encode("ascii") + b"\n"


def parse_object(raw: bytes) -> dict[str, Any]:
    """The JSON object in `raw`; ValueError for anything else (NaN and infinities included)."""
    try:
        value = _DECODER.decode(raw.decode("utf-8"))
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_no_constant)


def problem(doing: str, path: Path, error: OSError) -> EnvironmentProblem:
    """The one line for an operating system error: what could not be done, where, how to mend."""
    said = error.strerror or str(error)
    hint = (_HINTS_TO_READ if doing == "read" else _HINTS).get(error.errno or 0, "")
    return EnvironmentProblem(f"cannot {doing} {path}: {said}" + (f"; {hint}" if hint else ""))


def sync_directory(folder: Path) -> None:
    """Make renames and new names in `folder` durable; a file system without that is left alone."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


def write_atomic(path: Path, data: bytes, *, exclusive: bool = False, shared: bool = False) -> None:
    """Put `data` at `path` in one step, private to the user (0600).

    With `exclusive` an existing file is kept and FileExistsError raised. A `shared` file follows
    the user's umask; its temporary name is always the same, so that what a killed process left
    in a folder that people look into is overwritten and put in place by the next one. Raises
    OSError; the target is then as it was.
    """
    temporary = path.parent / f"{TEMPORARY}{path.name}" if shared else temporary_beside(path)
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | (os.O_TRUNC if shared else os.O_EXCL)
    try:
        with os.fdopen(os.open(temporary, flags, 0o666 if shared else 0o600), "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        if exclusive:
            os.link(temporary, path)
            temporary.unlink()
        else:
            temporary.replace(path)
    except OSError:
        with suppress(OSError):
            temporary.unlink()
        raise
    sync_directory(path.parent)


def write_named(path: Path, data: bytes) -> None:
    """Put `data` where the user said: a link stays one, a file that is there keeps its mode.

    A new file is private to the user. A pipe or a device is written to, never replaced. Raises
    OSError; a file is then as it was.
    """
    if path.exists() and not path.is_file():
        with path.open("wb") as stream:
            stream.write(data)
        return
    target = path.resolve()
    mode = stat.S_IMODE(target.stat().st_mode) if target.exists() else None
    write_atomic(target, data)
    if mode is not None:
        target.chmod(mode)


def temporary_beside(path: Path) -> Path:
    """A new name for what is to become the file at `path`, as `remove_unfinished` knows it."""
    return path.parent / f"{TEMPORARY}{path.name}-{secrets.token_hex(4)}"


def remove_unfinished(folder: Path, names: Collection[str]) -> None:
    """Remove what a killed `write_atomic` of files with these names left in the folder.

    For who knows that no other process writes them now. What cannot be removed is left alone.
    """
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            of = _UNFINISHED.fullmatch(entry.name)
            if of is not None and of[1] in names and entry.is_file(follow_symlinks=False):
                with suppress(OSError):
                    Path(entry.path).unlink()
