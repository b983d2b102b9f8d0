"""Facts of performance, limits, operating system and access."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from hpcagent.probe import clocks, container, perfaccess
from hpcagent.probe.likwid import why_perfctr_failed
from hpcagent.probe.limits import Limit, parse_limits
from hpcagent.probe.look import Look, Subject
from hpcagent.probe.lscpu import field, parse_lscpu
from hpcagent.probe.measured import Rate, parse_rate
from hpcagent.probe.node import ASSUMED, DERIVED, MEASURED, STATED, Absent, Fact
from hpcagent.probe.peak import clock_bound_mhz, peak_gflops
from hpcagent.probe.rawfacts import RawFacts
from hpcagent.probe.values import format_cpulist

_PARANOID = "/proc/sys/kernel/perf_event_paranoid"
_CLOCK = "/sys/devices/system/clocksource/clocksource0/current_clocksource"
# name of the fact, run of nodebench.c, precision
_PEAKS = (
    ("peak_double_core", "double_one", "double"),
    ("peak_double", "double_all", "double"),
    ("peak_single", "float_all", "single"),
)
_LIMITS = (
    ("memlock", "B", "locked memory, of which RDMA needs much"),
    ("stack", "B", ""),
    ("nofile", "", "open files"),
    ("core", "B", "core dumps"),
    ("nproc", "", "processes of this user"),
    ("as", "B", ""),
)


def performance(look: Look) -> Iterator[Fact | Absent]:
    """What was measured beside what the processor cannot exceed."""
    this = Subject("Performance")
    bounds = {x: peak_gflops(look.machine, x) for x in ("double", "single")}
    cores = _usable_cores(look)
    for precision, bound in bounds.items():
        rate = None if bound is None else bound * 1e9 * cores
        clock = f"{clock_bound_mhz(look.machine) / 1000:.3g} GHz"
        clock = clock if look.machine.max_mhz else f"an assumed {clock}"
        note = f"{cores} cores, the widest units with these flags, {clock}"
        origin = ("peak.yaml, clock", DERIVED if look.machine.max_mhz else ASSUMED)
        why = "no bound is known for this architecture"
        yield this.fact(f"bound_{precision}", rate, origin, why, "FLOP/s", note)
    runs = look.node.section("measured")
    if not runs:
        names = ("memory_bandwidth", *(name for name, _, _ in _PEAKS))
        yield from (this.absent(name, "measuring was not asked for") for name in names)
        return
    yield _dated(look, runs, _bandwidth(this, runs))
    for name, run, precision in _PEAKS:
        peak = _peak(this, name, _rate(runs, run), bounds[precision], cores)
        yield _dated(look, runs, peak)


def _dated(look: Look, measured: Mapping[str, Any], item: Fact | Absent) -> Fact | Absent:
    """A rate that was measured on another day than the rest was collected says when."""
    when = str(measured.get("t_utc") or "")
    if isinstance(item, Absent) or when[:10] in ("", str(look.base.data.get("t_utc"))[:10]):
        return item
    return replace(item, note=f"{item.note}; measured {when}")


def _usable_cores(look: Look) -> int:
    """Physical cores of the allowed CPUs, no more than a quota pays for."""
    allowed = set(look.machine.cpus_allowed)
    cores = {(cpu.socket, cpu.core) for cpu in look.machine.cpus if cpu.id in allowed}
    return max(1, min(len(cores), look.machine.usable_cores))


def _rate(measured: Mapping[str, Any], run: str) -> Rate | str:
    if measured.get("problem"):
        return str(measured["problem"])
    return parse_rate(RawFacts(measured).section("runs").get(run))


def _bandwidth(this: Subject, measured: Mapping[str, Any]) -> Fact | Absent:
    rate, small = _rate(measured, "triad"), str(measured.get("small") or "")
    if isinstance(rate, str):
        if small and "triad" not in RawFacts(measured).section("runs"):
            rate = f"{small} for arrays, which the caches would hold; ask for more memory (--mem)"
        return this.absent("memory_bandwidth", rate)
    cache = measured.get("cache_bytes")
    note = f"{rate.threads} threads"
    if type(cache) is int and cache > 0:
        note += f", arrays {rate.array_bytes / cache:.2g} times the last-level caches"
        if rate.array_bytes < 4 * cache:
            note += ", so they may help"
    note += f"; {small} for them" if small else ""
    origin = ("STREAM-like triad", MEASURED)
    return this.fact("memory_bandwidth", rate.rate, origin, unit="B/s", note=note + _busy(rate))


def _peak(
    this: Subject, name: str, rate: Rate | str, bound: float | None, cores: int
) -> Fact | Absent:
    if isinstance(rate, str):
        return this.absent(name, rate)
    limit = None if bound is None else bound * 1e9 * (1 if rate.threads == 1 else cores)
    # Two threads of a core share its units, so a quota or mask never lifts the bound.
    if limit is not None and rate.rate > 1.02 * limit:
        return this.absent(name, "the figure is above what the processor can do; not believed")
    note = f"{rate.threads} {'thread' if rate.threads == 1 else 'threads'}"
    note += f", {8 * rate.vector_bytes}-bit vectors" + _busy(rate)
    return this.fact(name, rate.rate, ("multiply-add kernel", MEASURED), unit="FLOP/s", note=note)


def _busy(rate: Rate) -> str:
    loose = f"; {rate.unbound} could not be bound to their CPUs" if rate.unbound else ""
    if not rate.disturbed:
        return loose
    return loose + f"; something else ran: the threads got {100 * rate.busy:.0f} % of their CPUs"


def limits(look: Look) -> Iterator[Fact | Absent]:
    """What the job may use: CPUs, quota, ulimits."""
    this, machine = Subject("Limits"), look.machine
    allowed = format_cpulist(machine.cpus_allowed)
    sure = ASSUMED if "cpus_allowed" in machine.missing else STATED
    note = f"{len(machine.cpus_allowed)} of {len(machine.cpus)} CPUs"
    yield this.fact("cpus_allowed", allowed, ("affinity mask", sure), note=note)
    quota = machine.cpu_quota_cores
    yield this.fact("cpu_quota", quota or "none", ("cgroup", STATED), unit="CPUs")
    listed = parse_limits(look.base.section("limits"))
    for name, unit, words in _LIMITS:
        yield _limit(this, f"limit_{name}", listed.get(name), unit, words)


def _limit(this: Subject, name: str, limit: Limit | None, unit: str, words: str) -> Fact | Absent:
    if limit is None:
        return this.absent(name, "the collector did not list it")
    hard = "" if limit.hard == limit.soft else f"hard limit {_plain(limit.hard, unit)}"
    note = ", ".join(x for x in (words, hard) if x)
    origin = ("getrlimit", STATED)
    if limit.soft is None:
        return this.fact(name, "unlimited", origin, note=note)
    return this.fact(name, limit.soft, origin, unit=unit, note=note)


def _plain(value: int | None, unit: str) -> str:
    return "unlimited" if value is None else f"{value} {unit}".strip()


def system(look: Look) -> Iterator[Fact | Absent]:
    """Distribution, kernel, C library, container, virtual machine, clocks."""
    this, machine = Subject("System"), look.machine
    name = container.parse_os_release(look.node.text("/etc/os-release") or "")
    why = look.node.why_no_text("/etc/os-release")
    yield this.fact("distribution", name, ("/etc/os-release", STATED), why)
    kernel = None if machine.kernel == "unknown" else machine.kernel
    yield this.fact("kernel", kernel, ("uname", STATED))
    yield this.fact("glibc", machine.glibc, ("confstr", STATED), machine.missing.get("glibc", ""))
    yield _model(look, this)
    yield from _surroundings(look, this)
    source = look.line(_CLOCK)
    yield this.fact("clock_source", source, (_CLOCK, STATED), look.node.why_no_text(_CLOCK))
    yield _synchronised(look, this)
    yield _skew(look, this)


def _model(look: Look, this: Subject) -> Fact | Absent:
    """The server's name: DMI on x86 and most AArch64, the device tree on POWER."""
    words = [look.line(f"/sys/class/dmi/id/{x}") for x in ("sys_vendor", "product_name")]
    told = " ".join(word for word in words if word)
    if told:
        return this.fact("server", told, ("/sys/class/dmi/id", STATED))
    tree = (look.line("/proc/device-tree/model") or "").strip("\0 ")
    why = "neither DMI nor a device tree tells it"
    return this.fact("server", tree, ("/proc/device-tree/model", STATED), why)


