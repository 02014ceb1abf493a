/* mho adapt fit: a model for a chip without training.
 *
 * 1. sensitivities of all weights on a text (fit_sensitivity.c);
 * 2. what stays digital (fit_side.c);
 * 3. the folder: the model with its side paths, which the machine takes from there. */
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/memory.h"
#include "models/adapt/fit.h"
#include "models/internal.h"
#include "models/write.h"

/* [BOS] + ids, window by window. *windows: how many; mem_free. */
static enum status cut_windows(const struct model *m, const struct token_list *ids, const struct fit_options *o,
                               int32_t **out, size_t *windows, struct error *e) {
    size_t bos = model_bos(m) >= 0, fresh = o->length - bos;
    size_t wanted = o->tokens < ids->count ? o->tokens : ids->count;
    *windows = wanted / fresh;
    if (*windows == 0) {
        return error_set(e, ERR_USAGE, "adapt fit: %zu tokens of text (allowed: at least %zu, one window)", wanted,
                         fresh);
    }
    *out = mem_alloc(*windows, o->length * sizeof **out);
    for (size_t w = 0; *out && w < *windows; w++) {
        (*out)[w * o->length] = model_bos(m);
        memcpy(*out + w * o->length + bos, ids->ids + w * fresh, fresh * sizeof **out);
    }
    return *out ? OK : error_set(e, ERR_RUN, "adapt fit: out of memory");
}

static enum status text_windows(const struct model *m, const struct fit_options *o, int32_t **out, size_t *windows,
                                struct error *e) {
    struct token_list ids = {NULL, 0, 0};
    enum status s;
    if (!m->tokenizer) {
        return error_set(e, ERR_USAGE, "%s: the model has no tokenizer, a text cannot be read", m->view.path);
    }
    s = o->text ? tokenizer_encode(m->tokenizer, o->text, o->text_bytes, false, false, &ids, e)
                : model_text_ids(m, 1, &ids, e);
    if (s == OK) {
        s = cut_windows(m, &ids, o, out, windows, e);
    }
    token_list_clear(&ids);
    return s;
}

static enum status write(const struct model *m, const struct chip *c, const struct fit_sides *f, const char *path,
                         const struct fit_result *r, struct error *e) {
    json_t *how = json_pack("{s:s, s:s, s:I, s:f}", "recipe", "fit", "chip", chip_name(c), "tokens",
                            (json_int_t)r->tokens, "digital", r->digital_share);
    char *text = how ? json_dumps(how, JSON_COMPACT) : NULL;
    json_decref(how);
    if (!text) {
        return error_set(e, ERR_RUN, "adapt fit: out of memory");
    }
    struct model_changes changes = {.type = TENSOR_F16,
                                    .sides = (const struct side_path *const *)f->sides,
                                    .chip = chip_name(c),
                                    .adapt = text};
    enum status s = model_write_folder(m, &changes, path, e);
    free(text);
    return s;
}

enum status adapt_fit(const struct model *m, const struct chip *c, const struct fit_options *o, const char *path,
                      struct fit_result *r, struct error *e) {
    int32_t *ids = NULL;
    size_t windows = 0;
    struct sensitivity *v = NULL;
    struct fit_sides sides = {0};
    enum status s;
    TRY(model_folder_check(path, e));
    TRY_GOTO(s, text_windows(m, o, &ids, &windows, e), done);
    TRY_GOTO(s, fit_sensitivity(m, c, ids, windows, o->length, o->seed, &v, e), done);
    TRY_GOTO(s, fit_sides(m, c, v, o->digital_share, &sides, e), done);
    *r = (struct fit_result){.tokens = (uint64_t)windows * o->length,
                             .digital_share = (double)sides.listed / (double)sides.weights,
                             .noise_before_nats = sides.before,
                             .noise_after_nats = sides.after,
                             .price_nats = sides.price};
    s = write(m, c, &sides, path, r, e);
done:
    fit_sides_destroy(&sides, m->matrix_count);
    mem_free(v);
    mem_free(ids);
    return s;
}
