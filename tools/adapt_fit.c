/* mho adapt fit: a model made fit for a chip without training, step by step; each can be left out. The work is done in
 * models/adapt/fit.c. */
#include <stddef.h>
#include <string.h>

#include "base/gemm.h"
#include "base/io.h"
#include "base/memory.h"
#include "tools/command.h"

enum { TEXT_LIMIT_BYTES = 1 << 30, DEFAULT_TOKENS = 8192, DEFAULT_RECONSTRUCT_TOKENS = 1 << 18, DEFAULT_WINDOW = 256 };
#define DEFAULT_DIGITAL 0.05

/* The trials of ranges on the noisy chip. */
static void print_trials(const struct fit_result *r) {
    const struct fit_trials *t = &r->trials;
    if (t->count == 0) {
        printf("ranges as estimated: the text is too short for trials on the chip\n");
        return;
    }
    printf("\n%12s %12s %12s %12s\n", "inputs x", "head x", "ADCs x", "nats/token");
    for (size_t i = 0; i < t->count; i++) {
        const struct fit_trial *k = &t->at[i];
        printf("%12.2f %12.2f %12.2f %12.4f%s\n", k->factor[FIT_INPUTS], k->factor[FIT_HEAD], k->factor[FIT_OUTPUTS],
               k->nats, memcmp(k->factor, t->best, sizeof t->best) == 0 ? "  taken" : "");
    }
    if (r->redundancy.done && t->own_devices_nats > 0) {
        printf("with the chip's own number of devices per weight: %.4f nats per token instead of %.4f\n",
               t->own_devices_nats, t->nats);
    }
}

static json_t *trials_json(const struct fit_trials *t) {
    json_t *list = json_array();
    for (size_t i = 0; i < t->count; i++) {
        const struct fit_trial *k = &t->at[i];
        json_array_append_new(list, json_pack("{s:f, s:f, s:f, s:f}", "inputs", k->factor[FIT_INPUTS], "head",
                                              k->factor[FIT_HEAD], "adcs", k->factor[FIT_OUTPUTS], "nats", k->nats));
    }
    return list;
}

/* What each step was expected to be worth. */
static const struct {
    const char *key, *name;
    size_t at;
} steps[] = {
    {"side_path", "side path", offsetof(struct fit_result, side)},
    {"redundancy", "redundancy", offsetof(struct fit_result, redundancy)},
    {"reconstruction", "reconstruction", offsetof(struct fit_result, reconstruction)},
    {"ranges", "ranges", offsetof(struct fit_result, ranges)},
};
enum { STEPS = sizeof steps / sizeof steps[0] };

static struct fit_gain gain_at(const struct fit_result *r, size_t step) {
    return *(const struct fit_gain *)(const void *)((const char *)r + steps[step].at);
}

/* Redundancy that was tried, but not taken. */
static bool is_dropped(const struct fit_result *r, size_t step) {
    return steps[step].at == offsetof(struct fit_result, redundancy) && r->redundancy_dropped;
}

static void print_gains(const struct fit_result *r) {
    printf("\n%-16s %10s %10s   expected loss, nats per token\n", "step", "before", "after");
    for (size_t i = 0; i < STEPS; i++) {
        struct fit_gain g = gain_at(r, i);
        if (g.done) {
            printf("%-16s %10.4f %10.4f   by %s\n", steps[i].name, g.before, g.after,
                   steps[i].at == offsetof(struct fit_result, ranges) ? "converters" : "noise of weights");
        } else if (is_dropped(r, i)) {
            printf("%-16s %10.4f %10.4f   not taken, it does not help on the noisy chip: %.4f nats per token with it, "
                   "%.4f without\n", steps[i].name, g.before, g.after, r->trials.nats, r->trials.own_devices_nats);
        } else {
            printf("%-16s %10s %10s\n", steps[i].name, "off", "");
        }
    }
}

/* null: a step that was left out. */
static json_t *gains_json(const struct fit_result *r) {
    json_t *all = json_object();
    for (size_t i = 0; i < STEPS; i++) {
        struct fit_gain g = gain_at(r, i);
        json_object_set_new(all, steps[i].key,
                            g.done || is_dropped(r, i)
                                ? json_pack("{s:f, s:f, s:b}", "before_nats", g.before, "after_nats", g.after, "taken",
                                            g.done)
                                : json_null());
    }
    return all;
}

