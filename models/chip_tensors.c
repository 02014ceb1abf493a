/* What a model folder says of the chip that it was made for: tensors beside the weights of a matrix P.
 *
 *   P.input_range            numbers [row blocks] or [1]: static range of the inputs, in the units of the inputs
 *   P.digital_channels       I32 [k]: inputs that the tiles never see, rising
 *   P.digital_weight_begin   I32 [outputs + 1]: where the listed weights of an output begin, from 0, never falling
 *   P.digital_weight_inputs  I32 [n]: their inputs, rising within an output; n = the last begin
 *   P.weight_scale           numbers [row blocks][outputs]: the |w| that full-scale conductance stands for
 *   P.adc_range              the same: full scale of the ADC in units of the weights, result / input range
 *   P.devices                I32 [1]: devices in parallel per leg and slice of a weight, 1 to DEVICES_MOST
 *
 * Names of the input ranges as in the checkpoints of Analog Foundation Models (arXiv 2505.09663). Everything is checked
 * here but the number of row blocks: how many there are is the chip's to say, and machine_create() compares.
 */
#include <math.h>

#include "models/files.h"
#include "models/internal.h"

enum { NAME_BYTES = 320 };

struct chip_taker {
    struct model *model;
    const struct matrix *matrix;
    struct matrix_source *source;
    const char *name; /* P */
    bool *used, *used_integers;
};

static const char *path_of(const struct chip_taker *t) { return weights_path(t->model->weights); }

static enum status no_memory(const struct chip_taker *t, struct error *e) {
    return error_set(e, ERR_RUN, "%s: out of memory", path_of(t));
}

/* ---- input ranges ----------------------------------------------------------------------------------------- */

static enum status check_ranges(const struct chip_taker *t, const struct tensor *found, const float *ranges,
                                uint64_t count, struct error *e) {
    for (uint64_t i = 0; i < count; i++) {
        if (!(ranges[i] >= SMALLEST_RANGE) || !isfinite(ranges[i])) {
            return error_set(e, ERR_RUN, "%s: tensor %s: element %llu is %g (allowed: positive and finite)", path_of(t),
                             found->name, (unsigned long long)i, (double)ranges[i]);
        }
    }
    return OK;
}

static enum status take_input_range(struct chip_taker *t, struct error *e) {
    char name[NAME_BYTES];
    snprintf(name, sizeof name, "%s.input_range", t->name);
    const struct tensor *found = weights_find(t->model->weights, name);
    if (!found) {
        return OK;
    }
    uint64_t count = found->rank == 0 ? 1 : found->shape[0];
    if (found->rank > 1 || count == 0 || count > t->matrix->inputs) {
        return error_set(e, ERR_RUN, "%s: tensor %s: rank %d, %llu elements (allowed: rank 1, 1 to %u elements)",
                         path_of(t), name, found->rank, (unsigned long long)count, t->matrix->inputs);
    }
    float *ranges = arena_alloc(t->model->arena, (size_t)count, sizeof *ranges);
    if (!ranges) {
        return no_memory(t, e);
    }
    tensor_rows_f32(found, 0, 1, ranges);
    TRY(check_ranges(t, found, ranges, count, e));
    t->used[found - weights_at(t->model->weights, 0)] = true;
    t->source->input_range = ranges;
    t->source->input_range_count = (uint32_t)count;
    return OK;
}

/* ---- scales ------------------------------------------------------------------------------------------------ */

