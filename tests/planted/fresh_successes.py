"""A third held-out set: what goes well, with many warnings and frightening words."""

from __future__ import annotations

from planted.blind_common import LOUD, LOUD_NAMES, job, loud
from planted.blind_configure import lists
from planted.blind_errors import PYTHON
from planted.blind_mpi import FRAME
from planted.case import RANKS, Case

NUMPY = """import warnings
import numpy as np
x = np.array([0.0, 1.0, 1e308])
with np.errstate(all="warn"):
    y = np.log(x) * 10 / x
warnings.warn("fatal: the old solver is deprecated and will be removed", DeprecationWarning)
warnings.warn("matrix is nearly singular, error estimate 1e-9", RuntimeWarning)
print("nan count:", int(np.isnan(y).sum()), "failed checks: 0")
"""
XFAIL = """import unittest
class Cases(unittest.TestCase):
    @unittest.expectedFailure
    def test_known_bug(self):
        self.assertEqual(1, 2)
    @unittest.skip("no GPU: CUDA driver version is insufficient")
    def test_gpu(self):
        raise RuntimeError("CUDA out of memory")
    def test_error_message(self):
        with self.assertRaisesRegex(OSError, "No space left on device"):
            raise OSError(28, "No space left on device")
unittest.main(verbosity=2)
"""
PERL = """use warnings;
my $x;
print "value: " . $x . "\\n";
warn "cannot find optional plot module, plots are left out\\n";
print "all 12 tests passed\\n";
"""
FORTRAN = """subroutine old(x, n)
  integer n, unused
  real*8 x(n)
  do 10 i = 1, n
10 x(i) = x(i) / 3
  end
program p
  real*8 y(4)
  equivalence (y(1), z)
  y = 1
  call old(y, 4)
  print *, 'error norm below tolerance, failures: 0', y(1), z
end program
"""
UNDERFLOW = """program u
  implicit none
  real(8) :: x, zero
  x = 1d-308
  zero = 0
  x = x * 1d-10
  print *, 'minimum', x, 'inf is', 1 / zero
  stop 'regular end, no error'
end program
"""
PROBING = """#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <dlfcn.h>
int main(void)
{
    if (!dlopen("libmkl_rt.so.2", RTLD_NOW))
        fprintf(stderr, "%s, taking OpenBLAS\\n", dlerror());
    if (!fopen("/proc/driver/nvidia/version", "r"))
        fprintf(stderr, "nvidia: %s, running on the CPU\\n", strerror(ENOENT));
    fprintf(stderr, "warning: setrlimit: Operation not permitted, ignored\\n");
    puts("fallbacks: 2, errors: 0");
    return 0;
}
"""
DEPRECATED = """cmake_minimum_required(VERSION 2.8.12)
project(wave C)
message(WARNING "no CUDA found: GPU kernels will be missing")
message(STATUS "checking for broken compiler - failed (good)")
find_package(HDF5)
find_package(LAPACK95 QUIET)
find_package(MKL CONFIG)
include(CheckFunctionExists)
check_function_exists(vdExp HAVE_VDEXP)
check_function_exists(fatal_error HAVE_FATAL)
message(DEPRECATION "the option OLD_IO is an error in the next version")
add_executable(wave main.c)
"""
PROBES = """AC_INIT([wavesolve], [2.1])
AC_PROG_CC_C99
AC_HEADER_STDC
AC_CHECK_HEADERS([mkl.h essl.h cublas.h])
AC_CHECK_LIB([sci_cray], [dgemm_], [], [AC_MSG_WARN([LibSci not found, error messages follow])])
AC_CHECK_FUNCS([vdExp abort_on_error])
AC_MSG_WARN([cannot run on GPUs: no nvcc])
AC_OUTPUT
"""
MAKE = """objects = {objects}
all: $(objects)
\t-rm stale.o
\t-./missing-generator --errors
\t@echo "ERROR_COUNT=0 FAILED=0" >&2
\t@! false
%.o: %.c
\t$(CC) $(CFLAGS) -c $< -o $@
"""
HANDLED = """    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    char text[MPI_MAX_ERROR_STRING];
    int n, code = MPI_Bcast(x, 8, MPI_DOUBLE, size + 3, MPI_COMM_WORLD);
    MPI_Error_string(code, text, &n);
    fprintf(stderr, "rank %d: as expected: %s\\n", rank, text);"""
