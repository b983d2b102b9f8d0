"""Runs a user's function within limits: started by `function_call`, standard library only.

Two processes. The outer one runs no code of the user: it adopts whatever the inner one leaves
behind (prctl(2), PR_SET_CHILD_SUBREAPER), ends all of it, and tells how the inner one ended. The
inner one limits itself, calls the function and writes its answer: JSON with `value` (and `odd`,
what of it JSON cannot hold, left out of it), or `raised` and `place`.

    function_child.py REQUEST(JSON on stdin)  argv: FILE ENTRY ANSWER_FD STATUS_FD SECONDS MEMORY
"""

from __future__ import annotations

import ctypes
import json
import math
import os
import re
import reprlib
import resource
import signal
import sys
import time
from contextlib import suppress
from typing import Any

FILE_BYTES = 64 * 1024 * 1024  # the largest file that the function may write
TASKS = 256  # processes and threads beyond those that the machine has already
END_S = 3.0  # for ending what is left
ODD = 4  # parts that are named of those that JSON cannot hold
DEEPEST = 60  # of lists and dicts in each other
SHOWN = 120  # characters of a name or a value
INTEGER_BITS = 1024
_LEFT_OUT = object()
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
    """What the function raises ends this process with a traceback, and is told beside it."""

    here = os.getpid()

    def raised(kind: type[BaseException], error: BaseException, trace: Any) -> None:
        if os.getpid() == here:  # and not in what the function forked
            _write(answer, _told(kind, error, trace))
        sys.__excepthook__(kind, error, trace)

    sys.excepthook = raised
    sys.path.insert(0, os.path.dirname(path))
    sys.argv = [path]
    with open(path, "rb") as stream:
        code = compile(stream.read(), path, "exec")
    names: dict[str, Any] = {"__name__": "hpcagent_function", "__file__": path}
    exec(code, names)
    told = _returned(names[entry](request["space"], request["history"]))
    sys.stdout.flush()
    sys.stderr.flush()
    _write(answer, told)


def _write(answer: int, told: dict[str, Any]) -> None:
    data = json.dumps(told, allow_nan=False).encode("ascii")
    while data:
        data = data[os.write(answer, data) :]


def _told(kind: type[BaseException], error: BaseException, trace: Any) -> dict[str, Any]:
    """The class with the first line of the text, and the place that the traceback ends at."""
    try:
        lines = [line for line in str(error).splitlines() if line.strip()]
    except Exception:  # noqa: BLE001 - the text of an exception is code of the user's
        lines = []
    own = kind.__module__ in ("builtins", "hpcagent_function")
    name = kind.__qualname__ if own else f"{kind.__module__}.{kind.__qualname__}"
    first = lines[0].strip() if lines else ""
    words = f"{name[:60]}{': ' if lines else ''}{first[:160]}"
    if len(lines) > 1 or len(first) > 160:
        words += " ..."
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    at = (trace.tb_frame.f_code.co_filename, trace.tb_lineno) if trace is not None else ("", 0)
    if isinstance(error, SyntaxError) and error.filename:
        at = (error.filename, error.lineno or 0)
    return {"raised": words, "place": f"{os.path.basename(at[0])[-40:]}, line {at[1]}"}


def _returned(value: Any) -> dict[str, Any]:
    odd: list[tuple[str, str]] = []
    plain = _plain(value, "", (), odd)
    if not odd:
        return {"value": plain}
    return {"value": None if plain is _LEFT_OUT else plain, "odd": odd, "shown": _shown(value)}


def _plain(value: Any, name: str, inside: tuple[int, ...], odd: list[tuple[str, str]]) -> Any:
    """What JSON can hold of it; names and looks of some of the other parts go to `odd`."""
    if value is None or isinstance(value, str) or _is_number(value):
        return value
    if isinstance(value, dict | list | tuple) and id(value) not in inside and len(inside) < DEEPEST:
        inside = (*inside, id(value))
        parts = value.items() if isinstance(value, dict) else enumerate(value)
        named = [(_key(key), part) for key, part in parts]
        found = [(key, _plain(part, _within(name, key), inside, odd)) for key, part in named]
        kept = [(key, plain) for key, plain in found if plain is not _LEFT_OUT]
        return dict(kept) if isinstance(value, dict) else [plain for _, plain in kept]
    if len(odd) < ODD:
        odd.append((name, _shown(value)))
    return _LEFT_OUT


def _is_number(value: Any) -> bool:
    if isinstance(value, int):
        return value.bit_length() <= INTEGER_BITS
    return isinstance(value, float) and math.isfinite(value)


def _key(key: Any) -> str:
    if isinstance(key, str):
        return key
    return str(key) if isinstance(key, int) and _is_number(key) else _shown(key)


def _within(name: str, key: str) -> str:
    return (f"{name}.{key}" if name else key)[:SHOWN]


def _shown(value: Any) -> str:
    """What it looks like, whatever it is; without its address, which is another in each process."""
    short = reprlib.Repr()
    short.maxother = short.maxstring = SHOWN
    try:
        text = short.repr(value)
    except Exception:  # noqa: BLE001 - what an object shows of itself is code of the user's
        text = f"<{type(value).__name__}>"
    return re.sub(r" at 0x[0-9a-f]+", "", text)[:SHOWN]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
