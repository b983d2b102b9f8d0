"""Failures of the linker."""

from __future__ import annotations

from planted.case import Case

DGEMM = {
    "mm.c": "void dgemm_(const char *, const char *, const int *, const int *, const int *,\n"
    "            const double *, const double *, const int *, const double *, const int *,\n"
    "            const double *, double *, const int *);\n"
    "int main(void)\n{\n    double a = 2, b = 3, c = 0, one = 1;\n    int n = 1;\n"
    '    dgemm_("N", "N", &n, &n, &n, &one, &a, &n, &b, &n, &one, &c, &n);\n'
    "    return c != 6;\n}\n"
}
CBLAS = {
    "cb.c": "#include <cblas.h>\nint main(void)\n{\n    double x[2] = {3, 4};\n"
    "    cblas_dscal(2, 2.0, x, 1);\n    return x[0] != 6;\n}\n"
}
ILP64 = {"w.f90": "program w\n  external dgemm_64\n  call dgemm_64()\nend program w\n"}
MPI = {
    "m.c": "#include <mpi.h>\nint main(int argc, char **argv)\n{\n"
    "    MPI_Init(&argc, &argv);\n    MPI_Finalize();\n    return 0;\n}\n"
}
OPENMP = {
    "o.c": "#include <omp.h>\nint main(void)\n{\n    int n = 0;\n#pragma omp parallel\n"
    "    n += omp_get_thread_num();\n    return n < 0;\n}\n"
}
POW = {
    "p.c": "#include <math.h>\n#include <stdio.h>\nint main(int argc, char **argv)\n{\n"
    '    printf("%g\\n", pow(argc, 0.3 * argc));\n    return argv == 0;\n}\n'
}
USES = {"u.c": "double exp(double);\ndouble twice(double x) { return 2 * exp(x); }\n"}
CXX = {"c.cpp": '#include <iostream>\nint main() { std::cout << "ready" << std::endl; }\n'}
FORTRAN = {"f.f90": "program f\n  write (*, *) 'ready'\nend program f\n"}
STATIC = {
    "low.c": "int low_level(int n) { return n + 1; }\n",
    "high.c": "int low_level(int);\nint high_level(int n) { return low_level(n); }\n",
    "main.c": "int high_level(int);\nint main(void) { return high_level(0); }\n",
}
ARCHIVES = """
gcc -c low.c high.c main.c
ar rc liblow.a low.o
ar rc libhigh.a high.o
"""
TABLE = {"t.c": "static int v[9];\nint *table(int i) { return v + i; }\nint *all = v;\n"}
MAIN = {"main.c": "int other(void);\nint main(void) { return other(); }\n"}
OTHER = {"other.c": "int other(void) { return 0; }\n"}
FOREIGN = """
gcc -c main.c other.c
printf '\\267' | dd of=other.o bs=1 seek=18 conv=notrunc status=none
"""
TWICE = {"one.c": "int level = 1;\nint main(void) { return 0; }\n", "two.c": "int level = 2;\n"}
LAPACK = {"l.f90": "program l\n  external dgetrf\n  call dgetrf()\nend program l\n"}
HUGE = {
    "h.c": "static double a[1L << 29], b[1L << 29];\n"
    "int main(int n, char **v) { a[n] = 1; b[n] = 2; return v == 0 || a[n] > b[n]; }\n"
}
VENDOR = {
    "v.c": "const char *openblas_get_config(void);\n"
    "int main(void) { return openblas_get_config()[0] == 0; }\n"
}
FULL = """
mkdir full
exec unshare --mount sh -c 'mount -t tmpfs -o size=8k none full && gcc main.c other.c -o full/x'
"""

