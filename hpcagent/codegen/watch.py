"""What the processes below one use, and their end: by proc(5), with no signal to anybody else.

Runs inside jobs: standard library only, python3 >= 3.6.
"""

import ctypes
import os
import signal
import time
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

PAGE = os.sysconf("SC_PAGE_SIZE")
TICK = os.sysconf("SC_CLK_TCK")
PIDFD_SEND_SIGNAL, PIDFD_OPEN = 424, 434  # the same on every architecture but alpha
SWEEPS = 20
MAX_FILES = 20000  # looked at in a writable folder


class Use(NamedTuple):
    """Together, of the processes below one: `tasks` counts threads, zombies not."""

    tasks: int
    cpu_s: float
    memory_bytes: int


def own_number() -> int:
    """This process as /proc calls it, which may be that of an outer namespace."""
    return int(os.readlink("/proc/self"))


def below(root: int, most: int = 1 << 30) -> List[int]:
    """The processes below one, itself left out; the search ends when there are more than `most`.

    Without CONFIG_PROC_CHILDREN by looking at all that there are.
    """
    listed = _listed()
    parents = {} if listed else _by_parents()  # type: Dict[int, List[int]]
    found, waiting = [], [root]  # type: List[int], List[int]
    while waiting and len(found) <= most:
        pid = waiting.pop()
        more = _children(pid) if listed else parents.get(pid, [])
        found += more
        waiting += more
    return found


def _listed() -> bool:
    me = own_number()
    return os.path.exists("/proc/%d/task/%d/children" % (me, me))


def _children(pid: int) -> List[int]:
    found = []  # type: List[int]
    folder = "/proc/%d/task" % pid
    try:
        for thread in os.listdir(folder):
            with open("%s/%s/children" % (folder, thread)) as stream:
                found += [int(word) for word in stream.read().split()]
    except (OSError, ValueError):
        return found
    return found


def _by_parents() -> Dict[int, List[int]]:
    found = {}  # type: Dict[int, List[int]]
    for name in os.listdir("/proc"):
        fields = stat_fields(int(name)) if name.isdigit() else []
        if fields:
            found.setdefault(int(fields[1]), []).append(int(name))
    return found


def stat_fields(pid: int) -> List[str]:
    """The fields of /proc/PID/stat behind the name, state first; empty where it is gone."""
    try:
        with open("/proc/%d/stat" % pid, "rb") as stream:
            text = stream.read()
    except OSError:
        return []
    return text[text.rfind(b")") + 2 :].decode("latin-1").split()


def use_of(pids: Sequence[int]) -> Use:
    """Memory that only they have (anonymous, swapped), and the largest share of a shared one."""
    tasks, ticks, own, shared = 0, 0, 0, 0
    for pid in pids:
        fields = stat_fields(pid)
        if len(fields) < 22:
            continue
        ticks += sum(int(fields[number]) for number in (11, 12, 13, 14))
        if fields[0] in "ZX":
            continue
        tasks += int(fields[17])
        private, common = _memory(pid)
        own += private
        shared = max(shared, common)
    return Use(tasks, ticks / TICK, own + shared)


def _memory(pid: int) -> Tuple[int, int]:
    """(private bytes, shared bytes) of a process, by status."""
    try:
        with open("/proc/%d/status" % pid, "rb") as stream:
            lines = stream.read().split(b"\n")
    except OSError:
        return 0, 0
    found = {}
    for line in lines:
        name, _, value = line.partition(b":")
        if name in (b"RssAnon", b"VmSwap", b"RssShmem"):
            found[name] = int(value.split()[0]) * 1024
    return found.get(b"RssAnon", 0) + found.get(b"VmSwap", 0), found.get(b"RssShmem", 0)


def written_bytes(folders: Sequence[str], until: float) -> int:
    """What the files in the folders take on disk; what is not looked at by `until` is left out."""
    total, seen = 0, 0
    waiting = list(folders)
    while waiting and seen < MAX_FILES and time.monotonic() < until:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    seen += 1
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    else:
                        total += entry.stat(follow_symlinks=False).st_blocks * 512
        except OSError:
            continue
    return total


def end_all(only_ours: bool, until: float) -> int:
    """Kill and reap whatever is left below this process; how many there were.

    `only_ours`: nobody else is in the namespace of processes, so that the kernel finds them all at
    once. Otherwise all are stopped first (who cannot run cannot fork), then killed; those that have
    lost their parent come up to this process, a subreaper.
    """
    count = 0
    while time.monotonic() < until:
        kill_all(only_ours)
        ended = _reap()
        if ended is None:
            return count
        count += ended
        time.sleep(0.001)
    return count


def kill_all(only_ours: bool) -> None:
    """Everything below this process."""
    if only_ours:
        _signal_all()
        return
    for _ in range(SWEEPS):
        if not _sweep(signal.SIGSTOP):
            break
    _sweep(signal.SIGKILL)


def _signal_all() -> None:
    try:
        os.kill(-1, signal.SIGKILL)
    except OSError:
        return


def _sweep(number: int) -> bool:
    """Send it to each below this process that is not stopped yet; whether there was one."""
    me, found = own_number(), False
    if me != os.getpid():
        return False  # numbers of another namespace of processes
    for pid in below(me):
        fields = stat_fields(pid)
        if fields and fields[0] not in "ZX" and (number == signal.SIGKILL or fields[0] != "T"):
            found = True
            _send(pid, int(fields[1]) == me, fields, number)
    return found


def _send(pid: int, child: bool, fields: Sequence[str], number: int) -> None:
    """A number of a child that was not waited for is still its own; of others a pidfd makes sure.

    pidfd_open(2), pidfd_send_signal(2): Linux 5.3; on older kernels only children are signalled.
    """
    try:
        if child:
            os.kill(pid, number)
            return
        handle = _syscall(PIDFD_OPEN, pid, 0)
        try:
            if stat_fields(pid)[19:20] == fields[19:20]:  # the time when it was started
                _syscall(PIDFD_SEND_SIGNAL, handle, number, 0, 0)
        finally:
            os.close(handle)
    except OSError:
        return


def _syscall(number: int, *arguments: int) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    result = libc.syscall(ctypes.c_long(number), *(ctypes.c_long(value) for value in arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return int(result)


def _reap() -> Optional[int]:
    """How many of those that have ended were killed; None: there is none left to wait for."""
    count = 0
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return None if count == 0 else count
        if pid == 0:
            return count
        count += os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
