/* Which library multiplies: see gemm.h. Libraries are asked for one thread. What says how many is a property of the
 * calling thread for OpenMP (oneDNN), of the process for OpenBLAS. */
#include "base/gemm.h"

#include <dlfcn.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/memory.h"

/* Where its header is missing mho is built without oneDNN. */
#if __has_include(<dnnl.h>)
#include <dnnl.h>
#define HAS_ONEDNN
#endif

static void *open_first(const char *const *names, size_t count) {
    void *library = NULL;
    for (size_t i = 0; i < count && !library; i++) {
        library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    }
    return library;
}

static atomic_bool failed;

enum status gemm_check(struct error *e) {
    return atomic_load(&failed) ? error_set(e, ERR_RUN, "%s: a product of matrices could not be made: out of memory",
                                            gemm()->name)
                                : OK;
}

/* ---- the reference ----------------------------------------------------------------------------- */

static float element(struct gemm_operand x, size_t r, size_t c) {
    return x.turned ? x.at[c * x.ld + r] : x.at[r * x.ld + c];
}

static void plain_multiply(size_t m, size_t n, size_t k, struct gemm_operand a, struct gemm_operand b, float beta,
                           float *c, size_t ldc) {
    for (size_t r = 0; r < m; r++) {
        for (size_t o = 0; o < n; o++) {
            float sum = 0;
            for (size_t i = 0; i < k; i++) {
                sum += element(a, r, i) * element(b, i, o);
            }
            c[r * ldc + o] = beta != 0 ? sum + beta * c[r * ldc + o] : sum; /* as BLAS: C may hold anything */
        }
    }
}

static bool open_plain(void) { return true; }

/* ---- oneDNN ------------------------------------------------------------------------------------ */

#ifdef HAS_ONEDNN
#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)

/* The release that the header is of, or none: the interface may change with the first number. */
static const char *const onednn_names[] = {
    "libdnnl.so." TEXT(DNNL_VERSION_MAJOR),
    "libdnnl." TEXT(DNNL_VERSION_MAJOR) ".dylib",
    "/opt/homebrew/opt/onednn/lib/libdnnl." TEXT(DNNL_VERSION_MAJOR) ".dylib",
    "/usr/local/opt/onednn/lib/libdnnl." TEXT(DNNL_VERSION_MAJOR) ".dylib",
};

static char onednn_version[64];
static __typeof__(&dnnl_sgemm) onednn_sgemm;
static void (*openmp_threads)(int); /* NULL: a build that starts none */
static _Thread_local bool thread_is_single;

static void onednn_multiply(size_t m, size_t n, size_t k, struct gemm_operand a, struct gemm_operand b, float beta,
                            float *c, size_t ldc) {
    if (openmp_threads && !thread_is_single) {
        openmp_threads(1);
        thread_is_single = true;
    }
    /* It fails for shapes that callers may not ask for, and where its scratch memory cannot be had. */
    if (onednn_sgemm(a.turned ? 'T' : 'N', b.turned ? 'T' : 'N', (dnnl_dim_t)m, (dnnl_dim_t)n, (dnnl_dim_t)k, 1, a.at,
                     (dnnl_dim_t)a.ld, b.at, (dnnl_dim_t)b.ld, beta, c, (dnnl_dim_t)ldc) != dnnl_success) {
        atomic_store(&failed, true);
    }
}

static bool open_onednn(void) {
    void *library = open_first(onednn_names, sizeof onednn_names / sizeof onednn_names[0]);
    if (!library) {
        return false;
    }
    __typeof__(&dnnl_version) version;
    __typeof__(&dnnl_get_effective_cpu_isa) isa;
    *(void **)&version = dlsym(library, "dnnl_version");
    *(void **)&onednn_sgemm = dlsym(library, "dnnl_sgemm");
    *(void **)&openmp_threads = dlsym(library, "omp_set_num_threads"); /* of the OpenMP that it came with */
    *(void **)&isa = dlsym(library, "dnnl_get_effective_cpu_isa");
    if (!version || !onednn_sgemm || !isa) {
        return false;
    }
    snprintf(onednn_version, sizeof onednn_version, "%d.%d.%d, instructions %#x", version()->major, version()->minor,
             version()->patch, (unsigned)isa());
    unsigned runtime = version()->cpu_runtime;
    return runtime == DNNL_RUNTIME_SEQ || (runtime == DNNL_RUNTIME_OMP && openmp_threads);
}
#endif

/* ---- OpenBLAS ---------------------------------------------------------------------------------- */

enum { ROW_MAJOR = 101, AS_IT_LIES = 111, TURNED = 112 }; /* of the CBLAS interface */
typedef void cblas_sgemm_function(int order, int turn_a, int turn_b, int m, int n, int k, float alpha, const float *a,
                                  int lda, const float *b, int ldb, float beta, float *c, int ldc);
static char openblas_version[256];
static cblas_sgemm_function *openblas_sgemm;

