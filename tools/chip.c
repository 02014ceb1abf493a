/* mho chip: the catalogue of chips, with every constant and its source. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/io.h"
#include "base/memory.h"
#include "base/params.h"
#include "devices/adc.h"
#include "tools/command.h"

static const char *const no_options[] = {NULL};

static enum status list_chips(const struct options *o, struct error *e) {
    TRY(options_only(o, no_options, "chip list", e));
    TRY(check_words(o, 1, e));
    const char *const *names;
    TRY(chip_catalogue(&names, e));
    json_t *rows = json_array();
    for (size_t i = 0; names[i]; i++) {
        struct chip *c = NULL;
        enum status s = chip_load(names[i], NULL, 0, &c, e);
        if (s != OK) {
            json_decref(rows);
            return s;
        }
        if (o->json) {
            json_array_append_new(rows, json_pack("{s:s, s:s}", "name", names[i], "about", chip_about(c)));
        } else {
            printf("%-16s %s\n", names[i], chip_about(c));
        }
        chip_destroy(c);
    }
    if (!o->json) {
        json_decref(rows);
        printf("\n%-16s %s\n", "none", "no chip: the digital reference alone");
        return finish_output(e);
    }
    json_t *root = json_envelope("chip list", o, NULL);
    json_put(root, "chips", rows);
    return json_finish(root, e);
}

struct constants {
    json_t *rows; /* NULL: print */
    size_t count[4];
};

struct acting {
    json_t *rows; /* NULL: print */
    size_t count;
};

static void visit_constant(void *context, const char *key, const char *unit, const struct constant *k) {
    struct constants *c = context;
    c->count[k->kind]++;
    double factor = 1;
    unit_factor(unit, &factor);
    double value = k->value / factor;
    if (!c->rows) {
        printf("%-34s %12.6g %-12s %-9s %s\n", key, value, unit, constant_kind_name(k->kind), k->source);
        return;
    }
    json_t *row = json_object();
    json_put(row, "key", json_string(key));
    json_put(row, "value", json_number(value));
    json_put(row, "unit", json_string(unit));
    json_put(row, "kind", json_string(constant_kind_name(k->kind)));
    json_put(row, "source", json_string(k->source));
    json_put(row, "spread", json_pack("[f, f]", k->spread_low, k->spread_high));
    json_array_append_new(c->rows, row);
}

static void visit_acting(void *context, const char *key, const char *unit, double value, const char *why) {
    struct acting *a = context;
    double factor = 1;
    unit_factor(unit, &factor);
    if (a->rows) {
        json_array_append_new(a->rows, json_pack("{s:s, s:f, s:s, s:s}", "key", key, "value", value / factor, "unit",
                                                 unit, "source", why));
        return;
    }
    printf("%s#   %-26s %12.6g %-12s %s\n", a->count++ ? "" : "\n# costs that act in place of those above\n", key,
           value / factor, unit, why);
}

json_t *constants_json(const struct chip *c) {
    struct constants found = {json_array(), {0}};
    chip_visit_constants(c, visit_constant, &found);
    return found.rows;
}

json_t *acting_json(const struct chip *c) {
    struct acting acting = {json_array(), 0};
    chip_visit_acting(c, visit_acting, &acting);
    return acting.rows;
}

static enum status show_json(const struct options *o, const struct chip *c, struct error *e) {
    json_t *root = json_envelope("chip show", o, c);
    json_put(root, "name", json_string(chip_name(c)));
    json_put(root, "about", json_string(chip_about(c)));
    json_put(root, "constants", constants_json(c));
    json_put(root, "acting", acting_json(c));
    return json_finish(root, e);
}

