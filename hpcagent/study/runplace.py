"""The place of a new run: what stands in the way of one there, told before anything is made."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from hpcagent.errors import EnvironmentProblem
from hpcagent.study.durable import TEMPORARY, problem

RECORD = "run.json"  # whose presence makes a folder a run


def foresee(root: Path, directory: Path | None = None) -> None:
    """Raise what making a run below `root`, or in `directory`, would; nothing is made or changed.

    EnvironmentProblem, as far as looking can tell: a full disk, or a file system that takes no
    folders whoever asks (/proc), is only found by writing.
    """
    path = (root if directory is None else directory).absolute()
    try:
        there = _nearest(path)
        if not there.is_dir():
            raise _in_the_way(path, there)
        if there != path or directory is None:
            _require_writable(there)
    except OSError as error:
        raise problem("create", path, error) from None
    if there == path and directory is not None:
        require_empty(path)
        _require_ours(path)


def require_empty(path: Path) -> None:
    """EnvironmentProblem where something is in the folder; what a kill left there is nothing."""
    try:
        if any(not entry.name.startswith(TEMPORARY) for entry in path.iterdir()):
            raise occupied(path)
    except OSError as error:
        raise problem("use", path, error) from None


def occupied(path: Path) -> EnvironmentProblem:
    if (path / RECORD).exists():
        return EnvironmentProblem(
            f"{path} holds a run already: go on with `hpcagent resume {path}`, "
            "or choose another directory"
        )
    return EnvironmentProblem(f"{path} exists and is not empty: choose another directory")


def not_a_directory(path: Path) -> EnvironmentProblem:
    return EnvironmentProblem(f"{path} is not a directory: choose another one")


def _nearest(path: Path) -> Path:
    """The path, or the first of the folders above it that is there; OSError for no possible one."""
    for place in (path, *path.parents):
        try:
            place.lstat()
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            continue
        return place
    return Path("/")


def _in_the_way(path: Path, there: Path) -> Exception:
    if there == path or there.is_symlink():
        return not_a_directory(path)
    return OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))


def _require_writable(folder: Path) -> None:
    if not os.access(folder, os.W_OK | os.X_OK, effective_ids=True):
        code = errno.EROFS if _read_only(folder) else errno.EACCES
        raise OSError(code, os.strerror(code))


def _require_ours(folder: Path) -> None:
    """A run makes its folder private, which its owner alone may do (chmod(2))."""
    code = 0
    if _read_only(folder):
        code = errno.EROFS
    elif os.geteuid() not in (0, folder.stat().st_uid):
        code = errno.EPERM
    if code:
        raise problem("use", folder, OSError(code, os.strerror(code)))


def _read_only(folder: Path) -> bool:
    return bool(os.statvfs(folder).f_flag & os.ST_RDONLY)
