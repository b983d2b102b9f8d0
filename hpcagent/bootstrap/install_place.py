"""The place of an installation: its folders and names, one installer at a time, all or nothing.

    PREFIX/lib/hpcagent/VERSION/     everything; made under another name and renamed
    PREFIX/lib/hpcagent/.lock        held by an installer
    PREFIX/bin/hpcagent, ...         links to it, made last

An installation that was killed leaves the folder `.VERSION.partial`, which nothing uses and the
next one removes, or a whole tree whose links the next one completes.
"""

import contextlib
import fcntl
import glob
import json
import os
import shutil
import time
from typing import Any, Dict, Iterator, List, NamedTuple, Tuple

from hpcagent.bootstrap.needs import SetupError
from hpcagent.bootstrap.screen import Screen
from hpcagent.bootstrap.setup import replace

RECORD = "installed.json"
LOCK_WAIT_S = 3600.0


class Place(NamedTuple):
    """`prefix` is absolute, as the user named it: links in it are not resolved."""

    prefix: str
    version: str
    module_dir: str  # empty: none but the prefix's own

    @property
    def home(self) -> str:
        return os.path.join(self.prefix, "lib", "hpcagent")

    @property
    def tree(self) -> str:
        return os.path.join(self.home, self.version)

    @property
    def partial(self) -> str:
        return os.path.join(self.home, ".%s.partial" % self.version)

    @property
    def old(self) -> str:
        return os.path.join(self.home, ".%s.old" % self.version)

    @property
    def lock(self) -> str:
        return os.path.join(self.home, ".lock")


class Link(NamedTuple):
    """A name outside the tree (relative to the prefix, or absolute) for a path inside it."""

    path: str
    inside: str


