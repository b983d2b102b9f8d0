/* Two rates of a node, measured in a few seconds by one thread bound to each CPU named.

     nodebench triad  SECONDS LIMIT BYTES CPU...   a = b + 3 c, three arrays of BYTES each
     nodebench double SECONDS LIMIT CPU...         independent chains of fused multiply-adds
     nodebench float  SECONDS LIMIT CPU...

   One line of JSON: what ran, the best of several repetitions, and whether every element or chain
   has the value it must have. The process is ended by SIGALRM after LIMIT seconds. */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { REPEATS = 5, FEWEST_REPEATS = 3, MOST_REPEATS = 100, MOST_THREADS = 4096, BLOCK = 1 << 16 };
static const double TOUCH_SHARE = 0.3; /* of the limit */

/* --- vectors of the widest kind that the compiler was told to use ------------------------------ */

#if defined(__ARM_FEATURE_SVE)
#include <arm_sve.h>
#define VECTOR_D svfloat64_t
#define VECTOR_F svfloat32_t
#define SET_D(x) svdup_n_f64(x)
#define SET_F(x) svdup_n_f32(x)
#define STEP_D(x) x = svmad_f64_x(svptrue_b64(), x, a, b)
#define STEP_F(x) x = svmad_f32_x(svptrue_b32(), x, a, b)
#define SUM_D(x) svaddv_f64(svptrue_b64(), x)
#define SUM_F(x) svaddv_f32(svptrue_b32(), x)
#define WIDTH ((int)svcntb())
#else
#if defined(__AVX512F__)
#define WIDTH 64
#elif defined(__AVX__)
#define WIDTH 32
#else
#define WIDTH 16
#endif
typedef double VECTOR_D __attribute__((vector_size(WIDTH)));
typedef float VECTOR_F __attribute__((vector_size(WIDTH)));
#define SET_D(x) ((VECTOR_D){0} + (double)(x))
#define SET_F(x) ((VECTOR_F){0} + (float)(x))
#define STEP_D(x) x = x * a + b
#define STEP_F(x) x = x * a + b
static double SUM_D(VECTOR_D x) {
  double sum = 0;
  for (int i = 0; i < WIDTH / 8; i++) sum += x[i];
  return sum;
}
static double SUM_F(VECTOR_F x) {
  double sum = 0;
  for (int i = 0; i < WIDTH / 4; i++) sum += x[i];
  return sum;
}
#endif

/* As many chains as hide the latency (at most 9 cycles and 2 units on A64FX, 4 and 4 on Neoverse)
   and fit into the registers: 16 on x86 before AVX-512, else 32 or more. */
#define TWELVE(M) M(0) M(1) M(2) M(3) M(4) M(5) M(6) M(7) M(8) M(9) M(10) M(11)
#if (defined(__x86_64__) || defined(__i386__)) && !defined(__AVX512F__)
#define CHAINS 12
#define ALL(M) TWELVE(M)
#else
#define CHAINS 24
#define ALL(M)                                                                                   \
  TWELVE(M) M(12) M(13) M(14) M(15) M(16) M(17) M(18) M(19) M(20) M(21) M(22) M(23)
#endif

/* Every chain x <- x a + (1 - a) goes to 1 from where it starts; returns the mean of all. */
static volatile double factor = 1.0 - 1.0 / 1024.0;

#define START_D(k) VECTOR_D x##k = SET_D(k + 2);
#define START_F(k) VECTOR_F x##k = SET_F(k + 2);
#define STEPS_D(k) STEP_D(x##k);
#define STEPS_F(k) STEP_F(x##k);
#define ADD_D(k) sum += SUM_D(x##k);
#define ADD_F(k) sum += SUM_F(x##k);

static double chains_double(long rounds) {
  VECTOR_D a = SET_D(factor), b = SET_D(1.0 - factor);
  ALL(START_D)
  for (long i = 0; i < rounds; i++) { ALL(STEPS_D) }
  double sum = 0;
  ALL(ADD_D)
  return sum / (CHAINS * (WIDTH / 8));
}

