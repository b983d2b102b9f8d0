"""Collect raw facts of this machine: `python3 collect.py request.json facts.json`.

Runs inside a job on the node with nothing but python3 >= 3.6. It interprets nothing: commands'
output, files' text and what each candidate OpenBLAS says of itself go to facts.json as they are;
what could not be had carries a "problem". Each name in the request's "parts" is a file
collect_NAME.py that lies beside this one; what its collect(request, run) returns is in "parts".
request["budget_s"] is the time for all of it: what is not reached then says so.
Beside facts.json, done.json marks the end, and begun.json tells what memory Slurm gave a job.
Exit code: 0 done, 2 usage or unreadable request.
"""

import ctypes
import glob
import importlib.util
import json
import os
import platform
import re
import resource
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import time
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

Run = Callable[..., Dict[str, Any]]

LATE = "not asked: out of time"
MAX_BYTES = 4000000
MAX_CANDIDATES = 40
TOOLS = ["numactl", "taskset", "make", "cmake", "ninja", "cc", "gcc", "g++", "gfortran", "clang"]
TOOLS += ["icx", "nvc", "lstopo", "likwid-topology", "nvidia-smi"]
BATCH_TOOLS = ["sbatch", "squeue", "qsub", "qstat", "bsub", "flux"]
COMPILERS = {
    "c": ["cc", "gcc", "clang", "icx", "nvc"],
    "c++": ["c++", "g++", "clang++", "icpx", "nvc++"],
    "fortran": ["gfortran", "flang", "ifx", "nvfortran"],
}
LIBC = "CS_GNU_LIBC_VERSION"
THP = "/sys/kernel/mm/transparent_hugepage/enabled"
FILES = ["/proc/meminfo", "/proc/version", THP, "/sys/devices/system/cpu/online"]
CGROUP_FILES = {
    "": ["cpu.max", "memory.max"],
    "cpu": ["cpu.cfs_quota_us", "cpu.cfs_period_us"],
    "memory": ["memory.limit_in_bytes"],
}
MOUNT = re.compile(
    r"\S+ \S+ \S+ (?P<root>\S+) (?P<point>\S+) .*- (?P<type>\S+) \S+ (?P<options>\S+)$"
)
ROUTINES = [p + r for p in "sd" for r in ("gemm", "syrk", "trsm", "getrf", "potrf", "gemv")]
ROOTS = ["OPENBLAS_ROOT", "OPENBLAS_HOME", "OPENBLAS_DIR", "OPENBLASROOT", "EBROOTOPENBLAS"]
RELEVANT = re.compile(
    r"^(OPENBLAS|OMP_|GOMP_|GOTO_|KMP_|EBROOTOPENBLAS|LD_LIBRARY_PATH$|LD_PRELOAD$|LIBRARY_PATH$"
    r"|LMOD_CMD$|MODULESHOME$|LOADEDMODULES$|SGE_ROOT$|\w*OPENBLAS\w*_(ROOT|HOME|DIR)$)"
)
LIBRARY_NAME = re.compile(r"^lib(scipy_)?openblas.*\.so(\.[0-9]+)*$")
SYSTEM_FOLDERS = ["/usr/lib64", "/usr/lib", "/lib64", "/lib", "/usr/local/lib64", "/usr/local/lib"]
SUBFOLDERS = ["", "openblas*", "*-linux-gnu*", "*-linux-gnu*/openblas*"]
# What makes two CPUs of one machine different kinds (hybrid x86, big.LITTLE).
KIND = re.compile(
    r"^(vendor_id|cpu family|model|[Mm]odel [Nn]ame|cpu|CPU (implementer|variant|part)|uarch"
    r"|mvendorid|marchid)$"
)


MOST_KINDS = 8  # of cores in one machine


def main(argv: List[str]) -> int:
    if len(argv) == 2 and argv[0] == "--library":
        print(json.dumps(describe_library(argv[1])))
        return 0
    if len(argv) != 2:
        sys.stderr.write("usage: collect.py request.json facts.json\n")
        return 2
    folder = os.path.dirname(os.path.abspath(argv[1]))
    began_utc = utc_now()
    try:
        request = read_request(argv[0])
    except (OSError, ValueError) as error:
        sys.stderr.write("{}: unreadable request: {}\n".format(argv[0], error))
        write_done(folder, 2, began_utc)
        return 2
    if job_memory() is not None:
        write_json(os.path.join(folder, "begun.json"), {"memory_bytes": job_memory()})
    write_json(argv[1], collect(request))
    write_done(folder, 0, began_utc)
    return 0