def check_prefix(place: Place, needed: int) -> None:
    """SetupError where nothing can be installed there; nothing is written."""
    for label, path in (("--prefix", place.prefix), ("--module-dir", place.module_dir)):
        if any(ord(char) < 32 or ord(char) == 127 for char in path) or ":" in path:
            raise SetupError(
                "%s %r: colons and control characters cannot be in PATH or a modulefile; choose "
                "another place" % (label, path)
            )
        if path:
            _check_folder(label, path)
    folder = existing(place.prefix)
    space = os.statvfs(folder)
    if space.f_flag & os.ST_NOEXEC:
        raise SetupError(
            "%s is on a file system that is mounted noexec: nothing could be started there; "
            "choose another --prefix" % folder
        )
    free = space.f_bavail * space.f_frsize
    if free < needed:
        raise SetupError(
            "%s has %d MB free and %d MB are needed; make room, or choose another --prefix"
            % (folder, free // 10**6, -(-needed // 10**6))
        )


def _check_folder(label: str, path: str) -> None:
    folder = existing(path)
    if not os.path.isdir(folder):
        raise SetupError("%s %s: %s is not a folder" % (label, path, folder))
    if not os.access(folder, os.W_OK | os.X_OK):
        raise SetupError(
            "%s %s: you may not write in %s; choose a place of your own, such as %s"
            % (label, path, folder, os.path.join(os.path.expanduser("~"), "hpcagent"))
        )


def existing(path: str) -> str:
    """The path, or the nearest one above it that there is."""
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    return path


# --- one at a time -------------------------------------------------------------------------------


class Hold(NamedTuple):
    """The lock of a place; those of `folders` that are empty at its end are removed then."""

    handle: int
    folders: List[str]


@contextlib.contextmanager
def locked(place: Place, screen: Screen) -> "Iterator[Hold]":
    """Alone with the prefix, whose folders are made."""
    made: List[str] = []
    hold = Hold(_take_lock(place, screen, made), made)
    try:
        yield hold
    finally:
        if not glob.glob(os.path.join(glob.escape(place.home), "*", RECORD)):
            with contextlib.suppress(OSError):
                os.unlink(place.lock)
        remove_empty(hold.folders)
        os.close(hold.handle)


def _take_lock(place: Place, screen: Screen, made: List[str]) -> int:
    """The open lock file; the folders that had to be made for it are added to `made`."""
    deadline, told = time.monotonic() + LOCK_WAIT_S, False
    while True:
        made += make_folders(place.home)  # the one before may have removed it
        handle = os.open(place.lock, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_current(handle, place.lock):
                return handle
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(handle)
                raise SetupError(
                    "waited an hour for another installation in %s" % place.home
                ) from None
            if not told:
                screen.say("install: another one works in %s; waiting for it" % place.home)
            told = True
        except OSError as error:
            screen.say("install: no file locks here (%s); going on without" % error.strerror)
            return handle
        os.close(handle)
        time.sleep(0.2)


def _is_current(handle: int, path: str) -> bool:
    with contextlib.suppress(OSError):
        return os.path.samestat(os.fstat(handle), os.stat(path))
    return False


def make_folders(path: str) -> List[str]:
    """Makes a folder with those above it; the ones that were made, the outermost first."""
    made = []
    at = path
    while not os.path.isdir(at):
        made.append(at)
        at = os.path.dirname(at)
    os.makedirs(path, exist_ok=True)
    return made[::-1]


def remove_empty(folders: List[str]) -> None:
    """Those of them that are empty, the innermost first."""
    for folder in sorted(folders, reverse=True):
        with contextlib.suppress(OSError):
            os.rmdir(folder)


# --- all or nothing ------------------------------------------------------------------------------


def recover(place: Place) -> None:
    """Clears away what a killed installation left; a tree that was being replaced comes back."""
    if os.path.lexists(place.old):
        if os.path.lexists(place.tree):
            shutil.rmtree(place.old)
        else:
            os.rename(place.old, place.tree)
    if os.path.lexists(place.partial):
        shutil.rmtree(place.partial)


def put_in_place(place: Place) -> None:
    """The finished tree gets its name; one that is there is replaced."""
    if os.path.lexists(place.tree):
        os.rename(place.tree, place.old)
    os.rename(place.partial, place.tree)
    handle = os.open(place.home, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    if os.path.lexists(place.old):
        shutil.rmtree(place.old)


def foreign(place: Place, links: List[Link]) -> List[str]:
    """The links' names that are taken by something that is not hpcagent's."""
    return [
        path
        for path in (os.path.join(place.prefix, link.path) for link in links)
        if os.path.lexists(path) and not is_ours(place, path)
    ]


def is_ours(place: Place, path: str, tree: str = "") -> bool:
    """Is it a link to something in this place's home (or in one tree of it)?"""
    if not os.path.islink(path):
        return False
    home = os.path.realpath(tree or place.home)
    target = os.path.join(os.path.realpath(os.path.dirname(path)), os.readlink(path))
    return os.path.realpath(target).startswith(home + os.sep)


def make_links(place: Place, links: List[Link]) -> None:
    """Each at once or not at all."""
    for link in links:
        path = os.path.join(place.prefix, link.path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        target = os.path.join(place.tree, link.inside)
        if not os.path.isabs(link.path):
            parent = os.path.realpath(os.path.dirname(path))
            target = os.path.relpath(os.path.realpath(target), parent)
        if os.path.islink(path) and os.readlink(path) == target:
            continue
        temporary = os.path.join(os.path.dirname(path), ".hpcagent-link-%d" % os.getpid())
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        os.symlink(target, temporary)
        os.replace(temporary, path)


# --- what was installed --------------------------------------------------------------------------


class Record(NamedTuple):
    """`files` maps a path in the tree to its SHA-256, or to "link TARGET".

    Links and folders are relative to the prefix where they are inside it.
    """

    version: str
    manifest_sha256: str
    links: List[Link]
    folders: List[str]
    files: Dict[str, str]


def folders_for(place: Place, links: List[Link], made: List[str]) -> List[str]:
    """The folders that an uninstallation removes if they are empty: those made for hpcagent.

    `made` are those made in this installation; those of other versions here are added.
    """
    found = set(made)
    for link in links:
        at = os.path.dirname(os.path.join(place.prefix, link.path))
        while not os.path.isdir(at):
            found.add(at)
            at = os.path.dirname(at)
    for version in os.listdir(place.home):
        with contextlib.suppress(SetupError):
            others = read_record(place._replace(version=version)).folders
            found.update(os.path.normpath(os.path.join(place.prefix, path)) for path in others)
    return sorted(
        os.path.relpath(path, place.prefix) if _inside(place, path) else path for path in found
    )


def _inside(place: Place, path: str) -> bool:
    return path == place.prefix or path.startswith(place.prefix.rstrip("/") + "/")


def write_record(tree: str, record: Record) -> None:
    content = record._asdict()
    content["links"] = [list(link) for link in record.links]
    raw = json.dumps(content, indent=0, sort_keys=True).encode("utf-8", "surrogateescape")
    replace(os.path.join(tree, RECORD), raw + b"\n")


def read_record(place: Place) -> Record:
    path = os.path.join(place.tree, RECORD)
    try:
        with open(path, "rb") as stream:
            found: Dict[str, Any] = json.loads(stream.read().decode("utf-8", "surrogateescape"))
        links = [Link(*row) for row in found.pop("links")]
        return Record(links=links, **found)
    except OSError as error:
        raise SetupError(
            "there is no installation of hpcagent %s in %s (%s: %s)"
            % (place.version, place.prefix, path, error.strerror)
        ) from None
    except (ValueError, TypeError, KeyError) as error:
        raise SetupError("%s is damaged (%s); install again with --force" % (path, error)) from None


def remove(place: Place, record: Record) -> Tuple[int, List[str]]:
    """Removes what was installed, links first; how many names, and those that had to be left."""
    count, left = 0, []
    for link in record.links:
        path = os.path.join(place.prefix, link.path)
        if is_ours(place, path, place.tree):
            os.unlink(path)
            count += 1
        elif os.path.lexists(path) and not is_ours(place, path):
            left.append(path)
    for name in [*record.files, RECORD]:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(place.tree, name))
            count += 1
    for parent, _, names in os.walk(place.tree, topdown=False):
        for name in names:
            path = os.path.join(parent, name)
            if os.path.basename(parent) == "__pycache__" and name.endswith(".pyc"):
                os.unlink(path)
            else:
                left.append(path)
        with contextlib.suppress(OSError):
            os.rmdir(parent)
    return count, left
