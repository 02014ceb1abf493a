/* mho adapt fit: a model for a chip without training.
 *
 * 1. windows of the text, spread over it; from the last eighth of them on the text is kept for step 7, which has half
 *    as many windows there if it is long enough. Step 5 has windows of its own, many more, next to each other or
 *    spread, from the text before: a pass forward costs little
 * 2. sensitivities of all weights (fit_sensitivity.c), and the inputs of all matrices (fit_statistics.c)
 * 3. what stays digital (fit_side.c), first single weights alone, which says how large the others are; then channels
 *    and weights, where a joule saves as much in all of them
 * 4. devices per weight (fit_redundancy.c), then step 3 once more for the noise that is left
 * 5. weights and scales that are written instead (fit_reconstruct.c)
 * 6. ranges of inputs and ADCs (fit_ranges.c), first without knowing the results, then with those under noise
 * 7. factors of these ranges, tried out on the noisy chip (fit_search.c)
 * 8. the folder: the model with side paths, devices and ranges, which the machine takes from there
 *
 * Steps 3 to 7 can be left out, each on its own. */
#include <stdio.h>
#include <string.h>

#include "base/gemm.h"
#include "base/io.h"
#include "base/memory.h"
#include "models/adapt/fit.h"
#include "models/internal.h"
#include "models/write.h"

/* Windows of [BOS] and the next ids, spread over the first `count` ids of a text, none over another. */
struct cut {
    int32_t *ids; /* [windows][length]; mem_free */
    size_t windows, count, fresh; /* fresh: ids of the text in a window */
};

/* Where window w begins in the text. */
static size_t window_begin(const struct cut *c, size_t w) {
    return c->windows > 1 ? (size_t)((double)w * (double)(c->count - c->fresh) / (double)(c->windows - 1)) : 0;
}

/* As many windows as `tokens` of the text fill. `what` it is for: an error says it. */
static enum status cut_windows(const struct model *m, const int32_t *ids, size_t count, uint64_t tokens,
                               const struct fit_options *o, const char *what, struct cut *c, struct error *e) {
    size_t bos = model_bos(m) >= 0, fresh = o->length - bos, wanted = tokens < count ? tokens : count;
    *c = (struct cut){.windows = wanted / fresh, .count = count, .fresh = fresh};
    if (c->windows == 0) {
        return error_set(e, ERR_USAGE, "adapt fit: %zu tokens of text for %s (allowed: at least %zu, one window)",
                         wanted, what, fresh);
    }
    c->ids = mem_alloc(c->windows, o->length * sizeof *c->ids);
    for (size_t w = 0; c->ids && w < c->windows; w++) {
        c->ids[w * o->length] = model_bos(m);
        memcpy(c->ids + w * o->length + bos, ids + window_begin(c, w), fresh * sizeof *c->ids);
    }
    return c->ids ? OK : error_set(e, ERR_RUN, "adapt fit: out of memory");
}

static enum status text_ids(const struct model *m, const struct fit_options *o, struct token_list *ids,
                            struct error *e) {
    if (!m->tokenizer) {
        return error_set(e, ERR_USAGE, "%s: the model has no tokenizer, a text cannot be read", m->view.path);
    }
    return o->text ? tokenizer_encode(m->tokenizer, o->text, o->text_bytes, false, false, ids, e)
                   : model_text_ids(m, 1, ids, e);
}

/* ---- the folder ------------------------------------------------------------------------------------------ */

enum { PART_NAME_BYTES = 160 };

/* MATRIX.input_range and MATRIX.adc_range of every matrix on tiles; *parts and the names behind them: mem_free. */
static enum status range_parts(const struct model *m, const struct fit_statistics *f, bool adc,
                               struct model_part **parts, size_t *count, struct error *e) {
    *count = 0;
    *parts = mem_alloc(2 * m->matrix_count, sizeof **parts + PART_NAME_BYTES);
    if (!*parts) {
        return error_set(e, ERR_RUN, "adapt fit: out of memory");
    }
    char *name = (char *)(*parts + 2 * m->matrix_count);
    for (size_t i = 0; i < m->matrix_count; i++) {
        if (f[i].blocks) {
            snprintf(name, PART_NAME_BYTES, "%s.input_range", m->sources[i].name);
            (*parts)[(*count)++] = (struct model_part){name, f[i].ranges, f[i].blocks};
            name += PART_NAME_BYTES;
        }
        if (f[i].blocks && adc) {
            snprintf(name, PART_NAME_BYTES, "%s.adc_range", m->sources[i].name);
            (*parts)[(*count)++] =
                (struct model_part){name, f[i].adc, (size_t)f[i].blocks * m->sources[i].outputs};
            name += PART_NAME_BYTES;
        }
    }
    return OK;
}

