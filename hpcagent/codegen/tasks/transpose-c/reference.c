#include "kernel.h"

void transpose(int32_t rows, int32_t cols, const double *a, double *b)
{
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++)
            b[j * rows + i] = a[i * cols + j];
}
