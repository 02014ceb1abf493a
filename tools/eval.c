/* mho eval: quality against the digital reference, over seeds and ages.
 *   perplexity  how surprised the model is by a text (design: windows, BOS)
 *   logits      raw logits and hidden states for given ids
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/memory.h"
#include "base/params.h"
#include "tools/command.h"
#include "tools/moments.h"

enum { EVAL_BATCH = 256, TEXT_LIMIT_BYTES = 1 << 30 };

/* ---- perplexity ---------------------------------------------------------------------------------------- */

struct measured {
    uint64_t seed;
    double age_s;
    struct perplexity_result result;
};

struct perplexity_job {
    const struct options *o;
    struct model *model;
    struct chip *chip;
    char *text;
    size_t bytes;
    struct perplexity_options how;
    double *ages_s;
    size_t age_count;
    struct perplexity_result digital;
    struct measured *runs;
    size_t run_count;
};

static enum status parse_bos(const struct options *o, const struct model *m, bool *bos, struct error *e) {
    *bos = model_bos(m) >= 0;
    if (!o->bos) {
        return OK;
    }
    if (strcmp(o->bos, "on") != 0 && strcmp(o->bos, "off") != 0) {
        return error_set(e, ERR_USAGE, "--bos %s: what is this? (allowed: on, off)", o->bos);
    }
    if (strcmp(o->bos, "on") == 0 && !*bos) {
        return error_set(e, ERR_USAGE, "--bos on: this model has no BOS token (allowed: off)");
    }
    *bos = strcmp(o->bos, "on") == 0;
    return OK;
}

static enum status perplexity_prepare(struct perplexity_job *j, struct error *e) {
    const struct options *o = j->o;
    static const char *const takes[] = {"model", "chip", "set", "text", "limit", "window", "seeds", "age", "bos", NULL};
    TRY(options_only(o, takes, "eval perplexity", e));
    if (!o->text || !*o->text) {
        return error_set(e, ERR_USAGE, "--text: which text? (give a file)");
    }
    TRY(parse_number_list(o->age, "--age", true, &j->ages_s, &j->age_count, e));
    TRY(open_chip(o, &j->chip, e));
    for (size_t i = 0; j->chip && i < j->age_count; i++) {
        TRY(chip_check_age(j->chip, j->ages_s[i], e));
    }
    TRY(read_file(o->text, TEXT_LIMIT_BYTES, &j->text, &j->bytes, e));
    TRY(check_utf8(j->text, j->bytes, o->text, e));
    TRY(open_model(o, &j->model, e));
    if (!model_tokenizer(j->model)) {
        return error_set(e, ERR_RUN, "%s: no tokenizer (a folder needs tokenizer.json)", o->model);
    }
    if (o->window > (int64_t)model_shape(j->model)->context) {
        return error_set(e, ERR_USAGE, "--window %lld: more than the context (allowed: 2 to %u)", (long long)o->window,
                         model_shape(j->model)->context);
    }
    j->how.window = (uint32_t)o->window;
    j->how.limit_bytes = o->limit;
    TRY(parse_bos(o, j->model, &j->how.bos, e));
    j->runs = mem_alloc((size_t)o->seeds * j->age_count, sizeof *j->runs);
    return j->runs ? OK : error_set(e, ERR_RUN, "eval: out of memory");
}

static enum status measure(struct perplexity_job *j, struct run *run, struct perplexity_result *out, struct error *e) {
    struct session_options so = {.context = j->how.window, .max_batch = EVAL_BATCH, .run = run};
    struct session *s = NULL;
    enum status status = session_create(j->model, &so, &s, e);
    if (status == OK) {
        status = eval_perplexity(s, j->model, j->text, j->bytes, &j->how, out, e);
    }
    session_destroy(s);
    return status;
}

static enum status measure_analog(struct perplexity_job *j, uint64_t seed, double age_s, struct error *e) {
    struct analog a = {NULL, NULL, NULL};
    struct measured *m = &j->runs[j->run_count];
    *m = (struct measured){.seed = seed, .age_s = age_s};
    enum status s = analog_create(j->model, j->chip, seed, age_s, EVAL_BATCH, &a, e);
    if (s == OK) {
        s = measure(j, a.run, &m->result, e);
    }
    analog_destroy(&a);
    if (s == OK) {
        j->run_count++;
    }
    return s;
}