static enum status show_print(const struct chip *c, struct error *e) {
    char *text = config_dump(chip_config(c));
    if (!text) {
        return error_set(e, ERR_RUN, "chip show: out of memory");
    }
    printf("# %s\n# effective configuration, hash %016llx; this text is a chip file\n%s", chip_about(c),
           (unsigned long long)chip_hash(c), text);
    mem_free(text);
    struct acting acting = {NULL, 0};
    chip_visit_acting(c, visit_acting, &acting);
    printf("\n# effects\n");
    for (size_t i = 0; i < chip_effect_count(); i++) {
        printf("#   %-18s %-3s  %s\n", chip_effect_name(i), chip_effect_on(c, i) ? "on" : "off", chip_effect_help(i));
    }
    return finish_output(e);
}

/* As a word or as --chip, not both. */
static enum status named_chip(const struct options *o, const char **name, struct error *e) {
    static const char *const takes_word[] = {"set", NULL};
    *name = o->words.count > 1 ? o->words.items[1] : o->chip;
    return o->words.count > 1 ? options_only(o, takes_word, "chip show NAME and chip check NAME", e) : OK;
}

static enum status show_chip(const struct options *o, struct error *e) {
    TRY(check_words(o, 2, e));
    struct chip *c = NULL;
    const char *name;
    TRY(named_chip(o, &name, e));
    TRY(chip_load(name, o->sets.items, o->sets.count, &c, e));
    enum status s = o->json ? show_json(o, c, e) : show_print(c, e);
    chip_destroy(c);
    return s;
}

/* The first converters of a machine on the test bench: worst and mean of each figure. */
enum { BENCH_CONVERTERS = 16 };
struct converters { double inl_worst, inl_mean, dnl_worst, dnl_mean, missing_mean; uint32_t missing_worst; };

static enum status measure_converters(const struct options *o, const struct chip *c, struct converters *out,
                                      struct error *e) {
    *out = (struct converters){.missing_worst = 0};
    for (uint64_t i = 0; i < BENCH_CONVERTERS; i++) {
        struct adc_linearity one;
        TRY(adc_measure(chip_adc(c), o->seed, DRAW_ADC, i, NULL, NULL, NULL, &one, e));
        out->inl_worst = fmax(out->inl_worst, one.inl_max_lsb);
        out->dnl_worst = fmax(out->dnl_worst, one.dnl_max_lsb);
        out->missing_worst = one.missing_codes > out->missing_worst ? one.missing_codes : out->missing_worst;
        out->inl_mean += one.inl_max_lsb / BENCH_CONVERTERS;
        out->dnl_mean += one.dnl_max_lsb / BENCH_CONVERTERS;
        out->missing_mean += (double)one.missing_codes / BENCH_CONVERTERS;
        TRY(check_interrupted(e));
    }
    return OK;
}

static json_t *converters_json(const struct chip *c, const struct converters *k) {
    return json_pack("{s:s, s:i, s:i, s:f, s:f, s:f, s:f, s:f, s:I}", "circuit", adc_model_of(chip_adc(c))->name,
                     "bits", adc_bits(chip_adc(c)), "converters", (int)BENCH_CONVERTERS, "inl_mean_lsb", k->inl_mean,
                     "inl_worst_lsb", k->inl_worst, "dnl_mean_lsb", k->dnl_mean, "dnl_worst_lsb", k->dnl_worst,
                     "missing_codes_mean", k->missing_mean, "missing_codes_worst", (json_int_t)k->missing_worst);
}

static void print_converters(const struct chip *c, const struct converters *k) {
    printf(
        "\nADC circuit %s, %d bits, %d converters without noise: INL %.3g LSB (worst %.3g), DNL %.3g LSB (worst %.3g), "
        "missing codes %.3g (worst %u)\n",
        adc_model_of(chip_adc(c))->name, adc_bits(chip_adc(c)), (int)BENCH_CONVERTERS, k->inl_mean, k->inl_worst,
        k->dnl_mean, k->dnl_worst, k->missing_mean, k->missing_worst);
}

