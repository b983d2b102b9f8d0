"""Failures of MPI programs and of their launchers (Open MPI; those of MPICH are elsewhere)."""

from __future__ import annotations

from planted.case import RANKS, Case

HEAD = "#include <mpi.h>\n#include <stdio.h>\n#include <stdlib.h>\nint main(int c, char **v)\n{\n"
HEAD += "    int rank, size, data[8] = {0};\n    MPI_Init(&c, &v);\n"
HEAD += "    MPI_Comm_rank(MPI_COMM_WORLD, &rank);\n    MPI_Comm_size(MPI_COMM_WORLD, &size);\n"


def program(body: str) -> dict[str, str]:
    return {"m.c": f"{HEAD}    {body}\n    MPI_Finalize();\n    return 0;\n}}\n"}


BUILD = "mpicc.openmpi m.c -o m"
RUN = "mpirun.openmpi --mca btl self,vader -np 2 --oversubscribe "
ABORT = "if (rank == 1) MPI_Abort(MPI_COMM_WORLD, 7);\n    MPI_Barrier(MPI_COMM_WORLD);"
LONG = """if (rank == 0) MPI_Send(data, 8, MPI_INT, 1, 5, MPI_COMM_WORLD);
    else MPI_Recv(data, 2, MPI_INT, 0, 5, MPI_COMM_WORLD, MPI_STATUS_IGNORE);"""
STRANGER = "MPI_Send(data, 8, MPI_INT, 99, 5, MPI_COMM_WORLD);"
CRASH = "if (rank == 1) data[0] = *(int *)(long)(size - 2);\n    MPI_Barrier(MPI_COMM_WORLD);"
LEAVE = "if (rank == 1) exit(5);"
SIZE = """if (size != 2) {
        fprintf(stderr, "this run needs 2 ranks, MPI_COMM_WORLD has %d\\n", size);
        return 4;
    }"""
EARLY = {
    "m.c": "#include <mpi.h>\nint main(void)\n{\n    int rank;\n"
    "    MPI_Comm_rank(MPI_COMM_WORLD, &rank);\n    return rank;\n}\n"
}

CASES = (
    Case(
        "ompi-root", "mpi.root", "root, and not allowed to", "mpirun.openmpi -np 1 true  # as-root"
    ),
    Case(
        "ompi-slots",
        "mpi.slots",
        "more ranks than slots",
        "mpirun.openmpi --host localhost:2 -np 64 ./m",
        BUILD,
        program(""),
        RANKS,
    ),
    Case(
        "ompi-no-program",
        "mpi.no_program",
        "a program that is not there",
        RUN + "./solver",
        env=RANKS,
    ),
    Case(
        "ompi-abort",
        "mpi.abort",
        "a rank calls MPI_Abort",
        RUN + "./m",
        BUILD,
        program(ABORT),
        RANKS,
        "MPI_ABORT was",
    ),
    Case(
        "ompi-truncate",
        "mpi.truncate",
        "a message longer than the buffer",
        RUN + "./m",
        BUILD,
        program(LONG),
        RANKS,
        "MPI_ERR_TRUNCATE",
    ),
    Case(
        "ompi-rank",
        "mpi.invalid_rank",
        "a message to rank 99",
        RUN + "./m",
        BUILD,
        program(STRANGER),
        RANKS,
        "MPI_ERR_RANK",
    ),
    Case(
        "ompi-signal",
        "run.segfault",
        "a rank dies of a null pointer",
        RUN + "./m",
        BUILD,
        program(CRASH),
        RANKS,
    ),
    Case(
        "ompi-exit",
        "mpi.rank_failed",
        "a rank ends with 5 before the others",
        RUN + "./m",
        BUILD,
        program(LEAVE),
        RANKS,
    ),
    Case(
        "ompi-mixed",
        "mpi.mixed_launcher",
        "MPICH's program under Open MPI's launcher",
        RUN + "./m",
        "mpicc.mpich m.c -o m",
        program(SIZE),
        RANKS,
    ),
    Case(
        "ompi-before-init",
        "mpi.not_initialized",
        "MPI_Comm_rank before MPI_Init",
        RUN + "./m",
        BUILD,
        EARLY,
        RANKS,
    ),
    Case(
        "ompi-component",
        "mpi.component",
        "an MCA component that is not there",
        "mpirun.openmpi --mca btl psm9 -np 1 --oversubscribe ./m",
        BUILD,
        program(""),
        RANKS,
    ),
    Case(
        "ompi-hostfile",
        "mpi.hostfile",
        "a hostfile that is not there",
        "mpirun.openmpi --hostfile machines.txt -np 2 ./m",
        BUILD,
        program(""),
        RANKS,
    ),
    Case(
        "ompi-binding",
        "mpi.binding",
        "more cores for a rank than there are",
        "mpirun.openmpi --map-by slot:PE=4096 -np 1 ./m",
        BUILD,
        program(""),
        RANKS,
    ),
)
