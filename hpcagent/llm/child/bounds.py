"""What this process may not do, and how long and large a piece of work in it may become."""

from __future__ import annotations

import contextlib
import ctypes
import resource
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from hpcagent.probe.procfs import parse_kib_field

_PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 4, 38  # prctl(2)
# Events of Python's audit table.
_SOCKETS = ("socket.__new__",)
_PROGRAMS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty")
_FORBIDDEN = frozenset((*_SOCKETS, *_PROGRAMS))


class TooLong(Exception):
    """The piece of work did not end in its time."""


def isolate() -> None:
    """No core dump and no debugger, no sockets and no programs from Python.

    RLIMIT_CORE does not hold where cores go to a pipe (core(5)): a process that is not dumpable
    leaves none at all, and only root can attach to it. The hook is a net below the sandbox of the
    chat templates, not a wall. There is no death signal: it would come when the thread that
    started this process ends, not its process; the end of stdin tells that. RLIMIT_AS is left
    alone, as weights are mapped and GPU drivers reserve more addresses than there is memory.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    libc = ctypes.CDLL(None)
    for option, value in ((_PR_SET_DUMPABLE, 0), (_PR_SET_NO_NEW_PRIVS, 1)):
        libc.prctl(option, *map(ctypes.c_ulong, (value, 0, 0, 0)))
    sys.addaudithook(_refuse)


def _refuse(event: str, arguments: tuple[object, ...]) -> None:
    if event in _FORBIDDEN:
        raise PermissionError(f"{event} is not for the process of a model")


@contextlib.contextmanager
def within(cpu_s: float, more_bytes: int) -> Iterator[None]:
    """Python code in this block ends with TooLong or MemoryError beyond its bounds.

    For the main thread only, as signals are. `more_bytes` come on top of what is used already. One
    step of the interpreter that takes much longer (a power of large numbers) hears no signal: then
    SIGVTALRM ends the process. Both timers count from now; RLIMIT_CPU would have to be told by a
    clock from the start of the process, and the kernel's own (ticks) was seen 5 % ahead of the one
    that can be read (getrusage, CLOCK_PROCESS_CPUTIME_ID) on a busy machine.
    """
    data = resource.getrlimit(resource.RLIMIT_DATA)
    used = parse_kib_field(Path("/proc/self/status").read_text(encoding="utf-8"), "VmData") or 0
    handled = signal.signal(signal.SIGPROF, _too_long)
    ended = signal.signal(signal.SIGVTALRM, signal.SIG_DFL)
    try:
        resource.setrlimit(resource.RLIMIT_DATA, (_lower(used + more_bytes, data), data[1]))
        signal.setitimer(signal.ITIMER_PROF, cpu_s)
        signal.setitimer(signal.ITIMER_VIRTUAL, 2 * cpu_s + 1)
        yield
    finally:
        signal.signal(signal.SIGPROF, signal.SIG_IGN)  # one that comes now is late
        for timer in (signal.ITIMER_VIRTUAL, signal.ITIMER_PROF):
            signal.setitimer(timer, 0)
        signal.signal(signal.SIGPROF, handled)
        signal.signal(signal.SIGVTALRM, ended)
        resource.setrlimit(resource.RLIMIT_DATA, data)


def _lower(wanted: int, limits: tuple[int, int]) -> int:
    return min([wanted, *(limit for limit in limits if limit != resource.RLIM_INFINITY)])


def _too_long(number: int, frame: FrameType | None) -> None:
    raise TooLong("it does not end in time")
