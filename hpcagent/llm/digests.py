"""SHA-256 of models, remembered from one start to the next.

What is remembered is for speed: who can write a user's cache folder could as well run another
program, so it can serve a site's list of allowed models, which keeps mistakes and changed files
out and not that user.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from io import FileIO
from pathlib import Path

from hpcagent.errors import EnvironmentProblem
from hpcagent.llm.progress import DIGESTING, Progress, Tell, silent

_HEX = re.compile(r"[0-9a-f]{64}")
_PIECE = 1 << 20
_TOLD_EVERY_S = 1.0
_SETTLED_NS = 2_000_000_000  # coarser clocks of file systems are not known


def digest_of(parts: Sequence[Path], cache: Path | None, tell: Tell = silent) -> str:
    """SHA-256 of a model in hex; of a split one, that of its parts' digests in hex, in order.

    `cache` is a folder that remembers it (None: nothing is remembered). `tell` hears how far it is
    with each part. EnvironmentProblem where a part cannot be read.
    """
    found = [_remembered(part, cache, tell) for part in parts]
    if len(found) == 1:
        return found[0]
    return hashlib.sha256("".join(found).encode("ascii")).hexdigest()


def sha256(path: Path, tell: Tell = silent) -> str:
    """Of one file, read in pieces now."""
    try:
        with path.open("rb", buffering=0) as stream:
            return _of_stream(stream, os.fstat(stream.fileno()).st_size, tell)
    except OSError as error:
        raise EnvironmentProblem(f"model {path}: cannot be read: {error.strerror}") from None


def _of_stream(stream: FileIO, size: int, tell: Tell) -> str:
    found, piece = hashlib.sha256(), memoryview(bytearray(_PIECE))
    began = last = time.monotonic()
    done = 0
    while count := stream.readinto(piece):
        found.update(piece[:count])
        done, now = done + count, time.monotonic()
        if now - last >= _TOLD_EVERY_S:
            last = now
            tell(Progress(DIGESTING, done, size, seconds=now - began))
    tell(None)
    return found.hexdigest()


def cache_folder(environment: Mapping[str, str]) -> Path | None:
    """$HPCAGENT_CACHE, else the user's own cache; None where neither is known."""
    chosen = environment.get("HPCAGENT_CACHE")
    base = environment.get("XDG_CACHE_HOME")
    home = environment.get("HOME")
    if chosen:
        return Path(chosen) / "digests"
    if base or home:
        return (Path(base) if base else Path(home or "") / ".cache") / "hpcagent" / "digests"
    return None


def identity(path: Path) -> dict[str, int]:
    """What tells a file from an earlier one of its name, nothing where there is none.

    ctime shows an mtime that was set back.
    """
    try:
        found = path.stat()
    except OSError:
        return {}
    return {
        "device": found.st_dev,
        "inode": found.st_ino,
        "size": found.st_size,
        "mtime_ns": found.st_mtime_ns,
        "ctime_ns": found.st_ctime_ns,
    }


def _remembered(path: Path, cache: Path | None, tell: Tell) -> str:
    found = identity(path)
    if cache is None or not found:
        return sha256(path, tell)
    # A small file for each model: of two writers the later wins, and nothing of others is lost.
    entry = cache / f"{hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:32]}.json"
    kept = _kept(entry, found)
    if kept:
        return kept
    digest = sha256(path, tell)
    # A file that changes while it is read, or changed in this instant, is not remembered.
    if identity(path) == found and time.time_ns() - found["mtime_ns"] > _SETTLED_NS:
        _keep(entry, {**found, "sha256": digest})
    return digest


def _kept(entry: Path, identified: Mapping[str, int]) -> str:
    """The digest in an entry that is whole and of this very file, else nothing."""
    try:
        if entry.stat().st_size > 1000:
            return ""
        values = json.loads(entry.read_text(encoding="ascii"))
    except (OSError, ValueError, RecursionError):
        return ""
    digest = values.pop("sha256", "") if isinstance(values, dict) else ""
    same = values == dict(identified)
    return digest if same and isinstance(digest, str) and _HEX.fullmatch(digest) else ""


def _keep(entry: Path, values: Mapping[str, object]) -> None:
    """Whole or not at all; a cache that cannot be written is no failure."""
    with suppress(OSError):
        entry.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, partial = tempfile.mkstemp(dir=entry.parent, suffix=".partial")
        try:
            with os.fdopen(handle, "w", encoding="ascii") as stream:
                json.dump(values, stream)
            Path(partial).replace(entry)
        except OSError:
            Path(partial).unlink(missing_ok=True)
            raise
