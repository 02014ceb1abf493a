/* Reading data: files of both kinds as one list of sequences, without and with the validation part. See data.h. */
#include "models/adapt/data.h"

#include <string.h>

#include <utf8proc.h>

#include "base/io.h"
#include "base/memory.h"
#include "models/internal.h"

struct source {
    char *path;
    struct mapped_file file;
    bool text;
    struct data_header header;     /* of text: length, start and counts only */
    int32_t *packed;               /* of text: owned */
    const int32_t *ids;            /* [header.count][length] */
    uint64_t parts[DATA_PARTS];    /* sequences for training, then those for validation */
};

struct data {
    uint32_t length;
    size_t count;
    struct source *sources;
};

void data_close(struct data *d) {
    for (size_t i = 0; d && i < d->count; i++) {
        mem_free(d->sources[i].path);
        mem_free(d->sources[i].packed);
        unmap_file(&d->sources[i].file);
    }
    if (d) {
        mem_free(d->sources);
        mem_free(d);
    }
}

/* ---- data files ------------------------------------------------------------------------------------------------ */

static enum status check_for_model(const struct source *s, const struct model *m, struct error *e) {
    uint64_t hash = data_tokenizer_hash(m);
    if (s->header.tokenizer_hash != hash) {
        return error_set(e, ERR_USAGE, "%s: made with another tokenizer (%016llx) than that of %s (%016llx): its ids "
                         "stand for other words (allowed: data of the same tokenizer, or text)", s->path,
                         (unsigned long long)s->header.tokenizer_hash, m->view.path, (unsigned long long)hash);
    }
    if (s->header.vocabulary > m->shape.vocabulary) {
        return error_set(e, ERR_USAGE, "%s: a vocabulary of %u ids, and %s has %u (allowed: at most as many)", s->path,
                         s->header.vocabulary, m->view.path, m->shape.vocabulary);
    }
    return OK;
}

static enum status check_ids(const struct source *s, struct error *e) {
    uint64_t all = s->header.count * s->header.length;
    uint32_t vocabulary = s->header.vocabulary;
    for (uint64_t i = 0; i < all; i++) {
        if ((uint32_t)s->ids[i] >= vocabulary) {
            return error_set(e, ERR_RUN, "%s: sequence %llu, index %llu: id %d is outside the vocabulary (allowed: 0 "
                             "to %u)", s->path, (unsigned long long)(i / s->header.length),
                             (unsigned long long)(i % s->header.length), s->ids[i], vocabulary - 1);
        }
    }
    return OK;
}

static enum status take_data_file(struct source *s, const struct model *m, struct error *e) {
    size_t offset;
    TRY(data_header_read(s->file.data, s->file.bytes, s->path, &s->header, &offset, e));
    TRY(check_for_model(s, m, e));
    s->ids = (const int32_t *)(const void *)(s->file.data + offset);
    const struct data_header *h = &s->header;
    uint64_t border = h->sequences - h->validation; /* the first sequence of the set that is kept for validation */
    uint64_t train = border <= h->first ? 0 : border - h->first;
    s->parts[DATA_TRAIN] = train < h->count ? train : h->count;
    s->parts[DATA_VALIDATION] = h->count - s->parts[DATA_TRAIN];
    return check_ids(s, e);
}

/* ---- text ------------------------------------------------------------------------------------------------------ */

static enum status check_text_bytes(const struct source *s, struct error *e) {
    for (size_t i = 0; i < s->file.bytes;) {
        utf8proc_int32_t point;
        utf8proc_ssize_t n = utf8proc_iterate(s->file.data + i, (utf8proc_ssize_t)(s->file.bytes - i), &point);
        if (n < 1) {
            return error_set(e, ERR_RUN, "%s: byte %zu: neither a data file (they begin with \"mhodata\") nor text in "
                             "UTF-8", s->path, i);
        }
        i += (size_t)n;
    }
    return OK;
}

/* Cuts the tokens into sequences, each with the start id before them if there is one. */
static enum status pack(struct source *s, const struct token_list *tokens, double split, struct error *e) {
    struct data_header *h = &s->header;
    size_t bos = h->start >= 0, step = h->length - bos;
    h->count = h->sequences = tokens->count / step;
    if (h->count == 0) {
        return error_set(e, ERR_USAGE, "%s: too short: %zu tokens (allowed: at least %zu, one sequence)", s->path,
                         tokens->count, step);
    }
    s->packed = mem_alloc((size_t)h->count, h->length * sizeof *s->packed);
    if (!s->packed) {
        return error_set(e, ERR_RUN, "%s: out of memory for %llu sequences", s->path, (unsigned long long)h->count);
    }
    for (size_t k = 0; k < h->count; k++) {
        int32_t *to = s->packed + k * h->length;
        to[0] = h->start;
        memcpy(to + bos, tokens->ids + k * step, step * sizeof *to);
    }
    s->ids = s->packed;
    h->validation = data_validation_count(h->count, split);
    s->parts[DATA_TRAIN] = h->count - h->validation;
    s->parts[DATA_VALIDATION] = h->validation;
    return OK;
}

