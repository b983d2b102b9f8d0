"""Held-out failures of MPI: Open MPI and MPICH, their launchers, and programs that use them."""

from __future__ import annotations

from planted.blind_common import job
from planted.case import RANKS, Case

FRAME = """#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
int main(int argc, char **argv)
{
    int rank, size;
    double x[64] = {0};
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    printf("rank %d of %d\\n", rank, size);
    fflush(stdout);
BODY
    MPI_Finalize();
    return x[0] > 1e9;
}
"""
SIZES = """    if (size != 2) {
        fprintf(stderr, "ERROR: this case needs exactly 2 ranks, have %d\\n", size);
        return 3;
    }"""
TRUNCATE = """    if (rank == 0)
        MPI_Send(x, 64, MPI_DOUBLE, 1, 7, MPI_COMM_WORLD);
    else
        MPI_Recv(x, 8, MPI_DOUBLE, 0, 7, MPI_COMM_WORLD, MPI_STATUS_IGNORE);"""
ABORT = """    if (rank == 1) {
        fprintf(stderr, "rank 1: negative density in cell 4711\\n");
        MPI_Abort(MPI_COMM_WORLD, 9);
    }
    MPI_Barrier(MPI_COMM_WORLD);"""
BAD_RANK = "    MPI_Send(x, 1, MPI_DOUBLE, rank + 1, 0, MPI_COMM_WORLD);"
BAD_TYPE = """    MPI_Datatype column;
    MPI_Type_vector(8, 1, 8, MPI_DOUBLE, &column);
    if (rank == 0)
        MPI_Send(x, 1, column, size - 1, 0, MPI_COMM_WORLD);
    MPI_Barrier(MPI_COMM_WORLD);"""
BAD_COUNT = "    MPI_Bcast(x, -8, MPI_DOUBLE, 0, MPI_COMM_WORLD);"
NULL_COMM = """    MPI_Comm half;
    MPI_Comm_split(MPI_COMM_WORLD, rank ? MPI_UNDEFINED : 0, rank, &half);
    MPI_Barrier(half);"""
CART = """    int dims[2] = {2, 2}, periods[2] = {0, 0};
    MPI_Comm grid;
    MPI_Cart_create(MPI_COMM_WORLD, 2, dims, periods, 0, &grid);"""
SEGV = """    if (rank == 1)
        *(volatile int *)0 = 1;
    MPI_Barrier(MPI_COMM_WORLD);"""
KILLED = """    if (rank == 0)
        raise(SIGKILL);
    MPI_Barrier(MPI_COMM_WORLD);"""
EXIT = """    if (rank == 1)
        exit(6);
    MPI_Barrier(MPI_COMM_WORLD);"""
QUIET_EXIT = """    if (rank == 1)
        exit(0);
    MPI_Barrier(MPI_COMM_WORLD);"""
DEADLOCK = """    MPI_Recv(x, 1, MPI_DOUBLE, (rank + 1) % size, 0, MPI_COMM_WORLD,
             MPI_STATUS_IGNORE);
    MPI_Send(x, 1, MPI_DOUBLE, (rank + 1) % size, 0, MPI_COMM_WORLD);"""
NO_FILE = """    MPI_File f;
    int status = MPI_File_open(MPI_COMM_WORLD, "restart.h5", MPI_MODE_RDONLY, MPI_INFO_NULL, &f);
    if (status != MPI_SUCCESS) {
        char text[MPI_MAX_ERROR_STRING];
        int length;
        MPI_Error_string(status, text, &length);
        fprintf(stderr, "rank %d: restart.h5: %s\\n", rank, text);
        MPI_Abort(MPI_COMM_WORLD, 2);
    }"""
IN_PLACE = "    MPI_Allreduce(x, x, 4, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);"
EARLY = """#include <mpi.h>
int main(int argc, char **argv)
{
    int rank;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Init(&argc, &argv);
    MPI_Finalize();
    return 0;
}
"""
LATE = """    MPI_Finalize();
    MPI_Barrier(MPI_COMM_WORLD);
    return 0;"""
OPEN, MPICH = "openmpi", "mpich"
RUN = {OPEN: "mpirun.openmpi --oversubscribe", MPICH: "mpiexec.hydra"}