static void openblas_multiply(size_t m, size_t n, size_t k, struct gemm_operand a, struct gemm_operand b, float beta,
                              float *c, size_t ldc) {
    openblas_sgemm(ROW_MAJOR, a.turned ? TURNED : AS_IT_LIES, b.turned ? TURNED : AS_IT_LIES, (int)m, (int)n, (int)k,
                   1, a.at, (int)a.ld, b.at, (int)b.ld, beta, c, (int)ldc);
}

/* Opened by its name although the program is linked with it: GSL brings another cblas_sgemm of its own. */
static bool open_openblas(void) {
    static const char *const names[] = {"libopenblas.so.0", "libopenblas.so", "libopenblas.dylib",
                                        "/opt/homebrew/opt/openblas/lib/libopenblas.dylib",
                                        "/usr/local/opt/openblas/lib/libopenblas.dylib"};
    void *library = open_first(names, sizeof names / sizeof names[0]);
    void (*set_threads)(int) = NULL;
    char *(*config)(void) = NULL;
    if (library) {
        *(void **)&openblas_sgemm = dlsym(library, "cblas_sgemm");
        *(void **)&set_threads = dlsym(library, "openblas_set_num_threads");
        *(void **)&config = dlsym(library, "openblas_get_config");
    }
    if (!openblas_sgemm || !set_threads || !config) {
        return false;
    }
    set_threads(1);
    snprintf(openblas_version, sizeof openblas_version, "%s", config());
    return true;
}

/* ---- the choice -------------------------------------------------------------------------------- */

static const struct { struct gemm library; bool (*open)(void); } libraries[] = {
#ifdef HAS_ONEDNN
    {{"onednn", onednn_version, onednn_multiply}, open_onednn},
#endif
    {{"openblas", openblas_version, openblas_multiply}, open_openblas},
    {{"plain", "", plain_multiply}, open_plain},
};
enum { LIBRARIES = sizeof libraries / sizeof libraries[0] };

static bool opened[LIBRARIES];
static pthread_once_t opened_once = PTHREAD_ONCE_INIT, measured_once = PTHREAD_ONCE_INIT;
static const struct gemm *fastest;
static _Atomic(const struct gemm *) in_use;

static void open_all(void) {
    for (size_t i = 0; i < LIBRARIES; i++) {
        opened[i] = libraries[i].open();
    }
}

size_t gemm_available(const struct gemm **out, size_t max) {
    size_t count = 0;
    pthread_once(&opened_once, open_all);
    for (size_t i = 0; i < LIBRARIES && count < max; i++) {
        if (opened[i]) {
            out[count++] = &libraries[i].library;
        }
    }
    return count;
}

/* Processor time: that of the clock on the wall counts what other programs do. */
static double processor_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* The first time is not counted: code is made then. */
void gemm_measure(const struct gemm *const *all, size_t count, double *flops) {
    enum { M = 128, N = 96, K = 256, TIMES = 24 };
    double least_s[LIBRARIES];
    float *memory = mem_alloc(M * K + N * K + M * N, sizeof *memory);
    for (size_t i = 0; memory && i < M * K + N * K; i++) {
        memory[i] = (float)(i % 17) - 8;
    }
    struct gemm_operand a = {memory, K, false}, b = {memory + M * K, K, true};
    for (size_t i = 0; memory && i <= TIMES; i++) {
        for (size_t k = 0; k < count; k++) {
            double begin_s = processor_s();
            all[k]->multiply(M, N, K, a, b, 0, memory + (M + N) * K, N);
            least_s[k] = i ? fmin(least_s[k], processor_s() - begin_s) : HUGE_VAL;
        }
    }
    for (size_t k = 0; k < count; k++) {
        flops[k] = memory && least_s[k] > 0 ? 2.0 * M * N * K / least_s[k] : 0; /* a clock may be too coarse */
    }
    mem_free(memory);
}

static void measure_all(void) {
    const double CLEARLY = 1.25;
    const struct gemm *all[LIBRARIES];
    double flops[LIBRARIES];
    size_t count = gemm_available(all, LIBRARIES), best = 0;
    gemm_measure(all, count > 1 ? count - 1 : 0, flops); /* the last, plain, is faster than no library */
    for (size_t i = 1; i + 1 < count; i++) {
        best = flops[i] > CLEARLY * flops[best] ? i : best;
    }
    fastest = all[best];
}

static const struct gemm *find_fastest(void) {
    pthread_once(&measured_once, measure_all);
    return fastest;
}

int gemm_select(const char *name) {
    const struct gemm *all[LIBRARIES], *found = name ? NULL : find_fastest();
    size_t count = gemm_available(all, LIBRARIES);
    for (size_t i = 0; i < count && !found; i++) {
        found = strcmp(name, all[i]->name) == 0 ? all[i] : NULL;
    }
    if (found) {
        atomic_store(&in_use, found);
    }
    return found ? 0 : -1;
}

const struct gemm *gemm(void) {
    const struct gemm *library = atomic_load_explicit(&in_use, memory_order_acquire);
    if (!library) {
        const struct gemm *nobody = NULL, *best = find_fastest();
        /* A gemm_select() of another thread in between wins. */
        library = atomic_compare_exchange_strong(&in_use, &nobody, best) ? best : nobody;
    }
    return library;
}
