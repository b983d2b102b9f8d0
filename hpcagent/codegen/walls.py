"""Walls around a program that nobody trusts: namespaces, mounts, privileges, limits.

Each wall is tried and told of as it is: True, or the reason why the node does not have it. What the
kernel offers: namespaces(7), user_namespaces(7), mount(2), mount_setattr(2), prctl(2),
capabilities(7). Runs inside jobs: standard library only, python3 >= 3.6, no program but the kernel.
"""

import ctypes
import errno
import fcntl
import os
import re
import resource
import signal
import socket
import struct
from typing import Any, Callable, Dict, List, Mapping, Sequence, Tuple, Union

# Nothing is imported or looked up late: python's own files may lie where they are covered by then.
_ESCAPED = re.compile(r"\\([0-7]{3})")
Told = Dict[str, Union[bool, str]]

_NAMESPACES = (
    ("mount_namespace", 0x00020000),
    ("network", 0x40000000),
    ("process_namespace", 0x20000000),
    ("ipc_namespace", 0x08000000),
)
CLONE_NEWUSER = 0x10000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 32, 4096, 16384, 1 << 18
_KEPT_FLAGS = {
    "nosuid": MS_NOSUID, "nodev": MS_NODEV, "noexec": MS_NOEXEC,
    "noatime": 1024, "nodiratime": 2048, "relatime": 1 << 21,
}  # fmt: skip
_MOUNT_SETATTR = 442  # the same number on every architecture but alpha
_AT_FDCWD, _AT_RECURSIVE, _ATTR_RDONLY = -100, 0x8000, 1
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_CAPBSET_DROP = 1, 4, 24
PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 36, 38, 47
_CAPABILITY_VERSION = 0x20080522
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
# Folders with sockets of daemons (a read-only mount does not close them) and files of others.
COVERED = ("/run", "/tmp", "/var/tmp")
PRIVATE_TMP = "/tmp"
LEAST_PID_MAX = 400  # the kernel takes none below 301
NO_LIMIT_OF_ROOT = (
    "the kernel does not limit the processes of root; they are counted from time to time"
)
_SWITCHES = (
    ("/proc/sys/user/max_user_namespaces", "0", "user.max_user_namespaces is 0"),
    ("/proc/sys/kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone is 0"),
    (
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "kernel.apparmor_restrict_unprivileged_userns is 1",
    ),
)


def _libc() -> Any:
    return ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: Any) -> None:
    """A function of libc that returns 0; OSError with its name where it does not."""
    if getattr(_libc(), name)(*arguments) != 0:
        code = ctypes.get_errno()
        raise OSError(code, "%s: %s" % (name, os.strerror(code)))


def prctl(option: int, value: int) -> None:
    number = ctypes.c_ulong
    _call("prctl", option, number(value), number(0), number(0), number(0))


def mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    words = [os.fsencode(word) or None for word in (source, target, kind)]
    try:
        _call("mount", *words, ctypes.c_ulong(flags), os.fsencode(data) or None)
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


def _write(path: str, text: str) -> None:
    with open(path, "w") as stream:
        stream.write(text)


# --- namespaces ----------------------------------------------------------------------------------


def _own_user_namespace() -> None:
    uid, gid = os.getuid(), os.getgid()
    _call("unshare", CLONE_NEWUSER)
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", "%d %d 1" % (uid, uid))
    _write("/proc/self/gid_map", "%d %d 1" % (gid, gid))


def _why_no_user_namespace() -> str:
    """Empty: they can be had. Tried in a child, as one that is half made cannot be left again."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        words = ""
        try:
            _own_user_namespace()
        except OSError as error:
            words = "user namespace: %s" % (error.strerror or error)
        os.write(writer, words.encode("utf-8", "replace")[:500])
        os._exit(0)
    os.close(writer)
    words = os.read(reader, 500).decode("utf-8", "replace")
    os.close(reader)
    os.waitpid(child, 0)
    if words:
        for path, value, meaning in _SWITCHES:
            if read_text(path).strip() == value:
                return "%s (%s)" % (words, meaning)
    return words


def read_text(path: str) -> str:
    """Empty where it cannot be read."""
    try:
        with open(path, errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""


def enter_namespaces(told: Told) -> None:
    """New namespaces for the children of this process, as many as the node gives."""
    reason = _why_no_user_namespace()
    if reason:
        told["user_namespace"] = reason
    else:
        tried(told, "user_namespace", _own_user_namespace)
    for name, flag in _NAMESPACES:
        made = tried(told, name, lambda flag=flag: _call("unshare", flag))  # type: ignore[misc]
        if not made and reason and os.getuid() != 0:
            told[name] = reason


def loopback_up() -> None:
    """MPI libraries talk to themselves through it (netdevice(7))."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        request = struct.pack("16sH14s", b"lo", 0x1 | 0x40, b"")  # IFF_UP | IFF_RUNNING
        fcntl.ioctl(link.fileno(), 0x8914, request)  # SIOCSIFFLAGS


