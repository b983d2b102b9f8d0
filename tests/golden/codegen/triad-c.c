/* The harness of triad: main, inputs, buffers, clock and answers. Made by hpcagent.
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
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#ifdef _OPENMP
#include <omp.h>
#endif

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

void hpcagent_candidate(int64_t n, double s, double *a, const double *b, const double *c) __asm__("triad");

/* The one door to the kernel: what the harness asks of it goes through this function, not through the C
 * library, whose functions an object could replace, and whose calls the filter restricts. Gives the
 * negative of errno where it fails. */
#if defined(__clang__)
#define DOOR __attribute__((noinline))
#elif defined(__GNUC__)
#define DOOR __attribute__((noinline, noclone))
#else
#define DOOR
#endif
enum { DOOR_BYTES = 64 }; /* at most */

static DOOR long kernel(long number, long a, long b, long c, long d)
{
#if defined(__x86_64__)
    long result;
    register long fourth __asm__("r10") = d;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "0"(number), "D"(a), "S"(b), "d"(c), "r"(fourth)
                     : "rcx", "r11", "memory");
    return result;
#elif defined(__aarch64__)
    register long eighth __asm__("x8") = number;
    register long first __asm__("x0") = a, second __asm__("x1") = b, third __asm__("x2") = c;
    register long fourth __asm__("x3") = d;
    __asm__ volatile("svc 0"
                     : "+r"(first)
                     : "r"(eighth), "r"(second), "r"(third), "r"(fourth)
                     : "memory");
    return first;
#else
    long result = syscall(number, a, b, c, d);
    return result < 0 ? -(long)errno : result;
#endif
}

