/* Makes threads wait at odd moments, so that a data race shows in the result. Part of hpcagent.
 *
 * A source that is compiled with -fsanitize=thread calls a function in front of each access of memory.
 * Those functions are here, in place of the sanitizer's own: now and then they sleep for a moment, also
 * between the load and the store of `sum += x`. Nothing is reported, so nothing is reported wrongly:
 * what is right without races stays right. (ThreadSanitizer itself does not know the barriers of GCC's
 * OpenMP.) The interface is that of the instrumentation passes of GCC and LLVM.
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <string.h>
#include <time.h>

enum { OFTEN = 64, SELDOM = 4096, MANY = 400 };

static _Thread_local uint32_t state;
static _Thread_local int slept;

static void stir(void)
{
    static const struct timespec moment = {0, 1};
    if (!state)
        state = (uint32_t)(uintptr_t)&state | 1;
    state ^= state << 13, state ^= state >> 17, state ^= state << 5;
    if (state % (slept < MANY ? OFTEN : SELDOM) == 0) {
        slept++;
        nanosleep(&moment, 0);
    }
}

#define ACCESS(name) \
    void __tsan_##name(void *at); \
    void __tsan_##name(void *at) \
    { \
        (void)at; \
        stir(); \
    }
#define ACCESSES(size) \
    ACCESS(read##size) ACCESS(write##size) ACCESS(unaligned_read##size) \
    ACCESS(unaligned_write##size) ACCESS(volatile_read##size) ACCESS(volatile_write##size) \
    ACCESS(unaligned_volatile_read##size) ACCESS(unaligned_volatile_write##size) \
    ACCESS(read_write##size) ACCESS(unaligned_read_write##size) \
    ACCESS(read##size##_pc) ACCESS(write##size##_pc)
ACCESSES(1) ACCESSES(2) ACCESSES(4) ACCESSES(8) ACCESSES(16)
ACCESS(func_entry) ACCESS(vptr_read)

void __tsan_init(void);
void __tsan_init(void)
{
}

void __tsan_func_exit(void);
void __tsan_func_exit(void)
{
}

void __tsan_vptr_update(void **at, void *value);
void __tsan_vptr_update(void **at, void *value)
{
    (void)at, (void)value;
}

#define RANGE(name) \
    void __tsan_##name(void *at, unsigned long size); \
    void __tsan_##name(void *at, unsigned long size) \
    { \
        (void)at, (void)size; \
        stir(); \
    }
RANGE(read_range) RANGE(write_range)

#define MOVE(name, second) \
    void *__tsan_mem##name(void *to, second, size_t size); \
    void *__tsan_mem##name(void *to, second, size_t size) \
    { \
        stir(); \
        return mem##name(to, from, size); \
    }
MOVE(cpy, const void *from) MOVE(move, const void *from) MOVE(set, int from)

/* Atomic operations stay atomic; the order is the strictest. */
#define SECURE __ATOMIC_SEQ_CST
#define CHANGE(bits, name) \
    uint##bits##_t __tsan_atomic##bits##_##name(volatile uint##bits##_t *at, uint##bits##_t v, int o); \
    uint##bits##_t __tsan_atomic##bits##_##name(volatile uint##bits##_t *at, uint##bits##_t v, int o) \
    { \
        (void)o; \
        stir(); \
        return __atomic_##name(at, v, SECURE); \
    }
#define COMPARE(bits, how, weak) \
    int __tsan_atomic##bits##_compare_exchange_##how(volatile uint##bits##_t *at, \
                                                     uint##bits##_t *old, uint##bits##_t v, int o, \
                                                     int f); \
    int __tsan_atomic##bits##_compare_exchange_##how(volatile uint##bits##_t *at, \
                                                     uint##bits##_t *old, uint##bits##_t v, int o, \
                                                     int f) \
    { \
        (void)o, (void)f; \
        stir(); \
        return __atomic_compare_exchange_n(at, old, v, weak, SECURE, SECURE); \
    }
#define ATOMIC(bits) \
    uint##bits##_t __tsan_atomic##bits##_load(const volatile uint##bits##_t *at, int o); \
    uint##bits##_t __tsan_atomic##bits##_load(const volatile uint##bits##_t *at, int o) \
    { \
        (void)o; \
        stir(); \
        return __atomic_load_n(at, SECURE); \
    } \
    void __tsan_atomic##bits##_store(volatile uint##bits##_t *at, uint##bits##_t v, int o); \
    void __tsan_atomic##bits##_store(volatile uint##bits##_t *at, uint##bits##_t v, int o) \
    { \
        (void)o; \
        stir(); \
        __atomic_store_n(at, v, SECURE); \
    } \
    uint##bits##_t __tsan_atomic##bits##_exchange(volatile uint##bits##_t *at, uint##bits##_t v, \
                                                  int o); \
    uint##bits##_t __tsan_atomic##bits##_exchange(volatile uint##bits##_t *at, uint##bits##_t v, \
                                                  int o) \
    { \
        (void)o; \
        stir(); \
        return __atomic_exchange_n(at, v, SECURE); \
    } \
    CHANGE(bits, fetch_add) CHANGE(bits, fetch_sub) CHANGE(bits, fetch_and) CHANGE(bits, fetch_or) \
    CHANGE(bits, fetch_xor) CHANGE(bits, fetch_nand) \
    COMPARE(bits, strong, 0) COMPARE(bits, weak, 1) \
    uint##bits##_t __tsan_atomic##bits##_compare_exchange_val(volatile uint##bits##_t *at, \
                                                              uint##bits##_t old, \
                                                              uint##bits##_t v, int o, int f); \
    uint##bits##_t __tsan_atomic##bits##_compare_exchange_val(volatile uint##bits##_t *at, \
                                                              uint##bits##_t old, \
                                                              uint##bits##_t v, int o, int f) \
    { \
        (void)o, (void)f; \
        stir(); \
        __atomic_compare_exchange_n(at, &old, v, 0, SECURE, SECURE); \
        return old; \
    }
ATOMIC(8) ATOMIC(16) ATOMIC(32) ATOMIC(64)

void __tsan_atomic_thread_fence(int order);
void __tsan_atomic_thread_fence(int order)
{
    (void)order;
    __atomic_thread_fence(SECURE);
}

void __tsan_atomic_signal_fence(int order);
void __tsan_atomic_signal_fence(int order)
{
    (void)order;
    __atomic_signal_fence(SECURE);
}
