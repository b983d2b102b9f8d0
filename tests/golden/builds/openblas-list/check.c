/* Multiplies two small matrices with the new library and compares with a plain loop. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>

typedef int32_t blasint;

void dgemm_(const char *, const char *, const blasint *, const blasint *, const blasint *,
                const double *, const double *, const blasint *, const double *, const blasint *,
                const double *, double *, const blasint *, size_t, size_t);
char *openblas_get_config(void);
char *openblas_get_corename(void);

enum { M = 211, N = 173, K = 97 };

static double a[K * M], b[K * N], c[M * N];

int main(void)
{
    const blasint m = M, n = N, k = K;
    const double one = 1.0, zero = 0.0;
    double worst = 0.0;
    for (int i = 0; i < K * M; i++)
        a[i] = (i * 37 % 101) / 101.0 - 0.5;
    for (int i = 0; i < K * N; i++)
        b[i] = (i * 53 % 97) / 97.0 - 0.5;
    dgemm_("T", "N", &m, &n, &k, &one, a, &k, b, &k, &zero, c, &m, 1, 1);
    for (int j = 0; j < N; j++)
        for (int i = 0; i < M; i++) {
            double sum = 0.0;
            for (int l = 0; l < K; l++)
                sum += a[i * K + l] * b[j * K + l];
            worst = fmax(worst, fabs(sum - c[j * M + i]));
        }
    printf("config %s\ncore %s\nerror %.3g\n", openblas_get_config(),
           openblas_get_corename(), worst);
    return worst < 1e-12 ? 0 : 1;
}
