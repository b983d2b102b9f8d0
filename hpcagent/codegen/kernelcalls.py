"""Doors to the kernel for the quarantine: calls of libc, and walls that are tried and told of.

What the kernel offers: namespaces(7), mount(2), prctl(2). Runs inside jobs: standard library only,
python3 >= 3.6, no program but the kernel.
"""

import ctypes
import os
from typing import Any, Callable, Dict, Union

Told = Dict[str, Union[bool, str]]  # a wall: True, or the reason why the node does not have it

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 32, 4096, 16384, 1 << 18
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_CAPBSET_DROP = 1, 4, 24
PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 36, 38


def _libc() -> Any:
    return ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: Any) -> None:
    """A function of libc that returns 0; OSError with its name where it does not."""
    if getattr(_libc(), name)(*arguments) != 0:
        code = ctypes.get_errno()
        raise OSError(code, "%s: %s" % (name, os.strerror(code)))


def prctl(option: int, value: int, more: int = 0) -> None:
    number = ctypes.c_ulong
    call("prctl", option, number(value), number(more), number(0), number(0))


def mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    words = [os.fsencode(word) or None for word in (source, target, kind)]
    try:
        call("mount", *words, ctypes.c_ulong(flags), os.fsencode(data) or None)
    except OSError as error:
        code = error.errno or 0
        raise OSError(code, "mount %s: %s" % (target, os.strerror(code))) from None


def tried(told: Told, name: str, action: Callable[[], None]) -> bool:
    """Do it, and note True or the reason why it could not be done."""
    try:
        action()
    except OSError as error:
        told[name] = str(error.strerror or error)
        return False
    told[name] = True
    return True


def write_text(path: str, text: str) -> None:
    with open(path, "w") as stream:
        stream.write(text)


def read_text(path: str) -> str:
    """Empty where it cannot be read."""
    try:
        with open(path, errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""
