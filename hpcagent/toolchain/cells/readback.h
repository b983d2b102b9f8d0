/* What a cell prints of itself: one "cell KEY VALUE" a line, each at once, so that a crash leaves
 * what was known before it. C99 and C++98; needs glibc or musl, and -ldl where that is apart. */
#ifndef READBACK_H
#define READBACK_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include <dirent.h>
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void say(const char *key, const char *value)
{
    printf("cell %s %s\n", key, value);
    fflush(stdout);
}

static void say_number(const char *key, long value)
{
    printf("cell %s %ld\n", key, value);
    fflush(stdout);
}

/* The end of a cell: its own answer, and the exit code of main. */
static int say_end(int wrong)
{
    say("answer", wrong ? "wrong" : "right");
    return wrong ? 1 : 0;
}

/* A SIGILL names the instruction's bytes before it kills the process as usual. */
static void on_illegal(int number, siginfo_t *info, void *context)
{
    static const char digit[] = "0123456789abcdef";
    char line[64] = "\ncell illegal_instruction ";
    size_t used = strlen(line);
    const unsigned char *code = (const unsigned char *)info->si_addr;
    int i;
    (void)context;
    for (i = 0; i < 8; i++) {
        line[used++] = digit[code[i] >> 4];
        line[used++] = digit[code[i] & 15];
    }
    line[used++] = '\n';
    if (write(1, line, used) < 0)
        _exit(99);
    signal(number, SIG_DFL);
    raise(number);
}

static void watch_illegal(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = on_illegal;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    sigaction(SIGILL, &action, NULL);
}

static void say_environment(const char *name)
{
    const char *value = getenv(name);
    char key[64];
    if (value == NULL || *value == '\0')
        return;
    snprintf(key, sizeof key, "env_%s", name);
    say(key, value);
}

/* A symbol as the dynamic linker binds it for everybody; NULL where it is linked statically. */
static void *bound(const char *symbol)
{
    return dlsym(RTLD_DEFAULT, symbol);
}

/* The file that holds an address. */
static const char *holder(void *address)
{
    Dl_info info;
    if (address == NULL || dladdr(address, &info) == 0 || info.dli_fname == NULL)
        return "";
    return info.dli_fname;
}

/* A library by its real path, and (KEY_as) by the one under which it was found. */
static void say_path(const char *key, void *address)
{
    const char *path = holder(address);
    char real[4096], other[64];
    say(key, path[0] != '/' || realpath(path, real) == NULL ? path : real);
    snprintf(other, sizeof other, "%s_as", key);
    say(other, path);
}

/* Every OpenMP runtime that is mapped, once each. */
static void say_openmp_runtimes(void)
{
    static const char *const names[] = {"/libgomp.", "/libgomp-", "/libomp.", "/libomp-",
                                        "/libiomp5.", "/libnvomp.", "/libcraymp.", "/libxlsmp."};
    char line[4352], last[4352] = "";
    FILE *maps = fopen("/proc/self/maps", "r");
    size_t i;
    if (maps == NULL)
        return;
    while (fgets(line, sizeof line, maps) != NULL) {
        char *path = strchr(line, '/');
        if (path == NULL)
            continue;
        path[strcspn(path, "\n")] = '\0';
        for (i = 0; i < sizeof names / sizeof names[0]; i++)
            if (strstr(path, names[i]) != NULL && strcmp(path, last) != 0) {
                say("openmp_runtime", path);
                strcpy(last, path);
            }
    }
    fclose(maps);
}

/* CPU time in nanoseconds of one thread of this process (schedstat of proc(5)); -1: not known. */
static long long thread_ns(const char *id)
{
    char path[64];
    long long ns = -1;
    FILE *file;
    if (strlen(id) > 20)
        return -1;
    snprintf(path, sizeof path, "/proc/self/task/%.20s/schedstat", id);
    file = fopen(path, "r");
    if (file == NULL)
        return -1;
    if (fscanf(file, "%lld", &ns) != 1)
        ns = -1;
    fclose(file);
    return ns;
}

/* Threads of this process, and those that used at least so much CPU time since they began. */
static int threads_with(long long least_ns, int *alive)
{
    struct dirent *entry;
    int busy = 0;
    DIR *tasks = opendir("/proc/self/task");
    *alive = 0;
    if (tasks == NULL)
        return 0;
    while ((entry = readdir(tasks)) != NULL) {
        if (entry->d_name[0] == '.')
            continue;
        ++*alive;
        if (thread_ns(entry->d_name) >= least_ns)
            busy++;
    }
    closedir(tasks);
    return busy;
}

static void say_threads(void)
{
    int alive, busy = threads_with(5000000, &alive);
    say_number("threads_alive", alive);
    say_number("threads_busy", busy);
}

#endif
