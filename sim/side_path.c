/* Values and costs of the digital side path: see side_path.h. The choice of what goes there by the chip's rule:
 * side_choice.c. */
#include "sim/side_path.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "base/threads.h"
#include "sim/chip_costs.h"
#include "sim/multiply.h"

/* ---- lists ------------------------------------------------------------------------------------------------------ */

static uint64_t listed(const struct matrix_source *m) {
    return m->side->weight_begin ? m->side->weight_begin[m->outputs] : 0;
}

static enum status check_channels(const struct matrix_source *m, struct error *e) {
    const struct side_path *s = m->side;
    for (uint32_t i = 0; i < s->channel_count; i++) {
        if (s->channels[i] >= m->inputs || (i > 0 && s->channels[i] <= s->channels[i - 1])) {
            return error_set(e, ERR_RUN,
                             "matrix %s: digital channel %" PRIu32 " of the list is input %" PRIu32
                             " (allowed: rising numbers below %" PRIu32 ")",
                             m->name, i, s->channels[i], m->inputs);
        }
    }
    return OK;
}

static bool is_channel(const struct side_path *s, uint32_t input, uint32_t *at) {
    while (*at < s->channel_count && s->channels[*at] < input) {
        ++*at;
    }
    return *at < s->channel_count && s->channels[*at] == input;
}

static enum status check_weights(const struct matrix_source *m, uint32_t output, struct error *e) {
    const struct side_path *s = m->side;
    uint32_t begin = s->weight_begin[output], end = s->weight_begin[output + 1], channel = 0;
    if (end < begin || end - begin > m->inputs) {
        return error_set(e, ERR_RUN,
                         "matrix %s: the digital weights of output %" PRIu32 " begin at %" PRIu32 " and end at %" PRIu32
                         " (allowed: at most %" PRIu32 " of them)",
                         m->name, output, begin, end, m->inputs);
    }
    for (uint32_t i = begin; i < end; i++) {
        uint32_t input = s->weight_inputs[i];
        if (input >= m->inputs || (i > begin && input <= s->weight_inputs[i - 1])) {
            return error_set(e, ERR_RUN,
                             "matrix %s: digital weight %" PRIu32 " of output %" PRIu32 " is that of input %" PRIu32
                             " (allowed: rising numbers below %" PRIu32 ")",
                             m->name, i - begin, output, input, m->inputs);
        }
        if (is_channel(s, input, &channel)) {
            return error_set(e, ERR_RUN,
                             "matrix %s: digital weight of output %" PRIu32 ", input %" PRIu32
                             ": the input is a digital channel (allowed: inputs that are not)",
                             m->name, output, input);
        }
    }
    return OK;
}

enum status side_path_check(const struct matrix_source *m, struct error *e) {
    if (!m->side) {
        return OK;
    }
    TRY(check_channels(m, e));
    if (m->side->weight_begin && m->side->weight_begin[0] != 0) {
        return error_set(e, ERR_RUN, "matrix %s: the list of digital weights begins at %" PRIu32 " (allowed: 0)",
                         m->name, m->side->weight_begin[0]);
    }
    for (uint32_t o = 0; m->side->weight_begin && o < m->outputs; o++) {
        TRY(check_weights(m, o, e));
    }
    return OK;
}

/* ---- costs ------------------------------------------------------------------------------------------------------ */

uint64_t placement_side_macs(const struct placement_matrix *m) {
    return (uint64_t)m->digital_channels * m->outputs + m->listed_weights;
}

uint64_t side_path_bits(const struct side_path_spec *s, const struct placement_matrix *m) {
    uint64_t indices = m->digital_channels + m->listed_weights + (m->listed_weights ? m->outputs : 0);
    return placement_side_macs(m) * (uint64_t)s->value_bits + indices * (uint64_t)s->index_bits;
}

struct side_path_work side_path_work(const struct chip_spec *s, const struct placement_matrix *m, uint32_t tokens) {
    uint64_t macs = placement_side_macs(m) * tokens, sums = macs ? (uint64_t)m->outputs * tokens : 0,
             bits = macs ? side_path_bits(&s->side_path, m) + 2 * sums * (uint64_t)s->buffer.value_bits : 0;
    return (struct side_path_work){.macs = macs,
                                   .bits = bits,
                                   .sums = sums,
                                   .macs_J = (double)macs * s->side_path.energy_J.value,
                                   .bits_J = (double)bits * s->buffer.energy_J_per_bit.value,
                                   .sums_J = (double)sums * s->vector.energy_J.value};
}

