/* The harness of spmv: main, inputs, buffers, clock and answers. Made by hpcagent.
 *
 * It is compiled apart from the function that it calls, and driven over two named pipes, ASK and
 * TELL, by a process that keeps the times and the verdict. Every answer begins with a number that
 * the driver drew for this run. The inputs follow from a seed that comes with each request.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

void spmv(int32_t rows, int32_t cols, int32_t nonzeros, const int32_t *offsets, const int32_t *columns, const double *values, const double *x, double *y);

enum { IN, OUT, INOUT };
enum { UNIFORM, CONSTANT, CSR_OFFSETS, CSR_COLUMNS };
enum { T_INT, T_LONG, T_FLOAT, T_DOUBLE };
enum { SUBNORMAL = 1, NOT_A_NUMBER = 2, FLUSH = 4, ALIAS_SHIFT = 8 };
enum { ALIGNMENT = 64, CANARY = 0xA5 };

typedef struct {
    const char *name;
    int type, intent, kind, offsets; /* offsets: the array that column indices belong to */
    double low, high;
    int64_t count, bound; /* bound: total of offsets, or what columns are below */
    char *map;            /* guard page, slack, data, slack, guard page */
    size_t mapped, bytes;
    char *data;
} array_t;

static array_t arrays[] = {
    {"offsets", T_INT, IN, CSR_OFFSETS, -1, -1.0, 1.0, 0, 0, NULL, 0, 0, NULL},
    {"columns", T_INT, IN, CSR_COLUMNS, 0, -1.0, 1.0, 0, 0, NULL, 0, 0, NULL},
    {"values", T_DOUBLE, IN, UNIFORM, -1, -1.0, 1.0, 0, 0, NULL, 0, 0, NULL},
    {"x", T_DOUBLE, IN, UNIFORM, -1, -1.0, 1.0, 0, 0, NULL, 0, 0, NULL},
    {"y", T_DOUBLE, OUT, UNIFORM, -1, -1.0, 1.0, 0, 0, NULL, 0, 0, NULL},
};
enum { ARRAYS = sizeof arrays / sizeof arrays[0], SIZES = 3 };
static const int aliases[][2] = { { -1, -1 } };
static int64_t sizes[SIZES + 1];
static int rank, ranks = 1;
static uint64_t nonce;
static int tell_fd = -1;
static size_t page;

/* The clock without the C library, whose functions the other objects of a program can replace. */
static inline int64_t now_ns(void)
{
    struct timespec t = {0, 0};
#if defined(__x86_64__)
    long result;
    __asm__ volatile("syscall" : "=a"(result)
                     : "0"((long)SYS_clock_gettime), "D"((long)CLOCK_MONOTONIC), "S"(&t)
                     : "rcx", "r11", "memory");
#elif defined(__aarch64__)
    register long number __asm__("x8") = SYS_clock_gettime;
    register long first __asm__("x0") = CLOCK_MONOTONIC;
    register struct timespec *second __asm__("x1") = &t;
    __asm__ volatile("svc 0" : "+r"(first) : "r"(number), "r"(second) : "memory");
#else
    clock_gettime(CLOCK_MONOTONIC, &t);
#endif
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* splitmix64: G. L. Steele, D. Lea, C. H. Flood, Fast splittable pseudorandom number generators,
 * OOPSLA 2014. */
static uint64_t next(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9E3779B97F4A7C15));
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

static double unit(uint64_t *state)
{
    return (double)(next(state) >> 11) * 0x1p-53;
}

static size_t width(int type)
{
    return type == T_INT || type == T_FLOAT ? 4 : 8;
}

static void tell(const char *words, uint64_t token)
{
    char line[512];
    int length;
    if (rank)
        return;
    length = snprintf(line, sizeof line, "%" PRIu64 " %" PRIu64 " %s\n", nonce, token, words);
    if (write(tell_fd, line, (size_t)length) != length)
        _exit(91);
}