static double chains_float(long rounds) {
  VECTOR_F a = SET_F(factor), b = SET_F(1.0 - factor);
  ALL(START_F)
  for (long i = 0; i < rounds; i++) { ALL(STEPS_F) }
  double sum = 0;
  ALL(ADD_F)
  return sum / (CHAINS * (WIDTH / 4));
}

/* --- threads, each on a CPU of its own --------------------------------------------------------- */

typedef struct {
  int cpu;
  long from, to;
  double began, ended, cpu_s, operations;
  int bound, right;
} Thread;

static struct {
  Thread *all;
  const char *kernel;
  double seconds, limit;
  long elements;
  double *a, *b, *c;
  int threads, repeats, go_on;
  double best, busy;
  pthread_barrier_t barrier;
} work;

static double seconds_of(clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double now(void) { return seconds_of(CLOCK_MONOTONIC); }
static double cpu_time(void) { return seconds_of(CLOCK_THREAD_CPUTIME_ID); }

static int bind_to(int cpu) {
  size_t size = CPU_ALLOC_SIZE(cpu + 1);
  cpu_set_t *set = CPU_ALLOC(cpu + 1);
  if (set == NULL) return 0;
  CPU_ZERO_S(size, set);
  CPU_SET_S(cpu, size, set);
  int bound = sched_setaffinity(0, size, set) == 0;
  CPU_FREE(set);
  return bound;
}

/* The best time, and the share of it that all threads together were on their CPUs: far below 1
   something else ran there. */
static void keep_best(double took) {
  double busy = 0;
  for (int i = 0; i < work.threads; i++) busy += work.all[i].cpu_s;
  if (work.repeats == 0 || took < work.best) {
    work.best = took;
    work.busy = busy / (took * work.threads);
  }
  work.repeats++;
}

/* Values are small integers, so that the result is exact however it is rounded. Where touching the
   memory takes too long, only what was touched counts. */
static void triad(Thread *self) {
  double *a = work.a, *b = work.b, *c = work.c;
  double began = now();
  for (long i = self->from; i < self->to; i++) {
    a[i] = -1.0;
    b[i] = (double)(i % 7);
    c[i] = (double)(i % 11);
    if (i % BLOCK == 0 && now() - began > TOUCH_SHARE * work.limit) self->to = i + 1;
  }
  began = now();
  do {
    pthread_barrier_wait(&work.barrier);
    double start = now(), busy = cpu_time();
    for (long i = self->from; i < self->to; i++) a[i] = b[i] + 3.0 * c[i];
    self->cpu_s = cpu_time() - busy;
    pthread_barrier_wait(&work.barrier);
    if (self == work.all) {
      keep_best(now() - start);
      work.go_on = work.repeats < FEWEST_REPEATS ||
                   (now() - began < work.seconds && work.repeats < MOST_REPEATS);
    }
    pthread_barrier_wait(&work.barrier);
  } while (work.go_on);
  self->right = 1;
  for (long i = self->from; i < self->to; i++)
    if (a[i] != (double)(i % 7) + 3.0 * (double)(i % 11)) self->right = 0;
}

static void multiply_add(Thread *self, double (*chains)(long), int lanes, double tolerance) {
  const long rounds = 50000;
  double end, mean = 1.0, busy;
  self->right = 1;
  pthread_barrier_wait(&work.barrier);
  self->began = now();
  busy = cpu_time();
  end = self->began + work.seconds / REPEATS;
  self->operations = 0;
  do {
    mean = chains(rounds);
    self->operations += 2.0 * CHAINS * lanes * (double)rounds;
    if (!(mean > 1.0 - tolerance && mean < 1.0 + tolerance)) self->right = 0;
  } while (now() < end);
  self->ended = now();
  self->cpu_s = cpu_time() - busy;
}

static void *run(void *argument) {
  Thread *self = argument;
  self->bound = bind_to(self->cpu);
  pthread_barrier_wait(&work.barrier);
  if (strcmp(work.kernel, "triad") == 0) triad(self);
  else if (strcmp(work.kernel, "double") == 0) multiply_add(self, chains_double, WIDTH / 8, 1e-9);
  else multiply_add(self, chains_float, WIDTH / 4, 1e-3);
  return NULL;
}

/* All threads once; the count of those that gave a wrong answer, -1 where one cannot start. */
static int run_all(Thread *threads, int *unbound) {
  static pthread_t ids[MOST_THREADS];
  int wrong = 0;
  if (pthread_barrier_init(&work.barrier, NULL, (unsigned)work.threads) != 0) return -1;
  for (int i = 0; i < work.threads; i++)
    if (pthread_create(&ids[i], NULL, run, &threads[i]) != 0) return -1;
  for (int i = 0; i < work.threads; i++) pthread_join(ids[i], NULL);
  for (int i = 0; i < work.threads; i++) {
    wrong += !threads[i].right;
    *unbound += !threads[i].bound;
  }
  pthread_barrier_destroy(&work.barrier);
  return wrong;
}

static double *array(long bytes) {
  void *memory = mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return NULL;
  madvise(memory, (size_t)bytes, MADV_HUGEPAGE); /* where it is refused, small pages do */
  return memory;
}

static int measure_triad(Thread *threads, long bytes) {
  int unbound = 0;
  work.elements = bytes / (long)sizeof(double);
  work.a = array(bytes), work.b = array(bytes), work.c = array(bytes);
  if (work.elements < work.threads || !work.a || !work.b || !work.c) {
    fprintf(stderr, "no memory for three arrays of %ld bytes\n", bytes);
    return 1;
  }
  for (int i = 0; i < work.threads; i++) {
    threads[i].from = work.elements / work.threads * i;
    threads[i].to = i + 1 == work.threads ? work.elements : work.elements / work.threads * (i + 1);
  }
  int wrong = run_all(threads, &unbound);
  if (wrong < 0) return 1;
  bytes = 0;
  for (int i = 0; i < work.threads; i++)
    bytes += (threads[i].to - threads[i].from) * (long)sizeof(double);
  printf("{\"kernel\": \"triad\", \"threads\": %d, \"unbound\": %d, \"wrong\": %d, "
         "\"busy\": %.3f, \"array_bytes\": %ld, \"repeats\": %d, \"best_s\": %.9f}\n",
         work.threads, unbound, wrong, work.busy, bytes, work.repeats, work.best);
  return 0;
}

static int measure_rate(Thread *threads) {
  double best = 0, share = 0;
  int unbound = 0, wrong = 0;
  for (int repeat = 0; repeat < REPEATS; repeat++) {
    int bad = run_all(threads, &unbound);
    if (bad < 0) return 1;
    wrong += bad;
    double began = threads[0].began, ended = threads[0].ended;
    double operations = 0, busy = 0;
    for (int i = 0; i < work.threads; i++) {
      if (threads[i].began < began) began = threads[i].began;
      if (threads[i].ended > ended) ended = threads[i].ended;
      operations += threads[i].operations;
      busy += threads[i].cpu_s;
    }
    if (operations / (ended - began) <= best) continue;
    best = operations / (ended - began);
    share = busy / ((ended - began) * work.threads);
  }
  printf("{\"kernel\": \"%s\", \"threads\": %d, \"unbound\": %d, \"wrong\": %d, "
         "\"busy\": %.3f, \"vector_bytes\": %d, \"chains\": %d, \"flops\": %.6e}\n",
         work.kernel, work.threads, unbound, wrong, share, WIDTH, CHAINS, best);
  return 0;
}

int main(int argc, char **argv) {
  int is_triad = argc > 1 && strcmp(argv[1], "triad") == 0;
  int first = is_triad ? 5 : 4;
  if (argc <= first || argc - first > MOST_THREADS) {
    fprintf(stderr, "usage: nodebench triad|double|float SECONDS LIMIT [BYTES] CPU...\n");
    return 2;
  }
  alarm((unsigned)atoi(argv[3]));
  work.limit = atof(argv[3]);
  work.kernel = argv[1];
  work.seconds = atof(argv[2]);
  work.threads = argc - first;
  Thread *threads = calloc((size_t)work.threads, sizeof *threads);
  if (threads == NULL) return 1;
  work.all = threads;
  for (int i = 0; i < work.threads; i++) threads[i].cpu = atoi(argv[first + i]);
  return is_triad ? measure_triad(threads, atol(argv[4])) : measure_rate(threads);
}
