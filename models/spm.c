/* SentencePiece vocabularies with scores (GGUF model "llama"): which neighbours can be joined, and which first.
 *
 * There is no list of merges: two neighbours can be joined when their joined text is a token, and the token with the
 * highest score comes first. Scores are turned into ranks once, equal scores sharing one, so that bpe.c joins these
 * vocabularies too. Control, unknown, unused and byte tokens are never made by a join: text cannot turn into control.
 *
 * Source: Kudo, Richardson, "SentencePiece", EMNLP 2018, and its byte fallback.
 */
#include <math.h>
#include <stdlib.h>

#include "models/tokenizer_parts.h"

bool spm_join(const struct tokenizer *t, const char *word, const struct symbol *left, const struct symbol *right,
              uint32_t *rank, int32_t *merged) {
    int32_t id = tokenizer_lookup(t, word + left->offset, (size_t)left->bytes + right->bytes);
    if (id < 0) {
        return false;
    }
    *rank = t->tokens[id].rank;
    *merged = id;
    return true;
}

static int falling(const void *left, const void *right) {
    double a = *(const double *)left, b = *(const double *)right;
    return (a < b) - (a > b);
}

/* Place of a score among the distinct ones. */
static uint32_t place(const double *sorted, size_t count, double score) {
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (sorted[middle] > score) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return (uint32_t)low;
}

enum status spm_rank(struct tokenizer *t, const double *scores, struct error *e) {
    double *sorted = mem_alloc(t->count, sizeof *sorted);
    if (!sorted) {
        return out_of_memory(e);
    }
    enum status status = OK;
    for (size_t i = 0; i < t->count && status == OK; i++) {
        sorted[i] = scores[i];
        if (!isfinite(scores[i])) {
            status = error_set(e, ERR_RUN, "%s: tokenizer.ggml.scores: the score of token %zu is not a finite number",
                               t->where, i);
        }
    }
    if (status == OK) {
        qsort(sorted, t->count, sizeof *sorted, falling);
        for (size_t i = 0; i < t->count; i++) {
            t->tokens[i].rank = place(sorted, t->count, scores[i]);
        }
    }
    mem_free(sorted);
    return status;
}
