"""Held-out failures of programs that run into limits: of time, memory, disks, files, rights."""

from __future__ import annotations

from planted.blind_common import job
from planted.case import Case

THREADS = """#include <stdio.h>
int main(void)
{
#pragma omp parallel
#pragma omp critical
    puts("thread");
}
"""
TWO_OMP = """import ctypes
import os

first = ctypes.CDLL(os.path.abspath("libomp.so.5"))
print("threads", first.omp_get_max_threads(), flush=True)
second = ctypes.CDLL(os.path.abspath("libiomp5.so"))
print("threads", second.omp_get_max_threads())
"""
INPUT = """#include <stdio.h>
#include <stdlib.h>
int main(int argc, char **argv)
{
    FILE *f = fopen(argv[1], "r");
    if (!f) {
        perror(argv[1]);
        return 2;
    }
    return 0;
}
"""
TMPFS = "mkdir disk && mount -t tmpfs -o size={size}{more} none disk\n"


def inside(script: str, size: str = "128k", more: str = "") -> dict[str, str]:
    return {"inside.sh": TMPFS.format(size=size, more=more) + script + "\n"}


CASES = (
    Case(
        "bl-timeout",
        "run.stopped by timeout",
        "a loop without end",
        job("timeout --verbose 1 ./main"),
        "gcc main.c -o main",
        {"main.c": 'int main(void) { for (;;) __asm__ volatile("pause"); }\n'},
    ),
    Case(
        "bl-open-files",
        "run.too many open files",
        "a limit of 24",
        "ulimit -n 24\npython3 many.py",
        files={"many.py": "files = [open(f'part-{i}', 'w') for i in range(64)]\n"},
    ),
    Case(
        "bl-file-size",
        "run.a file larger than the limit",
        "ulimit -f",
        "ulimit -f 64\ndd if=/dev/zero of=checkpoint bs=1k count=200",
    ),
    Case(
        "bl-cpu-time",
        "run.the limit of CPU time is exceeded",
        "ulimit -t, as on login nodes",
        "ulimit -S -t 1\npython3 -c 'while True: pass'",
    ),
    Case(
        "bl-thread-limit",
        "run.a thread cannot be made",
        "no address space for 64 stacks",
        "ulimit -v 300000\nexport OMP_NUM_THREADS=64 OMP_STACKSIZE=64M\n./main",
        "gcc -fopenmp main.c -o main",
        {"main.c": THREADS},
    ),
    Case(
        "bl-two-omp",
        "run.two OpenMP runtimes in one process",
        "libomp twice, under two names",
        job("python3 two.py"),
        "cp $(readlink -f /usr/lib/llvm-14/lib/libomp.so.5) libomp.so.5\ncp"
        " libomp.so.5 libiomp5.so",
        {"two.py": TWO_OMP},
    ),
    Case(
        "bl-argument-list",
        "run.too many arguments",
        "the names of 200,000 files",
        "cat $(seq -f 'snapshots/field-%09.0f.dat' 1 200000) > all.dat",
    ),
    Case(
        "bl-input-file",
        "run.the input file is not there",
        "a C program and its deck",
        job("./main case7/run.inp"),
        "gcc main.c -o main",
        {"main.c": INPUT},
    ),
    Case(
        "bl-text-busy",
        "run.a program that is being written",
        "a copy that goes on",
        "exec 9>>./solver\n./solver",
        "cp $(type -P true) solver",
    ),
    Case(
        "bl-disk-copy",
        "run.the disk is full, told by cp",
        "a checkpoint on 128 kB",
        "unshare --mount bash inside.sh",
        "head -c 400000 /dev/zero > checkpoint-0007.h5",
        inside("echo copying back\ncp checkpoint-0007.h5 disk/"),
    ),
    Case(
        "bl-disk-python",
        "run.the disk is full, told by Python",
        "results on 64 kB",
        "unshare --mount bash inside.sh",
        files=inside("python3 -c \"open('disk/r.json', 'w').write('x' * 10**6)\"", "64k"),
    ),
    Case(
        "bl-read-only",
        "run.a file system that is read-only",
        "HOME on compute nodes",
        "unshare --mount bash inside.sh",
        files=inside(
            "cp inside.sh disk/\nmkdir disk/results && echo 1 > disk/results/a", "1m", ",ro"
        ),
    ),
    Case(
        "bl-not-allowed",
        "run.no right to write a file",
        "somebody else's folder",
        "chmod 755 .\nsetpriv --reuid 65534 --regid 65534 --clear-groups"
        " bash -c 'echo nodes,gflops > results.csv'",
    ),
)