/* mem_free; NULL: out of memory. */
static char *compact_text(const json_t *how) {
    enum { FLAGS = JSON_COMPACT | JSON_REAL_PRECISION(9) };
    size_t bytes = how ? json_dumpb(how, NULL, 0, FLAGS) : 0;
    char *text = bytes > 0 ? mem_alloc(bytes + 1, 1) : NULL;
    if (text) {
        json_dumpb(how, text, bytes, FLAGS);
        text[bytes] = '\0';
    }
    return text;
}

/* ---- the steps ------------------------------------------------------------------------------------------- */

struct fitting {
    const struct model *model;
    const struct chip *chip;
    const struct fit_options *options;
    struct chip_training converters;
    struct cut windows, moments, kept;    /* for statistics; for the reconstruction alone; for trials */
    struct sensitivity_text text, trials; /* windows for statistics, and those for trials */
    struct sensitivity *sensitivity;
    struct fit_statistics *statistics;
    double *noise;                        /* [matrices] its cost with all weights on tiles */
    struct fit_sides sides;
    struct model *copy;                   /* with weights of its own; NULL: not needed */
    bool ranges;                          /* the chip's are static, and those of the folder are asked for */
    struct fit_result *result;
};

/* Too few windows for trials choose ranges by chance: docs/adaptation.md, "Reconstruction". */
static enum status divide_text(struct fitting *f, const struct token_list *ids, struct error *e) {
    const struct fit_options *o = f->options;
    struct cut *w = &f->windows;
    TRY(cut_windows(f->model, ids->ids, ids->count, o->tokens, o, "sensitivities", w, e));
    size_t used = w->windows - w->windows / 8, before = used < w->windows ? window_begin(w, used) : ids->count;
    if (used < w->windows) {
        TRY(cut_windows(f->model, ids->ids + before, ids->count - before, o->tokens / 2, o, "trials", &f->kept, e));
    }
    f->text = (struct sensitivity_text){w->ids, used, o->length, o->seed};
    f->trials = (struct sensitivity_text){f->kept.ids, f->kept.windows, o->length, o->seed};
    f->result->tokens = (uint64_t)(used + f->kept.windows) * o->length;
    if (o->reconstruct) {
        TRY(cut_windows(f->model, ids->ids, before, o->reconstruct_tokens, o, "the reconstruction", &f->moments, e));
        f->result->reconstruct_tokens = (uint64_t)f->moments.windows * o->length;
    }
    return OK;
}

static enum status read_text(struct fitting *f, struct error *e) {
    struct token_list ids = {NULL, 0, 0};
    enum status s = text_ids(f->model, f->options, &ids, e);
    s = s == OK ? divide_text(f, &ids, e) : s;
    token_list_clear(&ids);
    return s;
}

static enum status measure(struct fitting *f, struct error *e) {
    return fit_sensitivity(f->model, f->chip, &f->text, f->statistics, &f->sensitivity, e);
}

static struct fit_side side_of(const struct fitting *f, size_t i) {
    const struct side_path *s = f->sides.sides[i];
    uint32_t channels = s ? s->channel_count : 0;
    uint64_t weights = s && s->weight_begin ? s->weight_begin[f->model->sources[i].outputs] : 0;
    double noise = f->noise[i] * chip_noise_share(f->chip, f->statistics[i].devices) - f->statistics[i].noise;
    return (struct fit_side){.matrix = f->model->sources[i].name, .channels = channels, .weights = weights,
                             .cost = fit_cost(&f->sides.prices[i], channels, (double)weights),
                             .saved = noise + f->sides.saved[i]};
}

/* What was chosen, for the caller. */
static enum status note_sides(struct fitting *f, struct error *e) {
    struct fit_result *r = f->result;
    if (!(f->options->digital_share > 0)) {
        return OK;
    }
    r->sides = r->sides ? r->sides : mem_alloc(f->model->matrix_count, sizeof *r->sides);
    if (!r->sides) {
        return error_set(e, ERR_RUN, "adapt fit: out of memory");
    }
    r->digital_share = (double)f->sides.listed / (double)f->sides.weights;
    r->in_joules = f->sides.prices[0].joules;
    r->worth = f->sides.worth;
    r->side_count = 0;
    for (size_t i = 0; i < f->model->matrix_count; i++) {
        if (f->statistics[i].blocks) {
            r->sides[r->side_count++] = side_of(f, i);
        }
    }
    return OK;
}

