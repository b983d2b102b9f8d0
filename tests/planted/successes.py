"""What went well, with much noise: nothing may be named as a cause of failure in these logs."""

from __future__ import annotations

import gzip
from pathlib import Path

from planted.case import RANKS, Case
from planted.configuring import configure, lists
from planted.others_build import UTF8
from planted.surroundings import HEAD, LMOD

FLOOD = {
    "error.c": "#include <stdio.h>\n#include <string.h>\n"
    "static int unused_error(int a) { return 0; }\n"
    "int fatal(char *s, unsigned n)\n{\n    int i, error, failed = 0;\n    char b[4];\n"
    '    for (i = 0; i < n; i++)\n        failed += s[i] == "x";\n    strncpy(b, s, 4);\n'
    '    printf("%d %s\\n", s, n);\n    if (failed = 1)\n        ;\n    return error;\n}\n'
    "int main(argc, argv) char **argv; { int x; return fatal == 0 ? x : 0; }\n"
}
OLD = {
    "o.f": "      program o\n      integer i, j\n      real*8 x(3), error\n      data x /3*1/\n"
    "      do 10 i = 1, 3\n      do 10 j = 1, 3\n   10 x(i) = x(i) + 1.0 / 3 + j\n"
    "      error = x(1) - 1.1d0\n      assign 20 to k\n   20 k = error\n      pause\n"
    "      if (x(1) .eq. 2.0) stop\n      end\n"
}
MANY = "".join(
    f"AC_CHECK_HEADERS([{name}.h])\n"
    for name in (
        "fftw3",
        "mkl",
        "essl",
        "sys/sysctl",
        "hbwmalloc",
        "cuda",
        "papi",
        "mach/mach",
        "windows",
    )
)
MANY += "".join(f"AC_CHECK_LIB([{name}], [{name}_init])\n" for name in ("mkl_rt", "essl", "acml"))
MANY += "AC_CHECK_FUNCS([gettid_np strlcpy pledge])\nAC_CHECK_SIZEOF([__float256])\n"
MANY += "AC_MSG_WARN([no FFTW found: the built-in transform is used])\n"
PROBES = """
include(CheckIncludeFile)
include(CheckFunctionExists)
include(CheckCSourceCompiles)
include(CheckCCompilerFlag)
check_include_file(mkl.h HAVE_MKL)
check_include_file(error.h HAVE_ERROR)
check_function_exists(dgemm_ HAVE_DGEMM)
check_c_compiler_flag(-xHost HAVE_XHOST)
check_c_source_compiles("int main(void) { return cblas_error; }" WORKS)
find_package(GSL)
find_package(HDF5 QUIET)
find_package(SuperLU)
message(WARNING "MKL not found, falling back to the reference BLAS")
message(DEPRECATION "the option USE_ERROR is deprecated")
add_executable(w main.c)
"""
IGNORED = {
    "Makefile": "all: clean first second\nclean:\n\t-rm old.o nothing.a\nfirst:\n\t-false\n"
    "\t-test -d /opt/intel/mkl\nsecond:\n\t@echo built with 0 errors\n"
}
TESTS = {
    "test_solver.py": "import logging\nimport unittest\n\n\nclass Errors(unittest.TestCase):\n"
    "    def test_singular_matrix_error(self):\n"
    "        with self.assertRaises(ZeroDivisionError):\n            1 / 0\n"
    "    def test_no_convergence_fails(self):\n"
    "        logging.error('expected in this test: no convergence')\n"
    "    @unittest.expectedFailure\n    def test_known_failure(self):\n        self.fail('known')\n"
    "    @unittest.skip('no MPI')\n    def test_mpi(self):\n        pass\n"
}
SUMMARY = {
    "s.sh": "echo 'test_lu .......... ok'\necho 'test_error_paths ... ok'\n"
    "echo 'Tests run: 412, Failures: 0, Errors: 0, Skipped: 3'\n"
    "echo '0 failures, 0 errors'\necho 'All tests passed: no errors detected'\n"
}
HPL = {
    "h.c": "#include <stdio.h>\nint main(void)\n{\n"
    '    printf("WR11C2R4 1024 64 1 2 0.09 7.8e+00\\n");\n'
    '    printf("||Ax-b||_oo/(eps*(||A||_oo*||x||_oo+||b||_oo)*N)= %16.7e ...... PASSED\\n",'
    " 4.1e-3);\n"
    '    printf("Finished      1 tests with the following results:\\n");\n'
    '    printf("              1 tests completed and passed residual checks,\\n");\n'
    '    printf("              0 tests completed and failed residual checks,\\n");\n'
    '    printf("              0 tests skipped because of illegal input values.\\n");\n'
    '    printf("max error %.3e, relative error %.3e, info = 0\\n", 1e-16, 2e-15);\n'
    "    return 0;\n}\n"
}
UNDERFLOW = {
    "u.f90": "program u\n  real :: a\n  read (*, *) a\n  print *, 'relative error', a * a\n"
    "  stop\nend program\n"
}
HELLO = {
    "m.c": "#include <mpi.h>\n#include <stdio.h>\nint main(int c, char **v)\n{\n    int r, n;\n"
    "    MPI_Init(&c, &v);\n    MPI_Comm_rank(MPI_COMM_WORLD, &r);\n"
    "    MPI_Comm_size(MPI_COMM_WORLD, &n);\n"
    '    printf("rank %d of %d: abort threshold not reached, 0 errors\\n", r, n);\n'
    "    MPI_Finalize();\n    return 0;\n}\n"
}
LINKS = {
    "t.c": "#include <stdio.h>\nint main(void) { char b[L_tmpnam]; return tmpnam(b) == 0; }\n",
    "s.s": "\t.text\n\t.globl s\ns:\tret\n",
}
FALLBACK = """
command -v icc || echo 'icc: not found, trying gcc'
ls /opt/intel/oneapi/setvars.sh || true
rm -f none; rm none || true
grep -c sapphire /proc/none || true
source /etc/profile.d/no-such-modules.sh || true
test -e /dev/nvidia0 || echo 'WARNING: no GPU found, using the CPU'
nvidia-smi || echo 'no NVIDIA driver'
echo 'run finished: error count 0, exit code 0'
"""
PATCH = {
    "a.txt": "".join(f"line {i}\n" for i in range(30)),
    "p.diff": "--- a.txt\n+++ a.txt\n@@ -12,3 +12,3 @@\n line 14\n-line 15\n+error 15\n line 16\n",
}
SWAP = {
    "modules/gcc/11.lua": 'family("compiler")\nsetenv("G", "11")\n',
    "modules/gcc/12.lua": 'family("compiler")\nsetenv("G", "12")\nLmodMessage("This module is'
    ' deprecated and will be removed; errors? ask the help desk")\n',
    "modules/old/1": HEAD + 'puts stderr "WARNING: old/1 is not supported"\nsetenv OLD 1\n',
}
WARNINGS = {
    "w.py": "import sys, traceback, warnings\nwarnings.warn('solver failed to load; using numpy')\n"
    "try:\n    import mkl_of_the_site\nexcept ImportError:\n    traceback.print_exc()\n"
    "print('falling back to the slow path', file=sys.stderr)\nprint('done, residual 1.2e-15')\n"
}
NINJA = {
    "build.ninja": "rule cc\n  command = clang -Weverything -c $in -o $out\n"
    "  description = CC $out\n"
    "build error.o: cc error.c\n",
    "error.c": FLOOD["error.c"].replace("int main(argc, argv) char **argv;", "int main(void)"),
}

