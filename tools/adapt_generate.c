/* mho adapt generate: text of the model itself as a data file (models/adapt/data.h). The work is done in
 * models/adapt/generate.c; here are its options and what is printed. */
#include <math.h>
#include <string.h>

#include "base/io.h"
#include "base/memory.h"
#include "base/params.h"
#include "tools/command.h"

enum { DEFAULT_BATCH = 128, DEFAULT_TOP_K = 50 };

/* "2/5" */
static enum status parse_part(const char *text, struct generate_options *g, struct error *e) {
    g->part = g->parts = 1;
    if (!text) {
        return OK;
    }
    const char *slash = strchr(text, '/');
    size_t length = slash ? (size_t)(slash - text) : 0;
    char first[16] = "";
    uint64_t part, parts;
    memcpy(first, text, length < sizeof first ? length : 0);
    if (!slash || !parse_uint64(first, &part) || !parse_uint64(slash + 1, &parts) || part < 1 || part > parts ||
        parts > UINT32_MAX) {
        return error_set(e, ERR_USAGE, "--part %s: not a part (allowed: I/N, I from 1 to N)", text);
    }
    g->part = (uint32_t)part;
    g->parts = (uint32_t)parts;
    return OK;
}

static enum status parse_start(const char *text, struct generate_options *g, struct error *e) {
    g->start = -1;
    if (!text) {
        return OK;
    }
    int32_t *ids;
    size_t count;
    TRY(parse_ids(text, &ids, &count, e));
    g->start = ids[0];
    mem_free(ids);
    return count == 1 ? OK : error_set(e, ERR_USAGE, "--ids %s: %zu ids (allowed: the one to start with)", text, count);
}

static enum status read_options(const struct options *o, struct generate_options *g, struct error *e) {
    if (!o->out || !option_given(o, "tokens")) {
        return error_set(e, ERR_USAGE, "adapt generate: --%s is missing (needed: --out FILE.mhodata --tokens N)",
                         o->out ? "tokens" : "out");
    }
    *g = (struct generate_options){
        .tokens = (uint64_t)o->tokens,
        .length = (uint32_t)o->length,
        .batch = option_given(o, "batch") ? (uint32_t)o->batch : DEFAULT_BATCH,
        .temperature = option_given(o, "temperature") ? o->temperature : 1.0,
        .top_k = option_given(o, "top-k") ? (int)o->top_k : DEFAULT_TOP_K,
        .split = o->split,
        .seed = o->seed,
    };
    TRY(parse_part(o->part, g, e));
    return parse_start(o->ids, g, e);
}

static double tokens_per_s(const struct generate_options *g, const struct generate_result *r) {
    return r->drawn ? (double)(r->drawn * g->length) / r->seconds : (double)NAN;
}

static enum status print_json(const struct options *o, const struct generate_options *g,
                              const struct generate_result *r, struct error *e) {
    json_t *root = json_envelope("adapt generate", o, NULL);
    json_put(root, "model", json_string(o->model));
    json_put(root, "file", json_string(o->out));
    const struct { const char *name; uint64_t value; } counts[] = {
        {"length", g->length},
        {"sequences", r->sequences},
        {"validation", r->validation},
        {"first", r->first},
        {"count", r->count},
        {"tokens", r->count * g->length},
        {"drawn_now", r->drawn * g->length},
    };
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        json_put(root, counts[i].name, json_integer((json_int_t)counts[i].value));
    }
    json_put(root, "tokens_per_s", json_number(tokens_per_s(g, r)));
    return json_finish(root, e);
}

static enum status print(const struct options *o, const struct generate_options *g, const struct generate_result *r,
                         struct error *e) {
    if (o->json) {
        return print_json(o, g, r, e);
    }
    printf("%s: %llu sequences of %u tokens", o->out, (unsigned long long)r->count, g->length);
    if (r->count < r->sequences) {
        printf(", number %llu to %llu of %llu", (unsigned long long)r->first,
               (unsigned long long)(r->first + r->count - 1), (unsigned long long)r->sequences);
    }
    printf("; the last %llu of the set for validation\n", (unsigned long long)r->validation);
    if (r->drawn) {
        printf("%llu tokens in %.1f s, %.0f tokens/s\n", (unsigned long long)(r->drawn * g->length), r->seconds,
               tokens_per_s(g, r));
    } else {
        printf("complete already: nothing to do\n");
    }
    return finish_output(e);
}

static enum status generate(const struct options *o, struct error *e) {
    struct generate_options g;
    struct generate_result r;
    struct model *m;
    TRY(read_options(o, &g, e));
    TRY(open_model(o, &m, e));
    enum status s = adapt_generate(m, o->out, &g, &r, e);
    model_close(m);
    return s == OK ? print(o, &g, &r, e) : s;
}

static const char *const names[] = {"model", "out",   "tokens",      "length", "batch",
                                    "top-k", "split", "temperature", "part",   "ids", NULL};

static const struct option_meaning own[] = {
    {"out", "the data file to write"},
    {"tokens", "at least so many tokens in the set, whole sequences (needed)"},
    {"batch", "sequences that are drawn at once (default: 128); the file does not depend on it"},
    {"top-k", "draw among the K likeliest; 0 or off: all (default: 50)"},
    {"temperature", "of the draw, above 0 (default: 1)"},
    {"ids", "the id that sequences start with, where the model has no BOS"},
    {NULL, NULL},
};

const struct adapt_word adapt_word_generate = {
    "generate", names, generate, "draw training data from the model itself", own,
    "examples:\n"
    "  mho adapt generate --model model.gguf --tokens 1000000 --out own.mhodata\n"
    "  mho adapt generate --model model.gguf --tokens 1000000 --part 2/4 --out own-2.mhodata",
};
