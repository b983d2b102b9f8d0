"""Failures in the middle of long logs: warnings before them, other work after them."""

from __future__ import annotations

from planted.case import Case
from planted.configuring import lists
from planted.successes import FLOOD

NOISE = 'for i in $(seq 30); do sed "s/fatal/fatal$i/; s/^int main.*//" error.c > part$i.c; done\n'
HEAD = "CC = gcc\nCFLAGS = -O1 -Wall -Wextra -Wconversion\nPARTS = $(patsubst %,part%.o,"
HEAD += "$(shell seq 30))\n"
HEADER = {
    "Makefile": HEAD + "wave: $(PARTS) last.o\n\t$(CC) -o $@ $^\n",
    "last.c": '#include <errno.h>\n#include "netcdf.h"\nint main(void) { return 0; }\n',
}
SYMBOL = {
    "Makefile": HEAD + "wave: $(PARTS) last.o\n\t$(CC) -o $@ $^\n",
    "last.c": "void dsyrk_(void);\nint main(void) { dsyrk_(); return 0; }\n",
}
TESTS = {
    "tests.sh": 'for i in $(seq 200); do echo "test $i error_norm=1e-1$((i % 7)) PASS"; done\n'
    './crash\nstatus=$?\nfor i in $(seq 201 300); do echo "test $i PASS"; done\n'
    "echo '1 of 301 tests failed'\nexit $status\n",
    "crash.c": "#include <string.h>\nint main(int n, char **v) { return strlen(v[n]) == 3; }\n",
}
CTEST = "enable_testing()\nadd_executable(good good.c)\nadd_executable(bad bad.c)\n"
CTEST += "add_test(NAME good COMMAND good)\nadd_test(NAME bad COMMAND bad)\n"
PROGRAMS = {
    "good.c": "int main(void) { return 0; }\n",
    "bad.c": "#include <assert.h>\nint main(int n, char **v) { assert(n == 9 || !v); return 0; }\n",
}
CMAKE_BUILD = lists("find_package(SuperLU)\nadd_executable(w main.c k.c)\n") | {
    "k.c": "#include <immintrin.h>\n__m512i k(__m512i a) { return _mm512_add_epi64(a, a); }\n"
}
LOST = {
    "post.py": "for i in range(500):\n"
    "    print('WARNING: step', i, 'slow convergence, error', 0.1)\n"
    "open('restart/step.bin', 'rb')\n"
}

CASES = (
    Case(
        "buried-header",
        "compile.missing_header",
        "the last of 31 sources lacks its header",
        "make -k",
        NOISE,
        FLOOD | HEADER,
    ),
    Case(
        "buried-symbol",
        "link.blas",
        "no BLAS at the end of 31 loud sources",
        "make -j2",
        NOISE,
        FLOOD | SYMBOL,
    ),
    Case(
        "buried-crash",
        "run.segfault",
        "one of 301 tests crashes",
        "bash tests.sh",
        "gcc -O0 -w crash.c -o crash",
        TESTS,
    ),
    Case(
        "ctest",
        "run.assertion",
        "a test aborts under ctest",
        "cd build && ctest --output-on-failure",
        "cmake -S . -B build && cmake --build build",
        lists(CTEST) | PROGRAMS,
    ),
    Case(
        "cmake-build",
        "compile.target_feature",
        "AVX-512 without its option, under CMake",
        "cmake -S . -B build && cmake --build build",
        files=CMAKE_BUILD,
    ),
    Case(
        "buried-no-file",
        "run.missing_file",
        "a restart file is missing, after 500 warnings",
        "python3 post.py",
        files=LOST,
    ),
)