static enum status perplexity_measure(struct perplexity_job *j, struct error *e) {
    TRY(measure(j, NULL, &j->digital, e));
    for (int64_t k = 0; j->chip && k < j->o->seeds; k++) {
        for (size_t a = 0; a < j->age_count; a++) {
            TRY(check_interrupted(e));
            TRY(measure_analog(j, j->o->seed + (uint64_t)k, j->ages_s[a], e));
        }
    }
    return OK;
}

/* Mean over the runs; *sd is the sample standard deviation, NaN for fewer than two. */
static double mean_of(const struct perplexity_job *j, double (*value)(const struct measured *), double *sd) {
    struct moments m = {0};
    for (size_t i = 0; i < j->run_count; i++) {
        moments_add(&m, value(&j->runs[i]));
    }
    *sd = moments_sd(&m);
    return moments_mean(&m);
}

static double value_perplexity(const struct measured *m) { return m->result.perplexity; }
static double value_nll(const struct measured *m) { return m->result.nll_nats; }

static json_t *result_json(const struct perplexity_result *r) {
    json_t *o = json_object();
    json_put(o, "nll_nats", json_number(r->nll_nats));
    json_put(o, "perplexity", json_number(r->perplexity));
    json_put(o, "bits_per_byte", json_number(r->bits_per_byte));
    return o;
}

static json_t *analog_json(const struct perplexity_job *j) {
    double sd;
    json_t *o = json_object();
    json_put(o, "perplexity_mean", json_number(mean_of(j, value_perplexity, &sd)));
    json_put(o, "perplexity_sd", json_number(sd));
    json_put(o, "nll_nats_mean", json_number(mean_of(j, value_nll, &sd)));
    json_put(o, "nll_nats_sd", json_number(sd));
    json_t *runs = json_array();
    for (size_t i = 0; i < j->run_count; i++) {
        json_t *run = result_json(&j->runs[i].result);
        json_put(run, "seed", json_integer((json_int_t)j->runs[i].seed));
        json_put(run, "age_s", json_number(j->runs[i].age_s));
        json_array_append_new(runs, run);
    }
    json_put(o, "runs", runs);
    return o;
}

static enum status perplexity_json(const struct perplexity_job *j, struct error *e) {
    json_t *root = json_envelope("eval perplexity", j->o, j->chip);
    json_put(root, "model", json_string(j->o->model));
    json_put(root, "text", json_string(j->o->text));
    json_put(root, "window", json_integer(j->how.window));
    json_put(root, "bos", json_boolean(j->how.bos));
    json_put(root, "tokens", json_integer((json_int_t)j->digital.tokens));
    json_put(root, "bytes", json_integer((json_int_t)j->digital.bytes));
    json_put(root, "digital", result_json(&j->digital));
    json_put(root, "analog", j->chip ? analog_json(j) : json_null());
    return json_finish(root, e);
}

static enum status perplexity_print(const struct perplexity_job *j, struct error *e) {
    printf("%s, %llu bytes, %llu tokens predicted, windows of %u %s BOS\n\n", j->o->text,
           (unsigned long long)j->digital.bytes, (unsigned long long)j->digital.tokens, j->how.window,
           j->how.bos ? "with" : "without");
    printf("%-34s %10s %12s %10s\n", "", "nats/token", "perplexity", "bits/byte");
    printf("%-34s %10.4f %12.3f %10.4f\n", "digital reference", j->digital.nll_nats, j->digital.perplexity,
           j->digital.bits_per_byte);
    for (size_t i = 0; i < j->run_count; i++) {
        const struct measured *m = &j->runs[i];
        char name[96];
        snprintf(name, sizeof name, "%.16s, seed %llu, age %.6g s", chip_name(j->chip), (unsigned long long)m->seed,
                 m->age_s);
        printf("%-34s %10.4f %12.3f %10.4f\n", name, m->result.nll_nats, m->result.perplexity, m->result.bits_per_byte);
    }
    if (j->run_count > 1) {
        double sd;
        double mean = mean_of(j, value_perplexity, &sd);
        printf("%-34s %10s %12.3f +- %.3f\n", "mean over runs", "", mean, sd);
    }
    if (j->run_count > 0) {
        double sd;
        printf("\nthe hardware costs %+.4f nats per token\n", mean_of(j, value_nll, &sd) - j->digital.nll_nats);
    }
    return finish_output(e);
}

