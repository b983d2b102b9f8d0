"""Programs that end badly."""

from __future__ import annotations

from planted.case import Case

EXP = {
    "k.c": "#include <immintrin.h>\n#include <stdio.h>\nint main(int n, char **v)\n{\n"
    "    double x[8] = {n};\n    __m512d a = _mm512_exp2a23_pd(_mm512_loadu_pd(x));\n"
    '    _mm512_storeu_pd(x, a);\n    printf("%g\\n", x[0]);\n    return v == 0;\n}\n'
}
NULL = {"s.c": "int main(int n, char **v) { int *p = (int *)(long)(n - 1); return *p + !v; }\n"}
DEEP = {
    "d.f90": "program d\n  real(8) :: a(4000000)\n  call fill(a)\n  print *, a(7)\ncontains\n"
    "  subroutine fill(x)\n    real(8), intent(out) :: x(:)\n    real(8) :: t(size(x))\n"
    "    t = 1.0d0\n    x = t * 2\n  end subroutine\nend program\n"
}
POINTER = {
    "p.f90": "program p\n  use iso_c_binding\n  real(8), pointer :: x(:)\n"
    "  call c_f_pointer(transfer(8_8, c_null_ptr), x, [4])\n  print *, x(2)\nend program\n"
}
DIVIDE = {"z.f90": "program z\n  real :: a, b\n  read (*, *) a, b\n  print *, a / b\nend program\n"}
VECTOR = {"v.cpp": "#include <vector>\nint main() { std::vector<double> v(1L << 36); }\n"}
ALLOCATE = {
    "a.f90": "program a\n  real(8), allocatable :: x(:)\n  allocate (x(2_8**36))\n"
    "  x = 1\n  print *, x(9)\nend program\n"
}
BOUNDS = {
    "b.f90": "program b\n  integer :: v(10), n\n  read (*, *) n\n  v = 1\n"
    "  print *, v(n)\nend program\n"
}
NO_FILE = {"r.f90": "program r\n  open (unit=11, file='input.nml', status='old')\nend program\n"}
SHORT = {"r.f90": "program r\n  integer :: v(9)\n  read (*, *) v\n  print *, v\nend program\n"}
ASSERT = {"a.c": "#include <assert.h>\nint main(int n, char **v) { assert(n > 3 && v); }\n"}
FREE = {"f.c": "#include <stdlib.h>\nint main(void) { char *p = malloc(64); free(p); free(p); }\n"}
OUT = {
    "o.cpp": "#include <stdexcept>\n#include <vector>\n"
    "int main(int n, char **) { return std::vector<int>(3).at(n + 2); }\n"
}
SANITIZE = {
    "h.c": "#include <stdlib.h>\nint main(int n, char **v)\n{\n    int *p = malloc(4);\n"
    "    return p[n] + !v;\n}\n"
}
MAPPED = {
    "m.c": "#include <fcntl.h>\n#include <sys/mman.h>\n#include <unistd.h>\nint main(void)\n{\n"
    '    int f = open("field.dat", O_RDWR | O_CREAT, 0600);\n'
    "    char *p = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, f, 0);\n"
    "    p[0] = 1;\n    return 0;\n}\n"
}
THREADS = {
    "t.c": "#include <stdio.h>\nint main(void)\n{\n    int n = 0;\n"
    '#pragma omp parallel num_threads(4) reduction(+ : n)\n    n += 1;\n    printf("%d\\n", n);\n'
    "    return 0;\n}\n"
}
BLAS = {"b.c": "int openblas_get_num_threads(void);\nint main(void) { return 0; }\n"}
SPIN = "for i in 1 2; do :; done\npython3 -c 'while True: pass'"
FILES = {"o.py": "kept = [open('/dev/null') for _ in range(99)]\n"}
STATE = {"w.py": "open('scratch/state.bin', 'wb').write(b'x' * 200000)\n"}
SMALL = "mount -t tmpfs -o size=64k none scratch"
EATER = {"e.py": "import os, signal\nprint('step 1', flush=True)\nos.kill(os.getpid(), 9)\n"}
SMASH = {
    "s.c": "#include <string.h>\nstatic void copy(const char *s) { char b[4]; strcpy(b, s); }\n"
    "int main(int n, char **v) { copy(v[n - 1]); return 0; }\n"
}
NUMPY = {"n.py": "import numpy_of_the_site as np\nprint(np)\n"}