/* How many matrices have how many devices per weight. */
static void print_devices(const struct fit_result *r) {
    for (size_t n = 1; r->redundancy.done && n <= DEVICES_MOST; n++) {
        if (r->with_devices[n] > 0) {
            printf("%zu matrices with %zu devices per weight\n", r->with_devices[n], n);
        }
    }
    if (r->redundancy.done) {
        printf("cells of the tiles in use: %.1f %% more\n", 100 * r->more_cells);
    }
}

/* [n]: matrices with n devices per weight, 0: with the chip's own number; null: that was not asked. */
static json_t *devices_json(const struct fit_result *r) {
    json_t *list = r->redundancy.done ? json_array() : json_null();
    for (size_t n = 0; r->redundancy.done && n <= DEVICES_MOST; n++) {
        json_array_append_new(list, json_integer((json_int_t)r->with_devices[n]));
    }
    return list;
}

/* Per token. */
static double side_cost(const struct fit_result *r) {
    double sum = 0;
    for (size_t i = 0; i < r->side_count; i++) {
        sum += r->sides[i].cost;
    }
    return sum;
}

static void print_side_path(const struct fit_result *r) {
    if (r->in_joules) {
        printf("side path: %.3f uJ per token, leakage of longer steps not counted; the last nJ saves %.2e nats per "
               "token\n", 1e6 * side_cost(r), 1e-9 * r->worth);
    } else if (r->side_count > 0) {
        printf("side path: the chip has no costs; chosen by what multiplications save, all alike\n");
    }
}

/* null: no side path was asked for. */
static json_t *side_path_json(const struct fit_result *r) {
    json_t *list = json_array();
    for (size_t i = 0; i < r->side_count; i++) {
        const struct fit_side *s = &r->sides[i];
        json_array_append_new(list, json_pack("{s:s, s:I, s:I, s:o, s:f}", "name", s->matrix, "channels",
                                              (json_int_t)s->channels, "weights", (json_int_t)s->weights,
                                              "joules_per_token", r->in_joules ? json_real(s->cost) : json_null(),
                                              "saved_nats", s->saved));
    }
    json_t *cost = r->in_joules ? json_real(side_cost(r)) : json_null();
    return json_pack("{s:s, s:f, s:o, s:o}", "unit", r->in_joules ? "joule" : "multiplication", "nats_per_unit",
                     r->worth, "joules_per_token", cost, "matrices", list);
}

static enum status print(const struct options *o, const struct chip *c, const struct fit_result *r, struct error *e) {
    if (!o->json) {
        printf("%s: %.2f %% of the multiplications digital, chosen on %llu tokens\n", o->out, r->digital_share * 100,
               (unsigned long long)r->tokens);
        if (r->reconstruct_tokens > 0) {
            printf("weights and scales chosen on %llu tokens\n", (unsigned long long)r->reconstruct_tokens);
        }
        print_side_path(r);
        print_devices(r);
        print_gains(r);
        if (r->ranges.done) {
            print_trials(r);
        }
        return finish_output(e);
    }
    json_t *root = json_envelope("adapt fit", o, c);
    json_put(root, "model", json_string(o->model));
    json_put(root, "folder", json_string(o->out));
    json_put(root, "tokens", json_integer((json_int_t)r->tokens));
    json_put(root, "reconstruct_tokens",
             r->reconstruct_tokens > 0 ? json_integer((json_int_t)r->reconstruct_tokens) : json_null());
    json_put(root, "digital_share", json_number(r->digital_share));
    json_put(root, "side_path", r->side_count > 0 ? side_path_json(r) : json_null());
    json_put(root, "more_cells", json_number(r->more_cells));
    json_put(root, "matrices_with_devices", devices_json(r));
    json_put(root, "trial_nats", r->trials.count ? json_number(r->trials.nats) : json_null());
    json_put(root, "own_devices_nats",
             r->trials.own_devices_nats > 0 ? json_number(r->trials.own_devices_nats) : json_null());
    json_put(root, "expected", gains_json(r));
    json_put(root, "trials", trials_json(&r->trials));
    json_put(root, "gemm", json_string(gemm()->name));
    return json_finish(root, e);
}

