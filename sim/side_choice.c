/* What stays digital by the chip's rule (side_path_choose of sim.h).
 *
 * A column of a tile holds the weights of one output for one row block; its largest |w| is what full-scale conductance
 * stands for, so that a few large weights cost all others resolution and noise. Of a block of n inputs with c channels
 * every output lists min(round(share x n), n - c) weights: as many for every output, so that the lists are made without
 * a first pass.
 */
#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <string.h>

#include "base/memory.h"
#include "base/sort.h"
#include "base/threads.h"
#include "sim/side_path.h"

enum { OUTPUTS_AT_ONCE = 16 };

uint32_t chip_digital_channels(const struct chip *c) {
    return (uint32_t)chip_spec_of(c)->placement.digital_channels;
}
double chip_digital_weights(const struct chip *c) { return chip_spec_of(c)->placement.digital_weights; }

static uint32_t wanted_channels(const struct chip_spec *s, const struct matrix_source *m) {
    uint32_t k = (uint32_t)s->placement.digital_channels;
    return k < m->inputs ? k : m->inputs;
}

static uint32_t wanted_weights(const struct chip_spec *s, uint32_t rows, uint32_t channels) {
    uint32_t n = (uint32_t)lround(s->placement.digital_weights * rows);
    return n < rows - channels ? n : rows - channels;
}

void side_path_count(const struct chip_spec *s, const struct matrix_source *m, uint32_t *channels, uint64_t *weights) {
    if (m->side) {
        *channels = m->side->channel_count;
        *weights = m->side->weight_begin ? m->side->weight_begin[m->outputs] : 0;
        return;
    }
    *channels = wanted_channels(s, m);
    *weights = 0;
    uint32_t size = (uint32_t)s->tile.rows;
    for (uint32_t b = 0; b < block_count(m->inputs, size); b++) {
        enum split_mode split = (enum split_mode)s->tile.split;
        uint32_t rows = block_begin(m->inputs, size, split, b + 1) - block_begin(m->inputs, size, split, b);
        *weights += (uint64_t)wanted_weights(s, rows, 0) * m->outputs;
    }
    uint64_t most = (uint64_t)(m->inputs - *channels) * m->outputs;
    *weights = *weights < most ? *weights : most;
}

/* ---- choosing ---------------------------------------------------------------------------------------------------- */

struct choice {
    const struct chip_spec *chip;
    const struct matrix_source *m;
    uint32_t row_blocks, channel_count;
    uint64_t per_output;   /* listed weights of an output */
    uint32_t *block_count; /* [row_blocks] of it in each block */
    uint32_t *channels, *weight_begin, *weight_inputs; /* of the result */
    bool *is_channel;      /* [inputs] */
    float *rows, *sizes;   /* [threads][OUTPUTS_AT_ONCE][inputs]; [threads][inputs] */
    pthread_mutex_t lock;  /* of what follows */
    size_t failed;         /* lowest part with an error */
    enum status status;
    struct error error;
};

static uint32_t row_begin(const struct choice *c, uint32_t b) {
    return block_begin(c->m->inputs, (uint32_t)c->chip->tile.rows, (enum split_mode)c->chip->tile.split, b);
}

/* Marks the n largest of size [count], those below 0 left out, ties: the first; lists them in rising order. */
static uint32_t *list_largest(const float *size, uint32_t count, uint32_t n, uint32_t first, float *room,
                              uint32_t *out) {
    if (n == 0) {
        return out;
    }
    memcpy(room, size, count * sizeof *room);
    float least = select_float(room, count, count - n);
    uint32_t above = 0;
    for (uint32_t i = 0; i < count; i++) {
        above += size[i] > least;
    }
    uint32_t ties = n - above;
    for (uint32_t i = 0; i < count; i++) {
        bool tie = !(size[i] > least) && size[i] >= least && ties > 0;
        if (size[i] > least || tie) {
            *out++ = first + i;
            ties -= tie;
        }
    }
    return out;
}

static enum status choose_outputs(const struct choice *c, uint32_t first, uint32_t count, float *rows, float *sizes,
                                  struct error *e) {
    const struct matrix_source *m = c->m;
    TRY(m->read_rows(m->context, first, count, rows, e));
    for (uint32_t o = 0; o < count; o++) {
        const float *w = rows + (size_t)o * m->inputs;
        uint32_t *to = c->weight_inputs + (first + o) * c->per_output;
        if (!isfinite(kernels()->absmax_f32(w, m->inputs))) {
            return error_set(e, ERR_RUN, "matrix %s: output %" PRIu32 ": not all weights are finite",
                             m->name, first + o);
        }
        for (uint32_t b = 0; b < c->row_blocks; b++) {
            uint32_t begin = row_begin(c, b), n = row_begin(c, b + 1) - begin;
            for (uint32_t i = 0; i < n; i++) {
                sizes[i] = c->is_channel[begin + i] ? -1.0f : fabsf(w[begin + i]);
            }
            to = list_largest(sizes, n, c->block_count[b], begin, sizes + m->inputs, to);
        }
    }
    return OK;
}

static void choose_parts(void *context, size_t begin, size_t end, int worker) {
    struct choice *c = context;
    float *rows = c->rows + (size_t)worker * OUTPUTS_AT_ONCE * c->m->inputs,
          *sizes = c->sizes + (size_t)worker * 2 * c->m->inputs;
    for (size_t part = begin; part < end; part++) {
        uint32_t first = (uint32_t)part * OUTPUTS_AT_ONCE, left = c->m->outputs - first;
        struct error mine;
        enum status s = choose_outputs(c, first, left < OUTPUTS_AT_ONCE ? left : OUTPUTS_AT_ONCE, rows, sizes, &mine);
        if (s != OK) {
            pthread_mutex_lock(&c->lock);
            if (part < c->failed) {
                c->failed = part;
                c->status = s;
                c->error = mine;
            }
            pthread_mutex_unlock(&c->lock);
        }
    }
}

