"""Flags and link lines: right for compiler, microarchitecture and library; else a reason."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcagent.errors import UsageError
from hpcagent.probe.microarch import lineage
from hpcagent.probe.software import (
    BlasFound,
    CompilerFound,
    LapackFound,
    ModuleSystem,
    MpiFound,
    Software,
)
from hpcagent.toolchain.choose import (
    choose_blas,
    choose_compilers,
    choose_lapack,
    choose_mpi,
    modules_of,
    partnered_compilers,
)
from hpcagent.toolchain.flags import (
    microarchitecture_flags,
    module_folder_flags,
    openmp_flags,
    plain_version,
    standard_flag,
)
from hpcagent.toolchain.linkline import (
    blas_line,
    lapack_line,
    parse_shown,
    wrapper_environment,
)

GCC = CompilerFound("gcc", "c", "gcc", "/usr/bin/gcc", "12.2.0")
GFORTRAN = replace(GCC, language="fortran", command="gfortran", path="/usr/bin/gfortran")
OPENBLAS = BlasFound("openblas", "0.3.21", "/b/libopenblas.so", "/b/libopenblas.so", "shared",
                     "lp64", "pthreads", "", "", True, True)  # fmt: skip


@pytest.mark.parametrize(
    ("family", "version", "name", "flags", "used"),
    [
        ("gcc", "12.2.0", "zen3", "-march=znver3 -mtune=znver3", "zen3"),
        ("gcc", "12.2.0-14+deb12u1", "haswell", "-march=haswell -mtune=haswell", "haswell"),
        ("gcc", "4.8.5", "skylake_avx512", "-march=core-avx2 -mtune=core-avx2", "haswell"),
        ("gcc", "8.5.0", "zen3", "-march=znver1 -mtune=znver1 -mavx512f", None),
        ("clang", "14.0.6", "zen3", "-march=znver3 -mtune=znver3", "zen3"),
        ("intel", "2024.0", "icelake", "-march=icelake-client -mtune=icelake-client", "icelake"),
        ("nvhpc", "23.1", "zen3", "-tp zen3", "zen3"),
        ("nvhpc", "23.1", "sapphirerapids", "-tp skylake", "icelake"),
        ("gcc", "12.2.0", "neoverse_v1", None, "neoverse_v1"),
        ("gcc", "12.2.0", "a64fx", None, "a64fx"),
        ("gcc", "12.2.0", "power9le", "-mcpu=power9 -mtune=power9", "power9le"),
    ],
)  # fmt: skip
def test_flags_are_those_of_the_microarchitecture_or_of_what_is_used_instead(
    family: str, version: str, name: str, flags: str | None, used: str | None
) -> None:
    found = microarchitecture_flags(name, replace(GCC, family=family, version=version))
    assert found.flags
    if used is not None:
        assert found.name == used
        assert flags is None or " ".join(found.flags) == flags
        assert (used in found.reason) == (used != name)
    else:
        assert found.name in lineage(name)[1:]
        assert f"no flags for {name}; those of {found.name} are used" in found.reason


def test_where_there_are_no_flags_the_reason_is_told() -> None:
    assert microarchitecture_flags("portable", GCC).reason == ""
    cray = replace(GCC, family="cray", command="cc")
    assert "by the loaded module" in microarchitecture_flags("zen3", cray).reason
    assert "is not known" in microarchitecture_flags("zen3", replace(GCC, version="")).reason
    with pytest.raises(UsageError, match="'z80' is not known"):
        microarchitecture_flags("z80", GCC)


@given(st.text(max_size=20))
def test_any_version_text_gives_dotted_digits_or_nothing(text: str) -> None:
    version = plain_version(text)
    assert version == "" or all(part.isdigit() for part in version.split("."))
    microarchitecture_flags("zen3", replace(GCC, version=text))


def test_families_have_their_own_words() -> None:
    intel = replace(GFORTRAN, family="intel", command="ifx")
    nvhpc = replace(GFORTRAN, family="nvhpc", command="nvfortran")
    assert openmp_flags(intel) == ("-qopenmp",)
    assert openmp_flags(replace(GCC, family="cray", wrapped="gcc")) == ("-fopenmp",)
    assert module_folder_flags(GFORTRAN, "m") == ("-Jm",)
    assert module_folder_flags(nvhpc, "m") == ("-module", "m")
    assert standard_flag("f2008", intel) == ("-stand", "f08")
    assert standard_flag("c17", GCC) == ("-std=c17",)
    with pytest.raises(UsageError, match="is not known"):
        openmp_flags(replace(GCC, family="tcc"))


# --- link lines ----------------------------------------------------------------------------------


def test_a_shared_library_is_named_by_its_path_with_its_folder_in_the_run_path() -> None:
    line = blas_line(replace(OPENBLAS, headers="/b/include"), GCC, "lp64", openmp=False)
    assert (line.words, line.run_path) == (("/b/libopenblas.so",), ("/b",))
    assert line.compile == ("-I/b/include",)


@pytest.mark.parametrize(
    ("changes", "linker", "words", "openmp"),
    [
        ({}, GCC, "/b/libopenblas.a -lgfortran -lpthread -lm", False),
        ({}, GFORTRAN, "/b/libopenblas.a -lpthread -lm", False),
        ({"threading": "openmp"}, GCC, "/b/libopenblas.a -lgfortran -lpthread -lm", True),
        ({"threading": "serial", "has_lapack": False}, GCC, "/b/libopenblas.a -lm", False),
        ({"family": "atlas", "threading": "serial"}, GFORTRAN,
         "/b/liblapack.a /b/libf77blas.a /b/libcblas.a /b/libatlas.a -lm", False),
    ],
)  # fmt: skip
def test_an_archive_comes_with_all_that_it_needs_in_order(
    changes: dict[str, str], linker: CompilerFound, words: str, openmp: bool
) -> None:
    archive = replace(OPENBLAS, kind="static", path="/b/libopenblas.a", **changes)  # type: ignore[arg-type]
    line = blas_line(archive, linker, "lp64", openmp=False)
    assert (" ".join(line.words), line.openmp, line.run_path) == (words, openmp, ())


@pytest.mark.parametrize(
    ("kind", "linker", "interface", "threading", "layers"),
    [
        ("shared", GCC, "lp64", "openmp", "mkl_intel_lp64 mkl_gnu_thread mkl_core"),
        ("shared", GFORTRAN, "lp64", "openmp", "mkl_gf_lp64 mkl_gnu_thread mkl_core"),
        ("static", GFORTRAN, "ilp64", "serial", "mkl_gf_ilp64 mkl_sequential mkl_core"),
        ("shared", replace(GCC, family="intel"), "ilp64", "openmp",
         "mkl_intel_ilp64 mkl_intel_thread mkl_core"),
        ("shared", replace(GCC, family="clang"), "lp64", "openmp",
         "mkl_intel_lp64 mkl_intel_thread mkl_core"),
        ("shared", replace(GFORTRAN, family="nvhpc"), "lp64", "openmp",
         "mkl_intel_lp64 mkl_pgi_thread mkl_core"),
    ],
)  # fmt: skip
def test_mkl_gets_its_three_layers(
    kind: str, linker: CompilerFound, interface: str, threading: str, layers: str
) -> None:
    mkl = replace(OPENBLAS, family="mkl", path="/mkl/lib/libmkl_rt.so", kind=kind,
                  interface=interface, threading=threading)  # fmt: skip
    line = blas_line(mkl, linker, interface, openmp=True)
    ending = "so" if kind == "shared" else "a"
    files = [f"/mkl/lib/lib{name}.{ending}" for name in layers.split()]
    assert [word for word in line.words if word.startswith("/")] == files
    first = "--push-state,--no-as-needed" if kind == "shared" else "--start-group"
    assert line.words[0] == f"-Wl,{first}"
    assert line.words[-3:] == ("-lpthread", "-lm", "-ldl")
    assert ("-DMKL_ILP64" in line.compile) == (interface == "ilp64")
    runtimes = {"mkl_gnu_thread": "-lgomp", "mkl_intel_thread": "-liomp5", "mkl_pgi_thread": "-mp"}
    wanted = runtimes.get(layers.split()[1])
    assert [w for w in line.words if w in runtimes.values()] == ([wanted] if wanted else [])


def test_what_will_go_wrong_is_noted() -> None:
    gomp = replace(OPENBLAS, threading="openmp", openmp_runtime="gomp")
    clang = replace(GCC, family="clang", command="clang")
    assert "two OpenMP runtimes" in blas_line(gomp, clang, "lp64", openmp=True).notes[0]
    assert blas_line(gomp, GCC, "lp64", openmp=True).notes == ()
    assert "more threads than cores" in blas_line(OPENBLAS, GCC, "lp64", openmp=True).notes[0]
    with pytest.raises(UsageError, match="takes lp64 integers and the program passes ilp64"):
        blas_line(OPENBLAS, GCC, "ilp64", openmp=False)


def test_lapack_stands_before_the_blas_that_it_calls() -> None:
    found = lapack_line(LapackFound("/l/liblapack.so", "shared", ()), GCC)
    line = found + blas_line(OPENBLAS, GCC, "lp64", openmp=False)
    assert line.words == ("/l/liblapack.so", "/b/libopenblas.so")
    assert line.run_path == ("/l", "/b")
    assert lapack_line(LapackFound("/l/l.a", "static", ()), GCC).words == ("/l/l.a", "-lgfortran")


@pytest.mark.parametrize(
    ("text", "compiled", "linked", "run_path"),
    [
        ("gcc -I/m/include -pthread -L/m/lib -Wl,-rpath -Wl,/m/rp -Wl,--enable-new-dtags -lmpi",
         "-I/m/include -pthread", "-pthread -L/m/lib -lmpi", "/m/lib /m/rp"),
        ("gfortran -O2 -ffile-prefix-map=/build=. -Wl,-z,relro -I/m/i -L/m/l -lmpichfort -lmpich",
         "-I/m/i", "-L/m/l -lmpichfort -lmpich", "/m/l"),
        ("icc -I'/a b/include' -L/m/lib -Xlinker --enable-new-dtags -lmpi -ldl",
         "-I/a b/include", "-L/m/lib -lmpi -ldl", "/m/lib"),
        ("nvc -DX=1 /m/lib/libmpi.so -Wl,-rpath,/m/lib", "-DX=1", "/m/lib/libmpi.so", "/m/lib"),
    ],
)  # fmt: skip
def test_what_mpi_needs_is_taken_from_the_words_of_its_wrapper(
    text: str, compiled: str, linked: str, run_path: str
) -> None:
    line = parse_shown(text)
    assert " ".join(line.compile) == compiled
    assert " ".join(line.words) == linked
    assert " ".join(line.run_path) == run_path


@given(st.text(max_size=60))
def test_a_wrapper_may_print_anything(text: str) -> None:
    try:
        parse_shown(text)
    except UsageError as error:
        assert "\n" not in str(error)


def test_a_wrapper_is_told_its_compilers_by_the_variables_of_its_mpi() -> None:
    mpi = MpiFound("openmpi", "4.1", "openmpi", {}, {"fortran": "/usr/bin/gfortran-12"}, "")
    assert dict(wrapper_environment(mpi, {"c": GCC, "fortran": GFORTRAN})) == {
        "OMPI_CC": "/usr/bin/gcc",
        "OMPI_FC": "/usr/bin/gfortran",
    }
    assert dict(wrapper_environment(replace(mpi, family="mpich"), {"c": GCC})) == {
        "MPICH_CC": "/usr/bin/gcc"
    }
    flang = replace(GFORTRAN, family="flang", command="flang")
    with pytest.raises(UsageError, match="cannot read its Fortran modules"):
        wrapper_environment(mpi, {"fortran": flang})


# --- choosing ------------------------------------------------------------------------------------


def software(**changes: object) -> Software:
    clang = CompilerFound("clang", "c", "clang", "/usr/bin/clang", "14")
    newer = replace(GCC, path="/m/gcc", version="13", module="gcc/13")
    beside = replace(GFORTRAN, path="/m/gfortran", module="gcc/13")
    values: dict[str, object] = {
        "modules": ModuleSystem("none"), "loaded": (), "openmp": (), "missing": {},
        "compilers": (clang, newer, beside, GCC, GFORTRAN),
        "mpis": (
            MpiFound("mpich", "4.0", "mpich", {"c": "/m/mpicc"}, {}, "", "mpich/4"),
            MpiFound("openmpi", "4.1", "openmpi", {"c": "/usr/bin/mpicc"}, {}, "", default=True),
        ),
        "blas": (
            replace(OPENBLAS, path="/s/libopenblas.a", kind="static"),
            OPENBLAS,
            replace(OPENBLAS, path="/o/libopenblas.so", threading="openmp"),
            replace(OPENBLAS, path="/64/libopenblas64.so", interface="ilp64"),
            replace(OPENBLAS, family="blis", path="/blis/libblis.so", has_lapack=False),
        ),
    }  # fmt: skip
    return Software(**{**values, **changes})  # type: ignore[arg-type]


def test_compilers_are_of_one_family_and_one_module() -> None:
    chosen = choose_compilers(software(), ("c", "fortran"), "")
    assert [c.path for c in chosen.values()] == ["/usr/bin/gcc", "/usr/bin/gfortran"]
    chosen = choose_compilers(software(), ("c", "fortran"), "/m/gcc")
    assert [c.path for c in chosen.values()] == ["/m/gcc", "/m/gfortran"]
    assert choose_compilers(software(), ("c",), "clang")["c"].path == "/usr/bin/clang"
    with pytest.raises(UsageError, match=r"no fortran compiler of clang there; compilers are: "):
        choose_compilers(software(), ("c", "fortran"), "clang")
    with pytest.raises(UsageError, match="compilers are: none"):
        choose_compilers(software(compilers=()), ("c",), "")


def test_a_library_of_clang_takes_gfortran_where_there_is_no_flang() -> None:
    chosen = partnered_compilers(software(), ("c", "fortran"), "clang")
    assert [c.path for c in chosen.values()] == ["/usr/bin/clang", "/usr/bin/gfortran"]
    for wanted in ("", "gcc", "/m/gcc"):
        same = choose_compilers(software(), ("c", "fortran"), wanted)
        assert partnered_compilers(software(), ("c", "fortran"), wanted) == same
    with pytest.raises(UsageError, match="no fortran compiler of clang there"):
        only = tuple(c for c in software().compilers if c.language == "c")
        partnered_compilers(software(compilers=only), ("c", "fortran"), "clang")


def test_a_program_of_clang_takes_flang_where_there_is_one() -> None:
    flang = CompilerFound("flang", "fortran", "flang-new", "/usr/bin/flang-new", "17")
    other = replace(flang, path="/m/flang", module="llvm/17")
    beside = CompilerFound("clang", "c", "clang", "/m/clang", "17", "llvm/17")
    found = (other, flang, *software().compilers, beside)
    for languages, path in ((("c", "fortran"), "/usr/bin/flang-new"), (("fortran",), "/m/flang")):
        wanted = "clang" if "c" in languages else "/m/clang"
        chosen = partnered_compilers(software(compilers=found), languages, wanted)
        assert tuple(chosen) == languages
        assert chosen["fortran"].path == path
    assert partnered_compilers(software(), ("fortran",), "clang")["fortran"].path == GFORTRAN.path
    with pytest.raises(UsageError, match="no fortran compiler of nvhpc there"):
        partnered_compilers(software(), ("fortran",), "nvhpc")


def test_libraries_are_chosen_by_family_detail_or_path() -> None:
    found = software()
    assert choose_blas(found, "", "lp64").path == "/b/libopenblas.so"
    assert choose_blas(found, "", "ilp64").path == "/64/libopenblas64.so"
    assert choose_blas(found, "openblas/openmp", "lp64").path == "/o/libopenblas.so"
    assert choose_blas(found, "openblas/static", "lp64").path == "/s/libopenblas.a"
    assert choose_blas(found, "/blis/libblis.so", "lp64").family == "blis"
    with pytest.raises(UsageError, match=r"no BLAS mkl for lp64 integers there; there are: blis"):
        choose_blas(found, "mkl", "lp64")
    assert choose_mpi(found, "").family == "openmpi"
    assert choose_mpi(found, "/m/mpicc").family == "mpich"
    with pytest.raises(UsageError, match=r"no MPI intel there; there are: mpich 4.0, openmpi 4.1"):
        choose_mpi(found, "intel")
    assert choose_lapack(found, "shared") is None
    assert modules_of(["gcc/13", "gcc/13 mpich/4", ""]) == ("gcc/13", "mpich/4")


def test_nobody_guesses_among_modules_of_several_packages() -> None:
    rows = (replace(GCC, module="gcc/12"), replace(GCC, module="gnu8/8.3"))
    with pytest.raises(UsageError, match=r"several modules have some \(gcc/12, gnu8/8.3\).*--comp"):
        choose_compilers(software(compilers=rows), ("c",), "")
    assert choose_compilers(software(compilers=(*rows, GCC)), ("c",), "")["c"] == GCC
    versions = tuple(replace(GCC, module=f"gcc/{n}") for n in ("9.5", "12.2", "11.1"))
    newest = choose_compilers(software(compilers=versions), ("c",), "")["c"]
    assert newest.module == "gcc/12.2"
    lmod = ModuleSystem("lmod", defaults=("gcc/11.1",))
    marked = software(compilers=versions, modules=lmod)
    assert choose_compilers(marked, ("c",), "")["c"].module == "gcc/11.1"
