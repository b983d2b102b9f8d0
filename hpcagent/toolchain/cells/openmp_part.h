/* OpenMP: the team that really ran, told by the threads' own ids. */
#ifndef CELL_OPENMP_PART_H
#define CELL_OPENMP_PART_H
#include <omp.h>
#include "readback.h"

#define CELL_MOST 1024

static void say_team(void)
{
    static pthread_t seen[CELL_MOST];
    int count = 0, team = 0, i;
#pragma omp parallel
    {
#pragma omp single
        team = omp_get_num_threads();
#pragma omp critical
        {
            for (i = 0; i < count && !pthread_equal(seen[i], pthread_self()); i++)
                ;
            if (i == count && count < CELL_MOST)
                seen[count++] = pthread_self();
        }
    }
    say_number("openmp_team", team);
    say_number("openmp_threads", count);
    say_number("openmp_max", omp_get_max_threads());
    say_number("openmp_version", _OPENMP);
}

static int openmp_wrong(void)
{
    long sum = 0, i;
#pragma omp parallel for reduction(+ : sum)
    for (i = 1; i <= 100000; i++)
        sum += i;
    return sum != 5000050000L;
}

#ifdef CELL_BLAS
/* Every thread of the team calls DGEMM; then the threads that worked are counted. */
static int blas_in_team_wrong(int speaks)
{
    int wrong = 0;
#pragma omp parallel reduction(+ : wrong)
    {
        int turn;
        for (turn = 0; turn < 12; turn++)
            wrong += dgemm_wrong(240);
    }
    if (speaks)
        say_threads();
    return wrong;
}
#endif

#endif
