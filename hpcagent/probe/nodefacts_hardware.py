"""Facts of processor, topology and memory, from the raw texts and the Machine made of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from hpcagent.probe import frequency, hugepages, numa, procfs
from hpcagent.probe.caches import FILES, caches_from_sysfs, kinds_of
from hpcagent.probe.likwid import LikwidTopology, parse_likwid_topology
from hpcagent.probe.look import Look, Subject
from hpcagent.probe.lscpu import parse_cache_table, parse_cpu_table
from hpcagent.probe.lstopo import Topology, parse_lstopo
from hpcagent.probe.machine import processor_of
from hpcagent.probe.microarch import NotIt, why_not
from hpcagent.probe.native import parse_target_help
from hpcagent.probe.node import DERIVED, STATED, Absent, CacheLevel, Fact, NumaNode
from hpcagent.probe.peak import widest_instruction_set
from hpcagent.probe.values import format_cpulist, parse_cpulist
from hpcagent.records import Cpu, Machine

_CPU = "/sys/devices/system/cpu"
_NODES = r"/sys/devices/system/node/node[0-9]+/\w+"
_THP = "/sys/kernel/mm/transparent_hugepage"
# Why-nots beyond these are of processors that are nothing like this one.
_NEAREST = 4


def processor(look: Look) -> Iterator[Fact | Absent]:
    """What the processor is, what it is not, and how fast it may run."""
    machine, this = look.machine, Subject("Processor")
    lscpu = ("lscpu" if look.base.stdout("lscpu") else "/proc/cpuinfo", STATED)
    model = None if machine.cpu_model == "unknown" else machine.cpu_model
    yield this.fact("cpu_model", model, lscpu, machine.missing.get("cpu_model", ""))
    yield this.fact("architecture", machine.architecture, ("uname", STATED))
    archspec = ("archspec", DERIVED)
    generic = machine.missing.get("microarchitecture", "")
    yield this.fact("microarchitecture", machine.microarchitecture, archspec, note=generic)
    others = why_not(processor_of(look.base), machine.microarchitecture)
    told = tuple(_not_it(other) for other in others[:_NEAREST])
    if told:
        yield this.fact("not_microarchitecture", told, archspec)
    yield from _compiler_view(look, this)
    widest = widest_instruction_set(machine)
    words = widest.source if widest else None
    yield this.fact("floating_point", words, ("processor flags", DERIVED), "no table of it")
    yield from _clocks(look, this)


def _not_it(other: NotIt) -> str:
    if not other.lacks:
        return f"{other.name}: {other.other}"
    shown = ", ".join(other.lacks[:6])
    more = f" and {len(other.lacks) - 6} more" if len(other.lacks) > 6 else ""
    return f"{other.name}: lacks {shown}{more}"


def _compiler_view(look: Look, this: Subject) -> Iterator[Fact | Absent]:
    target = parse_target_help(look.node.stdout("gcc_native") or "")
    option = target.chosen if target else None
    why = look.why("gcc_native") if target is None else "gcc resolved no option"
    tuned = f"tuned for {target.mtune}" if target and target.mtune not in ("", "native") else ""
    argv = look.record("gcc_native").get("argv")
    flag = argv[1] if isinstance(argv, list) and len(argv) > 1 else "-march=native"
    yield this.fact("compiler_native", option, (f"gcc {flag}", STATED), why, note=tuned)


def _clocks(look: Look, this: Subject) -> Iterator[Fact | Absent]:
    files = look.node.texts(_CPU + r"/.*")
    policies = frequency.parse_policies(files)
    source, reason = ("cpufreq", STATED), f"no {_CPU}/cpufreq/policy*: the kernel sets no clocks"
    if look.machine.max_mhz is not None:
        origin = ("lscpu, cpufreq", STATED)
        allowed = max((x.limit_mhz for x in policies if x.limit_mhz), default=None)
        capped = allowed is not None and allowed < 0.99 * look.machine.max_mhz
        note = f"limited to {allowed:g} MHz now" if capped else ""
        yield this.fact("max_clock", look.machine.max_mhz, origin, unit="MHz", note=note)
    else:
        yield this.absent("max_clock", look.machine.missing.get("max_mhz", "not told"))
    base = max((x.base_mhz for x in policies if x.base_mhz), default=None)
    yield this.fact("base_clock", base, source, reason if not policies else "", unit="MHz")
    governors = dict.fromkeys(x.governor for x in policies if x.governor)
    wishes = ", ".join(dict.fromkeys(x.preference for x in policies if x.preference))
    note = f"energy preference {wishes}" if wishes else ""
    why = reason if not policies else ""
    yield this.fact("governor", " + ".join(governors), source, why, note=note)
    drivers = dict.fromkeys(x.driver for x in policies if x.driver)
    modes = [look.line(f"{_CPU}/{name}/status") for name in ("intel_pstate", "amd_pstate")]
    note = next((f"mode {mode}" for mode in modes if mode), "")
    yield this.fact("frequency_driver", " + ".join(drivers), source, why, note=note)
    turbo = frequency.turbo(files)
    if turbo is None:
        yield this.absent("turbo", "neither intel_pstate/no_turbo nor cpufreq/boost is there")
    else:
        yield this.fact("turbo", "on" if turbo[0] else "off", (turbo[1], STATED))


def topology(look: Look) -> Iterator[Fact | Absent]:
    """Sockets, cores, threads, caches and NUMA nodes, and whether the sources agree on them."""
    machine, this = look.machine, Subject("Topology")
    hwloc = parse_lstopo(look.node.stdout("lstopo") or "")
    likwid = parse_likwid_topology(look.node.stdout("likwid_topology") or "")
    parted = _lscpu_cpus(look) != machine.cpus
    table = ("lscpu -p, thread_siblings_list" if parted else "lscpu -p", STATED)
    yield this.fact("sockets", machine.sockets, table)
    yield this.fact("cores", _cores(machine.cpus), table, note="physical cores that are online")
    yield this.fact("cpus", len(machine.cpus), table, note="hardware threads that are online")
    yield this.fact("threads_per_core", machine.threads_per_core, table)
    control = look.line(f"{_CPU}/smt/control")
    why = look.node.why_no_text(f"{_CPU}/smt/control")
    yield this.fact("smt", control, (f"{_CPU}/smt/control", STATED), why)
    for name in ("offline", "isolated"):
        cpus = _present(look, parse_cpulist(look.line(f"{_CPU}/{name}") or "") or ())
        if cpus:
            yield this.fact(f"{name}_cpus", format_cpulist(cpus), (f"{_CPU}/{name}", STATED))
    yield from _siblings(machine, this)
    yield from _core_kinds(look, hwloc, this)
    yield _caches(look, hwloc, this)
    nodes = numa_nodes(look)
    source = "/sys/devices/system/node" if nodes else "numactl --hardware"
    nodes = nodes or numa.parse_numactl(look.base.stdout("numactl") or "")
    why = "no /sys/devices/system/node and no numactl: the kernel has no NUMA support"
    yield this.fact("numa", nodes, (source, STATED), why)
    yield from _agreement(look, hwloc, likwid, this)


def _present(look: Look, cpus: tuple[int, ...]) -> tuple[int, ...]:
    """The kernel also lists empty slots as offline (8-511 where 8 CPUs are there)."""
    present = parse_cpulist(look.line(f"{_CPU}/present") or "")
    return tuple(cpu for cpu in cpus if cpu in present) if present else cpus


def numa_nodes(look: Look) -> tuple[NumaNode, ...]:
    """From sysfs: distances are in the part `node`, CPUs and memory also in the rest."""
    files = {**look.base.texts(_NODES), **look.node.texts(_NODES)}
    nodes = numa.nodes_from_sysfs(files)
    if any(node.cpus for node in nodes):
        return nodes
    places = {cpu.id: cpu.numa_node for cpu in look.machine.cpus}  # lscpu knows as well
    return tuple(
        replace(node, cpus=tuple(cpu for cpu, place in places.items() if place == node.id))
        for node in nodes
    )


def _lscpu_cpus(look: Look) -> tuple[Cpu, ...]:
    """As lscpu numbers them; the machine's where it says nothing."""
    return parse_cpu_table(look.base.stdout("lscpu_parse") or "") or look.machine.cpus


