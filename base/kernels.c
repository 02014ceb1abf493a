/* Which kernel set runs: asks the CPU (and, for the wide registers, whether the operating system saves
 * them), picks the best set that this build holds, and remembers it. Every thread that comes first
 * computes the same answer, so an atomic pointer is all the locking there is.
 */
#include "base/kernels.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

#include "base/kernels/sets.h"

#if defined(__x86_64__)
#include <cpuid.h>

static bool cpu_has_f16c(void) { /* clang 14 has no name for it in __builtin_cpu_supports */
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C) != 0;
}

/* __builtin_cpu_supports says no to AVX and AVX-512 where the operating system does not save the registers. */
static bool cpu_runs_avx2(void) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && cpu_has_f16c();
}

static bool cpu_runs_avx512(void) {
    return cpu_runs_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512vnni");
}
#else
/* 64-bit Arm: its vectors belong to the base architecture, so what the build holds also runs. */
static bool cpu_runs_avx2(void) { return true; }
static bool cpu_runs_avx512(void) { return true; }
#endif

static bool cpu_runs_ref(void) { return true; }

static const struct {
    const struct kernels *set;
    bool (*cpu_runs)(void);
} sets[] = {
    /* best first */
    {&kernels_avx512, cpu_runs_avx512},
    {&kernels_avx2, cpu_runs_avx2},
    {&kernels_ref, cpu_runs_ref},
};
enum { SETS = sizeof sets / sizeof sets[0] };

static _Atomic(const struct kernels *) in_use;

size_t kernels_available(const struct kernels **out, size_t max) {
    size_t count = 0;
    for (size_t i = 0; i < SETS && count < max; i++) {
        if (sets[i].set->name && sets[i].cpu_runs()) {
            out[count++] = sets[i].set;
        }
    }
    return count;
}

int kernels_select(const char *name) {
    const struct kernels *available[SETS];
    const size_t count = kernels_available(available, SETS);
    for (size_t i = 0; i < count; i++) {
        if (!name || strcmp(name, available[i]->name) == 0) {
            atomic_store(&in_use, available[i]);
            return 0;
        }
    }
    return -1;
}

const struct kernels *kernels(void) {
    const struct kernels *set = atomic_load_explicit(&in_use, memory_order_acquire);
    if (!set) {
        const struct kernels *best, *nobody = NULL;
        kernels_available(&best, 1);
        /* A kernels_select() of another thread in between wins. */
        set = atomic_compare_exchange_strong(&in_use, &nobody, best) ? best : nobody;
    }
    return set;
}