def read_request(path: str) -> Dict[str, Any]:
    with open(path, encoding="utf-8") as stream:
        request = json.load(stream)
    if not isinstance(request, dict) or request.get("schema") != 1:
        raise ValueError("not a request of schema 1")
    request["timeout_s"] = float(str(request.get("timeout_s", 20)))
    return request


def collect(request: Dict[str, Any]) -> Dict[str, Any]:
    budget_s = request.get("budget_s")
    end = time.monotonic() + float(budget_s) if budget_s else float("inf")
    ask = until(end)
    compilers = find_compilers(request.get("compilers") or {})
    commands = run_commands(compilers, request["timeout_s"], ask)
    limits = [name for name in dir(resource) if name.startswith("RLIMIT_")]
    facts = {
        "schema": 1,
        "t_utc": utc_now(),
        "host": socket.gethostname(),
        "uname": platform.uname()._asdict(),
        "commands": commands,
        "compilers": compilers,
        "files": collect_files(),
        "limits": {x: list(resource.getrlimit(getattr(resource, x))) for x in limits},
        "affinity": sorted(os.sched_getaffinity(0)),
        "cache_kinds": cache_kinds(),
        "glibc": os.confstr(LIBC) if LIBC in os.confstr_names else None,
        "which": {tool: which(tool) for tool in TOOLS + BATCH_TOOLS},
        "programs": {str(x): place_of(str(x)) for x in request.get("programs") or []},
        "environment": {k: v for k, v in sorted(os.environ.items()) if RELEVANT.match(k)},
        "libraries": collect_libraries(request, commands["ldconfig"]["stdout"], ask),
    }  # type: Dict[str, Any]
    if request.get("parts"):
        facts["parts"] = {x: collect_part(str(x), request, facts, end) for x in request["parts"]}
    return facts


def place_of(program: str) -> str:
    """Where PATH has it, and where links lead from there; empty where it has none."""
    found = which(program)
    return " -> ".join(dict.fromkeys([found, os.path.realpath(found)])) if found else ""


def until(end: float) -> Run:
    """`run` up to a time of the monotonic clock: then nothing more is asked."""

    def asked(argv: List[str], timeout_s: float, environment: Any = None) -> Dict[str, Any]:
        left = end - time.monotonic()
        if left <= 0:
            return {"argv": argv, "exit": None, "stdout": "", "stderr": "", "problem": LATE}
        return run(argv, min(timeout_s, left), environment)

    return asked


def collect_part(name: str, request: Dict[str, Any], facts: Dict[str, Any], end: float) -> Any:
    """What collect_NAME.py finds; it is given what is known so far as request["facts"]."""
    left = end - time.monotonic()
    if left <= 0:
        return {"problem": LATE}
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "collect_" + name + ".py")
    if not re.match(r"[a-z_]+\Z", name) or not os.path.isfile(path):
        return {"problem": "no collect_{}.py beside collect.py".format(name)}
    sys.dont_write_bytecode = True  # the job's folder holds what was put there, and the facts
    # By its path: in isolated mode (python3 -I) the script's folder is not on sys.path.
    spec = importlib.util.spec_from_file_location("collect_" + name, path)
    module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    spec.loader.exec_module(module)  # type: ignore[union-attr]
    own = {k: v for k, v in request.items() if k != "budget_s"}  # a part has limits of its own
    if left < float(request.get("look_s") or 0):
        own["look_s"] = left
    return module.collect(dict(own, facts=facts), until(end))


def write_json(path: str, data: Dict[str, Any]) -> None:
    """A whole file or none: temporary name, fsync, rename."""
    temporary = "{}.{}.tmp".format(path, os.getpid())
    with open(temporary, "w", encoding="utf-8") as stream:
        json.dump(data, stream, indent=1, sort_keys=True)
        stream.write("\n")
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(temporary, path)


