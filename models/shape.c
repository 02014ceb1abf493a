/* Recognises the family of a model and reads its shape: see shape.h. */
#include "models/shape.h"

#include <string.h>

/* What the file calls its family: model_type in config.json, general.architecture in GGUF. */
static enum status family_name(struct keys *k, const char **name, struct error *e) {
    if (!k->gguf) {
        return key_text(k, (struct key){"model_type", NULL}, name, NULL, e);
    }
    k->architecture = "general";
    TRY(key_text(k, (struct key){NULL, "architecture"}, name, NULL, e));
    k->architecture = *name;
    return OK;
}

static enum status find_family(const struct keys *k, const char *name, const struct family **out, struct error *e) {
    char known[256] = "";
    for (size_t i = 0; families[i]; i++) {
        const char *candidate = k->gguf ? families[i]->architecture : families[i]->name;
        if (!candidate) {
            continue;
        }
        if (strcmp(candidate, name) == 0) {
            *out = families[i];
            return OK;
        }
        strncat(known, known[0] ? ", " : "", sizeof known - strlen(known) - 1);
        strncat(known, candidate, sizeof known - strlen(known) - 1);
    }
    return error_set(e, ERR_RUN, "%s: model family '%s' is not known (allowed: %s)",
                     key_where(k, "model_type"), name, known);
}

/* GGUF files need not say the size of the vocabulary: it is that of the embedding. A head of its own makes it
 * untied. */
static void complete_from_tensors(const struct keys *k, struct shape *s) {
    const struct tensor *embedding = weights_find(k->weights, "token_embd.weight");
    if (s->vocabulary == 0 && embedding && embedding->rank == 2 && embedding->shape[0] <= LIMIT_VOCABULARY) {
        s->vocabulary = (uint32_t)embedding->shape[0];
    }
    s->tied_head = !has_tensor(k, "output.weight");
}

static enum status check_shape(const struct keys *k, const struct shape *s, struct error *e) {
    if (s->vocabulary == 0) {
        return error_set(
            e, ERR_RUN,
            "%s: tensor token_embd.weight: missing or not a matrix, so the size of the vocabulary is unknown",
            k->where);
    }
    if (s->heads % s->kv_heads) {
        return error_set(e, ERR_RUN,
                         "%s: %u attention heads cannot be divided among %u key/value heads (allowed: a divisor of %u)",
                         key_where(k, "num_key_value_heads"), s->heads, s->kv_heads, s->heads);
    }
    if ((uint64_t)s->heads * s->head_dim > LIMIT_WIDTH) {
        return error_set(e, ERR_RUN, "%s: %u heads of %u features: too many (allowed: %u together)", k->where,
                         s->heads, s->head_dim, (unsigned)LIMIT_WIDTH);
    }
    return OK;
}

static enum status add_end(struct keys *k, struct shape *s, const json_t *id, struct error *e) {
    if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) >= s->vocabulary) {
        return error_set(e, ERR_RUN, "%s: eos_token_id: not an id (allowed: 0 to %u)", key_where(k, "eos_token_id"),
                         s->vocabulary - 1);
    }
    s->ends[s->end_count++] = (int32_t)json_integer_value(id);
    return OK;
}

static enum status read_special_ids(struct keys *k, struct shape *s, struct error *e) {
    uint32_t id = 0;
    bool found;
    k->architecture = "tokenizer.ggml"; /* GGUF keeps them there */
    TRY(key_count(k, (struct key){"bos_token_id", "bos_token_id"}, 0, s->vocabulary - 1, &id, &found, e));
    s->bos = found ? (int32_t)id : -1;
    const json_t *ends = k->config ? json_object_get(k->config, "eos_token_id") : NULL;
    size_t count = json_is_array(ends) ? json_array_size(ends) : 1;
    s->ends = arena_alloc(k->arena, count, sizeof *s->ends);
    if (!s->ends) {
        return error_set(e, ERR_RUN, "%s: out of memory", k->where);
    }
    if (k->gguf) {
        TRY(key_count(k, (struct key){NULL, "eos_token_id"}, 0, s->vocabulary - 1, &id, &found, e));
        s->ends[0] = (int32_t)id;
        s->end_count = found;
    } else if (json_is_array(ends)) {
        for (size_t i = 0; i < count; i++) {
            TRY(add_end(k, s, json_array_get(ends, i), e));
        }
    } else if (ends && !json_is_null(ends)) {
        TRY(add_end(k, s, ends, e));
    }
    return OK;
}

enum status shape_read(const struct weights *w, struct arena *a, const struct family **family, struct shape *out,
                       struct error *e) {
    struct keys k = {.weights = w, .config = weights_config(w), .gguf = weights_gguf(w), .arena = a};
    k.where = k.gguf ? weights_path(w) : weights_config_path(w);
    const char *name = NULL;
    if (!k.where) {
        return error_set(e, ERR_RUN, "%s: neither a config.json nor a GGUF file describes these tensors",
                         weights_path(w));
    }
    TRY(family_name(&k, &name, e));
    TRY(find_family(&k, name, family, e));
    *out = (struct shape){.embedding_scale = 1.0};
    TRY((*family)->read(&k, out, e));
    if (k.gguf) {
        complete_from_tensors(&k, out);
    }
    TRY(check_shape(&k, out, e));
    return read_special_ids(&k, out, e);
}
