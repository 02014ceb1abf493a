/* The sweeps of wires_ladder.h. */
#include <string.h>

#include "devices/wires_ladder.h"

void ladder_prepare(struct ladder *l, const struct lines *lines, const float *g, float *alpha) {
    size_t n = lines->count, cells = lines->cells;
    *l = (struct ladder){*lines, alpha};
    if (lines_ideal(lines)) {
        return;
    }
    const float port_S = (float)(1 / lines->port_ohm);
    /* alpha[k] holds Y[k] until the step to k + 1 is done. */
    for (size_t i = 0; i < n; i++) {
        alpha[i] = g[i] + (lines_at_first(lines, i) ? port_S : 0);
    }
    for (size_t k = 0; k + 1 < cells; k++) {
        float *restrict here = alpha + k * n, *restrict next = here + n;
        const float *restrict cell = g + (k + 1) * n, ohm = ladder_step_ohm(lines, k);
        for (size_t i = 0; i < n; i++) {
            float a = 1 / (1 + ohm * here[i]);
            next[i] = cell[i] + a * here[i];
            here[i] = a;
        }
    }
    float *last = alpha + (cells - 1) * n;
    for (size_t i = 0; i < n; i++) {
        last[i] = 1 / (last[i] + (lines_at_last(lines, i) ? port_S : 0));
    }
}

void ladder_solve(const struct ladder *l, float *x) {
    size_t n = l->lines.count, cells = l->lines.cells;
    if (lines_ideal(&l->lines)) {
        memset(x, 0, n * cells * sizeof *x);
        return;
    }
    for (size_t k = 0; k + 1 < cells; k++) {
        const float *restrict alpha = l->alpha + k * n, *restrict here = x + k * n;
        float *restrict next = x + (k + 1) * n;
        for (size_t i = 0; i < n; i++) {
            next[i] += alpha[i] * here[i];
        }
    }
    const float *inverse = l->alpha + (cells - 1) * n;
    for (size_t i = 0; i < n; i++) {
        x[(cells - 1) * n + i] *= inverse[i];
    }
    for (size_t k = cells - 1; k-- > 0;) {
        const float *restrict alpha = l->alpha + k * n, *restrict next = x + (k + 1) * n;
        float *restrict here = x + k * n, ohm = ladder_step_ohm(&l->lines, k);
        for (size_t i = 0; i < n; i++) {
            here[i] = alpha[i] * (next[i] + ohm * here[i]);
        }
    }
}

void plane_transpose(const float *in, size_t rows, size_t columns, float *out) {
    enum { BLOCK = 16 };
    for (size_t a = 0; a < rows; a += BLOCK) {
        for (size_t b = 0; b < columns; b += BLOCK) {
            size_t a_end = a + BLOCK < rows ? a + BLOCK : rows, b_end = b + BLOCK < columns ? b + BLOCK : columns;
            for (size_t j = b; j < b_end; j++) {
                for (size_t i = a; i < a_end; i++) {
                    out[j * rows + i] = in[i * columns + j];
                }
            }
        }
    }
}
