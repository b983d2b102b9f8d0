"""Held-out failures of linking: functions that are not found."""

from __future__ import annotations

from planted.blind_common import job, makefile
from planted.case import Case

GEMM = """void dgemm_(const char *, const char *, const int *, const int *, const int *,
            const double *, const double *, const int *, const double *, const int *,
            const double *, double *, const int *);
int main(void)
{
    double a = 1, b = 2, c = 0;
    int one = 1;
    dgemm_("N", "N", &one, &one, &one, &a, &a, &one, &b, &one, &c, &c, &one);
    return c != 2;
}
"""
EIGEN = """void dsyev_(char *, char *, int *, double *, int *, double *, double *, int *, int *);
double ddot_(int *, double *, int *, double *, int *);
int main(void)
{
    double a = 1, w, work[8];
    int n = 1, l = 8, info;
    dsyev_("V", "U", &n, &a, &n, &w, work, &l, &info);
    return info + (int)ddot_(&n, &a, &n, &w, &n);
}
"""
MPI = """#include <mpi.h>
int main(int argc, char **argv)
{
    double x = 1, y;
    MPI_Init(&argc, &argv);
    MPI_Allreduce(&x, &y, 1, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
    MPI_Finalize();
    return 0;
}
"""
OMP = """#include <omp.h>
#include <stdio.h>
int main(void)
{
    double s = 0;
#pragma omp parallel for reduction(+ : s)
    for (int i = 0; i < 100; i++)
        s += i;
    printf("%g %d\\n", s, omp_get_max_threads());
    return 0;
}
"""
FORTRAN = """subroutine report(n, x)
  implicit none
  integer :: n
  real(8) :: x(n)
  write (*, *) 'norm', sqrt(sum(x**2)), trim(adjustl('  done'))
end subroutine
"""
CALLS_FORTRAN = "void report_(int *, double *);\n" + (
    "int main(void) { int n = 1; double x = 2; report_(&n, &x); return 0; }\n"
)
OLD_ABI = {
    "lib.cpp": "#include <string>\nint tokens(const std::string &s) { return s.size(); }\n",
    "main.cpp": "#include <string>\nint tokens(const std::string &);\n"
    'int main() { return tokens("a b c"); }\n',
}
STREAM = {
    "log.cpp": '#include <iostream>\n#include <stdexcept>\nextern "C" void note(int n)\n{\n'
    '    if (n < 0) throw std::runtime_error("negative");\n    std::cout << n << std::endl;\n}\n',
    "main.c": "void note(int);\nint main(void) { note(1); return 0; }\n",
}
MANGLED = {
    "solve.c": "int solve(int n) { return n; }\n",
    "main.cpp": "int solve(int);\nint main() { return solve(0); }\n",
}
ILP64 = """#define cblas_ddot cblas_ddot64_
#include <stdint.h>
double cblas_ddot(int64_t n, const double *x, int64_t ix, const double *y, int64_t iy);
int main(void) { double x = 1; return cblas_ddot(1, &x, 1, &x, 1) != 1; }
"""
VIRTUAL = {
    "main.cpp": "struct Kernel { virtual ~Kernel(); virtual int run() { return 0; } };\n"
    "int main() { Kernel k; return k.run(); }\n"
}
ONE = {"main.c": "int main(void) { return 0; }\n"}

