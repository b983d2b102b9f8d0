"""Whole machines: recorded and written ones, through the parser to the Machine record."""

from __future__ import annotations

import json
import re
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from hpcagent.probe.machine import parse_machine
from hpcagent.probe.microarch import Processor, identify, power_generation
from hpcagent.probe.peak import peak_gflops, widest_instruction_set
from hpcagent.probe.procfs import parse_cpuinfo
from hpcagent.probe.values import parse_cpulist
from hpcagent.records import Cache, Machine

FIXTURES = Path(__file__).parent / "fixtures" / "probe"
WRITTEN = sorted(path.name for path in (FIXTURES / "machines").iterdir())
RECORDED = sorted(path.name for path in FIXTURES.glob("recorded-*.json"))


def facts_of(name: str) -> dict[str, Any]:
    folder = FIXTURES / "machines" / name
    extra = json.loads((folder / "extra.json").read_text())
    commands = {
        command: {"argv": [command], "exit": 0, "stdout": (folder / command).read_text()}
        for command in ("lscpu", "lscpu_parse")
    }
    files = {f"/proc/{x}": (folder / x).read_text() for x in ("cpuinfo", "meminfo")}
    affinity = extra["affinity"]
    return {
        "schema": 1,
        "host": "node1",
        "uname": {"machine": extra["machine"], "release": extra["release"]},
        "commands": commands,
        "files": {**files, **extra["files"]},
        "affinity": None if affinity is None else list(parse_cpulist(affinity) or ()),
        "cache_kinds": extra.get("cache_kinds", []),
        "glibc": extra["glibc"],
        "which": extra["which"],
        "environment": extra["environment"],
    }


def machine_of(name: str) -> Machine:
    return parse_machine(facts_of(name))


@pytest.mark.parametrize("name", WRITTEN)
def test_the_name_of_a_written_machine_is_its_microarchitecture(name: str) -> None:
    machine = machine_of(name)
    assert machine.microarchitecture == name.rpartition("-")[2]
    assert "microarchitecture" not in machine.missing


@pytest.mark.parametrize("name", RECORDED)
def test_the_name_of_a_recorded_machine_is_its_microarchitecture(name: str) -> None:
    machine = parse_machine(json.loads((FIXTURES / name).read_text()))
    assert machine.microarchitecture == name.removesuffix(".json").rpartition("-")[2]
    assert machine.host == "node1"


