"""Whole nodes, from raw facts to what a user reads: recorded, written and collected here."""

from __future__ import annotations

import ast
import json
import os
import shutil
import stat
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_probe_collect import facts_in
from test_probe_machine import FIXTURES, facts_of

from hpcagent.probe import collect, collect_node, collect_rates
from hpcagent.probe.machine import parse_machine
from hpcagent.probe.microarch import Processor, why_not
from hpcagent.probe.node import (
    CONFIDENCES,
    SECTIONS,
    Absent,
    CacheLevel,
    FabricPort,
    Fact,
    FileSystem,
    Gpu,
    NodeFacts,
    NumaNode,
    node_facts,
)
from hpcagent.probe.nodefacts import parse_node
from hpcagent.report.probe_text import (
    ProbeSection,
    Row,
    age_s,
    probe_json,
    probe_page,
    probe_sections,
    probe_title,
)

RECORDED = FIXTURES / "node" / "recorded-debian12-kvm-docker.json"
EPYC = "rocky8-epyc7742-nps4-zen2"
POWER = "rhel8-ac922-smt4-power9le"
GRAVITON = "amazon2023-graviton3-neoverse_v1"
HYBRID = "ubuntu24.04-i9-12900k-alderlake"
WRITTEN = (EPYC, POWER, GRAVITON, HYBRID)


def raw_of(name: str) -> dict[str, Any]:
    if name == "recorded":
        found: dict[str, Any] = json.loads(RECORDED.read_text(encoding="utf-8"))
        return found
    node = json.loads((FIXTURES / "machines" / name / "node.json").read_text(encoding="utf-8"))
    return {**facts_of(name), "parts": {"node": node}}


def node_of(name: str) -> NodeFacts:
    return parse_node(raw_of(name))


# --- facts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["recorded", *WRITTEN])
def test_every_fact_has_a_source_and_every_absent_one_a_reason(name: str) -> None:
    node = node_of(name)
    assert len(node.facts) > 20
    for fact in node.facts:
        assert fact.source
        assert fact.confidence in CONFIDENCES
        assert fact.section in SECTIONS
    assert all(item.why and item.section in SECTIONS for item in node.absent)
    names = [fact.name for fact in node.facts] + [item.name for item in node.absent]
    assert len(names) == len(set(names))
    order = [SECTIONS.index(fact.section) for fact in node.facts]
    assert order == sorted(order)


def test_a_recorded_virtual_machine() -> None:
    node = node_of("recorded")
    assert node.value("microarchitecture") == "icelake"
    assert node.value("not_microarchitecture") == ("sapphirerapids: lacks waitpkg",)
    assert node.value("compiler_native") == "-march=cooperlake"
    assert node.value("agreement") == "yes: lscpu, lstopo, likwid-topology"
    assert (node.value("container"), node.value("hypervisor")) == ("docker", "KVM")
    assert node.value("likwid_perfctr") == "not usable: Unsupported Processor"
    assert node.value("limit_memlock") == 8 << 20
    assert node.value("gpus") == "none"
    bandwidth, peak = node.get("memory_bandwidth"), node.get("peak_double_core")
    assert bandwidth is not None
    assert peak is not None
    assert (bandwidth.confidence, bandwidth.unit) == ("measured", "B/s")
    assert "something else ran" in bandwidth.note
    assert "512-bit" in peak.note
    assert "Could not establish a configuration source" in (node.why_not("srun_mpi") or "")


def test_a_gpu_node_of_a_cluster() -> None:
    node = node_of(EPYC)
    gpus, ports, places = (node.value(x) for x in ("gpus", "ports", "file_systems"))
    assert isinstance(gpus, tuple)
    assert isinstance(gpus[0], Gpu)
    assert len(gpus) == 4
    assert node.value("visible_gpus") == "CUDA_VISIBLE_DEVICES=0,1"
    assert ports == (
        *(FabricPort("mlx5_0", 1, "InfiniBand", "ACTIVE", 200.0, "20.37.1014", "MT_0000000223"),),
        *(FabricPort("mlx5_1", 1, "RoCE", "DOWN", 25.0),),
    )
    assert isinstance(places, tuple)
    run, home = (place for place in places if isinstance(place, FileSystem))
    assert (run.kind, run.shared, run.quota_bytes) == ("lustre", True, 3 << 30)
    assert (home.mount, home.quota_used_bytes) == ("/home/u1", 90 << 30)
    dead = "/gpfs/project/dead (on /gpfs/project, gpfs): df: timed out after 20 s"
    assert node.why_not("file system of SCRATCH") == dead
    assert node.value("srun_mpi_default") == "pmix"
    assert node.value("container") == "none"
    assert node.value("/dev/nvidiactl") == "read and write"
    assert node.value("msr") == "no access"
    skew = node.value("clock_skew")
    assert skew == pytest.approx(7.495)


