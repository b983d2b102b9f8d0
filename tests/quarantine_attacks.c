/* Programs that a quarantine has to end or to keep out: `attacks MODE [ARGUMENT]`.
 * Whatever they succeed in is printed as "did: ..."; every one of them is bounded by itself, too. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { LONGEST_S = 40, MOST_PROCESSES = 200 };

static void spin(void) {
    for (;;) {
    }
}

static void told(const char *what, int failed) {
    if (failed)
        printf("refused: %s: %s\n", what, strerror(errno));
    else
        printf("did: %s\n", what);
    fflush(stdout);
}

static void bomb(void) {
    for (int made = 0; made < MOST_PROCESSES; made++) {
        pid_t child = fork();
        if (child == 0) {
            sleep(LONGEST_S);
            _exit(0);
        }
    }
    sleep(LONGEST_S);
}

static void eat_memory(void) {
    for (size_t total = 0; total < (size_t)3 << 30; total += 8 << 20) {
        char *piece = malloc(8 << 20);
        if (piece)
            memset(piece, 1, 8 << 20);
    }
    sleep(LONGEST_S);
}

static void flood(void) {
    static char line[4096];
    memset(line, 'x', sizeof line);
    for (long written = 0; written < (1L << 34); written += sizeof line)
        if (fwrite(line, 1, sizeof line, written & 4096 ? stderr : stdout) == 0)
            return;
}

static void big_file(const char *path) {
    static char block[1 << 20];
    int file = open(path, O_CREAT | O_WRONLY, 0600);
    for (int count = 0; count < 1024; count++)
        if (write(file, block, sizeof block) < 0)
            _exit(3);
}

static void many_files(const char *folder) {
    static char block[1 << 20];
    char name[4096];
    for (int count = 0; count < 1024; count++) {
        snprintf(name, sizeof name, "%s/%d", folder, count);
        int file = open(name, O_CREAT | O_WRONLY, 0600);
        if (write(file, block, sizeof block) < 0)
            break;
        close(file);
        usleep(5000);
    }
    sleep(LONGEST_S);
}

static void leave_daemons(const char *path) {
    for (int count = 0; count < 3; count++) {
        if (fork() == 0) {
            setsid();
            if (fork() != 0)
                _exit(0);
            signal(SIGTERM, SIG_IGN);
            signal(SIGHUP, SIG_IGN);
            for (int second = 0; second < LONGEST_S; second++) {
                int file = open(path, O_CREAT | O_WRONLY | O_APPEND, 0600);
                if (file >= 0)
                    write(file, ".", 1), close(file);
                usleep(20000);
            }
            _exit(0);
        }
        wait(NULL);
    }
    usleep(100000);
}

static void connect_to(int port) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
    int link = socket(AF_INET, SOCK_STREAM, 0);
    told("connect", link < 0 || connect(link, (struct sockaddr *)&to, sizeof to));
    printf("loopback: %s\n", errno == ECONNREFUSED ? "up" : "other");
}

static void connect_unix(const char *path) {
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    strncpy(to.sun_path, path, sizeof to.sun_path - 1);
    int link = socket(AF_UNIX, SOCK_STREAM, 0);
    told("connect", link < 0 || connect(link, (struct sockaddr *)&to, sizeof to));
}

static void look_around(const char *path) {
    char text[64] = "";
    int file = open(path, O_RDONLY);
    told("read", file < 0 || read(file, text, sizeof text - 1) < 0);
    if (file >= 0)
        printf("content: %s\n", text);
    told("write", open(path, O_WRONLY | O_APPEND) < 0);
}

static void break_out(void) {
    char name[64];
    told("kill", kill(getppid(), SIGSTOP) || kill(getppid(), SIGCONT));
    told("trace", ptrace(PTRACE_ATTACH, getppid(), 0, 0));
    snprintf(name, sizeof name, "/proc/%d/mem", (int)getppid());
    told("memory", open(name, O_RDWR) < 0);
    told("remount", mount("none", "/", NULL, MS_REMOUNT | MS_BIND, NULL));
    told("uncover", umount2("/tmp", MNT_DETACH));
    told("namespace", unshare(CLONE_NEWUSER | CLONE_NEWNS));
    told("become", setuid(getuid() ? 0 : 1));
}

int main(int count, char **words) {
    const char *mode = count > 1 ? words[1] : "", *what = count > 2 ? words[2] : "";
    alarm(LONGEST_S);
    if (!strcmp(mode, "loop"))
        spin();
    else if (!strcmp(mode, "bomb"))
        bomb();
    else if (!strcmp(mode, "eat"))
        eat_memory();
    else if (!strcmp(mode, "flood"))
        flood();
    else if (!strcmp(mode, "bigfile"))
        big_file(what);
    else if (!strcmp(mode, "manyfiles"))
        many_files(what);
    else if (!strcmp(mode, "daemons"))
        leave_daemons(what);
    else if (!strcmp(mode, "connect"))
        connect_to(atoi(what));
    else if (!strcmp(mode, "unix"))
        connect_unix(what);
    else if (!strcmp(mode, "look"))
        look_around(what);
    else if (!strcmp(mode, "breakout"))
        break_out();
    else if (!strcmp(mode, "killparent"))
        kill(getppid(), SIGKILL), sleep(1), printf("did: live on\n");
    else if (!strcmp(mode, "closefds"))
        for (int number = 0; number < 1024; number++)
            close(number);
    else if (!strcmp(mode, "stop"))
        kill(getpid(), SIGSTOP);
    else if (!strcmp(mode, "stubborn"))
        signal(SIGTERM, SIG_IGN), signal(SIGALRM, SIG_IGN), sleep(LONGEST_S);
    else if (!strcmp(mode, "early"))
        _exit(0);
    else if (!strcmp(mode, "crash"))
        raise(SIGSEGV);
    else if (!strcmp(mode, "echo")) {
        for (int letter; (letter = getchar()) != EOF;)
            putchar(letter);
        fprintf(stderr, "%s in %s", getenv("SECRET") ? getenv("SECRET") : "no secret",
                getenv("HOME"));
        if (*what && write(atoi(what), "through", 7) == 7)
            return 5;
    }
    return 0;
}
