#include "kernel.h"

/* A tile of c of 8 rows and 3 vectors stays in registers (24 of the 32 that AVX-512 has) while k
 * runs: of each row of b 24 elements are read once for 8 rows. Vectors of 64 bytes are an extension
 * of GCC and Clang; for narrower units the compiler splits them. */
typedef double vector __attribute__((vector_size(64), aligned(8), may_alias));

enum { ROWS = 8, WIDTH = 8, VECTORS = 3 };
#define INLINE static inline __attribute__((always_inline))

INLINE void tile(int rows, int vectors, int64_t n, int64_t k, const double *a, const double *b,
                 double *c)
{
    vector sum[ROWS][VECTORS];
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 3
        for (int v = 0; v < vectors; v++)
            sum[i][v] = *(const vector *)(c + i * n + v * WIDTH);
    for (int64_t p = 0; p < k; p++) {
        vector row[VECTORS];
#pragma GCC unroll 3
        for (int v = 0; v < vectors; v++)
            row[v] = *(const vector *)(b + p * n + v * WIDTH);
#pragma GCC unroll 8
        for (int i = 0; i < rows; i++)
#pragma GCC unroll 3
            for (int v = 0; v < vectors; v++)
                sum[i][v] += a[i * k + p] * row[v];
    }
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 3
        for (int v = 0; v < vectors; v++)
            *(vector *)(c + i * n + v * WIDTH) = sum[i][v];
}

/* Columns that fill no vector. */
static void rest(int64_t m, int64_t n, int64_t k, int64_t first, const double *a, const double *b,
                 double *c)
{
    for (int64_t i = 0; i < m; i++)
        for (int64_t p = 0; p < k; p++)
            for (int64_t j = first; j < n; j++)
                c[i * n + j] += a[i * k + p] * b[p * n + j];
}

INLINE void band(int vectors, int64_t m, int64_t n, int64_t k, const double *a, const double *b,
                 double *c)
{
    int64_t i = 0;
    for (; i + ROWS <= m; i += ROWS)
        tile(ROWS, vectors, n, k, a + i * k, b, c + i * n);
    for (; i + 4 <= m; i += 4)
        tile(4, vectors, n, k, a + i * k, b, c + i * n);
    for (; i < m; i++)
        tile(1, vectors, n, k, a + i * k, b, c + i * n);
}

void gemm(int32_t m, int32_t n, int32_t k, const double *restrict a, const double *restrict b,
          double *restrict c)
{
    int64_t j = 0;
    for (; j + VECTORS * WIDTH <= n; j += VECTORS * WIDTH)
        band(VECTORS, m, n, k, a, b + j, c + j);
    for (; j + WIDTH <= n; j += WIDTH)
        band(1, m, n, k, a, b + j, c + j);
    if (j < n)
        rest(m, n, k, j, a, b, c);
}