def test_figures_that_cannot_be_are_not_shown() -> None:
    node = node_of(EPYC)
    assert node.why_not("peak_single") == "3 of 256 threads gave a wrong answer"
    raw = raw_of(EPYC)
    runs = raw["parts"]["node"]["measured"]["runs"]
    line = json.loads(runs["double_all"]["stdout"])
    runs["double_all"]["stdout"] = json.dumps({**line, "flops": 1e15})
    assert "not believed" in (parse_node(raw).why_not("peak_double") or "")


def test_numa_nodes_with_distances_and_gaps() -> None:
    epyc = node_of(EPYC).value("numa")
    assert isinstance(epyc, tuple)
    assert isinstance(epyc[7], NumaNode)
    assert epyc[7].distances == (32, 32, 32, 32, 12, 12, 12, 10)
    assert epyc[7].cpus == (*range(112, 128), *range(240, 256))
    power = node_of(POWER).value("numa")
    assert isinstance(power, tuple)
    ids = [node.id for node in power if isinstance(node, NumaNode)]
    assert ids[0:2] == [0, 8]
    assert ids[-1] == 255


def test_caches_are_counted_by_lscpu_s_table_where_lstopo_is_missing() -> None:
    caches = node_of(EPYC).value("caches")
    assert isinstance(caches, tuple)
    assert CacheLevel(3, "unified", 32, 16 << 20, 8) in caches


def test_a_broken_driver_leaves_the_gpu_visible_and_says_so() -> None:
    assert node_of(POWER).value("server") == "8335-GTH"
    fact = node_of(POWER).get("gpus")
    assert fact is not None
    assert isinstance(fact.value, tuple)
    assert fact.confidence == "derived"
    assert "couldn't communicate with the NVIDIA driver" in fact.note


def test_hybrid_cores_and_a_forbidden_turbo() -> None:
    node = node_of(HYBRID)
    caches = node.value("caches")
    assert isinstance(caches, tuple)
    assert [cache for cache in caches if isinstance(cache, CacheLevel) and cache.level == 2] == [
        CacheLevel(2, "unified", 8, 1280 << 10, 2),
        CacheLevel(2, "unified", 2, 2048 << 10, 4),
    ]
    assert node.value("core_kinds") == ("performance: 0-15", "efficiency: 16-23")
    assert node.value("turbo") == "off"
    assert node.value("base_clock") == 3200.0
    governor = node.get("governor")
    assert governor is not None
    assert governor.note == "energy preference balance_performance"


def test_a_container_in_the_cloud_on_aarch64() -> None:
    node = node_of(GRAVITON)
    assert (node.value("container"), node.value("hypervisor")) == ("apptainer", "amazon")
    assert node.value("compiler_native") == "-mcpu=neoverse-v1"


def test_tools_that_disagree_are_quoted() -> None:
    raw = raw_of("recorded")
    eight = (FIXTURES / "node/lstopo/recorded-synthetic-8numa-smt2-v2.xml").read_text()
    raw["parts"]["node"]["commands"]["lstopo"]["stdout"] = eight
    value = parse_node(raw).value("agreement")
    assert isinstance(value, str)
    assert value.startswith("no: lscpu: 1 sockets, 2 cores, 2 CPUs; lstopo: 2 sockets, 32 cores")


def test_without_the_part_everything_is_absent_with_a_reason() -> None:
    node = parse_node({"schema": 1})
    assert node.facts == ()
    assert {item.why for item in node.absent} == {"the part node was not collected"}
    lost = parse_node({"parts": {"node": {"problem": "no collect_node.py beside collect.py"}}})
    assert {item.why for item in lost.absent} == {"no collect_node.py beside collect.py"}


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
PARTS = ("commands", "files", "devices", "exists", "environment", "launchers")