static enum status check_chip(const struct options *o, struct error *e) {
    TRY(check_words(o, 2, e));
    struct chip *c = NULL;
    const char *name;
    TRY(named_chip(o, &name, e));
    TRY(chip_load(name, o->sets.items, o->sets.count, &c, e));
    struct converters converters;
    enum status s = measure_converters(o, c, &converters, e);
    if (s != OK) {
        chip_destroy(c);
        return s;
    }
    struct constants found = {o->json ? json_array() : NULL, {0}};
    if (!o->json) {
        printf("%-34s %12s %-12s %-9s %s\n", "constant", "value", "unit", "kind", "source");
    }
    chip_visit_constants(c, visit_constant, &found);
    if (o->json) {
        json_t *root = json_envelope("chip check", o, c);
        json_put(root, "constants", found.rows);
        json_put(root, "adc", converters_json(c, &converters));
        json_put(root, "kinds",
                 json_pack("{s:I, s:I, s:I, s:I}", "measured", (json_int_t)found.count[CONSTANT_MEASURED], "published",
                           (json_int_t)found.count[CONSTANT_PUBLISHED], "fitted",
                           (json_int_t)found.count[CONSTANT_FITTED], "assumed",
                           (json_int_t)found.count[CONSTANT_ASSUMED]));
        s = json_finish(root, e);
    } else {
        print_converters(c, &converters);
        printf("\n%s: every constant has a kind and a source: %zu measured, %zu published, %zu fitted, %zu assumed\n",
               chip_name(c), found.count[CONSTANT_MEASURED], found.count[CONSTANT_PUBLISHED],
               found.count[CONSTANT_FITTED], found.count[CONSTANT_ASSUMED]);
        s = finish_output(e);
    }
    chip_destroy(c);
    return s;
}

/* min and max are in the key's unit; null: no limit. A key without a default is required. */
static void add_param(void *context, const char *table, const char *prefix, bool cost, const struct param *p) {
    char key[256], source[PARAM_SOURCE_BYTES];
    bool ranged = p->type == PARAM_INT || p->type == PARAM_NUMBER || p->type == PARAM_CONSTANT ||
                  p->type == PARAM_NUMBERS;
    snprintf(key, sizeof key, "%s%s", prefix, p->key);
    json_t *row = json_object();
    json_put(row, "key", json_string(key));
    json_put(row, "group", json_string(table));
    json_put(row, "cost", json_boolean(cost));
    json_put(row, "type", json_string(param_type_name(p->type)));
    json_put(row, "unit", json_string(p->unit ? p->unit : ""));
    json_put(row, "min", ranged ? json_number(p->min) : json_null());
    json_put(row, "max", ranged ? json_number(p->max) : json_null());
    json_t *choices = p->type == PARAM_CHOICE ? json_array() : json_null();
    for (size_t i = 0; p->type == PARAM_CHOICE && p->choices[i]; i++) {
        json_array_append_new(choices, json_string(p->choices[i]));
    }
    json_put(row, "choices", choices);
    json_put(row, "required", json_boolean(!p->default_text));
    json_put(row, "default", p->default_text ? json_string(p->default_text) : json_null());
    json_put(row, "help", json_string(p->help));
    param_source(p, source);
    json_put(row, "source", json_string(source));
    json_array_append_new(context, row);
}

static enum status print_params(const struct options *o, struct error *e) {
    static const char *const takes[] = {"markdown", NULL};
    TRY(options_only(o, takes, "chip params", e));
    TRY(check_words(o, 1, e));
    if (o->json && o->markdown) {
        return error_set(e, ERR_USAGE, "chip params: --json and --markdown (allowed: one of them)");
    }
    if (o->json) {
        json_t *root = json_envelope("chip params", o, NULL), *rows = json_array();
        chip_visit_params(add_param, rows);
        json_put(root, "params", rows);
        return json_finish(root, e);
    }
    if (o->markdown) {
        chip_params_markdown(stdout);
    } else {
        chip_params_help(stdout);
    }
    return finish_output(e);
}

/* The matrix as one line per effect, encoding and coding; a refusal is the number of its reason. */
enum { REASONS_MOST = 32, REASON_BYTES = 512 };
struct support {
    json_t *rows; /* NULL: print */
    char line[256];
    char reason[REASONS_MOST][REASON_BYTES];
    size_t reasons;
};

