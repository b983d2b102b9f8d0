#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static int by_size(const void *one, const void *other)
{
    int32_t a = *(const int32_t *)one, b = *(const int32_t *)other;
    return (a > b) - (a < b);
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    size_t n = (size_t)atol(argv[1]);
    int32_t *x = malloc((n + 1) * sizeof *x);
    FILE *in = fopen(argv[2], "rb"), *out = fopen(argv[3], "wb");
    if (!x || !in || !out || fread(x, sizeof *x, n, in) != n)
        return 3;
    qsort(x, n, sizeof *x, by_size);
    if (fwrite(x, sizeof *x, n, out) != n || fclose(out))
        return 4;
    fclose(in);
    free(x);
    return 0;
}