static enum status perplexity(const struct options *o, struct error *e) {
    struct perplexity_job j = {.o = o};
    enum status s = perplexity_prepare(&j, e);
    if (s == OK) {
        s = perplexity_measure(&j, e);
    }
    if (s == OK) {
        s = o->json ? perplexity_json(&j, e) : perplexity_print(&j, e);
    }
    mem_free(j.runs);
    mem_free(j.ages_s);
    mem_free(j.text);
    model_close(j.model);
    chip_destroy(j.chip);
    return s;
}

/* ---- logits ---------------------------------------------------------------------------------------------- */

struct logits_job {
    const struct options *o;
    struct model *model;
    struct chip *chip;
    struct analog analog;
    struct session *session;
    int32_t *ids;
    size_t count;
    const float *logits;
};

static enum status logits_prepare(struct logits_job *j, struct error *e) {
    const struct options *o = j->o;
    static const char *const takes[] = {"model", "chip", "set", "ids", "age", "top", "hidden", NULL};
    TRY(options_only(o, takes, "eval logits", e));
    if (!o->ids) {
        return error_set(e, ERR_USAGE, "--ids: which tokens? (give ids: --ids 1,2,3)");
    }
    double age_s;
    TRY(parse_age(o, &age_s, e));
    TRY(parse_ids(o->ids, &j->ids, &j->count, e));
    TRY(open_chip(o, &j->chip, e));
    TRY(open_model(o, &j->model, e));
    uint32_t context = model_shape(j->model)->context;
    if (j->count > context) {
        return error_set(e, ERR_USAGE, "--ids: %zu tokens: longer than the context (allowed: at most %u)", j->count,
                         context);
    }
    uint32_t batch = (uint32_t)j->count;
    if (j->chip) {
        TRY(analog_create(j->model, j->chip, o->seed, age_s, batch, &j->analog, e));
    }
    struct session_options so = {.context = batch, .max_batch = batch, .run = j->analog.run, .keep_hidden = o->hidden};
    TRY(session_create(j->model, &so, &j->session, e));
    return session_forward(j->session, j->ids, batch, LOGITS_ALL, &j->logits, e);
}

static json_t *floats_json(const float *values, size_t n) {
    json_t *array = json_array();
    for (size_t i = 0; i < n; i++) {
        json_array_append_new(array, json_number((double)values[i]));
    }
    return array;
}

/* Ids of the k largest logits, largest first; ties: lowest id first. */
static void top_ids(const float *logits, size_t vocabulary, size_t k, int32_t *out) {
    for (size_t rank = 0; rank < k; rank++) {
        long best = -1;
        for (size_t i = 0; i < vocabulary; i++) {
            bool taken_before = rank > 0 && (logits[i] > logits[out[rank - 1]] ||
                                             (!(logits[i] < logits[out[rank - 1]]) && (int32_t)i <= out[rank - 1]));
            if (!taken_before && (best < 0 || logits[i] > logits[best])) {
                best = (long)i;
            }
        }
        out[rank] = (int32_t)best;
    }
}

static json_t *top_json(const float *logits, size_t vocabulary, const int32_t *top, size_t k) {
    (void)vocabulary;
    json_t *array = json_array();
    for (size_t i = 0; i < k; i++) {
        json_t *row = json_object();
        json_put(row, "id", json_integer(top[i]));
        json_put(row, "logit", json_number((double)logits[top[i]]));
        json_array_append_new(array, row);
    }
    return array;
}

