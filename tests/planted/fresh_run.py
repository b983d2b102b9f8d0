"""A third held-out set: failures of running, of MPI, and of what surrounds both."""

from __future__ import annotations

from planted.blind_common import job
from planted.blind_errors import PYTHON
from planted.blind_mpi import FRAME
from planted.case import RANKS, Case

DEALLOCATE = """program free
  implicit none
  real, allocatable :: halo(:)
  integer :: ierr
  print *, 'step 1'
  deallocate (halo)
end program
"""
SHAPES = """program shapes
  implicit none
  real, allocatable :: a(:), b(:)
  integer :: n
  n = 4
  allocate (a(n), b(n - 1))
  b = 1
  a(1:n) = b(:) + a(1:n)
  print *, a
end program
"""
PURE = """#include <cstdio>
struct solver {
    solver() { setup(); }
    void setup() { step(); }
    virtual void step() = 0;
    virtual ~solver() = default;
};
struct cg : solver { void step() override {} };
int main() { std::puts("setting up the solver"); cg s; }
"""
JOIN = """#include <cstdio>
#include <thread>
int main()
{
    std::thread io([] {});
    std::puts("wrote step 10");
}
"""
TRAP = """#include <stdio.h>
int main(void)
{
    puts("checking the mesh");
    fflush(stdout);
    __asm__ volatile("int3");
    return 0;
}
"""
TEAM = """#include <stdio.h>
int main(void)
{
    puts("starting 4 threads");
    fflush(stdout);
#pragma omp parallel num_threads(4)
    puts("thread");
    return 0;
}
"""
WHEEL = """import sys, zipfile
name, tag, needs = sys.argv[1:4]
with zipfile.ZipFile(f"{name}-1.0-{tag}.whl", "w") as made:
    info = f"{name}-1.0.dist-info/"
    made.writestr(f"{name}.py", "")
    made.writestr(info + "METADATA",
                  f"Metadata-Version: 2.1\\nName: {name}\\nVersion: 1.0\\n{needs}\\n")
    made.writestr(info + "WHEEL",
                  f"Wheel-Version: 1.0\\nGenerator: t\\nRoot-Is-Purelib: true\\nTag: {tag}\\n")
    made.writestr(info + "RECORD", "")
"""
NUMPY_FLOAT = """import numpy as np
print("reading grid")
field = np.zeros((8, 8), dtype=np.float)
"""
IMPORT_NAME = """import logging
logging.warning("optional plot support is not there")
from fractions import gcd
print(gcd(12, 8))
"""
RMA = """    MPI_Win win;
    MPI_Win_create(x, sizeof x, 8, MPI_INFO_NULL, MPI_COMM_WORLD, &win);
    MPI_Put(x, 1, MPI_DOUBLE, 0, 0, 1, MPI_DOUBLE, win);
    MPI_Win_free(&win);"""
TAG = "    MPI_Send(x, 1, MPI_DOUBLE, 0, -77, MPI_COMM_WORLD);"
ROOT = "    MPI_Bcast(x, 8, MPI_DOUBLE, size, MPI_COMM_WORLD);"
OP = "    MPI_Allreduce(MPI_IN_PLACE, x, 8, MPI_DOUBLE, MPI_OP_NULL, MPI_COMM_WORLD);"
RUN = "mpirun.{0} -np 2 ./app"


def program(name: str, kind: str, planted: str, body: str, mpi: str) -> Case:
    # The launchers differ in nothing but their suffix.
    return Case(
        name, kind, planted, job(RUN.format(mpi)), f"mpicc.{mpi} main.c -o app",
        {"main.c": FRAME.replace("BODY", body)}, RANKS,
    )  # fmt: skip