static void give_up(const char *what)
{
    fprintf(stderr, "harness: %s: %s\n", what, strerror(errno));
    _exit(92);
}

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifdef SANITIZED
void __asan_poison_memory_region(void const volatile *, size_t);
void __asan_unpoison_memory_region(void const volatile *, size_t);
#define POISON(p, n) __asan_poison_memory_region(p, n)
#define UNPOISON(p, n) __asan_unpoison_memory_region(p, n)
#else
#define POISON(p, n) ((void)(p), (void)(n))
#define UNPOISON(p, n) ((void)(p), (void)(n))
#endif

/* When a call began lies in a page that is sealed while the function works. The address is part of the
 * code, so that no write of the function's reaches either. */
#ifdef SANITIZED
#define SEALED ((volatile int64_t *)UINT64_C(0x2a5e00000000))
#else
#define SEALED ((volatile int64_t *)UINT64_C(0x1a5e000000))
#endif
#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif
enum { SEAL_NS = 10000 }; /* more than sealing takes, unless something comes between */

static void obtain_seal(void)
{
    int how = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
    void *got = mmap((void *)SEALED, page, PROT_READ | PROT_WRITE, how, -1, 0);
    if (got != (void *)SEALED)
        give_up("a page for the clock");
}

static void seal(int how)
{
    if (mprotect((void *)SEALED, page, how))
        give_up("mprotect");
}

static void let_go(array_t *a)
{
    if (!a->map)
        return;
    UNPOISON(a->map, a->mapped);
    munmap(a->map, a->mapped);
    a->map = a->data = NULL;
}

static size_t inner(const array_t *a)
{
    return a->mapped - 2 * page;
}