static enum status take_text(struct source *s, const struct model *m, uint32_t length, double split, struct error *e) {
    if (!m->tokenizer) {
        return error_set(e, ERR_USAGE, "%s: text, and %s has no tokenizer (allowed: data files)", s->path,
                         m->view.path);
    }
    TRY(check_text_bytes(s, e));
    const char *text = (const char *)s->file.data;
    bool documents = text_ends_with(s->path, ".jsonl"); /* they bring their start ids */
    s->header.length = length;
    s->header.start = documents ? -1 : model_bos(m);
    struct token_list tokens = {NULL, 0, 0};
    enum status status = documents
                             ? documents_encode(m, s->path, text, s->file.bytes, &tokens, e)
                             : tokenizer_encode(m->tokenizer, text, s->file.bytes, false, false, &tokens, e);
    if (status == OK) {
        status = pack(s, &tokens, split, e);
    }
    token_list_clear(&tokens);
    unmap_file(&s->file);
    return status;
}

/* ---- the list -------------------------------------------------------------------------------------------------- */

static enum status open_source(struct source *s, const char *path, struct error *e) {
    s->path = mem_strdup(path);
    if (!s->path) {
        return error_set(e, ERR_RUN, "%s: out of memory", path);
    }
    TRY(map_file(path, &s->file, e));
    s->text = !data_header_here(s->file.data, s->file.bytes);
    if (s->text && text_ends_with(path, ".mhodata")) {
        return error_set(e, ERR_RUN, "%s: not a data file: it does not begin with \"mhodata\"", path);
    }
    return OK;
}

static enum status check_length(struct data *d, const struct source *s, struct error *e) {
    if (d->length && d->length != s->header.length) {
        return error_set(e, ERR_USAGE, "%s: sequences of %u ids, and %u are wanted (allowed: one length for all data)",
                         s->path, s->header.length, d->length);
    }
    d->length = s->header.length;
    return OK;
}

static bool same_set(const struct data_header *a, const struct data_header *b) {
    return a->model_hash == b->model_hash && a->seed == b->seed && a->length == b->length && a->start == b->start &&
           a->top_k == b->top_k && memcmp(&a->temperature, &b->temperature, sizeof a->temperature) == 0;
}

/* The same sequences twice would be a smaller set than it seems. */
static enum status check_apart(const struct source *a, const struct source *b, struct error *e) {
    const struct data_header *x = &a->header, *y = &b->header;
    if (!a->text && !b->text && same_set(x, y) && x->first < y->first + y->count && y->first < x->first + x->count) {
        return error_set(e, ERR_USAGE, "%s and %s hold the same sequences (both have number %llu of one set; allowed: "
                         "each part once)", a->path, b->path,
                         (unsigned long long)(x->first > y->first ? x->first : y->first));
    }
    return OK;
}

static enum status open_all(struct data *d, const char *const *paths, const struct model *m,
                            const struct data_options *o, struct error *e) {
    d->length = o->length;
    for (size_t i = 0; i < d->count; i++) {
        TRY(open_source(&d->sources[i], paths[i], e));
        if (!d->sources[i].text) { /* data files first: they say how long sequences are */
            TRY(take_data_file(&d->sources[i], m, e));
            TRY(check_length(d, &d->sources[i], e));
        }
        for (size_t k = 0; k < i; k++) {
            TRY(check_apart(&d->sources[k], &d->sources[i], e));
        }
    }
    d->length = d->length ? d->length : DATA_LENGTH;
    for (size_t i = 0; i < d->count; i++) {
        if (d->sources[i].text) {
            TRY(take_text(&d->sources[i], m, d->length, o->split, e));
        }
    }
    return OK;
}

enum status data_open(const char *const *paths, size_t count, const struct model *m, const struct data_options *o,
                      struct data **out, struct error *e) {
    if (count == 0 || o->length == 1 || o->length > LIMIT_CONTEXT || !(o->split >= 0 && o->split <= 0.5)) {
        return error_set(e, ERR_USAGE, "data: %zu files, length %u, split %g (allowed: at least 1 file, length 2 to "
                         "%d, split 0 to 0.5)", count, o->length, o->split, LIMIT_CONTEXT);
    }
    struct data *d = mem_alloc(1, sizeof *d);
    if (!d || !(d->sources = mem_alloc(count, sizeof *d->sources))) {
        mem_free(d);
        return error_set(e, ERR_RUN, "data: out of memory");
    }
    d->count = count;
    enum status status = open_all(d, paths, m, o, e);
    if (status != OK) {
        data_close(d);
        return status;
    }
    *out = d;
    return OK;
}

uint32_t data_length(const struct data *d) { return d->length; }

uint64_t data_count(const struct data *d, enum data_part part) {
    uint64_t all = 0;
    for (size_t i = 0; i < d->count; i++) {
        all += d->sources[i].parts[part];
    }
    return all;
}

const int32_t *data_sequence(const struct data *d, enum data_part part, uint64_t k) {
    const struct source *s = d->sources;
    for (; k >= s->parts[part]; s++) {
        k -= s->parts[part];
    }
    return s->ids + (k + (part == DATA_VALIDATION ? s->parts[DATA_TRAIN] : 0)) * d->length;
}

uint64_t data_hash(const struct data *d) {
    uint64_t hash = 0;
    for (size_t i = 0; i < d->count; i++) {
        const struct source *s = &d->sources[i];
        hash = data_hash_bytes(hash, s->parts, sizeof s->parts);
        hash = data_hash_bytes(hash, s->ids, (size_t)s->header.count * d->length * sizeof *s->ids);
    }
    return hash;
}

bool data_is_of_model(const struct data *d, const struct model *m) {
    uint64_t hash = data_model_hash(m);
    for (size_t i = 0; i < d->count; i++) {
        if (d->sources[i].text || d->sources[i].header.model_hash != hash) {
            return false;
        }
    }
    return true;
}
