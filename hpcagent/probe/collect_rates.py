"""Memory bandwidth and floating-point rate of this node: nodebench.c, compiled and run here.

Called by collect_node.py, beside which this file and nodebench.c lie, where a request says
"measure": for some seconds all allowed CPUs are busy. python3 >= 3.6, standard library.
"""

import glob
import os
import re
import resource
import tempfile
import time
from typing import Any, Callable, Dict, List, Tuple

Run = Callable[..., Dict[str, Any]]

CPU = "/sys/devices/system/cpu/"
TRIAD_S, FLOPS_S, LIMIT_S = 2.0, 1.0, 10
COMPILE_S = 60.0  # for all compilers and flags together
FLAGS = [["-O3", "-march=native"], ["-O3", "-mcpu=native"], ["-O2"]]
# Touching memory for the first time costs a second or more a GiB and CPU in a virtual machine.
BYTES_A_CPU = 256 << 20


def measure(request: Dict[str, Any], run: Run) -> Dict[str, Any]:
    """nodebench.c, compiled and run here; each run's record beside how it was compiled."""
    source = read_text(os.path.join(os.path.dirname(os.path.abspath(__file__)), "nodebench.c"))
    if not isinstance(source, str):
        return {"problem": "no nodebench.c beside collect_rates.py"}
    try:
        # In the run directory: /tmp may be mounted noexec.
        with tempfile.TemporaryDirectory(prefix=".measure-", dir=os.getcwd()) as folder:
            with open(os.path.join(folder, "nodebench.c"), "w", encoding="utf-8") as stream:
                stream.write(source)
            return measure_in(folder, request, run)
    except OSError as error:
        return {"problem": error.strerror or str(error)}


def measure_in(folder: str, request: Dict[str, Any], run: Run) -> Dict[str, Any]:
    facts = request.get("facts") or {}
    program, compiled = compile_in(folder, facts, run)
    if not program:
        return {"compile": compiled, "problem": "no C compiler could compile nodebench.c"}
    cpus = [str(cpu) for cpu in usable_cpus(facts)]
    room = memory_rooms(facts)[0]
    cache, size, wished = array_bytes(room[0], len(cpus))
    limit = str(LIMIT_S)
    runs = {
        "triad": ["triad", str(TRIAD_S), limit, str(size), *cpus],
        "double_one": ["double", str(FLOPS_S), limit, cpus[0]],
        "double_all": ["double", str(FLOPS_S), limit, *cpus],
        "float_all": ["float", str(FLOPS_S), limit, *cpus],
    }
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    known = {"t_utc": when, "cpus": cpus, "cache_bytes": cache, "load": read_text("/proc/loadavg")}
    if size < wished:
        known["small"] = "%s leaves %d MiB" % (room[1], room[0] >> 20)
    if size < wished and 3 * size <= cache:
        del runs["triad"]  # it would be the rate of the caches
    records = {name: run([program, *argv], LIMIT_S + 5.0) for name, argv in runs.items()}
    return dict(known, compile=compiled, runs=records)


def compile_in(folder: str, facts: Dict[str, Any], run: Run) -> Tuple[str, List[Dict[str, Any]]]:
    """The program's path and what compiled it; an empty path where nothing could."""
    found = [x for x in facts.get("compilers") or [] if x.get("language") == "c"]
    order = {"gcc": 0, "clang": 1, "cc": 2}
    found.sort(key=lambda x: order.get(os.path.basename(x["command"]), 3))
    tried = []  # type: List[Dict[str, Any]]
    end = time.monotonic() + COMPILE_S
    program = os.path.join(folder, "nodebench")
    source = os.path.join(folder, "nodebench.c")
    for compiler in found[:3]:
        for flags in FLAGS:
            argv = [compiler["path"], "-std=gnu11", *flags, "-pthread", "-o", program, source]
            record = run(argv, max(1.0, end - time.monotonic()))
            shown = [word for word in argv if not word.startswith(folder) and word != "-o"]
            tried.append(dict(record, argv=shown, stderr=record["stderr"][-2000:]))
            if record["exit"] == 0 and os.access(program, os.X_OK):
                return program, tried
    return "", tried


