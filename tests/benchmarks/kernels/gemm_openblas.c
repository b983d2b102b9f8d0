#include "kernel.h"

enum { BY_ROWS = 101, AS_IT_IS = 111 }; /* of the C interface to the BLAS */

void cblas_dgemm(int order, int transa, int transb, int m, int n, int k, double alpha,
                 const double *a, int lda, const double *b, int ldb, double beta, double *c,
                 int ldc);

void gemm(int32_t m, int32_t n, int32_t k, const double *a, const double *b, double *c)
{
    if (m > 0 && n > 0 && k > 0)
        cblas_dgemm(BY_ROWS, AS_IT_IS, AS_IT_IS, m, n, k, 1.0, a, k, b, n, 1.0, c, n);
}
