"""What went well although a program of it met an error, told it, and went on.

Every case is real programs' doing; the words of programs that are not here are in
tests/fixtures/diagnosis/successes.txt.
"""

from __future__ import annotations

from planted.case import RANKS, Case
from planted.configuring import configure, lists
from planted.surroundings import LMOD

BACKENDS = {
    "b.py": "import importlib, sys, traceback\n"
    "for name in ('cupy_of_the_site', 'torch_of_the_site', 'json.tool_that_is_not'):\n"
    "    try:\n        importlib.import_module(name)\n"
    "    except ImportError:\n        traceback.print_exc()\n"
    "print('backend: numpy', flush=True)\n"
    "for step in range(40):\n    print('step', step, 'energy', -1.5 - step * 1e-3)\n"
}
LOGGED = {
    "l.py": "import logging\nlogging.basicConfig(level='INFO')\n"
    "for attempt in range(1, 4):\n    try:\n        if attempt < 3:\n"
    "            raise TimeoutError('no answer from the licence server')\n"
    "    except TimeoutError:\n        logging.exception('attempt %d failed', attempt)\n"
    "logging.info('attempt 3: connected')\nlogging.info('wrote 12 files')\n"
}
THREAD = {
    "t.py": "import threading\ndef monitor():\n    open('/proc/none/power')\n"
    "t = threading.Thread(target=monitor)\nt.start()\nt.join()\nprint('mean 0.5 W unknown')\n"
    "print('result 42')\n"
}
IGNORED_LAST = {
    "i.py": "class Pool:\n    def __del__(self):\n        raise RuntimeError('pool is closed')\n"
    "p = Pool()\nprint('result 42', flush=True)\n"
}
CHAINED = {
    "c.py": "import traceback\ndef read():\n    try:\n        open('wisdom.dat')\n"
    "    except OSError as error:\n        raise ValueError('no wisdom') from error\n"
    "try:\n    read()\nexcept ValueError:\n    traceback.print_exc()\n"
    "print('planning anew')\nprint('plan has 12 steps')\n"
}
CHILD = {
    "s.py": "import subprocess, sys\nfor tool in ('false', 'true'):\n    try:\n"
    "        subprocess.run([tool], check=True)\n"
    "    except subprocess.CalledProcessError as error:\n"
    "        print('warning:', error, file=sys.stderr)\n    else:\n"
    "        print('measured with', tool)\n"
}
MEMORY = {
    "m.py": "import sys, traceback\nsize = 1 << 60\nwhile True:\n    try:\n"
    "        block = bytearray(size)\n        break\n    except MemoryError:\n"
    "        print(f'MemoryError: cannot allocate {size} bytes, retrying with a quarter',"
    " file=sys.stderr)\n        size //= 1 << 20\nprint('block of', len(block), 'bytes')\n"
}
TABLE = {
    "n.py": "print('legend: nan = not measured, inf = no limit')\n"
    "for n in (1, 2, 4):\n    print(f'{n:4d} {1.5 * n:8.3f} {float(\"nan\"):8.3f}')\n"
    "print('limits: min 0, max inf')\nprint('mean 3.5, missing values: nan')\n"
}
CTYPES = {
    "d.py": "import ctypes, sys\nfor name in ('libmkl_rt.so.2', 'libblis-mt.so.9', 'libm.so.6'):\n"
    "    try:\n        ctypes.CDLL(name)\n    except OSError as error:\n"
    "        print(f'OSError: {error}')\n    else:\n        print('using', name)\n        break\n"
    "print('norm 1.0')\n"
}
DLOPEN = {
    "d.c": "#include <dlfcn.h>\n#include <stdio.h>\nint main(void)\n{\n"
    '    const char *names[] = {"libcuda.so.1", "librocm_smi64.so", "libm.so.6"};\n'
    "    for (int i = 0; i < 3; i++)\n        if (!dlopen(names[i], RTLD_NOW))\n"
    '            fprintf(stderr, "dlopen: %s\\n", dlerror());\n'
    '    printf("devices: 0, running on the CPU\\n");\n'
    '    printf("loop of 100 iterations took 1.2 s\\n");\n    return 0;\n}\n'
}
SIGNALS = {
    "s.c": "#include <setjmp.h>\n#include <signal.h>\n#include <stdio.h>\n#include <string.h>\n"
    "static sigjmp_buf back;\nstatic void caught(int n) { siglongjmp(back, n); }\n"
    "int main(void)\n{\n    int list[] = {SIGSEGV, SIGFPE, SIGILL, SIGBUS, SIGABRT};\n"
    "    for (int i = 0; i < 5; i++) {\n        signal(list[i], caught);\n"
    "        int n = sigsetjmp(back, 1);\n        if (n == 0)\n            raise(list[i]);\n"
    '        printf("caught signal %d (%s), as it should be\\n", n, strsignal(n));\n    }\n'
    '    printf("5 handlers work\\n");\n    return 0;\n}\n'
}
TAP = {
    "t.t": "use Test::More tests => 4;\nok(1, 'lu');\n"
    'eval { die "Can\'t locate Wave.pm in \\@INC\\n" };\ndiag("died: $@");\n'
    "like($@, qr/locate/, 'missing module is told');\n"
    "TODO: { local $TODO = 'not written'; ok(0, 'singular matrix'); }\n"
    "use Carp; Carp::cluck('out of memory is simulated');\nok(1, 'survives');\n"
}
CTEST = """
enable_testing()
add_executable(w main.c)
add_test(NAME solves COMMAND ${CMAKE_COMMAND} -E echo "max error 1e-12")
add_test(NAME bad_input COMMAND ${CMAKE_COMMAND} -E cat no-such-input.dat)
set_tests_properties(bad_input PROPERTIES WILL_FAIL TRUE)
add_test(NAME crash COMMAND sh -c "sh -c 'kill -SEGV $$'; exit 1")
set_tests_properties(crash PROPERTIES WILL_FAIL TRUE)
add_test(NAME says COMMAND sh -c "echo 'ERROR: matrix is singular'; exit 1")
set_tests_properties(says PROPERTIES PASS_REGULAR_EXPRESSION singular LABELS quick)
"""
TRIES = """
set(codes "int main(void) { return cblas_dgemm(1); }" "#include <mkl.h>\\nint main(void) {}")
foreach(code IN LISTS codes)
  file(WRITE ${CMAKE_BINARY_DIR}/t.c "${code}")
  try_compile(worked ${CMAKE_BINARY_DIR} ${CMAKE_BINARY_DIR}/t.c OUTPUT_VARIABLE said)
  message(STATUS "try: ${worked}")
  message("${said}")
endforeach()
execute_process(COMMAND git describe --tags RESULT_VARIABLE no)
execute_process(COMMAND python3 -c "import wave_of_the_site" RESULT_VARIABLE no)
find_package(BLAS_OF_THE_SITE QUIET)
find_program(IFORT ifort)
if(NOT IFORT)
  message(WARNING "ifort not found: no Fortran interface")
endif()
add_executable(w main.c)
"""
HOMEMADE = {
    "configure": "#!/bin/sh\necho 'int main(void) { return 0; }' > t.c\n"
    "for cc in icc pgcc nvc gcc; do\n  if $cc t.c -o t; then found=$cc; break; fi\ndone\n"
    "echo using $found\necho '#include <mkl.h>' | $found -E - > /dev/null || echo 'mkl: no'\n"
    "echo '#include <cblas_of_nobody.h>' | $found -c -x c - -o t.o || echo 'cblas: no'\n"
    "git describe --tags || echo 'version: unknown'\necho CC=$found > config.mk\n",
    "Makefile": "include config.mk\nall: t2\nt2: t.c\n\t$(CC) t.c -o t2\n\t./t2\n"
    "\t@echo built t2\n",
}
INSTEAD = {
    "Makefile": "all: app\napp: main.o fast.o\n\tcc main.o fast.o -o app\n\t@echo app is ready\n"
    "fast.o: fast.c\n\t-cc -c -include mkl.h fast.c -o fast.o\n"
    "\ttest -e fast.o || cc -c fast.c -o fast.o\n",
    "main.c": "int fast(void);\nint main(void) { return fast(); }\n",
    "fast.c": "int fast(void) { return 0; }\n",
}
KEEP_GOING = {
    "Makefile": "all: report\n.IGNORE: plugins\nplugins:\n\tcc -shared plugin.o -lsite_plugins\n"
    "report: plugins\n\t@echo plugins are optional\n\t@echo 14 files written\n",
}
IEEE = {
    "i.f90": "program i\n  real :: a, b\n  read (*, *) a\n  b = 1.0 / a\n"
    "  print *, 'peak', merge(b, 0.0, a > 0)\n  b = sqrt(-a - 1)\n  print *, 'done'\n"
    "  stop\nend program\n"
}
RETURNED = {
    "r.c": "#include <mpi.h>\n#include <stdio.h>\nint main(int c, char **v)\n{\n"
    "    int r, n, x = 1;\n    char text[MPI_MAX_ERROR_STRING];\n    MPI_Init(&c, &v);\n"
    "    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);\n"
    "    MPI_Comm_rank(MPI_COMM_WORLD, &r);\n"
    "    int e = MPI_Send(&x, 1, MPI_INT, 99, 0, MPI_COMM_WORLD);\n"
    "    MPI_Error_string(e, text, &n);\n"
    '    printf("rank %d: probe of neighbour 99: %s\\n", r, text);\n'
    "    MPI_Barrier(MPI_COMM_WORLD);\n"
    '    printf("rank %d: has no neighbour 99, open boundary\\n", r);\n'
    "    MPI_Finalize();\n    return 0;\n}\n"
}
SHIFT = {
    "p.c": "#include <stdio.h>\nvoid dpotrf_(char *, int *, double *, int *, int *);\n"
    "int main(void)\n{\n    int n = 2, info = 1;\n    double shift = 0;\n"
    "    while (info) {\n        double a[] = {1 + shift, 2, 2, 1 + shift};\n"
    '        dpotrf_("L", &n, a, &n, &info);\n'
    '        if (info)\n            printf("dpotrf: info = %d, not positive definite, shift %g\\n",'
    " info, shift += 1);\n    }\n"
    '    printf("factored with shift %g, residual 1.1e-16\\n", shift);\n    return 0;\n}\n'
}
ITERATION = {
    "i.py": "for k in range(1, 30):\n    print(f'iter {k}: error = {10.0 ** -k:.1e}')\n"
    "    if k == 9:\n        print('CG did not converge in 9 iterations, going on with GMRES')\n"
    "print('converged: error = 1e-29 < 1e-28')\nprint('fatal errors: none, killed particles: 3')\n"
}
GUIDE = {
    "guide.txt": "Troubleshooting\n===============\n\n"
    "* slurmstepd: error: *** JOB 1234 ON n1 CANCELLED AT 2024-01-01T00:00:00 DUE TO TIME LIMIT"
    " ***\n  Ask for more time.\n* Segmentation fault (core dumped)\n  Raise the stack limit.\n"
    "* error while loading shared libraries: libmkl_rt.so: cannot open shared object file\n"
    "  Load the module.\n* Your job was Killed: it used more memory than it asked for.\n\n"
}
UBSAN = {
    "u.c": "#include <limits.h>\n#include <stdio.h>\nint main(int c, char **v)\n{\n"
    "    int hash = INT_MAX;\n    hash += c;\n"
    '    printf("hash %d\\n", hash);\n    printf("checked 1000 keys\\n");\n    return 0;\n}\n'
}
TERMINATED = """
sleep 100 &
helper=$!
sleep 100 &
other=$!
sleep 0.1
kill $helper
kill -9 $other
wait $helper $other || true
echo result 1.25
echo wrote result.dat
"""
RETRIES = """
echo the result > here.txt
for url in http://127.0.0.1:9/a.txt http://host.invalid/a.txt file://$PWD/here.txt; do
  curl -sS --max-time 5 $url -o a.txt && break
  echo "$url failed, next mirror"
done
cat a.txt
"""
SCRATCH = """
ls /scratch/of/nobody/$USER
cp /etc/no-such-defaults.conf . || echo 'defaults are taken'
cat restart.dat || echo 'no restart file: starting at step 0'
. ./site.env || true
[ "$SLURM_NTASKS" -gt 1 ] || echo 'one task'
mkdir /proc/none || export TMP=/tmp
ulimit -n 99999999999 || ulimit -n
echo 'step 1'
echo 'step 2'
echo 'time 3.2 s'
"""
ECHOED = """
set -v
trap 'echo "ERROR: Segmentation fault or Killed in line $LINENO"; exit 1' ERR
if ! true; then echo "Fatal error: cannot open input.dat: No such file or directory"; fi
case $? in 137) echo "Out of memory: Killed process";; 139) echo "Segmentation fault";; esac
echo step 1
"""
PORTS = {
    "p.py": "import socket\na = socket.socket()\na.bind(('127.0.0.1', 0))\n"
    "port = a.getsockname()[1]\nb = socket.socket()\nfor p in (port, 0):\n    try:\n"
    "        b.bind(('127.0.0.1', p))\n    except OSError as error:\n        print(error)\n"
    "    else:\n        print('serves the dashboard')\nprint('epoch 1 loss 0.25')\n"
}
TIMED = """
timeout -v 1 sleep 5 || echo 'the probe of the fabric took too long; using TCP'
timeout -s KILL 1 sleep 5 || echo 'no answer'
echo 'bandwidth 10 GB/s'
"""
MODULES = {"modules/gcc/12.2.lua": 'setenv("G", "12")\n'}