CASES = (
    Case("gcc-flood", "", "-Wall -Wextra", "gcc -Wall -Wextra -O2 -c error.c", files=FLOOD),
    Case(
        "gcc-flood-utf8",
        "",
        "-Wall -Wextra -Wconversion, UTF-8",
        "gcc -Wall -Wextra -Wconversion -Wpedantic -O2 -c error.c",
        files=FLOOD,
        env=UTF8,
    ),
    Case("ninja-clang", "", "clang -Weverything under ninja", "ninja -v && ninja", files=NINJA),
    Case("gfortran-old", "", "old Fortran", "gfortran -std=legacy -Wall -Wextra -c o.f", files=OLD),
    Case(
        "configure",
        "",
        "many answers of no",
        "./configure && cat confdefs.h config.h 2>/dev/null || true",
        "autoconf",
        configure(MANY),
    ),
    Case(
        "configure-log",
        "",
        "config.log, with the errors of its probes",
        "cat config.log",
        "autoconf\n./configure",
        configure(MANY),
    ),
    Case(
        "cmake",
        "",
        "probes that fail",
        "cmake -S . -B build && cmake --build build -v",
        files=lists(PROBES),
    ),
    Case(
        "cmake-logs",
        "",
        "what CMake kept of probes that fail",
        "cat build/CMakeFiles/CMake*.log",
        "cmake -S . -B build",
        lists(PROBES),
    ),
    Case("make-ignored", "", "errors that make ignores", "make", files=IGNORED),
    Case("unittest", "", "tests that provoke errors", "python3 -m unittest -v", files=TESTS),
    Case("summary", "", "a summary of tests", "sh s.sh", files=SUMMARY),
    Case("hpl-passed", "", "residuals that pass, in HPL's words", "./h", "gcc h.c -o h", HPL),
    Case(
        "ieee-note", "", "a note on underflow", "echo 1e-30 | ./u", "gfortran u.f90 -o u", UNDERFLOW
    ),
    Case(
        "ompi",
        "",
        "Open MPI, verbose, as root",
        "mpirun.openmpi --allow-run-as-root --oversubscribe -np 3 --mca btl_base_verbose 30 ./m",
        "mpicc.openmpi m.c -o m",
        HELLO,
        RANKS,
    ),
    Case(
        "mpich", "", "MPICH, verbose", "mpiexec.hydra -v -np 2 ./m", "mpicc.mpich m.c -o m", HELLO
    ),
    Case(
        "ld-warnings",
        "",
        "warnings of the linker",
        "gcc t.c s.s -o t -Wl,-rpath-link,/nonexistent -L/nonexistent && ./t",
        files=LINKS,
    ),
    Case(
        "preload",
        "",
        "LD_PRELOAD of what is not there",
        "LD_PRELOAD=libsite-trace.so /bin/true && echo fine",
    ),
    Case("fallbacks", "", "commands that may fail", FALLBACK),
    Case("patch-offset", "", "hunks at other lines", "patch -p0 < p.diff", files=PATCH),
    Case(
        "lmod-swap",
        "",
        "messages of modules",
        LMOD + "module load gcc/11 old/1\nmodule load gcc/12 && echo loaded",
        files=SWAP,
    ),
    Case(
        "pip",
        "",
        "pip talks",
        "python3 -m pip list && python3 -m pip uninstall -y wave-that-is-not-here",
        env={"PIP_BREAK_SYSTEM_PACKAGES": "1"},  # else PEP 668 refuses, where it is the system's
    ),
    Case("apt", "", "apt simulates", "apt-get install -s gcc make perl && apt-cache policy gcc"),
    Case("python-fallback", "", "an import error that is caught", "python3 w.py", files=WARNINGS),
    Case(
        "openmp-display",
        "",
        "libgomp and libomp tell what they do",
        "./o && ./c",
        "printf 'int main(void)\\n{\\n#pragma omp parallel\\n{}\\nreturn 0;}\\n' > o.c\n"
        "gcc -fopenmp o.c -o o\nclang -fopenmp o.c -o c",
        env={
            "OMP_DISPLAY_ENV": "VERBOSE",
            "OMP_PROC_BIND": "spread",
            "OMP_NUM_THREADS": "99",
            "KMP_AFFINITY": "verbose",
            "OMP_NESTED": "true",
        },
    ),
)


def recorded(log: Path) -> bytes:
    """A log that was recorded once from a real build that went well."""
    return gzip.decompress(log.read_bytes())
