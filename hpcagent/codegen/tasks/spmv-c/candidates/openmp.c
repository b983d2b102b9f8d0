#include "kernel.h"

/* Rows are shared out; the sum of a row stays in registers. */
void spmv(int32_t rows, int32_t cols, int32_t nonzeros, const int32_t *restrict offsets,
          const int32_t *restrict columns, const double *restrict values,
          const double *restrict x, double *restrict y)
{
    (void)cols, (void)nonzeros;
#pragma omp parallel for schedule(static)
    for (int32_t i = 0; i < rows; i++) {
        double sum = 0.0;
#pragma omp simd reduction(+ : sum)
        for (int32_t k = offsets[i]; k < offsets[i + 1]; k++)
            sum += values[k] * x[columns[k]];
        y[i] = sum;
    }
}
