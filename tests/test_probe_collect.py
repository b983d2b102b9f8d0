"""The collector as a job runs it: a process of its own that leaves facts.json and done.json."""

from __future__ import annotations

import ast
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hpcagent.errors import EnvironmentProblem
from hpcagent.probe import collect
from hpcagent.probe.embedded import embedded_library_path, install_embedded
from hpcagent.probe.machine import parse_machine
from hpcagent.probe.openblas import choose_library, parse_libraries
from hpcagent.probe.software_facts import parse_software

SOURCE = Path(collect.__file__)


def run_collector(
    folder: Path, request: dict[str, Any], **environment: str
) -> subprocess.CompletedProcess[str]:
    """A copy beside the job, as on a node without hpcagent."""
    shutil.copy(SOURCE, folder / "collect.py")
    (folder / "request.json").write_text(json.dumps({"schema": 1, "timeout_s": 60, **request}))
    return subprocess.run(
        [sys.executable, "-I", "collect.py", "request.json", "facts.json"],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def facts_in(folder: Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((folder / "facts.json").read_text())
    return facts


def compile_library(path: Path, source: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    code = path.parent / "source.c"
    code.write_text(source)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", path, code], check=True, timeout=300)
    return path


def test_it_is_python_3_6_and_standard_library_only() -> None:
    tree = ast.parse(SOURCE.read_text(), feature_version=(3, 6))
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").partition(".")[0])
    assert imported <= sys.stdlib_module_names


def test_the_facts_of_this_machine(tmp_path: Path) -> None:
    done = run_collector(tmp_path, {})
    assert (done.returncode, done.stderr) == (0, "")
    marker = json.loads((tmp_path / "done.json").read_text())
    assert set(marker) == {
            "exit", "claimed_utc", "finished_utc", "host", "node", "boot_id"
        }  # fmt: skip
    assert marker["exit"] == 0
    assert {path.name for path in tmp_path.iterdir()} == {
        *("collect.py", "request.json", "facts.json", "done.json")
    }
    machine = parse_machine(facts_in(tmp_path))
    assert machine.architecture == platform.machine()
    assert set(machine.cpus_allowed) == os.sched_getaffinity(0)
    assert set(machine.cpus_allowed) <= {cpu.id for cpu in machine.cpus}
    assert machine.kernel == platform.release()
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    assert machine.memory_bytes == pytest.approx(pages * size, rel=0.25)


def test_archspec_s_own_view_of_this_machine_agrees(tmp_path: Path) -> None:
    import archspec.cpu

    run_collector(tmp_path, {})
    machine = parse_machine(facts_in(tmp_path))
    assert machine.microarchitecture == archspec.cpu.host().name


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"schema": 2}', '{"schema": 1, "timeout_s": "x"}']
)
def test_an_unreadable_request_is_told_and_marked(tmp_path: Path, text: str) -> None:
    request = tmp_path / "bad.json"
    request.write_text(text)
    argv = [sys.executable, str(SOURCE), str(request), str(tmp_path / "facts.json")]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert json.loads((tmp_path / "done.json").read_text())["exit"] == 2
    assert not (tmp_path / "facts.json").exists()


def test_a_command_that_hangs_is_killed_with_its_children() -> None:
    record = collect.run(["sh", "-c", "sleep 600 & sleep 600"], 0.2)
    assert record["exit"] is None
    assert record["problem"] == "timed out after 0.2 s"


def test_of_a_flood_the_first_bytes_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collect, "MAX_BYTES", 100)
    ends = collect.run(["sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' x; echo y >&2"], 60)
    assert (ends["exit"], ends["stdout"], ends["stderr"]) == (0, "x" * 100, "y\n")
    assert collect.run(["yes"], 0.3)["problem"] == "timed out after 0.3 s"
    closed = collect.run(["sh", "-c", "exec >&- 2>&-; sleep 600"], 0.3)
    assert closed["problem"] == "timed out after 0.3 s"


def test_a_command_that_dies_or_is_missing_is_a_record() -> None:
    died = collect.run(["sh", "-c", "kill -ILL $$"], 20)
    assert (died["exit"], died["problem"]) == (-signal.SIGILL, "killed by SIGILL")
    assert collect.run(["no-such-command-here"], 20)["problem"] == "not found"


CGROUP_MOUNTS = (
    "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"
    "32 31 0:29 /docker/x /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
)


