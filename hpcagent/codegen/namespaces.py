"""Namespaces of their own for the children of a process, and what belongs into them.

namespaces(7), user_namespaces(7). Runs inside jobs: standard library only, python3 >= 3.6.
"""

import errno
import fcntl
import os
import re
import socket
import struct

if __package__:
    from hpcagent.codegen import kernelcalls
else:
    import kernelcalls  # type: ignore[import-not-found,no-redef]

_NAMESPACES = (
    ("mount_namespace", 0x00020000),
    ("network", 0x40000000),
    ("process_namespace", 0x20000000),
    ("ipc_namespace", 0x08000000),
)
CLONE_NEWUSER = 0x10000000
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


def _own_user_namespace() -> None:
    uid, gid = os.getuid(), os.getgid()
    kernelcalls.call("unshare", CLONE_NEWUSER)
    kernelcalls.write_text("/proc/self/setgroups", "deny")
    kernelcalls.write_text("/proc/self/uid_map", "%d %d 1" % (uid, uid))
    kernelcalls.write_text("/proc/self/gid_map", "%d %d 1" % (gid, gid))


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
            if kernelcalls.read_text(path).strip() == value:
                return "%s (%s)" % (words, meaning)
    return words


def enter_namespaces(told: kernelcalls.Told) -> None:
    """New namespaces for the children of this process, as many as the node gives."""
    reason = _why_no_user_namespace()
    if reason:
        told["user_namespace"] = reason
    else:
        kernelcalls.tried(told, "user_namespace", _own_user_namespace)
    for name, flag in _NAMESPACES:
        made = kernelcalls.tried(told, name, lambda flag=flag: kernelcalls.call("unshare", flag))  # type: ignore[misc]
        if not made and reason and os.getuid() != 0:
            told[name] = reason


def loopback_up() -> None:
    """MPI libraries talk to themselves through it (netdevice(7))."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        request = struct.pack("16sH14s", b"lo", 0x1 | 0x40, b"")  # IFF_UP | IFF_RUNNING
        fcntl.ioctl(link.fileno(), 0x8914, request)  # SIOCSIFFLAGS


def forbid_user_namespaces() -> None:
    """Below this one; another would give the program new privileges over its own mounts."""
    kernelcalls.write_text("/proc/sys/user/max_user_namespaces", "0")


def bound_processes(most: int) -> None:
    """Of root, whom RLIMIT_NPROC does not bind (setrlimit(2)); needs a /proc of the namespace.

    pid_max belongs to the namespace since Linux 6.14; before, it would be that of the whole node.
    """
    numbers = re.match(r"(\d+)\.(\d+)", os.uname().release)
    if numbers is None or (int(numbers.group(1)), int(numbers.group(2))) < (6, 14):
        raise OSError(errno.ENOSYS, NO_LIMIT_OF_ROOT)
    kernelcalls.write_text("/proc/sys/kernel/pid_max", str(max(LEAST_PID_MAX, most + 100)))
