#include "kernel.h"

enum { BLOCK = 32 };

/* A block of both matrices fits the first cache, and each of its lines is used whole. */
static void block(int64_t rows, int64_t cols, const double *a, double *b, int64_t m, int64_t n)
{
    for (int64_t j = 0; j < n; j++)
        for (int64_t i = 0; i < m; i++)
            b[j * rows + i] = a[i * cols + j];
}

void transpose(int32_t rows, int32_t cols, const double *a, double *b)
{
    for (int64_t i = 0; i < rows; i += BLOCK)
        for (int64_t j = 0; j < cols; j += BLOCK) {
            int64_t m = rows - i < BLOCK ? rows - i : BLOCK;
            int64_t n = cols - j < BLOCK ? cols - j : BLOCK;
            block(rows, cols, a + i * cols + j, b + j * rows + i, m, n);
        }
}