def usable_cpus(facts: Dict[str, Any]) -> List[int]:
    """The affinity mask, cut to the number of CPUs that a cgroup quota pays for."""
    cpus = sorted(os.sched_getaffinity(0))
    quotas = []
    for path, text in (facts.get("files") or {}).items():
        words = text.split() if isinstance(text, str) else []
        if path.endswith("/cpu.max") and len(words) == 2 and words[0].isdigit():
            quotas.append(int(words[0]) / float(words[1]))
        period = str((facts.get("files") or {}).get(path.replace("quota_us", "period_us"))).strip()
        if path.endswith("/cpu.cfs_quota_us") and words[:1] != ["-1"] and period.isdigit():
            quotas.append(int(words[0]) / float(period))
    return cpus[: max(1, int(min([len(cpus), *quotas])))]


def array_bytes(room: int, cpus: int) -> Tuple[int, int, int]:
    """(last-level cache in all, bytes of one array, what these would be were memory no matter).

    Wished are four times the caches; all three arrays together take no more than the room.
    """
    caches = {}  # type: Dict[Tuple[int, str], int]
    for folder in glob.glob(CPU + "cpu[0-9]*/cache/index[0-9]*"):
        level, size, shared = (
            str(read_text(os.path.join(folder, x))).strip()
            for x in ("level", "size", "shared_cpu_list")
        )
        if level.isdigit() and re.match(r"[0-9]+K\Z", size):
            caches[int(level), shared] = int(size[:-1]) * 1024
    last = max([level for level, _ in caches] or [0])
    cache = sum(size for (level, _), size in caches.items() if level == last)
    wished = whole_pages(min(max(4 * cache, 64 << 20), BYTES_A_CPU * cpus))
    return cache, min(wished, whole_pages(room // 3)), wished


def whole_pages(size: int) -> int:
    return max(1 << 20, size // 4096 * 4096)


def memory_rooms(facts: Dict[str, Any]) -> List[Tuple[int, str]]:
    """(bytes that all arrays may take, what says so), the least first.

    A quarter of what is free, as others use the node too; half of what is this job's or process's
    alone: by its cgroup, by Slurm, which may kill what takes more (OverMemoryKill), by a ulimit.
    """
    found = re.search(r"^MemAvailable: *([0-9]+) kB", str(read_text("/proc/meminfo")), re.MULTILINE)
    rooms = [((int(found.group(1)) * 1024 if found else 1 << 30) // 4, "MemAvailable")]
    for path, text in (facts.get("files") or {}).items():
        if path.endswith(("/memory.max", "/memory.limit_in_bytes")) and str(text).strip().isdigit():
            rooms.append((int(text) // 2, "the cgroup's " + os.path.basename(path)))
    whole, each, cpus = (
        whole_number(os.environ.get("SLURM_" + name))
        for name in ("MEM_PER_NODE", "MEM_PER_CPU", "CPUS_ON_NODE")
    )
    rooms += [(whole << 19, "SLURM_MEM_PER_NODE")] if whole else []
    rooms += [(each * max(1, cpus) << 19, "SLURM_MEM_PER_CPU")] if each else []
    for name, flag in (("RLIMIT_AS", "v"), ("RLIMIT_DATA", "d")):
        soft = resource.getrlimit(getattr(resource, name))[0]
        rooms += [(soft // 2, "ulimit -" + flag)] if soft != resource.RLIM_INFINITY else []
    return sorted(rooms)


def whole_number(text: Any) -> int:
    return int(text) if str(text).isdigit() else 0


def read_text(path: str) -> Any:
    """The text, or {"problem": why}."""
    try:
        with open(path, "rb") as stream:
            return stream.read(1000000).decode("utf-8", "replace")
    except OSError as error:
        return {"problem": error.strerror or str(error)}
