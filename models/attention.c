/* Causal self-attention with grouped queries over the KV cache, as two matrix products per block of tokens.
 *
 *   p[t, j] = softmax_j(cap(scale * q[t] . k[j])),   max(0, t+1-window) <= j <= t
 *   out[t]  = sum_j p[t, j] v[j]
 *
 * All H/G query heads of a group share their keys, so they are gathered into one tall matrix: rows = (token, head of
 * the group). Keys and values lie in the cache as panels (internal.h) and are multiplied without packing. One unit of
 * work is (key/value head, block of tokens); units write different outputs, so threads take them in any order.
 *
 *   keys:  panel of 16 positions          values: panel of 16 features
 *          k-major: feature 0 of the              k-major: position 0 of the
 *          16 positions, feature 1, ...           16 features, position 1, ...
 *
 * A session with many sequences runs one token of each per step: units then are (key/value head, token), each on the
 * cache of its own sequence. All of it passes through the processor in every step, and a token that scatters its key
 * over panels touches a cache line for each feature. With 16 bits the cache is therefore fp16, position after position:
 * [position][feature], keys and values apart.
 *
 * Positions of a panel that a query must not see get probability 0; what stands there (zero, or keys of a forgotten
 * continuation) is finite and does no harm.
 */
#include <string.h>

#include "base/threads.h"
#include "models/internal.h"
#include "models/vector_math.h"

enum { ROWS_PER_UNIT = 32, SMALL_WORK = 1 << 19 }; /* multiplications below which threads cost more than they bring */

static size_t round_up(size_t n) { return (n + PANEL - 1) / PANEL * PANEL; }

size_t kv_keys_floats(const struct shape *s, uint32_t context) {
    return (size_t)s->kv_heads * round_up(context) * s->head_dim;
}

size_t kv_values_floats(const struct shape *s, uint32_t context) {
    return (size_t)s->kv_heads * round_up(s->head_dim) * context;
}

size_t kv_half_count(const struct shape *s, uint32_t context) { return (size_t)s->kv_heads * context * s->head_dim; }

static uint32_t tokens_per_unit(const struct shape *s) {
    uint32_t group = s->heads / s->kv_heads;
    return group < ROWS_PER_UNIT ? ROWS_PER_UNIT / group : 1;
}

size_t attention_scratch_floats(const struct shape *s, uint32_t context) {
    size_t rows = (size_t)tokens_per_unit(s) * (s->heads / s->kv_heads);
    return rows * (2 * (size_t)s->head_dim + round_up(context) + PANEL);
}

static struct kv_cache cache_of(const struct session *s, uint32_t layer, uint32_t sequence) {
    const struct shape *shape = &s->model->shape;
    if (s->sixteen_bits) {
        size_t first = sequence * kv_half_count(shape, s->context);
        return (struct kv_cache){.half_keys = s->cache[layer].half_keys + first,
                                 .half_values = s->cache[layer].half_values + first};
    }
    return (struct kv_cache){s->cache[layer].keys + sequence * kv_keys_floats(shape, s->context),
                             s->cache[layer].values + sequence * kv_values_floats(shape, s->context), NULL, NULL};
}

static void store_halves(struct session *s, uint32_t layer, struct rows k, struct rows v, uint32_t tokens) {
    uint32_t d = s->model->shape.head_dim;
    for (uint32_t t = 0; t < tokens; t++) {
        struct kv_cache cache = cache_of(s, layer, s->places[t].sequence);
        for (size_t g = 0; g < s->model->shape.kv_heads; g++) {
            size_t at = (g * s->context + s->places[t].position) * d;
            kernels()->halves_of_f32(k.data + t * k.stride + g * d, d, cache.half_keys + at);
            kernels()->halves_of_f32(v.data + t * v.stride + g * d, d, cache.half_values + at);
        }
    }
}