static enum status choose_weights(struct choice *c, struct error *e) {
    const struct matrix_source *m = c->m;
    for (uint32_t o = 0; o <= m->outputs; o++) {
        c->weight_begin[o] = (uint32_t)(o * c->per_output);
    }
    pthread_mutex_init(&c->lock, NULL);
    parallel_for(m->outputs / OUTPUTS_AT_ONCE + (m->outputs % OUTPUTS_AT_ONCE != 0), 1, 0, choose_parts, c);
    pthread_mutex_destroy(&c->lock);
    if (c->status != OK && e) {
        *e = c->error;
    }
    return c->status;
}

/* is_channel, channels, block_count, per_output. */
static void choose_channels(struct choice *c, const float *largest, float *room) {
    const struct matrix_source *m = c->m;
    if (c->channel_count) {
        list_largest(largest, m->inputs, c->channel_count, 0, room, c->channels);
    }
    for (uint32_t i = 0; i < c->channel_count; i++) {
        c->is_channel[c->channels[i]] = true;
    }
    for (uint32_t b = 0; b < c->row_blocks; b++) {
        uint32_t channels = 0;
        for (uint32_t i = row_begin(c, b); i < row_begin(c, b + 1); i++) {
            channels += c->is_channel[i];
        }
        c->block_count[b] = wanted_weights(c->chip, row_begin(c, b + 1) - row_begin(c, b), channels);
        c->per_output += c->block_count[b];
    }
}

static enum status check_largest(const struct choice *c, const float *largest, struct error *e) {
    for (uint32_t i = 0; c->channel_count && i < c->m->inputs; i++) {
        if (!largest || !isfinite(largest[i]) || largest[i] < 0) {
            return error_set(e, ERR_RUN,
                             "matrix %s: the largest |x| of input %" PRIu32 " is not known (allowed: finite)",
                             c->m->name, i);
        }
    }
    return OK;
}

/* The result: one block of memory. Its lists are set in c too. */
static struct side_path *make_lists(struct choice *c) {
    size_t outputs = c->per_output ? (size_t)c->m->outputs + 1 : 0, weights = (size_t)c->per_output * c->m->outputs;
    struct {
        struct side_path lists;
        uint32_t numbers[];
    } *made = mem_alloc(1, sizeof *made + (c->channel_count + outputs + weights) * sizeof(uint32_t));
    if (!made) {
        return NULL;
    }
    memcpy(made->numbers, c->channels, c->channel_count * sizeof(uint32_t));
    c->weight_begin = made->numbers + c->channel_count;
    c->weight_inputs = c->weight_begin + outputs;
    made->lists = (struct side_path){.channels = made->numbers,
                                     .channel_count = c->channel_count,
                                     .weight_begin = c->per_output ? c->weight_begin : NULL,
                                     .weight_inputs = c->per_output ? c->weight_inputs : NULL};
    return &made->lists;
}

static enum status choose(struct choice *c, const float *largest, struct side_path **out, struct error *e) {
    TRY(check_largest(c, largest, e));
    choose_channels(c, largest, c->sizes);
    if (c->per_output * c->m->outputs > UINT32_MAX) {
        return error_set(e, ERR_USAGE, "matrix %s: %" PRIu64 " digital weights (allowed: below 2^32)", c->m->name,
                         c->per_output * c->m->outputs);
    }
    if (c->channel_count == 0 && c->per_output == 0) {
        return OK;
    }
    struct side_path *made = make_lists(c);
    if (!made) {
        return error_set(e, ERR_RUN, "matrix %s: out of memory for its side path", c->m->name);
    }
    enum status s = c->per_output ? choose_weights(c, e) : OK;
    if (s != OK) {
        side_path_destroy(made);
        return s;
    }
    *out = made;
    return OK;
}

enum status side_path_choose(const struct chip *chip, const struct matrix_source *m, const float *largest,
                             struct side_path **out, struct error *e) {
    const struct chip_spec *s = chip_spec_of(chip);
    *out = NULL;
    if (!s->analog_role[m->role] || (s->placement.digital_channels == 0 && !(s->placement.digital_weights > 0))) {
        return OK;
    }
    struct choice c = {.chip = s, .m = m, .row_blocks = block_count(m->inputs, (uint32_t)s->tile.rows),
                       .channel_count = wanted_channels(s, m), .failed = SIZE_MAX, .status = OK};
    size_t threads = (size_t)threads_count(), inputs = m->inputs;
    c.block_count = mem_alloc(c.row_blocks, sizeof *c.block_count);
    c.channels = mem_alloc(c.channel_count, sizeof *c.channels);
    c.is_channel = mem_alloc(inputs, sizeof *c.is_channel);
    c.rows = mem_alloc(threads * OUTPUTS_AT_ONCE * inputs, sizeof *c.rows);
    c.sizes = mem_alloc(threads * 2 * inputs, sizeof *c.sizes);
    enum status status = c.block_count && c.channels && c.is_channel && c.rows && c.sizes
                             ? choose(&c, largest, out, e)
                             : error_set(e, ERR_RUN, "matrix %s: out of memory for its side path", m->name);
    mem_free(c.block_count);
    mem_free(c.channels);
    mem_free(c.is_channel);
    mem_free(c.rows);
    mem_free(c.sizes);
    return status;
}

void side_path_destroy(struct side_path *s) { mem_free(s); }
