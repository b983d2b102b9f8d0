"""Failures that the loop of builds repairs: each is planted in a build of its own.

`leads` are the causes that are repaired, in their order; `words` what the last decision says.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from planted import compiling, linking, mpi_runs, running

CHECK = {"arguments": []}
MAIN = "int main(void) { return 0; }\n"
MISMATCH = {
    "a.f90": "program p\n  real :: one(4) = 0.0\n  integer :: two(4) = 0\n  call fill(one)\n"
    "  call fill(two)\nend program\n",
    "b.f90": "subroutine fill(a)\n  real :: a(4)\n  a = 0.0\nend subroutine\n",
}
BIG_STACK = (
    "#include <sys/resource.h>\n#include <stdio.h>\nint main(void)\n{\n    struct rlimit now;\n"
    "    getrlimit(RLIMIT_STACK, &now);\n    if (now.rlim_cur != RLIM_INFINITY) {\n"
    '        fprintf(stderr, "prog: stack overflow in solve()\\n");\n        return 1;\n    }\n'
    "    return 0;\n}\n"
)
HELD = (
    "#include <cstdlib>\n#include <cstdio>\n#include <sys/resource.h>\nint main()\n{\n"
    '    const char *said = getenv("SLURM_MEM_PER_NODE");\n'
    "    rlim_t most = (rlim_t)atol(said) << 20;\n    rlimit limit = {most, most};\n"
    "    setrlimit(RLIMIT_AS, &limit);\n    volatile char *all = new char[300 << 20];\n"
    '    all[0] = 1;\n    printf("%d\\n", all[0]);\n    return 0;\n}\n'
)
KILLED = (
    "#include <signal.h>\n#include <stdlib.h>\nint main(void)\n{\n"
    '    if (atol(getenv("SLURM_MEM_PER_NODE")) < 400)\n        raise(SIGKILL);\n    return 0;\n}\n'
)
RANKS = (
    "#include <mpi.h>\n#include <stdio.h>\nint main(int n, char **v)\n{\n    int size;\n"
    "    MPI_Init(&n, &v);\n    MPI_Comm_size(MPI_COMM_WORLD, &size);\n    MPI_Finalize();\n"
    "    return size != @N@;\n}\n"
)


@dataclass(frozen=True)
class Mended:
    """`weak` is the node's compiler to build with, `env` what jobs see besides."""

    files: dict[str, str]
    leads: tuple[str, ...]
    program: dict[str, Any] = field(default_factory=dict)
    modules: tuple[str, ...] = ()
    weak: str = ""
    weak_name: str = "gcc"
    memory_bytes: int | None = None
    env: dict[str, str] = field(default_factory=dict)
    mpi: str = ""
    open_files: int = 0


def called(prototype: str, call: str) -> dict[str, str]:
    return {"a.c": f"{prototype};\nint main(void) {{ return {call}; }}\n"}


