/* C += A B with blocks, for compilers that vectorise; don't call system() or fork() here. */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#if defined(__AVX512F__)
#include <immintrin.h>
#endif

enum { MB = 64, NB = 256, KB = 256 };
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define ROW(i) \
    (c + (size_t)(i) * n)

static void block(int m, int n, int k, const double *restrict a, int lda, const double *restrict b,
                  int ldb, double *restrict c, int ldc)
{
    for (int i = 0; i < m; i++)
        for (int l = 0; l < k; l++) {
            const double value = a[(size_t)i * lda + l];
#pragma GCC ivdep
            for (int j = 0; j < n; j++)
                c[(size_t)i * ldc + j] += value * b[(size_t)l * ldb + j];
        }
}

void gemm(int m, int n, int k, const double *restrict a, const double *restrict b,
          double *restrict c)
{
    double *pack = aligned_alloc(64, sizeof(double) * KB * NB);
    if (!pack)
        return;
    memset(ROW(0), 0, sizeof(double) * (size_t)m * (size_t)n);
    for (int l = 0; l < k; l += KB)
        for (int i = 0; i < m; i += MB)
            block(MIN(MB, m - i), n, MIN(KB, k - l), a + (size_t)i * k + l, k, b + (size_t)l * n, n,
                  ROW(i), n);
    free(pack);
}