static void store_panels(struct session *s, uint32_t layer, struct rows k, struct rows v, uint32_t tokens) {
    const struct shape *shape = &s->model->shape;
    uint32_t d = shape->head_dim;
    size_t key_head = round_up(s->context) * d, value_panel = (size_t)s->context * PANEL;
    for (uint32_t g = 0; g < shape->kv_heads; g++) {
        for (uint32_t t = 0; t < tokens; t++) {
            size_t position = s->places[t].position;
            struct kv_cache cache = cache_of(s, layer, s->places[t].sequence);
            float *key = cache.keys + g * key_head + position / PANEL * PANEL * d + position % PANEL;
            float *value = cache.values + g * (round_up(d) / PANEL) * value_panel + position * PANEL;
            const float *from_k = k.data + t * k.stride + (size_t)g * d,
                        *from_v = v.data + t * v.stride + (size_t)g * d;
            for (uint32_t i = 0; i < d; i++) {
                key[(size_t)i * PANEL] = from_k[i];
                value[i / PANEL * value_panel + i % PANEL] = from_v[i];
            }
        }
    }
}

void attention_store(struct session *s, uint32_t layer, struct rows k, struct rows v, uint32_t tokens) {
    if (s->sixteen_bits) {
        store_halves(s, layer, k, v, tokens);
    } else {
        store_panels(s, layer, k, v, tokens);
    }
}

/* One unit: tokens [first, first + count) of the step with all query heads of group g. */
struct unit {
    const struct shape *shape;
    struct kv_cache cache;
    uint32_t context, window, g, first, count;
    uint32_t position;     /* of the first token of the unit */
    size_t low, high;      /* positions whose keys are multiplied; low is a multiple of PANEL */
    float *q, *scores, *sums; /* [rows][d], [rows][stride], [rows][d] */
    size_t stride;
};

static size_t first_seen(uint32_t position, uint32_t window) {
    return window && position + 1 > window ? position + 1 - window : 0;
}

static void gather_queries(const struct unit *u, struct rows q) {
    uint32_t group = u->shape->heads / u->shape->kv_heads, d = u->shape->head_dim;
    float scale = (float)u->shape->attention_scale;
    for (uint32_t t = 0; t < u->count; t++) {
        const float *from = q.data + (u->first + t) * q.stride + (size_t)u->g * group * d;
        float *to = u->q + (size_t)t * group * d;
        for (size_t i = 0; i < (size_t)group * d; i++) {
            to[i] = from[i] * scale;
        }
    }
}

static void multiply_keys(const struct unit *u, uint32_t rows) {
    uint32_t d = u->shape->head_dim;
    const float *keys = u->cache.keys + u->g * round_up(u->context) * d;
    for (size_t j = u->low; j < u->high; j += PANEL) {
        kernels()->gemm_panel_f32(keys + j * d, d, u->q, d, rows, u->scores + (j - u->low), u->stride, PANEL);
    }
}

static size_t first_half(const struct unit *u) {
    return ((size_t)u->g * u->context + u->low) * u->shape->head_dim;
}

static void multiply_half_keys(const struct unit *u, uint32_t rows) {
    uint32_t d = u->shape->head_dim;
    for (uint32_t r = 0; r < rows; r++) {
        kernels()->gemv(WEIGHT_F16, u->cache.half_keys + first_half(u), d, u->high - u->low, d, u->q + (size_t)r * d,
                        u->scores + r * u->stride);
    }
}

static void multiply_half_values(const struct unit *u, uint32_t rows) {
    uint32_t d = u->shape->head_dim;
    for (uint32_t r = 0; r < rows; r++) {
        kernels()->weigh_rows(WEIGHT_F16, u->cache.half_values + first_half(u), d, u->high - u->low, d,
                              u->scores + r * u->stride, u->sums + (size_t)r * d);
    }
}

