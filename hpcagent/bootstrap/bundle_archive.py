"""Puts a bundle together: the manifest of its files, and a tar archive that never varies.

The same files give the same bytes: the order is sorted, owners are 0, and every time is the one
of the source (`source_date`).
"""

import contextlib
import hashlib
import io
import os
import subprocess
import tarfile
from typing import IO, Callable, Dict, List, NamedTuple

from hpcagent.bootstrap.install_manifest import NAME, SAFE_PATH, Manifest, Member, dump, sha256_of
from hpcagent.bootstrap.needs import SetupError


class Entry(NamedTuple):
    """A file that goes into the bundle as `path`."""

    path: str
    source: str
    executable: bool


def folder_entries(folder: str, below: str) -> List[Entry]:
    """All plain files of a folder; `below` is where they go, and may be empty."""
    found = []
    for parent, _, names in os.walk(folder):
        for name in names:
            source = os.path.join(parent, name)
            inside = os.path.join(below, os.path.relpath(source, folder))
            found.append(Entry(inside, source, os.access(source, os.X_OK)))
    return sorted(found)


def members(entries: List[Entry], tell: Callable[[int], None]) -> List[Member]:
    """SetupError for a name that could not be unpacked safely everywhere, or that comes twice."""
    found: Dict[str, Member] = {}
    for entry in sorted(entries):
        if not SAFE_PATH.fullmatch(entry.path):
            raise SetupError(
                "%s: name it with letters, digits, blanks and _+.,=@~- only" % entry.source
            )
        if entry.path in found:
            raise SetupError("%s: there is another file %s" % (entry.source, entry.path))
        size = os.path.getsize(entry.source)
        digest = sha256_of(entry.source, tell)
        found[entry.path] = Member(entry.path, size, digest, entry.executable)
    return list(found.values())


def source_date(root: str) -> int:
    """$SOURCE_DATE_EPOCH, else the time of the last commit, else that of the version's file."""
    given = os.environ.get("SOURCE_DATE_EPOCH", "")
    if given.isdigit():
        return int(given)
    committed = git(root, "log", "-1", "--format=%ct")
    if committed.isdigit():
        return int(committed)
    return int(os.path.getmtime(os.path.join(root, "hpcagent", "__init__.py")))


def git(root: str, *words: str) -> str:
    """What git says of the checkout; empty where there is none."""
    if not os.path.exists(os.path.join(root, ".git")):
        return ""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run(
            ["git", "-C", root, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=30,
        )
        return done.stdout.decode("utf-8", "replace").strip() if done.returncode == 0 else ""
    return ""


class _Hashing(io.RawIOBase):
    """Reads a file for tarfile, and hashes what was really read."""

    def __init__(self, stream: "IO[bytes]", tell: Callable[[int], None]) -> None:
        self.stream, self.told = stream, tell
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        chunk = self.stream.read(size)
        self.digest.update(chunk)
        self.told(len(chunk))
        return chunk


def write_archive(
    output: str, top: str, manifest: Manifest, sources: Dict[str, str], date: int,
    tell: Callable[[int], None],
) -> str:  # fmt: skip
    """Writes the archive whole or not at all; the SHA-256 of the manifest.

    SetupError where a file changed since its hash was taken.
    """
    raw = dump(manifest)
    partial = output + ".partial"
    try:
        with open(partial, "wb") as stream:
            with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
                archive.addfile(_info(top + "/" + NAME, len(raw), False, date), io.BytesIO(raw))
                for member in manifest.files:
                    info = _info(top + "/" + member.path, member.size, member.executable, date)
                    with open(sources[member.path], "rb") as source:
                        hashing = _Hashing(source, tell)
                        archive.addfile(info, hashing)
                    if hashing.digest.hexdigest() != member.sha256:
                        raise SetupError(
                            "%s changed while it was being bundled" % sources[member.path]
                        )
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(partial, output)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(partial)
    return hashlib.sha256(raw).hexdigest()


def _info(name: str, size: int, executable: bool, date: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mtime = size, date
    info.mode = 0o755 if executable else 0o644
    return info
