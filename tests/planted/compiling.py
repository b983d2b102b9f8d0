"""Failures of compilers."""

from __future__ import annotations

from planted.case import Case

EMPTY = {"a.c": "int main(void) { return 0; }\n"}
HEADER = {"solve.c": "#include <stdio.h>\n#include <fftw3.h>\nint main(void) { return 0; }\n"}
BROKEN = {
    "norm.c": "double norm(const double *x)\n{\n    double s = 0.0\n    return s + x[0];\n}\n"
}
UNDECLARED = {"a.c": "int main(void) { return start_solver(3); }\n"}
AVX512 = {
    "kernel.c": "#include <immintrin.h>\n"
    "__m512d f(__m512d a, __m512d b) { return _mm512_fmadd_pd(a, b, b); }\n"
}
MISMATCH = {
    "swap.f": "      subroutine work(a, b)\n      real*4 a(10)\n      real*8 b(10)\n"
    "      call copy(a, 10)\n      call copy(b, 10)\n      end\n"
}
MODULE = {
    "m.f90": "module m\n  integer :: n = 3\nend module m\n",
    "use.f90": "program p\n  use m\n  print *, n\nend program p\n",
}
OLD_MODULE = """
gfortran -c m.f90
gunzip -c < m.mod | sed "s/module version '[0-9]*'/module version '9'/" | gzip -c > new
mv new m.mod
"""
LONG = {"long.f90": "program p\n  x = 1.0" + " + 1.0" * 40 + "\n  print *, x\nend program p\n"}
OPTIONAL = {"o.cpp": "#include <optional>\nstd::optional<int> f() { return {}; }\n"}
GUARD = {
    "g.c": "#ifndef _OPENMP\n#error This solver must be compiled with OpenMP\n#endif\n"
    "int main(void) { return 0; }\n"
}
ASSEMBLER = {"k.s": "\t.text\n\t.globl k\nk:\n\tvfmaddsub9000pd %zmm0, %zmm1, %zmm2\n\tret\n"}
CONFLICT = {
    "vendor.h": "void dgemm_(const char *, const char *, const int *, double *);\n",
    "c.c": '#include "vendor.h"\nvoid dgemm_(char *, char *, long *, double *);\n',
}
WARNING = {"w.c": "int f(int n)\n{\n    int unused;\n    return n;\n}\n"}
WIDE = {"b.cpp": "#include <map>\n#include <regex>\n#include <string>\nstd::regex r;\n"}
GOALS = {"Makefile": "all: main.o\nmain.o: main.c\n\ticc -O2 -c main.c\n", "main.c": "int x;\n"}
NO_IMPLICIT = {
    "t.f90": "program t\n  implicit none\n  alpha = 2.0\n  print *, alpha\nend program\n"
}
INTERNAL = {"a.c": '#pragma GCC error "out of tree build"\nint x;\n'}

CASES = (
    Case(
        "gcc-missing-header",
        "compile.missing_header",
        "fftw3.h is not installed",
        "gcc -O2 -c solve.c",
        files=HEADER,
    ),
    Case(
        "gcc-unknown-march",
        "compile.unknown_march",
        "-march names no CPU",
        "gcc -O2 -march=skylake-avx1024 -c a.c",
        files=EMPTY,
    ),
    Case(
        "gcc-intel-option",
        "compile.unknown_option",
        "an option of another compiler",
        "gcc -O2 -qopenmp -xHost -c a.c",
        files=EMPTY,
    ),
    Case(
        "gcc-syntax",
        "compile.source_error",
        "a semicolon is missing",
        "gcc -O2 -c norm.c",
        files=BROKEN,
    ),
    Case(
        "gcc-werror-implicit",
        "compile.undeclared",
        "a function without declaration, -Werror",
        "gcc -Wall -Werror=implicit-function-declaration -c a.c",
        files=UNDECLARED,
    ),
    Case(
        "gcc-target-mismatch",
        "compile.target_feature",
        "AVX-512 intrinsics without -mavx512f",
        "gcc -O2 -mavx2 -mfma -c kernel.c",
        files=AVX512,
    ),
    Case(
        "gfortran-argument-mismatch",
        "compile.argument_mismatch",
        "REAL(4) and REAL(8) given to one external procedure, as old codes do",
        "gfortran -O2 -c swap.f",
        files=MISMATCH,
    ),
    Case(
        "gfortran-old-module-file",
        "compile.module_file_version",
        "a .mod file of another compiler version",
        "gfortran -c use.f90",
        OLD_MODULE,
        MODULE,
    ),
    Case(
        "gfortran-no-module-file",
        "compile.missing_module_file",
        "the .mod file is not there",
        "gfortran -c use.f90",
        files={"use.f90": MODULE["use.f90"]},
    ),
    Case(
        "gfortran-line-truncated",
        "compile.line_too_long",
        "a line of more than 132 columns",
        "gfortran -c long.f90",
        files=LONG,
    ),
    Case(
        "gfortran-implicit-none",
        "compile.undeclared",
        "a variable without a type",
        "gfortran -c t.f90",
        files=NO_IMPLICIT,
    ),
    Case(
        "gcc-out-of-memory",
        "compile.out_of_memory",
        "the compiler may use 60 MB",
        "ulimit -v 60000\ng++ -O2 -c b.cpp",
        files=WIDE,
    ),
    Case(
        "gxx-old-standard",
        "compile.language_standard",
        "std::optional with -std=c++11",
        "g++ -std=c++11 -c o.cpp",
        files=OPTIONAL,
    ),
    Case(
        "gcc-hash-error",
        "compile.hash_error",
        "#error in the source",
        "gcc -c g.c",
        files=GUARD,
    ),
    Case(
        "as-no-instruction",
        "compile.assembler",
        "an instruction that the assembler lacks",
        "gcc -c k.s",
        files=ASSEMBLER,
    ),
    Case(
        "gcc-conflicting-types",
        "compile.conflicting_declarations",
        "two declarations of dgemm_ that differ",
        "gcc -c c.c",
        files=CONFLICT,
    ),
    Case(
        "gcc-werror-unused",
        "compile.warnings_as_errors",
        "-Werror and an unused variable",
        "gcc -Wall -Werror -c w.c",
        files=WARNING,
    ),
    Case(
        "make-no-icc",
        "environment.command_not_found",
        "the compiler is not on PATH",
        "make",
        files=GOALS,
    ),
)
