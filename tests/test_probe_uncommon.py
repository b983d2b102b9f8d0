"""Machines of uncommon shape: what lscpu numbers oddly, empty CPU slots, cores without a name.

The shapes are those of recorded machines in the tests of util-linux and hwloc; the texts are
written anew.
"""

from __future__ import annotations

from typing import Any

from hpcagent.probe.machine import parse_machine
from hpcagent.probe.microarch import Processor, identify
from hpcagent.probe.nodefacts import parse_node
from hpcagent.records import Machine

CPU = "/sys/devices/system/cpu"
ARM_V9 = "asimd fphp asimdhp sve sve2 i8mm bf16"


def facts(
    cores: list[int],
    siblings: list[str],
    cpuinfo: str = "",
    files: dict[str, str] | None = None,
) -> dict[str, Any]:
    """`cores` is lscpu's number of each CPU's core; `siblings` the kernel's lists of threads."""
    table = "".join(f"{cpu},{core},0,0\n" for cpu, core in enumerate(cores))
    lists = {
        f"{CPU}/cpu{text.partition('-')[0]}/topology/thread_siblings_list": f"{text}\n"
        for text in siblings
    }
    return {
        "uname": {"machine": "aarch64"},
        "commands": {"lscpu_parse": {"argv": ["lscpu"], "exit": 0, "stdout": table}},
        "affinity": list(range(len(cores))),
        "files": {"/proc/cpuinfo": cpuinfo, **lists},
        "parts": {"node": {"commands": {}, "files": files or {}}},
    }


def cores_of(machine: Machine) -> int:
    return len({(cpu.socket, cpu.core) for cpu in machine.cpus})


def test_cores_that_lscpu_numbers_alike_are_told_apart_as_the_kernel_does() -> None:
    """Two kinds of cores in two clusters: util-linux before 2.41 counts from 0 in each."""
    raw = facts([0, 1, 0, 1, 0, 1, 0, 1], [str(cpu) for cpu in range(8)])
    machine = parse_machine(raw)
    assert (cores_of(machine), machine.threads_per_core, machine.usable_cores) == (8, 1, 8)
    node = parse_node(raw)
    assert node.value("cores") == 8
    cores = node.get("cores")
    assert cores is not None
    assert "thread_siblings_list" in cores.source
    assert "lscpu: 1 sockets, 2 cores" in str(node.value("agreement"))
    assert node.get("siblings") is None


def test_cores_that_lscpu_tells_apart_stay_apart() -> None:
    """A kernel that knows no topology lists all CPUs as siblings of each other."""
    assert cores_of(parse_machine(facts([0, 1], ["0-1"]))) == 2
    assert cores_of(parse_machine(facts([0, 1, 0, 1], ["0,2", "1,3"]))) == 2


def test_siblings_of_some_cpus_alone_change_nothing() -> None:
    assert cores_of(parse_machine(facts([0, 0, 1, 1], ["0", "1"]))) == 2


def test_empty_slots_are_no_offline_cpus() -> None:
    told = {f"{CPU}/offline": "1,4-511\n", f"{CPU}/present": "0-3\n"}
    assert parse_node(facts([0], ["0"], files=told)).value("offline_cpus") == "1"
    only_slots = {f"{CPU}/offline": "4-511\n", f"{CPU}/present": "0-3\n"}
    assert parse_node(facts([0], ["0"], files=only_slots)).get("offline_cpus") is None
    old = {f"{CPU}/offline": "2-3\n"}
    assert parse_node(facts([0], ["0"], files=old)).value("offline_cpus") == "2-3"


def test_a_part_that_archspec_does_not_know_is_said_to_be_a_related_one() -> None:
    features = frozenset(ARM_V9.split()) | {
        *("aes", "asimddp", "asimdfhm", "asimdrdm", "atomics", "cpuid", "crc32", "dcpodp", "dcpop"),
        *("evtstrm", "fcma", "flagm", "flagm2", "fp", "frint", "ilrcpc", "jscvt", "lrcpc"),
        *("paca", "pacg", "pmull", "sb", "sha1", "sha2", "sha3", "sha512", "sm3", "sm4", "ssbs"),
        *("uscat", "dit", "svebf16", "svei8mm", "bti", "dgh", "ecv", "rng", "sveaes"),
        *("svebitperm", "svepmull", "svesha3", "svesm4"),
    }
    known = identify(Processor("aarch64", "0x41", features, ("0xd4f",)))
    assert (known.name, known.reason) == ("neoverse_v2", "")
    new = identify(Processor("aarch64", "0x41", features, ("0xd87", "0xd85")))
    assert "archspec knows no part 0xd87, 0xd85" in new.reason
    assert new.name in new.reason


def test_names_and_numbers_of_processors_that_lscpu_does_not_name() -> None:
    arm = "processor: 0\nCPU implementer: 0x41\nCPU part: 0xd87\n"
    two = arm + "\n" + arm.replace("0xd87", "0xd85")
    told = "implementer 0x41 part 0xd87 + implementer 0x41 part 0xd85"
    assert parse_machine(facts([0], ["0"], two)).cpu_model == told
    loong = "system type: generic\n\nprocessor: 0\nModel Name: Loongson-3A5000\n"
    assert parse_machine(facts([0], ["0"], loong)).cpu_model == "Loongson-3A5000"
    riscv = "processor: 0\nisa: rv64imafdcv\nmvendorid: 0x5b7\nmarchid: 0x0\n"
    assert parse_machine(facts([0], ["0"], riscv)).cpu_model == "vendor 0x5b7 architecture 0x0"
    qemu = "processor: 0\nisa: rv64imafdc\nmvendorid: 0x0\n"
    assert parse_machine(facts([0], ["0"], qemu)).cpu_model == "unknown"
