/* The set of every machine, and which set runs: see bf16.h. Operands are rounded RUN at a time into a buffer on the
 * stack, and the sums of the runs are added in order. */
#include "base/bf16.h"

#include <stdbool.h>
#include <string.h>

#include "base/half.h"
#include "base/kernels.h"
#include "base/kernels/sets.h"

enum { RUN = 512, TOKENS = 16 };

static void round_row(const float *x, size_t n, float *out) {
    for (size_t i = 0; i < n; i++) {
        out[i] = f32_of_bf16(bf16_of_f32(x[i]));
    }
}

static void rounded_pack_rows(const float *w, size_t ld, size_t lanes, size_t k, float *panel) {
    kernels()->pack_panel_f32(WEIGHT_F32, w, ld, lanes, k, panel);
    round_row(panel, k * PANEL, panel);
}

static void rounded_pack_columns(const float *w, size_t ld, size_t lanes, size_t k, float *panel) {
    memset(panel, 0, k * PANEL * sizeof *panel);
    for (size_t i = 0; i < k; i++) {
        round_row(w + i * ld, lanes, panel + i * PANEL);
    }
}

/* At most TOKENS tokens. */
static void multiply_block(const float *panel, size_t k, const float *x, size_t ldx, size_t tokens, float *y,
                           size_t ldy, size_t lanes) {
    float inputs[TOKENS * RUN], part[TOKENS * PANEL], sum[TOKENS * PANEL] = {0};
    for (size_t first = 0; first < k; first += RUN) {
        size_t n = k - first < RUN ? k - first : RUN;
        for (size_t t = 0; t < tokens; t++) {
            round_row(x + t * ldx + first, n, inputs + t * n);
        }
        kernels()->gemm_panel_f32(panel + first * PANEL, n, inputs, n, tokens, part, PANEL, PANEL);
        for (size_t i = 0; i < tokens * PANEL; i++) {
            sum[i] += part[i];
        }
    }
    for (size_t t = 0; t < tokens; t++) {
        memcpy(y + t * ldy, sum + t * PANEL, lanes * sizeof *y);
    }
}

static void rounded_gemm_panel(const float *panel, size_t k, const float *x, size_t ldx, size_t tokens, float *y,
                               size_t ldy, size_t lanes) {
    for (size_t t = 0; t < tokens; t += TOKENS) {
        multiply_block(panel, k, x + t * ldx, ldx, tokens - t < TOKENS ? tokens - t : TOKENS, y + t * ldy, ldy, lanes);
    }
}

static const struct bf16_kernels rounded = {
    .name = "rounded",
    .pack_rows = rounded_pack_rows,
    .pack_columns = rounded_pack_columns,
    .gemm_panel = rounded_gemm_panel,
};

#if defined(__x86_64__)
static bool cpu_has_bf16(void) { return __builtin_cpu_supports("avx512bf16"); }
#else
static bool cpu_has_bf16(void) { return false; }
#endif

const struct bf16_kernels *bf16_kernels_named(const char *name) {
    if (strcmp(name, rounded.name) == 0) {
        return &rounded;
    }
    bool fast = bf16_avx512.name && strcmp(name, bf16_avx512.name) == 0 && cpu_has_bf16();
    return fast ? &bf16_avx512 : NULL;
}

const struct bf16_kernels *bf16_kernels(void) {
    bool wide = kernels()->name == kernels_avx512.name;
    return wide && bf16_avx512.name && cpu_has_bf16() ? &bf16_avx512 : &rounded;
}
