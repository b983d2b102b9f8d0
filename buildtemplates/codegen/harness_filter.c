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
