#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BITS = 11, BINS = 1 << BITS };

/* By digits, the lowest first; the sign's bit is turned over, so that negative numbers come first. */
static void by_digit(size_t n, int shift, const uint32_t *from, uint32_t *to)
{
    size_t place[BINS + 1] = {0};
    for (size_t i = 0; i < n; i++)
        place[(from[i] >> shift & (BINS - 1)) + 1]++;
    for (int k = 0; k < BINS; k++)
        place[k + 1] += place[k];
    for (size_t i = 0; i < n; i++)
        to[place[from[i] >> shift & (BINS - 1)]++] = from[i];
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    size_t n = (size_t)atol(argv[1]);
    uint32_t *x = malloc((n + 1) * sizeof *x), *y = malloc((n + 1) * sizeof *y);
    FILE *in = fopen(argv[2], "rb"), *out = fopen(argv[3], "wb");
    if (!x || !y || !in || !out || fread(x, sizeof *x, n, in) != n)
        return 3;
    for (size_t i = 0; i < n; i++)
        x[i] ^= UINT32_C(1) << 31;
    by_digit(n, 0, x, y);
    by_digit(n, BITS, y, x);
    by_digit(n, 2 * BITS, x, y);
    for (size_t i = 0; i < n; i++)
        y[i] ^= UINT32_C(1) << 31;
    if (fwrite(y, sizeof *y, n, out) != n || fclose(out))
        return 4;
    fclose(in);
    free(x), free(y);
    return 0;
}