CASES = (
    Case(
        "sigill",
        "run.illegal_instruction",
        "instructions of Knights Landing",
        "./k",
        "gcc -O1 -mavx512er k.c -o k",
        EXP,
    ),
    Case("segfault", "run.segfault", "a null pointer", "./s", "gcc -O0 s.c -o s", NULL),
    Case(
        "stack-overflow",
        "run.stack",
        "32 MB on a stack of 8",
        "ulimit -s 8192\n./d",
        "gfortran -g -fstack-arrays d.f90 -o d",
        DEEP,
    ),
    Case(
        "gfortran-segfault",
        "run.segfault",
        "a wild pointer in Fortran",
        "./p",
        "gfortran -g p.f90 -o p",
        POINTER,
    ),
    Case(
        "sigfpe",
        "numerics.floating_point_trap",
        "a division by zero, trapped",
        "echo 1 0 | ./z",
        "gfortran -ffpe-trap=zero,invalid z.f90 -o z",
        DIVIDE,
    ),
    Case(
        "bad-alloc",
        "run.out_of_memory",
        "512 GB asked for",
        "ulimit -v 4000000\n./v",
        "g++ v.cpp -o v",
        VECTOR,
    ),
    Case(
        "gfortran-allocate",
        "run.out_of_memory",
        "512 GB asked for",
        "ulimit -v 4000000\n./a",
        "gfortran a.f90 -o a",
        ALLOCATE,
    ),
    Case(
        "killed",
        "run.killed",
        "SIGKILL, as the kernel's out-of-memory killer sends",
        "python3 e.py",
        files=EATER,
    ),
    Case(
        "tmpfs-full",
        "environment.no_space",
        "64 kB of space for 200",
        f"exec unshare --mount sh -c '{SMALL} && python3 w.py'",
        "mkdir scratch",
        STATE,
    ),
    Case(
        "read-only",
        "environment.read_only",
        "a file system that cannot be written",
        "exec unshare --mount sh -c 'mount -t tmpfs -o ro none scratch && cp w.py scratch/'",
        "mkdir scratch",
        STATE,
    ),
    Case(
        "file-size",
        "run.file_size_limit",
        "ulimit -f",
        "ulimit -f 10\ndd if=/dev/zero of=big bs=1k count=99",
    ),
    Case("open-files", "run.open_files", "ulimit -n", "ulimit -n 16\npython3 o.py", files=FILES),
    Case("cpu-time", "run.cpu_time_limit", "ulimit -t", "ulimit -S -t 1\n" + SPIN),
    Case(
        "libgomp-threads",
        "run.no_threads",
        "stacks of 900 GB for four threads",
        "ulimit -v 2000000\nexport OMP_STACKSIZE=900G\n./t",
        "gcc -fopenmp t.c -o t",
        THREADS,
    ),
    Case(
        "openblas-threads",
        "run.no_threads",
        "stacks of 4 GB for OpenBLAS's threads",
        # Two CPUs, as OpenBLAS starts no more threads than it may use CPUs.
        "taskset -p -c 0-1 $$ > /dev/null\n"
        "ulimit -s 4000000\nulimit -v 3000000\nOPENBLAS_NUM_THREADS=2 ./b",
        "gcc b.c -Wl,--no-as-needed -lopenblas -o b",
        BLAS,
    ),
    Case(
        "bus-error",
        "run.bus_error",
        "a mapping that is longer than its file",
        "./m",
        "gcc m.c -o m",
        MAPPED,
    ),
    Case("assertion", "run.assertion", "an assertion does not hold", "./a", "gcc a.c -o a", ASSERT),
    Case(
        "double-free", "run.heap_corruption", "memory freed twice", "./f", "gcc -w f.c -o f", FREE
    ),
    Case(
        "uncaught",
        "run.uncaught_exception",
        "vector::at beyond the end",
        "./o",
        "g++ o.cpp -o o",
        OUT,
    ),
    Case(
        "asan",
        "run.sanitizer",
        "a read beyond the heap, under AddressSanitizer",
        "./h",
        "gcc -g -fsanitize=address h.c -o h",
        SANITIZE,
    ),
    Case(
        "stack-smashing",
        "run.buffer_overflow",
        "a copy beyond an array on the stack",
        "./s input-of-more-than-three-letters",
        "gcc -w -O0 -fstack-protector-all s.c -o s",
        SMASH,
    ),
    Case(
        "bounds",
        "run.array_bounds",
        "an index beyond the end, -fcheck=bounds",
        "echo 11 | ./b",
        "gfortran -fcheck=bounds b.f90 -o b",
        BOUNDS,
    ),
    Case(
        "no-input",
        "run.missing_file",
        "the input file is not there",
        "./r",
        "gfortran r.f90 -o r",
        NO_FILE,
    ),
    Case(
        "short-input",
        "run.end_of_file",
        "the input ends too early",
        "echo 1 2 3 | ./r",
        "gfortran r.f90 -o r",
        SHORT,
    ),
    Case(
        "no-python-module",
        "environment.python_module",
        "a Python package is not installed",
        "python3 n.py",
        files=NUMPY,
    ),
)