@pytest.mark.parametrize(
    ("controller", "path", "folders"),
    [
        ("cpu", "/docker/x/a", ["/sys/fs/cgroup/cpu,cpuacct/a", "/sys/fs/cgroup/cpu,cpuacct"]),
        ("cpu", "/docker/x", ["/sys/fs/cgroup/cpu,cpuacct"]),
        ("cpu", "/elsewhere", ["/sys/fs/cgroup/cpu,cpuacct"]),
        ("", "/../..", ["/sys/fs/cgroup/unified"]),
        ("", "/a/b", [f"/sys/fs/cgroup/unified{x}" for x in ("/a/b", "/a", "")]),
        ("memory", "/a", []),
    ],
)
def test_cgroups_are_walked_to_the_mount(controller: str, path: str, folders: list[str]) -> None:
    assert list(collect.walk_up(CGROUP_MOUNTS, controller, path)) == folders


def test_one_block_of_cpuinfo_for_each_kind_of_cpu() -> None:
    def block(number: int, part: str) -> str:
        return f"processor\t: {number}\nCPU implementer\t: 0x41\nCPU part\t: {part}\n\n"

    text = block(0, "0xd05") + block(1, "0xd05") + block(2, "0xd0b") + block(3, "0xd0b")
    kept = collect.distinct_cpus(text)
    assert kept.count("processor") == 2
    assert "0xd05" in kept
    assert "0xd0b" in kept


def test_a_prefix_without_openblas_is_told(tmp_path: Path) -> None:
    run_collector(tmp_path, {"prefix": str(tmp_path / "empty")})
    usable, rejected = parse_libraries(facts_in(tmp_path))
    assert (str(tmp_path / "empty"), rejected[0][1]) == rejected[0]
    assert choose_library(usable, prefix_given=True) is None


@pytest.mark.openblas
def test_a_library_that_crashes_or_is_another_is_rejected_and_the_rest_goes_on(
    tmp_path: Path,
) -> None:
    lib = tmp_path / "prefix" / "lib64"
    crash = "#include <signal.h>\n__attribute__((constructor)) void f(void) { raise(SIGILL); }\n"
    compile_library(lib / "libopenblas_a.so", crash)
    compile_library(lib / "libopenblas_b.so.0", "int dgemm_(void) { return 0; }\n")
    (lib / "libopenblas_c.so").write_text("not a library")
    (lib / "libopenblas_d.so").symlink_to(lib / "libopenblas_a.so")
    done = run_collector(tmp_path, {"prefix": str(tmp_path / "prefix")})
    assert done.returncode == 0
    rejected = dict(parse_libraries(facts_in(tmp_path))[1])
    assert rejected[str(lib / "libopenblas_a.so")] == "killed by SIGILL"
    assert "not an OpenBLAS" in rejected[str(lib / "libopenblas_b.so.0")]
    assert str(lib / "libopenblas_c.so") in rejected
    assert str(lib / "libopenblas_d.so") not in rejected


SIXTY_FOUR = """
char *openblas_get_config64_(void) { return "OpenBLAS 0.3.26 USE64BITINT Zen MAX_THREADS=8"; }
int openblas_get_parallel64_(void) { return 1; }
int openblas_get_num_threads64_(void) { return 8; }
void dgemm_64_(void) {}
double ddot_64_(long *n, double *x, long *ix, double *y, long *iy) {
  double sum = 0;
  for (long i = 0; i < *n; i++) sum += x[i * *ix] * y[i * *iy];
  return sum;
}
"""


@pytest.mark.openblas
def test_a_suffixed_library_with_64_bit_integers_named_by_its_file(tmp_path: Path) -> None:
    path = compile_library(tmp_path / "libopenblasp64_.so", SIXTY_FOUR)
    run_collector(tmp_path, {"prefix": str(path)})
    usable, _ = parse_libraries(facts_in(tmp_path))
    library = choose_library(usable, prefix_given=True)
    assert library is not None
    assert (library.path, library.source) == (str(path), "prefix")
    assert (library.symbol_prefix, library.symbol_suffix) == ("", "64_")
    assert library.interface == "ilp64"
    assert facts_in(tmp_path)["libraries"][0]["integer_bits"] == 64
    assert (library.routines, library.default_threads) == (("dgemm",), 8)