def _cores(cpus: tuple[Cpu, ...]) -> int:
    return len({(cpu.socket, cpu.core) for cpu in cpus})


def _siblings(machine: Machine, this: Subject) -> Iterator[Fact | Absent]:
    """The hardware threads of each core that has several, as CPU lists."""
    cores: dict[tuple[int, int], list[int]] = {}
    for cpu in machine.cpus:
        cores.setdefault((cpu.socket, cpu.core), []).append(cpu.id)
    lists = tuple(format_cpulist(ids) for ids in cores.values() if len(ids) > 1)
    if lists:
        yield this.fact("siblings", lists, ("lscpu -p", DERIVED))


def _core_kinds(look: Look, hwloc: Topology | None, this: Subject) -> Iterator[Fact | Absent]:
    """Hybrid processors only: CPUs of each kind."""
    kinds = [
        (name, parse_cpulist(look.line(f"/sys/devices/cpu_{name}/cpus") or "")) for name in _X86
    ]
    listed = tuple(f"{_X86[name]}: {format_cpulist(cpus)}" for name, cpus in kinds if cpus)
    if len(listed) > 1:
        yield this.fact("core_kinds", listed, ("/sys/devices/cpu_core", STATED))
    elif hwloc is not None and len(hwloc.kinds) > 1:
        listed = tuple(f"kind {i}: {format_cpulist(x)}" for i, x in enumerate(hwloc.kinds))
        yield this.fact("core_kinds", listed, ("lstopo", STATED))


