/* checker N X Y: whether Y holds the numbers of X, ascending. Prints "ok 0", or "wrong" with the
 * number of places that differ and the first of them. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static int32_t *numbers(const char *path, long n)
{
    int32_t *a = malloc(((size_t)n + 1) * sizeof *a);
    FILE *file = fopen(path, "rb");
    if (!a || !file || fread(a, sizeof *a, (size_t)n, file) != (size_t)n)
        exit(2);
    fclose(file);
    return a;
}

static int by_size(const void *one, const void *other)
{
    int32_t a = *(const int32_t *)one, b = *(const int32_t *)other;
    return (a > b) - (a < b);
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    long n = atol(argv[1]), wrong = 0, first = 0;
    int32_t *x = numbers(argv[2], n), *y = numbers(argv[3], n);
    qsort(x, (size_t)n, sizeof *x, by_size);
    for (long i = n - 1; i >= 0; i--)
        if (x[i] != y[i])
            wrong++, first = i;
    if (!wrong)
        puts("ok 0");
    else
        printf("wrong %ld places differ, the first is y[%ld]: %d has to be %d\n", wrong, first, y[first],
               x[first]);
    return wrong != 0;
}