static void normalise_scores(const struct unit *u) {
    uint32_t group = u->shape->heads / u->shape->kv_heads;
    for (uint32_t r = 0; r < u->count * group; r++) {
        uint32_t position = u->position + r / group;
        float *row = u->scores + r * u->stride;
        size_t seen = first_seen(position, u->window), from = seen > u->low ? seen - u->low : 0;
        size_t to = position + 1 - u->low, all = u->high - u->low;
        if (u->shape->attention_cap > 0.0) {
            vector_soft_cap(row + from, to - from, (float)u->shape->attention_cap);
        }
        vector_softmax(row + from, to - from);
        memset(row, 0, from * sizeof *row);
        memset(row + to, 0, (all - to) * sizeof *row);
    }
}

static void multiply_values(const struct unit *u, uint32_t rows) {
    uint32_t d = u->shape->head_dim;
    size_t panel = (size_t)u->context * PANEL;
    const float *values = u->cache.values + u->g * (round_up(d) / PANEL) * panel;
    for (uint32_t i = 0; i < d; i += PANEL) {
        kernels()->gemm_panel_f32(values + i / PANEL * panel + u->low * PANEL, u->high - u->low, u->scores, u->stride,
                                  rows, u->sums + i, d, d - i < PANEL ? d - i : PANEL);
    }
}

static void scatter(const struct unit *u, float *out) {
    uint32_t group = u->shape->heads / u->shape->kv_heads, d = u->shape->head_dim;
    for (uint32_t t = 0; t < u->count; t++) {
        memcpy(out + ((size_t)(u->first + t) * u->shape->heads + (size_t)u->g * group) * d,
               u->sums + (size_t)t * group * d, (size_t)group * d * sizeof *out);
    }
}

static void attend(struct unit *u, struct rows q, float *scratch, float *out) {
    uint32_t rows = u->count * (u->shape->heads / u->shape->kv_heads);
    u->low = first_seen(u->position, u->window) / PANEL * PANEL;
    u->high = (size_t)u->position + u->count;
    u->stride = round_up(u->high - u->low);
    u->q = scratch;
    u->sums = u->q + (size_t)rows * u->shape->head_dim;
    u->scores = u->sums + (size_t)rows * u->shape->head_dim;
    gather_queries(u, q);
    bool half = u->cache.half_keys != NULL;
    (half ? multiply_half_keys : multiply_keys)(u, rows);
    normalise_scores(u);
    (half ? multiply_half_values : multiply_values)(u, rows);
    scatter(u, out);
}

struct attention_job {
    const struct session *session;
    struct rows q;
    uint32_t layer, tokens, per_unit, blocks;
    float *out;
};

static void attend_units(void *context, size_t begin, size_t end, int worker) {
    const struct attention_job *j = context;
    const struct session *s = j->session;
    const struct shape *shape = &s->model->shape;
    uint32_t per_unit = j->per_unit;
    for (uint32_t i = (uint32_t)begin; i < end; i++) {
        /* Late blocks see the most keys: they go first. */
        uint32_t first = (j->blocks - 1 - i / shape->kv_heads) * per_unit, left = j->tokens - first;
        struct unit u = {.shape = shape,
                         .cache = cache_of(s, j->layer, s->places[first].sequence),
                         .context = s->context,
                         .window = shape->window[j->layer],
                         .g = i % shape->kv_heads,
                         .first = first,
                         .count = left < per_unit ? left : per_unit,
                         .position = s->places[first].position};
        attend(&u, j->q, s->scratch + (size_t)worker * s->scratch_floats, j->out);
    }
}

void attention_apply(struct session *s, uint32_t layer, struct rows q, uint32_t tokens, float *out) {
    const struct shape *shape = &s->model->shape;
    uint32_t per_unit = s->sequences ? 1 : tokens_per_unit(shape), blocks = (tokens + per_unit - 1) / per_unit;
    size_t seen = 0;
    for (uint32_t t = 0; t < tokens; t++) {
        seen += s->places[t].position + 1;
    }
    size_t work = seen * shape->heads * shape->head_dim;
    struct attention_job job = {s, q, layer, tokens, per_unit, blocks, out};
    parallel_for((size_t)blocks * shape->kv_heads, 1, work > SMALL_WORK ? s->threads : 1, attend_units, &job);
}
