"""What the processes below one use, and their end: by proc(5), with no signal to anybody else.

Runs inside jobs: standard library only, python3 >= 3.6.
"""

import os
import signal
import time
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

PAGE = os.sysconf("SC_PAGE_SIZE")
TICK = os.sysconf("SC_CLK_TCK")
MAX_FILES = 20000  # looked at in a writable folder


class Use(NamedTuple):
    """Together, of the processes below one: `tasks` counts threads, zombies not."""

    tasks: int
    cpu_s: float
    memory_bytes: int


def own_number() -> int:
    """This process as /proc calls it, which may be that of an outer namespace."""
    return int(os.readlink("/proc/self"))


def below(root: int) -> List[int]:
    """The processes below one, itself left out; without CONFIG_PROC_CHILDREN by looking at all."""
    listed = _listed()
    parents = {} if listed else _by_parents()  # type: Dict[int, List[int]]
    found, waiting = [], [root]  # type: List[int], List[int]
    while waiting:
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

    `only_ours`: nobody else is in the namespace of processes, so that the kernel finds them all.
    Otherwise only children that were not waited for are signalled, whose numbers cannot have gone
    to others; theirs come up to this process, a subreaper, as they end.
    """
    count = 0
    while time.monotonic() < until:
        if only_ours:
            _kill(-1)
        else:
            me = os.getpid()
            for pid in _children(me) if _listed() else _by_parents().get(me, []):
                _kill(pid)
        ended = _reap_one(until)
        if ended is None:
            return count
        count += ended
    return count


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except OSError:
        return


def _reap_one(until: float) -> Optional[int]:
    """1: one has ended, 0: not yet; None: there is none left."""
    try:
        pid, status = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return None
    if pid == 0:
        time.sleep(0.001)
        return 0
    return 1 if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL else 0
