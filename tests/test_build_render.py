"""Files of builds: golden bytes, and whatever is valid is taken by the real make and CMake."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lab import builds

from hpcagent.errors import UsageError
from hpcagent.probe.software import BlasFound, CompilerFound, MpiFound
from hpcagent.toolchain.archive import Source
from hpcagent.toolchain.openblas_recipe import BuildRequest, OpenblasSource, openblas_recipe
from hpcagent.toolchain.parameters import (
    Parameters,
    Place,
    load_parameters,
    parse_assignments,
    read_parameters,
    resolve,
)
from hpcagent.toolchain.program import Program, read_program
from hpcagent.toolchain.program_recipe import Toolchain, program_recipe
from hpcagent.toolchain.recipe import Recipe, unit

GOLDEN = Path(__file__).parent / "golden" / "builds"
PLACE = Place("x86_64", "skylake_avx512", 40)
TARGETS = ("HASWELL", "ZEN", "SKYLAKEX", "SAPPHIRERAPIDS", "NEOVERSEV1")
SOURCE = OpenblasSource("/src/OpenBLAS-0.3.28.tar.gz", "ab" * 32, "0.3.28", (), ("fortran", "c"))
GCC = CompilerFound("gcc", "c", "gcc", "/opt/gcc/bin/gcc", "12.2.0", "gcc/12.2")
GFORTRAN = replace(GCC, language="fortran", command="gfortran", path="/opt/gcc/bin/gfortran")
GXX = replace(GCC, language="c++", command="g++", path="/opt/gcc/bin/g++")
ALL = {"c": GCC, "c++": GXX, "fortran": GFORTRAN}
SHOWS = {
    language: f"{name} -O2 -I/mpi/include -L/mpi/lib -Wl,-rpath,/mpi/lib -lmpi"
    for language, name in (("c", "gcc"), ("c++", "g++"), ("fortran", "gfortran"))
}
MPI = MpiFound(
    "mpich", "4.1", "mpich", {lang: f"/mpi/bin/mpi-{lang}" for lang in ALL},
    {"c": "gcc", "c++": "g++", "fortran": "gfortran"}, "/mpi/bin/mpiexec", "mpich/4.1", SHOWS,
)  # fmt: skip
BLAS = BlasFound("openblas", "0.3.28", "/b/lib/libopenblas.so", "/b/lib/libopenblas.so", "shared",
                 "lp64", "pthreads", "", "", True, True, headers="/b/include")  # fmt: skip
CLANG = Toolchain({"c": CompilerFound("clang", "c", "clang", "/usr/bin/clang", "14.0.6"),
                   "fortran": GFORTRAN}, modules=("gcc/12.2",))  # fmt: skip
OPENBLAS = load_parameters("openblas")


def library(values: dict[str, str] | None = None, place: Place = PLACE) -> Recipe:
    given_values = tuple((values or {}).items())
    request = BuildRequest(SOURCE, given_values, (GCC, GFORTRAN), ("gcc/12.2",), place)
    return openblas_recipe(request, OPENBLAS)


def program(tools: Toolchain | None = None, **fields: Any) -> Recipe:
    described = {"name": "solver", "sources": ["src/main.c"], **fields}
    whole = tools or Toolchain(ALL, MPI, BLAS, None, ("gcc/12.2", "mpich/4.1"))
    source = Source("/src/solver", "folder", "cd" * 32, 3, {})
    return program_recipe(Program.model_validate(described), source, whole, PLACE)


def texts(recipe: Recipe) -> dict[str, str]:
    """Everything of a unit that is rendered, without the scripts."""
    made = unit(recipe, "/sw/builds", 8, "/usr/share/lmod/init/bash", "python3")
    files = {name: text for name, text in made.files.items() if not name.endswith(".py")}
    return {**files, "spec.json": builds.json_text(made.spec)}


def golden_renderings() -> dict[str, str]:
    every = {"integers": "lp64", "lapack": "yes", "openmp": "on", "includes": ["include"],
             "defines": ["N=4", "FAST"], "standards": {"c": "c11", "fortran": "f2008"},
             "sources": ["src/shape.f90", "src/solve.F90", "src/main.c"], "linker": "fortran",
             "check": {"ranks": 2, "arguments": ["small"]}}  # fmt: skip
    recipes = {
        "openblas-make": library(),
        "openblas-cmake": library({"build_system": "cmake", "threading": "openmp"}),
        "openblas-all": library(
            {"dynamic_arch": "on", "interface": "ilp64", "symbol_suffix": "64_", "lapack": "c",
             "target": "HASWELL", "libraries": "static", "optimisation": "O3",
             "threading": "serial"}
        ),
        "openblas-list": library({"dynamic_arch": "avx512"}),
        "openblas-list-cmake": library({"dynamic_arch": "avx2", "build_system": "cmake"}),
        "program-make": program(**every, mpi="wrapper"),
        "program-cmake": program(**every, mpi="explicit", build_system="cmake"),
        "program-clang": program(CLANG, sources=["src/solve.f90", "src/main.c"], linker="c",
                                 openmp="on"),
        "program-small": program(microarchitecture="portable"),
    }  # fmt: skip
    return {
        f"{name}/{file}": text
        for name, recipe in recipes.items()
        for file, text in texts(recipe).items()
    }


def test_renderings_are_the_golden_bytes() -> None:
    found = golden_renderings()
    if os.environ.get("HPCAGENT_UPDATE_GOLDEN") == "1":
        shutil.rmtree(GOLDEN, ignore_errors=True)
        for name, text in found.items():
            (GOLDEN / name).parent.mkdir(parents=True, exist_ok=True)
            (GOLDEN / name).write_bytes(text.encode())
    kept = {str(p.relative_to(GOLDEN)): p.read_bytes().decode() for p in GOLDEN.rglob("*.*")}
    kept |= {str(p.relative_to(GOLDEN)): p.read_bytes().decode() for p in GOLDEN.rglob("Makefile")}
    assert found == kept


def test_a_fortran_compiler_of_another_family_is_named() -> None:
    (note,) = program(CLANG, sources=["a.f90", "b.c"], linker="c", openmp="on").notes
    assert note == (
        "gfortran compiles the Fortran beside clang; one OpenMP runtime serves both: omp, which "
        "takes GCC's calls as well"
    )
    assert program(CLANG, sources=["a.f90"], openmp="on").notes == ()


def test_the_address_follows_what_is_built_and_nothing_else() -> None:
    same = unit(library(), "/elsewhere", 2, "", "/usr/bin/python3.6").prefix
    assert same == "/elsewhere/" + library().folder
    request = BuildRequest(SOURCE, (), (GCC, GFORTRAN), ("gcc/12.2",), PLACE)
    others = [
        replace(request, values=(("optimisation", "O3"),)),
        replace(request, values=(("target", "ZEN"),)),
        replace(request, source=replace(SOURCE, sha256="cd" * 32)),
        replace(request, compilers=(replace(GCC, version="13.1"), GFORTRAN)),
        replace(request, modules=()),
    ]
    different = [library(), *(openblas_recipe(other, OPENBLAS) for other in others)]
    assert len({recipe.digest for recipe in different}) == len(different)


# --- parameters ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"threading": "tbb"}, "threading=tbb: choose one of serial, pthreads, openmp"),
        ({"target": "M68K"}, "target=M68K: choose one of GENERIC, PRESCOTT"),
        ({"threads": "2"}, "openblas has no build parameter 'threads'; they are: build_system"),
        ({"max_threads": "3"}, "max_threads=3: choose one of 1, 2, 4"),
        ({"symbol_suffix": "64_"}, "symbol_suffix is for interface=ilp64"),
        ({"precisions": "real"}, "take precisions=all or lapack=none"),
        ({"affinity": "on", "threading": "openmp"}, "affinity=on needs threading=pthreads"),
    ],
)
def test_what_is_not_declared_is_refused_in_one_line(values: dict[str, str], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        resolve(OPENBLAS, values, PLACE)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("microarchitecture", "architecture", "target"),
    [
        ("haswell", "x86_64", "HASWELL"),
        ("broadwell", "x86_64", "HASWELL"),
        ("cascadelake", "x86_64", "SKYLAKEX"),
        ("sapphirerapids", "x86_64", "SAPPHIRERAPIDS"),
        ("zen3", "x86_64", "ZEN"),
        ("zen4", "x86_64", "SKYLAKEX"),
        ("x86_64_v3", "x86_64", "HASWELL"),
        ("neoverse_v1", "aarch64", "NEOVERSEV1"),
        ("a64fx", "aarch64", "A64FX"),
        ("power9le", "ppc64le", "POWER9"),
        ("riscv64", "riscv64", "RISCV64_GENERIC"),
    ],
)
def test_the_target_follows_the_node(
    microarchitecture: str, architecture: str, target: str
) -> None:
    place = Place(architecture, microarchitecture, 96)
    values = resolve(OPENBLAS, {}, place)
    assert (values["target"], values["max_threads"]) == (target, "96")


def test_an_unknown_processor_has_to_be_named() -> None:
    with pytest.raises(UsageError, match="nothing is known of 'mystery'; choose one of GENERIC"):
        resolve(OPENBLAS, {}, Place("x86_64", "mystery", 4))
    assert resolve(OPENBLAS, {"target": "ZEN"}, Place("x86_64", "mystery", 4))["target"] == "ZEN"


def test_a_source_without_lapack_or_with_fewer_targets_says_so() -> None:
    old = replace(SOURCE, targets=("HASWELL", "ZEN"), lapack=())
    request = BuildRequest(old, (("lapack", "none"),), (GCC,), (), PLACE)
    with pytest.raises(UsageError, match="does not know target=SKYLAKEX; name an older one"):
        openblas_recipe(request, OPENBLAS)
    with pytest.raises(UsageError, match=r"has no LAPACK for lapack=fortran .* lapack=none"):
        openblas_recipe(replace(request, values=(("target", "ZEN"),)), OPENBLAS)
    with pytest.raises(UsageError, match="no fortran compiler"):
        openblas_recipe(BuildRequest(SOURCE, (), (GCC,), (), PLACE), OPENBLAS)


@pytest.mark.parametrize("path", ["/opt/my gcc/bin/gcc", "/opt/g'cc", "/opt/$HOME/gcc", "gcc"])
def test_a_compiler_that_openblas_cannot_call_is_refused(path: str) -> None:
    request = BuildRequest(SOURCE, (("lapack", "c"),), (replace(GCC, path=path),), (), PLACE)
    with pytest.raises(UsageError, match="absolute path of letters"):
        openblas_recipe(request, OPENBLAS)


@pytest.mark.parametrize("store", ["relative", "/a b", "/a/../b", "/a/", "/$HOME", "/a'b"])
def test_a_store_that_makefiles_cannot_hold_is_refused(store: str) -> None:
    with pytest.raises(UsageError, match="builds need an absolute path"):
        unit(library(), store, 1, "", "python3")


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ("default: pthreads", "default: tbb", ":[0-9]+: parameters.[0-9]+: .*'tbb'"),
        ('NUM_THREADS: "{value}"', 'NUM_THREADS: "$(id)"', "cannot stand in a Makefile"),
        ("schema: 1", "schema: 2", ":[0-9]+: schema"),
        ("  - name: affinity", "  - name: Affinity!", "name"),
        ("rules:", "rulez:", "rules: Field required"),
    ],
)
def test_a_malformed_parameter_file_is_named_by_line(
    tmp_path: Path, old: str, new: str, where: str
) -> None:
    import hpcagent.toolchain.parameters as module

    text = (Path(module.__file__).parent / "openblas_build.yaml").read_text()
    assert old in text
    path = tmp_path / "x_build.yaml"
    path.write_text(text.replace(old, new))
    with pytest.raises(UsageError, match=where):
        read_parameters(path)


def test_assignments_are_read_strictly() -> None:
    assert parse_assignments(["a=b", "c=d=e"]) == {"a": "b", "c": "d=e"}
    for words in (["a"], ["=b"], ["a="], ["a=1", "a=2"]):
        with pytest.raises(UsageError, match="--set"):
            parse_assignments(words)


# --- whatever is valid is taken by make and CMake ------------------------------------------------


@st.composite
def choices(draw: st.DrawFn) -> tuple[dict[str, str], Place]:
    place = draw(st.sampled_from([PLACE, Place("aarch64", "neoverse_v1", 64)]))
    values = {
        p.name: draw(st.sampled_from(p.enumeration(place.architecture)))
        for p in OPENBLAS.parameters
        if draw(st.booleans())
    }
    return values, place


def resolved(of: Parameters, values: dict[str, str], place: Place) -> bool:
    try:
        resolve(of, values, place)
    except UsageError:
        return False
    return True


@pytest.mark.toolchain
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(choices().filter(lambda c: resolved(OPENBLAS, *c)))
def test_any_library_request_renders_to_what_make_or_cmake_takes(
    tmp_path: Path, chosen: tuple[dict[str, str], Place]
) -> None:
    values, place = chosen
    recipe, again = library(values, place), library(values, place)
    assert texts(recipe) == texts(again)
    root = Path(tmp_path, recipe.digest)
    (root / "source").mkdir(parents=True, exist_ok=True)
    for name, text in recipe.files:
        (root / name).write_text(text)
    goals = "libs netlib shared install"
    (root / "source" / "Makefile").write_text(f"{goals}:\n\t@echo $(TARGET) $(NUM_THREADS)\n")
    full = resolve(OPENBLAS, values, place)
    if full["build_system"] == "make":
        words = ["make", "-f", "Makefile", "PREFIX=/x", "library", "install"]
        done = subprocess.run(words, cwd=root, capture_output=True, text=True, check=True)
        assert f"{full['target']} {full['max_threads']}" in done.stdout
    else:
        (root / "source" / "CMakeLists.txt").write_text(
            "cmake_minimum_required(VERSION 3.13)\nproject(x LANGUAGES NONE)\n"
            'message("-- ${TARGET} ${NUM_THREADS}")\n'
        )
        words = ["cmake", "-C", "options.cmake", "-S", "source", "-B", "build"]
        done = subprocess.run(words, cwd=root, capture_output=True, text=True, check=True)
        assert f"{full['target']} {full['max_threads']}" in done.stdout + done.stderr
    dry = ["make", "-n", "-f", "Makefile", "PREFIX=/x", "check"]
    subprocess.run(dry, cwd=root, capture_output=True, check=True)


NAMES = st.from_regex(r"[a-z0-9_][A-Za-z0-9_.+-]{0,8}(/[a-z0-9][a-z0-9_]{0,5})?", fullmatch=True)
SOURCES = st.builds(
    lambda name, end: name.rstrip(".") + end, NAMES, st.sampled_from([".c", ".cpp", ".f90"])
)
DEFINES = st.from_regex(r"[A-Z_]{1,5}(=[0-9a-z.+-]{1,4})?", fullmatch=True)
PROGRAMS = st.fixed_dictionaries(
    {
        "sources": st.lists(SOURCES, min_size=1, max_size=4, unique=True),
        "defines": st.lists(DEFINES, max_size=2),
        "includes": st.lists(NAMES, max_size=2),
        "mpi": st.sampled_from(["none", "wrapper", "explicit"]),
        "openmp": st.sampled_from(["off", "on"]),
        "integers": st.sampled_from(["none", "lp64"]),
        "optimisation": st.sampled_from(["O0", "O1", "O2", "O3"]),
        "microarchitecture": st.sampled_from(["node", "portable", "zen3"]),
    }
)  # fmt: skip


@pytest.mark.toolchain
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(PROGRAMS)
def test_any_program_renders_to_what_make_and_cmake_take(
    tmp_path: Path, fields: dict[str, Any]
) -> None:
    languages = {builds_language(source) for source in fields["sources"]}
    if len(languages) > 1:
        fields["linker"] = sorted(languages)[0]
    for system in ("make", "cmake"):
        recipe = program(**fields, build_system=system)
        root = Path(tmp_path, recipe.digest)
        root.mkdir(exist_ok=True)
        for name in fields["sources"]:
            (root / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            (root / "source" / name).touch()
        for name, text in recipe.files:
            (root / name).write_text(text)
        if system == "make":
            words = ["make", "-n", "-f", "Makefile", "PREFIX=/x", "install"]
            done = subprocess.run(words, cwd=root, capture_output=True, text=True, check=True)
            assert all(f"source/{name}" in done.stdout for name in fields["sources"])
            continue
        # Compilers are not looked for: that takes a second for each.
        text = (root / "CMakeLists.txt").read_text()
        text = re.sub(r"project\(solver LANGUAGES.*\)", "project(solver LANGUAGES NONE)", text)
        assert "LANGUAGES NONE" in text
        (root / "CMakeLists.txt").write_text(text.replace("add_executable(solver)",
                                                          "add_library(solver INTERFACE)")
                                             .replace("PRIVATE", "INTERFACE"))  # fmt: skip
        words = ["cmake", "-S", ".", "-B", "build"]
        subprocess.run(words, cwd=root, capture_output=True, check=True)


def builds_language(source: str) -> str:
    return {"c": "c", "cpp": "c++", "f90": "fortran"}[source.rpartition(".")[2]]


# --- programs ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"sources": ["../main.c"]}, "relative path"),
        ({"sources": ["/main.c"]}, "relative path"),
        ({"sources": ["a b.c"]}, "relative path"),
        ({"sources": ["main.rs"]}, "known endings"),
        ({"sources": ["a.c", "a.c"]}, "listed twice"),
        ({"sources": ["a.c", "b.f90"]}, "say which of c, fortran links it"),
        ({"sources": ["a.c"], "linker": "c++"}, "no source is in that language"),
        ({"sources": ["a.c"], "name": "install"}, "a word of the build itself"),
        ({"sources": ["a.c"], "defines": ["A=$(id)"]}, "NAME or NAME=VALUE"),
        ({"sources": ["a.c"], "optimisation": "O9"}, "optimisation"),
        ({"sources": ["a.c"], "lapack": "yes"}, "needs integers"),
        ({"sources": ["a.c"], "speed": "yes"}, "speed"),
        ({"sources": ["a.c"], "check": {"arguments": ["`id`"]}}, "no plain word"),
        ({"sources": []}, "sources"),
    ],
)
def test_a_description_is_checked_by_field(
    tmp_path: Path, fields: dict[str, Any], words: str
) -> None:
    import yaml

    path = tmp_path / "program.yaml"
    path.write_text(yaml.safe_dump({"name": "solver", **fields}))
    with pytest.raises(UsageError, match=r"program\.yaml(:[0-9]+)?: ") as caught:
        read_program(path)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_only_declared_choices_change_a_description(tmp_path: Path) -> None:
    path = tmp_path / "program.yaml"
    path.write_text("name: solver\nsources: [a.c]\n")
    assert read_program(path, {"optimisation": "O3"}).optimisation == "O3"
    with pytest.raises(UsageError, match="choose among build_system, optimisation"):
        read_program(path, {"sources": "b.c"})
    with pytest.raises(UsageError, match="openmp"):
        read_program(path, {"openmp": "maybe"})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("version: '1'\n", r":1: name, sources are missing: docs/environment.md has an example"),
        ("source: [a.c]\n", r":2: source: is not known; did you mean sources\?"),
        ("sources: [a.c]\ncheck: {args: [x]}\n", r":3: .*did you mean arguments\?"),
        ("sources: [a.c]\nopenmp: on\n", r":3: openmp: .* put it between quotes"),
        ("sources: [a.c]\nversion: 2.24\n", r":3: version: must be text: put it between quotes"),
    ],
)
def test_what_is_wrong_in_a_description_is_told_with_its_cure(
    tmp_path: Path, text: str, words: str
) -> None:
    path = tmp_path / "app.yaml"
    path.write_text(text if "version: '1'" in text else "name: x\n" + text)
    with pytest.raises(UsageError, match=words):
        read_program(path)


@pytest.mark.parametrize(
    ("tools", "fields", "words"),
    [
        ({"blas": replace(BLAS, interface="ilp64")}, {"integers": "lp64"}, "takes ilp64 integers"),
        ({"blas": None}, {"integers": "lp64"}, "needs BLAS"),
        (
            {"blas": replace(BLAS, has_lapack=False)},
            {"integers": "lp64", "lapack": "yes"},
            "no LAPACK",
        ),
        ({"mpi": None}, {"mpi": "wrapper"}, "needs MPI"),
        ({"mpi": replace(MPI, wrappers={})}, {"mpi": "wrapper"}, "no wrapper for c"),
        ({"mpi": replace(MPI, shows={"c": "icc"})}, {"mpi": "explicit"}, "names no library"),
        ({"compilers": {}}, {}, "no c compiler"),
        ({"compilers": {"c": replace(GCC, path="/a;b")}}, {}, "cannot all take the character ';'"),
        (
            {"compilers": {"c": GCC, "fortran": replace(GFORTRAN, family="flang")}},
            {"sources": ["a.c", "b.f90"], "linker": "c", "mpi": "wrapper"},
            "cannot read its Fortran modules",
        ),
        (
            {"compilers": {"c": replace(GCC, family="clang"), "fortran": GFORTRAN}},
            {"sources": ["a.c", "b.f90"], "linker": "fortran", "openmp": "on"},
            "different OpenMP runtimes (gomp, omp), and gfortran links only its own: write "
            "linker: c, or take one family",
        ),
        (
            {"compilers": {"c": GCC, "fortran": replace(GFORTRAN, family="flang")}},
            {"sources": ["a.c", "b.f90"], "linker": "c"},
            "write linker: fortran",
        ),
        ({}, {"microarchitecture": "z80"}, "'z80' is not known"),
        ({}, {"standards": {"c": "c++17"}}, "choose one of c99"),
    ],
)
def test_what_cannot_fit_together_is_refused(
    tools: dict[str, Any], fields: dict[str, Any], words: str
) -> None:
    whole = replace(Toolchain(ALL, MPI, BLAS), **tools)
    with pytest.raises(UsageError) as caught:
        program(whole, **fields)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