/* Side paths anew, and what they leave on the tiles. */
static enum status find_sides(struct fitting *f, struct error *e) {
    const struct fit_options *o = f->options;
    fit_sides_destroy(&f->sides, f->model->matrix_count);
    f->sides = (struct fit_sides){0};
    TRY(fit_sides(f->model, f->chip, f->sensitivity, o->digital_share, o->weights, f->statistics, &f->sides, e));
    TRY(fit_measure_weights(f->model, f->chip, f->sensitivity, f->sides.sides, f->statistics, e));
    return note_sides(f, e);
}

static double noise_cost(const struct fitting *f) {
    double sum = 0;
    for (size_t i = 0; i < f->model->matrix_count; i++) {
        sum += f->statistics[i].noise;
    }
    return sum;
}

static enum status choose_sides(struct fitting *f, struct error *e) {
    const struct fit_options *o = f->options;
    TRY(fit_measure_weights(f->model, f->chip, f->sensitivity, NULL, f->statistics, e));
    double before = noise_cost(f);
    for (size_t i = 0; i < f->model->matrix_count; i++) {
        f->noise[i] = f->statistics[i].noise;
    }
    TRY(find_sides(f, e));
    if (o->digital_share > 0 && o->channels) {
        TRY(fit_channel_menu(f->model, f->chip, &f->converters, f->statistics, e));
        TRY(find_sides(f, e));
    }
    f->result->side = (struct fit_gain){o->digital_share > 0, before, noise_cost(f)};
    return OK;
}

static enum status choose_devices(struct fitting *f, struct error *e) {
    struct fit_result *r = f->result;
    double before = noise_cost(f);
    if (!(f->options->redundancy > 0)) {
        return OK;
    }
    TRY(fit_redundancy(f->model, f->chip, f->options->redundancy, f->statistics, &r->more_cells, e));
    TRY(find_sides(f, e));
    r->redundancy = (struct fit_gain){true, before, noise_cost(f)};
    for (size_t i = 0; i < f->model->matrix_count; i++) {
        r->with_devices[f->statistics[i].devices] += f->statistics[i].blocks > 0;
    }
    return OK;
}

/* From here on the model is the one that is written. */
static enum status reconstruct(struct fitting *f, struct error *e) {
    struct side_path *const *sides = f->sides.sides;
    if (!f->options->reconstruct) {
        return OK;
    }
    TRY(fit_copy_create(f->model, f->chip, &f->copy, e));
    f->model = f->copy;
    TRY(fit_reconstruct(f->copy, f->chip, f->moments.ids, f->moments.windows, f->options->length, sides, f->statistics,
                        &f->result->reconstruction, e));
    return fit_measure_weights(f->model, f->chip, f->sensitivity, sides, f->statistics, e);
}

/* More devices that do not help on the noisy chip are not taken. */
static void confirm_devices(struct fitting *f) {
    const struct fit_trials *t = &f->result->trials;
    if (!f->result->redundancy.done || t->own_devices_nats <= 0 || t->nats < t->own_devices_nats) {
        return;
    }
    f->result->more_cells = 0;
    f->result->redundancy.done = false;
    f->result->redundancy_dropped = true;
    for (size_t i = 0; i < f->model->matrix_count; i++) {
        f->statistics[i].devices = 0;
    }
}

static enum status find_ranges(struct fitting *f, struct error *e) {
    enum { WINDOWS = 8 };
    struct student_batch windows[WINDOWS];
    size_t all = f->text.windows, count = all < WINDOWS ? all : WINDOWS;
    struct side_path *const *sides = f->sides.sides;
    if (!f->ranges) {
        return OK;
    }
    for (size_t w = 0; w < count; w++) {
        size_t at = w * all / count;
        windows[w] = (struct student_batch){.ids = f->text.ids + at * f->options->length, .sequences = 1,
                                            .length = f->options->length, .key = w};
    }
    TRY(fit_ranges(f->model, f->chip, &f->converters, f->sensitivity, sides, f->statistics, e));
    TRY(fit_results(f->model, f->chip, sides, windows, count, f->statistics, e));
    TRY(fit_ranges(f->model, f->chip, &f->converters, f->sensitivity, sides, f->statistics, e));
    fit_set_adc(f->model, f->statistics);
    f->result->ranges.done = true;
    for (size_t i = 0; i < f->model->matrix_count; i++) {
        f->result->ranges.before += f->statistics[i].plain_cost;
        f->result->ranges.after += f->statistics[i].cost;
    }
    if (f->trials.windows) {
        TRY(fit_search(f->model, f->chip, sides, &f->trials, f->statistics, &f->result->trials, e));
        confirm_devices(f);
    }
    return OK;
}