@settings(max_examples=40)
@given(
    st.dictionaries(st.sampled_from([*PARTS, "places", "clock", "measured", "user"]), VALUES),
    st.sampled_from(["commands", "files", "limits", "affinity", "uname"]),
    VALUES,
)
def test_odd_facts_are_absent_facts(part: dict[str, Any], name: str, odd: Any) -> None:
    raw = raw_of(POWER)
    raw["parts"]["node"].update(part)
    raw[name] = odd
    node = parse_node(raw)
    assert probe_page("", probe_sections(node), 80)


# --- what a processor is not ---------------------------------------------------------------------


def test_why_a_processor_is_not_the_next_ones() -> None:
    from archspec.cpu import TARGETS

    zen2 = TARGETS["zen2"].features
    reasons = why_not(Processor("x86_64", "AuthenticAMD", frozenset(zen2)), "zen2")
    assert [(item.name, item.lacks) for item in reasons] == [
        ("zen3", ("pku", "vaes", "vpclmulqdq"))
    ]
    newest = why_not(Processor("x86_64", "AuthenticAMD", frozenset(zen2)), "no such name")
    assert newest == ()


def test_why_not_on_power_and_on_an_unknown_arm_part() -> None:
    power = why_not(Processor("ppc64le", "", frozenset(), (), 8), "power8le")
    assert [(item.name, item.other) for item in power] == [("power9le", "it is of generation 8")]
    some = Processor("aarch64", "0x41", frozenset({"asimd"}), ("0xd99",))
    assert all(item.lacks or item.other for item in why_not(some, "aarch64"))


# --- the collector -------------------------------------------------------------------------------