static json_t *hidden_json(const struct logits_job *j) {
    const struct model_shape *shape = model_shape(j->model);
    json_t *layers = json_array();
    for (uint32_t row = 0; row <= shape->layers + 1; row++) {
        const float *values = session_hidden(j->session, row);
        json_t *positions = json_array();
        for (size_t t = 0; t < j->count; t++) {
            json_array_append_new(positions, floats_json(values + t * shape->hidden, shape->hidden));
        }
        json_array_append_new(layers, positions);
    }
    return layers;
}

/* Prints as JSON or as a table; `top` holds k ids per position (k = 0: all logits). */
static enum status logits_print(const struct logits_job *j, const int32_t *top, size_t k, struct error *e) {
    size_t vocabulary = model_shape(j->model)->vocabulary;
    if (!j->o->json) {
        for (size_t t = 0; t < j->count; t++) {
            printf("%zu (id %d):", t, j->ids[t]);
            for (size_t i = 0; i < k; i++) {
                printf(" %d:%.5f", top[t * k + i], (double)j->logits[t * vocabulary + (size_t)top[t * k + i]]);
            }
            printf("\n");
        }
        return finish_output(e);
    }
    json_t *root = json_envelope("eval logits", j->o, j->chip);
    json_t *ids = json_array();
    json_t *rows = json_array();
    for (size_t t = 0; t < j->count; t++) {
        const float *logits = j->logits + t * vocabulary;
        json_array_append_new(ids, json_integer(j->ids[t]));
        json_array_append_new(rows, k ? top_json(logits, vocabulary, top + t * k, k) : floats_json(logits, vocabulary));
    }
    json_put(root, "ids", ids);
    json_put(root, k ? "top" : "logits", rows);
    if (j->o->hidden) {
        json_put(root, "hidden", hidden_json(j));
    }
    return json_finish(root, e);
}

static enum status logits_report(const struct logits_job *j, struct error *e) {
    size_t vocabulary = model_shape(j->model)->vocabulary;
    size_t k = j->o->top > 0 ? (size_t)j->o->top : j->o->json ? 0 : 5;
    if (k > vocabulary) {
        return error_set(e, ERR_USAGE, "--top %zu: more than the vocabulary (allowed: 1 to %zu)", k, vocabulary);
    }
    int32_t *top = mem_alloc(j->count * k, sizeof *top);
    if (!top) {
        return error_set(e, ERR_RUN, "--top: out of memory");
    }
    for (size_t t = 0; t < j->count; t++) {
        top_ids(j->logits + t * vocabulary, vocabulary, k, top + t * k);
    }
    enum status s = logits_print(j, top, k, e);
    mem_free(top);
    return s;
}

static enum status logits(const struct options *o, struct error *e) {
    struct logits_job j = {.o = o};
    enum status s = logits_prepare(&j, e);
    if (s == OK) {
        s = logits_report(&j, e);
    }
    session_destroy(j.session);
    analog_destroy(&j.analog);
    mem_free(j.ids);
    model_close(j.model);
    chip_destroy(j.chip);
    return s;
}

static enum status eval_command(const struct options *o, struct error *e) {
    static const char *const kinds[] = {"perplexity", "logits"};
    TRY(check_words(o, 1, e));
    const char *kind = o->words.count ? o->words.items[0] : "";
    if (strcmp(kind, kinds[0]) == 0) {
        return perplexity(o, e);
    }
    if (strcmp(kind, kinds[1]) == 0) {
        return logits(o, e);
    }
    return unknown_kind(o, "eval", command_eval.words, kinds, 2, e);
}

static const char *const names[] = {"model", "chip", "set", "text", "limit",  "window", "seeds",
                                    "age",   "bos",  "ids", "top",  "hidden", NULL};

const struct command command_eval = {
    "eval", "perplexity | logits", "quality against the digital reference, over seeds and ages", names, eval_command,
    "perplexity: the text is tokenised once; window k = [BOS] + ids[(W-1)k : (W-1)(k+1)], run on its own, every token\n"
    "after BOS predicted; without BOS the window is ids[(W-1)k : (W-1)k+W] and its first token is not predicted.\n\n"
    "examples:\n"
    "  mho eval perplexity --text story.txt --seeds 3 --age 0,1d,1month\n"
    "  mho eval logits --ids 1,2,3 --top 5 --chip none",
};
