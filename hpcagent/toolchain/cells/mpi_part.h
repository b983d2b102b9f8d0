/* MPI: which library answers, and how many ranks there are. */
#ifndef CELL_MPI_PART_H
#define CELL_MPI_PART_H
#define OMPI_SKIP_MPICXX 1
#define MPICH_SKIP_MPICXX 1
#include <mpi.h>
#include "readback.h"

/* True for the rank that prints. Every rank says which it is: with the launcher of another MPI
 * each is the first of one. */
static int mpi_begin(int *argc, char ***argv)
{
    int rank, size, length = 0, level = 0;
    char text[MPI_MAX_LIBRARY_VERSION_STRING + 1] = "";
#ifdef CELL_OPENMP
    MPI_Init_thread(argc, argv, MPI_THREAD_FUNNELED, &level);
#else
    MPI_Init(argc, argv);
#endif
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    printf("cell rank %d of %d\n", rank, size);
    fflush(stdout);
    if (rank == 0) {
        MPI_Get_library_version(text, &length);
        text[strcspn(text, "\n")] = '\0';
        say("mpi_version", text);
        say_path("mpi_library", bound("MPI_Init"));
        say_number("mpi_thread_level", level);
    }
    return rank == 0;
}

/* The sum over ranks of (rank + 1), and of everybody's wrong answers. */
static int mpi_end(int *wrong)
{
    int rank, size, mine, sum = -1, all = 0;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    mine = rank + 1;
    MPI_Allreduce(&mine, &sum, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    MPI_Allreduce(wrong, &all, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    MPI_Finalize();
    return all - *wrong + (sum != size * (size + 1) / 2);
}

#endif