def source(body: str) -> str:
    return body if body.startswith("#") else FRAME.replace("BODY", body)


def program(
    name: str,
    kind: str,
    planted: str,
    body: str,
    mpi: str = OPEN,
    run: str = "",
    ranks: int = 2,
    says: str = "",
) -> Case:
    text = source(body).replace("#include <stdlib.h>", "#include <signal.h>\n#include <stdlib.h>")
    return Case(
        name,
        kind,
        planted,
        run or job(f"{RUN[mpi]} -n {ranks} ./wave"),
        f"mpicc.{mpi} -g -w wave.c -o wave",
        {"wave.c": text},
        RANKS,
        says,
    )


def launch(name: str, kind: str, planted: str, run: str, **more: str) -> Case:
    return Case(name, kind, planted, run, files=more, env=RANKS)


LAUNCH_CASES = (
    launch(
        "bl-mpi-slots",
        "mpi.more ranks than slots",
        "64 ranks on 2 cores",
        job("mpirun.openmpi -np 64 hostname"),
    ),
    Case("bl-mpi-root", "mpi.started by root", "in a container", "mpirun.openmpi -n 2 hostname"),
    launch(
        "bl-mpi-nothing",
        "mpi.mpirun without a program",
        "a variable that is empty",
        "EXE=\nmpirun.openmpi -np 2 $EXE",
    ),
    launch(
        "bl-mpi-no-program",
        "mpi.the program is not there",
        "a wrong path",
        job("mpirun.openmpi -np 2 ./bin/wave -i input.nml"),
    ),
    launch(
        "bl-mpich-no-program",
        "mpi.the program is not there",
        "a wrong path, by Hydra",
        "mpiexec.hydra -n 2 ./bin/wave -i input.nml",
    ),
    launch(
        "bl-mpi-option",
        "mpi.an option that the launcher does not know",
        "an option of srun",
        job("mpirun.openmpi --ntasks-per-node=2 -np 2 hostname"),
    ),
    launch(
        "bl-mpich-option",
        "mpi.an option that the launcher does not know",
        "an option of Open MPI for Hydra",
        "mpiexec.hydra --oversubscribe -n 2 hostname",
    ),
    launch(
        "bl-mpi-hostfile",
        "mpi.the host file is not there",
        "written by a step that failed",
        "mpirun.openmpi --hostfile hosts.txt -np 2 hostname",
    ),
    launch(
        "bl-mpi-host",
        "mpi.a host that cannot be reached",
        "node017 is known to nobody",
        job("mpirun.openmpi --host node017.invalid,node018.invalid -np 2 hostname"),
    ),
    launch(
        "bl-mpich-host",
        "mpi.a host that cannot be reached",
        "the same by Hydra",
        "timeout 3 mpiexec.hydra -hosts node017.invalid -n 2 hostname",
    ),
    launch(
        "bl-mpi-binding",
        "mpi.ranks cannot be bound as asked",
        "8 cores for each rank",
        "mpirun.openmpi --map-by slot:PE=8 --bind-to core -np 2 hostname",
    ),
    launch(
        "bl-mpi-map-policy",
        "mpi.a mapping that the launcher does not know",
        "misspelt",
        "mpirun.openmpi --map-by ppr:2:nodes -np 2 hostname",
    ),
    launch(
        "bl-mpi-session",
        "mpi.the session folder cannot be made",
        "TMPDIR of another node",
        job("export TMPDIR=/proc/scratch/job-4711\nmpirun.openmpi -np 2 hostname"),
    ),
)
PROGRAM_CASES = (
    program(
        "bl-mpi-btl",
        "mpi.a transport that is not installed",
        "btl mx of an old script",
        EXIT,
        run=job("mpirun.openmpi --oversubscribe --mca btl mx,self -n 2 ./wave"),
        says="component",
    ),
    program(
        "bl-mpi-no-path",
        "mpi.processes cannot reach each other",
        "btl self alone",
        BAD_TYPE.replace("MPI_Type_vector", "column = MPI_DOUBLE; if (0) MPI_Type_vector"),
        run="mpirun.openmpi --oversubscribe --mca pml ob1 --mca btl self -n 2 ./wave",
    ),
    program(
        "bl-mpi-pml",
        "mpi.a transport cannot be chosen",
        "pml cm without a fabric",
        EXIT,
        run="mpirun.openmpi --oversubscribe --mca pml cm --mca mtl psm2 -n 2 ./wave",
    ),
    program(
        "bl-mpi-other-launcher",
        "mpi.started by the launcher of another MPI",
        "a program of MPICH by mpirun of Open MPI",
        SIZES,
        MPICH,
        job("mpirun.openmpi --oversubscribe -n 2 ./wave"),
    ),
    program(
        "bl-mpich-other-launcher",
        "mpi.started by the launcher of another MPI",
        "a program of Open MPI by Hydra",
        SIZES,
        OPEN,
        "mpiexec.hydra -n 2 ./wave",
    ),
    program("bl-mpi-ranks", "mpi.a number of ranks that the program refuses", "3", SIZES, ranks=3),
    program("bl-mpi-abort", "mpi.MPI_Abort was called", "an application gives up", ABORT),
    program("bl-mpich-abort", "mpi.MPI_Abort was called", "the same by MPICH", ABORT, MPICH),
    program(
        "bl-mpi-truncate",
        "mpi.a message larger than its buffer",
        "64 for 8",
        TRUNCATE,
        says="truncated",
    ),
    program(
        "bl-mpich-truncate",
        "mpi.a message larger than its buffer",
        "64 for 8",
        TRUNCATE,
        MPICH,
        says="truncated",
    ),
    program(
        "bl-mpi-bad-rank", "mpi.a rank that is not there", "the last has no neighbour", BAD_RANK
    ),
    program(
        "bl-mpich-bad-rank",
        "mpi.a rank that is not there",
        "the same",
        BAD_RANK,
        MPICH,
        says="Invalid rank",
    ),
    program("bl-mpi-type", "mpi.a datatype that was not committed", "a column", BAD_TYPE),
    program(
        "bl-mpich-count", "mpi.a negative count", "an overflow", BAD_COUNT, MPICH, says="egative"
    ),
    program("bl-mpi-null-comm", "mpi.a communicator that is null", "after a split", NULL_COMM),
    program("bl-mpi-cart", "mpi.a grid that does not fit the ranks", "2 x 2 for 2", CART),
    program(
        "bl-mpich-cart",
        "mpi.a grid that does not fit the ranks",
        "the same",
        CART,
        MPICH,
        says="Cart",
    ),
    program(
        "bl-mpich-alias",
        "mpi.the same buffer for both ends",
        "no MPI_IN_PLACE",
        IN_PLACE,
        MPICH,
        says="aliased",
    ),
    program("bl-mpi-segv", "mpi.a rank died of a segmentation fault", "rank 1", SEGV),
    program("bl-mpich-segv", "mpi.a rank died of a segmentation fault", "rank 1", SEGV, MPICH),
    program("bl-mpi-kill", "mpi.a rank was killed", "signal 9, as for lack of memory", KILLED),
    program("bl-mpi-exit", "mpi.a rank ended with an error", "exit(6)", EXIT),
    program("bl-mpi-no-finalize", "mpi.a rank ended without MPI_Finalize", "exit(0)", QUIET_EXIT),
    program(
        "bl-mpi-timeout",
        "mpi.a deadlock, ended by the launcher's time limit",
        "all receive first",
        DEADLOCK,
        run=job("mpirun.openmpi --oversubscribe --timeout 3 -n 2 ./wave"),
    ),
    program(
        "bl-mpich-deadlock",
        "mpi.a deadlock, ended by timeout",
        "all receive first",
        DEADLOCK,
        MPICH,
        job("timeout --verbose 3 mpiexec.hydra -n 2 ./wave"),
    ),
    program("bl-mpi-early", "mpi.MPI used before MPI_Init", "the rank first", EARLY),
    program(
        "bl-mpich-late",
        "mpi.MPI used after MPI_Finalize",
        "a barrier",
        LATE,
        MPICH,
        says="finalizing",
    ),
    program("bl-mpi-file", "mpi.a file that MPI-IO does not find", "a restart file", NO_FILE),
)
CASES = (*LAUNCH_CASES, *PROGRAM_CASES)
