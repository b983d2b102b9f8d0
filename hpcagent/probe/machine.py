"""From the raw facts of one node to its Machine record; pure, and never an exception."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hpcagent.probe import caches as cache_facts
from hpcagent.probe import procfs
from hpcagent.probe.lscpu import Fields, field, parse_cpu_table, parse_lscpu
from hpcagent.probe.microarch import Processor, identify, power_generation
from hpcagent.probe.peak import peak_gflops
from hpcagent.probe.rawfacts import RawFacts
from hpcagent.probe.values import parse_cpulist, parse_mhz
from hpcagent.probe.versions import parse_compiler_version, parse_glibc_version
from hpcagent.records import Cache, Compiler, Cpu, Machine

__all__ = ["parse_machine", "peak_gflops"]

_NODE = r"/sys/devices/system/node/node([0-9]+)/cpulist"
_CACHE = cache_facts.FILES
_SIBLINGS = r"/sys/devices/system/cpu/cpu[0-9]+/topology/thread_siblings_list"
_MAX_FREQ = r"/sys/devices/system/cpu/cpu[0-9]+/cpufreq/cpuinfo_max_freq"
_CGROUP = r".*/(cpu\.max|cpu\.cfs_quota_us|cpu\.cfs_period_us|memory\.max|memory\.limit_in_bytes)"
_CLOCKS = ("CPU max MHz", "CPU static MHz")
_ONLINE = "/sys/devices/system/cpu/online"
_THP = "/sys/kernel/mm/transparent_hugepage/enabled"
# AArch64 spells the features of a 64-bit CPU "Features", x86 "flags"; POWER lists none.
# RISC-V has its extensions in a word, the letters first: "rv64imafdc_zicsr".
_FEATURE_FIELDS = ("flags", "Features", "isa")
_MODEL_FIELDS = ("model name", "Model Name", "cpu", "uarch")  # the second is LoongArch's
_SCHEDULERS = {
    "slurm": ("sbatch", "squeue"),
    "pbs": ("qsub", "qstat"),
    "lsf": ("bsub",),
    "flux": ("flux",),
}


def parse_machine(facts: Mapping[str, Any]) -> Machine:
    """The machine that facts.json describes; what could not be had is in `missing` with why."""
    raw, missing = RawFacts(facts), dict[str, str]()
    fields = parse_lscpu(raw.stdout("lscpu") or "")
    blocks = procfs.parse_cpuinfo(raw.text("/proc/cpuinfo") or "")
    processor = processor_of(raw)
    allowed = _allowed(raw, missing)
    cpus = _cpus(raw, allowed, missing)
    allowed = allowed or tuple(cpu.id for cpu in cpus)
    sockets = len({cpu.socket for cpu in cpus})
    compilers = _compilers(raw, missing)
    return Machine(
        host=str(facts.get("host") or raw.word("uname", "node") or "unknown"),
        architecture=processor.architecture,
        cpu_model=_model(fields, blocks, missing),
        microarchitecture=_microarchitecture(processor, missing),
        features=tuple(sorted(processor.features)),
        cpus=cpus,
        cpus_allowed=allowed,
        cpu_quota_cores=procfs.cpu_quota_cores(raw.texts(_CGROUP)),
        threads_per_core=_threads_per_core(cpus),
        sockets=sockets,
        max_mhz=_max_mhz(raw, fields, missing),
        caches=_caches(raw, fields, cpus, missing),
        memory_bytes=_memory(raw, missing),
        memory_limit_bytes=procfs.memory_limit_bytes(raw.texts(_CGROUP)),
        huge_pages=_huge_pages(raw, missing),
        kernel=raw.word("uname", "release") or "unknown",
        glibc=_glibc(raw, missing),
        compilers=compilers,
        schedulers=_schedulers(raw),
        tools=_tools(raw),
        missing=missing,
    )


def _features(fields: Fields, blocks: tuple[dict[str, str], ...]) -> frozenset[str]:
    """What every kind of CPU of the machine has."""
    listed = [
        frozenset(block[name].replace("_", " ").split() if name == "isa" else block[name].split())
        for block in blocks
        for name in _FEATURE_FIELDS
        if name in block
    ]
    if not listed:
        return frozenset((field(fields, "Flags") or "").split())
    return frozenset.intersection(*listed)


def _model(fields: Fields, blocks: tuple[dict[str, str], ...], missing: dict[str, str]) -> str:
    """The processor's name; the names of all kinds where there are several."""
    names = [value for name, value in fields if name == "Model name" and value not in ("", "-")]
    names = names or [block[key] for key in _MODEL_FIELDS for block in blocks if key in block]
    machine_type = field(fields, "Machine type")  # s390x has no names for its processors
    if not names and machine_type:
        names = [f"{field(fields, 'Vendor ID') or 'machine type'} {machine_type}"]
    if names:
        return " + ".join(dict.fromkeys(names))
    numbers = [_numbers(block) for block in blocks]
    if any(numbers):
        return " + ".join(dict.fromkeys(filter(None, numbers)))
    missing["cpu_model"] = "neither lscpu nor /proc/cpuinfo names the processor"
    return "unknown"


