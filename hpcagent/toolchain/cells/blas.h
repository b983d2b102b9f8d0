/* Declares a BLAS as the cell was told (-D), tells what the loaded one says of itself, and how wide
 * its integers are. CELL_INT64: the program's are 64 bits wide. CELL_CBLAS: takes cblas.h, and the
 * width of its integers with it. CELL_NAME(dgemm): how the library spells a Fortran routine. */
#ifndef CELL_BLAS_H
#define CELL_BLAS_H
#include "readback.h"

#ifdef CELL_INT64
typedef long long blas_int;
#else
typedef int blas_int;
#endif

#ifndef CELL_PREFIX
#define CELL_PREFIX
#endif
#ifndef CELL_SUFFIX
#define CELL_SUFFIX
#endif
#define CELL_JOIN2(prefix, name, tail, suffix) prefix##name##tail##suffix
#define CELL_JOIN(prefix, name, tail, suffix) CELL_JOIN2(prefix, name, tail, suffix)
#define CELL_NAME(name) CELL_JOIN(CELL_PREFIX, name, _, CELL_SUFFIX)
#define CELL_CNAME(name) CELL_JOIN(CELL_PREFIX, name, , CELL_SUFFIX)
#define CELL_TEXT2(text) #text
#define CELL_TEXT(text) CELL_TEXT2(text)

#ifdef __cplusplus
extern "C" {
#endif
void CELL_NAME(dgemm)(const char *, const char *, const blas_int *, const blas_int *,
                      const blas_int *, const double *, const double *, const blas_int *,
                      const double *, const blas_int *, const double *, double *, const blas_int *);
#ifdef CELL_LAPACK
void CELL_NAME(dpotrf)(const char *, const blas_int *, double *, const blas_int *, blas_int *);
#endif
#ifdef __cplusplus
}
#endif

typedef double (*wide_ddot)(const void *, const double *, const void *, const double *,
                            const void *);
typedef void (*any_function)(void);
typedef const char *(*text_of)(void);
typedef int (*number_of)(void);
typedef long (*wide_number_of)(void);

/* A function by name; a union, since C does not convert objects to functions. */
static any_function function_named(const char *name)
{
    union {
        void *object;
        any_function function;
    } cast;
    cast.object = bound(name);
    return cast.function;
}

static any_function blas_function(const char *name)
{
    char spelt[128];
    any_function found;
    snprintf(spelt, sizeof spelt, "%s%s%s", CELL_TEXT(CELL_PREFIX), name, CELL_TEXT(CELL_SUFFIX));
    found = function_named(spelt);
    return found != NULL ? found : function_named(name);
}

/* The first half of each number is `low` for a library with 32-bit integers; one with 64-bit
 * integers sees a negative length, for which DDOT is defined as 0 and touches nothing. */
static int interface_bits(void)
{
    union {
        void *object;
        wide_ddot function;
    } cast;
    double x[2] = {3.0, 4.0}, dot;
    int length[2] = {2, -1};
    long long step = 1;
    const int one = 1;
    if (*(const char *)&one != 1)
        return 0; /* the halves lie the other way round */
    cast.object = bound(CELL_TEXT(CELL_NAME(ddot)));
    if (cast.object == NULL)
        return 0;
    dot = cast.function(length, x, &step, x, &step);
    return dot == 25.0 ? 32 : dot == 0.0 ? 64 : 0;
}

static void say_openblas(void)
{
    text_of config = (text_of)blas_function("openblas_get_config");
    text_of core = (text_of)blas_function("openblas_get_corename");
    number_of parallel = (number_of)blas_function("openblas_get_parallel");
    number_of threads = (number_of)blas_function("openblas_get_num_threads");
    static const char *const kinds[] = {"serial", "pthreads", "openmp"};
    if (config == NULL)
        return;
    say("blas_family", "openblas");
    say("blas_config", config());
    if (core != NULL)
        say("blas_core", core());
    if (parallel != NULL && parallel() >= 0 && parallel() <= 2)
        say("blas_threading", kinds[parallel()]);
    if (threads != NULL)
        say_number("blas_threads", threads());
}

static void say_blis(void)
{
    text_of version = (text_of)function_named("bli_info_get_version_str");
    wide_number_of threads = (wide_number_of)function_named("bli_thread_get_num_threads");
    if (version == NULL)
        return;
    say("blas_family", "blis");
    say("blas_config", version());
    if (threads != NULL)
        say_number("blas_threads", threads());
}

static void say_mkl(void)
{
    typedef void (*fill)(char *, int);
    char text[200] = "";
    fill version = (fill)function_named("mkl_get_version_string");
    number_of threads = (number_of)function_named("MKL_Get_Max_Threads");
    if (version == NULL)
        version = (fill)function_named("MKL_Get_Version_String");
    if (version == NULL)
        return;
    version(text, (int)sizeof text - 1);
    say("blas_family", "mkl");
    say("blas_config", text);
    if (threads != NULL)
        say_number("blas_threads", threads());
}

static int say_blas(void)
{
    int bits = interface_bits();
    say_path("blas_library", bound(CELL_TEXT(CELL_NAME(dgemm))));
    say_openblas();
    say_blis();
    say_mkl();
    if (function_named("ATL_buildinfo") != NULL || function_named("ATL_dgemm") != NULL)
        say("blas_family", "atlas");
    if (function_named("armpl_version") != NULL || function_named("armplversion_") != NULL)
        say("blas_family", "armpl");
    say_number("blas_integer_bits", bits);
    say_number("program_integer_bits", 8 * (long)sizeof(blas_int));
    return bits;
}

/* max |C - A B| for n x n matrices with known small integers, through the Fortran interface. */
static int dgemm_wrong(int n)
{
    size_t cells = (size_t)n * (size_t)n, i;
    double *a = (double *)malloc(3 * cells * sizeof *a), *b, *c, one = 1.0, zero = 0.0;
    blas_int size = n;
    int wrong = 0, row, column, k;
    if (a == NULL)
        return 1;
    b = a + cells;
    c = b + cells;
    for (i = 0; i < cells; i++) {
        a[i] = (double)(i % 7) - 3.0;
        b[i] = (double)(i % 5) - 2.0;
        c[i] = -77.0;
    }
    CELL_NAME(dgemm)("N", "N", &size, &size, &size, &one, a, &size, b, &size, &zero, c, &size);
    for (column = 0; column < n; column += 1 + n / 8)
        for (row = 0; row < n; row += 1 + n / 8) {
            double sum = 0.0;
            for (k = 0; k < n; k++)
                sum += a[row + k * n] * b[k + column * n];
            wrong += sum != c[row + column * n];
        }
    free(a);
    return wrong;
}

#ifdef CELL_LAPACK
/* [[4, 2], [2, 5]] = L L' with L = [[2, 0], [1, 2]]. */
static int dpotrf_wrong(void)
{
    double a[4] = {4.0, 2.0, 2.0, 5.0};
    blas_int n = 2, info = -77;
    CELL_NAME(dpotrf)("L", &n, a, &n, &info);
    return info != 0 || a[0] != 2.0 || a[1] != 1.0 || a[3] != 2.0;
}
#endif

#endif
