/*
 * C = A B, N x N, in tiles of TILE of the inner dimensions as they are compiled in.
 * Output: time, and a sum over C that depends on every element of it.
 */
#include <stdio.h>
#include <time.h>

enum { N = 384 };
static double a[N][N], b[N][N], c[N][N];

static int least(int left, int right)
{
    return left < right ? left : right;
}

static void multiply(void)
{
    for (int jj = 0; jj < N; jj += TILE)
        for (int kk = 0; kk < N; kk += TILE)
            for (int i = 0; i < N; i++)
                for (int j = jj; j < least(jj + TILE, N); j++) {
                    double sum = c[i][j];
                    for (int k = kk; k < least(kk + TILE, N); k++)
                        sum += a[i][k] * b[k][j];
                    c[i][j] = sum;
                }
}

int main(void)
{
    struct timespec begin, end;
    double sum = 0;

    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            a[i][j] = (i * 7 + j) % 13;
            b[i][j] = (i + 3 * j) % 11;
        }
    clock_gettime(CLOCK_MONOTONIC, &begin);
    multiply();
    clock_gettime(CLOCK_MONOTONIC, &end);
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++)
            sum += c[i][j] * ((i + j) % 5);
    printf("time %.9f\n", (double)(end.tv_sec - begin.tv_sec) + 1e-9 * (double)(end.tv_nsec - begin.tv_nsec));
    printf("sum %.15g\n", sum);
    return 0;
}