CASES = (
    Case(
        "fr-deallocate", "run.Fortran frees an array that was not allocated", "no allocate",
        job("./free"), "gfortran -g free.f90 -o free", {"free.f90": DEALLOCATE},
    ),
    Case(
        "fr-shapes", "run.Fortran arrays whose shapes do not fit", "3 and 4 elements",
        job("./shapes"), "gfortran -g -fcheck=all shapes.f90 -o shapes", {"shapes.f90": SHAPES},
    ),
    Case(
        "fr-pure", "run.a pure virtual function was called", "called while constructing",
        job("./app"), "g++ -O0 app.cpp -o app", {"app.cpp": PURE},
    ),
    Case(
        "fr-join", "run.a thread of C++ was neither joined nor detached", "no join",
        job("./app"), "g++ -O1 -pthread app.cpp -o app", {"app.cpp": JOIN},
    ),
    Case(
        "fr-trap", "run.a trap that the code or a checker set", "int3",
        job("./app"), "gcc -O1 app.c -o app", {"app.c": TRAP},
    ),
    Case(
        "fr-usr1", "run.ended by a signal that was meant as a warning", "USR1",
        job("sleep 30 & pid=$!\nkill -USR1 $pid\nwait $pid"),
    ),
    Case(
        "fr-omp-stack", "run.the stacks of OpenMP's threads are larger than the memory",
        "OMP_STACKSIZE", job("ulimit -v 4000000\nOMP_STACKSIZE=900G ./app"),
        "gcc -fopenmp app.c -o app", {"app.c": TEAM},
    ),
    Case(
        "fr-np-float", "run.a name that numpy no longer has", "numpy.float",
        job('"$BLIND_PYTHON" fields.py'), files={"fields.py": NUMPY_FLOAT}, env=PYTHON,
    ),
    Case(
        "fr-import-name", "run.a name that a Python module does not have", "fractions.gcd",
        job("python3 tool.py"), files={"tool.py": IMPORT_NAME},
    ),
    program("fr-rma", "mpi.one-sided access outside of an epoch", "no fence", RMA, "openmpi"),
    program("fr-tag", "mpi.a tag that is not allowed", "-77", TAG, "mpich"),
    program("fr-root", "mpi.a root that is not there", "the size", ROOT, "openmpi"),
    program("fr-op", "mpi.an operation that is null", "MPI_OP_NULL", OP, "mpich"),
    Case(
        "fr-rsh", "mpi.the program that starts ranks elsewhere is not there", "no ssh",
        job("mpirun.openmpi --mca plm_rsh_agent nosuchssh --host node1,node2 -np 2 hostname"),
        env=RANKS,
    ),
    Case(
        "fr-wdir", "mpi.the working folder of the ranks is not there", "-wdir",
        job("mpirun.openmpi -np 2 -wdir /scratch/run42 hostname"), env=RANKS,
    ),
    Case(
        "fr-wheel-tag", "environment.a wheel for another Python or machine", "cp27",
        "python3 -m pip install --no-index ./wave-1.0-cp27-none-any.whl",
        "python3 wheel.py wave cp27-none-any ''", {"wheel.py": WHEEL},
        {"PIP_BREAK_SYSTEM_PACKAGES": "1"},
    ),
    Case(
        "fr-requires", "environment.a package that wants another Python", "Requires-Python",
        job("python3 -m pip install --no-index --target there ./wave-1.0-py3-none-any.whl"),
        "python3 wheel.py wave py3-none-any 'Requires-Python: >=3.99'", {"wheel.py": WHEEL},
    ),
    Case(
        "fr-hashes", "environment.a package whose hash is another one", "--require-hashes",
        "python3 -m pip install --no-index --find-links . --target there -r requirements.txt",
        "python3 wheel.py wave py3-none-any ''",
        {"wheel.py": WHEEL,
         "requirements.txt": f"wave==1.0 --hash=sha256:{'ab' * 32}\n"},
    ),
    Case(
        "fr-owner", "environment.a git repository of another owner", "dubious ownership",
        "cd repo && git describe --tags > ../version.txt && make",
        "git init -q repo && chown -R 65534 repo", env={"HOME": "/nonexistent"},
    ),
    Case(
        "fr-lfs", "environment.git has no large file storage", "no git-lfs",
        "git -C repo -c filter.lfs.required=true -c filter.lfs.smudge='git-lfs smudge -- %f'"
        " checkout -f main",
        "git init -q -b main repo && cd repo && echo '*.bin filter=lfs' > .gitattributes"
        " && echo pointer > mesh.bin && git add . && git -c user.name=a -c user.email=a@b"
        " commit -qm mesh && rm mesh.bin",
    ),
)  # fmt: skip
