"""Runs a user's function within limits: started by `function_call`, standard library only.

Two processes. The outer one runs no code of the user: it adopts whatever the inner one leaves
behind (prctl(2), PR_SET_CHILD_SUBREAPER), ends all of it, and tells how the inner one ended. The
inner one limits itself, calls the function and writes its answer.

    function_child.py REQUEST(JSON on stdin)  argv: FILE ENTRY ANSWER_FD STATUS_FD SECONDS MEMORY
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
import time
from contextlib import suppress
from typing import Any

FILE_BYTES = 64 * 1024 * 1024  # the largest file that the function may write
TASKS = 256  # processes and threads beyond those that the machine has already
END_S = 3.0  # for ending what is left
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000  # sched.h


def main(argv: list[str]) -> int:
    path, entry, answer, status, seconds, memory = argv
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    request = json.load(sys.stdin.buffer)
    inner = os.fork()
    if inner == 0:
        os.close(int(status))
        _limited(libc, int(float(seconds)) + 1, int(memory))
        _answer(path, entry, request, int(answer))
        os._exit(0)
    os.close(int(answer))
    told = _wait(inner, float(seconds))
    _end_all()
    os.write(int(status), json.dumps(told).encode("ascii"))
    return 0


# --- outside ---------------------------------------------------------------------------------


def _wait(inner: int, seconds: float) -> dict[str, Any]:
    """How the inner process ended; it is stopped when its time is over or on SIGTERM."""
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: stopped.append(number))
    deadline = time.monotonic() + seconds
    while True:
        pid, code = os.waitpid(inner, os.WNOHANG)
        if pid == inner:
            return {"code": os.waitstatus_to_exitcode(code)}
        if stopped or time.monotonic() > deadline:
            return {"timeout": not stopped}
        time.sleep(0.005)


def _end_all() -> None:
    """Kill all descendants; orphans come to this process, so that none can hide."""
    deadline = time.monotonic() + END_S
    while time.monotonic() < deadline:
        for kind in (signal.SIGSTOP, signal.SIGKILL):
            for pid in _descendants():
                with suppress(ProcessLookupError):
                    os.kill(pid, kind)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return


def _descendants() -> list[int]:
    parents: dict[int, int] = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError, ValueError, IndexError):
            with open(f"/proc/{name}/stat", "rb") as stream:
                # The name in brackets may hold anything: proc(5).
                parents[int(name)] = int(stream.read().rpartition(b")")[2].split()[1])
    found: set[int] = set()
    last = {os.getpid()}
    while last:
        last = {pid for pid, parent in parents.items() if parent in last} - found
        found |= last
    return sorted(found)


# --- inside ----------------------------------------------------------------------------------


def _limited(libc: Any, seconds: int, memory: int) -> None:
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    _without_network(libc)
    with open("/proc/loadavg") as stream:
        tasks = int(stream.read().split()[3].partition("/")[2])
    for kind, most in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, FILE_BYTES),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, tasks + TASKS),
    ):
        hard = resource.getrlimit(kind)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, most))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)


def _without_network(libc: Any) -> None:
    """A network namespace of its own where the kernel gives one; else nothing changes."""
    user, group = os.getuid(), os.getgid()
    if user == 0:
        libc.unshare(_CLONE_NEWNET)
        return
    if libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) != 0:
        return
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{user} {user} 1"),
        ("gid_map", f"{group} {group} 1"),
    ):
        with suppress(OSError), open(f"/proc/self/{name}", "w") as stream:
            stream.write(text)


def _answer(path: str, entry: str, request: dict[str, Any], answer: int) -> None:
    """What the function raises ends this process with a traceback, which the caller reads."""
    sys.path.insert(0, os.path.dirname(path))
    sys.argv = [path]
    with open(path, "rb") as stream:
        code = compile(stream.read(), path, "exec")
    names: dict[str, Any] = {"__name__": "hpcagent_function", "__file__": path}
    exec(code, names)
    value = names[entry](request["space"], request["history"])
    data = json.dumps({"value": value}, allow_nan=False).encode("ascii")
    sys.stdout.flush()
    sys.stderr.flush()
    while data:
        data = data[os.write(answer, data) :]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
