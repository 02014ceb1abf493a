/* Counter-based randomness: see random.h for the contract, random_inline.h for the arithmetic. */
#include "base/random.h"

#include <assert.h>

#include "base/kernels.h"
#include "base/random_inline.h"

uint64_t random_stream(enum random_what what, uint64_t where) {
    assert(where >> 56 == 0); /* a larger `where` would run into another stream's numbers */
    return (uint64_t)what << 56 | where;
}

uint64_t random_seed_at(uint64_t seed, enum random_what what, uint64_t when) {
    uint32_t word[4];
    philox_block(seed, random_stream(what, ((uint64_t)1 << 56) - 1), when, word);
    return (uint64_t)word[1] << 32 | word[0];
}

void random_block(uint64_t seed, uint64_t stream, uint64_t block, uint32_t out[4]) {
    philox_block(seed, stream, block, out);
}

double random_uniform(uint64_t seed, uint64_t stream, uint64_t index) {
    uint32_t word[4];
    philox_block(seed, stream, index / 4, word);
    return ((double)word[index % 4] + 0.5) * 0x1p-32;
}

float random_gaussian(uint64_t seed, uint64_t stream, uint64_t index) {
    float z[4];
    gaussian_block(seed, stream, index / 4, z);
    return z[index % 4];
}

void random_gaussian_fill(uint64_t seed, uint64_t stream, uint64_t first, float *out, size_t n) {
    kernels()->gaussian_fill(seed, stream, first, out, n);
}

float random_gaussian_fast(uint64_t seed, uint64_t stream, uint64_t index) {
    float z[GAUSSIAN_BLOCK];
    gaussian_sixteen(seed, stream, index / GAUSSIAN_BLOCK, z);
    return z[index % GAUSSIAN_BLOCK];
}

void random_gaussian_blocks(uint64_t seed, uint64_t stream, const uint64_t *blocks, size_t n, float *out) {
    kernels()->gaussian_blocks(seed, stream, blocks, n, out);
}

void random_uniform_fill(uint64_t seed, uint64_t stream, uint64_t first, float *out, size_t n) {
    uint32_t word[4] = {0};
    for (size_t i = 0; i < n; i++) {
        const uint64_t index = first + i;
        if (i == 0 || index % 4 == 0) {
            philox_block(seed, stream, index / 4, word);
        }
        out[i] = (float)(((double)word[index % 4] + 0.5) * 0x1p-32);
    }
}