def _numbers(block: Mapping[str, str]) -> str:
    """What stands for a name: Arm's implementer and part, RISC-V's vendor and architecture."""
    if "CPU implementer" in block:
        return f"implementer {block['CPU implementer']} part {block.get('CPU part', '?')}"
    if block.get("mvendorid", "0x0").strip("0x"):
        return f"vendor {block['mvendorid']} architecture {block.get('marchid', '?')}"
    return ""


def processor_of(raw: RawFacts) -> Processor:
    """What identifies the processor, as archspec's door wants it."""
    fields = parse_lscpu(raw.stdout("lscpu") or "")
    blocks = procfs.parse_cpuinfo(raw.text("/proc/cpuinfo") or "")

    def distinct(name: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys(block[name] for block in blocks if name in block))

    architecture = raw.word("uname", "machine") or field(fields, "Architecture") or "unknown"
    vendors = (
        distinct("vendor_id")
        or distinct("CPU implementer")
        or _core_names(distinct("uarch"))
        or ("",)
    )
    generation = power_generation(" ".join(distinct("cpu")))
    features = _features(fields, blocks)
    return Processor(architecture, vendors[0], features, distinct("CPU part"), generation)


def _core_names(cores: tuple[str, ...]) -> tuple[str, ...]:
    """RISC-V names the core and no vendor: "sifive,u74-mc" is archspec's "u74mc"."""
    return tuple(core.rpartition(",")[2].replace("-", "") for core in cores)


def _microarchitecture(processor: Processor, missing: dict[str, str]) -> str:
    identified = identify(processor)
    if identified.reason:
        missing["microarchitecture"] = identified.reason
    return identified.name


def _allowed(raw: RawFacts, missing: dict[str, str]) -> tuple[int, ...]:
    """The affinity mask; empty where it is not known."""
    listed = raw.data.get("affinity")
    if isinstance(listed, list) and listed and all(type(x) is int and x >= 0 for x in listed):
        return tuple(sorted(set(listed)))
    words = procfs.parse_field(raw.text("/proc/self/status") or "", "Cpus_allowed_list")
    online = parse_cpulist(raw.text(_ONLINE) or "") or ()
    allowed = parse_cpulist(words or "") or ()
    # Unlike the affinity mask, this list may name CPUs that are offline.
    allowed = tuple(cpu for cpu in allowed if not online or cpu in online)
    if not allowed:
        missing["cpus_allowed"] = "no affinity mask; every online CPU is taken as allowed"
    return allowed


def _cpus(raw: RawFacts, allowed: tuple[int, ...], missing: dict[str, str]) -> tuple[Cpu, ...]:
    """Online CPUs with their places; what lscpu leaves out counts as a core of its own."""
    known = {cpu.id: cpu for cpu in parse_cpu_table(raw.stdout("lscpu_parse") or "")}
    if not known:
        missing["topology"] = raw.why_no_stdout("lscpu_parse")
    online = parse_cpulist(raw.text(_ONLINE) or "") or ()
    nodes = _numa_nodes(raw)
    for cpu in {*allowed, *(online if not known else ())} - set(known):
        known[cpu] = Cpu(cpu, cpu, 0, nodes.get(cpu, 0))
    if not known:
        known[0] = Cpu(0, 0, 0, 0)
    return _parted(tuple(known[cpu] for cpu in sorted(known)), raw)


def _parted(cpus: tuple[Cpu, ...], raw: RawFacts) -> tuple[Cpu, ...]:
    """Cores that lscpu numbers alike and the kernel tells apart, by their lowest CPU.

    lscpu counts cores within a cluster or a kind of core where an AArch64 machine has several: of
    20 cores four each had the numbers 0 to 4. It never joins what lscpu tells apart: a kernel
    without a device tree of the topology lists all CPUs as siblings.
    """
    told = (parse_cpulist(text) or () for text in raw.texts(_SIBLINGS).values())
    core_of = {cpu: min(ids) for ids in told for cpu in ids}
    if not all(cpu.id in core_of for cpu in cpus):
        return cpus
    parts: dict[tuple[int, int, int], int] = {}
    for cpu in cpus:
        part = (cpu.socket, cpu.core, core_of[cpu.id])
        parts[part] = min(cpu.id, parts.get(part, cpu.id))
    if len(parts) == len({(cpu.socket, cpu.core) for cpu in cpus}):
        return cpus
    return tuple(replace(x, core=parts[x.socket, x.core, core_of[x.id]]) for x in cpus)


