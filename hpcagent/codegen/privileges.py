"""What a program itself may do: capabilities, limits of resources, open files.

capabilities(7), getrlimit(2), prctl(2). Runs inside jobs: standard library only, python3 >= 3.6.
"""

import errno
import os
import resource
import signal
import struct
from typing import Mapping, Sequence

if __package__:
    from hpcagent.codegen import kernelcalls
else:
    import kernelcalls  # type: ignore[import-not-found,no-redef]

_CAPABILITY_VERSION = 0x20080522


def drop_capabilities() -> None:
    """All of them, also those that exec would give to root (capabilities(7))."""
    last = int(kernelcalls.read_text("/proc/sys/kernel/cap_last_cap") or 40)
    for number in range(last + 1):
        try:
            kernelcalls.prctl(kernelcalls.PR_CAPBSET_DROP, number)
        except OSError as error:
            if error.errno != errno.EPERM:
                raise
            break  # without privileges there is nothing that exec could give
    header = struct.pack("Ii", _CAPABILITY_VERSION, 0)
    kernelcalls.call("capset", header, struct.pack("6I", 0, 0, 0, 0, 0, 0))


def limit_resources(limits: Mapping[str, int]) -> None:
    """Limits of getrlimit(2) by name; a hard one that is lower already stays."""
    for name, value in limits.items():
        number = getattr(resource, "RLIMIT_" + name)
        hard = resource.getrlimit(number)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        ceiling = value + 2 if name == "CPU" and hard == resource.RLIM_INFINITY else value
        resource.setrlimit(number, (value, ceiling))


def die_with_parent() -> None:
    kernelcalls.prctl(kernelcalls.PR_SET_PDEATHSIG, signal.SIGKILL)


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
