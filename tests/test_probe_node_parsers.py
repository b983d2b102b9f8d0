"""The parsers of a node's raw texts: on what tools print, on generated text and on nonsense."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcagent.probe import (
    clocks,
    container,
    fabric,
    filesystems,
    frequency,
    gpus,
    hugepages,
    launchers,
    likwid,
    limits,
    lscpu,
    lstopo,
    measured,
    native,
    numa,
    perfaccess,
    quotas,
)
from hpcagent.probe.node import CacheLevel, FabricPort, Gpu, HugePagePool, NumaNode

FIXTURES = Path(__file__).parent / "fixtures" / "probe" / "node"


def text_of(name: str) -> str:
    return (FIXTURES / name).read_text(encoding="utf-8")


def test_every_fixture_says_whether_it_was_recorded_or_written() -> None:
    files = [path for path in FIXTURES.rglob("*") if path.is_file()]
    assert len(files) > 30
    assert all(path.name.startswith(("recorded-", "written-")) for path in files)


# --- topology ------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_lstopo_of_a_real_machine_in_both_formats(version: str) -> None:
    found = lstopo.parse_lstopo(text_of(f"lstopo/recorded-kvm-2cpu-{version}.xml"))
    assert found is not None
    assert (found.packages, found.cores, found.cpus, found.threads_per_core) == (1, 2, (0, 1), 1)
    assert [(node.index, node.cpus) for node in found.nodes] == [(0, (0, 1))]
    assert found.caches == (
        CacheLevel(1, "data", 2, 48 << 10, 1, 64),
        CacheLevel(1, "instruction", 2, 32 << 10, 1, 64),
        CacheLevel(2, "unified", 2, 2 << 20, 1, 64),
        CacheLevel(3, "unified", 1, 300 << 20, 2, 64),
    )
    assert "vda" in found.devices
    assert not found.synthetic


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_lstopo_of_many_numa_nodes_with_smt(version: str) -> None:
    found = lstopo.parse_lstopo(text_of(f"lstopo/recorded-synthetic-8numa-smt2-{version}.xml"))
    assert found is not None
    assert (found.packages, len(found.nodes), found.cores, len(found.cpus)) == (2, 8, 32, 64)
    assert found.threads_per_core == 2
    assert found.nodes[7].cpus == tuple(range(56, 64))
    assert CacheLevel(3, "unified", 16, 16 << 20, 4, 64) in found.caches
    assert found.synthetic


def test_lstopo_of_smt8_and_of_two_memories_at_the_same_cores() -> None:
    wide = lstopo.parse_lstopo(text_of("lstopo/recorded-synthetic-smt8-v2.xml"))
    assert wide is not None
    assert (wide.cores, wide.threads_per_core, wide.nodes[0].memory_bytes) == (3, 8, 64 << 30)
    hbm = lstopo.parse_lstopo(text_of("lstopo/recorded-synthetic-hbm-v2.xml"))
    assert hbm is not None
    assert [node.memory_bytes for node in hbm.nodes] == [16 << 30, 32 << 30]
    assert hbm.nodes[0].cpus == hbm.nodes[1].cpus == (0, 1, 2)


def test_lstopo_of_dies_groups_and_a_memory_side_cache() -> None:
    found = lstopo.parse_lstopo(text_of("lstopo/written-dies-groups-hbm-nvswitch-v2.xml"))
    assert found is not None
    assert (found.packages, found.cores, found.cpus) == (1, 4, (0, 1, 2, 3))
    assert [(node.index, node.cpus) for node in found.nodes] == [
        (0, (0, 1)),
        (1, (2, 3)),
        (2, (2, 3)),
    ]
    assert found.caches == (CacheLevel(3, "unified", 2, 32 << 20, 2, 64),)
    assert {"cuda0", "mlx5_0"} <= set(found.devices)


def test_lstopo_of_hybrid_cores() -> None:
    found = lstopo.parse_lstopo(text_of("lstopo/written-hybrid-v2.xml"))
    assert found is not None
    assert found.kinds == ((2, 3, 4, 5), (0, 1))
    assert (found.cores, len(found.cpus)) == (5, 6)
    sizes = [(cache.level, cache.instances, cache.size_bytes) for cache in found.caches]
    assert sizes == [(2, 1, 1280 << 10), (2, 1, 2 << 20), (3, 1, 12 << 20)]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<topology>",
        "<other/>",
        '<!DOCTYPE t [<!ENTITY a "b">]><topology>&a;</topology>',
        "\ud800",
        "<topology>\0</topology>",
    ],
)
def test_what_is_no_topology_is_none(text: str) -> None:
    assert lstopo.parse_lstopo(text) is None


@given(st.sets(st.integers(0, 5000), min_size=1))
def test_a_cpuset_survives_the_round_trip(cpus: set[int]) -> None:
    bits = sum(1 << cpu for cpu in cpus)
    words = []
    while bits:
        words.append(f"0x{bits & 0xFFFFFFFF:08x}" if bits & 0xFFFFFFFF else "")
        bits >>= 32
    assert lstopo.parse_cpuset(",".join(reversed(words))) == tuple(sorted(cpus))


@pytest.mark.parametrize("text", ["", "0xf...f", "0x0,zz", "x", "," * 5000])
def test_a_cpuset_without_end_or_sense_is_none(text: str) -> None:
    assert lstopo.parse_cpuset(text) is None


def test_likwid_topology_as_it_really_prints() -> None:
    found = likwid.parse_likwid_topology(text_of("likwid/recorded-topology-5.2.2-kvm-2cpu.csv"))
    assert found is not None
    assert (found.sockets, found.cores_per_socket, found.threads_per_core) == (1, 2, 1)
    assert found.cpu_name == "Intel(R) Xeon(R) Processor"
    assert found.threads == ((0, 0, 0), (1, 1, 0))
    assert found.caches[2] == CacheLevel(3, "unified", 1, 300 << 20, 2)
    assert found.nodes[0].cpus == (0, 1)
    assert found.nodes[0].distances == (10,)


def test_likwid_topology_of_two_sockets_and_of_an_older_version() -> None:
    epyc = likwid.parse_likwid_topology(text_of("likwid/written-topology-5.3-epyc7742-nps4.csv"))
    assert epyc is not None
    assert (epyc.sockets, epyc.cores_per_socket, epyc.threads_per_core) == (2, 2, 2)
    assert epyc.threads[7] == (7, 3, 1)
    assert epyc.caches[2] == CacheLevel(3, "unified", 2, 16 << 20, 4)
    assert [node.distances for node in epyc.nodes] == [(10, 32), (32, 10)]
    old = likwid.parse_likwid_topology(text_of("likwid/written-topology-4.3-haswell.csv"))
    assert old is not None
    assert old.cpu_type == "Intel Xeon Haswell EN/EP/EX processor"
    assert old.threads == ((0, 0, 0), (1, 1, 0), (2, 0, 0), (3, 1, 0))
    assert old.caches == (CacheLevel(1, "data", 2, 32 << 10, 2),)


def test_likwid_groups_in_brackets_and_memory_without_cpus() -> None:
    found = likwid.parse_likwid_topology(text_of("likwid/written-topology-brackets-hbm.csv"))
    assert found is not None
    shared = [(c.level, c.instances, c.size_bytes, c.shared_by) for c in found.caches]
    assert shared == [(1, 2, 48 << 10, 2), (2, 2, 2 << 20, 2), (3, 1, 112 << 20 | 1 << 19, 4)]
    assert [(n.id, n.cpus, n.distances) for n in found.nodes] == [
        (0, (0, 2, 1, 3), (10, 13)),
        (1, (), (13, 10)),
    ]


def test_why_likwid_perfctr_failed() -> None:
    name = "likwid/recorded-perfctr-5.2.2-unsupported"
    why = likwid.why_perfctr_failed(text_of(f"{name}.out"), text_of(f"{name}.err"))
    assert why == "Unsupported Processor"
    no_msr = text_of("likwid/written-perfctr-5.3-no-msr.err")
    assert likwid.why_perfctr_failed("", no_msr) == "Operation not permitted"
    assert likwid.why_perfctr_failed("", "") == "it printed nothing that tells why"


def test_numactl_with_and_without_gaps() -> None:
    (one,) = numa.parse_numactl(text_of("numactl/recorded-kvm-1node.txt"))
    assert (one.cpus, one.memory_bytes, one.distances) == ((0, 1), 17882 << 20, (10,))
    four = numa.parse_numactl(text_of("numactl/written-epyc7742-nps4.txt"))
    assert four[3].cpus == (12, 13, 14, 15, 28, 29, 30, 31)
    assert four[2].distances == (32, 32, 10, 12)
    power = numa.parse_numactl(text_of("numactl/written-power9-gaps.txt"))
    assert [(node.id, len(node.cpus)) for node in power] == [(0, 4), (8, 4), (254, 0), (255, 0)]
    assert power[2] == NumaNode(254, (), 15360 << 20, (80, 80, 10, 80))
    assert numa.parse_numactl(text_of("numactl/written-no-numa.txt")) == ()


@given(
    st.dictionaries(
        st.integers(0, 300),
        st.tuples(st.sets(st.integers(0, 4000)), st.integers(0, 10**7)),
        min_size=1,
        max_size=6,
    )
)
def test_numactl_survives_the_round_trip(nodes: dict[int, tuple[set[int], int]]) -> None:
    lines = [f"available: {len(nodes)} nodes"]
    for number, (cpus, size) in nodes.items():
        lines.append(f"node {number} cpus:" + "".join(f" {cpu}" for cpu in sorted(cpus)))
        lines.append(f"node {number} size: {size} MB")
    lines.append("node distances:")
    rows = {number: tuple(10 if x == number else 21 for x in nodes) for number in nodes}
    lines += [f"{number:>3}: " + "".join(f"{x:>4}" for x in row) for number, row in rows.items()]
    assert numa.parse_numactl("\n".join(lines)) == tuple(
        NumaNode(number, tuple(sorted(cpus)), size << 20, rows[number])
        for number, (cpus, size) in sorted(nodes.items())
    )


# --- processor -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "chosen", "option"),
    [
        ("recorded-gcc12-x86-native", "-march=cooperlake", "avx512f"),
        ("recorded-gcc12-aarch64-neoverse-v1", "-mcpu=neoverse-v1", "outline-atomics"),
        ("recorded-gcc12-ppc64le-power9", "-mcpu=power9", "vsx"),
    ],
)
def test_what_gcc_makes_of_a_processor(name: str, chosen: str, option: str) -> None:
    found = native.parse_target_help(text_of(f"gcc/{name}.txt"))
    assert found is not None
    assert found.chosen == chosen
    assert option in found.enabled
    assert "avx5124fmaps" not in found.enabled


@pytest.mark.parametrize("named", ["CPU", "<CPU>", ""])
def test_gcc_may_name_the_argument_behind_the_sign(named: str) -> None:
    arch = named.replace("CPU", "ARCH")
    text = f"  -march={arch}    \t\tarmv8.2-a+crypto\n  -mcpu={named}    \t\tneoverse-n1\n"
    found = native.parse_target_help(text)
    assert found is not None
    assert (found.march, found.chosen) == ("armv8.2-a+crypto", "-mcpu=neoverse-n1")


def test_policies_of_hybrid_cores_are_kept_apart() -> None:
    def files(policy: int, high: str) -> dict[str, str]:
        folder = f"/sys/devices/system/cpu/cpufreq/policy{policy}"
        return {
            f"{folder}/scaling_driver": "intel_pstate\n",
            f"{folder}/scaling_governor": "powersave\n",
            f"{folder}/cpuinfo_max_freq": high,
        }

    found = frequency.parse_policies(
        {**files(0, "5200000\n"), **files(1, "5200000\n"), **files(16, "3900000\n")}
    )
    assert [policy.high_mhz for policy in found] == [5200.0, 3900.0]
    assert found[0].base_mhz is None


@pytest.mark.parametrize(
    ("files", "allowed"),
    [
        ({frequency.NO_TURBO: "0\n"}, True),
        ({frequency.NO_TURBO: "1\n"}, False),
        ({frequency.BOOST: "1\n"}, True),
        ({frequency.BOOST: "0\n"}, False),
    ],
)
def test_turbo_by_either_driver(files: dict[str, str], allowed: bool) -> None:
    assert frequency.turbo(files) == (allowed, next(iter(files)))
    assert frequency.turbo({}) is None


# --- system --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("exists", "files", "environment", "kind"),
    [
        ({"/.dockerenv": True}, {}, {}, "docker"),
        ({"/run/.containerenv": True}, {}, {}, "podman"),
        ({"/.singularity.d": True, "/.dockerenv": True}, {}, {}, "apptainer"),
        ({}, {}, {"APPTAINER_NAME": "a.sif"}, "apptainer"),
        ({}, {}, {"container": "podman"}, "podman"),
        ({"/.dockerenv": True}, {}, {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, "kubernetes"),
        ({}, {"/run/systemd/container": "systemd-nspawn\n"}, {}, "systemd-nspawn"),
        ({}, {"/proc/1/environ": "container=lxc"}, {}, "lxc"),
        ({}, {"/proc/1/cgroup": "0::/kubepods.slice/pod7\n"}, {}, "kubernetes"),
        ({}, {"/proc/self/cgroup": "4:memory:/docker/0123456789ab\n"}, {}, "docker"),
        ({}, {"/proc/self/cgroup": "0::/user.slice/libpod-77.scope\n"}, {}, "podman"),
    ],
)
def test_containers_are_known_by_their_hints(
    exists: dict[str, object], files: dict[str, str], environment: dict[str, object], kind: str
) -> None:
    found = container.container(exists, files, environment)
    assert found is not None
    assert found.kind == kind
    assert found.hint


def test_a_batch_job_is_no_container() -> None:
    files = {"/proc/self/cgroup": "11:memory:/slurm/uid_1000/job_7/step_0\n", "/proc/1/environ": ""}
    assert container.container({"/.dockerenv": False}, files, {}) is None


@pytest.mark.parametrize(
    ("lscpu", "detected", "dmi", "features", "kind"),
    [
        ("KVM", "docker\n", "", "", "KVM"),
        (None, "amazon\n", "", "", "amazon"),
        (None, "none\n", "QEMU\n", "", "KVM"),
        (None, "docker\n", "", "hypervisor", "unknown kind"),
        (None, "docker\n", "Dell Inc.\n", "", None),
    ],
)
def test_hypervisors(
    lscpu: str | None, detected: str, dmi: str, features: str, kind: str | None
) -> None:
    files = {"/sys/class/dmi/id/sys_vendor": dmi}
    found = container.hypervisor(lscpu, detected, files, frozenset(features.split()))
    assert (found.kind if found else None) == kind


def test_limits_of_a_process() -> None:
    listed = {
        "RLIMIT_STACK": [8388608, -1],
        "RLIMIT_CORE": [0, 0],
        "RLIMIT_X": "odd",
        "odd": [1, 2],
    }
    assert limits.parse_limits(listed) == {
        "stack": limits.Limit(8388608, None),
        "core": limits.Limit(0, 0),
    }


def test_huge_page_pools_without_a_count_are_left_out() -> None:
    folder = "/sys/kernel/mm/hugepages/hugepages-"
    files = {
        f"{folder}1048576kB/nr_hugepages": "16\n",
        f"{folder}1048576kB/free_hugepages": "12\n",
        f"{folder}2048kB/nr_hugepages": "0\n",
        f"{folder}2048kB/nr_overcommit_hugepages": "512\n",
        f"{folder}64kB/free_hugepages": "1\n",
    }
    assert hugepages.parse_pools(files) == (
        HugePagePool(2 << 20, 0, 0, 512),
        HugePagePool(1 << 30, 16, 12, 0),
    )


def test_the_file_server_s_clock() -> None:
    ahead = clocks.file_skew({"before": 100.0, "file": 107.0, "after": 100.02})
    assert ahead is not None
    assert ahead.ahead_s == pytest.approx(6.995)
    assert ahead.error_s == pytest.approx(0.015)
    assert clocks.file_skew({"before": 2.0, "file": 1.0, "after": 1.0}) is None
    assert clocks.file_skew({"problem": "Read-only file system"}) is None


def test_what_keeps_the_clock() -> None:
    good = clocks.parse_chronyc(text_of("clocks/written-chronyc-normal.txt"))
    assert good == (True, pytest.approx(-1.2345e-5))
    bad = clocks.parse_chronyc(text_of("clocks/written-chronyc-not-synchronised.txt"))
    assert bad == (False, 2.5)
    kept = text_of("clocks/written-timedatectl-synchronised.txt")
    assert clocks.parse_timedatectl(kept) is True
    assert clocks.parse_timedatectl(text_of("clocks/recorded-timedatectl-no-systemd.err")) is None


def test_perf_levels() -> None:
    assert perfaccess.parse_paranoid("-1\n") == -1
    assert perfaccess.parse_paranoid("much") is None
    assert "CAP_PERFMON" in perfaccess.paranoid_means(4, root=False)
    assert perfaccess.counted(text_of("likwid/written-perfctr-5.3-counts.out"))
    assert not perfaccess.counted(text_of("likwid/recorded-perfctr-5.2.2-unsupported.out"))


# --- devices -------------------------------------------------------------------------------------


def test_nvidia_gpus_of_three_generations() -> None:
    four = gpus.parse_nvidia_smi(text_of("gpus/written-nvidia-4xa100.csv"))
    assert len(four) == 4
    assert four[0] == Gpu(
        *(0, "nvidia", "NVIDIA A100-SXM4-40GB", 40960 << 20, "0000:03:00.0", "535.129.03", "8.0")
    )
    assert [gpu.mig for gpu in four] == [False, False, False, True]
    (grace,) = gpus.parse_nvidia_smi(text_of("gpus/written-nvidia-gh200.csv"))
    assert (grace.bus, grace.capability, grace.mig) == ("0009:01:00.0", "9.0", False)
    old = gpus.parse_nvidia_smi(text_of("gpus/written-nvidia-old-k80.csv"))
    assert [gpu.memory_bytes for gpu in old] == [11441 << 20, None]
    assert gpus.parse_nvidia_smi(text_of("gpus/written-nvidia-no-driver.txt")) == ()


def test_a_gpu_that_needs_a_reset_and_one_in_parts() -> None:
    parts, silent, broken = gpus.parse_nvidia_smi(text_of("gpus/written-nvidia-mig-broken.csv"))
    assert (parts.mig, parts.memory_bytes) == (True, 81559 << 20)
    assert (silent.mig, silent.memory_bytes, silent.bus) == (False, None, "0001:2a:00.0")
    assert (broken.driver, broken.memory_bytes) == ("", None)
    text = "name, index, memory.total [MiB]\nTesla V100-SXM2-32GB, 3, 32768\n"
    assert gpus.parse_nvidia_smi(text) == (Gpu(3, "nvidia", "Tesla V100-SXM2-32GB", 32 << 30),)


def test_what_rocm_smi_does_not_know_is_no_name() -> None:
    card = {"Device Name": "AMD Instinct MI300X", "Card Series": "N/A", "Card Model": "0x74a1"}
    (gpu,) = gpus.parse_rocm_smi(json.dumps({"card0": card}))
    assert gpu.model == "AMD Instinct MI300X"


def test_amd_and_intel_gpus() -> None:
    old = gpus.parse_rocm_smi(text_of("gpus/written-rocm5-2xmi250.json"))
    assert [(gpu.index, gpu.bus) for gpu in old] == [(0, "0000:c1:00.0"), (1, "0000:c6:00.0")]
    (new,) = gpus.parse_rocm_smi(text_of("gpus/written-rocm6-mi300a.json"))
    assert new == Gpu(
        *(0, "amd", "AMD Instinct MI300A", 128 << 30, "0000:01:00.0", "6.8.5", "gfx942")
    )
    (intel,) = gpus.parse_xpu_smi(text_of("gpus/written-xpu-smi-max1550.json"))
    assert (intel.model, intel.bus) == ("Intel(R) Data Center GPU Max 1550", "0000:29:00.0")


def test_gpus_as_pci_devices_leave_out_a_server_s_display() -> None:
    def device(bus: str, vendor: str, number: str, kind: str) -> dict[str, str]:
        folder = f"/sys/bus/pci/devices/{bus}"
        return {f"{folder}/vendor": vendor, f"{folder}/device": number, f"{folder}/class": kind}

    files = {
        **device("0000:02:00.0", "0x1a03\n", "0x2000\n", "0x030000\n"),
        **device("0000:17:00.0", "0x10de\n", "0x2330\n", "0x030200\n"),
        **device("0000:c1:00.0", "0x1002\n", "0x740c\n", "0x038000\n"),
    }
    found = gpus.gpus_from_pci(files)
    assert [(gpu.vendor, gpu.model) for gpu in found] == [
        ("nvidia", "PCI device 10de:2330"),
        ("amd", "PCI device 1002:740c"),
    ]


def test_ports_from_ibv_devinfo() -> None:
    assert fabric.parse_ibv_devinfo(text_of("fabric/written-ibv_devinfo-2ports.txt")) == (
        FabricPort("mlx5_0", 1, "InfiniBand", "ACTIVE", None, "20.37.1014", "MT_0000000223"),
        FabricPort("mlx5_bond_0", 1, "RoCE", "DOWN", None, "16.35.2000", "MT_0000000080"),
    )


@pytest.mark.parametrize(
    ("device", "layer", "kind"),
    [
        ("mlx5_0", "InfiniBand", "InfiniBand"),
        ("irdma0", "Ethernet", "RoCE"),
        ("hfi1_0", "InfiniBand", "Omni-Path"),
        ("rdmap0s31", "Unspecified", "EFA"),
    ],
)
def test_ports_from_sysfs(device: str, layer: str, kind: str) -> None:
    folder = f"/sys/class/infiniband/{device}"
    files = {
        f"{folder}/fw_ver": "1.2.3\n",
        f"{folder}/ports/1/rate": "100 Gb/sec (4X EDR)\n",
        f"{folder}/ports/1/state": "4: ACTIVE\n",
        f"{folder}/ports/1/link_layer": f"{layer}\n",
    }
    (port,) = fabric.ports_from_sysfs(files)
    assert port == FabricPort(device, 1, kind, "ACTIVE", 100.0, "1.2.3")


def test_ibv_devinfo_with_rates_iwarp_and_ports_that_are_down() -> None:
    text = text_of("fabric/written-ibv_devinfo-verbose-iwarp-down.txt")
    told = [
        (x.device, x.port, x.kind, x.state, x.rate_gbit_s) for x in fabric.parse_ibv_devinfo(text)
    ]
    assert told == [
        ("mlx5_0", 1, "InfiniBand", "DOWN", 400.0),
        ("irdma0", 1, "iWARP", "ACTIVE", None),
        ("mlx4_0", 1, "InfiniBand", "ACTIVE", None),
        ("mlx4_0", 2, "RoCE", "DOWN", None),
    ]


def test_slingshot_is_seen_by_its_devices() -> None:
    (port,) = fabric.ports_from_sysfs({"/sys/class/cxi/cxi0/device/vendor": "0x17db\n"})
    assert (port.device, port.kind) == ("cxi0", "Slingshot")


def test_libfabric_s_providers_in_their_order() -> None:
    cray = fabric.parse_fi_info(text_of("fabric/written-fi_info-slingshot.txt"))
    assert cray == (fabric.Provider("cxi", ("cxi0", "cxi1")), fabric.Provider("tcp", ("hsn0",)))
    plain = fabric.parse_fi_info(text_of("fabric/recorded-fi_info-1.17-ethernet.txt"))
    assert plain[0].name == "tcp;ofi_rxm"
    assert {"shm", "tcp", "udp"} <= {provider.name for provider in plain}


def test_interfaces_of_ten_gigabits_and_more() -> None:
    speeds = {"eno1": "1000\n", "ens1": "25000\n", "hsn0": "200000\n", "eth0": "-1\n"}
    files = {f"/sys/class/net/{name}/speed": speed for name, speed in speeds.items()}
    assert fabric.fast_interfaces(files) == {"ens1": 25000, "hsn0": 200000}


# --- file systems and launchers ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "kind", "shared", "point"),
    [
        ("/home/u2/x", "nfs4", True, "/home"),
        ("/home/u1/x", "nfs4", True, "/home/u1"),
        ("/lustre/scratch/u1", "lustre", True, "/lustre/scratch"),
        ("/gpfs/project", "gpfs", True, "/gpfs/project"),
        ("/beegfs/a", "beegfs", True, "/beegfs"),
        ("/mnt/node local/a", "xfs", False, "/mnt/node local"),
        ("/mnt/share/a", "9p", None, "/mnt/share"),
        ("/homeless", "overlay", False, "/"),
    ],
)
def test_shared_and_local_places(path: str, kind: str, shared: bool | None, point: str) -> None:
    mounts = filesystems.parse_mountinfo(text_of("filesystems/written-mountinfo-cluster.txt"))
    found = filesystems.mount_of(path, mounts)
    assert found is not None
    assert (found.kind, filesystems.is_shared(found.kind), found.point) == (kind, shared, point)


def test_mounts_and_space_of_a_real_machine() -> None:
    mounts = filesystems.parse_mountinfo(text_of("filesystems/recorded-mountinfo-cgroup1.txt"))
    root = filesystems.mount_of("/tmp/x", mounts)
    assert root is not None
    assert (root.kind, root.source) == ("ext4", "/dev/vda")
    space = filesystems.parse_df(text_of("filesystems/recorded-df-ext4.txt"))
    assert space is not None
    assert (space.kind, space.mount) == ("ext4", "/")
    assert 0 < space.free_bytes < space.size_bytes


def test_space_of_sources_and_mounts_with_blanks() -> None:
    space = filesystems.parse_df(text_of("filesystems/written-df-long-name.txt"))
    assert space == filesystems.Space(
        "//server/my share", "cifs", 100 << 30, 10 << 30, "/mnt/my share"
    )


def test_quotas() -> None:
    assert quotas.parse_quotas(text_of("filesystems/written-quota.txt")) == (
        quotas.Quota("files2.example.org:/export/u1", 90 << 30, 100 << 30),
        quotas.Quota("/dev/sdb1", 5000 << 10, 4000 << 10),
    )
    (lustre,) = quotas.parse_quotas(text_of("filesystems/written-lfs-quota.txt"))
    assert (lustre.used_bytes, lustre.limit_bytes) == (1 << 20, 3 << 30)
    broken = (
        "/a/very/long/path/of/a/user\n                   12       0       0       -   1 0 0 -\n"
    )
    assert quotas.parse_quotas(broken) == (
        quotas.Quota("/a/very/long/path/of/a/user", 12 << 10, None),
    )


def test_srun_s_mpi_types_of_three_versions() -> None:
    recorded = launchers.parse_mpi_list(text_of("slurm/recorded-mpi-list-22.05.out"), "")
    assert recorded == launchers.MpiTypes(("pmix", "none", "cray_shasta", "pmi2"), ("pmix_v4",))
    old = launchers.parse_mpi_list("", text_of("slurm/written-mpi-list-20.11.err"))
    assert old == launchers.MpiTypes(("none", "openmpi", "pmi2", "pmix", "pmix_v3"), ())
    new = launchers.parse_mpi_list(text_of("slurm/written-mpi-list-23.11.out"), "")
    assert new is not None
    assert new.versions == ("pmix_v3", "pmix_v4")
    broken = text_of("slurm/recorded-mpi-list-no-config.err")
    assert launchers.parse_mpi_list("", broken) is None
    config = text_of("slurm/written-scontrol-config.txt")
    assert launchers.parse_mpi_default(config) == "pmix"


def test_srun_s_mpi_types_of_an_old_slurm() -> None:
    found = launchers.parse_mpi_list("", "srun: MPI types are...\nsrun: mpi/pmi2\nsrun: mpi/none\n")
    assert found is not None
    assert found.types == ("pmi2", "none")


# --- measured rates ------------------------------------------------------------------------------


def record(**line: Any) -> dict[str, Any]:
    whole = {"kernel": "triad", "threads": 4, "unbound": 0, "wrong": 0, "busy": 1.0, **line}
    return {"exit": 0, "problem": "", "stdout": json.dumps(whole)}


def test_the_triad_counts_three_arrays() -> None:
    rate = measured.parse_rate(record(array_bytes=1 << 30, best_s=0.5))
    assert isinstance(rate, measured.Rate)
    assert rate.rate == 3 * (1 << 30) / 0.5
    assert not rate.disturbed


@pytest.mark.parametrize(
    ("given_record", "why"),
    [
        (record(wrong=2, array_bytes=8, best_s=1.0), "2 of 4 threads gave a wrong answer"),
        (record(kernel="double", flops="much"), "its answer could not be read"),
        (record(array_bytes=8, best_s=0.0), "its answer could not be read"),
        ({"exit": -4, "problem": "killed by SIGILL"}, "killed by SIGILL"),
        (
            {"exit": -14, "problem": "killed by SIGALRM"},
            "it did not end within its time limit: the CPUs are busy, or memory is very slow",
        ),
        ({"exit": 1, "problem": "", "stdout": ""}, "it ended with exit code 1"),
        ({"exit": 0, "problem": "", "stdout": "{"}, "its answer could not be read"),
        (None, "it was not run"),
    ],
)
def test_a_rate_that_cannot_be_believed_says_why(given_record: Any, why: str) -> None:
    assert measured.parse_rate(given_record) == why


@given(st.floats(1e-9, 1e3), st.integers(8, 1 << 40), st.floats(0.01, 1.0))
def test_rates_survive_the_round_trip(best: float, size: int, busy: float) -> None:
    rate = measured.parse_rate(record(best_s=best, array_bytes=size, busy=busy))
    assert isinstance(rate, measured.Rate)
    assert rate.rate == pytest.approx(3 * size / best)
    assert rate.disturbed == (busy < 0.9)


# --- nonsense ------------------------------------------------------------------------------------

ODD = st.text() | st.text(
    alphabet=" \t\n,:;-/()[]{}\"'<>=*|.0123456789abcdefxKMGTB%STRUCTPUcpunodeport"
)


@given(ODD, ODD)
def test_no_text_upsets_a_parser(text: str, other: str) -> None:
    lscpu.parse_cache_table(text)
    lscpu.parse_cache_table(f"# CPU,,L1d,L3\n{text}")
    lstopo.parse_lstopo(text)
    lstopo.parse_lstopo(f"<topology>{text}</topology>")
    lstopo.parse_cpuset(text)
    likwid.parse_likwid_topology(f"STRUCT,Hardware Thread Topology,3\n{text}")
    likwid.why_perfctr_failed(text, other)
    numa.parse_numactl(text)
    numa.parse_distances(text)
    native.parse_target_help(text)
    container.parse_os_release(text)
    clocks.parse_chronyc(text)
    clocks.parse_timedatectl(text)
    perfaccess.parse_paranoid(text)
    perfaccess.counted(text)
    gpus.parse_nvidia_smi(f"index, name\n{text}")
    gpus.parse_rocm_smi(text)
    gpus.parse_xpu_smi(text)
    fabric.parse_ibv_devinfo(text)
    fabric.parse_fi_info(text)
    filesystems.parse_mountinfo(text)
    filesystems.parse_df(text)
    quotas.parse_quotas(text)
    launchers.parse_mpi_list(text, other)
    launchers.parse_mpi_default(text)
    measured.parse_rate({"exit": 0, "stdout": text})


@given(ODD)
def test_no_text_of_a_file_upsets_a_parser(text: str) -> None:
    cpu, bus = "/sys/devices/system/cpu", "/sys/bus/pci/devices/0000:00:02.0"
    folder = "/sys/class/infiniband/mlx5_0"
    frequency.parse_policies(
        {f"{cpu}/cpufreq/policy0/{x}": text for x in ("scaling_driver", "cpuinfo_max_freq")}
    )
    frequency.turbo({frequency.NO_TURBO: text, frequency.BOOST: text})
    hugepages.parse_pools({"/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages": text})
    numa.nodes_from_sysfs({f"/n/node0/{x}": text for x in ("cpulist", "distance", "meminfo")})
    gpus.gpus_from_pci({f"{bus}/{x}": text for x in ("vendor", "device", "class")})
    fabric.ports_from_sysfs({f"{folder}/ports/1/{x}": text for x in ("rate", "state")})
    fabric.fast_interfaces({"/sys/class/net/eth0/speed": text})
    container.container({}, {"/proc/1/environ": text, "/proc/1/cgroup": text}, {"container": text})
    container.hypervisor(None, text, {"/sys/class/dmi/id/sys_vendor": text}, frozenset())


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(VALUES, VALUES)
def test_no_json_document_upsets_a_parser(value: Any, other: Any) -> None:
    text = json.dumps({"card0": value, "system": other, "device_list": value})
    gpus.parse_rocm_smi(text)
    gpus.parse_xpu_smi(text)
    names = ("kernel", "threads", "wrong", "busy", "array_bytes", "best_s", "flops")
    measured.parse_rate(record(**dict.fromkeys(names, value)))
    limits.parse_limits({"RLIMIT_STACK": value, "RLIMIT_CORE": [value, other]})
    clocks.file_skew({"before": value, "file": other, "after": value})
