#include "kernel.h"

/* Rows are short: two chains of scalar additions cost less than filling vectors. */
static double row(int32_t first, int32_t end, const int32_t *restrict columns,
                  const double *restrict values, const double *restrict x)
{
    double even = 0.0, odd = 0.0;
    int32_t k = first;
    for (; k + 1 < end; k += 2) {
        even += values[k] * x[columns[k]];
        odd += values[k + 1] * x[columns[k + 1]];
    }
    return k < end ? even + odd + values[k] * x[columns[k]] : even + odd;
}

void spmv(int32_t rows, int32_t cols, int32_t nonzeros, const int32_t *restrict offsets,
          const int32_t *restrict columns, const double *restrict values,
          const double *restrict x, double *restrict y)
{
    (void)cols, (void)nonzeros;
#pragma omp parallel for schedule(static)
    for (int32_t i = 0; i < rows; i++)
        y[i] = row(offsets[i], offsets[i + 1], columns, values, x);
}
