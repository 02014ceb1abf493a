/* Damaged copies of good files, for tests that a reader survives any bytes. Each copy has one to four damages: a
 * flipped bit, a byte or an integer replaced by an awkward one, bytes cut out, put in, or repeated, the end cut off.
 *
 * Copies depend on the seed only (a linear congruential generator of its own: Knuth's MMIX constants), so a failure
 * can be repeated. The copy ends where its allocation ends, so that the address sanitizer sees every byte read too far;
 * hence it begins anywhere, also at odd addresses.
 *
 *   struct mutation m;
 *   mutation_init(&m, bytes, count, window);   damages fall into the first `window` bytes; ends are cut anywhere
 *   for (...) { mutation_next(&m, seed); use m.data, m.bytes; }
 *   mutation_free(&m);
 */
#ifndef MHO_TESTS_MUTATE_H
#define MHO_TESTS_MUTATE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/memory.h"

enum { MUTATION_GROWTH = 256 }; /* most bytes that all damages of one copy put in */

struct mutation {
    uint8_t *data; /* the damaged copy */
    size_t bytes;
    const uint8_t *original;
    size_t original_bytes, window;
    uint8_t *work, *block;
    size_t block_bytes;
    uint64_t state;
};

static inline void mutation_init(struct mutation *m, const void *original, size_t bytes, size_t window) {
    memset(m, 0, sizeof *m);
    m->original = original;
    m->original_bytes = bytes;
    m->window = window < bytes ? window : bytes;
    m->block_bytes = (bytes + MUTATION_GROWTH + MEM_ALIGNMENT) / MEM_ALIGNMENT * MEM_ALIGNMENT;
    m->work = mem_alloc(m->block_bytes, 1);
    m->block = mem_alloc(m->block_bytes, 1);
}

static inline void mutation_free(struct mutation *m) {
    mem_free(m->work);
    mem_free(m->block);
}

/* 0 <= result < limit; 0 for limit 0 */
static inline size_t mutation_random(struct mutation *m, size_t limit) {
    m->state = m->state * 6364136223846793005u + 1442695040888963407u;
    return limit ? (size_t)((m->state >> 33) % limit) : 0;
}

static inline void mutation_cut(struct mutation *m, size_t at, size_t n) {
    n = n < m->bytes - at ? n : m->bytes - at;
    memmove(m->work + at, m->work + at + n, m->bytes - at - n);
    m->bytes -= n;
}

static inline void mutation_insert(struct mutation *m, size_t at, size_t n, int repeat) {
    uint8_t piece[MUTATION_GROWTH / 4];
    for (size_t i = 0; i < n; i++) {
        piece[i] = repeat && at + i < m->bytes ? m->work[at + i] : (uint8_t)mutation_random(m, 256);
    }
    memmove(m->work + at + n, m->work + at, m->bytes - at);
    memcpy(m->work + at, piece, n);
    m->bytes += n;
}

static inline void mutation_number(struct mutation *m, size_t at) {
    static const uint64_t awkward[] = {
        0,          1,          2,          31,         127,       255,        65535,
        0x7fffffff, 0xffffffff, 1ull << 32, 1ull << 60, INT64_MAX, 1ull << 63, UINT64_MAX - 7,
        UINT64_MAX};
    static const size_t sizes[] = {1, 2, 4, 8};
    uint64_t value = awkward[mutation_random(m, sizeof awkward / sizeof awkward[0])];
    size_t n = sizes[mutation_random(m, 4)];
    memcpy(m->work + at, &value, n < m->bytes - at ? n : m->bytes - at);
}

static inline void mutation_damage(struct mutation *m) {
    size_t room = m->window < m->bytes ? m->window : m->bytes;
    size_t at = mutation_random(m, room);
    size_t n = 1 + mutation_random(m, MUTATION_GROWTH / 4 - 1);
    if (m->bytes == 0) {
        return;
    }
    switch (mutation_random(m, 8)) {
    case 0:
    case 1: m->work[at] ^= (uint8_t)(1u << mutation_random(m, 8)); break;
    case 2: m->work[at] = (uint8_t)mutation_random(m, 256); break;
    case 3: mutation_number(m, at); break;
    case 4: mutation_cut(m, at, n); break;
    case 5: mutation_insert(m, at, n, 0); break;
    case 6: mutation_insert(m, at, n, 1); break;
    default: m->bytes = mutation_random(m, mutation_random(m, 2) ? m->bytes : room); break;
    }
}

static inline void mutation_next(struct mutation *m, uint64_t seed) {
    m->state = seed * 0x9e3779b97f4a7c15u + 1;
    m->bytes = m->original_bytes;
    memcpy(m->work, m->original, m->bytes);
    size_t damages = 1 + mutation_random(m, 4);
    for (size_t i = 0; i < damages; i++) {
        mutation_damage(m);
    }
    m->data = m->block + (m->block_bytes - m->bytes);
    memcpy(m->data, m->work, m->bytes);
}

#endif
