"""The small parsers: what they are documented to read, and that no text upsets them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcagent.probe import caches, lscpu, procfs, values, versions
from hpcagent.probe.machine import parse_machine
from hpcagent.probe.openblas import parse_config, parse_libraries
from hpcagent.records import Cache, Cpu

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.sets(st.integers(0, values.MAX_CPU - 1)))
def test_a_cpulist_survives_the_round_trip(ids: set[int]) -> None:
    assert values.parse_cpulist(values.format_cpulist(ids)) == tuple(sorted(ids))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0-3,8,10-11\n", (0, 1, 2, 3, 8, 10, 11)),
        ("0-10:2/4", (0, 1, 4, 5, 8, 9)),
        ("5,1-2,2", (1, 2, 5)),
        ("", ()),
        ("\n", ()),
        ("3-1", None),
        ("0-99999999999", None),
        ("0-9:3/2", None),
        ("0-9:0/2", None),
        ("a", None),
        ("1,,2", None),
        ("-1", None),
    ],
)
def test_cpulist_forms(text: str, expected: tuple[int, ...] | None) -> None:
    assert values.parse_cpulist(text) == expected


@given(st.integers(0, 10**6), st.sampled_from(["K", "M", "G"]), st.integers(1, 999))
def test_a_size_survives_in_both_dialects(number: int, unit: str, count: int) -> None:
    scale = {"K": 2**10, "M": 2**20, "G": 2**30}[unit]
    single = values.parse_size(f"{number}{unit}")
    summed = values.parse_size(f"{number} {unit}iB ({count} instances)")
    assert single == values.Size(number * scale, None, False)
    assert summed == values.Size(number * scale, count, True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1.5 MiB (1 instance)", values.Size(3 * 2**19, 1, True)),
        ("1,5 MiB", values.Size(3 * 2**19, None, True)),
        ("16384K", values.Size(2**24, None, False)),
        ("much", None),
        ("", None),
    ],
)
def test_size_forms(text: str, expected: values.Size | None) -> None:
    assert values.parse_size(text) == expected


@pytest.mark.parametrize(
    ("text", "mhz"),
    [("5200,0000", 5200.0), ("3799.0720", 3799.072), ("3666.000000MHz", 3666.0), ("0", None)],
)
def test_clocks(text: str, mhz: float | None) -> None:
    assert values.parse_mhz(text) == mhz


def test_lscpu_in_all_three_shapes() -> None:
    flat = {"lscpu": [{"field": "CPU(s):", "data": "4"}, {"field": "Model name:", "data": "X"}]}
    nested = {
        "lscpu": [
            {"field": "CPU(s):", "data": "4", "children": [{"field": "Model name:", "data": "X"}]}
        ]
    }
    for text in (json.dumps(flat), json.dumps(nested), "CPU(s):      4\nModel name:  X\n"):
        fields = lscpu.parse_lscpu(text)
        assert lscpu.field(fields, "CPU(s)") == "4"
        assert lscpu.field(fields, "Model name") == "X"
        assert lscpu.field(fields, "Flags") is None


def test_a_very_deep_lscpu_document_is_read_as_nothing_or_in_full() -> None:
    deep = '{"lscpu":' + '[{"field":"a","children":' * 50000 + "null" + "}]" * 50000 + "}"
    assert all(pair == ("a", "") for pair in lscpu.parse_lscpu(deep))


def test_the_cpu_table_with_empty_and_missing_columns() -> None:
    table = lscpu.parse_cpu_table("# CPU,Core,Socket,Node\n1,1,-,\n0,0,0,3\n2\nnonsense\n")
    assert table == (Cpu(0, 0, 0, 3), Cpu(1, 1, 0, 0), Cpu(2, 2, 0, 0))


def test_an_uncounted_sum_is_shared_out() -> None:
    fields = (("L1d cache", "128 KiB"), ("L2 cache", "1 MiB"), ("L3 cache", "32 MiB"))
    assert caches.caches_from_lscpu(fields, cores=4, sockets=2) == (
        Cache(1, "data", 32 * 1024, 4),
        Cache(2, "unified", 256 * 1024, 4),
        Cache(3, "unified", 16 * 2**20, 2),
    )


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"/c/cpu.max": "max 100000\n"}, None),
        ({"/c/cpu.max": "150000 100000\n"}, 1.5),
        ({"/c/a/cpu.max": "max 100000", "/c/cpu.max": "800000 100000"}, 8.0),
        ({"/c/a/cpu.max": "200000 100000", "/c/cpu.max": "800000 100000"}, 2.0),
        ({"/c/cpu.cfs_quota_us": "-1\n", "/c/cpu.cfs_period_us": "100000\n"}, None),
        ({"/c/cpu.cfs_quota_us": "50000\n", "/c/cpu.cfs_period_us": "100000\n"}, 0.5),
        ({"/c/cpu.cfs_quota_us": "50000\n"}, None),
        ({"/c/cpu.max": "1000 0"}, None),
        ({"/c/cpu.max": ""}, None),
    ],
)
def test_cpu_quota(files: dict[str, str], cores: float | None) -> None:
    assert procfs.cpu_quota_cores(files) == cores


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({"/c/memory.max": "max\n"}, None),
        ({"/c/memory.limit_in_bytes": "9223372036854771712\n"}, None),
        ({"/c/memory.limit_in_bytes": "9223372036854710272\n"}, None),
        ({"/c/memory.max": "4096\n", "/memory.max": "1024"}, 1024),
    ],
)
def test_memory_limit(files: dict[str, str], limit: int | None) -> None:
    assert procfs.memory_limit_bytes(files) == limit


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("gcc (Debian 12.2.0-14+deb12u1) 12.2.0\nCopyright (C) 2022", "12.2.0"),
        ("gcc (GCC) 8.5.0 20210514 (Red Hat 8.5.0-20)", "8.5.0"),
        ("gcc-12 (Ubuntu 12.3.0-1ubuntu1~22.04) 12.3.0", "12.3.0"),
        ("gcc (SUSE Linux) 7.5.0", "7.5.0"),
        ("GNU Fortran (GCC) 4.8.5 20150623 (Red Hat 4.8.5-44)", "4.8.5"),
        ("Debian clang version 14.0.6\nTarget: x86_64-pc-linux-gnu", "14.0.6"),
        ("clang version 15.0.7 (Red Hat 15.0.7-1.el9)", "15.0.7"),
        ("AMD clang version 17.0.6 (CLANG: AOCC_5.0.0-Build#1377 2024_09_24)", "17.0.6"),
        ("Intel(R) oneAPI DPC++/C++ Compiler 2024.0.0 (2024.0.0.20231017)", "2024.0.0"),
        ("ifx (IFX) 2024.0.0 20231017", "2024.0.0"),
        ("\nnvc 23.11-0 64-bit target on x86-64 Linux -tp zen3 \nNVIDIA Compilers", "23.11"),
        ("sh: not found", None),
        ("", None),
    ],
)
def test_compiler_versions(text: str, version: str | None) -> None:
    assert versions.parse_compiler_version(text) == version


@pytest.mark.parametrize(
    ("confstr", "ldd", "version"),
    [
        ("glibc 2.36", None, "2.36"),
        (None, "ldd (Debian GLIBC 2.36-9+deb12u4) 2.36\nCopyright", "2.36"),
        (None, "ldd (GNU libc) 2.28", "2.28"),
        (None, "musl libc (x86_64)\nVersion 1.2.4", None),
        (None, None, None),
    ],
)
def test_glibc_version(confstr: str | None, ldd: str | None, version: str | None) -> None:
    assert versions.parse_glibc_version(confstr, ldd) == version


@pytest.mark.parametrize(
    ("text", "word"),
    [("always [madvise] never\n", "madvise"), ("[always] madvise never", "always"), ("", None)],
)
def test_transparent_huge_pages(text: str, word: str | None) -> None:
    assert procfs.selected_word(text) == word


def test_meminfo_of_the_machine_and_of_a_node() -> None:
    assert procfs.parse_kib_field("MemTotal:  24684084 kB\n", "MemTotal") == 24684084 * 1024
    assert procfs.parse_kib_field("Node 1 MemTotal:   16 kB\n", "MemTotal") == 16384
    assert procfs.parse_kib_field("MemTotal: much\n", "MemTotal") is None


@given(st.text() | st.text(alphabet=' \t\n,:-/()[]{}"KiB0123456789.maxCPU'))
def test_no_text_upsets_a_parser(text: str) -> None:
    values.parse_cpulist(text)
    values.parse_size(text)
    values.parse_mhz(text)
    lscpu.parse_cpu_table(text)
    caches.caches_from_lscpu(lscpu.parse_lscpu(text), 1, 1)
    procfs.parse_cpuinfo(text)
    procfs.parse_kib_field(text, "MemTotal")
    procfs.selected_word(text)
    procfs.cpu_quota_cores({"/cpu.max": text, "/cpu.cfs_quota_us": text})
    procfs.memory_limit_bytes({"/memory.max": text})
    versions.parse_compiler_version(text)
    versions.parse_glibc_version(text, text)
    parse_config(text)


@given(JSON_VALUES)
def test_no_lscpu_document_upsets_the_parser(document: Any) -> None:
    lscpu.parse_lscpu(json.dumps({"lscpu": document}))


SECTIONS = (
    *("schema", "host", "uname", "commands", "compilers", "files", "affinity"),
    *("glibc", "which", "environment", "libraries"),
)
FACTS = st.fixed_dictionaries({}, optional=dict.fromkeys(SECTIONS, JSON_VALUES))
FILES = st.dictionaries(
    st.sampled_from(
        [
            *("/proc/cpuinfo", "/proc/meminfo", "/proc/self/status", "/c/cpu.max", "/c/memory.max"),
            "/sys/devices/system/cpu/online",
            "/sys/devices/system/node/node0/cpulist",
            "/sys/devices/system/cpu/cpu0/cache/index0/size",
            "/sys/devices/system/cpu/cpu0/cache/index0/level",
        ]
    ),
    st.text() | JSON_VALUES,
)
LIBRARY = st.dictionaries(
    st.sampled_from(
        [
            *("path", "source", "problem", "config", "corename", "num_threads", "parallel"),
            *("symbols", "integer_bits", "routines", "loaded_path", "loader_default"),
        ]
    ),
    JSON_VALUES | st.just("system") | st.just(["dgemm"]),
)


@given(FACTS, FILES, st.lists(LIBRARY, max_size=3))
def test_odd_facts_are_missing_facts(
    facts: dict[str, Any], files: dict[str, Any], libraries: list[Any]
) -> None:
    for given_facts in (facts, {**facts, "files": files, "libraries": libraries}):
        machine = parse_machine(given_facts)
        assert machine.usable_cores >= 1
        assert machine.cpus
        usable, rejected = parse_libraries(given_facts)
        assert all(library.routines for library in usable)
        assert all(reason for _, reason in rejected)
