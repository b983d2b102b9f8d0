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