def forbid_user_namespaces() -> None:
    """Below this one; another would give the program new privileges over its own mounts."""
    _write("/proc/sys/user/max_user_namespaces", "0")


def bound_processes(most: int) -> None:
    """Of root, whom RLIMIT_NPROC does not bind (setrlimit(2)); needs a /proc of the namespace.

    pid_max belongs to the namespace since Linux 6.14; before, it would be that of the whole node.
    """
    numbers = re.match(r"(\d+)\.(\d+)", os.uname().release)
    if numbers is None or (int(numbers.group(1)), int(numbers.group(2))) < (6, 14):
        raise OSError(errno.ENOSYS, NO_LIMIT_OF_ROOT)
    _write("/proc/sys/kernel/pid_max", str(max(LEAST_PID_MAX, most + 100)))


# --- what is seen of the file system -------------------------------------------------------------


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

    def build(self, told: Told, most_processes: int) -> None:
        """Needs a mount namespace of its own, and notes what it can build.

        `most_processes`: in the namespace of processes; 0: there is none.
        """
        mount("none", "/", "", MS_REC | MS_PRIVATE)
        kept = {path: os.open(path, os.O_PATH) for path in (*self.visible, *self.writable)}
        if most_processes and tried(told, "own_proc", self._proc) and os.getuid() == 0:
            tried(told, "few_processes", lambda: bound_processes(most_processes))
        if not tried(told, "devices", self._dev):
            tried(told, "private_shm", self._shm)
        tried(told, "private_tmp", lambda: self._cover_all(kept))
        tried(told, "hidden", self._hide)
        tried(told, "no_more_namespaces", forbid_user_namespaces)
        tried(told, "read_only", self._read_only)
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
                _write(name, "")
                mount("/proc/self/fd/%d" % handle, name, "", MS_BIND)
                os.close(handle)
            os.mkdir("/dev/shm")
            self._shm()
        except OSError:
            _call("umount2", b"/dev", 2)  # MNT_DETACH: programs need what was there before
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
        _write(path, "")


def _set_read_only(path: str) -> bool:
    """With all that is mounted below it; False: the kernel is older than 5.12."""
    attributes = struct.pack("QQQQ", _ATTR_RDONLY, 0, 0, 0)
    where = (ctypes.c_long(_AT_FDCWD), os.fsencode(path), ctypes.c_long(_AT_RECURSIVE))
    try:
        _call("syscall", ctypes.c_long(_MOUNT_SETATTR), *where, attributes, ctypes.c_long(32))
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
    for point, _, options in mounts_of(read_text("/proc/self/mountinfo")):
        if point == path:
            flags = sum(_KEPT_FLAGS.get(option, 0) for option in options)
    return flags


def _remount_all(flag: int) -> None:
    for point, kind, options in mounts_of(read_text("/proc/self/mountinfo")):
        if kind != "autofs" and os.path.exists(point):  # to look at one would mount what it is for
            kept = sum(_KEPT_FLAGS.get(option, 0) for option in options)
            mount("none", point, "", MS_REMOUNT | MS_BIND | flag | kept)


# --- what the program itself may do --------------------------------------------------------------


def drop_capabilities() -> None:
    """All of them, also those that exec would give to root (capabilities(7))."""
    last = int(read_text("/proc/sys/kernel/cap_last_cap") or 40)
    for number in range(last + 1):
        try:
            prctl(PR_CAPBSET_DROP, number)
        except OSError as error:
            if error.errno != errno.EPERM:
                raise
            break  # without privileges there is nothing that exec could give
    header = struct.pack("Ii", _CAPABILITY_VERSION, 0)
    _call("capset", header, struct.pack("6I", 0, 0, 0, 0, 0, 0))


def limit_resources(limits: Mapping[str, int]) -> None:
    """Limits of getrlimit(2) by name; a hard one that is lower already stays."""
    for name, value in limits.items():
        number = getattr(resource, "RLIMIT_" + name)
        hard = resource.getrlimit(number)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        ceiling = value + 2 if name == "CPU" and hard == resource.RLIM_INFINITY else value
        resource.setrlimit(number, (value, ceiling))


def die_with_parent() -> None:
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def close_all_but(kept: Sequence[int]) -> None:
    """Every other descriptor: one of a folder would lead around the walls."""
    try:
        found = [int(name) for name in os.listdir("/proc/self/fd")]
    except OSError:
        found = list(range(4096))
    for number in found:
        if number not in kept:
            try:
                os.close(number)
            except OSError:
                continue
