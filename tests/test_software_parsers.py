"""Compilers, MPI, BLAS and OpenMP from recorded and documented texts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcagent.probe import blas, compilers, mpi, openmp
from hpcagent.probe.software import CompilerFound, OpenmpRuntime
from hpcagent.probe.software_facts import digest, parse_software
from hpcagent.report.software_text import catalogue, conflicts

FIXTURES = Path(__file__).parent / "fixtures" / "software"
COMPILERS = json.loads((FIXTURES / "compilers.json").read_text())
MPIS = json.loads((FIXTURES / "mpi.json").read_text())
THREADS = ("serial", "pthreads", "openmp")
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)


@pytest.mark.parametrize("case", COMPILERS, ids=lambda x: f"{x['command']}-{x['version']}")
def test_compilers_by_what_they_print(case: dict[str, str]) -> None:
    family = compilers.parse_family(case["text"])
    assert family == case["family"]
    if family != "xl" and family:
        assert compilers.parse_version(case["text"], family) == case["version"]
        assert compilers.parse_target(case["dumpmachine"], case["text"]) == case["target"]


def compiler(command: str, language: str, text: str, **more: Any) -> dict[str, Any]:
    said = {"exit": 0, "stdout": text, "stderr": "", "problem": ""}
    path = more.pop("path", f"/usr/bin/{command}")
    record = {"command": command, "path": path, "language": language, "hops": [], "modules": []}
    return {**record, "calls": {"version": said}, **more}


GCC = "gcc (GCC) 12.3.0\nCopyright (C) 2022 Free Software Foundation, Inc.\n"


def test_one_file_is_one_compiler_under_its_plainest_name() -> None:
    records = [
        compiler("cc", "c", GCC, hops=["/etc/alternatives/cc", "/usr/bin/gcc-12"]),
        compiler("gcc", "c", GCC, hops=["/usr/bin/gcc-12"]),
        compiler("gcc-12", "c", GCC),
        compiler("gcc", "c", GCC, path="/opt/gcc/13/bin/gcc", modules=["gcc/13"]),
    ]
    missing: dict[str, str] = {}
    found = compilers.parse_compilers(records, {}, missing)
    assert [(x.command, x.module, x.aliases) for x in found] == [
        ("gcc", "", ("cc", "gcc-12")),
        ("gcc", "gcc/13", ()),
    ]
    assert missing == {}


def test_two_compilers_behind_one_ccache_stay_two() -> None:
    link = ["/usr/bin/ccache"]
    records = [
        compiler("gcc", "c", GCC, path="/usr/lib/ccache/gcc", hops=link),
        compiler("gcc-9", "c", GCC.replace("12.3", "9.5"), path="/usr/lib/ccache/gcc-9", hops=link),
    ]
    found = compilers.parse_compilers(records, {}, {})
    assert [x.version for x in found] == ["12.3.0", "9.5.0"]


def test_a_cray_wrapper_tells_what_is_behind_it() -> None:
    path = "/opt/cray/pe/craype/2.7.23/bin/cc"
    records = [compiler("cc", "c", GCC, path=path), compiler("cc", "c", GCC)]
    found = compilers.parse_compilers(records, {"CRAYPE_VERSION": "2.7.23"}, {})
    assert [(x.family, x.wrapped, x.path) for x in found] == [
        ("cray", "gcc", path),
        ("gcc", "", "/usr/bin/cc"),
    ]
    assert openmp.runtime_of_compiler(found[0]) == "gomp"


def test_a_compiler_that_does_not_start_is_missing_with_its_words() -> None:
    record = compiler("nvc", "c", "")
    record["calls"]["version"] = {
        "exit": None,
        "stdout": "",
        "stderr": "",
        "problem": "timed out after 20 s",
    }
    odd = compiler("icx", "c", "hello, I am a shell script")
    missing: dict[str, str] = {}
    assert compilers.parse_compilers([record, odd], {}, missing) == ()
    assert missing["compiler /usr/bin/nvc"] == "--version: timed out after 20 s"
    assert "hello, I am" in missing["compiler /usr/bin/icx"]


@pytest.mark.parametrize("case", MPIS, ids=lambda x: f"{x['family']}-{x['version']}")
def test_mpis_by_what_they_print(case: dict[str, Any]) -> None:
    family, version = mpi.parse_family(*case["texts"])
    assert (family, version) == (case["family"], case["version"])
    assert mpi.abi_of(family, version) == case["abi"]
    if case["show"]:
        assert mpi.parse_show(case["show"]).startswith(case["behind"])


def wrapper(name: str, language: str, show: str, version: str = "", **more: Any) -> dict[str, Any]:
    _, dot, suffix = name.partition(".")
    calls = {"show": {"exit": 0, "stdout": show}, "showme_version": {"exit": 0, "stdout": version}}
    path = more.pop("folder", "/usr/bin") + "/" + name
    record = {"command": name, "path": path, "suffix": dot + suffix or None, "hops": []}
    return {**record, "language": language, "modules": [], "calls": calls, "beside": {}, **more}


def test_debian_s_alternatives_are_no_mpi_of_their_own() -> None:
    ompi = "mpicc: Open MPI 4.1.4 (Language: C)"
    launcher = {
        "mpirun": {
            "path": "/usr/bin/mpirun.mpich",
            "stdout": "HYDRA build details:\n Version: 4.0.2",
        }
    }
    hops = ["/etc/alternatives/mpi", "/usr/bin/mpicc.openmpi", "/usr/bin/opal_wrapper"]
    records = [
        wrapper("mpicc", "c", "gcc -lmpi", ompi, hops=hops),
        wrapper("mpicc.openmpi", "c", "gcc -lmpi", ompi, hops=["/usr/bin/opal_wrapper"]),
        wrapper("mpicc.mpich", "c", "gcc -lmpich", beside=launcher),
        wrapper("mpicxx.mpich", "c++", "g++ -lmpichcxx -lmpich"),
    ]
    first, second = mpi.parse_mpis(records, {}, {})
    assert (first.family, first.wrappers, first.default) == (
        "openmpi",
        {"c": "/usr/bin/mpicc.openmpi"},
        True,
    )
    assert (second.family, second.version, second.abi, second.default) == (
        *("mpich", "4.0.2", "mpich"),
        False,
    )
    assert second.compiles_with == {"c": "gcc", "c++": "g++"}
    assert second.launcher == "/usr/bin/mpirun.mpich"


def test_cray_s_mpi_has_no_wrappers_of_its_own() -> None:
    environment = {
        "CRAY_MPICH_DIR": "/opt/cray/pe/mpich/8.1.27/ofi/gnu/9.1",
        "CRAY_MPICH_VERSION": "8.1.27",
    }
    (found,) = mpi.parse_mpis([], environment, {})
    assert (found.family, found.version, found.abi) == ("cray", "8.1.27", "mpich")
    assert found.wrappers["fortran"] == "ftn"
    change = {"set": environment}
    loads = [{"modules": ["cray-mpich/8.1.27"], "problem": "", "change": change}]
    (loaded,) = parse_software({"modules": {"kind": "lmod", "loads": loads}}).mpis
    assert (loaded.family, loaded.module) == ("cray", "cray-mpich/8.1.27")


def test_a_wrapper_without_its_compiler_is_missing() -> None:
    missing: dict[str, str] = {}
    record = wrapper("mpicc", "c", "")
    record["calls"]["show"] = {"exit": 127, "stdout": "", "stderr": "mpicc: gcc: not found"}
    assert mpi.parse_mpis([record], {}, missing) == ()
    assert missing == {"mpi /usr/bin/mpicc": "-show: mpicc: gcc: not found"}


def library(path: str, **more: Any) -> dict[str, Any]:
    usual = {
        "kind": "shared",
        "spellings": [["", ""]],
        "aliases": [path],
        "defines": [],
        "words": [],
    }
    return {"path": path, "needed": [], "wants": [], "cblas": [], **usual, **more}


@pytest.mark.parametrize(
    ("record", "family", "interface", "threading"),
    [
        # What could be asked: the answers decide, whatever the name says.
        (
            library(
                "/opt/x/libfoo.so",
                defines=["openblas_get_config"],
                answers={"openblas_parallel": 2, "integer_bits": {"ddot_": 64}},
            ),
            *("openblas", "ilp64", "openmp"),
        ),
        (
            library(
                "/opt/x/libopenblas64_.so",
                defines=["openblas_get_config64_"],
                spellings=[["", "64_"]],
                answers={"problem": "libgfortran.so.5: cannot open shared object file"},
                starts=["pthread_create"],
            ),
            *("openblas", "ilp64", "pthreads"),
        ),
        # Documented: MKL's layers (Developer Guide, "Linking with interface libraries").
        (
            library(
                "/opt/mkl/lib/libmkl_intel_ilp64.so.2",
                wants=["mkl_serv_get_max_threads"],
                answers={"problem": "undefined symbol: mkl_blas_dgemm"},
            ),
            *("mkl", "ilp64", "unknown"),
        ),
        (
            library(
                "/opt/mkl/lib/libmkl_rt.so.2",
                defines=["MKL_Get_Version_String"],
                answers={
                    "mkl_version": "Intel(R) oneAPI Math Kernel Library Version 2023.2-Product",
                    "integer_bits": {"ddot_": 32},
                    "mapped": ["/opt/mkl/lib/libmkl_intel_thread.so.2", "/opt/lib/libiomp5.so"],
                },
            ),
            *("mkl", "lp64", "openmp"),
        ),
        (
            library(
                "/opt/arm/libarmpl_lp64_mp.so",
                defines=["armplversion"],
                needed=["libomp.so"],
                answers={"integer_bits": {"ddot_": 32}, "armpl_version": "23.4.0"},
            ),
            *("armpl", "lp64", "openmp"),
        ),
        (
            library(
                "/opt/amd/libblis-mt.so",
                defines=["bli_info_get_version_str"],
                needed=["libgomp.so.1"],
                answers={"integer_bits": {"ddot_": 32}, "blis_version": "AOCL-BLIS 4.1.0 Build 1"},
            ),
            *("blis", "lp64", "openmp"),
        ),
        (
            library("/usr/lib64/libflexiblas.so.3", defines=["flexiblas_load_backend"]),
            *("flexiblas", "unknown", "unknown"),
        ),
        (
            library("/opt/cray/libsci_gnu.so", defines=["crayblas_dgemm"], words=["CRAYBLAS"]),
            *("libsci", "unknown", "serial"),
        ),
        (
            library("/x/libblas.a", kind="static", defines=["xerbla_"]),
            "reference",
            "unknown",
            "serial",
        ),
        (library("/x/libmystery.so"), "unknown", "unknown", "serial"),
    ],
)
def test_blas_by_symbols_and_answers(
    record: dict[str, Any], family: str, interface: str, threading: str
) -> None:
    missing: dict[str, str] = {}
    (found,) = blas.parse_blas([record], missing)
    assert (found.family, found.interface, found.threading) == (family, interface, threading)
    assert set(found.evidence) == {"family", "interface", "threading"}
    assert all(found.evidence.values())
    assert bool(missing) == ("problem" in record.get("answers", {}))


def test_a_library_with_both_interfaces_is_two_entries() -> None:
    record = library(
        "/opt/mkl/libmkl_rt.so",
        defines=["MKL_Get_Version"],
        spellings=[["", ""], ["", "64"], ["", "64_"]],
        answers={"integer_bits": {"ddot_": 32, "ddot_64": 64, "ddot_64_": 64}},
    )
    found = blas.parse_blas([record], {})
    assert [(x.interface, x.symbol_suffix) for x in found] == [("lp64", ""), ("ilp64", "64")]


@pytest.mark.parametrize(
    ("closure", "families"),
    [
        (["libopenblas.so.0", "libgomp.so.1", "libc.so.6"], ()),
        (["libgomp.so.1", "libomp.so.5"], ("gomp", "omp")),
        (["/opt/intel/lib/libiomp5.so", "/usr/lib/libgomp.so.1.0.0"], ("gomp", "iomp5")),
        (["libnvomp.so", "libgomp.so.1"], ("gomp", "nvomp")),
        (["libgomp-a34b3233.so.1.0.0", "libgomp.so.1"], ()),
        (["libcompomp.so", "libompitrace.so.40", "libgomp_plugin.so", "libomptarget.so"], ()),
    ],
)
def test_openmp_runtimes_that_meet(closure: list[str], families: tuple[str, ...]) -> None:
    assert openmp.conflict(closure) == families


def test_llvm_s_libgomp_is_llvm_s() -> None:
    marks = ["GOMP_parallel", "__kmpc_fork_call", "omp_get_max_threads"]
    family = openmp.family_of_symbols(marks, "libomp.so.5", "/usr/lib/llvm-14/lib/libgomp.so")
    known = OpenmpRuntime(family, "/usr/lib/llvm-14/lib/libomp.so.5", aliases=("/llvm/libgomp.so",))
    assert family == "omp"
    assert openmp.conflict(["/llvm/libgomp.so", "libomp.so.5"], [known]) == ()
    assert openmp.conflict(["/llvm/libgomp.so", "libgomp.so.1"], [known]) == ("gomp", "omp")
    assert openmp.family_of_symbols(["GOMP_parallel"], "libgomp.so.1", "") == "gomp"
    assert openmp.family_of_symbols(["__kmpc_fork_call"], "libiomp5.so", "") == "iomp5"


def test_a_compiler_and_a_blas_that_do_not_go_together_are_told() -> None:
    clang = "clang version 17.0.6\nTarget: x86_64-unknown-linux-gnu\n"
    raw = {
        "compilers": [compiler("clang", "c", clang), compiler("gcc", "c", GCC)],
        "libraries": {
            "libraries": [
                library(
                    "/opt/lib/libopenblas.so",
                    defines=["openblas_get_config"],
                    needed=["libgomp.so.1"],
                    answers={"openblas_parallel": 2, "integer_bits": {"ddot_": 32}},
                )
            ]
        },
    }
    told = conflicts(parse_software(raw))
    assert len(told) == 1
    assert "clang with OpenMP (libomp)" in told[0]
    assert "libgomp (openblas)" in told[0]


def test_a_blas_that_loads_two_runtimes_is_told() -> None:
    mapped = ["/opt/mkl/libiomp5.so", "/usr/lib/libgomp.so.1.0.0", "/x/libmkl_core.so"]
    record = library(
        "/opt/mkl/libmkl_rt.so.2", defines=["MKL_Get_Version"], answers={"mapped": mapped}
    )
    (told,) = conflicts(parse_software({"libraries": {"libraries": [record]}}))
    assert told.startswith("/opt/mkl/libmkl_rt.so.2 loads libgomp and libiomp5")


@given(
    st.dictionaries(
        st.sampled_from(["environment", "modules", "compilers", "mpi", "libraries"]), JSON_VALUES
    )
)
def test_no_facts_upset_the_parser(raw: dict[str, Any]) -> None:
    software = parse_software(raw)
    assert digest(software) == digest(parse_software(raw))
    assert all(len(line) <= 80 for line in catalogue(software).splitlines())


RECORD = st.dictionaries(
    st.sampled_from(
        [
            *(
                "command",
                "path",
                "language",
                "hops",
                "modules",
                "calls",
                "beside",
                "suffix",
                "kind",
            ),
            *("spellings", "aliases", "defines", "needed", "words", "answers", "headers", "starts"),
            *("folder", "openmp", "soname", "change", "loaded", "problem", "config_text"),
        ]
    ),
    JSON_VALUES,
    max_size=8,
)


@given(st.lists(RECORD, max_size=3))
def test_no_record_upsets_the_parser(records: list[dict[str, Any]]) -> None:
    raw = {
        "compilers": records,
        "mpi": records,
        "libraries": {
            "libraries": records,
            "openmp": records,
            "lapack": records,
            "folders": records,
        },
        "modules": {"kind": "lmod", "loads": records, "calls": {"avail": {"stdout": "x"}}},
    }
    text = catalogue(parse_software(raw))
    assert all(len(line) <= 80 for line in text.splitlines())


@given(st.text(max_size=200))
def test_no_text_upsets_the_classifiers(text: str) -> None:
    family = compilers.parse_family(text)
    compilers.parse_version(text, family)
    compilers.parse_target(text, text)
    mpi.abi_of(*mpi.parse_family(text))
    mpi.parse_show(text)
    openmp.family_of_name(text)


def test_digests_tell_different_software_apart() -> None:
    one = parse_software({"compilers": [compiler("gcc", "c", GCC)]})
    other = parse_software({"compilers": [compiler("gcc", "c", GCC.replace("12.3", "12.4"))]})
    assert digest(one) != digest(other)
    late = parse_software(
        {"compilers": [compiler("gcc", "c", GCC)], "modules": {"not_looked_at": ["gcc/13"]}}
    )
    assert digest(one) == digest(late)
    assert isinstance(one.compilers[0], CompilerFound)


def test_the_software_of_a_recorded_node() -> None:
    raw = json.loads((FIXTURES / "recorded-debian12-lmod.json").read_text())
    software = parse_software(raw)
    assert (software.modules.kind, software.modules.version) == ("lmod", "8.6.19")
    assert dict(software.modules.hidden) == {"openmpi/4.1.4": ("gcc/12.2.0",)}
    assert [(x.command, x.version, x.module) for x in software.compilers] == [
        ("clang", "14.0.6", ""),
        ("clang++", "14.0.6", ""),
        ("g++", "12.2.0", ""),
        ("gcc", "12.2.0", ""),
        ("gfortran", "12.2.0", ""),
        ("gcc", "12.2.0", "gcc/12.2.0"),
    ]
    assert [(x.family, x.default, x.module) for x in software.mpis] == [
        ("openmpi", True, ""),
        ("mpich", False, ""),
        ("openmpi", True, "gcc/12.2.0 openmpi/4.1.4"),
    ]
    kinds = {(x.family, x.interface, x.threading, x.kind) for x in software.blas}
    assert kinds == {
        *(("openblas", "lp64", x, y) for x in THREADS for y in ("shared", "static")),
        *(("openblas", "ilp64", "pthreads", x) for x in ("shared", "static")),
        *(("blis", x, "openmp", y) for x in ("lp64", "ilp64") for y in ("shared", "static")),
        *(("reference", "lp64", "serial", x) for x in ("shared", "static")),
        ("atlas", "lp64", "serial", "shared"),
    }
    assert {x.family for x in software.openmp} == {"gomp", "omp"}
    assert software.missing == {
        "compiler /site/bin/icx of gcc/12.2.0": "--version: icx: no licence",
        "module openblas/0.3.21": "the licence server says no",
    }


def test_the_catalogue_of_a_recorded_node() -> None:
    raw = json.loads((FIXTURES / "recorded-debian12-lmod.json").read_text())
    golden = FIXTURES.parent.parent / "golden" / "report" / "software.txt"
    assert catalogue(parse_software(raw)) == golden.read_text()


@pytest.mark.parametrize("width", [10, 40, 57, 80, 200])
def test_the_catalogue_fits_every_terminal(width: int) -> None:
    raw = json.loads((FIXTURES / "recorded-debian12-lmod.json").read_text())
    raw["compilers"][0]["path"] = "/opt/" + "a-very-long-folder/" * 9 + "bin/c++"
    text = catalogue(parse_software(raw), width)
    assert max(len(line) for line in text.splitlines()) <= max(40, min(width, 80))


def test_nothing_found_is_told_with_reasons() -> None:
    text = catalogue(parse_software({"modules": {"kind": "none"}}))
    for words in (
        "no module system is installed here",
        "Fortran compiler: none in PATH",
        "MPI: no",
    ):
        assert words in text