def collected(folder: Path, request: dict[str, Any], path: str | None = None) -> dict[str, Any]:
    """The facts that copies of the collector, started as in a job, leave in a folder."""
    home = Path(collect.__file__).parent
    for name in ("collect.py", "collect_node.py", *collect_node.BESIDE):
        shutil.copy(home / name, folder)
    (folder / "request.json").write_text(json.dumps({"schema": 1, "timeout_s": 20, **request}))
    environment = {**os.environ, "TMPDIR": str(folder), "MYSCRATCH": str(folder / "no such")}
    done = subprocess.run(
        [sys.executable, "-I", "collect.py", "request.json", "facts.json"],
        cwd=folder,
        env={**environment, **({"PATH": path} if path else {})},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return facts_in(folder)


@pytest.mark.parametrize("module", [collect_node, collect_rates])
def test_the_part_is_python_3_6_and_standard_library_only(module: ModuleType) -> None:
    tree = ast.parse(Path(module.__file__ or "").read_text(), feature_version=(3, 6))
    names = [
        alias.name if isinstance(node, ast.Import) else node.module or ""
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    ]
    assert {name.partition(".")[0] for name in names} <= sys.stdlib_module_names


def test_this_machine(tmp_path: Path) -> None:
    raw = collected(tmp_path, {"parts": ["node"]})
    node = parse_node(raw)
    assert {path.name for path in tmp_path.iterdir()} == {
        *("collect.py", "collect_node.py", "collect_rates.py", "nodebench.c"),
        *("request.json", "facts.json", "done.json"),
    }
    assert node.value("kernel") == os.uname().release
    places = node.value("file_systems")
    assert isinstance(places, tuple)
    paths = {place.role: place.path for place in places if isinstance(place, FileSystem)}
    assert paths["run directory, TMPDIR"] == str(tmp_path)
    assert "no such" in (node.why_not("file system of MYSCRATCH") or "").lower()
    skew = node.value("clock_skew")
    assert isinstance(skew, float)
    assert node.why_not("memory_bandwidth") == "measuring was not asked for"
    text = json.dumps(probe_json(parse_machine(raw), node, "x", raw["t_utc"]))
    assert json.loads(text)["host"] == raw["host"]


def test_tools_that_hang_fail_or_flood_are_recorded(tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    scripts = {
        "nvidia-smi": "sleep 600",
        "fi_info": "echo lost >&2; exit 3",
        "lstopo-no-graphics": "head -c 3000000 /dev/zero | tr '\\0' x",
        "srun": "kill -SEGV $$",
    }
    for name, script in scripts.items():
        (tools / name).write_text(f"#!/bin/sh\n{script}\n")
        (tools / name).chmod(stat.S_IRWXU)
    request = {"parts": ["node"], "timeout_s": 1}
    node = parse_node(collected(tmp_path, request, f"{tools}:{os.environ['PATH']}"))
    gpus = node.get("gpus")
    assert gpus is not None
    assert "nvidia-smi: timed out after 1 s" in gpus.note
    assert node.why_not("libfabric") == "fi_info ended with exit code 3: lost"
    assert node.why_not("lstopo") is not None
    assert node.why_not("srun_mpi") == "srun --mpi=list: killed by SIGSEGV"
    assert (tmp_path / "facts.json").stat().st_size < 4 * collect_node.MAX_BYTES


def test_the_budget_bounds_all_commands_together(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []

    def run(argv: list[str], timeout_s: float, environment: Any = None) -> dict[str, Any]:
        asked.append(timeout_s)
        return {"argv": argv, "exit": None, "stdout": "", "stderr": "", "problem": "timed out"}

    monkeypatch.setattr(collect_node.time, "monotonic", lambda: sum(asked))
    facts = collect_node.collect({"timeout_s": 20.0, "budget_s": 50}, run)
    assert sum(asked) <= 50
    assert facts["commands"]["gcc_native"]["problem"] == "no time"


def test_an_unknown_part_is_a_problem_and_the_rest_goes_on(tmp_path: Path) -> None:
    raw = collected(tmp_path, {"parts": ["../node", "nothing"]})
    assert raw["parts"]["nothing"] == {"problem": "no collect_nothing.py beside collect.py"}
    assert "problem" in raw["parts"]["../node"]


@pytest.mark.toolchain
def test_rates_are_measured_and_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(collect_rates, "BYTES_A_CPU", 4 << 20)
    monkeypatch.setattr(collect_rates, "TRIAD_S", 0.1)
    monkeypatch.setattr(collect_rates, "FLOPS_S", 0.2)
    raw = raw_of("recorded")
    compilers = [{"language": "c", "command": "cc", "path": shutil.which("cc")}]
    request = {"timeout_s": 60.0, "measure": True, "facts": {"compilers": compilers}}
    raw["parts"]["node"]["measured"] = collect_rates.measure(request, collect.run)
    # The recorded processor is not this one: only its bound must not stand in the way.
    raw["commands"]["lscpu"]["stdout"] = "CPU max MHz: 9000\n"
    node = parse_node(raw)
    for name in ("memory_bandwidth", "peak_double_core", "peak_double", "peak_single"):
        fact = node.get(name)
        assert fact is not None, node.why_not(name)
        assert isinstance(fact.value, float)
        assert fact.value > 1e7
        assert fact.confidence == "measured"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.toolchain
def test_without_a_working_compiler_the_reason_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    compilers = [{"language": "c", "command": "cc", "path": shutil.which("false")}]
    found = collect_rates.measure({"facts": {"compilers": compilers}}, collect.run)
    assert found["problem"] == "no C compiler could compile nodebench.c"
    assert len(found["compile"]) == 3


def test_a_quota_bounds_the_threads_and_a_limit_the_memory() -> None:
    files = {"/c/cpu.max": "150000 100000\n", "/c/memory.max": "805306368\n"}
    assert len(collect_rates.usable_cpus({"files": files})) == 1
    old = {"/c/cpu.cfs_quota_us": "-1\n", "/c/cpu.cfs_period_us": "100000\n"}
    assert len(collect_rates.usable_cpus({"files": old})) == len(os.sched_getaffinity(0))
    assert collect_rates.memory_rooms({"files": files})[0][0] <= 805306368 // 2


@pytest.mark.parametrize(
    ("environment", "room"),
    [
        ({"SLURM_MEM_PER_NODE": "300"}, (150 << 20, "SLURM_MEM_PER_NODE")),
        ({"SLURM_MEM_PER_CPU": "50", "SLURM_CPUS_ON_NODE": "4"}, (100 << 20, "SLURM_MEM_PER_CPU")),
        ({"SLURM_MEM_PER_CPU": "60"}, (30 << 20, "SLURM_MEM_PER_CPU")),
        ({"SLURM_MEM_PER_NODE": "0"}, None),  # all that the node has
        ({"SLURM_MEM_PER_NODE": "much"}, None),
    ],
)
def test_what_slurm_gives_a_job_bounds_the_arrays(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], room: tuple[int, str] | None
) -> None:
    for name in ("MEM_PER_NODE", "MEM_PER_CPU", "CPUS_ON_NODE"):
        monkeypatch.delenv(f"SLURM_{name}", raising=False)
    before = collect_rates.memory_rooms({})[0]
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert collect_rates.memory_rooms({})[0] == (room or before)
    for least in (0, 5 << 20, 1 << 40):
        _, size, wished = collect_rates.array_bytes(least, 2)
        assert size <= max(1 << 20, least // 3)
        assert size <= wished
    assert (size, bool(size)) == (wished, True)


@pytest.mark.toolchain
def test_a_job_with_little_memory_says_why_there_is_no_bandwidth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "6")
    monkeypatch.setattr(collect_rates, "FLOPS_S", 0.05)
    compilers = [{"language": "c", "command": "cc", "path": shutil.which("cc")}]
    raw = raw_of("recorded")
    measured = collect_rates.measure({"facts": {"compilers": compilers}}, collect.run)
    raw["parts"]["node"]["measured"] = {**measured, "cache_bytes": 8 << 20}
    why = parse_node(raw).why_not("memory_bandwidth") or ""
    if "triad" not in measured["runs"]:  # the caches here hold more than 3 MiB
        assert why.startswith("SLURM_MEM_PER_NODE leaves 3 MiB"), why
    assert measured["small"] == "SLURM_MEM_PER_NODE leaves 3 MiB"
    assert parse_node(raw).why_not("peak_double") is None


# --- the page ------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [50, 72, 80, 200])
@pytest.mark.parametrize("name", ["recorded", *WRITTEN])
def test_a_page_fits_the_terminal_and_hides_nothing(name: str, columns: int) -> None:
    raw = raw_of(name)
    node = parse_node(raw)
    page = probe_page(probe_title(parse_machine(raw), ""), probe_sections(node), columns)
    lines = page.splitlines()
    assert max(map(len, lines)) <= min(columns, 80)
    assert all(line == line.rstrip() for line in lines)
    titles = [line for line in lines if line and not line.startswith(" ")]
    shown = [fact.section for fact in node.facts]
    assert titles[1:] == [*dict.fromkeys(shown), "Not known"]


def test_a_page_in_full() -> None:
    node = node_facts(
        [
            Fact("Processor", "cpu_model", "X 1\x1b[2J", "lscpu", "stated"),
            Fact("Performance", "peak_double", 1.5e13, "kernel", "measured", "FLOP/s", "2 threads"),
            Fact("Memory", "memory", 3 << 30, "/proc/meminfo", "stated", "B"),
            Fact("Topology", "caches", (CacheLevel(3, "unified", 2, 1 << 25, 8),), "y", "derived"),
            Absent("GPUs", "gpus", "no driver"),
            Absent("Fabric", "ports", "no driver"),
        ]
    )
    extra = ProbeSection("Software", (Row("modules", ("Lmod 8.7",), "module"),))
    page = probe_page("node1", [*probe_sections(node), extra], 60, dim=str.upper)
    assert page == "\n".join(
        [
            "node1",
            "",
            "Processor",
            "  model                   X 1\\x1b[2J                 [LSCPU]",
            "",
            "Topology",
            "  caches                  L3: 2 x 32 MiB for 8 CPUs each",
            "                                                [DERIVED: Y]",
            "",
            "Memory",
            "  in all                  3 GiB              [/PROC/MEMINFO]",
            "",
            "Performance",
            "  peak (double)           15 TFLOP/s (2 threads)",
            "                                          [MEASURED: KERNEL]",
            "",
            "Not known",
            "  GPUs, ports             no driver",
            "",
            "Software",
            "  modules                 Lmod 8.7                  [MODULE]",
            "",
        ]
    )


def test_the_age_of_facts() -> None:
    now = datetime(2026, 1, 2, 0, 0, 5, tzinfo=UTC)
    assert age_s("2026-01-02T00:00:00Z", now) == 5.0
    assert age_s("2026-01-02T00:00:09Z", now) == 0.0
    assert age_s("yesterday", now) is None
    machine = parse_machine(raw_of(EPYC))
    assert probe_title(machine, "2026-01-02T00:00:00Z", now).endswith("(5 s ago)")