def job_memory() -> Optional[int]:
    """Bytes that Slurm gave this job here, its default included; None where it does not say.

    As worker.job_memory: neither file lies beside the other in a job.
    """
    whole, each, cpus = (
        int(text) if text.isdigit() else 0
        for text in (
            os.environ.get("SLURM_" + name, "")
            for name in ("MEM_PER_NODE", "MEM_PER_CPU", "CPUS_ON_NODE")
        )
    )
    return (whole or each * max(1, cpus)) << 20 or None


def write_done(folder: str, code: int, began_utc: str) -> None:
    boot = read_file("/proc/sys/kernel/random/boot_id")
    host = socket.gethostname()
    done = {"exit": code, "claimed_utc": began_utc, "finished_utc": utc_now(), "host": host}
    done["node"] = os.environ.get("SLURMD_NODENAME") or host
    done["boot_id"] = boot.strip() if isinstance(boot, str) else ""
    write_json(os.path.join(folder, "done.json"), done)


def utc_now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def which(command: str) -> Optional[str]:
    path = os.environ.get("PATH", "") + os.pathsep + "/usr/bin:/bin:/usr/sbin:/sbin"
    return shutil.which(command, path=path)


def run(argv: List[str], timeout_s: float, environment: Any = None) -> Dict[str, Any]:
    """Run to the end or kill the whole process group; always a record, never an exception.

    Of a flood of output only the first MAX_BYTES are kept, the rest is read and forgotten.
    """
    record = {"argv": argv, "exit": None, "stdout": "", "stderr": "", "problem": ""}
    path = which(argv[0])
    if path is None:
        return dict(record, problem="not found")
    try:
        process = subprocess.Popen(
            [path, *argv[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(os.environ if environment is None else environment, LC_ALL="C"),
            start_new_session=True,
        )
    except OSError as error:
        return dict(record, problem=error.strerror or str(error))
    try:
        out, err = drain(process, time.monotonic() + timeout_s)
    except subprocess.TimeoutExpired:
        kill_group(process)
        return dict(record, problem="timed out after {:g} s".format(timeout_s))
    code, names = process.returncode, {-int(s): s.name for s in signal.Signals}
    record["stdout"] = out.decode("utf-8", "replace")
    record["stderr"] = err.decode("utf-8", "replace")
    problem = "killed by " + names.get(code, "signal {}".format(-code)) if code < 0 else ""
    return dict(record, exit=code, problem=problem)


def drain(process: Any, deadline: float) -> Tuple[bytes, bytes]:
    """Both streams up to their ends, then the process's; TimeoutExpired at the deadline."""
    kept = {process.stdout: bytearray(), process.stderr: bytearray()}
    with selectors.DefaultSelector() as selector:
        for stream in kept:
            selector.register(stream, selectors.EVENT_READ)
        while selector.get_map():
            left = deadline - time.monotonic()
            if left <= 0:
                raise subprocess.TimeoutExpired(process.args, 0)
            for key, _ in selector.select(left):
                data = os.read(key.fd, 1 << 16)
                if not data:
                    selector.unregister(key.fileobj)
                kept[key.fileobj] += data[: MAX_BYTES - len(kept[key.fileobj])]
    process.wait(timeout=max(0.0, deadline - time.monotonic()))
    for stream in kept:
        stream.close()
    return bytes(kept[process.stdout]), bytes(kept[process.stderr])


def kill_group(process: Any) -> None:
    for stream in (process.stdout, process.stderr):
        stream.close()
    try:
        os.killpg(process.pid, signal.SIGKILL)
        # What waits for a dead file server cannot be killed: it is left behind.
        process.wait(timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        pass


def find_compilers(overrides: Dict[str, Any]) -> List[Dict[str, Optional[str]]]:
    return [
        {"language": language, "command": command, "path": which(command)}
        for language, default in COMPILERS.items()
        for command in overrides.get(language) or default
        if which(command)
    ]


def run_commands(compilers: List[Dict[str, Any]], timeout_s: float, ask: Run) -> Dict[str, Any]:
    commands = {
        "lscpu": ask(["lscpu", "-J"], timeout_s),
        "lscpu_parse": ask(["lscpu", "-p=CPU,CORE,SOCKET,NODE"], timeout_s),
        "ldconfig": ask(["ldconfig", "-p"], timeout_s),
        "ldd": ask(["ldd", "--version"], timeout_s),
        "numactl": ask(["numactl", "--hardware"], timeout_s),
    }
    if commands["lscpu"]["exit"] != 0:  # util-linux before 2.30 has no -J
        commands["lscpu"] = ask(["lscpu"], timeout_s)
    commands["ldconfig"]["stdout"] = keep_lines(commands["ldconfig"]["stdout"], "blas")
    for compiler in compilers:
        record = ask([compiler["path"], "--version"], timeout_s)
        commands["version:" + compiler["command"]] = record
    return commands


def read_file(path: str) -> Any:
    """The text, or {"problem": why}."""
    try:
        with open(path, "rb") as stream:
            return stream.read(MAX_BYTES).decode("utf-8", "replace")
    except OSError as error:
        return {"problem": error.strerror or str(error)}


def collect_files() -> Dict[str, Any]:
    files = {path: read_file(path) for path in FILES}
    files["/proc/cpuinfo"] = distinct_cpus(read_file("/proc/cpuinfo"))
    files["/proc/self/status"] = keep_lines(read_file("/proc/self/status"), "_allowed_list:")
    for path in [*per_cpu_files(), *cgroup_files()]:
        text = read_file(path)
        if isinstance(text, str):
            files[path] = text
    files.update(sibling_files())
    for folder in glob.glob("/sys/devices/system/node/node[0-9]*"):
        files[folder + "/cpulist"] = read_file(folder + "/cpulist")
        files[folder + "/meminfo"] = keep_lines(read_file(folder + "/meminfo"), "MemTotal")
    return files


def keep_lines(text: Any, wanted: str) -> Any:
    if not isinstance(text, str):
        return text
    return "".join(line + "\n" for line in text.splitlines() if wanted in line)


def distinct_cpus(text: Any) -> Any:
    """One block of /proc/cpuinfo for each kind of CPU."""
    if not isinstance(text, str):
        return text
    kept = {}  # type: Dict[Tuple[Tuple[str, str], ...], str]
    for block in re.split(r"\n\s*\n", text.strip("\n")):
        lines = [line.partition(":") for line in block.splitlines()]
        kind = tuple((k.strip(), v.strip()) for k, _, v in lines if KIND.match(k.strip()))
        if kind not in kept and len(kept) < 8:
            kept[kind] = block
    return "\n\n".join(kept.values()) + "\n"


def per_cpu_files() -> List[str]:
    """Caches and clock of the first CPU that this process may use; caches of every other kind."""
    first = min(os.sched_getaffinity(0))
    clock = ["cpufreq/scaling_governor", "cpufreq/scaling_driver", "cpufreq/cpuinfo_max_freq"]
    names = ["cpu{}/{}".format(first, name) for name in clock]
    for cpu in sorted({first, *(kind[0] for kind in cache_kinds())}):
        for name in ("level", "type", "size", "shared_cpu_list"):
            names.append("cpu{}/cache/index[0-9]*/{}".format(cpu, name))
    return [path for name in names for path in glob.glob("/sys/devices/system/cpu/" + name)]


def cache_kinds(folder: str = "/sys/devices/system/cpu") -> List[List[int]]:
    """The online CPUs by the sizes of their caches; none where all CPUs have the same."""
    kinds = {}  # type: Dict[Tuple[Any, ...], List[int]]
    for path in glob.glob(folder + "/cpu[0-9]*/cache"):
        sizes = sorted(glob.glob(path + "/index[0-9]*/size"))
        told = tuple((name[len(path) :], str(read_file(name))) for name in sizes)
        kinds.setdefault(told, []).append(int(path.split("/")[-2][3:]))
    found = sorted(sorted(cpus) for cpus in kinds.values())
    return found if 1 < len(found) <= MOST_KINDS else []


def sibling_files() -> Dict[str, str]:
    """The list of hardware threads of each core, once."""
    lists = {}  # type: Dict[str, str]
    for path in glob.glob("/sys/devices/system/cpu/cpu[0-9]*/topology/thread_siblings_list"):
        text = read_file(path)
        if isinstance(text, str) and text.strip():
            lists.setdefault(text.strip(), path)
    return {path: text for text, path in lists.items()}


def cgroup_files() -> Iterator[str]:
    """CPU quota and memory limit files of this process's cgroups, up to each root."""
    own, mounts = read_file("/proc/self/cgroup"), read_file("/proc/self/mountinfo")
    for line in own.splitlines() if isinstance(own, str) and isinstance(mounts, str) else []:
        controllers, _, path = line.partition(":")[2].partition(":")
        for controller in controllers.split(","):
            for folder in walk_up(mounts, controller, path):
                for name in CGROUP_FILES.get(controller, []):
                    yield os.path.join(folder, name)


def walk_up(mounts: str, controller: str, path: str) -> Iterator[str]:
    """The cgroup `path` and all above it, in every mount of its hierarchy (proc(5))."""
    for line in mounts.splitlines():
        found = MOUNT.match(line)
        if not found or found.group("type") != ("cgroup" if controller else "cgroup2"):
            continue
        if controller not in ["", *found.group("options").split(",")]:
            continue
        root, mount = found.group("root"), found.group("point")
        # In a container the path may lie outside of what is mounted: then only the mount counts.
        inner = os.path.relpath(path, root)
        folder = mount if inner.startswith("..") else os.path.normpath(os.path.join(mount, inner))
        while len(folder) >= len(mount):
            yield folder
            folder = os.path.dirname(folder)


def collect_libraries(request: Dict[str, Any], ldconfig: str, ask: Run) -> List[Dict[str, Any]]:
    """What every distinct candidate says of itself, in order: prefix, module, system, embedded."""
    setting = re.compile(r"^(OPENBLAS_|GOTO_|OMP_NUM_THREADS$)")
    environment = {k: v for k, v in os.environ.items() if not setting.match(k)}
    records = []  # type: List[Dict[str, Any]]
    seen = {""}
    for source, path, default in candidates(request, ldconfig):
        real = os.path.realpath(path)
        if real in seen or len(seen) > MAX_CANDIDATES:
            continue
        seen.add(real)
        record = {"path": path, "realpath": real, "source": source, "loader_default": default}
        record.update(open_in_child(path, environment, request["timeout_s"], ask))
        records.append(record)
    if request.get("prefix") and not any(record["source"] == "prefix" for record in records):
        problem = "no libopenblas*.so there, nor in its lib64 or lib"
        records.insert(0, {"path": request["prefix"], "source": "prefix", "problem": problem})
    return records


def candidates(request: Dict[str, Any], ldconfig: str) -> Iterator[Tuple[str, str, bool]]:
    """(source, path, is it what the loader gives for -lopenblas or libblas.so.3)."""
    prefix = os.path.abspath(request["prefix"]) if request.get("prefix") else None
    if prefix:
        paths = [prefix] if os.path.isfile(prefix) else under(prefix)
        yield from (("prefix", path, False) for path in paths)
    yield from (("module", path, False) for path in module_libraries())
    cached = re.findall(r"^\s*(\S+) .*=> (\S+)$", ldconfig, re.MULTILINE)
    for name, path in cached:
        real = os.path.realpath(path)
        if name == "libblas.so.3" and "openblas" in real:
            for sibling in named(glob.escape(os.path.dirname(real))):
                yield "system", sibling, LIBRARY_NAME.match(os.path.basename(real)) is None
    for name, path in cached:
        if LIBRARY_NAME.match(name):
            yield "system", path, name.startswith("libopenblas.so")
    yield from (("system", path, False) for path in below(SYSTEM_FOLDERS))
    for path in request.get("extra_libraries") or []:
        yield "embedded", os.path.abspath(path), False


def under(prefix: str) -> List[str]:
    return below([os.path.join(prefix, folder) for folder in ("lib64", "lib", "")])


def below(folders: List[str]) -> List[str]:
    patterns = [os.path.join(glob.escape(x), sub) for x in folders for sub in SUBFOLDERS]
    return [path for pattern in patterns for path in named(pattern)]


def named(pattern: str) -> List[str]:
    """Files called like an OpenBLAS, versioned names included, in the folders that match."""
    found = sorted(glob.glob(os.path.join(pattern, "lib*openblas*.so*")))
    return [x for x in found if LIBRARY_NAME.match(os.path.basename(x)) and os.path.isfile(x)]


def module_libraries() -> List[str]:
    """Below what modules and users set; a system folder in a search path stays a system folder."""
    searched = ":".join(os.environ.get(x, "") for x in ("LD_LIBRARY_PATH", "LIBRARY_PATH"))
    folders = [os.path.abspath(x) for x in searched.split(":") if x]
    paths = [x for f in folders if f not in SYSTEM_FOLDERS for x in named(glob.escape(f))]
    roots = [os.path.abspath(os.environ[name]) for name in ROOTS if os.environ.get(name)]
    return paths + [path for root in roots for path in under(root)]


def open_in_child(
    path: str, environment: Dict[str, str], timeout_s: float, ask: Run
) -> Dict[str, Any]:
    """A library that crashes takes only the child with it."""
    argv = [sys.executable, os.path.abspath(__file__), "--library", path]
    record = ask(argv, timeout_s, environment)
    lines = [line for line in record["stdout"].splitlines() if line.startswith('{"')]
    if record["exit"] == 0 and lines:
        return dict(json.loads(lines[-1]), warnings=record["stderr"][:2000])
    return {"problem": record["problem"] or record["stderr"].strip()[-300:] or "gave no answer"}


def describe_library(path: str) -> Dict[str, Any]:
    try:
        library = ctypes.CDLL(path)
    except OSError as error:
        return {"problem": str(error)}
    for prefix, suffix in [(p, s) for s in ("", "64_", "_64") for p in ("", "scipy_")]:
        if hasattr(library, prefix + "openblas_get_config" + suffix):
            return ask_library(library, prefix, suffix)
    return {"problem": "not an OpenBLAS: it has no openblas_get_config"}


def ask_library(library: ctypes.CDLL, prefix: str, suffix: str) -> Dict[str, Any]:
    def call(name: str, kind: Any) -> Any:
        function = getattr(library, prefix + "openblas_get_" + name + suffix, None)
        if function is None:
            return None
        function.restype = kind
        value = function()
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else value

    spelt = {routine: prefix + routine + "_" + suffix for routine in [*ROUTINES, "ddot"]}
    return {
        "config": call("config", ctypes.c_char_p),
        "corename": call("corename", ctypes.c_char_p),
        "num_threads": call("num_threads", ctypes.c_int),
        "num_procs": call("num_procs", ctypes.c_int),
        "parallel": call("parallel", ctypes.c_int),
        "symbols": {"prefix": prefix, "suffix": suffix},
        "integer_bits": integer_bits(getattr(library, spelt["ddot"], None)),
        "routines": [routine for routine in ROUTINES if hasattr(library, spelt[routine])],
        "loaded_path": loaded_path(getattr(library, prefix + "openblas_get_config" + suffix)),
    }


def integer_bits(ddot: Any) -> Optional[int]:
    """32 or 64, by what ddot makes of n = 1 - 2**32: its low half is 1, as a whole it is negative.

    With 32-bit integers (little-endian) that is one product, with 64-bit ones there is nothing to
    add and the result is 0.
    """
    if ddot is None or sys.byteorder != "little":
        return None
    n, step = ctypes.c_int64(1 - 2**32), ctypes.c_int64(1)
    x, y = ctypes.c_double(2.0), ctypes.c_double(3.0)
    ddot.restype = ctypes.c_double
    return {6.0: 32, 0.0: 64}.get(ddot(*[ctypes.byref(v) for v in (n, x, step, y, step)]))


def loaded_path(function: Any) -> Optional[str]:
    """The file whose mapping holds the function's address (/proc/self/maps, proc(5))."""
    address = ctypes.cast(function, ctypes.c_void_p).value or 0
    maps = re.findall(r"^(\w+)-(\w+) .*?(/.+)$", str(read_file("/proc/self/maps")), re.MULTILINE)
    inside = [name for low, high, name in maps if int(low, 16) <= address < int(high, 16)]
    return str(os.path.realpath(inside[0])) if inside else None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
