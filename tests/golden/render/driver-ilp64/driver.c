/*
 * Times BLAS and LAPACK routines of one OpenBLAS and proves each result with a residual.
 *
 *     driver WORKLOAD SEED     run every case of the workload file
 *     driver --info            say which library was loaded and how it is set up
 *
 * A workload line is `key routine transa transb m n k warmup reps`; dimensions a routine does not
 * use are 0 and letters it does not use are '-'; '#' starts a comment. Output is one item a line.
 *
 * Exit status: 0 done, 1 cannot write the output, 2 usage or workload error, 3 out of memory.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <float.h>
#include <limits.h>
#include <math.h>
#include <sched.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { EXIT_OUTPUT = 1, EXIT_USAGE = 2, EXIT_MEMORY = 3 };
enum { ALIGNMENT = 64, KEY_LENGTH = 64, MAX_CALLS = 1000000 };

/* A thread counts as busy from this share of the busiest thread's CPU time. It is small because the
 * busiest may have spun, waiting for one whose CPU a hypervisor took away: with a tenth, one of two
 * threads that shared the work was missed on a guest that lost 60 % of its CPU time. */
#define BUSY_SHARE 0.02

#define PREFIX "scipy_"
#define SUFFIX "64_"
#define SYMBOL(name) scipy_##name##_64_
#define SYMBOL_TEXT(name) PREFIX name "_" SUFFIX

typedef int64_t blas_int;
#define BLAS_INT_MAX INT64_MAX

/* Hidden lengths of character arguments follow the others, as gfortran passes them (GNU Fortran
 * manual, "Argument passing conventions"). */
typedef size_t text_length;

void SYMBOL(dgemm)(const char *, const char *, const blas_int *, const blas_int *,
                   const blas_int *, const double *, const double *, const blas_int *,
                   const double *, const blas_int *, const double *, double *,
                   const blas_int *, text_length, text_length);
void SYMBOL(sgemv)(const char *, const blas_int *, const blas_int *, const float *,
                   const float *, const blas_int *, const float *, const blas_int *,
                   const float *, float *, const blas_int *, text_length);

#define ALPHA 0.75
#define BETA 0.5

/* --- failing ---------------------------------------------------------------------------------- */

__attribute__((noreturn, format(printf, 2, 3))) static void fail(int status, const char *format,
                                                                 ...);

static void fail(int status, const char *format, ...)
{
    va_list words;
    fflush(stdout);
    va_start(words, format);
    vfprintf(stderr, format, words);
    va_end(words);
    fputc('\n', stderr);
    exit(status);
}

static void flush_output(void)
{
    if (fflush(stdout) != 0 || ferror(stdout))
        fail(EXIT_OUTPUT, "driver: cannot write the output: %s", strerror(errno));
}

static size_t product(size_t a, size_t b)
{
    size_t result;
    if (__builtin_mul_overflow(a, b, &result))
        fail(EXIT_MEMORY, "driver: out of memory: %zu x %zu overflows", a, b);
    return result;
}

static size_t physical_memory(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
    return pages > 0 && size > 0 ? product((size_t)pages, (size_t)size) : SIZE_MAX;
}

/* Zeroed, aligned to a cache line, from the malloc family so that glibc.malloc.hugetlb acts. What
 * the machine cannot hold is refused here, since an overcommitting kernel would grant it and kill
 * later. */
static void *allocate(size_t count, size_t size)
{
    size_t bytes = product(count, size);
    void *memory = NULL;
    if (bytes > physical_memory() || posix_memalign(&memory, ALIGNMENT, bytes ? bytes : 1) != 0)
        fail(EXIT_MEMORY, "driver: out of memory: %zu bytes", bytes);
    memset(memory, 0, bytes);
    return memory;
}

static double *allocate_doubles(size_t count)
{
    return allocate(count, sizeof(double));
}

/* --- a case of the workload ------------------------------------------------------------------- */

struct routine;

struct job {
    char key[KEY_LENGTH + 1];
    const struct routine *routine;
    char transa, transb;
    size_t m, n, k;
    long warmup, reps;
    uint64_t random;             /* state of the generator */
    void *a, *b;                 /* inputs; NULL where there are none */
    void *inout, *saved;         /* what the routine overwrites, and its first contents */
    size_t inout_bytes;
    blas_int *pivots;
    blas_int info;
};

