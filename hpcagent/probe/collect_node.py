"""The part `node` of collect.py: raw texts about hardware and operating system.

Runs inside a job with python3 >= 3.6 and the standard library. It interprets nothing but what it
needs to choose sizes: commands' output and files' text go into the facts as they are, and what
could not be had carries a "problem". No command runs longer than the request's timeout_s, all of
them together no longer than budget_s (default 120). What keeps CPUs and memory busy
(collect_rates.py, beside this file) runs only where the request says "measure".
"""

import glob
import importlib.util
import os
import platform
import re
import shutil
import tempfile
import time
from typing import Any, Callable, Dict, Iterator, List

BESIDE = ("collect_rates.py", "nodebench.c")

Run = Callable[..., Dict[str, Any]]

MAX_BYTES = 1000000
MAX_FILES = 4000
BUDGET_S = 120.0
NVIDIA = "index,name,uuid,pci.bus_id,memory.total,driver_version,compute_cap,power.limit"
NVIDIA += ",pcie.link.gen.max,pcie.link.width.max,mig.mode.current,ecc.mode.current"
# The oldest drivers do not know the later fields, and refuse the whole query then.
NVIDIA_FEWER = "index,name,uuid,pci.bus_id,memory.total,driver_version"
ROCM = ["--showproductname", "--showmeminfo", "vram", "--showdriverversion", "--showbus"]
COMMANDS = [
    (  # The whole node, not only the job's cpuset: the option of hwloc 2, then that of hwloc 1.
        "lstopo",
        [
            ["lstopo-no-graphics", "--of", "xml", "--disallowed"],
            ["lstopo-no-graphics", "--of", "xml", "--whole-system"],
            ["lstopo", "--of", "xml", "--whole-system"],
        ],
    ),
    ("likwid_topology", [["likwid-topology", "-O"]]),
    ("likwid_perfctr", [["likwid-perfctr", "-c", "{cpu}", "-g", "FLOPS_DP", "true"]]),
    ("lscpu_caches", [["lscpu", "-p"]]),
    ("virtualisation", [["systemd-detect-virt"]]),
    ("timedatectl", [["timedatectl", "show"]]),
    ("chronyc", [["chronyc", "-n", "tracking"]]),
    (
        "nvidia_smi",
        [
            ["nvidia-smi", "--query-gpu=" + NVIDIA, "--format=csv"],
            ["nvidia-smi", "--query-gpu=" + NVIDIA_FEWER, "--format=csv"],
        ],
    ),
    ("rocm_smi", [["rocm-smi", *ROCM, "--json"]]),
    ("xpu_smi", [["xpu-smi", "discovery", "-j"]]),
    ("ibv_devinfo", [["ibv_devinfo"]]),
    ("fi_info", [["fi_info"]]),
    ("srun_mpi", [["srun", "--mpi=list"]]),
    ("slurm_config", [["scontrol", "show", "config"]]),
    ("quota", [["quota", "-w"]]),
]  # type: List[Any]
CPU = "/sys/devices/system/cpu/"
FILES = [
    *("/etc/os-release", "/proc/self/mountinfo", "/proc/self/cgroup", "/proc/1/cgroup"),
    *("/proc/1/environ", "/proc/device-tree/model", "/proc/meminfo", "/proc/loadavg"),
    *("/proc/sys/kernel/perf_event_paranoid", "/proc/sys/kernel/numa_balancing"),
    "/proc/sys/vm/overcommit_memory",
    *("/run/.containerenv", "/run/systemd/container", "/sys/hypervisor/type"),
    *("/sys/class/dmi/id/sys_vendor", "/sys/class/dmi/id/product_name"),
    CPU + "offline",
    CPU + "present",
    CPU + "isolated",
    CPU + "smt/active",
    CPU + "smt/control",
    CPU + "cpufreq/boost",
    CPU + "intel_pstate/no_turbo",
    CPU + "intel_pstate/status",
    CPU + "amd_pstate/status",
    "/sys/devices/cpu_core/cpus",
    "/sys/devices/cpu_atom/cpus",
]
GLOBS = [
    "/sys/devices/system/clocksource/clocksource0/[ac]*_clocksource",
    "/sys/devices/system/node/node[0-9]*/distance",
    "/sys/devices/system/node/node[0-9]*/cpulist",
    "/sys/kernel/mm/transparent_hugepage/[des]*",
    "/sys/kernel/mm/hugepages/hugepages-*/*_hugepages",
    *("/sys/class/infiniband/*/" + x for x in ("fw_ver", "hca_type", "board_id", "node_type")),
    *("/sys/class/infiniband/*/ports/*/" + x for x in ("rate", "state", "link_layer", "lid")),
    "/sys/class/cxi/*/device/vendor",
    "/sys/class/net/*/speed",
]
CAPACITY = CPU + "cpu[0-9]*/cpu_capacity"
POLICY = [
    *("scaling_driver", "scaling_governor", "cpuinfo_min_freq", "cpuinfo_max_freq"),
    *("scaling_min_freq", "scaling_max_freq", "base_frequency", "energy_performance_preference"),
]
PCI = ["vendor", "device", "class", "numa_node", "max_link_speed", "max_link_width"]
# PCI classes of displays, processing accelerators, InfiniBand and fabric controllers (pci.ids).
PCI_CLASS = re.compile(r"0x(03|12|0207|0208)")
DEVICES = [
    *("/dev/cpu/{cpu}/msr", "/dev/nvidiactl", "/dev/kfd", "/dev/dri/renderD128"),
    *("/dev/infiniband/uverbs0", "/dev/hfi1_0", "/dev/cxi0"),
]
MARKS = ["/.dockerenv", "/run/.containerenv", "/.singularity.d", "/run/systemd/container"]
LAUNCHERS = ["srun", "mpirun", "mpiexec", "mpiexec.hydra", "orterun", "prterun", "prun", "aprun"]
LAUNCHERS += ["jsrun", "flux", "ibrun", "pbsdsh", "likwid-mpirun"]
HINTS = re.compile(
    r"^(container|APPTAINER_NAME|APPTAINER_CONTAINER|SINGULARITY_NAME|SINGULARITY_CONTAINER"
    r"|KUBERNETES_SERVICE_HOST|SHIFTER_RUNTIME|CHARLIECLOUD\w*|CUDA_VISIBLE_DEVICES"
    r"|ROCR_VISIBLE_DEVICES|ZE_AFFINITY_MASK)$"
)
PLACES = re.compile(r"^(HOME|TMPDIR|\w*SCRATCH\w*|WORK|WORKDIR|PROJECT|SLURM_TMPDIR|\w*JOBFS)$")
MAX_PLACES = 12


