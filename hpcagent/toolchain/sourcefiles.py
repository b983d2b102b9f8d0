"""What a source may hold: the rules, and the members of archives and folders that keep to them.

Standard library only, python3 >= 3.6: it goes to the node beside unpack.py, and the agent uses it
to refuse a bad source before anything is submitted.
"""

import bz2
import contextlib
import gzip
import hashlib
import lzma
import os
import posixpath
import stat
import tarfile
import time
import zipfile
import zlib
from typing import IO, Dict, Iterator, List, NamedTuple, Optional, Tuple

# More than any numerical library's source needs: OpenBLAS has 10^4 files and 10^8 bytes.
MAX_ARCHIVE_BYTES = 2 * 1024**3
MAX_UNPACKED_BYTES = 8 * 1024**3
MAX_MEMBERS = 300000
# Sources shrink to a third or, with xz, to a thirtieth; a bomb of zeros to a thousandth.
MAX_RATIO = 200
SMALL_BYTES = 64 * 1024**2
MAX_NAME = 1024
CHUNK = 1024 * 1024

FILE, FOLDER, LINK = "file", "folder", "link"
# `modified` are the seconds since 1970 at which a file was changed last (0: not told).
Member = NamedTuple(
    "Member",
    [
        ("name", str),
        ("kind", str),
        ("bytes", int),
        ("target", str),
        ("runs", bool),
        ("modified", int),
    ],
)
_DAMAGED = (
    EOFError,
    NotImplementedError,
    zlib.error,
    lzma.LZMAError,
    tarfile.TarError,
    zipfile.BadZipFile,
)


_LEADS_OUT = "holds the link %r, which leads out to %r"


class Refused(Exception):
    """The source must not be used; one line that says why."""


# --- the rules -----------------------------------------------------------------------------------