double placement_side_J(const struct chip *c, const struct placement_matrix *m) {
    const struct chip_spec *s = chip_spec_of(c);
    if (!chip_has_costs(c) || !s->side_path.given) {
        return (double)NAN;
    }
    struct side_path_work w = side_path_work(s, m, 1);
    uint64_t not_converted = (uint64_t)m->digital_channels * m->column_blocks * chip_work(c)->passes;
    return w.macs_J + w.bits_J + w.sums_J - (double)not_converted * s->tile.dac.energy_J.value;
}

double side_path_mm2(const struct chip_spec *s, uint64_t bits) {
    return bits ? (double)bits * s->buffer.area_m2_per_bit.value * 1e6 : 0;
}

double side_path_static_W(const struct chip_spec *s, uint64_t bits) {
    double capacity_bits = (double)s->buffer.capacity_KiB * 1024 * 8;
    return bits ? memory_static_W(&s->buffer) * (double)bits / capacity_bits : 0;
}

/* ---- one matrix ------------------------------------------------------------------------------------------------- */

void array_destroy_side(struct array *a) {
    if (a->side) {
        mem_free(a->side->channels);
        mem_free(a->side->weight_begin);
        mem_free(a->side->weight_inputs);
        mem_free(a->side->block_channels);
        mem_free(a->side->panels);
        mem_free(a->side->weights);
        mem_free(a->side);
        a->side = NULL;
    }
}

static uint32_t *copy_list(const uint32_t *from, size_t count) {
    uint32_t *copy = mem_alloc(count, sizeof *copy);
    if (copy && count) {
        memcpy(copy, from, count * sizeof *copy);
    }
    return copy;
}

static void cut_channels(const struct array *a, struct side_values *v) {
    uint32_t at = 0;
    for (uint32_t b = 0; b < a->row_blocks; b++) {
        while (at < v->lists.channel_count && v->channels[at] < a->row_begin[b + 1]) {
            at++;
        }
        v->block_channels[b + 1] = at;
    }
}

bool array_create_side(struct array *a) {
    const struct side_path *from = a->source.side;
    size_t weights = from ? listed(&a->source) : 0;
    if (!from || (from->channel_count == 0 && weights == 0)) {
        a->source.side = NULL;
        return true;
    }
    struct side_values *v = a->side = mem_alloc(1, sizeof *v);
    if (!v) {
        return false;
    }
    v->channels = copy_list(from->channels, from->channel_count);
    v->weight_begin = weights ? copy_list(from->weight_begin, (size_t)a->outputs + 1) : NULL;
    v->weight_inputs = weights ? copy_list(from->weight_inputs, weights) : NULL;
    v->block_channels = mem_alloc((size_t)a->row_blocks + 1, sizeof *v->block_channels);
    v->panels = mem_alloc((size_t)a->columns * from->channel_count, sizeof *v->panels);
    v->weights = mem_alloc(weights, sizeof *v->weights);
    if (!v->channels || (weights && (!v->weight_begin || !v->weight_inputs)) || !v->block_channels || !v->panels ||
        !v->weights) {
        return false; /* the array frees it */
    }
    v->lists = (struct side_path){v->channels, from->channel_count, v->weight_begin, v->weight_inputs};
    a->source.side = &v->lists;
    cut_channels(a, v);
    return true;
}

static enum status check_numbers(const struct array *a, const char *what, const float *values, size_t count,
                                 struct error *e) {
    size_t wanted = (size_t)a->row_blocks * a->outputs;
    if (count != wanted) {
        return error_set(e, ERR_USAGE,
                         "matrix %s: the model brings %zu %s (allowed: %zu, %u row blocks x %u outputs of this chip)",
                         a->source.name, count, what, wanted, a->row_blocks, a->outputs);
    }
    for (size_t i = 0; i < count; i++) {
        if (!isfinite(values[i]) || values[i] < 0) {
            return error_set(e, ERR_RUN, "matrix %s: %s: number %zu is %g (allowed: finite, not below 0)",
                             a->source.name, what, i, (double)values[i]);
        }
    }
    return OK;
}

enum status array_check_source(const struct machine *m, const struct array *a, struct error *e) {
    const struct matrix_source *s = &a->source;
    if (s->weight_scale) {
        TRY(check_numbers(a, "weight scales", s->weight_scale, s->scale_count, e));
        if (m->spec->tile.scale != SCALE_PER_COLUMN) {
            return error_set(e, ERR_USAGE,
                             "matrix %s: the model brings weight scales, one per column, but tile.scale is per_tile "
                             "(allowed: per_column)",
                             s->name);
        }
    }
    return s->adc_range ? check_numbers(a, "ADC ranges", s->adc_range, s->adc_range_count, e) : OK;
}