BLAS_CASES = (
    Case(
        "bl-ld-order",
        "link.a library before the object that needs it",
        "libopenblas.a first",
        job("make LIBS=/usr/lib/x86_64-linux-gnu/blas/libblas.a"),
        files=makefile("main.o", "$(CC) $(LIBS) $^ -o $@ -lm", 3) | {"main.c": GEMM},
    ),
    Case(
        "bl-ld-lapack",
        "link.LAPACK is missing where BLAS is there",
        "BLIS has no LAPACK",
        "make -j2",
        files=makefile(
            "main.o", "$(CC) $^ -o $@ -L/usr/lib/x86_64-linux-gnu/blis-openmp -lblis -lm", 2
        )
        | {"main.c": EIGEN},
    ),
    Case(
        "bl-ld-ilp64",
        "link.names with 64-bit integers, a library with 32-bit ones",
        "a suffix 64_ that OpenBLAS lacks here",
        "gcc -O2 main.c -o main -L/usr/lib/x86_64-linux-gnu/openblas-serial -lopenblas",
        files={"main.c": ILP64},
    ),
    Case(
        "bl-ld-underscore",
        "link.a Fortran name without its underscore",
        "-fno-underscoring in one half",
        "gfortran -fno-underscoring -c s.f90 -o s.o && gfortran s.o -o s -lblas",
        files={
            "s.f90": "program s\n  real(8), external :: dnrm2\n  real(8) :: x(3) = 1\n"
            "  print *, dnrm2(3, x, 1)\nend program\n"
        },
    ),
    Case(
        "bl-ld-scalapack",
        "link.a library is not there",
        "no ScaLAPACK",
        job("make -j2 CC=mpicc.openmpi"),
        files=makefile("main.o", "$(CC) $^ -o $@ -lscalapack-openmpi -lopenblas", 2) | ONE,
    ),
    Case(
        "bl-ld-lld",
        "link.no BLAS on the line, told by lld",
        "lld's words",
        "clang -O2 -fuse-ld=lld main.c -o main",
        files={"main.c": GEMM},
    ),
)
RUNTIME_CASES = (
    Case(
        "bl-ld-mpi",
        "link.MPI programs linked without MPI",
        "the linker is gcc",
        "make CC='gcc -I/usr/lib/x86_64-linux-gnu/openmpi/include'",
        files=makefile("main.o", count=2) | {"main.c": MPI},
    ),
    Case(
        "bl-ld-two-mpi",
        "link.compiled with one MPI, linked with another",
        "objects of Open MPI, mpicc of MPICH",
        job("mpicc.openmpi -c main.c -o main.o\nmpicc.mpich main.o -o main"),
        files={"main.c": MPI},
    ),
    Case(
        "bl-ld-omp",
        "link.OpenMP was forgotten at the link",
        "-fopenmp for the objects only",
        "make CFLAGS='-O2 -fopenmp'",
        files=makefile("main.o", count=2) | {"main.c": OMP},
    ),
    Case(
        "bl-ld-kmp",
        "link.objects of clang's OpenMP linked by gcc",
        "__kmpc_ names",
        "clang -O2 -fopenmp -c main.c -o main.o && gcc -fopenmp main.o -o main",
        files={"main.c": OMP},
    ),
    Case(
        "bl-ld-gfortran",
        "link.the Fortran runtime is missing",
        "linked by gcc",
        job("make FC=gfortran FFLAGS=-O2"),
        files=makefile("report.o main.o", "$(CC) $^ -o $@ -lm", 1)
        | {"report.f90": FORTRAN, "main.c": CALLS_FORTRAN},
    ),
    Case(
        "bl-ld-libm",
        "link.libm is missing",
        "no -lm",
        "make",
        files=makefile("main.o", count=1)
        | {
            "main.c": "#include <math.h>\n"
            "int main(int c, char **v) { return erf(c) + cos(c) > 2; }\n"
        },
    ),
    Case(
        "bl-ld-dso",
        "link.a library that is only needed indirectly must be named",
        "libfft.so needs libtwiddle.so, and so does main",
        "gcc main.c -L. -lfft -Wl,-rpath-link,. -o main",
        "echo 'int twiddle(int n) { return n; }' | gcc -shared -fPIC -x c - -o libtwiddle.so\n"
        "echo 'int twiddle(int); int fft(int n) { return twiddle(n); }' |"
        " gcc -shared -fPIC -x c - -o libfft.so -L. -ltwiddle",
        {"main.c": "int fft(int), twiddle(int);\nint main(void) { return fft(0) + twiddle(0); }\n"},
    ),
    Case(
        "bl-ld-cxx",
        "link.the C++ runtime is missing",
        "linked by gcc",
        "g++ -O2 -c log.cpp -o log.o && gcc -c main.c -o main.o && gcc main.o log.o -o main",
        files=STREAM,
    ),
    Case(
        "bl-ld-old-abi",
        "link.objects of the old and of the new ABI of libstdc++",
        "a library built with _GLIBCXX_USE_CXX11_ABI=0",
        job("make CXXFLAGS=-O2"),
        "g++ -D_GLIBCXX_USE_CXX11_ABI=0 -O2 -c lib.cpp -o lib.o\nar rcs libtok.a lib.o",
        makefile("main.o", "$(CXX) $^ -L. -ltok -o $@", 1) | OLD_ABI,
    ),
    Case(
        "bl-ld-extern-c",
        "link.a C function called from C++ without extern C",
        "a header without extern C",
        "gcc -c solve.c && g++ main.cpp solve.o -o main",
        files=MANGLED,
    ),
    Case(
        "bl-ld-vtable",
        "link.a virtual function without its body",
        "the destructor was never written",
        "g++ -O1 main.cpp -o main",
        files=VIRTUAL,
    ),
    Case(
        "bl-ld-no-main",
        "link.no main function",
        "the main object is not on the line",
        "make -j2",
        files=makefile("solver.o", count=2) | {"solver.c": "int solver(int n) { return n; }\n"},
    ),
)
CASES = (*BLAS_CASES, *RUNTIME_CASES)
