"""A source that a user names: verified before anything is built from it.

The rules are those of unpack.py, which applies them again in the job, where the source may have
changed meanwhile.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from hpcagent.errors import UsageError
from hpcagent.templates import clean
from hpcagent.toolchain import unpack

_SHA256 = re.compile(r"[0-9a-fA-F]{64}\Z")


@dataclass(frozen=True)
class Source:
    """A verified archive or folder; `names` are the files in it that were asked for."""

    path: str
    kind: str  # "archive" or "folder"
    sha256: str
    files: int
    names: frozenset[str]


def inspect_source(path: Path, sha256: str, looked_for: frozenset[str] = frozenset()) -> Source:
    """Read the whole source once and check it; UsageError with one line where it is refused.

    An archive needs its `sha256`; that of a folder may be left out, and is then taken as found.
    `looked_for` are paths whose presence the caller wants to know, relative to the top folder.
    """
    clean(path, "--source")
    if sha256 and not _SHA256.match(sha256):
        raise UsageError(f"--sha256 {sha256!r}: 64 hexadecimal digits are expected")
    try:
        found = unpack.digest(str(path))
        _compare(path, sha256.lower(), found)
        names = _names(path)
    except unpack.Refused as error:
        raise UsageError(f"--source {path}: {error}") from None
    except OSError as error:
        raise UsageError(f"--source {error.filename or path}: {error.strerror}") from None
    kind = "folder" if path.is_dir() else "archive"
    files = sum(1 for _, is_file in names if is_file)
    return Source(str(path.absolute()), kind, found, files, looked_for & {n for n, _ in names})


def _compare(path: Path, wanted: str, found: str) -> None:
    if wanted and wanted != found:
        raise UsageError(f"--source {path}: its SHA-256 is {found} and not {wanted}")
    if not wanted and not path.is_dir():
        raise UsageError(
            f"--source {path}: give the --sha256 that its publisher states; this file's is {found}"
        )


def _names(path: Path) -> frozenset[tuple[str, bool]]:
    """Every path in the source, and whether it is a file (or a link)."""
    if path.is_dir():
        found = [member.name for member in unpack.tree_members(str(path))]
    else:
        rules = unpack.Rules(path.stat().st_size)
        each = unpack.members(str(path), rules)
        found = [member.name for member, _ in each if member.kind != unpack.FOLDER]
        cut = len(rules.top) + 1 if rules.top else 0
        found = [name[cut:] for name in found]
    folders = {"/".join(n.split("/")[:end]) for n in found for end in range(1, n.count("/") + 1)}
    return frozenset({(n, True) for n in found} | {(n, False) for n in folders})
