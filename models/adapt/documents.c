/* Documents as JSON lines: out of the ids of data files, which belong to one tokenizer, and into the ids of another.
 *
 * A line is an object:
 *   text       the document, without special tokens
 *   complete   whether it ends there (default: true); false: it was cut off
 *
 * Written: ids from one start id to the next start id or end-of-text id are a document; what the sequence cuts off is
 * one that is not complete. Other keys of a line are left alone, as in collections of documents from elsewhere.
 *
 * Read: start id, ids of the text, and the end-of-text id if the document is complete; one document after the other,
 * cut every `length` ids. A document that was cut off says nothing about what follows it: the start id after it is
 * stored as its complement, which data_id() undoes, and training leaves it out of the loss. */
#include <string.h>

#include <jansson.h>

#include "base/io.h"
#include "base/memory.h"
#include "models/adapt/adapt.h"
#include "models/files.h"
#include "models/internal.h"

/* ---- reading --------------------------------------------------------------------------------------------------- */

static enum status special_ids(const struct model *m, const char *path, int32_t *start, int32_t *end,
                               struct error *e) {
    *start = model_bos(m);
    *end = 0;
    while ((uint32_t)*end < m->shape.vocabulary && !model_is_end(m, *end)) {
        ++*end;
    }
    if (*start < 0 || (uint32_t)*end == m->shape.vocabulary) {
        return error_set(e, ERR_USAGE, "%s: documents, and %s has no %s token (allowed: models with one at the start "
                         "and one at the end of a text)", path, m->view.path, *start < 0 ? "BOS" : "end-of-text");
    }
    return OK;
}

static enum status check_line(const json_t *line, const char *where, struct error *e) {
    const json_t *complete = json_object_get(line, "complete");
    if (!json_is_string(json_object_get(line, "text"))) {
        return error_set(e, ERR_RUN, "%s: no text (allowed: {\"text\": \"...\", \"complete\": true or false})", where);
    }
    if (complete && !json_is_boolean(complete)) {
        return error_set(e, ERR_RUN, "%s: complete: neither true nor false", where);
    }
    return OK;
}

static enum status take_line(const struct model *m, const json_t *line, const char *where, int32_t start, int32_t end,
                             struct token_list *out, struct error *e) {
    TRY(check_line(line, where, e));
    const json_t *text = json_object_get(line, "text"), *complete = json_object_get(line, "complete");
    bool cut_before = out->count > 0 && out->ids[out->count - 1] != end;
    TRY(token_list_add(out, cut_before ? ~start : start, e));
    TRY(tokenizer_encode(m->tokenizer, json_string_value(text), json_string_length(text), false, false, out, e));
    return !complete || json_is_true(complete) ? token_list_add(out, end, e) : OK;
}

enum status documents_encode(const struct model *m, const char *path, const char *text, size_t bytes,
                             struct token_list *out, struct error *e) {
    int32_t start, end;
    uint64_t number = 1;
    TRY(special_ids(m, path, &start, &end, e));
    for (const char *at = text, *stop = text + bytes; at < stop; number++) {
        const char *feed = memchr(at, '\n', (size_t)(stop - at)), *next = feed ? feed + 1 : stop;
        char where[64];
        json_t *line;
        snprintf(where, sizeof where, "line %llu", (unsigned long long)number);
        enum status s = json_parse_checked(at, (size_t)(next - at), where, &line, e);
        s = s == OK ? take_line(m, line, where, start, end, out, e) : s;
        json_decref(line);
        if (s != OK) {
            return error_prefix(e, "%s", path);
        }
        at = next;
    }
    return OK;
}

/* ---- writing --------------------------------------------------------------------------------------------------- */

struct writer { const struct model *model; FILE *out; struct documents_result *result; };

static enum status put_document(const struct writer *w, const int32_t *ids, size_t count, bool complete,
                                struct error *e) {
    char *text;
    size_t bytes;
    TRY(tokenizer_decode(w->model->tokenizer, ids, count, true, &text, &bytes, e));
    json_t *line = json_pack("{s:s%, s:b}", "text", text, bytes, "complete", complete);
    mem_free(text);
    if (!line) {
        return error_set(e, ERR_RUN, "text: a document is not UTF-8, or memory ran out");
    }
    json_dumpf(line, w->out, JSON_COMPACT | JSON_PRESERVE_ORDER); /* a failed write shows at commit */
    fputc('\n', w->out);
    json_decref(line);
    w->result->documents++;
    w->result->complete += complete;
    w->result->bytes += bytes;
    return OK;
}

/* Ids of a sequence behind its start id. */
static enum status put_sequence(const struct writer *w, const int32_t *ids, size_t count, int32_t start,
                                struct error *e) {
    size_t first = 0;
    for (size_t i = 0; i <= count; i++) {
        bool complete = i < count && (ids[i] == start || model_is_end(w->model, ids[i]));
        if (i < count && !complete) {
            continue;
        }
        if (i > first) {
            TRY(put_document(w, ids + first, i - first, complete, e));
        }
        first = i + 1;
    }
    return OK;
}

static enum status put_all(const struct writer *w, const struct data *d, struct error *e) {
    for (int part = 0; part < DATA_PARTS; part++) {
        for (uint64_t k = 0; k < data_count(d, (enum data_part)part); k++) {
            const int32_t *ids = data_sequence(d, (enum data_part)part, k);
            TRY(put_sequence(w, ids + 1, data_length(d) - 1, ids[0], e));
        }
    }
    return OK;
}

enum status adapt_text(const struct model *m, const struct data *d, const char *path, struct documents_result *out,
                       struct error *e) {
    struct output *file;
    *out = (struct documents_result){0};
    if (!m->tokenizer || !data_is_of_model(d, m)) {
        return error_set(e, ERR_USAGE, "text: %s (allowed: data files that mho adapt generate drew from this model)",
                         m->tokenizer ? "data that was not drawn from this model" : "the model has no tokenizer");
    }
    TRY(output_create(path, &file, e));
    struct writer w = {m, output_stream(file), out};
    enum status s = put_all(&w, d, e);
    if (s != OK) {
        output_abort(file);
        return s;
    }
    return output_commit(file, e);
}
