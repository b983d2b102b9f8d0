#!/usr/bin/env python3
"""What an agent on this node would live with: `python3 agentlook.py`, in the unit's folder.

Prints `cell KEY VALUE` lines: the python, the clock and that of the file server, the mounts above
the folder, whether a file can be written through, renamed and locked there, and the space left.
Standard library only, python3 >= 3.6; it judges nothing and leaves nothing behind.
"""

import fcntl
import os
import socket
import sys
import tempfile
import time
from typing import Callable


def say(key: str, value: str) -> None:
    sys.stdout.write("cell %s %s\n" % (key, value.replace("\n", " ")))
    sys.stdout.flush()


def tried(key: str, action: Callable[[], str]) -> None:
    try:
        say(key, action())
    except OSError as error:
        say(key, "no: %s" % (error.strerror or error))


def file_clock() -> str:
    """Seconds by which the file system's clock is ahead of this node's."""
    with tempfile.NamedTemporaryFile(dir=".") as stream:
        before = time.time()
        stream.write(b"x")
        stream.flush()
        os.fsync(stream.fileno())
        after = time.time()
        return "%.3f" % (os.stat(stream.name).st_mtime - (before + after) / 2)


def rename() -> str:
    handle, name = tempfile.mkstemp(dir=".")
    other = name + ".renamed"
    try:
        os.write(handle, b"whole")
        os.fsync(handle)
        os.rename(name, other)
        with open(other, "rb") as stream:
            return "ok" if stream.read() == b"whole" else "no: other content"
    finally:
        os.close(handle)
        for path in (name, other):
            if os.path.exists(path):
                os.unlink(path)


def lock() -> str:
    with tempfile.TemporaryFile(dir=".") as stream:
        fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return "ok"


def space(path: str) -> str:
    """Bytes and files that this user may still write there (files: -1 where it does not count)."""
    found = os.statvfs(path)
    return "%d %d" % (found.f_bavail * found.f_frsize, found.f_favail if found.f_files else -1)


def mounts() -> None:
    """The lines of mountinfo (proc(5)) whose mount point is above the folder."""
    here = os.path.realpath(".")
    try:
        with open("/proc/self/mountinfo", errors="surrogateescape") as stream:
            lines = stream.read().split("\n")
    except OSError:
        return
    for line in lines:
        words = line.split(" ")
        if len(words) > 6 and (here + "/").startswith(words[4].rstrip("/") + "/"):
            say("mount", line.encode("utf-8", "surrogateescape").decode("utf-8", "replace"))


def main() -> int:
    say("python", "%d.%d.%d" % sys.version_info[:3])
    say("host", socket.gethostname())
    say("clock", "%.3f" % time.time())
    say("folder", os.path.realpath("."))
    mounts()
    tried("file_clock", file_clock)
    tried("rename", rename)
    tried("lock", lock)
    tried("space", lambda: space("."))
    say("temporary_folder", tempfile.gettempdir())
    tried("temporary_space", lambda: space(tempfile.gettempdir()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