static size_t reason_number(struct support *s, const char *reason) {
    for (size_t i = 0; i < s->reasons; i++) {
        if (strncmp(s->reason[i], reason, REASON_BYTES - 1) == 0) {
            return i + 1;
        }
    }
    if (s->reasons < REASONS_MOST) {
        snprintf(s->reason[s->reasons++], REASON_BYTES, "%s", reason);
    }
    return s->reasons;
}

static enum status print_support(void *context, const struct support_cell *c, struct error *e) {
    struct support *s = context;
    char line[sizeof s->line];
    (void)e;
    if (s->rows) {
        json_array_append_new(
            s->rows, json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:b, s:s}", "effect", c->effect, "encoding",
                               c->encoding, "coding", c->coding, "sign", c->sign, "accumulate", c->accumulate,
                               "dac_circuit", c->circuit, "converter", c->converter, "supported", c->chip != NULL,
                               "reason", c->reason));
        return OK;
    }
    snprintf(line, sizeof line, "%-18s %-17s %-11s %-9s %-7s %-11s", c->effect, c->encoding, c->coding, c->sign,
             c->accumulate, c->circuit);
    if (strcmp(line, s->line) != 0) {
        printf("\n%s", line);
        snprintf(s->line, sizeof s->line, "%s", line);
    }
    if (c->chip) {
        printf(" %s", c->converter);
    } else {
        printf(" -%s(%zu)", c->converter, reason_number(s, c->reason));
    }
    return OK;
}

static enum status show_support(const struct options *o, struct error *e) {
    TRY(options_only(o, no_options, "chip support", e));
    TRY(check_words(o, 1, e));
    struct support s = {.rows = o->json ? json_array() : NULL};
    if (!o->json) {
        printf("%-18s %-17s %-11s %-9s %-7s %-11s ADC circuits", "effect", "encoding", "coding", "sign", "passes",
               "DAC circuit");
    }
    enum status status = chip_visit_support(print_support, &s, e);
    if (status != OK) {
        json_decref(s.rows);
        return status;
    }
    if (o->json) {
        json_t *root = json_envelope("chip support", o, NULL);
        json_put(root, "cells", s.rows);
        return json_finish(root, e);
    }
    printf("\n\nwhat stands here was tried; signs and sums of passes and DAC circuits with one ADC circuit, ramp\n"
           "-NAME(n): refused\n");
    for (size_t i = 0; i < s.reasons; i++) {
        printf("(%zu) %s\n", i + 1, s.reason[i]);
    }
    return finish_output(e);
}

static const struct {
    const char *name;
    enum status (*run)(const struct options *o, struct error *e);
} kinds[] = {{"list", list_chips},
             {"show", show_chip},
             {"check", check_chip},
             {"params", print_params},
             {"support", show_support}};
enum { KINDS = sizeof kinds / sizeof kinds[0] };

static enum status chip_command(const struct options *o, struct error *e) {
    const char *known[KINDS];
    const char *word = o->words.count ? o->words.items[0] : "";
    for (size_t i = 0; i < KINDS; i++) {
        if (strcmp(word, kinds[i].name) == 0) {
            return kinds[i].run(o, e);
        }
        known[i] = kinds[i].name;
    }
    return unknown_kind(o, "chip", command_chip.words, known, KINDS, e);
}

static const char *const names[] = {"chip", "set", "markdown", NULL};

const struct command command_chip = {
    "chip",
    "list | show [NAME] | check [NAME] | params | support",
    "the catalogue of chips, every constant with its source",
    names,
    chip_command,
    "list    names and what each is\n"
    "show    the complete effective configuration, as a chip file\n"
    "check   reads a chip file, lists its constants with kind and source, measures its output converters\n"
    "params  every key with unit, range, default or required, meaning and source; --markdown: as docs/parameters.md\n"
    "support what goes together: effects, encodings, input codings, ADC circuits",
};
