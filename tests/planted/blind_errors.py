"""Held-out failures that a runtime library or an interpreter tells: Fortran, Python, others."""

from __future__ import annotations

import sys

from planted.blind_common import job
from planted.case import Case

PYTHON = {"BLIND_PYTHON": sys.executable}
NUMPY = '"$BLIND_PYTHON" main.py'


def fortran(name: str, kind: str, planted: str, body: str, data: str = "", flags: str = "") -> Case:
    source = f"program main\n  implicit none\n{body}end program\n"
    files = {"main.f90": source, "input.dat": data}
    return Case(name, kind, planted, job("./main"), f"gfortran -g {flags} main.f90 -o main", files)


def python(name: str, kind: str, planted: str, source: str, run: str = "python3 main.py") -> Case:
    return Case(name, kind, planted, run, files={"main.py": source}, env=PYTHON)


FORTRAN_CASES = (
    fortran(
        "bl-f-eof",
        "run.Fortran reads past the end of a file",
        "fewer rows than said",
        "  real(8) :: x(4)\n  integer :: i\n  open (10, file='input.dat', status='old')\n"
        "  do i = 1, 4\n    read (10, *) x(i)\n  end do\n",
        "1.0\n2.0\n",
    ),
    fortran(
        "bl-f-bounds",
        "run.a Fortran index out of bounds",
        "-fcheck=bounds",
        "  real(8) :: u(10)\n  integer :: i\n  u = 0\n  do i = 1, 10\n    u(i) = u(i+1)\n  end do\n"
        "  print *, u\n",
        flags="-fcheck=all",
    ),
    fortran(
        "bl-f-allocated",
        "run.a Fortran array allocated twice",
        "restart allocates again",
        "  real(8), allocatable :: u(:)\n  allocate (u(3))\n  u = 1\n  allocate (u(5))\n",
    ),
    fortran(
        "bl-f-memory",
        "run.Fortran cannot allocate",
        "8 exabytes",
        "  real(8), allocatable :: u(:, :)\n  integer(8) :: n = 2000000000\n"
        "  allocate (u(n, 400000000))\n  u(1, 1) = 1\n  print *, u(1, 1)\n",
    ),
    fortran(
        "bl-f-namelist",
        "run.a Fortran namelist that does not fit",
        "a misspelt parameter",
        "  integer :: steps = 1\n  real(8) :: dt = 1\n  namelist /control/ steps, dt\n"
        "  open (10, file='input.dat')\n  read (10, nml=control)\n",
        "&control\n steps = 10\n time_step = 0.1\n/\n",
    ),
    fortran(
        "bl-f-bad-real",
        "run.Fortran reads text where a number should be",
        "a comma in a number",
        "  real(8) :: x\n  open (10, file='input.dat')\n  read (10, *) x\n",
        "viscosity 0.01\n",
    ),
    fortran(
        "bl-f-no-file",
        "run.Fortran does not find its input file",
        "restart.dat",
        "  open (10, file='restart.dat', status='old', form='unformatted')\n",
    ),
    fortran(
        "bl-f-record",
        "run.a Fortran unformatted file with other records",
        "written on another machine",
        "  real(8) :: x(4)\n  open (10, file='input.dat', form='unformatted')\n  read (10) x\n",
        "not a record at all, but text\n",
    ),
    fortran(
        "bl-f-stop",
        "run.a program ends itself with an error",
        "ERROR STOP of the application",
        "  integer :: n = 7\n  print *, 'grid', n\n"
        "  if (mod(n, 2) /= 0) error stop 'grid size must be even'\n",
    ),
    fortran(
        "bl-f-format",
        "run.a Fortran format that does not fit",
        "an integer with an F format",
        "  integer :: n = 7\n  character(8) :: f = '(F8.3)'\n  write (*, f) n\n",
    ),
)
PYTHON_CASES = (
    python(
        "bl-py-module",
        "environment.a Python package is not there",
        "mpi4py",
        "import os\n\nfrom mpi4py import MPI\n\nprint(MPI.COMM_WORLD.rank, os.getpid())\n",
        job("python3 -S main.py"),
    ),
    python(
        "bl-py-memory",
        "run.Python runs out of memory",
        "a limit of address space",
        "x = [0] * (1 << 30)\n",
        "ulimit -v 2000000\npython3 main.py",
    ),
    python(
        "bl-np-memory",
        "run.numpy cannot allocate an array",
        "a matrix of 700 PiB",
        "import numpy as np\n\na = np.zeros((10_000_000, 10_000_000))\nprint(a.shape)\n",
        job(NUMPY),
    ),
    python(
        "bl-np-shape",
        "run.numpy arrays whose shapes do not fit",
        "matmul of 3x4 and 3x4",
        "import numpy as np\n\n\ndef residual(a, x):\n    return a @ x\n\n\n"
        "print(residual(np.ones((3, 4)), np.ones((3, 4))))\n",
        NUMPY,
    ),
    python(
        "bl-np-broadcast",
        "run.numpy arrays that cannot be broadcast",
        "a halo too many",
        "import numpy as np\n\nu = np.zeros((64, 64))\nu[1:-1, 1:-1] += np.ones((64, 64))\n",
        job(NUMPY),
    ),
    python(
        "bl-py-key",
        "run.a Python program with an error of its own",
        "a key that a results file lacks",
        "import json\n\nrow = json.loads('{\"gflops\": 12.5}')\nprint(row['seconds'])\n",
    ),
    python(
        "bl-py-json",
        "run.Python cannot parse a damaged results file",
        "cut in the middle",
        "import json\n\nprint(json.loads('{\"gflops\": [12.5, 11'))\n",
        job("python3 main.py"),
    ),
    python(
        "bl-py-two",
        "run.Python 2 code run by Python 3",
        "print without parentheses",
        "import sys\nprint 'running on', sys.platform\n",
    ),
    python(
        "bl-py-indent",
        "run.Python source with wrong indentation",
        "tabs and blanks",
        "def f(n):\n    if n:\n\treturn 1\n    return 0\n",
        job("python3 main.py"),
    ),
    python(
        "bl-py-recursion",
        "run.Python recurses too deeply",
        "a tree with a cycle",
        "def depth(n):\n    return depth(n) + 1\n\n\nprint(depth(0))\n",
    ),
    python(
        "bl-py-decode",
        "run.Python reads bytes that are no text",
        "Latin-1 in an input deck",
        "open('deck', 'wb').write(b'Temp\\xe9rature 3\\n')\nprint(open('deck',"
        " encoding='utf-8').read())\n",
    ),
    python(
        "bl-py-pool",
        "run.a worker process of Python died",
        "killed in a pool",
        "import os\nfrom concurrent.futures import ProcessPoolExecutor\n\n\n"
        "def work(n):\n    os.kill(os.getpid(), 9)\n\n\n"
        "if __name__ == '__main__':\n    with ProcessPoolExecutor(2) as pool:\n"
        "        print(list(pool.map(work, range(4))))\n",
        job("python3 main.py"),
    ),
    python(
        "bl-py-subprocess",
        "run.a program that Python starts is not there",
        "xhpl in a driver",
        "import subprocess\n\nsubprocess.run(['./xhpl', '-n', '100'], check=True)\n",
    ),
    python(
        "bl-py-connect",
        "run.nobody answers at an address",
        "a server that is not up",
        "import socket\n\nsocket.create_connection(('127.0.0.1', 9), 2)\n",
        job("python3 main.py"),
    ),
    Case(
        "bl-perl-module",
        "environment.a Perl module is not there",
        "XML::LibXML of a post-processing",
        "perl post.pl results.xml",
        files={"post.pl": "use strict;\nuse Site::XML::Reader;\nprint 1;\n"},
    ),
)
CASES = (*FORTRAN_CASES, *PYTHON_CASES)