static enum status keep(const struct array *a, uint32_t output, uint32_t input, float w, float *to, struct error *e) {
    *to = w;
    if (isfinite(w)) {
        return OK;
    }
    return error_set(e, ERR_RUN, "matrix %s: weight of output %u, input %u is %g (allowed: finite numbers)",
                     a->source.name, output, input, (double)w);
}

enum status side_keep(struct array *a, uint32_t output, const float *w, struct error *e) {
    struct side_values *v = a->side;
    uint32_t k = v ? v->lists.channel_count : 0;
    for (uint32_t i = 0; i < k; i++) {
        float *to = &v->panels[((size_t)output / PANEL * k + i) * PANEL + output % PANEL];
        TRY(keep(a, output, v->channels[i], w[v->channels[i]], to, e));
    }
    for (uint32_t i = v && v->weight_begin ? v->weight_begin[output] : 0;
         v && v->weight_begin && i < v->weight_begin[output + 1]; i++) {
        TRY(keep(a, output, v->weight_inputs[i], w[v->weight_inputs[i]], &v->weights[i], e));
    }
    return OK;
}

/* What is not finite stays, and is found later. */
static void clip_weights(const struct array *a, uint32_t output, float *w) {
    for (uint32_t b = 0; b < a->row_blocks; b++) {
        float scale = a->source.weight_scale[(size_t)b * a->outputs + output];
        for (uint32_t i = a->row_begin[b]; i < a->row_begin[b + 1]; i++) {
            if (isfinite(w[i]) && fabsf(w[i]) > scale) {
                w[i] = copysignf(scale, w[i]);
            }
        }
    }
}

void array_make_targets(const struct array *a, uint32_t first, uint32_t count, float *w) {
    const struct side_values *v = a->side;
    for (uint32_t o = first; v && v->weight_begin && o < first + count; o++) {
        for (uint32_t i = v->weight_begin[o]; i < v->weight_begin[o + 1]; i++) {
            w[(size_t)(o - first) * a->inputs + v->weight_inputs[i]] = 0;
        }
    }
    side_clear_channels(a, count, w);
    for (uint32_t o = first; a->source.weight_scale && o < first + count; o++) {
        clip_weights(a, o, w + (size_t)(o - first) * a->inputs);
    }
}

enum status array_read_targets(const struct array *a, uint32_t first, uint32_t count, float *w, struct error *e) {
    TRY(a->source.read_rows(a->source.context, first, count, w, e));
    array_make_targets(a, first, count, w);
    return OK;
}

/* ---- multiply --------------------------------------------------------------------------------------------------- */

bool side_scratch_create(const struct machine *m, uint32_t max_tokens, struct side_scratch *out) {
    size_t inputs = 0, channels = 0, listed_inputs = 0, blocks = max_tokens / TOKENS + (max_tokens % TOKENS != 0);
    for (size_t i = 0; i < m->count; i++) {
        const struct array *a = m->arrays[i];
        if (a && a->side) {
            size_t k = a->side->lists.channel_count;
            inputs = k && a->inputs > inputs ? a->inputs : inputs;
            channels = k > channels ? k : channels;
            listed_inputs = a->side->weight_begin && a->inputs > listed_inputs ? a->inputs : listed_inputs;
        }
    }
    out->driven = mem_alloc(inputs * max_tokens, sizeof *out->driven);
    out->channel_inputs = mem_alloc(channels * max_tokens, sizeof *out->channel_inputs);
    out->turned = mem_alloc(max_tokens > 1 ? blocks * listed_inputs : 0, TOKENS * sizeof *out->turned);
    return out->driven && out->channel_inputs && out->turned;
}

void side_scratch_destroy(struct side_scratch *s) {
    mem_free(s->driven);
    mem_free(s->channel_inputs);
    mem_free(s->turned);
}

void side_clear_channels(const struct array *a, uint32_t tokens, float *x) {
    for (uint32_t t = 0; a->side && t < tokens; t++) {
        for (uint32_t i = 0; i < a->side->lists.channel_count; i++) {
            x[(size_t)t * a->inputs + a->side->channels[i]] = 0;
        }
    }
}

/* One multiply, for all threads. */
struct side_job {
    const struct array *a;
    const float *x; /* [tokens][inputs] */
    struct side_scratch *s;
    float *y;       /* [tokens][outputs] */
    uint32_t tokens;
};

