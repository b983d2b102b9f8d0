"""Held-out logs of what went well, with frightening contents."""

from __future__ import annotations

from planted.blind_common import job, makefile
from planted.blind_configure import autoconf
from planted.blind_errors import NUMPY, PYTHON
from planted.blind_mpi import FRAME, OPEN, RUN
from planted.blind_recorded import SUCCESSES
from planted.case import RANKS, Case

CAUGHT = """import logging
import unittest


class Cases(unittest.TestCase):
    def test_segmentation_fault_is_reported(self):
        try:
            raise MemoryError("cannot allocate 64 GiB")
        except MemoryError:
            logging.exception("expected: out of memory, falling back to blocks")

    def test_singular_matrix(self):
        with self.assertRaises(ZeroDivisionError):
            1 / 0

    def test_missing_library(self):
        logging.error("libmkl_rt.so.2: cannot open shared object file (as the test wants)")


unittest.main(verbosity=2)
"""
RETURNED = """    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    char text[MPI_MAX_ERROR_STRING];
    int length, code = MPI_Send(x, 1, MPI_DOUBLE, size + 5, 0, MPI_COMM_WORLD);
    MPI_Error_string(code, text, &length);
    printf("rank %d: the error that the test expects: %s\\n", rank, text);"""
CTEST = {
    "CMakeLists.txt": "cmake_minimum_required(VERSION 3.16)\nproject(t LANGUAGES C)\n"
    "find_package(CUDA QUIET)\nfind_package(HDF5)\nfind_package(MKL CONFIG)\nenable_testing()\n"
    "add_executable(t t.c)\nadd_test(NAME abort_on_error COMMAND t 0)\n"
    "add_test(NAME detects_segfault COMMAND t 1)\nadd_test(NAME error_codes COMMAND t 0)\n"
    "set_tests_properties(detects_segfault PROPERTIES WILL_FAIL TRUE)\n",
    "t.c": "int main(int c, char **v) { return v[1][0] - '0'; }\n",
}
IGNORED = """all:
\t-rm old.o
\t-test -f /nonexistent/license.dat
\t@echo "error.c: 0 errors, 0 failed; see errors.log"
\t-$(CC) -c probe.c 2>/dev/null
\ttouch done
"""
FLOAT = """program note
  implicit none
  real(8) :: x(3) = [1d0, 0d0, 1d-320]
  x = 1d0 / x
  print *, 'residual check: 0 failed, worst error 1.1E-16', x(1)
  stop
end program
"""
FALLBACK = """import ctypes

for name in ("libmkl_rt.so.2", "libblis-mt.so.9", "libopenblas.so.0"):
    try:
        ctypes.CDLL(name)
        print("using", name)
        break
    except OSError as error:
        print("warning:", error)
else:
    print("using the slow fallback")
"""
PASS = """import numpy as np

for n in (2, 3):
    try:
        np.linalg.inv(np.ones((n, n)))
    except np.linalg.LinAlgError as error:
        print(f"test {n}: LinAlgError: {error} ... ok (expected failure)")
print("NaN count: 0, diverged: 0, FAILED: 0, PASSED: 2")
"""


def went_well(name: str, run: str, prepare: str = "", **more: str) -> Case:
    return Case(name, "", "", run, prepare, more, RANKS | PYTHON)


CASES = (
    Case(
        "bl-ok-warnings",
        "",
        "",
        job("make -j2"),
        files=makefile("main.o", count=8) | {"main.c": "int main(void) { return 0; }\n"},
    ),
    went_well("bl-ok-unittest", job("python3 tests.py"), **{"tests.py": CAUGHT}),
    went_well(
        "bl-ok-mpi-errors",
        job(f"{RUN[OPEN]} -n 2 ./t"),
        "mpicc.openmpi -w t.c -o t",
        **{"t.c": FRAME.replace("BODY", RETURNED)},
    ),
    Case(
        "bl-ok-ctest",
        "",
        "",
        "cmake -S . -B b && cmake --build b && ctest --test-dir b",
        files=CTEST,
    ),
    went_well("bl-ok-ignored", "make", **{"Makefile": IGNORED, "probe.c": "#include <mkl.h>\n"}),
    Case(
        "bl-ok-config-log",
        "",
        "",
        "./configure && grep -E 'error|warning' config.log | sort -u",
        "autoconf",
        autoconf(
            "AC_CHECK_HEADERS([mkl.h fftw3.h cuda.h])\nAC_CHECK_LIB([essl], [dgemm])\n"
            "AC_CHECK_FUNCS([vdExp cudaMalloc])"
        ),
    ),
    went_well(
        "bl-ok-ieee",
        job("./note"),
        "gfortran -g note.f90 -o note",
        **{"note.f90": FLOAT},
    ),
    went_well("bl-ok-fallback", job("python3 load.py"), **{"load.py": FALLBACK}),
    went_well("bl-ok-singular", job(NUMPY), **{"main.py": PASS}),
    went_well(
        "bl-ok-preload",
        "export LD_PRELOAD=/opt/scorep/lib/libgone.so\n/bin/echo step 1 of 1 done",
    ),
    went_well(
        "bl-ok-retry",
        "for i in 1 2 3; do\n"
        "  if [ -f up ]; then echo connected; break; fi\n"
        '  wget -q -T 1 -t 1 http://127.0.0.1:9/x || echo "attempt $i:'
        ' connection refused, retrying"\n'
        "  [ $i = 2 ] && touch up\ndone\necho all transfers complete",
    ),
    went_well(
        "bl-ok-clock",
        "touch -d 'now + 1 hour' a.c\nmake 2>&1\necho finished",
        **{"Makefile": "a.o: a.c\n\t$(CC) -c a.c\n", "a.c": "int error_handler;\n"},
    ),
    went_well(
        "bl-ok-names",
        "set -x\nls -l\ngrep -c ERROR run.log || true\ntest ! -s fatal.txt",
        "touch segfault.log core.1234.analysis undefined_reference.md 'out of"
        " memory.txt' fatal.txt\n"
        "echo 'INFO no such file or directory errors were seen' > run.log",
    ),
    went_well(
        "bl-ok-archive",
        "ar rc libx.a a.o\nranlib libx.a\nnm -u a.o\nldd ./main\ngcc -shared -fPIC u.c -o libu.so"
        " && nm -u libu.so && echo 'undefined symbols are resolved at load time'",
        "gcc -c a.c -o a.o\ngcc -fPIC -c u.c -o u.o\necho 'int main(){return"
        " 0;}' | gcc -x c - -o main",
        **{
            "a.c": "void dgemm_(void);\nvoid f(void) { dgemm_(); }\n",
            "u.c": "void zgemm_(void);\nvoid g(void) { zgemm_(); }\n",
        },
    ),
    went_well(
        "bl-ok-timeout",
        job(
            "timeout --verbose 1 sleep 5 || echo 'stopped after its time, as planned: 600 samples'"
        ),
    ),
    *SUCCESSES,
)
