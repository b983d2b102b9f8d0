"""What a quarantined program may have: the checked SPEC.json of quarantine.py, limits, environment.

Runs inside jobs: standard library only, python3 >= 3.6.
"""

import math
import os
from typing import Any, Dict, Mapping

if __package__:
    from hpcagent.codegen import callfilter, watch
else:
    import callfilter  # type: ignore[import-not-found,no-redef]
    import watch  # type: ignore[import-not-found,no-redef]


LIMITS = {
    "wall_s": 60.0,
    "cpu_s": 120.0,
    "memory_bytes": float(2 << 30),
    "output_bytes": float(1 << 20),
    "file_bytes": float(256 << 20),
    "processes": 64.0,
}
PATH = "/usr/local/bin:/usr/bin:/bin"
TAIL_BYTES = 16384
_OPEN_FILES, _SPARE_TASKS = 1024, 16
_MPI = {  # mpirun of Open MPI refuses root without these two (mpirun(1))
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
}


class Spec:
    """What SPEC.json asks for. Raises KeyError, TypeError or ValueError."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.argv = [str(word) for word in data["argv"]]
        self.cwd = os.path.realpath(str(data["cwd"]))
        self.env = {str(key): str(value) for key, value in (data.get("env") or {}).items()}
        self.lists = {
            name: [str(path) for path in data.get(name) or []]
            for name in ("writable", "visible", "hidden", "devices")
        }
        given = dict(data.get("limits") or {})
        self.address_bytes = given.pop("address_bytes", None)
        self.limits = dict(LIMITS, **{str(k): float(v) for k, v in given.items()})
        self.stdin_file = str(data.get("stdin_file") or os.devnull)
        self.pass_fds = [int(number) for number in data.get("pass_fds") or []]
        self.tail_bytes = int(data.get("tail_bytes") or TAIL_BYTES)
        self.calls = str(data.get("calls") or callfilter.TOOLS)
        if not self.argv or not self.argv[0]:
            raise ValueError("argv: there is no program")
        for name, value in self.limits.items():
            if name not in LIMITS or not 0 < value < math.inf:
                raise ValueError("limits: %s %r: they are %s, each above 0" % (name, value, LIMITS))
        if self.calls not in callfilter.KINDS:
            raise ValueError("calls: %r is none of %s" % (self.calls, ", ".join(callfilter.KINDS)))
        missing = [p for p in (self.cwd, *self.lists["writable"]) if not os.path.isdir(p)]
        if missing:
            raise ValueError("%s: there is no such folder" % missing[0])

    @property
    def address(self) -> int:
        """Bytes; 0: no limit. Allocators and threads reserve much more than they use."""
        if self.address_bytes is None:
            return int(4 * self.limits["memory_bytes"]) + (4 << 30)
        return int(self.address_bytes)


def environment(spec: Spec, scratch: str) -> Dict[str, str]:
    base = {"PATH": PATH, "LANG": "C", "HOME": scratch, "TMPDIR": scratch, "TMP": scratch}
    return dict(base, **_MPI, **spec.env)


def kernel_limits(spec: Spec) -> Dict[str, int]:
    """For setrlimit(2): each a little above what the supervisor looks for, so that it can tell."""
    found = {
        "CORE": 0,
        "NOFILE": _OPEN_FILES,
        "CPU": math.ceil(spec.limits["cpu_s"]) + 1,
        "FSIZE": int(spec.limits["file_bytes"]),
        "NPROC": _tasks_of_user() + int(spec.limits["processes"]) + _SPARE_TASKS,
    }
    if spec.address:
        found["AS"] = spec.address
    return found


def _tasks_of_user() -> int:
    """What the limit on processes counts already: the user's on this node, in all namespaces."""
    uid, count = os.getuid(), 0
    for name in os.listdir("/proc"):
        try:
            if name.isdigit() and os.stat("/proc/" + name).st_uid == uid:
                count += int((watch.stat_fields(int(name)) or ["0"] * 18)[17])
        except OSError:
            continue
    return count
