"""Declared repairs, applied to the failures they are for, with real builds and runs."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from lab.slurm_lab import Cluster
from planted import compiling, configuring, linking, loading, mpi_runs, running, slurm_jobs
from planted.mending import Loop, Setting, mend

PROGRAMS = ("gcc", "g++", "gfortran", "cmake", "ninja", "make", "mpicc", "mpirun.openmpi")
LINK = "gcc {objects} -o x @link_flags@ @libraries@ && ./x"
FILL = {"fill.py": "x = bytearray(600 << 20)\nprint(len(x))\n"}
COMMON = {"a.c": "int level;\nint main(void) { return level; }\n", "b.c": "int level;\n"}
GUARDED = {"k.c": "#ifndef __AVX512ER__\nint main(void) { return 0; }\n#else\n"
           + running.EXP["k.c"] + "#endif\n"}  # fmt: skip
WAVE = loading.BUILD.replace("-o main\n", "@rpath@ -o main\n").replace("mkdir lib", "mkdir -p lib")


@dataclass(frozen=True)
class Mendable:
    """`repairs`: the ids whose repairs lead to success, in order."""

    script: str
    files: dict[str, str]
    repairs: tuple[str, ...]
    setting: Setting = field(default_factory=Setting)
    folders: tuple[str, ...] = ()


def linked(compile_words: str, objects: str) -> str:
    return f"{compile_words} && {LINK.format(objects=objects)}"


MENDABLE = {
    "argument mismatch": Mendable(
        "gfortran @flags@ -c swap.f", compiling.MISMATCH, ("compile.argument_mismatch",)
    ),
    "long line": Mendable(
        "gfortran @flags@ -c long.f90", compiling.LONG, ("compile.line_too_long",)
    ),
    "old standard": Mendable(
        "g++ -std=c++11 @flags@ -c o.cpp", compiling.OPTIONAL, ("compile.language_standard",)
    ),
    "-Werror": Mendable(
        "gcc @flags@ -c w.c", compiling.WARNING, ("compile.warnings_as_errors",),
        Setting(flags=("-Wall", "-Werror")),
    ),
    "-march": Mendable(
        "gcc @march@ -c a.c", compiling.EMPTY, ("compile.unknown_march",) * 2,
        Setting(march=("znver9", "diamondlake", "x86-64")),
    ),
    "BLAS": Mendable(linked(":", "mm.c"), linking.DGEMM, ("link.blas",)),
    "LAPACK": Mendable(
        "gfortran l.f90 -o x @libraries@", linking.LAPACK, ("link.lapack",)
    ),
    # The caller follows the library that there is.
    "64-bit BLAS": Mendable(
        "gfortran -cpp -DDGEMM_OF=@gemm@ w.F90 -o w @libraries@",
        {"w.F90": linking.ILP64["w.f90"].replace("dgemm_64", "DGEMM_OF")}, ("link.ilp64",),
        Setting(libraries=("openblas",)),
    ),
    "libm": Mendable(linked(":", "p.c"), linking.POW, ("link.libm",)),
    "C++ runtime": Mendable(linked("g++ -c c.cpp", "c.o"), linking.CXX, ("link.cxx_runtime",)),
    "Fortran runtime": Mendable(
        linked("gfortran -c f.f90", "f.o"), linking.FORTRAN, ("link.fortran_runtime",)
    ),
    "OpenMP": Mendable(linked("gcc -fopenmp -c o.c", "o.o"), linking.OPENMP, ("link.openmp",)),
    "MPI wrapper": Mendable(
        "@compiler@ -I/usr/lib/x86_64-linux-gnu/openmpi/include m.c -o m", linking.MPI,
        ("link.mpi",),
    ),
    "order": Mendable(
        linking.ARCHIVES + "gcc main.o -L. @libraries@ -o x", linking.STATIC, ("link.order",),
        Setting(libraries=("low", "high")),
    ),
    "not PIC": Mendable(
        "gcc -fno-pic @flags@ -c t.c && gcc -shared t.o -o libt.so", linking.TABLE,
        ("link.not_pic",),
    ),
    "common": Mendable(
        "gcc @flags@ a.c b.c -o x && ./x", COMMON, ("link.multiple_definition",)
    ),
    "large arrays": Mendable(
        "gcc @flags@ h.c -o h", linking.HUGE, ("link.relocation_truncated",)
    ),
    "rpath": Mendable(
        WAVE + "./main", loading.LIBRARY, ("load.missing_library",), folders=("$PWD/lib",)
    ),
    "SIGILL": Mendable(
        "gcc @march@ k.c -o k\n./k", GUARDED, ("run.illegal_instruction",),
        Setting(march=("knl",)),
    ),
    "memory": Mendable(
        "ulimit -v @memory_kb@\npython3 fill.py", FILL, ("run.out_of_memory",)
    ),
    "threads": Mendable(
        "gcc -fopenmp t.c -o t || exit\nulimit -v 3000000\n"
        "OMP_STACKSIZE=1200M OMP_NUM_THREADS=@threads@ ./t",
        {"t.c": running.THREADS["t.c"].replace(" num_threads(4)", "")},
        ("run.no_threads",) * 2,
    ),
    "open files": Mendable(
        "ulimit -S -n @open_files@\npython3 o.py", running.FILES, ("run.open_files",)
    ),
    "build folder": Mendable(
        "test -e first || cmake -S . -B build -G 'Unix Makefiles' >/dev/null; touch first\n"
        "@clean@\ncmake -S . -B build -G Ninja",
        configuring.lists(""), ("configure.cmake_generator",),
    ),
}  # fmt: skip


def required() -> None:
    missing = [name for name in PROGRAMS if not shutil.which(name)]
    if missing:
        pytest.skip(f"not here: {', '.join(missing)}")


@pytest.mark.toolchain
@pytest.mark.parametrize("name", MENDABLE)
def test_a_declared_repair_works_without_help(name: str, tmp_path: Path) -> None:
    required()
    case = MENDABLE[name]
    story = mend(case.script, case.files, Loop(case.setting, case.folders), tmp_path)
    assert story.mended, story
    assert tuple(attempt.failure for attempt in story.attempts) == case.repairs
    assert all(attempt.repair for attempt in story.attempts)


@pytest.mark.toolchain
def test_a_program_of_another_mpi_gets_its_own_launcher(tmp_path: Path) -> None:
    required()
    if not shutil.which("mpicc.mpich"):
        pytest.skip("no MPICH")
    script = "mpicc.mpich m.c -o m && @launcher@ -np 2 ./m"
    setting = Setting(launcher=("mpirun.openmpi --oversubscribe", "mpiexec.hydra"))
    files = mpi_runs.program(mpi_runs.SIZE)
    story = mend(script, files, Loop(setting), tmp_path, mpi_runs.RANKS)
    assert story.mended, story
    assert [attempt.failure for attempt in story.attempts] == ["mpi.mixed_launcher"]


@pytest.mark.toolchain
def test_a_repair_that_does_not_help_is_given_up(tmp_path: Path) -> None:
    """-fcommon does not merge what both objects initialise."""
    required()
    story = mend("gcc @flags@ one.c two.c -o x", linking.TWICE, Loop(Setting()), tmp_path)
    assert not story.mended and "came back" in story.reason
    assert story.repairs == ["parameter flags: add -fcommon"]
    assert story.attempts[-1].repair is None


@pytest.mark.toolchain
def test_repairs_that_grow_are_bounded(tmp_path: Path) -> None:
    required()
    files = {"fill.py": "x = bytearray(900 << 30)\n"}
    script = "ulimit -v @memory_kb@\npython3 fill.py"
    story = mend(script, files, Loop(Setting()), tmp_path)
    assert not story.mended and "limit" in story.reason
    assert story.repairs == ["resource memory: multiply 2"] * 3


@pytest.mark.toolchain
def test_a_circle_is_seen(tmp_path: Path) -> None:
    """The next of two wrong values of -march is the other one, and then the first again."""
    required()
    setting = Setting(march=("znver9", "diamondlake"))
    story = mend("gcc @march@ -c a.c", compiling.EMPTY, Loop(setting), tmp_path)
    assert not story.mended and "leads back" in story.reason
    assert len(story.repairs) == 1


@pytest.mark.toolchain
def test_what_cannot_be_changed_is_said(tmp_path: Path) -> None:
    required()
    story = mend("gcc -c solve.c", compiling.HEADER, Loop(Setting()), tmp_path)
    assert not story.mended and story.reason.startswith("compile.missing_header")
    assert story.repairs == []


@pytest.mark.toolchain
def test_what_has_no_repair_is_left_alone(tmp_path: Path) -> None:
    required()
    story = mend("gcc -c norm.c", compiling.BROKEN, Loop(Setting()), tmp_path)
    assert not story.mended and "without a person" in story.reason and story.repairs == []


@pytest.mark.slurm
@pytest.mark.parametrize(
    ("options", "body", "failure"),
    [
        ("--mem @memory@", "python3 hog.py", "scheduler.out_of_memory"),
        ("-n 1", "srun -n @step@ hostname", "scheduler.step_too_large"),
        ("-p short -t @walltime@", "hostname", "scheduler.time_refused"),
    ],
)
def test_a_job_is_asked_for_anew(
    slurm: Cluster, tmp_path: Path, options: str, body: str, failure: str
) -> None:
    hog = slurm_jobs.HOG["hog.py"].replace("900", "500").replace("sleep(30)", "sleep(3)")
    script = f"cat > work.sh <<'END'\n#!/bin/bash\n{body}\nEND\n{slurm_jobs.batch(options)}"
    loop = Loop(Setting(memory=300), most={"step": 1, "walltime": 2})
    story = mend(script, {"hog.py": hog}, loop, tmp_path, slurm.env)
    assert story.mended, story
    assert [attempt.failure for attempt in story.attempts] == [failure]
