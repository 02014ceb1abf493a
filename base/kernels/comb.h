/* Private to base/kernels: what all kernels share of draw_rows and drawn_sd. The rows lie in DRAW_LANES runs, row r in
 * run number r % DRAW_LANES, and the comb goes through the runs one after the other (base/drawn_noise.c):
 *   end(r) = (before[run] + sum of the run up to and with r) * (draws / all) + u, cut off
 * is the number of teeth up to row r; those from end of the row before it on are on r. All in single precision: a
 * run is summed in its order, before[] and all are sums over the runs in theirs.
 */
#ifndef MHO_BASE_KERNELS_COMB_H
#define MHO_BASE_KERNELS_COMB_H

#include <assert.h>
#include <float.h>
#include <stdbool.h>
#include <string.h>

#include "base/kernels.h"

static_assert((int)STEPS_MOST * 2 <= 255 && (int)STEPS_MOST * DRAWS_MOST <= 65535, "sums of bytes overflow");
static_assert((int)VARIANCE_MOST <= (int)STEPS_MOST, "variances are bytes of a strip");

/* Rows of the longest run. */
static inline size_t run_length(size_t rows) { return (rows + DRAW_LANES - 1) / DRAW_LANES; }

/* Sums of the runs -> what lies before each; returns the sum of all. */
static inline float sums_before(const float sum[DRAW_LANES], float before[DRAW_LANES]) {
    float all = 0;
    for (size_t l = 0; l < DRAW_LANES; l++) {
        before[l] = all;
        all += sum[l];
    }
    return all;
}

/* Squares j*DRAW_LANES and on, those behind the last row as 0 in `tail`. */
static inline const float *lanes_at(const float *squares, size_t rows, size_t j, float tail[DRAW_LANES]) {
    const size_t left = rows - j * DRAW_LANES;
    if (left >= DRAW_LANES) {
        return squares + j * DRAW_LANES;
    }
    memset(tail, 0, DRAW_LANES * sizeof *tail);
    memcpy(tail, squares + j * DRAW_LANES, left * sizeof *tail);
    return tail;
}

/* Whether draws / all is a number that teeth can be counted with; all rows of inputs that are not have the first place,
 * since nothing is there to draw (all 0, or so small), or no row can be told from another (beyond single precision). */
static inline bool comb_counts(float all, size_t draws, uint32_t *drawn) {
    const bool counts = all > 0x1p-100f && all <= FLT_MAX;
    if (!counts) {
        memset(drawn, 0, draws * sizeof *drawn);
    }
    return counts;
}

/* Asks for the share of the next strip that belongs to token t. */
static inline void ask_for_rows(const struct drawn_rows *rows, size_t t, size_t tokens) {
    if (tokens == 1) {
        for (size_t d = 0; d < rows->draws; d++) {
            __builtin_prefetch(rows->next + rows->next_places[d]);
        }
        return;
    }
    for (size_t r = t * rows->next_rows / tokens; r < (t + 1) * rows->next_rows / tokens; r++) {
        __builtin_prefetch(rows->next + r * NOISE_STRIP, 0, 2);
    }
}

/* first[d]: 1 + the row on which tooth d is the first, or 0; the teeth in between are on the same row. */
static inline void fill_teeth(const uint32_t *first, size_t draws, uint32_t *drawn) {
    uint32_t row = 1;
    for (size_t d = 0; d < draws; d++) {
        row = first[d] ? first[d] : row;
        drawn[d] = row - 1;
    }
}

#endif