class Clock:
    """How much of the budget is left."""

    def __init__(self, run, timeout_s, budget_s):
        # type: (Run, float, float) -> None
        self.inner, self.timeout_s = run, timeout_s
        self.end = time.monotonic() + budget_s

    def run(self, argv, timeout_s=0.0):
        # type: (List[str], float) -> Dict[str, Any]
        left = self.end - time.monotonic()
        if left <= 0.5:
            return {"argv": argv, "exit": None, "stdout": "", "stderr": "", "problem": "no time"}
        record = self.inner(argv, min(timeout_s or self.timeout_s, left))
        for stream in ("stdout", "stderr"):
            record[stream] = record[stream][:MAX_BYTES]
        return record


def collect(request: Dict[str, Any], run: Run) -> Dict[str, Any]:
    budget_s = float(str(request.get("budget_s") or BUDGET_S))
    clock = Clock(run, request["timeout_s"], budget_s)
    cpu = str(min(os.sched_getaffinity(0)))
    devices = [path.replace("{cpu}", cpu) for path in DEVICES]
    facts = {
        "schema": 1,
        "user": os.getuid(),
        "commands": run_commands(clock, cpu),
        "files": collect_files(),
        "devices": {path: access(path) for path in devices},
        "exists": {path: os.path.exists(path) for path in MARKS},
        "environment": {k: v for k, v in sorted(os.environ.items()) if HINTS.match(k)},
        "launchers": {name: shutil.which(name) for name in LAUNCHERS},
        "places": collect_places(clock, str(request.get("folder") or os.getcwd())),
        "clock": file_clock(),
    }  # type: Dict[str, Any]
    if request.get("measure"):
        facts["measured"] = rates().measure(request, run)
    return facts