# CPUs, sockets, NUMA nodes in use, threads a core, usable cores
SHAPES = {
    "rocky8-epyc7742-nps4-zen2": (256, 2, 8, 2, 256),
    "ubuntu24.04-xeon8380-snc2-icelake": (160, 2, 1, 2, 40),
    "amazon2023-graviton3-neoverse_v1": (64, 1, 1, 1, 64),
    "rhel8-fx700-a64fx": (48, 1, 4, 1, 48),
    "rhel8-ac922-smt4-power9le": (128, 2, 2, 4, 128),
    "rhel8-lpar-smt8-power9le": (60, 1, 1, 8, 60),
    "ubuntu24.04-i9-12900k-alderlake": (24, 1, 1, 2, 24),
    "debian12-container-quota-zen4": (64, 1, 1, 2, 2),
    "rhel9-xeonmax9480-snc4-hbm-sapphirerapids": (112, 2, 8, 1, 112),
    "centos7-vm-1cpu-haswell": (1, 1, 1, 1, 1),
    "rhel9-grace-superchip-neoverse_v2": (144, 2, 2, 1, 144),
    "rhel9-lpar-smt8-power10le": (96, 1, 1, 8, 96),
    "rocky9-2xepyc9654-nps4-zen4": (384, 2, 8, 2, 384),
    "ubuntu24.04-visionfive2-u74mc": (4, 1, 1, 1, 4),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_topology(name: str) -> None:
    m = machine_of(name)
    shape = (len(m.cpus), m.sockets, m.numa_nodes, m.threads_per_core, m.usable_cores)
    assert shape == SHAPES[name]


def test_numa_places_and_memory_limit_of_a_slurm_step() -> None:
    machine = machine_of("rocky8-epyc7742-nps4-zen2")
    place = {cpu.id: (cpu.socket, cpu.numa_node) for cpu in machine.cpus}
    assert place[0] == (0, 0)
    assert place[79] == (1, 4)
    assert place[255] == (1, 7)
    assert machine.cpu_quota_cores is None
    assert machine.memory_limit_bytes == 400_000_000_000
    assert machine.schedulers == ("slurm",)
    assert machine.tools == {
        "sbatch": "/usr/bin/sbatch",
        "squeue": "/usr/bin/squeue",
        "numactl": "/usr/bin/numactl",
        "module": "/usr/share/lmod/lmod/libexec/lmod",
    }
    assert Cache(3, "unified", 16 * 2**20, 2) in machine.caches
    assert (machine.huge_pages, machine.glibc, machine.max_mhz) == ("always", "2.28", 2250.0)


def test_nested_lscpu_with_counted_caches() -> None:
    machine = machine_of("ubuntu24.04-xeon8380-snc2-icelake")
    assert Cache(1, "data", 48 * 1024, 80) in machine.caches  # of "3.8 MiB"
    assert machine.cpu_model == "Intel(R) Xeon(R) Platinum 8380 CPU @ 2.30GHz"
    assert Cache(2, "unified", 1280 * 1024, 80) in machine.caches
    assert machine.memory_limit_bytes is None
    assert machine.schedulers == ("pbs",)


def test_one_cache_of_a_rounded_sum() -> None:
    caches = machine_of("rhel9-lpar-smt8-power10le").caches
    assert Cache(1, "instruction", 48 * 1024, 24) in caches  # of "1.1 MiB"
    assert (
        Cache(3, "unified", 114 * 2**20, 2)
        in machine_of("rhel9-grace-superchip-neoverse_v2").caches
    )


def test_a_risc_v_core_is_named_by_its_uarch() -> None:
    machine = machine_of("ubuntu24.04-visionfive2-u74mc")
    assert machine.cpu_model == "sifive,u74-mc"
    assert {"rv64imafdc", "zba"} <= set(machine.features)
    assert Cache(2, "unified", 2 * 2**20, 1) in machine.caches


def test_a_count_that_lscpu_does_not_tell_comes_from_who_shares() -> None:
    facts = facts_of("rhel8-fx700-a64fx")
    index = "/sys/devices/system/cpu/cpu0/cache/index2"
    entries = {"level": "2", "type": "Unified", "size": "8192K", "shared_cpu_list": "0-11"}
    facts["files"] |= {f"{index}/{name}": text for name, text in entries.items()}
    assert Cache(2, "unified", 8 * 2**20, 4) in parse_machine(facts).caches


def test_a_mainframe_has_a_machine_type_and_one_clock() -> None:
    fields = {
        "Architecture": "s390x",
        "CPU(s)": "8",
        "Vendor ID": "IBM/S390",
        "Machine type": "3931",
        "CPU dynamic MHz": "5200",
        "CPU static MHz": "5200",
        "L2 cache": "32768K",
        "Flags": "esan3 zarch vx vxe2 nnpa",
    }
    listed = [{"field": f"{name}:", "data": value} for name, value in fields.items()]
    table = "# CPU,Core,Socket,Node\n" + "".join(f"{i},{i // 2},{i // 2},0\n" for i in range(8))
    texts = {"lscpu": json.dumps({"lscpu": listed}), "lscpu_parse": table}
    machine = parse_machine(
        {
            "uname": {"machine": "s390x"},
            "commands": {name: {"exit": 0, "stdout": text} for name, text in texts.items()},
            "files": {"/proc/cpuinfo": "vendor_id : IBM/S390\nprocessor 0: machine = 3931\n"},
        }
    )
    assert (machine.cpu_model, machine.max_mhz) == ("IBM/S390 3931", 5200.0)
    assert (machine.sockets, machine.threads_per_core) == (4, 2)
    assert "vx" in machine.features
    assert "s390x" in machine.missing["microarchitecture"]


def test_hybrid_caches_are_of_each_kind_of_core_and_the_clock_is_the_fastest() -> None:
    """Intel's figures of an i9-12900K; lscpu's sums (640 KiB in 16, 14 MiB in 10) agree."""
    machine = machine_of("ubuntu24.04-i9-12900k-alderlake")
    assert machine.caches == (
        Cache(1, "data", 48 << 10, 8),
        Cache(1, "data", 32 << 10, 8),
        Cache(1, "instruction", 32 << 10, 8),
        Cache(1, "instruction", 64 << 10, 8),
        Cache(2, "unified", 1280 << 10, 8),
        Cache(2, "unified", 2048 << 10, 2),
        Cache(3, "unified", 30 << 20, 1),
    )
    assert machine.max_mhz == 5200.0


def test_a_cache_of_equal_size_in_two_kinds_of_core_is_counted_in_both() -> None:
    facts = facts_of("ubuntu24.04-i9-12900k-alderlake")
    facts["files"]["/sys/devices/system/cpu/cpu16/cache/index1/size"] = "32K\n"
    found = [cache for cache in parse_machine(facts).caches if cache.kind == "instruction"]
    assert sum(cache.instances for cache in found) == 16
    assert {cache.size_bytes for cache in found} == {32 << 10}


@pytest.mark.parametrize("kinds", [None, [], [[0]], [[]], "0-15", [["a"], [1]], [[0], [-1]], {}])
def test_without_usable_kinds_the_caches_are_those_of_the_cpu_that_was_looked_at(
    kinds: object,
) -> None:
    facts = facts_of("ubuntu24.04-xeon8380-snc2-icelake")
    before = parse_machine(facts).caches
    assert parse_machine({**facts, "cache_kinds": kinds}).caches == before


def test_a_container_is_bounded_by_its_quota_and_limit() -> None:
    machine = machine_of("debian12-container-quota-zen4")
    assert machine.cpu_quota_cores == 2.5
    assert machine.cpus_allowed == tuple(range(8))
    assert machine.memory_available_bytes == 4 * 2**30
    assert machine.huge_pages == "never"


def test_offline_cpus_are_not_allowed_cpus() -> None:
    assert machine_of("rhel8-lpar-smt8-power9le").cpus_allowed == tuple(range(60))


def test_half_a_cpu_of_quota_still_is_one_usable_cpu() -> None:
    machine = machine_of("centos7-vm-1cpu-haswell")
    assert machine.cpu_quota_cores == 0.5
    assert machine.schedulers == ("sge",)
    assert "max_mhz" in machine.missing


def test_without_lscpu_the_topology_is_flat_and_the_reason_is_kept() -> None:
    facts = facts_of("rhel9-xeonmax9480-snc4-hbm-sapphirerapids")
    for command in ("lscpu", "lscpu_parse"):
        facts["commands"][command] = {"argv": [command], "exit": None, "problem": "not found"}
    machine = parse_machine(facts)
    assert machine.missing["topology"] == "lscpu_parse: not found"
    assert machine.numa_nodes == 8
    assert len(machine.cpus) == 112
    assert machine.microarchitecture == "sapphirerapids"


def test_a_silent_compiler_is_missing_not_found() -> None:
    compilers = [
        {"language": "c", "command": "cc", "path": "/usr/bin/cc"},
        {"language": "c", "command": "icx", "path": "/opt/icx"},
    ]
    commands = {
        "version:cc": {"exit": 0, "stdout": "cc (Debian 12.2.0-14) 12.2.0\n"},
        "version:icx": {"exit": 1, "stdout": "", "stderr": "no license\n"},
    }
    machine = parse_machine({"compilers": compilers, "commands": commands})
    assert [(c.command, c.version) for c in machine.compilers] == [("cc", "12.2.0")]
    assert machine.missing["compiler icx"] == "version:icx ended with exit code 1: no license"


# --- the microarchitecture -----------------------------------------------------------------------


def recorded_by_archspec() -> list[tuple[str, str, str]]:
    """(expected name, /proc/cpuinfo, file name) of the machines that archspec's wheel carries."""
    folder = resources.files("archspec").joinpath("json", "tests", "targets")
    found = []
    for entry in folder.iterdir() if folder.is_dir() else ():
        if entry.name.startswith(("linux-", "bgq-")):
            text = entry.read_text(encoding="utf-8")
            found.append((entry.name.rpartition("-")[2], text, entry.name))
    return sorted(found)


def processor_of(expected: str, text: str) -> Processor:
    from archspec.cpu import TARGETS

    block = next(iter(parse_cpuinfo(text)), {})
    vendor = block.get("vendor_id") or block.get("CPU implementer") or ""
    features = frozenset((block.get("flags") or block.get("Features") or "").split())
    family = str(TARGETS[expected].family)
    parts = (block["CPU part"],) if "CPU part" in block else ()
    generation = power_generation(block.get("cpu", ""))
    return Processor(family, vendor, features, parts, generation)


def test_archspec_s_own_recorded_machines_are_named_as_archspec_names_them() -> None:
    cases = [case for case in recorded_by_archspec() if case[0] not in ("u74mc", "x60")]
    assert len(cases) > 20
    named = {file: identify(processor_of(expected, text)).name for expected, text, file in cases}
    assert named == {file: expected for expected, _, file in cases}


def test_a_masked_feature_leads_to_the_generic_level_and_says_so() -> None:
    flags = "mmx sse sse2 ssse3 sse4_1 sse4_2 cx16 lahf_lm popcnt"
    found = identify(Processor("x86_64", "SomeVendor", frozenset(flags.split())))
    assert found.name == "x86_64_v2"
    assert "SomeVendor" in found.reason


def test_an_emulated_power_and_an_unknown_architecture_have_reasons() -> None:
    assert identify(Processor("ppc64le", "", frozenset())).name == "ppc64le"
    assert "POWER" in identify(Processor("ppc64le", "", frozenset())).reason
    assert identify(Processor("loongarch64", "", frozenset())).name == "loongarch64"
    assert "loongarch64" in identify(Processor("loongarch64", "", frozenset())).reason


# --- the bound of a core's rate ------------------------------------------------------------------

# Published double-precision peaks of one core at its highest boost clock, in GFLOP/s:
# (operations a cycle, GHz); never may the bound lie below.
TRUE_PEAKS = {
    "rocky8-epyc7742-nps4-zen2": 16 * 3.4,
    "ubuntu24.04-xeon8380-snc2-icelake": 32 * 3.4,
    "amazon2023-graviton3-neoverse_v1": 16 * 2.6,
    "rhel8-fx700-a64fx": 32 * 1.8,
    "rhel8-ac922-smt4-power9le": 8 * 3.8,
    "rhel8-lpar-smt8-power9le": 16 * 4.0,
    "ubuntu24.04-i9-12900k-alderlake": 16 * 5.2,
    "debian12-container-quota-zen4": 16 * 3.8,
    "rhel9-xeonmax9480-snc4-hbm-sapphirerapids": 32 * 3.5,
    "centos7-vm-1cpu-haswell": 16 * 3.8,
    "rhel9-grace-superchip-neoverse_v2": 16 * 3.48,
    "rhel9-lpar-smt8-power10le": 64 * 4.0,
    "rocky9-2xepyc9654-nps4-zen4": 16 * 3.7,
}


@pytest.mark.parametrize("name", TRUE_PEAKS)
def test_the_bound_is_above_the_true_peak_and_not_absurd(name: str) -> None:
    bound = peak_gflops(machine_of(name), "double")
    assert bound is not None
    assert TRUE_PEAKS[name] <= bound < 6 * TRUE_PEAKS[name]
    assert peak_gflops(machine_of(name), "single") == 2 * bound


def test_each_bound_has_a_source_and_an_unknown_machine_has_none() -> None:
    for name in TRUE_PEAKS:
        widest = widest_instruction_set(machine_of(name))
        assert widest is not None
        assert re.search(r"\w", widest.source)
    assert peak_gflops(parse_machine({}), "double") is None