static int64_t now_ns(void)
{
    struct timespec t = {0, 0};
    kernel(SYS_clock_gettime, CLOCK_MONOTONIC, (long)&t, 0, 0);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void give_up(const char *what)
{
    fprintf(stderr, "harness: %s: %s\n", what, strerror(errno));
    _exit(92);
}

static void protect(void *at, size_t bytes, int how)
{
    long failed = kernel(SYS_mprotect, (long)at, (long)bytes, how, 0);
    errno = failed ? (int)-failed : errno;
    if (failed)
        give_up("mprotect");
}

/* Rounding, subnormals, traps and precision of this thread; flags of what has happened left out. */
static uint32_t modes(void)
{
#if defined(__x86_64__)
    uint32_t vector;
    uint16_t stack;
    __asm__ volatile("stmxcsr %0" : "=m"(vector));
    __asm__ volatile("fnstcw %0" : "=m"(stack));
    return (vector & 0xffc0) << 16 | stack;
#elif defined(__aarch64__)
    uint64_t control;
    __asm__ volatile("mrs %0, fpcr" : "=r"(control));
    return (uint32_t)control;
#else
    return 0;
#endif
}

/* Of this process; 0 where /proc is not to be seen. */
static long threads(void)
{
    struct stat found;
    return stat("/proc/self/task", &found) ? 0 : (long)found.st_nlink;
}

enum { IN, OUT, INOUT };
enum { UNIFORM, CONSTANT, CSR_OFFSETS, CSR_COLUMNS };
enum { T_INT, T_LONG, T_FLOAT, T_DOUBLE };
enum { SUBNORMAL = 1, NOT_A_NUMBER = 2, FLUSH = 4, ALIAS_SHIFT = 8 };
enum { ALIGNMENT = 64, CANARY = 0xA5 };
enum { ARRAYS = 3, SIZES = 1, LINE = 8192, SAID = 512 };

typedef struct {
    const char *name;
    int type, intent, kind, offsets; /* offsets: the array that column indices belong to */
    double low, high;
    int64_t count, bound; /* bound: total of offsets, or what columns are below */
    char *map;            /* guard page, slack, data, slack, guard page */
    size_t mapped, bytes;
    char *data;
} array_t;

static const array_t declared[ARRAYS] = {
    {"a", T_DOUBLE, OUT, UNIFORM, -1, -1.0, 1.0, 0, 0, NULL, 0, 0, NULL},
    {"b", T_DOUBLE, IN, UNIFORM, -1, -1.0, 1.0, 0, 0, NULL, 0, 0, NULL},
    {"c", T_DOUBLE, IN, UNIFORM, -1, -1.0, 1.0, 0, 0, NULL, 0, 0, NULL},
};
static const int aliases[][2] = { { 0, 1 }, { -1, -1 } };

/* What a call is made with. */
typedef struct {
    void *data[ARRAYS];
    int64_t sizes[SIZES + 1];
    double number_s;
} arguments_t;

/* All that the harness knows, in pages of its own that nobody reaches while the function works. Their
 * address is part of the code, so that there is no pointer to it that could be written. */
typedef struct {
    array_t arrays[ARRAYS];
    int64_t sizes[SIZES + 1], began;
    int rank, ranks, variant, ask_fd, tell_fd;
    uint64_t nonce, seed;
    long threads;
    size_t page, held; /* held: bytes of the pipe that are in `line` */
    char line[LINE], said[SAID];
} state_t;
#ifdef SANITIZED
#define state ((state_t *)UINT64_C(0x2a5e00000000))
#else
#define state ((state_t *)UINT64_C(0x1a5e000000))
#endif
#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif
enum { SEAL_NS = 10000 }; /* more than sealing takes, unless something comes between */

static void obtain_state(void)
{
    int how = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
    if (mmap(state, sizeof *state, PROT_READ | PROT_WRITE, how, -1, 0) != (void *)state)
        give_up("pages for the harness");
    memcpy(state->arrays, declared, sizeof declared);
    state->ranks = 1;
    state->tell_fd = state->ask_fd = -1;
    state->page = (size_t)sysconf(_SC_PAGESIZE);
    state->threads = threads();
}

static void seal(int how)
{
    protect(state, sizeof *state, how);
}

/* Inputs that follow from a seed, in buffers between guard pages and canaries. */

/* splitmix64: G. L. Steele, D. Lea, C. H. Flood, Fast splittable pseudorandom number generators,
 * OOPSLA 2014. */
static uint64_t next(uint64_t *from)
{
    uint64_t z = (*from += UINT64_C(0x9E3779B97F4A7C15));
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

static double unit(uint64_t *from)
{
    return (double)(next(from) >> 11) * 0x1p-53;
}

static size_t width(int type)
{
    return type == T_INT || type == T_FLOAT ? 4 : 8;
}

static void let_go(array_t *a)
{
    if (!a->map)
        return;
    UNPOISON(a->map, a->mapped);
    kernel(SYS_munmap, (long)a->map, (long)a->mapped, 0, 0);
    a->map = a->data = NULL;
}

static size_t inner(const array_t *a)
{
    return a->mapped - 2 * state->page;
}

static void allow(array_t *a, int how)
{
    protect(a->map + state->page, inner(a), how);
}

/* The data end as close to the guard page as their alignment allows; canaries fill the slack. */
static void obtain(array_t *a)
{
    size_t padded, room, page = state->page;
    a->bytes = (size_t)a->count * width(a->type);
    padded = (a->bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    room = (padded + page - 1) / page * page;
    if (!room)
        room = page;
    a->mapped = room + 2 * page;
    a->map = mmap(NULL, a->mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (a->map == MAP_FAILED)
        give_up("memory for an argument");
    allow(a, PROT_READ | PROT_WRITE);
    a->data = a->map + page + room - padded;
    memset(a->map + page, CANARY, (size_t)(a->data - a->map) - page);
    memset(a->data + a->bytes, CANARY, padded - a->bytes);
}

static int intact(array_t *a)
{
    const unsigned char *at = (const unsigned char *)a->map + state->page;
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
    POISON(a->map + state->page, (size_t)(a->data - a->map) - state->page);
    POISON(a->data + a->bytes, (size_t)(a->map + state->page + inner(a) - (a->data + a->bytes)));
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

static double drawn(const array_t *a, uint64_t *from, int variant)
{
    double value = a->kind == CONSTANT ? a->low : a->low + (a->high - a->low) * unit(from);
    if (a->type == T_INT || a->type == T_LONG)
        return floor(value);
    if (variant & SUBNORMAL)
        return value * (a->type == T_FLOAT ? 0x1p-130 : 0x1p-1030);
    return value;
}

static void fill_columns(array_t *a, uint64_t *from)
{
    const array_t *offsets = &state->arrays[a->offsets];
    int64_t row, k, first, count;
    for (row = 0; row + 1 < offsets->count; row++) {
        first = whole(offsets, row);
        count = whole(offsets, row + 1) - first;
        for (k = 0; k < count; k++)
            put(a, first + k, floor(((double)k + unit(from)) * (double)a->bound / (double)count));
    }
}

static void fill_offsets(array_t *a, uint64_t *from)
{
    int64_t i, rows = a->count - 1;
    for (i = 0; i < a->count; i++) {
        double at = rows > 0 ? (double)i : 0.0;
        if (i > 0 && i < rows)
            at += unit(from) - 0.5; /* rows differ in length */
        put(a, i, rows > 0 ? floor(at * (double)a->bound / (double)rows) : 0.0);
    }
}

static void fill(array_t *a, uint64_t seed, int variant)
{
    uint64_t from = seed;
    int64_t i;
    next(&from);
    if (a->intent == OUT) {
        for (i = 0; i < a->count; i++)
            put(a, i, a->type == T_INT || a->type == T_LONG ? 1515870810.0 : (double)NAN);
        return;
    }
    if (a->kind == CSR_OFFSETS) {
        fill_offsets(a, &from);
    } else if (a->kind == CSR_COLUMNS) {
        fill_columns(a, &from);
    } else {
        for (i = 0; i < a->count; i++)
            put(a, i, drawn(a, &from, variant));
        if ((variant & NOT_A_NUMBER) && a->count && a->type != T_INT && a->type != T_LONG)
            put(a, (int64_t)(next(&from) % (uint64_t)a->count), (double)NAN);
    }
}

/* Numbers are the same on all ranks, arrays differ. */
static uint64_t seed_of(uint64_t seed, int index, int of_rank)
{
    uint64_t from = seed ^ ((uint64_t)(index + 1) << 48) ^ ((uint64_t)of_rank << 40);
    return next(&from);
}

static array_t *in_place(int index, int alias)
{
    array_t *arrays = state->arrays;
    return alias && index == aliases[alias - 1][1] ? &arrays[aliases[alias - 1][0]] : &arrays[index];
}

/* Nobody sees the inputs before the clock runs: a thread that was left could work ahead. */
static void prepare(void)
{
    int i, pass, alias = state->variant >> ALIAS_SHIFT;
    array_t *arrays = state->arrays;
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
                fill(&kept, seed_of(state->seed, i, state->rank), state->variant);
            }
    for (i = 0; i < ARRAYS; i++) {
        fence(&arrays[i]);
        allow(&arrays[i], PROT_NONE);
    }
}

/* Inputs may only be read while the function works. */
static void open_up(void)
{
    int i, alias = state->variant >> ALIAS_SHIFT;
    for (i = 0; i < ARRAYS; i++) {
        int shared = alias && (aliases[alias - 1][0] == i || aliases[alias - 1][1] == i);
        int reads = state->arrays[i].intent == IN && !shared;
        allow(&state->arrays[i], reads ? PROT_READ : PROT_READ | PROT_WRITE);
    }
}

/* What has come out may be written no more. */
static void shut(void)
{
    int i;
    for (i = 0; i < ARRAYS; i++)
        allow(&state->arrays[i], PROT_READ);
}

/* From now on only the door may ask the kernel for what matters: a filter of seccomp(2). Instructions
 * of the function's own that call the kernel end the program. Libraries may allocate, wait and read, but
 * neither write files or pipes, start or signal processes, make code, nor reach the sealed pages. */
#if defined(__has_include)
#if __has_include(<linux/seccomp.h>) && __has_include(<linux/filter.h>)
#if (defined(__x86_64__) || defined(__aarch64__)) && !defined(SANITIZED)
#define CAN_FILTER 1
#endif
#endif
#endif
#ifdef CAN_FILTER
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>

#ifdef __x86_64__
#define OWN_ARCHITECTURE AUDIT_ARCH_X86_64
#else
#define OWN_ARCHITECTURE AUDIT_ARCH_AARCH64
#endif
#ifndef SECCOMP_RET_KILL_PROCESS
#define SECCOMP_RET_KILL_PROCESS 0x80000000u
#endif
#define REFUSE (SECCOMP_RET_ERRNO | EPERM)
#define FIELD(name) ((uint32_t)offsetof(struct seccomp_data, name))
#define LOW(n) ((uint32_t)(FIELD(args) + 8 * (n)))
#define HIGH(n) (LOW(n) + 4)

enum { MOST_RULES = 256, FOREIGN_NUMBERS = 0x40000000 }; /* of x32, which means other calls */
extern const char __executable_start[] __attribute__((weak)), etext[] __attribute__((weak));

static struct sock_filter rules[MOST_RULES];
static unsigned short rule_count;

static void rule(int code, uint32_t value, int yes, int no)
{
    struct sock_filter one = BPF_JUMP((unsigned short)code, value, (uint8_t)yes, (uint8_t)no);
    if (rule_count < MOST_RULES)
        rules[rule_count++] = one;
}

static void load(uint32_t field)
{
    rule(BPF_LD | BPF_W | BPF_ABS, field, 0, 0);
}

static void answer(uint32_t value)
{
    rule(BPF_RET | BPF_K, value, 0, 0);
}

static void where(int how, uint32_t value, uint32_t then)
{
    rule(BPF_JMP | how | BPF_K, value, 0, 1);
    answer(then);
}

/* For instructions from `first` up to `last`, which lie in one piece of 4 GiB. */
static void from(uint64_t first, uint64_t last, uint32_t then)
{
    if (first >> 32 != last >> 32)
        return;
    load(FIELD(instruction_pointer) + 4);
    rule(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(first >> 32), 0, 4);
    load(FIELD(instruction_pointer));
    rule(BPF_JMP | BPF_JGE | BPF_K, (uint32_t)first, 0, 2);
    rule(BPF_JMP | BPF_JGE | BPF_K, (uint32_t)last, 1, 0);
    answer(then);
    load(FIELD(nr));
}

/* Of this call, where `field` and `value` are so: 1 equal, 2 has a bit of it, 3 is at least. */
static void refuse(long number, uint32_t field, int how, uint32_t value)
{
    static const int hows[] = {0, BPF_JEQ, BPF_JSET, BPF_JGE};
    rule(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)number, 0, 4);
    load(field);
    rule(BPF_JMP | hows[how] | BPF_K, value, 0, 1);
    answer(REFUSE);
    load(FIELD(nr));
}

/* Calls that change what is mapped at an address that libraries have no business with. */
static void refuse_low_addresses(long number)
{
    uint32_t most = (uint32_t)((uint64_t)(uintptr_t)state >> 32);
    rule(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)number, 0, 4);
    load(HIGH(0));
    rule(BPF_JMP | BPF_JGT | BPF_K, most, 1, 0);
    answer(REFUSE);
    load(FIELD(nr));
}

static const short harmless[] = {
    SYS_brk, SYS_clock_getres, SYS_clock_gettime, SYS_clock_nanosleep, SYS_close, SYS_exit,
    SYS_exit_group, SYS_fstat, SYS_futex, SYS_get_mempolicy, SYS_getcpu, SYS_getpid, SYS_getppid,
    SYS_getrandom, SYS_gettid, SYS_lseek, SYS_madvise, SYS_mmap, SYS_mprotect, SYS_mremap, SYS_munmap,
    SYS_nanosleep, SYS_openat, SYS_read, SYS_rt_sigprocmask, SYS_rt_sigreturn, SYS_sched_getaffinity,
    SYS_sched_yield, SYS_set_robust_list, SYS_set_tid_address, SYS_tgkill, SYS_uname, SYS_write,
    SYS_writev,
#ifdef SYS_open
    SYS_open, SYS_stat,
#endif
#ifdef SYS_newfstatat
    SYS_newfstatat,
#endif
#ifdef SYS_rseq
    SYS_rseq,
#endif
#ifdef _OPENMP
    SYS_clone, SYS_sched_setaffinity,
#endif
};

static void add_rules(void)
{
    uint64_t door = (uint64_t)(uintptr_t)kernel, code = (uint64_t)(uintptr_t)__executable_start;
    uint64_t end = (uint64_t)(uintptr_t)etext, library = (uint64_t)(uintptr_t)getppid;
    size_t i;
    load(FIELD(arch));
    rule(BPF_JMP | BPF_JEQ | BPF_K, OWN_ARCHITECTURE, 1, 0);
    answer(SECCOMP_RET_KILL_PROCESS);
    load(FIELD(nr));
    where(BPF_JGE, FOREIGN_NUMBERS, SECCOMP_RET_KILL_PROCESS);
    from(door, door + DOOR_BYTES, SECCOMP_RET_ALLOW);
    if (code && end > code && !(library >= code && library < end)) /* else it is linked statically */
        from(code, end, SECCOMP_RET_KILL_PROCESS);
    refuse_low_addresses(SYS_mprotect);
    refuse_low_addresses(SYS_munmap);
    refuse_low_addresses(SYS_mremap);
    refuse_low_addresses(SYS_madvise);
    refuse(SYS_mmap, LOW(3), 2, MAP_FIXED);
    refuse(SYS_mmap, LOW(2), 2, PROT_EXEC);
    refuse(SYS_mremap, LOW(3), 2, 2); /* MREMAP_FIXED */
    refuse(SYS_mprotect, LOW(2), 2, PROT_EXEC);
    refuse(SYS_openat, LOW(2), 2, O_WRONLY | O_RDWR | O_CREAT);
#ifdef SYS_open
    refuse(SYS_open, LOW(1), 2, O_WRONLY | O_RDWR | O_CREAT);
#endif
    refuse(SYS_write, LOW(0), 3, 3);
    refuse(SYS_writev, LOW(0), 3, 3);
    refuse(SYS_read, LOW(0), 1, (uint32_t)state->ask_fd);
    rule(BPF_JMP | BPF_JEQ | BPF_K, SYS_tgkill, 0, 4); /* abort signals itself */
    load(LOW(0));
    rule(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)getpid(), 1, 0);
    answer(REFUSE);
    load(FIELD(nr));
    rule(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 4);
    load(LOW(0));
    rule(BPF_JMP | BPF_JSET | BPF_K, 0x00010000 /* CLONE_THREAD */, 1, 0);
    answer(REFUSE);
    load(FIELD(nr));
#ifdef SYS_clone3
    where(BPF_JEQ, SYS_clone3, SECCOMP_RET_ERRNO | ENOSYS); /* its flags cannot be looked at */
#endif
    for (i = 0; i < sizeof harmless / sizeof harmless[0]; i++)
        where(BPF_JEQ, (uint32_t)harmless[i], SECCOMP_RET_ALLOW);
    answer(REFUSE);
}

/* Empty: it stands; else why not. */
static const char *filter_calls(void)
{
    struct sock_fprog program = {0, rules};
    add_rules();
    program.len = rule_count;
    if (rule_count >= MOST_RULES)
        return "too many rules";
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
        return strerror(errno);
    return "";
}
#elif defined(SANITIZED)
static const char *filter_calls(void)
{
    return ""; /* sanitizers ask the kernel for much, and watch the function themselves */
}
#else
static const char *filter_calls(void)
{
    return "not written for this processor, or the headers of the kernel are missing";
}
#endif

/* Everything that is said is put together in the sealed pages: on the stack the number that makes an
 * answer ours would lie where the function finds it. */
static char *add_number(char *at, uint64_t value)
{
    int i, length = 1;
    uint64_t left;
    for (left = value; left > 9; left /= 10)
        length++;
    for (i = length; i--; value /= 10)
        at[i] = (char)('0' + value % 10);
    at[length] = ' ';
    return at + length + 1;
}

static void tell(uint64_t token, const char *word, int64_t number, const char *more)
{
    char *at = state->said;
    long length;
    if (state->rank)
        return;
    memset(state->said, 0, SAID);
    at = add_number(at, state->nonce);
    at = add_number(at, token);
    at = stpcpy(at, word);
    *at++ = ' ';
    if (number >= 0)
        at = add_number(at, (uint64_t)number);
    at = stpncpy(at, more, 200);
    *at++ = '\n';
    length = (long)(at - state->said);
    if (kernel(SYS_write, state->tell_fd, (long)state->said, length, 0) != length)
        _exit(91);
}

/* The next line of the pipe into state->line, which ends there; 0: there is none. */
static int hear(void)
{
    char *line = state->line;
    size_t used = strlen(line) + 1;
    long got;
    if (state->held) { /* what came behind the last line */
        state->held -= used;
        memmove(line, line + used, state->held);
    }
    while (!memchr(line, '\n', state->held)) {
        got = state->held < LINE - 1
                  ? kernel(SYS_read, state->ask_fd, (long)(line + state->held), (long)(LINE - 1 - state->held), 0)
                  : 0;
        if (got == -EINTR)
            continue;
        if (got <= 0)
            return 0;
        state->held += (size_t)got;
    }
    *(char *)memchr(line, '\n', state->held) = 0;
    return 1;
}

static void collect(arguments_t *given)
{
    int i, alias = state->variant >> ALIAS_SHIFT;
    memset(given, 0, sizeof *given);
    for (i = 0; i < ARRAYS; i++)
        given->data[i] = in_place(i, alias)->data;
    memcpy(given->sizes, state->sizes, sizeof given->sizes);
    {
        uint64_t from = seed_of(state->seed, 4, 0);
        given->number_s = (double)(0.5 + (2.0 - 0.5) * unit(&from));
    }
}

static void call(const arguments_t *given)
{
    hpcagent_candidate((int64_t)given->sizes[0], given->number_s, (double *)given->data[0], (double *)given->data[1], (double *)given->data[2]);
}

/* What the function did besides its work: 0 nothing, else the number of a word. */
enum { INTACT, OVERWRITTEN, MODES, THREADS };
static const char *const judgements[] = {"intact", "overwritten", "modes", "threads"};

static int judge(uint32_t modes_before)
{
    int i, found = modes() == modes_before ? INTACT : MODES;
    for (i = 0; i < ARRAYS; i++)
        if (!intact(&state->arrays[i]))
            found = OVERWRITTEN;
    return found;
}

static void run(uint64_t token, long calls)
{
    arguments_t given;
    int64_t began, ended;
    double ns, slowest;
    int own, worst;
    uint32_t modes_before = modes();
    long n;
    collect(&given);
    open_up();
    state->began = now_ns();
    seal(PROT_NONE);
    began = now_ns();
    for (n = 0; n < calls; n++)
        call(&given);
    ended = now_ns();
    seal(PROT_READ | PROT_WRITE);
    if (began < state->began || began - state->began > SEAL_NS)
        began = state->began; /* it was moved, or the node was busy just then */
    shut();
    slowest = ns = (double)(ended > began ? ended - began : 0);
    worst = own = judge(modes_before);
    tell(token, "done", (int64_t)slowest, judgements[worst]);
}

/* A file of its own: neither one that is there already, nor what a link points to. */
static void dump(uint64_t token, const char *path)
{
    char own[PATH_MAX + 16];
    int i, file, how = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    snprintf(own, sizeof own, "%s.%d", path, state->rank);
    file = (int)kernel(SYS_openat, AT_FDCWD, (long)own, how, 0600);
    if (file < 0)
        give_up(own);
    for (i = 0; i < ARRAYS; i++)
        if (state->arrays[i].intent != IN) {
            const array_t *a = in_place(i, state->variant >> ALIAS_SHIFT);
            size_t done = 0;
            while (done < a->bytes) {
                long wrote = kernel(SYS_write, file, (long)(a->data + done), (long)(a->bytes - done), 0);
                if (wrote <= 0)
                    give_up(own);
                done += (size_t)wrote;
            }
        }
    if (kernel(SYS_close, file, 0, 0, 0))
        give_up(own);
    tell(token, "dumped", -1, "");
}

/* P TOKEN SEED VARIANT SIZES... (COUNT BOUND)...: prepare; G TOKEN CALLS: run; D TOKEN PATH: dump;
 * T TOKEN NUMBER: so many threads from now on; Q */
static void obey(char *line)
{
    char *at = line + 1;
    uint64_t token = strtoull(at, &at, 10);
    int i;
    if (line[0] == 'P') {
        state->seed = strtoull(at, &at, 10);
        state->variant = (int)strtol(at, &at, 10);
        for (i = 0; i < SIZES; i++)
            state->sizes[i] = strtoll(at, &at, 10);
        for (i = 0; i < ARRAYS; i++) {
            state->arrays[i].count = strtoll(at, &at, 10);
            state->arrays[i].bound = strtoll(at, &at, 10);
        }
        prepare();
        tell(token, "ready", -1, "");
    } else if (line[0] == 'G') {
        run(token, strtol(at, &at, 10));
    } else if (line[0] == 'D') {
        dump(token, at + (*at == ' '));
    } else if (line[0] == 'T') {
#ifdef _OPENMP
        omp_set_num_threads((int)strtol(at, &at, 10));
#endif
        tell(token, "ready", -1, "");
    }
}

static void take_the_pipes(char **argv)
{
    state->ask_fd = open(argv[1], O_RDONLY | O_CLOEXEC);
    state->tell_fd = open(argv[2], O_WRONLY | O_CLOEXEC);
    if (state->ask_fd < 0 || state->tell_fd < 0)
        give_up("the pipes");
    if (!hear())
        _exit(93);
    state->nonce = strtoull(state->line, NULL, 10);
}

int main(int argc, char **argv)
{
    const char *filter = "";
    if (argc != 3)
        return 90;
#ifdef _OPENMP
#pragma omp parallel
    modes(); /* the runtime starts its threads, and asks for what it needs, before the filter */
#endif
    obtain_state();
    if (!state->rank)
        take_the_pipes(argv);
    filter = filter_calls();
    tell(0, "hello", -1, filter);
    for (;;) {
        if (!state->rank && !hear())
            strcpy(state->line, "Q");
        if (state->line[0] == 'Q')
            break;
        obey(state->line);
    }
    tell(0, "bye", -1, "");
    return 0;
}