class Rules:
    """Looks at the members of an archive one after the other; raises Refused."""

    def __init__(self, archive_bytes: int) -> None:
        self._limit = most_bytes(archive_bytes)
        self._kinds: Dict[str, str] = {}
        self._links: List[Tuple[str, str, str]] = []
        self._bytes = 0

    def look(self, member: Member) -> None:
        name = member.name
        if len(self._kinds) >= MAX_MEMBERS:
            raise Refused("holds more than %d files" % MAX_MEMBERS)
        _check_name(name)
        self._bytes += member.bytes
        if self._bytes > self._limit:
            raise Refused("unpacks to more than %d MiB" % (self._limit // CHUNK))
        before = self._kinds.get(name)
        if before is not None and (before, member.kind) != (FOLDER, FOLDER):
            raise Refused("holds %r twice" % name)
        for parent in _parents(name):
            if self._kinds.setdefault(parent, FOLDER) != FOLDER:
                raise Refused("%r lies below %r, which is no folder" % (name, parent))
        if member.kind == LINK:
            self._links.append((name, member.target, _leads_to(name, member.target)))
        self._kinds[name] = member.kind

    def end(self) -> None:
        """What can be told only when all members are known."""
        if FILE not in self._kinds.values():
            raise Refused("holds no files")
        for name, target, inside in self._links:
            if self.top and not (inside + "/").startswith(self.top + "/"):
                raise Refused(_LEADS_OUT % (name, target))

    @property
    def top(self) -> str:
        """The one folder that everything lies in; empty where there is no such folder."""
        first = {name.split("/", 1)[0] for name in self._kinds}
        only = first.pop() if len(first) == 1 else ""
        return only if self._kinds.get(only) == FOLDER else ""


def most_bytes(archive_bytes: int) -> int:
    """What an archive of this size may unpack to."""
    return min(MAX_UNPACKED_BYTES, max(SMALL_BYTES, archive_bytes * MAX_RATIO))


def _check_name(name: str) -> None:
    _check_text(name)
    if name.startswith("/"):
        raise Refused("holds the absolute path %r" % name)
    if ".." in name.split("/"):
        raise Refused("holds a path that leads out with '..': %r" % name)
    if name in ("", ".") or "\\" in name or posixpath.normpath(name) != name:
        raise Refused("holds a file with an unusable name: %a" % name[:80])


def _check_text(name: str) -> None:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        raise Refused("holds a file whose name is not UTF-8: %a" % name[:80]) from None
    if any(ord(char) < 32 or 127 <= ord(char) < 160 for char in name):
        raise Refused("holds a file with a control character in its name: %a" % name[:80])
    if len(name) > MAX_NAME:
        raise Refused("holds a file with an endless name: %a..." % name[:80])


def _leads_to(name: str, target: str) -> str:
    """Where a link points to, below the root; refused where it could lead out.

    Only '..' at the beginning can be judged by its spelling: later ones would go up from wherever
    another link has led to.
    """
    _check_text(target)
    parts = [part for part in target.split("/") if part not in ("", ".")]
    ups = 0
    while ups < len(parts) and parts[ups] == "..":
        ups += 1
    folder = name.split("/")[:-1]
    if not target or target.startswith("/") or ".." in parts[ups:] or ups > len(folder):
        raise Refused(_LEADS_OUT % (name, target))
    return "/".join(folder[: len(folder) - ups] + parts[ups:])


def _parents(name: str) -> Iterator[str]:
    parts = name.split("/")
    return ("/".join(parts[:end]) for end in range(1, len(parts)))


# --- archives ------------------------------------------------------------------------------------


class _Counted:
    """A stream that gives no more than `limit` bytes, and knows where the last non-zero one was."""

    def __init__(self, stream: IO[bytes], limit: int) -> None:
        self._stream = stream
        self._limit = limit
        self.total = 0
        self.used = 0

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(CHUNK if size < 0 else min(size, CHUNK))
        kept = len(data.rstrip(b"\0"))
        if kept:
            self.used = self.total + kept
        self.total += len(data)
        if self.total > self._limit:
            raise Refused("unpacks to more than %d MiB" % (self._limit // CHUNK))
        return data


def members(path: str, rules: Rules) -> Iterator[Tuple[Member, Optional[IO[bytes]]]]:
    """Each member of an archive with its stream (None where it is no file), checked by the rules.

    Reads the archive to its end, so that one that is truncated is found out.
    """
    size = os.path.getsize(path)
    if size > MAX_ARCHIVE_BYTES:
        raise Refused("is larger than %d MiB" % (MAX_ARCHIVE_BYTES // CHUNK))
    with open(path, "rb") as stream:
        head = stream.read(512)
    if head.startswith(b"PK\x03\x04"):
        yield from _zip_members(path, rules)
    else:
        yield from _tar_members(path, head, size, rules)


@contextlib.contextmanager
def telling_damage() -> Iterator[None]:
    """What goes wrong with a damaged archive while it is read is raised as Refused."""
    try:
        yield
    except _DAMAGED as error:
        words = str(error) or type(error).__name__
        raise Refused("is truncated or damaged (%s)" % words) from None
    except OSError as error:
        if error.errno is not None:
            raise
        raise Refused("is truncated or damaged (%s)" % error) from None


def _open(path: str, head: bytes) -> IO[bytes]:
    if head.startswith(b"\x1f\x8b"):
        return gzip.open(path, "rb")  # type: ignore[return-value]
    if head.startswith(b"BZh"):
        return bz2.open(path, "rb")
    if head.startswith(b"\xfd7zXZ\x00"):
        return lzma.open(path, "rb")
    if head.startswith(b"\x28\xb5\x2f\xfd"):
        raise Refused("is compressed with zstd, which Python here cannot read: unpack it (zstd -d)")
    if head[257:262] != b"ustar":
        raise Refused("is no archive that is known here: .tar, .tar.gz, .tar.bz2, .tar.xz or .zip")
    return open(path, "rb")


def _tar_members(
    path: str, head: bytes, size: int, rules: Rules
) -> Iterator[Tuple[Member, Optional[IO[bytes]]]]:
    with contextlib.closing(_open(path, head)) as stream:
        # Headers and padding, two blocks of 512 bytes for a file, come on top.
        counted = _Counted(stream, most_bytes(size) + 1024 * MAX_MEMBERS)
        with tarfile.open(fileobj=counted, mode="r|") as archive:  # type: ignore[call-overload]
            for info in archive:
                member = _tar_member(info)
                if member is not None:
                    rules.look(member)
                    yield member, archive.extractfile(info) if info.isreg() else None
            while counted.read(CHUNK):
                pass
            # The end are two blocks of zeros (POSIX, pax, "ustar Interchange Format"); tarfile
            # also stops, and says nothing, at a header that it cannot read.
            if counted.used > archive.offset or counted.total < archive.offset + 512:
                raise Refused("is truncated or damaged (a header or its end is missing)")
    rules.end()


def _tar_member(info: tarfile.TarInfo) -> Optional[Member]:
    """The member; None for the folder that was packed itself, as `./`."""
    name = info.name.rstrip("/")
    while name.startswith("./"):
        name = name[2:].lstrip("/")
    if name == "." and info.isdir():
        return None
    if info.isdir():
        return Member(name, FOLDER, 0, "", False, 0)
    if info.issym():
        return Member(name, LINK, 0, info.linkname, False, 0)
    if info.islnk():
        raise Refused("holds the hard link %r, which no source needs" % name)
    if not info.isreg() or info.issparse():
        raise Refused("holds %r, which is neither a file, a folder nor a link" % name)
    return Member(name, FILE, info.size, "", bool(info.mode & 0o100), _seconds(info.mtime))


def _seconds(modified: float) -> int:
    """Any number may stand in a pax header."""
    return int(modified) if abs(modified) < 1e15 else 0


def _zip_members(path: str, rules: Rules) -> Iterator[Tuple[Member, Optional[IO[bytes]]]]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            member = _zip_member(archive, info)
            rules.look(member)
            if member.kind == FILE:
                with archive.open(info) as stream:
                    yield member, stream
                    while stream.read(CHUNK):  # to its end, where the checksum is compared
                        pass
            else:
                yield member, None
    rules.end()


def _zip_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Member:
    mode = info.external_attr >> 16
    name = info.filename.rstrip("/")
    if info.flag_bits & 1:
        raise Refused("holds the encrypted file %r" % name)
    if info.filename.endswith("/"):
        return Member(name, FOLDER, 0, "", False, 0)
    if stat.S_ISLNK(mode):
        if info.file_size > MAX_NAME:
            raise Refused("holds the link %r with an endless target" % name)
        target = archive.read(info).decode("utf-8", "surrogateescape")
        return Member(name, LINK, 0, target, False, 0)
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        raise Refused("holds %r, which is neither a file, a folder nor a link" % name)
    modified = int(time.mktime((*info.date_time, 0, 0, -1)))  # local time, as zip has it
    return Member(name, FILE, info.file_size, "", bool(mode & 0o100), modified)


# --- hashes --------------------------------------------------------------------------------------


def file_digest(path: str) -> str:
    """SHA-256 of a file, hexadecimal."""
    found = hashlib.sha256()
    with open(path, "rb") as stream:
        for chunk in iter(lambda: stream.read(CHUNK), b""):
            found.update(chunk)
    return found.hexdigest()


def tree_members(root: str) -> List[Member]:
    """What a folder holds, sorted by name; version control's own folders are left out."""
    found: List[Member] = []
    rules = Rules(MAX_ARCHIVE_BYTES)
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(set(folders) - {".git", ".hg", ".svn"})
        for name in sorted(files + [f for f in folders if os.path.islink(os.path.join(folder, f))]):
            path = os.path.join(folder, name)
            member = _file_member(path, os.path.relpath(path, root))
            rules.look(member)
            found.append(member)
    rules.end()
    return sorted(found)


def _file_member(path: str, name: str) -> Member:
    info = os.lstat(path)
    if stat.S_ISLNK(info.st_mode):
        return Member(name, LINK, 0, os.readlink(path), False, 0)
    if not stat.S_ISREG(info.st_mode):
        raise Refused("holds %r, which is neither a file, a folder nor a link" % name)
    runs = bool(info.st_mode & 0o100)
    return Member(name, FILE, info.st_size, "", runs, int(info.st_mtime))


def tree_digest(root: str) -> str:
    """SHA-256 over the names, kinds and contents of a folder, the same on every machine."""
    found = hashlib.sha256()
    for member in tree_members(root):
        content = member.target
        if member.kind == FILE:
            content = file_digest(os.path.join(root, member.name))
        line = "%s %s %d %s\n" % (member.kind, content, member.runs, member.name)
        found.update(line.encode("utf-8"))
    return found.hexdigest()


def digest(path: str) -> str:
    return tree_digest(path) if os.path.isdir(path) else file_digest(path)
