"""What an OpenBLAS says of itself, and which one is chosen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcagent.probe.openblas import BuildConfig, choose_library, parse_config, parse_libraries

FIXTURES = Path(__file__).parent / "fixtures" / "probe"
ALL = ["dgemm", "sgemm", "dgetrf"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "OpenBLAS 0.3.21 NO_LAPACKE DYNAMIC_ARCH NO_AFFINITY USE_OPENMP SkylakeX "
            "MAX_THREADS=64",
            BuildConfig("0.3.21", True, "openmp", 64, False, "SkylakeX"),
        ),
        (
            "OpenBLAS 0.3.21 NO_LAPACKE DYNAMIC_ARCH NO_AFFINITY SkylakeX SINGLE_THREADED",
            BuildConfig("0.3.21", True, "serial", None, False, "SkylakeX"),
        ),
        (
            "OpenBLAS 0.3.28.dev  USE64BITINT DYNAMIC_ARCH NO_AFFINITY Zen MAX_THREADS=128",
            BuildConfig("0.3.28.dev", True, "pthreads", 128, True, "Zen"),
        ),
        (
            "OpenBLAS 0.3.34.481.3 DYNAMIC_ARCH NO_AFFINITY neoversev1 MAX_THREADS=64",
            BuildConfig("0.3.34.481.3", True, "pthreads", 64, False, "neoversev1"),
        ),
        (
            "OpenBLAS 0.3.9 NO_AFFINITY USE_TLS HASWELL MAX_THREADS=12",
            BuildConfig("0.3.9", False, "pthreads", 12, False, "HASWELL"),
        ),
        ("NO_AFFINITY Sandybridge ", BuildConfig(None, False, None, None, False, "Sandybridge")),
        ("", BuildConfig(None, False, None, None, False, None)),
    ],
)
def test_config_strings(text: str, expected: BuildConfig) -> None:
    assert parse_config(text) == expected


@given(
    st.from_regex(r"0\.[0-9]{1,2}\.[0-9]{1,2}(\.dev)?", fullmatch=True),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["serial", "pthreads", "openmp"]),
    st.integers(1, 4096),
    st.sampled_from(["Haswell", "SkylakeX", "ZEN", "armv8sve", "POWER9", "SVE_A64FX"]),
)
def test_a_config_survives_the_round_trip(
    version: str, dynamic: bool, ilp64: bool, threading: str, limit: int, core: str
) -> None:
    words = ["OpenBLAS", version, *(["USE64BITINT"] if ilp64 else [])]
    words += ["DYNAMIC_ARCH"] if dynamic else []
    words += ["NO_AFFINITY", *(["USE_OPENMP"] if threading == "openmp" else []), core]
    words += ["SINGLE_THREADED"] if threading == "serial" else [f"MAX_THREADS={limit}"]
    threads = None if threading == "serial" else limit
    expected = BuildConfig(version, dynamic, threading, threads, ilp64, core)
    assert parse_config(" ".join(words)) == expected


def record(path: str, source: str = "system", **changes: Any) -> dict[str, Any]:
    plain = {
        "path": path,
        "realpath": path,
        "source": source,
        "config": "OpenBLAS 0.3.26 DYNAMIC_ARCH NO_AFFINITY Zen MAX_THREADS=128",
        "corename": "Zen",
        "num_threads": 8,
        "parallel": 1,
        "symbols": {"prefix": "", "suffix": ""},
        "integer_bits": 32,
        "routines": ALL,
    }
    return {**plain, **changes}


def order(*records: dict[str, Any]) -> list[str]:
    return [library.path for library in parse_libraries({"libraries": list(records)})[0]]


def test_red_hat_s_six_builds_in_order_of_preference() -> None:
    assert order(
        record("/usr/lib64/libopenblas.so.0", parallel=0, num_threads=1, loader_default=True),
        record("/usr/lib64/libopenblas64.so.0", parallel=0, num_threads=1, integer_bits=64),
        record("/usr/lib64/libopenblaso.so.0", parallel=2),
        record("/usr/lib64/libopenblaso64.so.0", parallel=2, integer_bits=64),
        record("/usr/lib64/libopenblasp.so.0", parallel=1),
        record("/usr/lib64/libopenblasp64.so.0", parallel=1, integer_bits=64),
    ) == [
        "/usr/lib64/libopenblasp.so.0",
        "/usr/lib64/libopenblaso.so.0",
        "/usr/lib64/libopenblas.so.0",
        "/usr/lib64/libopenblasp64.so.0",
        "/usr/lib64/libopenblaso64.so.0",
        "/usr/lib64/libopenblas64.so.0",
    ]


def test_the_loader_s_own_choice_comes_before_pthreads() -> None:
    openmp = record("/openmp", parallel=2, loader_default=True)
    assert order(record("/pthread", parallel=1), openmp) == ["/openmp", "/pthread"]


def test_prefix_before_module_before_system_before_embedded() -> None:
    sources = ("embedded", "system", "module", "prefix")
    records = [record(f"/{source}", source) for source in sources]
    assert order(*records) == ["/prefix", "/module", "/system", "/embedded"]


def test_a_prefix_without_a_library_is_not_replaced_by_another() -> None:
    broken = {"path": "/opt/ob", "source": "prefix", "problem": "no libopenblas*.so there"}
    usable, rejected = parse_libraries({"libraries": [broken, record("/system")]})
    assert rejected == (("/opt/ob", "no libopenblas*.so there"),)
    assert choose_library(usable, prefix_given=True) is None
    chosen = choose_library(usable, prefix_given=False)
    assert chosen is not None
    assert chosen.path == "/system"
    assert choose_library((), prefix_given=False) is None


def test_sixty_four_bit_integers_are_found_by_behaviour_or_by_its_own_word() -> None:
    quiet = record("/a", config="OpenBLAS 0.3.3 Zen", integer_bits=64)
    stated = record("/b", config="OpenBLAS 0.3.3 USE64BITINT Zen", integer_bits=None)
    suffixed = record("/c", symbols={"prefix": "", "suffix": "64_"}, integer_bits=64)
    usable, _ = parse_libraries({"libraries": [quiet, stated, suffixed, record("/d")]})
    assert {library.path: library.interface for library in usable} == {
        "/a": "ilp64",
        "/b": "ilp64",
        "/c": "ilp64",
        "/d": "lp64",
    }
    assert {library.symbol_suffix for library in usable} == {"", "64_"}


def test_an_old_build_s_version_comes_from_its_file_name() -> None:
    name = "/usr/lib/libopenblasp-r0.2.18.so"
    old = record(name, config="NO_AFFINITY Haswell", parallel=None, corename=None)
    (library,), _ = parse_libraries({"libraries": [old]})
    assert (library.version, library.threading, library.core) == ("0.2.18", "pthreads", "Haswell")
    assert library.max_threads is None
    assert not library.dynamic_arch


def test_a_serial_build_has_one_thread_at_most() -> None:
    serial = record("/s", parallel=0, num_threads=1, config="OpenBLAS 0.3.2 Zen")
    (library,), _ = parse_libraries({"libraries": [serial]})
    assert (library.threading, library.max_threads, library.default_threads) == ("serial", 1, 1)


def test_what_cannot_be_used_is_rejected_with_its_reason() -> None:
    records = [
        record("/ill", problem="killed by SIGILL"),
        record("/blas-less", routines=["dgetrf"]),
        record("/mute", config=None),
    ]
    usable, rejected = parse_libraries({"libraries": records})
    assert usable == ()
    assert [path for path, _ in rejected] == ["/ill", "/blas-less", "/mute"]
    assert rejected[0][1] == "killed by SIGILL"


def test_the_recorded_machine_s_four_libraries() -> None:
    facts = json.loads((FIXTURES / "recorded-debian12-node1-icelake.json").read_text())
    usable, rejected = parse_libraries(facts)
    assert rejected == ()
    assert [(library.source, library.threading) for library in usable] == [
        ("system", "pthreads"),
        ("system", "openmp"),
        ("system", "serial"),
        ("embedded", "pthreads"),
    ]
    assert usable[-1].symbol_prefix == "scipy_"
    assert {library.core for library in usable} == {"SkylakeX"}