@pytest.mark.openblas
def test_a_module_s_library_comes_before_the_system_s(tmp_path: Path) -> None:
    path = compile_library(tmp_path / "ob" / "lib" / "libopenblas.so", SIXTY_FOUR)
    for name, value in (("LD_LIBRARY_PATH", path.parent), ("EBROOTOPENBLAS", path.parents[1])):
        run_collector(tmp_path, {}, **{name: str(value)})
        assert facts_in(tmp_path)["libraries"][0]["source"] == "module"
        assert facts_in(tmp_path)["libraries"][0]["path"] == str(path)


@pytest.mark.openblas
def test_the_real_openblas_describes_itself_free_of_the_user_s_settings(tmp_path: Path) -> None:
    embedded = embedded_library_path()
    assert embedded is not None
    extra = {"extra_libraries": [str(embedded)]}
    done = run_collector(tmp_path, extra, OPENBLAS_NUM_THREADS="1", OPENBLAS_CORETYPE="Generic")
    assert done.returncode == 0
    usable, _ = parse_libraries(facts_in(tmp_path))
    assert facts_in(tmp_path)["environment"]["OPENBLAS_CORETYPE"] == "Generic"
    library = next(library for library in usable if library.source == "embedded")
    assert library.symbol_prefix == "scipy_"
    assert (library.interface, library.dynamic_arch, library.max_threads) == ("lp64", True, 64)
    assert library.threading == "pthreads"
    assert library.default_threads == min(64, len(os.sched_getaffinity(0)))
    assert library.core in library.config
    assert "dgemm" in library.routines
    assert "spotrf" in library.routines
    raw = next(r for r in facts_in(tmp_path)["libraries"] if r["path"] == str(embedded))
    assert raw["loaded_path"] == str(embedded)


@pytest.mark.openblas
def test_the_embedded_library_that_is_here_is_found_not_fetched() -> None:
    assert install_embedded(timeout_s=120) == embedded_library_path()


@pytest.mark.openblas
def test_an_empty_wheelhouse_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "wheels").mkdir()
    monkeypatch.setenv("HPCAGENT_WHEELHOUSE", str(tmp_path / "wheels"))
    monkeypatch.setenv("PIP_TARGET", str(tmp_path / "target"))  # as if nothing were installed
    with pytest.raises(EnvironmentProblem, match="OpenBLAS not found") as caught:
        install_embedded(timeout_s=120)
    assert "--openblas-prefix" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_nothing_is_asked_when_the_time_for_all_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every command hangs; what is not reached says why, and so does a part."""
    for name in ("lscpu", "ldconfig", "ldd", "numactl", "gcc", "clang", "gfortran"):
        (tmp_path / name).write_text("#!/bin/sh\nexec /bin/sleep 1000\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    request = {"schema": 1, "timeout_s": 2.0, "budget_s": 3, "parts": ["software"]}
    facts = collect.collect(request)
    problems = [record["problem"] for record in facts["commands"].values()]
    assert any(words.startswith("timed out after") for words in problems)
    assert problems.count(collect.LATE) >= 3
    assert facts["parts"] == {"software": {"problem": collect.LATE}}
    assert parse_software(facts["parts"]["software"]).missing["software"] == collect.LATE


def cpus_with(folder: Path, sizes: dict[int, tuple[str, ...]]) -> str:
    for cpu, told in sizes.items():
        for index, size in enumerate(told):
            path = folder / f"cpu{cpu}" / "cache" / f"index{index}" / "size"
            path.parent.mkdir(parents=True)
            path.write_text(f"{size}\n")
    (folder / "cpu99").mkdir(parents=True)  # offline: without caches
    return str(folder)


def test_kinds_of_cores_are_told_by_the_sizes_of_their_caches(tmp_path: Path) -> None:
    big, small = ("48K", "1280K"), ("32K", "2048K")
    mixed = {10: small, 2: big, 0: big, 9: small}
    assert collect.cache_kinds(cpus_with(tmp_path / "a", mixed)) == [[0, 2], [9, 10]]
    assert collect.cache_kinds(cpus_with(tmp_path / "b", {0: big, 1: big})) == []
    assert collect.cache_kinds(str(tmp_path / "nothing")) == []
    strange = {cpu: (f"{cpu}K",) for cpu in range(40)}
    assert collect.cache_kinds(cpus_with(tmp_path / "c", strange)) == []