/* The data end as close to the guard page as their alignment allows; canaries fill the slack. */
static void obtain(array_t *a)
{
    size_t padded, room;
    a->bytes = (size_t)a->count * width(a->type);
    padded = (a->bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    room = (padded + page - 1) / page * page;
    if (!room)
        room = page;
    a->mapped = room + 2 * page;
    a->map = mmap(NULL, a->mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (a->map == MAP_FAILED || mprotect(a->map + page, room, PROT_READ | PROT_WRITE))
        give_up("memory for an argument");
    a->data = a->map + page + room - padded;
    memset(a->map + page, CANARY, (size_t)(a->data - a->map) - page);
    memset(a->data + a->bytes, CANARY, padded - a->bytes);
}

static void protect(array_t *a, int how)
{
    if (mprotect(a->map + page, inner(a), how))
        give_up("mprotect");
}

static int intact(array_t *a)
{
    const unsigned char *at = (const unsigned char *)a->map + page;
    const unsigned char *data = (const unsigned char *)a->data, *end = at + inner(a);
    UNPOISON(at, inner(a));
    for (; at < data; at++)
        if (*at != CANARY)
            return 0;
    for (at = data + a->bytes; at < end; at++)
        if (*at != CANARY)
            return 0;
    return 1;
}

static void fence(array_t *a)
{
    POISON(a->map + page, (size_t)(a->data - a->map) - page);
    POISON(a->data + a->bytes, (size_t)(a->map + page + inner(a) - (a->data + a->bytes)));
}

static void put(array_t *a, int64_t i, double value)
{
    switch (a->type) {
    case T_INT: ((int32_t *)a->data)[i] = (int32_t)value; break;
    case T_LONG: ((int64_t *)a->data)[i] = (int64_t)value; break;
    case T_FLOAT: ((float *)a->data)[i] = (float)value; break;
    default: ((double *)a->data)[i] = value;
    }
}

static int64_t whole(const array_t *a, int64_t i)
{
    return a->type == T_INT ? ((const int32_t *)a->data)[i] : ((const int64_t *)a->data)[i];
}

static double drawn(const array_t *a, uint64_t *state, int variant)
{
    double value = a->kind == CONSTANT ? a->low : a->low + (a->high - a->low) * unit(state);
    if (a->type == T_INT || a->type == T_LONG)
        return floor(value);
    if (variant & SUBNORMAL)
        return value * (a->type == T_FLOAT ? 0x1p-130 : 0x1p-1030);
    return value;
}

static void fill_columns(array_t *a, uint64_t *state)
{
    const array_t *offsets = &arrays[a->offsets];
    int64_t row, k, first, count;
    for (row = 0; row + 1 < offsets->count; row++) {
        first = whole(offsets, row);
        count = whole(offsets, row + 1) - first;
        for (k = 0; k < count; k++)
            put(a, first + k, floor(((double)k + unit(state)) * (double)a->bound / (double)count));
    }
}

static void fill_offsets(array_t *a, uint64_t *state)
{
    int64_t i, rows = a->count - 1;
    for (i = 0; i < a->count; i++) {
        double at = rows > 0 ? (double)i : 0.0;
        if (i > 0 && i < rows)
            at += unit(state) - 0.5; /* rows differ in length */
        put(a, i, rows > 0 ? floor(at * (double)a->bound / (double)rows) : 0.0);
    }
}

static void fill(array_t *a, uint64_t seed, int variant)
{
    uint64_t state = seed;
    int64_t i;
    next(&state);
    if (a->intent == OUT) {
        for (i = 0; i < a->count; i++)
            put(a, i, a->type == T_INT || a->type == T_LONG ? 1515870810.0 : (double)NAN);
        return;
    }
    if (a->kind == CSR_OFFSETS) {
        fill_offsets(a, &state);
    } else if (a->kind == CSR_COLUMNS) {
        fill_columns(a, &state);
    } else {
        for (i = 0; i < a->count; i++)
            put(a, i, drawn(a, &state, variant));
        if ((variant & NOT_A_NUMBER) && a->count && a->type != T_INT && a->type != T_LONG)
            put(a, (int64_t)(next(&state) % (uint64_t)a->count), (double)NAN);
    }
}

/* Numbers are the same on all ranks, arrays differ. */
static uint64_t seed_of(uint64_t seed, int index, int of_rank)
{
    uint64_t state = seed ^ ((uint64_t)(index + 1) << 48) ^ ((uint64_t)of_rank << 40);
    return next(&state);
}

static array_t *in_place(int index, int alias)
{
    return alias && index == aliases[alias - 1][1] ? &arrays[aliases[alias - 1][0]] : &arrays[index];
}

static void prepare(uint64_t seed, int variant)
{
    int i, pass, alias = variant >> ALIAS_SHIFT;
    for (i = 0; i < ARRAYS; i++)
        let_go(&arrays[i]);
    for (i = 0; i < ARRAYS; i++)
        obtain(&arrays[i]);
    for (pass = 0; pass < 2; pass++) /* what only comes out first: inputs may lie in its place */
        for (i = 0; i < ARRAYS; i++)
            if ((arrays[i].intent == OUT) == (pass == 0)) {
                array_t kept = *in_place(i, alias);
                kept.intent = arrays[i].intent;
                kept.kind = arrays[i].kind;
                kept.low = arrays[i].low, kept.high = arrays[i].high;
                kept.offsets = arrays[i].offsets, kept.bound = arrays[i].bound;
                fill(&kept, seed_of(seed, i, rank), variant);
            }
    for (i = 0; i < ARRAYS; i++)
        fence(&arrays[i]);
}

static void call(uint64_t seed, int variant)
{
    int alias = variant >> ALIAS_SHIFT;
    (void)seed, (void)alias;
    spmv((int32_t)sizes[0], (int32_t)sizes[1], (int32_t)sizes[2], (int32_t *)in_place(0, alias)->data, (int32_t *)in_place(1, alias)->data, (double *)in_place(2, alias)->data, (double *)in_place(3, alias)->data, (double *)in_place(4, alias)->data);
}

/* Inputs may only be read while the function works; afterwards nothing may be written any more. */
static void shut(int variant, int after)
{
    int i, alias = variant >> ALIAS_SHIFT;
    for (i = 0; i < ARRAYS; i++) {
        int shared = alias && (aliases[alias - 1][0] == i || aliases[alias - 1][1] == i);
        if (after || (arrays[i].intent == IN && !shared))
            protect(&arrays[i], PROT_READ);
    }
}

static void run(uint64_t token, uint64_t seed, int variant, long calls)
{
    char words[160];
    int64_t began, ended;
    double ns, slowest;
    int i, good = 1, all = 1;
    long n;
    shut(variant, 0);
    SEALED[0] = now_ns();
    seal(PROT_READ);
    began = now_ns();
    for (n = 0; n < calls; n++)
        call(seed, variant);
    ended = now_ns();
    if (began < SEALED[0] || began - SEALED[0] > SEAL_NS)
        began = SEALED[0]; /* it was moved, or the node was busy just then */
    seal(PROT_READ | PROT_WRITE);
    shut(variant, 1);
    slowest = ns = (double)(ended - began);
    for (i = 0; i < ARRAYS; i++)
        good = good && intact(&arrays[i]);
    all = good;
    snprintf(words, sizeof words, "done %.0f %s", slowest, all ? "intact" : "overwritten");
    tell(words, token);
}

static void dump(uint64_t token, int variant, const char *path)
{
    char own[PATH_MAX + 16];
    FILE *file;
    int i;
    snprintf(own, sizeof own, "%s.%d", path, rank);
    file = fopen(own, "wb");
    if (!file)
        give_up(own);
    for (i = 0; i < ARRAYS; i++)
        if (arrays[i].intent != IN) {
            const array_t *a = in_place(i, variant >> ALIAS_SHIFT);
            if (fwrite(a->data, 1, a->bytes, file) != a->bytes)
                give_up(own);
        }
    if (fclose(file))
        give_up(own);
    tell("dumped", token);
}

/* P TOKEN SEED VARIANT SIZES... (COUNT BOUND)...: prepare; G TOKEN CALLS: run; D TOKEN PATH: dump; Q */
static void obey(char *line)
{
    static uint64_t seed;
    static int variant;
    char *at = line + 1;
    uint64_t token = strtoull(at, &at, 10);
    int i;
    if (line[0] == 'P') {
        seed = strtoull(at, &at, 10);
        variant = (int)strtol(at, &at, 10);
        for (i = 0; i < SIZES; i++)
            sizes[i] = strtoll(at, &at, 10);
        for (i = 0; i < ARRAYS; i++) {
            arrays[i].count = strtoll(at, &at, 10);
            arrays[i].bound = strtoll(at, &at, 10);
        }
        prepare(seed, variant);
        tell("ready", token);
    } else if (line[0] == 'G') {
        run(token, seed, variant, strtol(at, &at, 10));
    } else if (line[0] == 'D') {
        at += *at == ' ';
        at[strcspn(at, "\n")] = 0;
        dump(token, variant, at);
    }
}

int main(int argc, char **argv)
{
    static char line[8192];
    FILE *ask = NULL;
    if (argc != 3)
        return 90;
    page = (size_t)sysconf(_SC_PAGESIZE);
    obtain_seal();
    if (!rank) {
        ask = fopen(argv[1], "r");
        tell_fd = open(argv[2], O_WRONLY | O_CLOEXEC);
        if (!ask || tell_fd < 0)
            give_up("the pipes");
        if (!fgets(line, sizeof line, ask))
            return 93;
        nonce = strtoull(line, NULL, 10);
        memset(line, 0, sizeof line);
    }
    tell("hello", 0);
    for (;;) {
        if (!rank && !fgets(line, sizeof line, ask))
            line[0] = 'Q';
        if (line[0] == 'Q')
            break;
        obey(line);
    }
    tell("bye", 0);
    return 0;
}