def _numa_nodes(raw: RawFacts) -> dict[int, int]:
    """CPU -> NUMA node; a node without CPUs (memory only) adds none."""
    nodes = {}
    for path, text in raw.texts(_NODE).items():
        number = path.split("/")[-2].removeprefix("node")
        for cpu in parse_cpulist(text) or ():
            nodes[cpu] = int(number[:6])
    return nodes


def _threads_per_core(cpus: tuple[Cpu, ...]) -> int:
    """The most online threads that any core has (hybrid processors mix)."""
    threads: dict[tuple[int, int], int] = {}
    for cpu in cpus:
        threads[cpu.socket, cpu.core] = threads.get((cpu.socket, cpu.core), 0) + 1
    return max(threads.values())


def _max_mhz(raw: RawFacts, fields: Fields, missing: dict[str, str]) -> float | None:
    """Of the fastest kind of core; s390x states one clock that never changes."""
    stated = [parse_mhz(text) for name, text in fields if name in _CLOCKS]
    khz = [parse_mhz(text) for text in raw.texts(_MAX_FREQ).values()]
    known = [mhz for mhz in (*stated, *(k / 1000 for k in khz if k)) if mhz]
    if not known:
        missing["max_mhz"] = "neither lscpu nor cpufreq tells a highest clock"
    return max(known, default=None)


def _caches(
    raw: RawFacts, fields: Fields, cpus: tuple[Cpu, ...], missing: dict[str, str]
) -> tuple[Cache, ...]:
    cores = len({(cpu.socket, cpu.core) for cpu in cpus})
    sockets = len({cpu.socket for cpu in cpus})
    listed = cache_facts.caches_from_lscpu(fields, cores, sockets)
    told = cache_facts.caches_from_sysfs(raw.texts(_CACHE), len(cpus), cache_facts.kinds_of(raw))
    sysfs = tuple(cache for cache, _ in told)
    if not listed and not sysfs:
        missing["caches"] = "neither lscpu nor sysfs lists caches"
    return cache_facts.merge(sysfs, listed, cache_facts.uncounted(fields))


def _memory(raw: RawFacts, missing: dict[str, str]) -> int | None:
    memory = procfs.parse_kib_field(raw.text("/proc/meminfo") or "", "MemTotal")
    if memory is None:
        missing["memory_bytes"] = raw.why_no_text("/proc/meminfo")
    return memory


def _huge_pages(raw: RawFacts, missing: dict[str, str]) -> str | None:
    word = procfs.selected_word(raw.text(_THP) or "")
    if word is None:
        missing["huge_pages"] = raw.why_no_text(_THP)
    return word


def _glibc(raw: RawFacts, missing: dict[str, str]) -> str | None:
    confstr = raw.data.get("glibc")
    version = parse_glibc_version(confstr if isinstance(confstr, str) else None, raw.stdout("ldd"))
    if version is None:
        missing["glibc"] = "neither confstr nor ldd tells a glibc version"
    return version


def _compilers(raw: RawFacts, missing: dict[str, str]) -> tuple[Compiler, ...]:
    """The compilers that could say their version, in the order they were asked for."""
    found = []
    for record in raw.records("compilers"):
        language, command, path = (record.get(key) for key in ("language", "command", "path"))
        if not (isinstance(language, str) and isinstance(command, str) and isinstance(path, str)):
            continue
        text = raw.stdout(f"version:{command}")
        version = parse_compiler_version(text or "")
        if version is None:
            why = raw.why_no_stdout(f"version:{command}") if text is None else "no version in it"
            missing[f"compiler {command}"] = why
        else:
            found.append(Compiler(language, command, path, version))
    return tuple(found)


def _schedulers(raw: RawFacts) -> tuple[str, ...]:
    """Batch systems whose commands are here; Grid Engine also calls its command qsub."""
    names = [
        name
        for name, commands in _SCHEDULERS.items()
        if all(raw.word("which", command) for command in commands)
    ]
    if "pbs" in names and raw.word("environment", "SGE_ROOT"):
        names[names.index("pbs")] = "sge"
    return tuple(names)


def _tools(raw: RawFacts) -> dict[str, str]:
    tools = {name: path for name, path in raw.section("which").items() if isinstance(path, str)}
    module = raw.word("environment", "LMOD_CMD") or raw.word("environment", "MODULESHOME")
    return {**tools, "module": module} if module else tools