/* Numbers of every output in every row block; *out stays NULL when there is no such tensor. */
static enum status take_scales(struct chip_taker *t, const char *ending, const float **out, size_t *count,
                               struct error *e) {
    char name[NAME_BYTES];
    snprintf(name, sizeof name, "%s.%s", t->name, ending);
    const struct tensor *found = weights_find(t->model->weights, name);
    if (!found) {
        return OK;
    }
    uint32_t outputs = t->matrix->outputs;
    if (found->rank != 2 || found->shape[0] == 0 || found->shape[0] > t->matrix->inputs || found->shape[1] != outputs) {
        return error_set(e, ERR_RUN, "%s: tensor %s: rank %d, [%llu, %llu] (allowed: rank 2, [1 to %u, %u])",
                         path_of(t), name, found->rank, (unsigned long long)found->shape[0],
                         (unsigned long long)found->shape[1], t->matrix->inputs, outputs);
    }
    *count = (size_t)found->shape[0] * outputs;
    float *values = arena_alloc(t->model->arena, *count, sizeof *values);
    if (!values) {
        return no_memory(t, e);
    }
    tensor_rows_f32(found, 0, found->shape[0], values);
    for (size_t i = 0; i < *count; i++) {
        if (!isfinite(values[i]) || values[i] < 0) {
            return error_set(e, ERR_RUN, "%s: tensor %s: element %zu is %g (allowed: finite, not below 0)", path_of(t),
                             name, i, (double)values[i]);
        }
    }
    t->used[found - weights_at(t->model->weights, 0)] = true;
    *out = values;
    return OK;
}

/* ---- what stays digital ------------------------------------------------------------------------------------- */

/* A copy, aligned; *out stays NULL when there is no such tensor. */
static enum status take_integers(struct chip_taker *t, const char *ending, uint64_t limit, uint32_t **out,
                                 uint64_t *count, struct error *e) {
    char name[NAME_BYTES];
    snprintf(name, sizeof name, "%s.%s", t->name, ending);
    const struct integers *found = weights_find_integers(t->model->weights, name);
    *count = 0;
    if (!found) {
        return OK;
    }
    if (found->rank != 1 || found->count > limit) {
        return error_set(e, ERR_RUN, "%s: tensor %s: rank %d, %llu elements (allowed: rank 1, up to %llu elements)",
                         path_of(t), name, found->rank, (unsigned long long)found->count, (unsigned long long)limit);
    }
    *out = arena_alloc(t->model->arena, (size_t)found->count, sizeof **out);
    if (!*out) {
        return no_memory(t, e);
    }
    memcpy(*out, found->data, (size_t)found->count * sizeof **out);
    t->used_integers[found - weights_integers_at(t->model->weights, 0)] = true;
    *count = found->count;
    return OK;
}

/* Inputs of the matrix, rising strictly. A negative number shows as one that is too large. */
static enum status check_inputs(const struct chip_taker *t, const char *ending, const uint32_t *inputs, uint64_t first,
                                uint64_t end, struct error *e) {
    for (uint64_t i = first; i < end; i++) {
        if (inputs[i] >= t->matrix->inputs || (i > first && inputs[i] <= inputs[i - 1])) {
            return error_set(e, ERR_RUN, "%s: tensor %s.%s: element %llu is %d (allowed: rising inputs, 0 to %u)",
                             path_of(t), t->name, ending, (unsigned long long)i, (int)inputs[i], t->matrix->inputs - 1);
        }
    }
    return OK;
}

static enum status check_begins(const struct chip_taker *t, const uint32_t *begin, uint64_t count, uint64_t weights,
                                struct error *e) {
    uint32_t outputs = t->matrix->outputs;
    if (count != (uint64_t)outputs + 1) {
        return error_set(e, ERR_RUN, "%s: tensor %s.digital_weight_begin: %llu elements (allowed: %llu)", path_of(t),
                         t->name, (unsigned long long)count, (unsigned long long)outputs + 1);
    }
    for (uint64_t o = 0; o < count; o++) {
        if (begin[o] > weights || (o == 0 ? begin[o] != 0 : begin[o] < begin[o - 1])) {
            return error_set(e, ERR_RUN,
                             "%s: tensor %s.digital_weight_begin: element %llu is %d (allowed: from 0, not falling, up "
                             "to %llu)",
                             path_of(t), t->name, (unsigned long long)o, (int)begin[o], (unsigned long long)weights);
        }
    }
    if (begin[outputs] != weights) {
        return error_set(e, ERR_RUN, "%s: tensor %s.digital_weight_inputs: %llu elements (digital_weight_begin: %u)",
                         path_of(t), t->name, (unsigned long long)weights, begin[outputs]);
    }
    return OK;
}

