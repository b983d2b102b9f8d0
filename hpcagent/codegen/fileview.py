"""What a program sees of the file system: mounts in a namespace of its own.

mount(2), mount_setattr(2), proc(5). Runs inside jobs: standard library only, python3 >= 3.6.
"""

import ctypes
import errno
import os
import re
import struct
from typing import Any, List, Mapping, Sequence, Tuple

if __package__:
    from hpcagent.codegen import kernelcalls, namespaces
    from hpcagent.codegen.kernelcalls import (
        MS_BIND,
        MS_NODEV,
        MS_NOEXEC,
        MS_NOSUID,
        MS_PRIVATE,
        MS_RDONLY,
        MS_REC,
        MS_REMOUNT,
        mount,
    )
else:
    import kernelcalls  # type: ignore[import-not-found,no-redef]
    import namespaces  # type: ignore[import-not-found,no-redef]
    from kernelcalls import (  # type: ignore[no-redef]
        MS_BIND,
        MS_NODEV,
        MS_NOEXEC,
        MS_NOSUID,
        MS_PRIVATE,
        MS_RDONLY,
        MS_REC,
        MS_REMOUNT,
        mount,
    )

# Nothing is imported or looked up late: python's own files may lie where they are covered by then.
_ESCAPED = re.compile(r"\\([0-7]{3})")
_KEPT_FLAGS = {
    "nosuid": MS_NOSUID, "nodev": MS_NODEV, "noexec": MS_NOEXEC,
    "noatime": 1024, "nodiratime": 2048, "relatime": 1 << 21,
}  # fmt: skip
_MOUNT_SETATTR = 442  # the same number on every architecture but alpha
_AT_FDCWD, _AT_RECURSIVE, _ATTR_RDONLY = -100, 0x8000, 1
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
# Folders with sockets of daemons (a read-only mount does not close them) and files of others.
COVERED = ("/run", "/tmp", "/var/tmp")
PRIVATE_TMP = "/tmp"


