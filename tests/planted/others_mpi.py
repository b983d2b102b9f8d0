"""Failures of MPI programs under MPICH, and of hosts that cannot be reached."""

from __future__ import annotations

from planted.case import RANKS, Case
from planted.mpi_runs import CRASH, EARLY, LONG, SIZE, STRANGER, program

HYDRA = "mpiexec.hydra -np 2 "
BUILD = "mpicc.mpich m.c -o m"
ABORT = "if (rank == 0) MPI_Abort(MPI_COMM_WORLD, 42);\n    MPI_Barrier(MPI_COMM_WORLD);"
NULL_COMM = "MPI_Barrier(MPI_COMM_NULL);"

CASES = (
    Case(
        "hydra-no-program",
        "mpi.no_program",
        "MPICH: a program that is not there",
        HYDRA + "./solver",
    ),
    Case(
        "hydra-abort",
        "mpi.abort",
        "MPICH: a rank calls MPI_Abort",
        HYDRA + "./m",
        BUILD,
        program(ABORT),
    ),
    Case(
        "hydra-truncate",
        "mpi.truncate",
        "MPICH: a message longer than the buffer",
        HYDRA + "./m",
        BUILD,
        program(LONG),
    ),
    Case(
        "hydra-rank",
        "mpi.invalid_rank",
        "MPICH: a message to rank 99",
        HYDRA + "./m",
        BUILD,
        program(STRANGER),
    ),
    Case(
        "hydra-communicator",
        "mpi.communicator",
        "MPICH: a null communicator",
        HYDRA + "./m",
        BUILD,
        program(NULL_COMM),
    ),
    Case(
        "hydra-signal",
        "run.segfault",
        "MPICH: a rank dies of a null pointer",
        HYDRA + "./m",
        BUILD,
        program(CRASH),
    ),
    Case(
        "hydra-killed",
        "run.killed",
        "MPICH: a rank is killed",
        HYDRA + "./m",
        BUILD,
        program('if (rank == 1) system("kill -9 $PPID");\n    MPI_Barrier(MPI_COMM_WORLD);'),
    ),
    Case(
        "hydra-mixed",
        "mpi.mixed_launcher",
        "Open MPI's program under MPICH's launcher",
        HYDRA + "./m",
        "mpicc.openmpi m.c -o m",
        program(SIZE),
        RANKS,
    ),
    Case(
        "hydra-before-init",
        "mpi.not_initialized",
        "MPICH: a call before MPI_Init",
        HYDRA + "./m",
        BUILD,
        EARLY,
    ),
    Case(
        "ompi-no-host",
        "mpi.host",
        "Open MPI: a host that cannot be reached",
        "mpirun.openmpi --host node-none.invalid -np 1 true",
        env=RANKS,
    ),
)