MENDED = {
    "cmake": Mended({"a.c": MAIN}, ("environment.command_not_found",), {"build_system": "cmake"}),
    "old cmake": Mended(
        {"a.c": MAIN}, ("configure.cmake_version",), {"build_system": "cmake"},
        env={"PATH": "@SW@/oldcmake:@PATH@"},
    ),
    "header": Mended({"a.c": '#include <fftw3.h>\n' + MAIN}, ("compile.missing_header",)),
    "fftw": Mended(
        called("void fftw_execute(void *)", "(fftw_execute(0), 0)"),
        ("link.fftw", "link.missing_library"), {"check": CHECK},
    ),
    "scalapack": Mended(
        called("int numroc_(void)", "numroc_() - 3"),
        ("link.scalapack", "link.missing_library"), {"check": CHECK},
    ),
    "run path": Mended(
        called("double gsl_hypot(double, double)", "gsl_hypot(1, 2) != 3"),
        ("link.missing_library", "load.missing_library"), {"libraries": ["gsl"], "check": CHECK},
    ),
    "zlib": Mended(
        called("unsigned long crc32(long, const char *, unsigned)", 'crc32(0, "", 0) != 0'),
        ("link.zlib",),
    ),
    "order": Mended(
        called("int high(int)", "high(0)"), ("link.order",),
        {"libraries": ["low", "high"]}, ("metis/5.1",),
    ),
    "Fortran runtime": Mended(
        called("void fort_(int *)", "(fort_(&(int){1}), 0)"), ("link.fortran_runtime",),
        {"libraries": ["fort"]}, ("metis/5.1",),
    ),
    "C++ runtime": Mended(
        called("int plus(int)", "plus(3)"), ("link.cxx_runtime",), {"libraries": ["plus"]},
        ("metis/5.1",),
    ),
    "DSO": Mended(
        called("int mumps(void); int crc32(long, char *, int)", "mumps() + crc32(0, 0, 0)"),
        ("link.dso_missing",), {"libraries": ["mumps"]}, ("mumps/5.6",),
    ),
    "not PIC": Mended(
        called("int *nopic(int)", "*nopic(1)"), ("link.not_pic",), {"libraries": ["nopic"]},
        ("metis/5.1",),
    ),
    "libdl": Mended(
        called("void *dlopen(const char *, int)", "dlopen(0, 1) == 0"), ("link.libdl",),
        weak="glibc",
    ),
    "threads": Mended(
        called("int pthread_join(long, void **)", "pthread_join(0, 0) == 0"), ("link.pthread",),
        weak="glibc",
    ),
    "argument mismatch": Mended(MISMATCH, ("compile.argument_mismatch",)),
    "long line": Mended(compiling.LONG, ("compile.line_too_long",)),
    "old standard": Mended(
        {"o.cpp": compiling.OPTIONAL["o.cpp"] + MAIN}, ("compile.language_standard",),
        {"standards": {"c++": "c++11"}},
    ),
    "crash": Mended({"a.c": MAIN}, ("compile.internal_error",), weak="crashing"),
    "unknown CPU": Mended(
        {"a.c": MAIN}, ("compile.unknown_march",), {"microarchitecture": "zen5"}, weak="boasting"
    ),
    "unknown option": Mended(
        {"a.f90": "print *, 1\nend\n"}, ("compile.unknown_option",),
        {"flags": ["-fallow-argument-mismatch"]}, weak="old", weak_name="gfortran",
    ),
    "compiler's memory": Mended(
        {"a.cpp": "#include <bits/stdc++.h>\nint main() { return 0; }\n"},
        ("compile.out_of_memory",), weak="hungry", weak_name="g++", memory_bytes=200 << 20,
    ),
    "incomplete": Mended({"a.c": MAIN}, ("compile.incomplete_compiler",), weak="incomplete"),
    "mpi.h": Mended({"a.c": RANKS.replace("@N@", "1")}, ("compile.missing_header",)),
    "MPI": Mended(
        called("int MPI_Finalize(void)", "MPI_Finalize()"), ("link.mpi",)
    ),
    "OpenMP": Mended(
        called("int omp_get_max_threads(void)", "omp_get_max_threads() < 1"), ("link.openmp",),
        {"check": CHECK},
    ),
    "BLAS": Mended(called("void dgemm_(void)", "(dgemm_(), 0)"), ("link.blas",)),
    "LAPACK": Mended(called("void dgesv_(void)", "(dgesv_(), 0)"), ("link.lapack",)),
    "64-bit BLAS": Mended(
        called("void dgemm_64_(void)", "(dgemm_64_(), 0)"), ("link.ilp64",), {"check": CHECK}
    ),
    "common": Mended(
        {"a.c": "int level;\nint main(void) { return level; }\n", "b.c": "int level;\n"},
        ("link.multiple_definition",),
    ),
    "large arrays": Mended(
        linking.HUGE, ("link.relocation_truncated",), {"optimisation": "O0"}
    ),
    "SIGILL": Mended(
        {"k.c": "#ifndef __AVX512ER__\nint main(void) { return 0; }\n#else\n"
         + running.EXP["k.c"] + "#endif\n"},
        ("run.illegal_instruction",), {"microarchitecture": "mic_knl", "check": CHECK},
    ),
    "stack": Mended({"a.c": BIG_STACK}, ("run.stack",), {"check": CHECK}),
    "open files": Mended(
        {"a.c": "#include <stdio.h>\nint main(void)\n{\n    for (int i = 0; i < 1500; i++)\n"
         '        if (!fopen("/dev/null", "r")) {\n            perror("/dev/null");\n'
         "            return 1;\n        }\n    return 0;\n}\n"},
        ("run.open_files",), {"check": CHECK}, open_files=900,
    ),
    "memory": Mended(
        {"a.cpp": HELD}, ("run.out_of_memory",), {"check": CHECK}, memory_bytes=256 << 20
    ),
    "killed": Mended(
        {"a.c": KILLED}, ("run.killed",), {"check": CHECK}, memory_bytes=256 << 20
    ),
    "slots": Mended(
        {"a.c": RANKS.replace("@N@", "5")}, ("mpi.slots",),
        {"mpi": "wrapper", "check": {"ranks": 5}}, env=mpi_runs.RANKS, mpi="openmpi",
    ),
    "binding": Mended(
        {"a.c": RANKS.replace("@N@", "2")}, ("mpi.binding",),
        {"mpi": "wrapper", "check": {"ranks": 2}},
        env={**mpi_runs.RANKS, "OMPI_MCA_rmaps_base_mapping_policy": "slot:PE=999"}, mpi="openmpi",
    ),
    "C++ runtime of the node": Mended(
        {"a.cpp": "#include <vector>\nint main(int n, char **)\n"
         "{\n    std::vector<int> v(3);\n    return v.at(n);\n}\n"},
        ("load.glibcxx_version",), {"check": CHECK}, env={"LD_LIBRARY_PATH": "@SW@/old"},
    ),
    "hidden module": Mended({"a.c": MAIN}, ("environment.module_unknown",), {}, ("hdf5/1.14",)),
    "prerequisite": Mended(
        {"a.c": MAIN}, ("environment.module_prerequisite",), {}, ("netcdf/4.9",)
    ),
}  # fmt: skip
