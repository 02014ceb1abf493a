/* See bandwidth.h. Every thread sums its own contiguous part with the fastest dot product there is (dot with itself
 * reads each byte once from memory); 1 GiB is larger than the last-level caches of today's servers.
 */
#include "base/bandwidth.h"

#include <stdatomic.h>
#include <stddef.h>

#include "base/io.h"
#include "base/kernels.h"
#include "base/memory.h"
#include "base/threads.h"

enum { REPEATS = 4, CHUNK_FLOATS = 1 << 14 };

struct pass { const float *buffer; atomic_bool negative; };

static void read_chunks(void *context, size_t begin, size_t end, int worker) {
    struct pass *p = context;
    double total = 0;
    (void)worker;
    for (size_t c = begin; c < end; c++) {
        const float *part = p->buffer + c * CHUNK_FLOATS;
        total += (double)kernels()->dot_f32(part, part, CHUNK_FLOATS);
    }
    if (total < 0) { /* never: a sum of squares; but the compiler must keep the sum */
        atomic_store(&p->negative, true);
    }
}

static double one_pass_s(const float *buffer, size_t chunks, int threads) {
    struct pass p = {.buffer = buffer};
    double start_s = now_s();
    parallel_for(chunks, 0, threads, read_chunks, &p);
    return atomic_load(&p.negative) ? 0 : now_s() - start_s;
}

double measure_read_bandwidth_Bps(int threads) {
    const size_t chunks = ((size_t)1 << 30) / (CHUNK_FLOATS * sizeof(float));
    float *buffer = mem_alloc(chunks * CHUNK_FLOATS, sizeof *buffer);
    double best = 0;
    for (int i = 0; buffer && i < REPEATS; i++) {
        double rate = (double)(chunks * CHUNK_FLOATS * sizeof *buffer) / one_pass_s(buffer, chunks, threads);
        best = rate > best ? rate : best;
    }
    mem_free(buffer);
    return best;
}
