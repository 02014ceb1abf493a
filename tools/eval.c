/* mho eval: quality against the digital reference, over seeds and ages.
 *   perplexity  how surprised the model is by a text (eval_perplexity.c)
 *   choice      multiple-choice tasks (eval_choice.c)
 *   logits      raw logits and hidden states for given ids (here)
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/params.h"
#include "tools/eval.h"

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
    static const char *const kinds[] = {"perplexity", "choice", "logits"};
    TRY(check_words(o, 1, e));
    const char *kind = o->words.count ? o->words.items[0] : "";
    if (strcmp(kind, kinds[0]) == 0) {
        return eval_perplexity_command(o, e);
    }
    if (strcmp(kind, kinds[1]) == 0) {
        return eval_choice_command(o, e);
    }
    if (strcmp(kind, kinds[2]) == 0) {
        return logits(o, e);
    }
    return unknown_kind(o, "eval", command_eval.words, kinds, 3, e);
}

static const char *const names[] = {"model",    "chip", "set",  "text", "limit", "window", "task", "data", "shots",
                                    "quantise", "seeds", "age", "bos",  "items", "ids",    "top",  "hidden", NULL};

const struct command command_eval = {
    "eval", "perplexity | choice | logits", "quality against the digital reference, over seeds and ages", names,
    eval_command,
    "perplexity: the text is tokenised once; window k = [BOS] + ids[(W-1)k : (W-1)(k+1)], run on its own, every token\n"
    "after BOS predicted; without BOS the window is ids[(W-1)k : (W-1)k+W] and its first token is not predicted.\n\n"
    "choice: the likeliest of the given answers; acc by log-likelihood, acc_norm by log-likelihood per UTF-8 byte.\n\n"
    "With --items, an evaluation that was cut off goes on where it stopped; more seeds and ages may be asked for.\n\n"
    "examples:\n"
    "  mho eval perplexity --text story.txt --seeds 3 --age 0,1d,1month\n"
    "  mho eval choice --task arc_easy --data arc_easy_test.jsonl --limit 100 --seeds 10 --items arc_easy.jsonl\n"
    "  mho eval perplexity --text story.txt --quantise 4 --chip none\n"
    "  mho eval logits --ids 1,2,3 --top 5 --chip none",
};