static enum status read_fit_options(const struct options *o, const struct model *m, struct fit_options *f, char **text,
                                    struct error *e) {
    uint32_t context = model_shape(m)->context;
    uint32_t length = option_given(o, "window") ? (uint32_t)o->window : DEFAULT_WINDOW;
    if (option_given(o, "window") && length > context) {
        return error_set(e, ERR_USAGE, "--window %u: longer than the model's context (allowed: 2 to %u)", length,
                         context);
    }
    if (option_given(o, "reconstruct-tokens") && !o->reconstruct) {
        return error_set(e, ERR_USAGE, "--reconstruct-tokens: with --reconstruct off nothing is reconstructed "
                         "(allowed: one of them)");
    }
    *f = (struct fit_options){.digital_share = option_given(o, "digital") ? o->digital : DEFAULT_DIGITAL,
                              .tokens = option_given(o, "tokens") ? (uint64_t)o->tokens : DEFAULT_TOKENS,
                              .reconstruct_tokens = option_given(o, "reconstruct-tokens")
                                                        ? (uint64_t)o->reconstruct_tokens : DEFAULT_RECONSTRUCT_TOKENS,
                              .length = length < context ? length : context,
                              .seed = o->seed,
                              .channels = o->channels,
                              .weights = o->single_weights,
                              .redundancy = o->redundancy,
                              .ranges = o->ranges,
                              .reconstruct = o->reconstruct,
                              .rotate = o->rotate};
    if (o->text) {
        TRY(read_file(o->text, TEXT_LIMIT_BYTES, text, &f->text_bytes, e));
        f->text = *text;
    }
    return OK;
}

/* A model that was trained with ranges relies on inputs being cut off at them. The side path multiplies inputs as they
 * come, and the steps of fit measure on the digital model, where nothing is cut off either. */
static void tell_of_ranges(const struct options *o, const struct model *m) {
    size_t count;
    const struct matrix_source *sources = model_matrices(m, &count);
    bool ranges = false;
    for (size_t i = 0; i < count; i++) {
        ranges = ranges || sources[i].input_range;
    }
    if (ranges) {
        notice("%s: brings input ranges. A model that was trained with them relies on inputs being cut off there; what "
               "stays digital sees all of them, and ranges and weights are chosen for them, so that fit may make it "
               "worse. To have both: fit the model from before the training, then mho adapt train on top", o->model);
    }
}

static enum status fit(const struct options *o, struct error *e) {
    struct model *m = NULL;
    struct chip *c = NULL;
    struct fit_options f;
    struct fit_result r = {0};
    char *text = NULL;
    enum status s;
    if (!o->out) {
        return error_set(e, ERR_USAGE, "adapt fit: --out is missing (needed: --out DIR)");
    }
    TRY(open_model(o, &m, e));
    TRY_GOTO(s, open_chip(o, &c, e), done);
    if (!c) {
        s = error_set(e, ERR_USAGE, "adapt fit: --chip none (needed: the chip that the model is for)");
        goto done;
    }
    tell_of_ranges(o, m);
    if (o->rotate) {
        TRY_GOTO(s, model_rotate(m, o->rotate, e), done);
    }
    TRY_GOTO(s, read_fit_options(o, m, &f, &text, e), done);
    TRY_GOTO(s, adapt_fit(m, c, &f, o->out, &r, e), done);
    s = print(o, c, &r, e);
done:
    mem_free(r.sides);
    mem_free(text);
    chip_destroy(c);
    model_close(m);
    return s;
}

static const char *const names[] = {"model", "chip", "set", "out", "digital", "channels", "single-weights",
                                    "redundancy", "ranges", "reconstruct", "reconstruct-tokens", "rotate", "gemm",
                                    "text", "tokens", "window", NULL};

static const struct option_meaning own[] = {
    {"out", "the model folder to write"},
    {"text", "a text file to measure on (default: the bundled calibration text)"},
    {"tokens", "tokens of the text to choose on at most, and half as many for trials of ranges (default: 8192)"},
    {NULL, NULL},
};

const struct adapt_word adapt_word_fit = {
    "fit", names, fit, "choose, without training, what stays digital, weights, and ranges", own,
    "examples:\n"
    "  mho adapt fit --model stories --chip afm --digital 0.05 --out stories-fit\n"
    "  mho adapt fit --model stories --chip afm --digital 0 --reconstruct off --out ranges-alone",
};