/* How the model was made: what was asked, and what was reached ("digital", "more_cells"). json_decref. */
static json_t *describe(const struct fitting *f) {
    const struct fit_options *o = f->options;
    const struct fit_result *r = f->result;
    return json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:f, s:f, s:b, s:b, s:f, s:f, s:b, s:b, s:s?, s:o*}", "recipe",
                     "fit", "chip", chip_name(f->chip), "tokens", (json_int_t)r->tokens, "reconstruct_tokens",
                     (json_int_t)r->reconstruct_tokens, "window", (json_int_t)o->length, "seed", (json_int_t)o->seed,
                     "digital_asked", o->digital_share, "digital", r->digital_share, "channels", o->channels,
                     "single_weights", o->weights, "redundancy", o->redundancy, "more_cells", r->more_cells, "ranges",
                     f->ranges, "reconstruct", o->reconstruct, "rotate", o->rotate, "before", model_made_how(f->model));
}

static enum status write(struct fitting *f, const char *path, struct error *e) {
    struct model_part *parts = NULL;
    size_t count = 0;
    if (f->ranges) {
        TRY(range_parts(f->model, f->statistics, f->converters.adc_steps > 0, &parts, &count, e));
    }
    size_t matrices = f->model->matrix_count;
    uint32_t *devices = mem_alloc(matrices, sizeof *devices);
    for (size_t i = 0; devices && i < matrices; i++) {
        devices[i] = f->statistics[i].devices;
    }
    json_t *how = describe(f);
    char *text = compact_text(how);
    struct model_changes changes = {.type = TENSOR_F16,
                                    .parts = parts,
                                    .part_count = count,
                                    .sides = (const struct side_path *const *)f->sides.sides,
                                    .devices = devices,
                                    .chip = f->chip,
                                    .adapt = text};
    enum status s = text && devices ? model_write_folder(f->model, &changes, path, e)
                         : error_set(e, ERR_RUN, "adapt fit: out of memory");
    json_decref(how);
    mem_free(devices);
    mem_free(text);
    mem_free(parts);
    return s;
}

static enum status run_steps(struct fitting *f, const char *path, struct error *e) {
    TRY(chip_training(f->chip, &f->converters, e));
    f->ranges = f->options->ranges && !f->converters.inputs_per_token && f->converters.dac_steps > 0;
    f->statistics = fit_statistics_create(f->model, f->chip);
    f->noise = mem_alloc(f->model->matrix_count, sizeof *f->noise);
    if (!f->statistics || !f->noise) {
        return error_set(e, ERR_RUN, "adapt fit: out of memory");
    }
    TRY(read_text(f, e));
    TRY(make_directory(path, e)); /* that this fails is known before hours of work */
    TRY(measure(f, e));
    TRY(choose_sides(f, e));
    TRY(choose_devices(f, e));
    TRY(reconstruct(f, e));
    TRY(find_ranges(f, e));
    TRY(gemm_check(e));
    return write(f, path, e);
}

enum status adapt_fit(const struct model *m, const struct chip *c, const struct fit_options *o, const char *path,
                      struct fit_result *r, struct error *e) {
    struct fitting f = {.model = m, .chip = c, .options = o, .result = r};
    *r = (struct fit_result){0};
    if (o->digital_share > 0 && !o->channels && !o->weights) {
        return error_set(e, ERR_USAGE, "adapt fit: neither channels nor single weights may stay digital, but %g of the "
                         "multiplications (allowed: a share of 0)", o->digital_share);
    }
    TRY(model_folder_check(path, e));
    enum status s = run_steps(&f, path, e);
    fit_sides_destroy(&f.sides, m->matrix_count);
    fit_statistics_destroy(f.statistics, m->matrix_count);
    fit_copy_destroy(f.copy);
    mem_free(f.sensitivity);
    mem_free(f.noise);
    mem_free(f.windows.ids);
    mem_free(f.moments.ids);
    mem_free(f.kept.ids);
    if (s != OK) {
        mem_free(r->sides);
        *r = (struct fit_result){0};
    }
    return s;
}