def _surroundings(look: Look, this: Subject) -> Iterator[Fact | Absent]:
    files = look.node.texts(r".*")
    exists, environment = look.node.section("exists"), look.node.section("environment")
    inside = container.container(exists, files, environment)
    if inside is None:
        origin = ("marker files, cgroups", ASSUMED)
        yield this.fact("container", "none", origin, note="no hint of one")
    else:
        yield this.fact("container", inside.kind, (inside.hint, DERIVED))
    lscpu = field(parse_lscpu(look.base.stdout("lscpu") or ""), "Hypervisor vendor")
    # It ends with 1 where it says "none".
    detected = str(look.record("virtualisation").get("stdout") or "").strip()
    machine = container.hypervisor(lscpu, detected, files, frozenset(look.machine.features))
    if machine is None and detected == "none":
        yield this.fact("hypervisor", "none", ("systemd-detect-virt", STATED))
    elif machine is None:
        yield this.fact("hypervisor", "none", ("lscpu, DMI, flags", ASSUMED), note="no hint of one")
    else:
        yield this.fact("hypervisor", machine.kind, (machine.hint, STATED))


def _synchronised(look: Look, this: Subject) -> Fact | Absent:
    chrony = clocks.parse_chronyc(look.node.stdout("chronyc") or "")
    if chrony is not None:
        note = f"{abs(chrony[1]):.3g} s {'fast' if chrony[1] > 0 else 'slow'}"
        word = "yes" if chrony[0] else "no"
        return this.fact("clock_synchronised", word, ("chronyc", STATED), note=note)
    told = clocks.parse_timedatectl(look.node.stdout("timedatectl") or "")
    if told is not None:
        return this.fact("clock_synchronised", "yes" if told else "no", ("timedatectl", STATED))
    reasons = [look.why(command) for command in ("chronyc", "timedatectl")]
    return this.absent("clock_synchronised", "; ".join(reasons))