def rates() -> Any:
    """collect_rates.py by its path: in isolated mode its folder is not on sys.path."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "collect_rates.py")
    spec = importlib.util.spec_from_file_location("collect_rates", path)
    module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    spec.loader.exec_module(module)  # type: ignore[union-attr]
    return module


def run_commands(clock: Clock, cpu: str) -> Dict[str, Any]:
    """Of each the first alternative that succeeds, else the last that was found."""
    records = {name: first_of(clock, choices, cpu) for name, choices in COMMANDS}
    kept = re.findall(r"^MpiDefault .*$", records["slurm_config"]["stdout"], re.MULTILINE)
    records["slurm_config"]["stdout"] = "\n".join(kept)
    native = "-mcpu=native" if platform.machine().startswith(("aarch", "ppc")) else "-march=native"
    records["gcc_native"] = clock.run(["gcc", native, "-Q", "--help=target"])
    return records


def first_of(clock: Clock, choices: List[List[str]], cpu: str) -> Dict[str, Any]:
    record = {}  # type: Dict[str, Any]
    for argv in choices:
        tried = clock.run([word.replace("{cpu}", cpu) for word in argv])
        if tried["exit"] == 0 or tried["problem"].startswith("timed out"):
            return tried
        if not record or tried["problem"] != "not found":
            record = tried
    return record


def read_text(path: str) -> Any:
    """The text, or {"problem": why}."""
    try:
        with open(path, "rb") as stream:
            return stream.read(MAX_BYTES).decode("utf-8", "replace")
    except OSError as error:
        return {"problem": error.strerror or str(error)}


def collect_files() -> Dict[str, Any]:
    files = {path: read_text(path) for path in FILES}
    paths = [path for pattern in GLOBS for path in sorted(glob.glob(pattern))]
    paths += [path for device in pci_devices() for path in device]
    for path in paths[:MAX_FILES]:
        if os.path.isfile(path):
            files[path] = read_text(path)
    files.update(distinct_policies())
    capacities = {}  # type: Dict[Any, str]
    for path in sorted(glob.glob(CAPACITY)):
        capacities.setdefault(str(read_text(path)), path)
    files.update({path: read_text(path) for path in capacities.values()})
    # Only what init was started with to run in a container: the rest may hold secrets.
    environ = files["/proc/1/environ"]
    if isinstance(environ, str):
        kept = [x for x in environ.split("\0") if x.startswith("container=")]
        files["/proc/1/environ"] = "\0".join(kept)
    return files


def distinct_policies() -> Dict[str, Any]:
    """The files of one frequency policy of each kind (a node may have one a CPU)."""
    kinds = {}  # type: Dict[str, Dict[str, Any]]
    for folder in sorted(glob.glob(CPU + "cpufreq/policy[0-9]*")):
        texts = {name: read_text(os.path.join(folder, name)) for name in POLICY}
        paths = {os.path.join(folder, k): v for k, v in texts.items() if isinstance(v, str)}
        if len(kinds) < 8:
            kinds.setdefault(repr(sorted(texts.items(), key=str)), paths)
    return {path: text for kind in kinds.values() for path, text in kind.items()}


def pci_devices() -> Iterator[List[str]]:
    for folder in sorted(glob.glob("/sys/bus/pci/devices/*")):
        if PCI_CLASS.match(str(read_text(os.path.join(folder, "class")))):
            yield [os.path.join(folder, name) for name in PCI]


def access(path: str) -> Dict[str, Any]:
    """Whether a device file is there and what this user may do with it."""
    if not os.path.exists(path):
        return {"problem": "not there"}
    return {"read": os.access(path, os.R_OK), "write": os.access(path, os.W_OK)}


def collect_places(clock: Clock, folder: str) -> List[Dict[str, Any]]:
    """df of the run directory, home, temporary and scratch folders.

    In a child with a time limit each: a dead file server hangs whoever asks for its files.
    """
    places = [("run directory", folder), ("/tmp", "/tmp"), ("/dev/shm", "/dev/shm")]
    named = [(name, path) for name, path in sorted(os.environ.items()) if PLACES.match(name)]
    places[1:1] = [(name, path) for name, path in named if os.path.isabs(path)]
    found = []  # type: List[Dict[str, Any]]
    for role, path in places[:MAX_PLACES]:
        record = {"role": role, "path": path, "df": clock.run(["df", "-P", "-T", "-k", path])}
        record["quota"] = clock.run(["lfs", "quota", "-q", "-u", str(os.getuid()), path])
        found.append(record)
    return found


def file_clock() -> Dict[str, Any]:
    """The time that the run directory's file server gives a new file, between two looks here."""
    before = time.time()
    try:
        handle, path = tempfile.mkstemp(prefix=".clock-", dir=os.getcwd())
        os.write(handle, b"1")
        os.close(handle)
        stamp = os.stat(path).st_mtime
        os.unlink(path)
    except OSError as error:
        return {"problem": error.strerror or str(error)}
    return {"before": before, "file": stamp, "after": time.time()}