CASES = (
    Case("py-backends", "", "backends that are not there", "python3 b.py", files=BACKENDS),
    Case("py-logged", "", "logging.exception, then success", "python3 l.py", files=LOGGED),
    Case("py-thread", "", "a thread dies, the program does not", "python3 t.py", files=THREAD),
    Case("py-ignored", "", "an exception that Python ignores", "python3 i.py", files=IGNORED_LAST),
    Case("py-chained", "", "chained exceptions, caught", "python3 c.py", files=CHAINED),
    Case("py-child", "", "a child's failure is a warning", "python3 s.py", files=CHILD),
    Case("py-memory", "", "less memory is asked for", "python3 m.py", files=MEMORY),
    Case("py-ctypes", "", "a library that another replaces", "python3 d.py", files=CTYPES),
    Case("py-port", "", "a port in use, another is taken", "python3 p.py", files=PORTS),
    Case("nan-legend", "", "nan and inf in words and tables", "python3 n.py", files=TABLE),
    Case("iterations", "", "errors that are numbers", "python3 i.py", files=ITERATION),
    Case("dlopen", "", "dlopen of what is not there", "./d", "gcc d.c -o d -ldl", DLOPEN),
    Case("signals", "", "signals that are caught", "./s", "gcc s.c -o s", SIGNALS),
    Case("prove", "", "tests in Perl that expect errors", "prove -v t.t", files=TAP),
    Case(
        "ctest",
        "",
        "tests that shall fail",
        "cd build && ctest -V",
        "cmake -S . -B build && cmake --build build",
        lists(CTEST),
    ),
    Case(
        "cmake-tries",
        "",
        "what try_compile said is printed",
        "cmake -S . -B build && cmake --build build",
        files=lists(TRIES),
    ),
    Case(
        "configure-runs",
        "",
        "programs that do not run",
        "./configure && ls",
        "autoconf",
        configure(
            "AC_RUN_IFELSE([AC_LANG_PROGRAM([], [return 3;])], [], [AC_MSG_WARN([it failed])])\n"
            "ifort -V\nAC_CHECK_PROGS([FC2], [ifort ifx])\npython3 -c 'import wave_of_nobody'\n"
            "AC_CHECK_LIB([mkl_rt], [dgemm_], [], [AC_MSG_WARN([cannot find -lmkl_rt])])\n"
        ),
    ),
    Case(
        "configure-homemade",
        "",
        "compilers are tried one by one",
        "sh configure && make",
        files=HOMEMADE,
    ),
    Case("make-instead", "", "what fails is replaced", "make", files=INSTEAD),
    Case("make-ignore-all", "", ".IGNORE", "make", files=KEEP_GOING),
    Case(
        "ieee-invalid",
        "",
        "a note on invalid operations",
        "echo 0 | ./i",
        "gfortran i.f90 -o i",
        IEEE,
    ),
    Case(
        "ompi-returned",
        "",
        "Open MPI's errors are returned",
        "mpirun.openmpi --oversubscribe -np 2 ./r",
        "mpicc.openmpi r.c -o r",
        RETURNED,
        RANKS,
    ),
    Case(
        "mpich-returned",
        "",
        "MPICH's errors are returned",
        "mpiexec.hydra -np 2 ./r",
        "mpicc.mpich r.c -o r",
        RETURNED,
    ),
    Case(
        "ompi-missing-component",
        "",
        "Open MPI without a component",
        "mpirun.openmpi --oversubscribe --mca btl_base_warn_component_unused 1"
        " --mca mtl psm9 --mca btl self,vader,tcp -np 2 ./r",
        "mpicc.openmpi r.c -o r",
        RETURNED,
        RANKS,
    ),
    Case("cholesky-shift", "", "INFO, then a shift", "./p", "gcc p.c -o p -llapack", SHIFT),
    Case("guide", "", "prose about failures", "cat guide.txt && echo welcome", files=GUIDE),
    Case(
        "ubsan",
        "",
        "a sanitizer that goes on",
        "./u",
        "gcc -fsanitize=undefined u.c -o u",
        UBSAN,
    ),
    Case("terminated", "", "helpers are ended", TERMINATED),
    Case("mirrors", "", "mirrors are tried one by one", RETRIES),
    Case("scratch", "", "files that may be missing", SCRATCH),
    Case("echoed", "", "a script shown as it runs", ECHOED),
    Case("timed", "", "time limits of probes", TIMED),
    Case(
        "lmod-tries",
        "",
        "names of a module are tried",
        LMOD + "module load gcc/99 || module load gcc/12.2\necho G=$G",
        files=MODULES,
    ),
)