def _skew(look: Look, this: Subject) -> Fact | Absent:
    clock = look.node.section("clock")
    skew = clocks.file_skew(clock)
    if skew is None:
        return this.absent("clock_skew", str(clock.get("problem") or "not collected"))
    note = f"file server ahead of the node, +-{skew.error_s:.3f} s"
    origin = ("file in the run directory", MEASURED)
    return this.fact("clock_skew", skew.ahead_s, origin, unit="s", note=note)


def access(look: Look) -> Iterator[Fact | Absent]:
    """Which counters a user may read, and which devices he may open."""
    this = Subject("Access")
    level = perfaccess.parse_paranoid(look.node.text(_PARANOID) or "")
    means = "" if level is None else perfaccess.paranoid_means(level, _root(look))
    why = look.node.why_no_text(_PARANOID)
    yield this.fact("perf_event_paranoid", level, (_PARANOID, STATED), why, note=means)
    yield _perfctr(look, this)
    for path, record in look.node.section("devices").items():
        if path.endswith("/msr"):
            yield _device(this, "msr", path, record)
        elif isinstance(record, Mapping) and not record.get("problem"):
            yield _device(this, path, path, record)


def _root(look: Look) -> bool:
    return look.node.data.get("user") == 0


def _perfctr(look: Look, this: Subject) -> Fact | Absent:
    """Tried: counting FLOP on one CPU."""
    record = look.record("likwid_perfctr")
    out, err = (str(record.get(name) or "") for name in ("stdout", "stderr"))
    if record.get("exit") is None:
        return this.absent("likwid_perfctr", look.why("likwid_perfctr"))
    origin = ("likwid-perfctr -g FLOPS_DP", MEASURED)
    if record.get("exit") == 0 and perfaccess.counted(out):
        return this.fact("likwid_perfctr", "usable", origin)
    return this.fact("likwid_perfctr", f"not usable: {why_perfctr_failed(out, err)}", origin)


def _device(this: Subject, name: str, path: str, record: object) -> Fact | Absent:
    told = record if isinstance(record, Mapping) else {"problem": "not collected"}
    if told.get("problem"):
        return this.absent(name, f"{path}: {told['problem']}")
    rights = [word for word in ("read", "write") if told.get(word) is True]
    return this.fact(name, " and ".join(rights) or "no access", (path, STATED))
