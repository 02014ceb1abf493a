/* See bandwidth.h. Every thread sums its own contiguous part with the fastest dot product there is (dot with itself reads
 * each byte once from memory); 1 GiB is larger than the last-level caches of today's servers.
 */
#include "base/bandwidth.h"

#include <stddef.h>

#include "base/io.h"
#include "base/kernels.h"
#include "base/memory.h"

enum { REPEATS = 4, CHUNK_FLOATS = 1 << 14 };

static double one_pass_s(const float *buffer, size_t chunks, int threads) {
    const struct kernels *k = kernels();
    double total = 0;
    double start_s = now_s();
#pragma omp parallel for schedule(static) num_threads(threads) reduction(+ : total)
    for (size_t c = 0; c < chunks; c++) {
        const float *part = buffer + c * CHUNK_FLOATS;
        total += (double)k->dot_f32(part, part, CHUNK_FLOATS);
    }
    double seconds = now_s() - start_s;
    return total < 0 ? 0 : seconds; /* keeps the sum alive */
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