CASES = (
    Case("ld-dgemm", "link.blas", "no BLAS on the link line", "gcc mm.c -o mm", files=DGEMM),
    Case("ld-cblas", "link.blas", "no BLAS on the link line", "gcc cb.c -o cb", files=CBLAS),
    Case(
        "ld-ilp64",
        "link.ilp64",
        "a caller with 64-bit integers, a library of 32-bit ones",
        "gfortran w.f90 -o w -lopenblas",
        files=ILP64,
    ),
    Case(
        "ld-mpi",
        "link.mpi",
        "mpi.h found, compiled and linked by gcc and not by mpicc",
        "gcc -I/usr/lib/x86_64-linux-gnu/openmpi/include m.c -o m",
        files=MPI,
    ),
    Case(
        "ld-openmp",
        "link.openmp",
        "-fopenmp not given at the link",
        "gcc o.o -o o",
        "gcc -fopenmp -c o.c",
        OPENMP,
    ),
    Case("ld-pow", "link.libm", "no -lm", "gcc p.c -o p", files=POW),
    Case("ld-cxx", "link.cxx_runtime", "C++ linked by gcc", "gcc c.o -o c", "g++ -c c.cpp", CXX),
    Case(
        "ld-gfortran",
        "link.fortran_runtime",
        "Fortran linked by gcc",
        "gcc f.o -o f",
        "gfortran -c f.f90",
        FORTRAN,
    ),
    Case(
        "ld-archive-order",
        "link.order",
        "-llow stands before -lhigh that needs it",
        "gcc main.o -L. -llow -lhigh -o x",
        ARCHIVES,
        STATIC,
    ),
    Case(
        "ld-no-library",
        "link.missing_library",
        "-lhwmath is not there",
        "gcc main.c other.c -o x -lhwmath",
        files=MAIN | OTHER,
    ),
    Case(
        "ld-no-pic",
        "link.not_pic",
        "objects without -fPIC in a shared library",
        "gcc -shared t.o -o libt.so",
        "gcc -fno-pic -c t.c",
        TABLE,
    ),
    Case(
        "ld-32-bit",
        "link.wrong_architecture",
        "a 32-bit object",
        "gcc main.o other.o -o x",
        "gcc -c main.c\ngcc -m32 -c other.c",
        MAIN | OTHER,
    ),
    Case(
        "ld-foreign",
        "link.wrong_architecture",
        "an object of AArch64",
        "gcc main.o other.o -o x",
        FOREIGN,
        MAIN | OTHER,
    ),
    Case(
        "ld-twice",
        "link.multiple_definition",
        "one name defined in two objects",
        "gcc one.c two.c -o x",
        files=TWICE,
    ),
    Case("ld-no-main", "link.no_main", "no main", "gcc other.c -o x", files=OTHER),
    Case(
        "ld-truncated",
        "link.damaged_object",
        "an object of which the end is missing",
        "gcc main.o other.o -o x",
        "gcc -c main.c other.c\ntruncate -s 900 other.o",
        MAIN | OTHER,
    ),
    Case("ld-lapack", "link.lapack", "BLAS without LAPACK", "gfortran l.f90 -o l", files=LAPACK),
    Case(
        "ld-dso-missing",
        "link.libm",
        "libm needed by an object, not named",
        "gcc p.o libuses.so -o p",
        "gcc -c p.c\ngcc -shared -fPIC -o libuses.so u.c -lm",
        POW | USES,
    ),
    Case(
        "ld-no-static",
        "link.missing_library",
        "-static, and there is no libopen-rte.a",
        "gcc -static main.c other.c -o x -lmpi",
        files=MAIN | OTHER,
    ),
    Case(
        "ld-too-far",
        "link.relocation_truncated",
        "8 GB of static arrays",
        "gcc h.c -o h",
        files=HUGE,
    ),
    Case(
        "ld-openblas-extension",
        "link.blas",
        "a function of OpenBLAS, no OpenBLAS",
        "gcc v.c -o v",
        files=VENDOR,
    ),
    Case(
        "ld-full",
        "environment.no_space",
        "the folder for the program is full",
        FULL,
        files=MAIN | OTHER,
    ),
    Case(
        "ld-mixed-mpi",
        "link.mixed_mpi",
        "compiled by Open MPI's mpicc, linked by MPICH's",
        "mpicc.mpich m.o -o m",
        "mpicc.openmpi -c m.c",
        {
            "m.c": MPI["m.c"].replace(
                "MPI_Finalize", "MPI_Barrier(MPI_COMM_WORLD);\n    MPI_Finalize"
            )
        },
    ),
)
