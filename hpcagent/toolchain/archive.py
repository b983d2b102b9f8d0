"""A source that a user names: verified before anything is built from it.

The rules are those of unpack.py, which applies them again in the job, where the source may have
changed meanwhile.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from hpcagent.errors import UsageError
from hpcagent.templates import clean
from hpcagent.toolchain import sourcefiles

_TEXT_BYTES = 256 * 1024
_SHA256 = re.compile(r"[0-9a-fA-F]{64}\Z")


@dataclass(frozen=True)
class Source:
    """A verified archive or folder; `texts` maps those files asked for that are in it to theirs."""

    path: str
    kind: str  # "archive" or "folder"
    sha256: str
    files: int
    texts: Mapping[str, str]


def inspect_source(path: Path, sha256: str, looked_for: frozenset[str] = frozenset()) -> Source:
    """Read the whole source once and check it; UsageError with one line where it is refused.

    An archive needs its `sha256`; that of a folder may be left out, and is then taken as found.
    `looked_for` are small files that the caller wants to read, relative to the top folder.
    """
    clean(path, "--source")
    if sha256 and not _SHA256.match(sha256):
        raise UsageError(f"--sha256 {sha256!r}: 64 hexadecimal digits are expected")
    try:
        found = sourcefiles.digest(str(path))
        _compare(path, sha256.lower(), found)
        with sourcefiles.telling_damage():
            files, texts = (_in_folder if path.is_dir() else _in_archive)(path, looked_for)
    except sourcefiles.Refused as error:
        raise UsageError(f"--source {path}: it {error}") from None
    except OSError as error:
        raise UsageError(f"--source {error.filename or path}: {error.strerror}") from None
    kind = "folder" if path.is_dir() else "archive"
    return Source(str(path.absolute()), kind, found, files, texts)


def _compare(path: Path, wanted: str, found: str) -> None:
    if wanted and wanted != found:
        raise UsageError(f"--source {path}: its SHA-256 is {found} and not {wanted}")
    if not wanted and not path.is_dir():
        raise UsageError(
            f"--source {path}: give the --sha256 that its publisher states; this file's is {found}"
        )


def _in_folder(path: Path, looked_for: frozenset[str]) -> tuple[int, dict[str, str]]:
    found = [m.name for m in sourcefiles.tree_members(str(path)) if m.kind == sourcefiles.FILE]
    texts = {}
    for name in sorted(looked_for.intersection(found)):
        with (path / name).open("rb") as stream:
            texts[name] = _text(stream)
    return len(found), texts


def _in_archive(path: Path, looked_for: frozenset[str]) -> tuple[int, dict[str, str]]:
    """The number of files, and those that are looked for below the top folder."""
    rules = sourcefiles.Rules(path.stat().st_size)
    texts: dict[str, str] = {}
    count = 0
    for member, stream in sourcefiles.members(str(path), rules):
        count += member.kind == sourcefiles.FILE
        name = member.name
        if stream is not None and (name in looked_for or name.partition("/")[2] in looked_for):
            texts[name] = _text(stream)
    cut = len(rules.top) + 1 if rules.top else 0
    return count, {name[cut:]: text for name, text in texts.items() if name[cut:] in looked_for}


def _text(stream: IO[bytes]) -> str:
    return stream.read(_TEXT_BYTES).decode("utf-8", "replace")