_X86 = {"core": "performance", "atom": "efficiency"}


def _caches(look: Look, hwloc: Topology | None, this: Subject) -> Fact | Absent:
    if hwloc is not None and hwloc.caches:
        return this.fact("caches", hwloc.caches, ("lstopo", STATED))
    kinds = kinds_of(look.base)
    if kinds:
        told = caches_from_sysfs(look.base.texts(FILES), len(look.machine.cpus), kinds)
        levels = [
            CacheLevel(cache.level, cache.kind, cache.instances, cache.size_bytes, shared)
            for cache, shared in sorted(told, key=lambda row: (row[0].level, row[0].kind))
        ]
        return this.fact("caches", tuple(levels), ("sysfs", STATED))
    machine, counted = look.machine, parse_cache_table(look.node.stdout("lscpu_caches") or "")
    levels = []
    for cache in machine.caches:
        name = f"L{cache.level}{cache.kind[0] if cache.kind in ('data', 'instruction') else ''}"
        instances = counted.get(name, cache.instances)
        shared = max(1, len(machine.cpus) // instances)
        levels.append(CacheLevel(cache.level, cache.kind, instances, cache.size_bytes, shared))
    return this.fact(
        "caches", tuple(levels), ("lscpu, sysfs", DERIVED), machine.missing.get("caches", "")
    )


def _agreement(
    look: Look, hwloc: Topology | None, likwid: LikwidTopology | None, this: Subject
) -> Iterator[Fact | Absent]:
    """(sockets, cores, CPUs) as each tool counts them."""
    machine = look.machine
    cpus = _lscpu_cpus(look)
    counts = {"lscpu": (machine.sockets, _cores(cpus), len(cpus))}
    if _cores(cpus) != _cores(machine.cpus):
        counts["kernel"] = (machine.sockets, _cores(machine.cpus), len(machine.cpus))
    if hwloc is None:
        yield this.absent("lstopo", look.why("lstopo"))
    else:
        counts["lstopo"] = (hwloc.packages, hwloc.cores, len(hwloc.cpus))
    if likwid is None:
        yield this.absent("likwid_topology", look.why("likwid_topology"))
    else:
        cores = likwid.sockets * likwid.cores_per_socket
        counts["likwid-topology"] = (likwid.sockets, cores, cores * likwid.threads_per_core)
    if len(counts) == 1:
        yield this.absent("agreement", "only lscpu told the topology")
    elif len(set(counts.values())) == 1:
        yield this.fact("agreement", f"yes: {', '.join(counts)}", _COUNTS)
    else:
        words = "; ".join(
            f"{name}: {sockets} sockets, {cores} cores, {cpus} CPUs"
            for name, (sockets, cores, cpus) in counts.items()
        )
        yield this.fact("agreement", f"no: {words}", _COUNTS)


_COUNTS = ("counts compared", DERIVED)


def memory(look: Look) -> Iterator[Fact | Absent]:
    """How much, for whom, and in which pages."""
    machine, this = look.machine, Subject("Memory")
    missing = machine.missing
    total = machine.memory_bytes
    why = missing.get("memory_bytes", "")
    yield this.fact("memory", total, ("/proc/meminfo", STATED), why, unit="B")
    limit = machine.memory_limit_bytes
    smaller = limit if limit is not None and (total is None or limit < total) else None
    cgroup = ("cgroup", STATED)
    yield this.fact("memory_limit", "none" if smaller is None else smaller, cgroup, unit="B")
    thp = look.machine.huge_pages
    defrag = procfs.selected_word(look.node.text(f"{_THP}/defrag") or "")
    note = f"defrag: {defrag}" if defrag else ""
    origin = (f"{_THP}/enabled", STATED)
    yield this.fact("transparent_huge_pages", thp, origin, missing.get("huge_pages", ""), note=note)
    pools = hugepages.parse_pools(look.node.texts(r"/sys/kernel/mm/hugepages/.*"))
    origin = ("/sys/kernel/mm/hugepages", STATED)
    yield this.fact("huge_page_pools", pools, origin, "the kernel has no hugetlbfs")
    for name, path, words in _SWITCHES:
        value = look.line(path)
        meaning = words.get(value or "", value)
        yield this.fact(name, meaning, (path, STATED), look.node.why_no_text(path))


_SWITCHES = (
    ("numa_balancing", "/proc/sys/kernel/numa_balancing", {"0": "off", "1": "on", "2": "tiering"}),
    (
        "overcommit",
        "/proc/sys/vm/overcommit_memory",
        {"0": "heuristic", "1": "always", "2": "never beyond the commit limit"},
    ),
)