LEAK = """#include <stdlib.h>
#include <stdio.h>
int main(void) { char *p = malloc(64); puts(p ? "0 errors" : "no memory"); return 0; }
"""
STATIC = """#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
int main(void)
{
    char name[L_tmpnam];
    puts(tmpnam(name) ? "ok" : "failed");
    return gethostbyname("localhost") == 0;
}
"""
LOUD_CXX = LOUD.replace("error, i", "error = 0, i").replace("NAME", "cxx")


def well(name: str, run: str, prepare: str = "", **files: str) -> Case:
    return Case(name, "", "", run, prepare, files, RANKS | PYTHON)


def compiled(name: str, run: str, **files: str) -> Case:
    return Case(name, "", "", run, "", {**files, **loud(8)}, RANKS)


OBJECTS = " ".join(f"{name}.o" for name in LOUD_NAMES)
CASES = (
    compiled("fw-gcc", "make CFLAGS='-O2 -Wall -Wextra -Wconversion -pedantic -fanalyzer'",
             Makefile=MAKE.format(objects=OBJECTS)),
    compiled("fw-clang", "make -j2 CC=clang CFLAGS='-O2 -Weverything'",
             Makefile=MAKE.format(objects=OBJECTS)),
    compiled("fw-keep-going", "make -k -j2 CFLAGS=-Wall && touch -d '+1 hour' grid.c && make",
             Makefile=MAKE.format(objects=OBJECTS)),
    well("fw-cxx", "g++ -Wall -Wextra -fpermissive -c a.cpp -o a.o", **{"a.cpp": LOUD_CXX}),
    well("fw-fortran", "gfortran -Wall -Wextra -std=legacy -fcheck=all p.f90 -o p && ./p",
         **{"p.f90": FORTRAN}),
    well("fw-underflow", job("./u"), "gfortran -O0 u.f90 -o u", **{"u.f90": UNDERFLOW}),
    well("fw-static", "gcc -static s.c -o s && gcc -Wl,-z,execstack s.c -o t && ./t",
         **{"s.c": STATIC}),
    well("fw-cmake", "cmake -S . -B b && cmake --build b --verbose",
         **{"CMakeLists.txt": DEPRECATED, "main.c": "int main(void) { return 0; }\n"}),
    Case("fw-autoconf", "", "", "autoconf && ./configure --enable-nothing-known --with-mkl=no",
         files={"configure.ac": PROBES}),
    Case("fw-ctest", "", "", "cmake -S . -B b && cmake --build b && cd b && ctest --verbose",
         files=lists('enable_testing()\nadd_executable(wave main.c)\nadd_test(NAME fatal COMMAND'
                     ' ${CMAKE_COMMAND} -E echo "ERROR: Segmentation fault (as expected)")\n'
                     "add_test(NAME broken COMMAND ${CMAKE_COMMAND} -E false)\n"
                     "set_tests_properties(broken PROPERTIES WILL_FAIL TRUE)")),
    well("fw-numpy", job('"$BLIND_PYTHON" -W always main.py'), **{"main.py": NUMPY}),
    well("fw-unittest", job("python3 tests.py"), **{"tests.py": XFAIL}),
    well("fw-perl", job("LC_ALL=de_DE.nowhere perl tool.pl"), **{"tool.pl": PERL}),
    well("fw-probing", job("./app"), "gcc app.c -o app", **{"app.c": PROBING}),
    well("fw-openmpi-handled", job("mpirun.openmpi -np 2 ./app"), "mpicc.openmpi main.c -o app",
         **{"main.c": FRAME.replace("BODY", HANDLED)}),
    well("fw-mpich-handled", job("mpirun.mpich -np 2 ./app"), "mpicc.mpich main.c -o app",
         **{"main.c": FRAME.replace("BODY", HANDLED)}),
    well("fw-valgrind", job("valgrind --leak-check=full ./app"), "gcc -g app.c -o app",
         **{"app.c": LEAK}),
    well("fw-shell", job("cat results.h5 2>/dev/null || echo no old results\n"
                         "rm old.log || true\nulimit -c unlimited 2>&1 || true\n"
                         "for t in 1 2 3; do test $t = 3 && break; echo \"attempt $t failed: "
                         "Connection refused; trying again\" >&2; done\necho connected")),
    well("fw-git", "git init -q r && cd r && printf 'a\\r\\n' > errors.txt && git -c"
                   " core.autocrlf=input add errors.txt && git -c user.name=a -c user.email=a@b"
                   " commit -m 'Do not fail when the disk is full' && git checkout -b fatal-error"
                   " && (git describe --tags || echo no tag yet)"),
)  # fmt: skip