struct routine {
    const char *name;
    int uses_m, uses_n, uses_k, letters;
    void (*setup)(struct job *);
    void (*call)(struct job *);
    double (*residual)(struct job *);
};

__attribute__((unused)) static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

__attribute__((unused)) static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* --- pseudo-random numbers: SplitMix64 (Steele, Lea, Flood, OOPSLA 2014) ---------------------- */

static uint64_t next_random(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* Uniform in [-1, 1). */
static double uniform(uint64_t *state)
{
    return (double)(next_random(state) >> 11) * 0x1p-52 - 1.0;
}

/* Entries of random sign and size in [0.5, 1): none is blind to its column, no two columns look
 * the same. */
__attribute__((unused)) static double *probe_vector(struct job *job, size_t count)
{
    double *v = allocate_doubles(count);
    for (size_t i = 0; i < count; i++) {
        double u = uniform(&job->random);
        v[i] = u < 0.0 ? u * 0.5 - 0.5 : u * 0.5 + 0.5;
    }
    return v;
}

/* --- residuals -------------------------------------------------------------------------------- */

/* By the bits, since -ffast-math may assume that there are no others. */
static int is_finite(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (bits >> 52 & 0x7ff) != 0x7ff;
}

/*
 * max |left - right| / ((eps sqrt(largest) + DBL_EPSILON largest) norm).
 *
 * The test ratio of the LAPACK test programs, ||R|| / (n ||A|| eps) (LAPACK Working Note 41), with
 * `norm` a bound on one element of the exact product, and sqrt(n) for n, as rounding errors grow
 * statistically (Higham and Mary, SIAM J. Sci. Comput. 41, 2019): sharp enough to show a single
 * wrong element in single precision. The second term bounds the rounding of the check itself.
 * Healthy results stay near or below 1.
 */
static double test_ratio(const double *left, const double *right, size_t count, double norm,
                         size_t largest, double eps)
{
    double scale = (eps * sqrt((double)largest) + DBL_EPSILON * (double)largest) * norm;
    double worst = 0.0;
    if (!is_finite(scale))
        return HUGE_VAL;
    for (size_t i = 0; i < count; i++) {
        double difference = fabs(left[i] - right[i]);
        if (!is_finite(difference))
            return HUGE_VAL;
        worst = difference > worst ? difference : worst;
    }
    return scale > 0.0 ? worst / scale : worst > 0.0 ? HUGE_VAL : 0.0;
}

/* --- double -------------------------------------------------------------------------------- */

#define d_EPS DBL_EPSILON

static void d_fill(struct job *job, double *a, size_t count)
{
    for (size_t i = 0; i < count; i++)
        a[i] = (double)uniform(&job->random);
}

static double *d_random(struct job *job, size_t rows, size_t columns)
{
    size_t count = product(rows, columns);
    double *a = allocate(count, sizeof *a);
    d_fill(job, a, count);
    return a;
}

/* Declares what the routine overwrites; run_case restores it before every call. */
static void d_overwrites(struct job *job, double *a, size_t rows, size_t columns)
{
    job->inout = a;
    job->inout_bytes = product(rows, columns) * sizeof *a;
    job->saved = allocate(job->inout_bytes, 1);
    memcpy(job->saved, a, job->inout_bytes);
}

/* y += alpha op(A) x, with A of m rows and n columns. */
__attribute__((unused)) static void d_multiply(char trans, size_t m, size_t n, double alpha,
                                               const double *a, const double *x, double *y)
{
    for (size_t j = 0; j < n; j++, a += m) {
        if (trans == 'N') {
            double factor = alpha * x[j];
            for (size_t i = 0; i < m; i++)
                y[i] += factor * (double)a[i];
        } else {
            double sum = 0.0;
            for (size_t i = 0; i < m; i++)
                sum += (double)a[i] * x[i];
            y[j] += alpha * sum;
        }
    }
}

/* y += L x or L^T x, with L the lower trapezoid (m rows, n columns) of an array of `lead` rows. */
__attribute__((unused)) static void d_lower(char trans, int unit, size_t m, size_t n, size_t lead,
                                            const double *a, const double *x, double *y)
{
    for (size_t j = 0; j < n && j < m; j++) {
        const double *column = a + j * lead;
        double diagonal = unit ? 1.0 : (double)column[j];
        double sum = diagonal * x[j];
        y[j] += sum;
        for (size_t i = j + 1; i < m; i++) {
            if (trans == 'N')
                y[i] += (double)column[i] * x[j];
            else
                y[j] += (double)column[i] * x[i];
        }
    }
}

/* y += U x, with U the upper trapezoid (m rows, n columns) of an array of `lead` rows. */
__attribute__((unused)) static void d_upper(size_t m, size_t n, size_t lead, const double *a,
                                            const double *x, double *y)
{
    for (size_t j = 0; j < n; j++)
        for (size_t i = 0; i <= j && i < m; i++)
            y[i] += (double)a[i + j * lead] * x[j];
}

/* y += S x, with S symmetric and given by its lower triangle. */
__attribute__((unused)) static void d_symmetric(size_t n, const double *a, const double *x,
                                                double *y)
{
    for (size_t j = 0; j < n; j++) {
        const double *column = a + j * n;
        y[j] += (double)column[j] * x[j];
        for (size_t i = j + 1; i < n; i++) {
            y[i] += (double)column[i] * x[j];
            y[j] += (double)column[i] * x[i];
        }
    }
}

/* The largest 2-norm of a row or of a column of the m x n array. */
__attribute__((unused)) static double d_longest(int rows, size_t m, size_t n, const double *a)
{
    double *squares = allocate_doubles(rows ? m : n);
    double longest = 0.0;
    for (size_t j = 0; j < n; j++)
        for (size_t i = 0; i < m; i++)
            squares[rows ? i : j] += (double)a[i + j * m] * (double)a[i + j * m];
    for (size_t i = 0; i < (rows ? m : n); i++)
        longest = squares[i] > longest ? squares[i] : longest;
    free(squares);
    return sqrt(longest);
}

/* Whether the strictly upper triangle, which the routine must not touch, is as it was. */
__attribute__((unused)) static int d_upper_kept(const struct job *job)
{
    const double *now = job->inout, *before = job->saved;
    for (size_t j = 1; j < job->n; j++)
        if (memcmp(now + j * job->n, before + j * job->n, j * sizeof *now) != 0)
            return 0;
    return 1;
}

static void dgemm_setup(struct job *job)
{
    job->a = d_random(job, job->m, job->k);
    job->b = d_random(job, job->k, job->n);
    d_overwrites(job, d_random(job, job->m, job->n), job->m, job->n);
}

static void dgemm_call(struct job *job)
{
    blas_int m = (blas_int)job->m, n = (blas_int)job->n, k = (blas_int)job->k;
    blas_int lda = job->transa == 'N' ? m : k, ldb = job->transb == 'N' ? k : n;
    double alpha = (double)ALPHA, beta = (double)BETA;
    SYMBOL(dgemm)(&job->transa, &job->transb, &m, &n, &k, &alpha, job->a, &lda, job->b, &ldb,
                  &beta, job->inout, &m, 1, 1);
}

/* C v against alpha op(A) (op(B) v) + beta C0 v. */
static double dgemm_residual(struct job *job)
{
    int a_plain = job->transa == 'N', b_plain = job->transb == 'N';
    size_t a_rows = a_plain ? job->m : job->k, a_columns = a_plain ? job->k : job->m;
    size_t b_rows = b_plain ? job->k : job->n, b_columns = b_plain ? job->n : job->k;
    double *v = probe_vector(job, job->n), *t = allocate_doubles(job->k);
    double *left = allocate_doubles(job->m), *right = allocate_doubles(job->m);
    double norm = d_longest(a_plain, a_rows, a_columns, job->a)
                      * d_longest(!b_plain, b_rows, b_columns, job->b) * fabs(ALPHA)
                  + fabs(BETA);
    size_t largest = larger(job->m, larger(job->n, job->k));
    double ratio;
    d_multiply('N', job->m, job->n, 1.0, job->inout, v, left);
    d_multiply(job->transb, b_rows, b_columns, 1.0, job->b, v, t);
    d_multiply(job->transa, a_rows, a_columns, ALPHA, job->a, t, right);
    d_multiply('N', job->m, job->n, BETA, job->saved, v, right);
    ratio = test_ratio(left, right, job->m, norm, largest, d_EPS);
    free(v), free(t), free(left), free(right);
    return ratio;
}

/* --- float --------------------------------------------------------------------------------- */

#define s_EPS (double)FLT_EPSILON

static void s_fill(struct job *job, float *a, size_t count)
{
    for (size_t i = 0; i < count; i++)
        a[i] = (float)uniform(&job->random);
}

static float *s_random(struct job *job, size_t rows, size_t columns)
{
    size_t count = product(rows, columns);
    float *a = allocate(count, sizeof *a);
    s_fill(job, a, count);
    return a;
}

/* Declares what the routine overwrites; run_case restores it before every call. */
static void s_overwrites(struct job *job, float *a, size_t rows, size_t columns)
{
    job->inout = a;
    job->inout_bytes = product(rows, columns) * sizeof *a;
    job->saved = allocate(job->inout_bytes, 1);
    memcpy(job->saved, a, job->inout_bytes);
}

/* y += alpha op(A) x, with A of m rows and n columns. */
__attribute__((unused)) static void s_multiply(char trans, size_t m, size_t n, double alpha,
                                               const float *a, const double *x, double *y)
{
    for (size_t j = 0; j < n; j++, a += m) {
        if (trans == 'N') {
            double factor = alpha * x[j];
            for (size_t i = 0; i < m; i++)
                y[i] += factor * (double)a[i];
        } else {
            double sum = 0.0;
            for (size_t i = 0; i < m; i++)
                sum += (double)a[i] * x[i];
            y[j] += alpha * sum;
        }
    }
}

/* y += L x or L^T x, with L the lower trapezoid (m rows, n columns) of an array of `lead` rows. */
__attribute__((unused)) static void s_lower(char trans, int unit, size_t m, size_t n, size_t lead,
                                            const float *a, const double *x, double *y)
{
    for (size_t j = 0; j < n && j < m; j++) {
        const float *column = a + j * lead;
        double diagonal = unit ? 1.0 : (double)column[j];
        double sum = diagonal * x[j];
        y[j] += sum;
        for (size_t i = j + 1; i < m; i++) {
            if (trans == 'N')
                y[i] += (double)column[i] * x[j];
            else
                y[j] += (double)column[i] * x[i];
        }
    }
}

/* y += U x, with U the upper trapezoid (m rows, n columns) of an array of `lead` rows. */
__attribute__((unused)) static void s_upper(size_t m, size_t n, size_t lead, const float *a,
                                            const double *x, double *y)
{
    for (size_t j = 0; j < n; j++)
        for (size_t i = 0; i <= j && i < m; i++)
            y[i] += (double)a[i + j * lead] * x[j];
}

/* y += S x, with S symmetric and given by its lower triangle. */
__attribute__((unused)) static void s_symmetric(size_t n, const float *a, const double *x,
                                                double *y)
{
    for (size_t j = 0; j < n; j++) {
        const float *column = a + j * n;
        y[j] += (double)column[j] * x[j];
        for (size_t i = j + 1; i < n; i++) {
            y[i] += (double)column[i] * x[j];
            y[j] += (double)column[i] * x[i];
        }
    }
}

/* The largest 2-norm of a row or of a column of the m x n array. */
__attribute__((unused)) static double s_longest(int rows, size_t m, size_t n, const float *a)
{
    double *squares = allocate_doubles(rows ? m : n);
    double longest = 0.0;
    for (size_t j = 0; j < n; j++)
        for (size_t i = 0; i < m; i++)
            squares[rows ? i : j] += (double)a[i + j * m] * (double)a[i + j * m];
    for (size_t i = 0; i < (rows ? m : n); i++)
        longest = squares[i] > longest ? squares[i] : longest;
    free(squares);
    return sqrt(longest);
}

/* Whether the strictly upper triangle, which the routine must not touch, is as it was. */
__attribute__((unused)) static int s_upper_kept(const struct job *job)
{
    const float *now = job->inout, *before = job->saved;
    for (size_t j = 1; j < job->n; j++)
        if (memcmp(now + j * job->n, before + j * job->n, j * sizeof *now) != 0)
            return 0;
    return 1;
}

static void sgemv_setup(struct job *job)
{
    int plain = job->transa == 'N';
    size_t length = plain ? job->m : job->n;
    job->a = s_random(job, job->m, job->n);
    job->b = s_random(job, plain ? job->n : job->m, 1);
    s_overwrites(job, s_random(job, length, 1), length, 1);
}

static void sgemv_call(struct job *job)
{
    blas_int m = (blas_int)job->m, n = (blas_int)job->n, one = 1;
    float alpha = (float)ALPHA, beta = (float)BETA;
    SYMBOL(sgemv)(&job->transa, &m, &n, &alpha, job->a, &m, job->b, &one, &beta, job->inout, &one,
                  1);
}

/* y against alpha op(A) x + beta y0. */
static double sgemv_residual(struct job *job)
{
    int plain = job->transa == 'N';
    size_t length = plain ? job->m : job->n, inner = plain ? job->n : job->m;
    const float *b = job->b, *y = job->inout, *y0 = job->saved;
    double *x = allocate_doubles(inner);
    double *left = allocate_doubles(length), *right = allocate_doubles(length);
    double norm = s_longest(plain, job->m, job->n, job->a) * s_longest(0, inner, 1, b)
                      * fabs(ALPHA)
                  + fabs(BETA);
    double ratio;
    for (size_t i = 0; i < inner; i++)
        x[i] = (double)b[i];
    for (size_t i = 0; i < length; i++) {
        left[i] = (double)y[i];
        right[i] = BETA * (double)y0[i];
    }
    s_multiply(job->transa, job->m, job->n, ALPHA, job->a, x, right);
    ratio = test_ratio(left, right, length, norm, larger(job->m, job->n), s_EPS);
    free(x), free(left), free(right);
    return ratio;
}

/* Name; whether m, n and k are used; how many transposition letters; what it does. */
static const struct routine ROUTINES[] = {
    {"dgemm", 1, 1, 1, 2, dgemm_setup, dgemm_call, dgemm_residual},
    {"sgemv", 1, 1, 0, 1, sgemv_setup, sgemv_call, sgemv_residual},
};
enum { ROUTINE_COUNT = sizeof ROUTINES / sizeof ROUTINES[0] };

/* --- what was really loaded ------------------------------------------------------------------- */

/* The getters of OpenBLAS exist with and without the prefix, the suffix and an underscore. */
static void *find_getter(void *library, const char *name)
{
    static const char *const prefixes[] = {PREFIX, ""};
    static const char *const suffixes[] = {SUFFIX, ("_" SUFFIX), ""};
    char symbol[256];
    for (size_t p = 0; p < sizeof prefixes / sizeof *prefixes; p++)
        for (size_t s = 0; s < sizeof suffixes / sizeof *suffixes; s++) {
            void *found;
            snprintf(symbol, sizeof symbol, "%s%s%s", prefixes[p], name, suffixes[s]);
            found = dlsym(library, symbol);
            if (found != NULL)
                return found;
        }
    return NULL;
}

static void print_text(const char *label, void *library, const char *getter)
{
    void *found = find_getter(library, getter);
    const char *text = NULL;
    int length;
    if (found != NULL) {
        char *(*function)(void);
        memcpy(&function, &found, sizeof function);
        text = function();
    }
    if (text == NULL || *text == '\0')
        text = "unknown";
    length = (int)strcspn(text, "\r\n");
    while (length > 0 && isspace((unsigned char)text[length - 1]))
        length--;
    printf("%s %.*s\n", label, length, text);
}

static void print_threads(void *library)
{
    void *found = find_getter(library, "openblas_get_num_threads");
    if (found != NULL) {
        int (*function)(void);
        memcpy(&function, &found, sizeof function);
        printf("threads %d\n", function());
    } else {
        printf("threads unknown\n");
    }
}

/* As a list of ranges, the form that taskset and numactl read. */
static void print_affinity(void)
{
    for (int cpus = 1024; cpus <= 1 << 22; cpus *= 2) {
        cpu_set_t *set = CPU_ALLOC((size_t)cpus);
        size_t size = CPU_ALLOC_SIZE((size_t)cpus);
        const char *separator = "";
        int done;
        if (set == NULL)
            break;
        done = sched_getaffinity(0, size, set) == 0;
        if (done) {
            printf("affinity ");
            for (int cpu = 0; cpu < cpus; cpu++) {
                int first = cpu;
                if (!CPU_ISSET_S((size_t)cpu, size, set))
                    continue;
                while (cpu + 1 < cpus && CPU_ISSET_S((size_t)cpu + 1, size, set))
                    cpu++;
                printf(cpu > first ? "%s%d-%d" : "%s%d", separator, first, cpu);
                separator = ",";
            }
            printf("\n");
        }
        CPU_FREE(set);
        if (done)
            return;
        if (errno != EINVAL) /* EINVAL: the kernel's mask is longer than this one */
            break;
    }
    printf("affinity unknown\n");
}

/* Asks the dynamic linker, not the command line: a preloaded or misplaced library shows here. */
static void print_info(void)
{
    void *symbol = dlsym(RTLD_DEFAULT, SYMBOL_TEXT("dgemm"));
    void *library = NULL;
    char path[PATH_MAX];
    Dl_info where;
    if (symbol != NULL && dladdr(symbol, &where) != 0 && where.dli_fname != NULL) {
        printf("library %s\n", realpath(where.dli_fname, path) ? path : where.dli_fname);
        library = dlopen(where.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
    } else {
        printf("library unknown\n");
    }
    if (library == NULL)
        library = dlopen(NULL, RTLD_LAZY);
    print_text("config", library, "openblas_get_config");
    print_text("core", library, "openblas_get_corename");
    print_threads(library);
    print_affinity();
    flush_output();
}

/* --- threads that burned CPU time ------------------------------------------------------------- */

struct usage {
    size_t count, room;
    struct thread {
        long id;
        double seconds;
    } *threads;
};

/* CPU seconds of a thread of this process; below 0 where it is gone. The clock of a thread is
 * exact to the moment (linux/posix-timers.h: ~tid << 3 | CPUCLOCK_PERTHREAD | CPUCLOCK_SCHED, as
 * pthread_getcpuclockid makes it); schedstat lags by up to a tick. */
static double thread_seconds(long id)
{
    struct timespec t;
    char path[64];
    unsigned long long nanoseconds = 0;
    FILE *file;
    int found;
    if (clock_gettime((clockid_t)((~(unsigned)id << 3) | 6U), &t) == 0)
        return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
    snprintf(path, sizeof path, "/proc/self/task/%ld/schedstat", id);
    file = fopen(path, "r");
    if (file == NULL)
        return -1.0;
    found = fscanf(file, "%llu", &nanoseconds);
    fclose(file);
    return found == 1 ? 1e-9 * (double)nanoseconds : -1.0;
}

static void read_usage(struct usage *usage)
{
    DIR *tasks = opendir("/proc/self/task");
    struct dirent *entry;
    usage->count = 0;
    if (tasks == NULL)
        return;
    while ((entry = readdir(tasks)) != NULL) {
        long id = strtol(entry->d_name, NULL, 10);
        double seconds = id > 0 ? thread_seconds(id) : -1.0;
        if (seconds < 0.0)
            continue;
        if (usage->count == usage->room) {
            size_t room = usage->room ? 2 * usage->room : 64;
            void *grown = realloc(usage->threads, product(room, sizeof *usage->threads));
            if (grown == NULL)
                fail(EXIT_MEMORY, "driver: out of memory: %zu threads", room);
            usage->threads = grown;
            usage->room = room;
        }
        usage->threads[usage->count++] = (struct thread){id, seconds};
    }
    closedir(tasks);
}

static double seconds_before(const struct usage *before, long id)
{
    for (size_t i = 0; i < before->count; i++)
        if (before->threads[i].id == id)
            return before->threads[i].seconds;
    return 0.0;
}

static int busy_threads(const struct usage *before, struct usage *after)
{
    double busiest = 0.0;
    int busy = 0;
    for (size_t i = 0; i < after->count; i++) {
        struct thread *thread = &after->threads[i];
        thread->seconds -= seconds_before(before, thread->id);
        busiest = thread->seconds > busiest ? thread->seconds : busiest;
    }
    for (size_t i = 0; i < after->count; i++)
        if (after->threads[i].seconds > 0.0 && after->threads[i].seconds >= BUSY_SHARE * busiest)
            busy++;
    return busy;
}

/* --- running a case --------------------------------------------------------------------------- */

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void restore(struct job *job)
{
    memcpy(job->inout, job->saved, job->inout_bytes);
}

static double timed_call(struct job *job)
{
    double start;
    restore(job);
    start = now();
    job->routine->call(job);
    return now() - start;
}

static void release(struct job *job)
{
    free(job->a);
    free(job->b);
    free(job->inout);
    free(job->saved);
    free(job->pivots);
    job->a = job->b = job->inout = job->saved = NULL;
    job->pivots = NULL;
}

/* Returns how many threads were busy. */
static int run_case(struct job *job, struct usage *before, struct usage *after)
{
    double *seconds = allocate_doubles((size_t)job->reps);
    double ratio;
    int busy;
    job->routine->setup(job);
    for (long i = 0; i < job->warmup; i++)
        timed_call(job);
    read_usage(before);
    for (long i = 0; i < job->reps; i++)
        seconds[i] = timed_call(job);
    read_usage(after);
    busy = busy_threads(before, after);
    ratio = job->routine->residual(job);
    for (long i = 0; i < job->reps; i++)
        printf("time %s %.9e\n", job->key, seconds[i]);
    if (is_finite(ratio))
        printf("residual %s %.6e\n", job->key, ratio);
    else
        printf("residual %s inf\n", job->key);
    printf("busy %s %d\n", job->key, busy);
    flush_output();
    release(job);
    free(seconds);
    return busy;
}

/* --- reading the workload --------------------------------------------------------------------- */

struct place {
    const char *path;
    long line;
};

static long long read_number(struct place at, const char *field, const char *word, long long least,
                             long long most)
{
    char *end;
    long long value;
    errno = 0;
    value = strtoll(word, &end, 10);
    if (*word == '\0' || *end != '\0' || errno != 0 || isspace((unsigned char)*word))
        fail(EXIT_USAGE, "%s:%ld: %s: not a number that fits: %s", at.path, at.line, field, word);
    if (value < least || value > most)
        fail(EXIT_USAGE, "%s:%ld: %s: %lld is not in %lld..%lld", at.path, at.line, field, value,
             least, most);
    return value;
}

static size_t read_dimension(struct place at, const char *field, const char *word, int used)
{
    if (!used) {
        if (strcmp(word, "0") != 0)
            fail(EXIT_USAGE, "%s:%ld: %s: must be 0 (the routine does not use it): %s", at.path,
                 at.line, field, word);
        return 0;
    }
    return (size_t)read_number(at, field, word, 1, BLAS_INT_MAX);
}

static char read_letter(struct place at, const char *field, const char *word, int used)
{
    const char *allowed = used ? "NT" : "-";
    if (strlen(word) != 1 || strchr(allowed, *word) == NULL)
        fail(EXIT_USAGE, "%s:%ld: %s: must be %s: %s", at.path, at.line, field,
             used ? "N or T" : "- (the routine does not use it)", word);
    return *word;
}

static void read_key(struct place at, const char *word, char *key)
{
    static const char allowed[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-";
    if (strlen(word) > KEY_LENGTH || word[strspn(word, allowed)] != '\0')
        fail(EXIT_USAGE, "%s:%ld: key: letters, digits, '_', '.' and '-' only, at most %d: %s",
             at.path, at.line, KEY_LENGTH, word);
    strcpy(key, word);
}

static const struct routine *read_routine(struct place at, const char *word)
{
    for (size_t i = 0; i < ROUTINE_COUNT; i++)
        if (strcmp(ROUTINES[i].name, word) == 0)
            return &ROUTINES[i];
    fail(EXIT_USAGE, "%s:%ld: routine: not in this library or not known: %s", at.path, at.line,
         word);
}

enum { KEY, ROUTINE, TRANSA, TRANSB, M, N, K, WARMUP, REPS, FIELDS };

static struct job read_case(struct place at, char *words[FIELDS])
{
    struct job job = {.info = 0};
    const struct routine *routine = read_routine(at, words[ROUTINE]);
    read_key(at, words[KEY], job.key);
    job.routine = routine;
    job.transa = read_letter(at, "transa", words[TRANSA], routine->letters >= 1);
    job.transb = read_letter(at, "transb", words[TRANSB], routine->letters >= 2);
    job.m = read_dimension(at, "m", words[M], routine->uses_m);
    job.n = read_dimension(at, "n", words[N], routine->uses_n);
    job.k = read_dimension(at, "k", words[K], routine->uses_k);
    job.warmup = (long)read_number(at, "warmup", words[WARMUP], 0, MAX_CALLS);
    job.reps = (long)read_number(at, "reps", words[REPS], 1, MAX_CALLS);
    return job;
}

/* The words of a line, cut in place; their number, FIELDS + 1 for more than there may be. */
static int split(char *line, char *words[FIELDS])
{
    static const char blanks[] = " \t\r\n\v\f";
    int count = 0;
    char *rest = NULL;
    line[strcspn(line, "#")] = '\0';
    for (char *word = strtok_r(line, blanks, &rest); word; word = strtok_r(NULL, blanks, &rest)) {
        if (count < FIELDS)
            words[count] = word;
        count += count <= FIELDS;
    }
    return count;
}

struct workload {
    struct job *jobs;
    size_t count, room;
};

static void append(struct workload *workload, struct place at, const struct job *job)
{
    for (size_t i = 0; i < workload->count; i++)
        if (strcmp(workload->jobs[i].key, job->key) == 0)
            fail(EXIT_USAGE, "%s:%ld: key: used before: %s", at.path, at.line, job->key);
    if (workload->count == workload->room) {
        size_t room = workload->room ? 2 * workload->room : 32;
        void *grown = realloc(workload->jobs, product(room, sizeof *workload->jobs));
        if (grown == NULL)
            fail(EXIT_MEMORY, "driver: out of memory: %zu cases", room);
        workload->jobs = grown;
        workload->room = room;
    }
    workload->jobs[workload->count++] = *job;
}

static struct workload read_workload(const char *path)
{
    struct workload workload = {NULL, 0, 0};
    struct place at = {path, 0};
    char *line = NULL;
    size_t room = 0;
    ssize_t length;
    FILE *file = fopen(path, "r");
    if (file == NULL)
        fail(EXIT_USAGE, "%s: cannot read the workload: %s", path, strerror(errno));
    while ((length = getline(&line, &room, file)) >= 0) {
        char *words[FIELDS];
        struct job job;
        int count;
        at.line++;
        if (strlen(line) != (size_t)length)
            fail(EXIT_USAGE, "%s:%ld: a NUL byte is not text", path, at.line);
        count = split(line, words);
        if (count == 0)
            continue;
        if (count != FIELDS)
            fail(EXIT_USAGE, "%s:%ld: %s than the %d fields key routine transa transb m n k warmup "
                 "reps", path, at.line, count < FIELDS ? "fewer" : "more", FIELDS);
        job = read_case(at, words);
        append(&workload, at, &job);
    }
    if (ferror(file))
        fail(EXIT_USAGE, "%s: cannot read the workload: %s", path, strerror(errno));
    fclose(file);
    free(line);
    if (workload.count == 0)
        fail(EXIT_USAGE, "%s: no case in the workload", path);
    return workload;
}

static uint64_t read_seed(const char *word)
{
    char *end;
    unsigned long long value;
    errno = 0;
    value = strtoull(word, &end, 10);
    if (!isdigit((unsigned char)*word) || *end != '\0' || errno != 0)
        fail(EXIT_USAGE, "driver: SEED: not a whole number of 64 bits: %s", word);
    return (uint64_t)value;
}

/* --- main ------------------------------------------------------------------------------------- */

int main(int argc, char **argv)
{
    struct workload workload;
    struct usage before = {0, 0, NULL}, after = {0, 0, NULL};
    uint64_t seed;
    int most = 0;
    if (argc == 2 && strcmp(argv[1], "--info") == 0) {
        print_info();
        printf("done\n");
        flush_output();
        return 0;
    }
    if (argc != 3)
        fail(EXIT_USAGE, "usage: driver WORKLOAD SEED | driver --info");
    seed = read_seed(argv[2]);
    workload = read_workload(argv[1]);
    print_info();
    for (size_t i = 0; i < workload.count; i++) {
        struct job *job = &workload.jobs[i];
        int busy;
        job->random = seed;
        job->random = next_random(&job->random) + i;
        busy = run_case(job, &before, &after);
        most = busy > most ? busy : most;
    }
    printf("threads_busy %d\ndone\n", most);
    flush_output();
    free(workload.jobs);
    free(before.threads);
    free(after.threads);
    return 0;
}