class View:
    """The file system as the program shall see it.

    `writable` can be written, `visible` is kept where something covers it, `hidden` is covered.
    """

    def __init__(
        self,
        writable: Sequence[str],
        visible: Sequence[str],
        hidden: Sequence[str],
        devices: Sequence[str],
        memory_bytes: int,
    ) -> None:
        self.writable = sorted({os.path.realpath(path) for path in writable})
        self.visible = sorted({os.path.realpath(path) for path in visible})
        self.hidden = sorted({os.path.realpath(path) for path in hidden})
        self.devices = list(devices)
        self.room = "size=%d" % memory_bytes
        self.fresh = []  # type: List[str]

    def build(self, told: kernelcalls.Told, most_processes: int) -> None:
        """Needs a mount namespace of its own, and notes what it can build.

        `most_processes`: in the namespace of processes; 0: there is none.
        """
        mount("none", "/", "", MS_REC | MS_PRIVATE)
        kept = {path: os.open(path, os.O_PATH) for path in (*self.visible, *self.writable)}
        if most_processes and kernelcalls.tried(told, "own_proc", self._proc) and os.getuid() == 0:
            kernelcalls.tried(
                told, "few_processes", lambda: namespaces.bound_processes(most_processes)
            )
        if not kernelcalls.tried(told, "devices", self._dev):
            kernelcalls.tried(told, "private_shm", self._shm)
        kernelcalls.tried(told, "private_tmp", lambda: self._cover_all(kept))
        kernelcalls.tried(told, "hidden", self._hide)
        kernelcalls.tried(told, "no_more_namespaces", namespaces.forbid_user_namespaces)
        kernelcalls.tried(told, "read_only", self._read_only)
        for handle in kept.values():
            os.close(handle)

    def _proc(self) -> None:
        mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)

    def _dev(self) -> None:
        """A /dev of harmless devices: root can write disks on a read-only mount, too."""
        names = ["/dev/" + name for name in _DEVICES] + self.devices
        found = {name: os.open(name, os.O_PATH) for name in names if os.path.exists(name)}
        mount("tmpfs", "/dev", "tmpfs", MS_NOSUID | MS_NOEXEC, "mode=755,size=64k")
        try:
            for name, handle in found.items():
                os.makedirs(os.path.dirname(name), exist_ok=True)
                kernelcalls.write_text(name, "")
                mount("/proc/self/fd/%d" % handle, name, "", MS_BIND)
                os.close(handle)
            os.mkdir("/dev/shm")
            self._shm()
        except OSError:
            kernelcalls.call(
                "umount2", b"/dev", 2
            )  # MNT_DETACH: programs need what was there before
            raise
        os.symlink("/proc/self/fd", "/dev/fd")
        for number, name in enumerate(("stdin", "stdout", "stderr")):
            os.symlink("/proc/self/fd/%d" % number, "/dev/" + name)

    def _shm(self) -> None:
        self._fresh_folder("/dev/shm", "mode=1777," + self.room)

    def _fresh_folder(self, path: str, options: str) -> None:
        """An empty folder of the program's own, which it can write."""
        mount("tmpfs", path, "tmpfs", MS_NOSUID | MS_NODEV, options)
        self.fresh.append(path)

    def _cover_all(self, kept: Mapping[str, int]) -> None:
        home = os.path.realpath(os.path.expanduser("~"))
        covered = []  # type: List[str]
        for path in (*COVERED, home):
            if path == "/" or not os.path.isdir(path) or os.path.islink(path):
                continue
            if within(path, covered) or within(path, kept):
                continue
            if path == PRIVATE_TMP:
                self._fresh_folder(path, "mode=1777," + self.room)
            else:
                mount("tmpfs", path, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755,size=1m")
            covered.append(path)
        for path in sorted(kept):
            if within(path, covered) and not os.path.lexists(path):
                _place(path, kept[path])
            if within(path, covered) or path in self.writable:
                mount("/proc/self/fd/%d" % kept[path], path, "", MS_BIND | MS_REC)

    def _hide(self) -> None:
        for path in self.hidden:
            if os.path.isdir(path):
                mount("tmpfs", path, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0,size=4k")
            elif os.path.exists(path):
                mount("/dev/null", path, "", MS_BIND)

    def _read_only(self) -> None:
        if not _set_read_only("/"):
            _remount_all(MS_RDONLY)
        for path in (*self.fresh, *self.writable):
            flags = MS_NOSUID | MS_NODEV | _flags_of(path)
            mount("none", path, "", MS_REMOUNT | MS_BIND | flags)


def within(path: str, folders: Any) -> bool:
    """Whether it is one of the folders or lies below one."""
    return any((path + "/").startswith(folder.rstrip("/") + "/") for folder in folders)


def _place(path: str, handle: int) -> None:
    """Something to mount on: a folder, or a file for what is no folder."""
    if os.path.isdir("/proc/self/fd/%d" % handle):
        os.makedirs(path, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        kernelcalls.write_text(path, "")


def _set_read_only(path: str) -> bool:
    """With all that is mounted below it; False: the kernel is older than 5.12."""
    attributes = struct.pack("QQQQ", _ATTR_RDONLY, 0, 0, 0)
    where = (ctypes.c_long(_AT_FDCWD), os.fsencode(path), ctypes.c_long(_AT_RECURSIVE))
    try:
        kernelcalls.call(
            "syscall", ctypes.c_long(_MOUNT_SETATTR), *where, attributes, ctypes.c_long(32)
        )
    except OSError as error:
        if error.errno == errno.ENOSYS:
            return False
        raise OSError(error.errno, "mount_setattr: %s" % os.strerror(error.errno or 0)) from None
    return True


def mounts_of(text: str) -> List[Tuple[str, str, List[str]]]:
    """(mount point, type, options) of the lines of mountinfo (proc(5))."""
    found = []
    for line in text.splitlines():
        words = line.split(" ")
        if len(words) < 10 or "-" not in words:
            continue
        point = _ESCAPED.sub(lambda found: chr(int(found.group(1), 8)), words[4])
        found.append((point, words[words.index("-") + 1], words[5].split(",")))
    return found


def _flags_of(path: str) -> int:
    """The flags of a mount that a remount has to repeat, as they may be locked."""
    flags = 0
    for point, _, options in mounts_of(kernelcalls.read_text("/proc/self/mountinfo")):
        if point == path:
            flags = sum(_KEPT_FLAGS.get(option, 0) for option in options)
    return flags


def _remount_all(flag: int) -> None:
    for point, kind, options in mounts_of(kernelcalls.read_text("/proc/self/mountinfo")):
        if kind != "autofs" and os.path.exists(point):  # to look at one would mount what it is for
            kept = sum(_KEPT_FLAGS.get(option, 0) for option in options)
            mount("none", point, "", MS_REMOUNT | MS_BIND | flag | kept)