static void drive_tokens(void *context, size_t begin, size_t end, int worker) {
    const struct side_job *j = context;
    const struct array *a = j->a;
    uint32_t k = a->side->lists.channel_count;
    (void)worker;
    for (size_t t = begin; t < end; t++) {
        const float *x = j->x + t * a->inputs;
        memcpy(j->s->driven + t * a->inputs, x, a->inputs * sizeof *x);
        for (uint32_t i = 0; i < k; i++) {
            j->s->channel_inputs[t * k + i] = x[a->side->channels[i]];
        }
        side_clear_channels(a, 1, j->s->driven + t * a->inputs);
    }
}

const float *side_drive(const struct array *a, const float *x, uint32_t tokens, struct side_scratch *s) {
    struct side_job job = {a, x, s, NULL, tokens};
    if (!a->side || a->side->lists.channel_count == 0) {
        return x;
    }
    parallel_for(tokens, 0, (size_t)tokens * a->inputs > SMALL_INPUTS ? 0 : 1, drive_tokens, &job);
    return s->driven;
}

static void turn_tokens(void *context, size_t begin, size_t end, int worker) {
    const struct side_job *j = context;
    size_t inputs = j->a->inputs;
    (void)worker;
    for (size_t block = begin; block < end; block++) {
        size_t first = block * TOKENS, now = j->tokens - first < TOKENS ? j->tokens - first : TOKENS;
        float *to = j->s->turned + first * inputs;
        for (size_t i = 0; i < inputs; i++) {
            for (size_t t = 0; t < now; t++) {
                to[i * TOKENS + t] = j->x[(first + t) * inputs + i];
            }
        }
    }
}

/* Sums over the listed weights of one output. The order of a sum is that of the list, for any number of tokens. */
static float sum_listed(const struct side_values *v, uint32_t output, const float *x) {
    float sum = 0;
    for (uint32_t i = v->weight_begin[output]; i < v->weight_begin[output + 1]; i++) {
        sum += v->weights[i] * x[v->weight_inputs[i]];
    }
    return sum;
}

static void sums_listed(const struct side_values *v, uint32_t output, const float *turned, float sum[TOKENS]) {
    memset(sum, 0, TOKENS * sizeof *sum);
    for (uint32_t i = v->weight_begin[output]; i < v->weight_begin[output + 1]; i++) {
        const float w = v->weights[i], *restrict x = turned + (size_t)v->weight_inputs[i] * TOKENS;
        for (uint32_t t = 0; t < TOKENS; t++) {
            sum[t] += w * x[t];
        }
    }
}

/* Tokens [first, first + now) of one panel. */
static void multiply_side_panel(const struct side_job *j, uint32_t panel, uint32_t first, uint32_t now) {
    const struct array *a = j->a;
    const struct side_values *v = a->side;
    uint32_t k = v->lists.channel_count;
    float dense[TOKENS * PANEL] = {0}, sparse[TOKENS] = {0};
    if (k) {
        kernels()->gemm_panel_f32(v->panels + (size_t)panel * k * PANEL, k, j->s->channel_inputs + (size_t)first * k, k,
                                  now, dense, PANEL, PANEL);
    }
    for (uint32_t o = panel * PANEL; o < a->outputs && o < (panel + 1) * PANEL; o++) {
        if (v->weight_begin && j->tokens == 1) {
            sparse[0] = sum_listed(v, o, j->x);
        } else if (v->weight_begin) {
            sums_listed(v, o, j->s->turned + (size_t)first * a->inputs, sparse);
        }
        for (uint32_t t = 0; t < now; t++) {
            j->y[(size_t)(first + t) * a->outputs + o] += dense[t * PANEL + o % PANEL] + sparse[t];
        }
    }
}

static void multiply_side_panels(void *context, size_t begin, size_t end, int worker) {
    const struct side_job *j = context;
    (void)worker;
    for (uint32_t panel = (uint32_t)begin; panel < end; panel++) {
        for (uint32_t t = 0; t < j->tokens; t += TOKENS) {
            multiply_side_panel(j, panel, t, j->tokens - t < TOKENS ? j->tokens - t : TOKENS);
        }
    }
}

void side_multiply(const struct array *a, const float *x, uint32_t tokens, struct side_scratch *s, float *y) {
    struct side_job job = {a, x, s, y, tokens};
    if (!a->side) {
        return;
    }
    if (a->side->weight_begin && tokens > 1) {
        parallel_for(tokens / TOKENS + (tokens % TOKENS != 0), 0,
                     (size_t)tokens * a->inputs > SMALL_INPUTS ? 0 : 1, turn_tokens, &job);
    }
    size_t macs = (size_t)a->side->lists.channel_count * a->outputs + listed(&a->source);
    parallel_for(a->panels, 0, macs * tokens > SMALL_WORK ? 0 : 1, multiply_side_panels, &job);
}