static enum status take_weights(struct chip_taker *t, struct side_path *side, struct error *e) {
    uint64_t all = (uint64_t)t->matrix->inputs * t->matrix->outputs, begins, weights;
    uint32_t *begin = NULL, *inputs = NULL;
    TRY(take_integers(t, "digital_weight_begin", UINT32_MAX, &begin, &begins, e));
    TRY(take_integers(t, "digital_weight_inputs", all < UINT32_MAX ? all : UINT32_MAX, &inputs, &weights, e));
    if (!begin && !inputs) {
        return OK;
    }
    if (!begin || !inputs) {
        return error_set(e, ERR_RUN, "%s: tensor %s.%s: missing, but the other half of the list is there", path_of(t),
                         t->name, begin ? "digital_weight_inputs" : "digital_weight_begin");
    }
    TRY(check_begins(t, begin, begins, weights, e));
    for (uint32_t o = 0; o < t->matrix->outputs; o++) {
        TRY(check_inputs(t, "digital_weight_inputs", inputs, begin[o], begin[o + 1], e));
    }
    side->weight_begin = begin;
    side->weight_inputs = inputs;
    return OK;
}

static enum status take_side_path(struct chip_taker *t, struct error *e) {
    struct side_path side = {0}, *own;
    uint32_t *channels = NULL;
    uint64_t count;
    TRY(take_integers(t, "digital_channels", t->matrix->inputs, &channels, &count, e));
    TRY(check_inputs(t, "digital_channels", channels, 0, count, e));
    side.channels = channels;
    side.channel_count = (uint32_t)count;
    TRY(take_weights(t, &side, e));
    if (!side.channel_count && !side.weight_begin) {
        return OK;
    }
    own = arena_alloc(t->model->arena, 1, sizeof *own);
    if (!own) {
        return no_memory(t, e);
    }
    *own = side;
    t->source->side = own;
    return OK;
}

/* ---- devices ------------------------------------------------------------------------------------------------- */

static enum status take_devices(struct chip_taker *t, struct error *e) {
    uint32_t *devices = NULL;
    uint64_t count;
    TRY(take_integers(t, "devices", 1, &devices, &count, e));
    if (!devices) {
        return OK;
    }
    if (count != 1 || devices[0] < 1 || devices[0] > DEVICES_MOST) {
        return error_set(e, ERR_RUN, "%s: tensor %s.devices: %llu elements, the first %d (allowed: one, 1 to %d)",
                         path_of(t), t->name, (unsigned long long)count, count ? (int)devices[0] : 0, DEVICES_MOST);
    }
    t->source->devices = devices[0];
    return OK;
}

/* ---- all of them ---------------------------------------------------------------------------------------------- */

enum status model_take_chip_tensors(struct model *m, size_t matrix, const char *name, bool *used, bool *used_integers,
                                    struct error *e) {
    struct chip_taker t = {m, &m->matrices[matrix], &m->sources[matrix], name, used, used_integers};
    TRY(take_input_range(&t, e));
    TRY(take_devices(&t, e));
    TRY(take_scales(&t, "weight_scale", &t.source->weight_scale, &t.source->scale_count, e));
    TRY(take_scales(&t, "adc_range", &t.source->adc_range, &t.source->adc_range_count, e));
    return take_side_path(&t, e);
}

enum status model_check_chip_tensors(const struct model *m, const bool *used_integers, struct error *e) {
    static const char *const endings[] = {".digital_channels", ".digital_weight_begin", ".digital_weight_inputs",
                                          ".devices"};
    for (size_t i = 0; i < weights_integers_count(m->weights); i++) {
        const char *name = weights_integers_at(m->weights, i)->name;
        for (size_t k = 0; k < sizeof endings / sizeof endings[0]; k++) {
            if (!used_integers[i] && text_ends_with(name, endings[k])) {
                return error_set(e, ERR_RUN, "%s: tensor %.200s: belongs to no matrix of the model",
                                 weights_path(m->weights), name);
            }
        }
    }
    return OK;
}
