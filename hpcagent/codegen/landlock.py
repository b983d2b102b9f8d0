"""Which files a program may read and write where mounts are refused: Landlock (Linux 5.13).

landlock(7), landlock_create_ruleset(2). What is not named is refused, and what is named cannot be
taken back for a folder below it. Runs inside jobs: standard library only, python3 >= 3.6.
"""

import ctypes
import errno
import os
import struct
from typing import List, Sequence

CREATE, ADD, RESTRICT = 444, 445, 446  # the same on every architecture but alpha
_VERSION = 1
_READ_FILE, _READ_FOLDER, _EXECUTE, _WRITE_FILE = 1 << 2, 1 << 3, 1 << 0, 1 << 1
_OF_FILES = (
    _EXECUTE | _WRITE_FILE | _READ_FILE | (1 << 14) | (1 << 15)
)  # truncate, ioctl of devices
_READS = _EXECUTE | _READ_FILE | _READ_FOLDER
_BITS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}  # rights that a version knows; later ones have 16
_BIND, _CONNECT = 1, 2  # of TCP, since version 4
MOST_ENTRIES = 5000  # of a folder, of which only a part may be read


def outside(folder: str, hidden: Sequence[str]) -> List[str]:
    """What of a folder may be read: the largest pieces that hold nothing of what is hidden."""
    inside = [path for path in hidden if (path + "/").startswith(folder.rstrip("/") + "/")]
    if not inside:
        return [folder]
    if folder in inside:
        return []
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return []
    found = []  # type: List[str]
    for name in names[:MOST_ENTRIES]:
        found += outside(os.path.join(folder, name), inside)
    return found


def _call(number: int, *arguments: object) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    result = libc.syscall(ctypes.c_long(number), *arguments)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, "landlock: %s" % os.strerror(code))
    return int(result)


def restrict(readable: Sequence[str], writable: Sequence[str], network: bool) -> None:
    """For this process and all that it becomes or starts; OSError where the node has it not.

    `network` True: ports stay as they are, as ranks need them.
    """
    version = _call(CREATE, None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION))
    handled = (1 << _BITS.get(version, 16)) - 1
    ports = _BIND | _CONNECT if version >= 4 and not network else 0
    attributes = struct.pack("QQ", handled, ports)
    size = 16 if version >= 4 else 8
    rules = _call(CREATE, attributes, ctypes.c_size_t(size), ctypes.c_uint32(0))
    try:
        for path in readable:
            _add(rules, path, _READS)
        for path in ("/dev/null", *writable):
            _add(rules, path, handled)
        _call(RESTRICT, ctypes.c_long(rules), ctypes.c_uint32(0))
    finally:
        os.close(rules)


def _add(rules: int, path: str, rights: int) -> None:
    """What is not there needs no rule."""
    try:
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EACCES):
            return
        raise
    try:
        folder = os.path.isdir("/proc/self/fd/%d" % handle)
        allowed = rights if folder else rights & _OF_FILES
        known = struct.pack("=Qi", allowed, handle)
        _call(ADD, ctypes.c_long(rules), ctypes.c_long(1), known, ctypes.c_uint32(0))
    finally:
        os.close(handle)
