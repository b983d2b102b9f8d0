#include "kernel.h"

void spmv(int32_t rows, int32_t cols, int32_t nonzeros, const int32_t *offsets,
          const int32_t *columns, const double *values, const double *x, double *y)
{
    (void)cols, (void)nonzeros;
    for (int32_t i = 0; i < rows; i++) {
        y[i] = 0.0;
        for (int32_t k = offsets[i]; k < offsets[i + 1]; k++)
            y[i] += values[k] * x[columns[k]];
    }
}
