/* Shared by the tests that compare a model with one that was written or turned: its logits on a few ids. */
#ifndef MHO_TESTS_LOGITS_H
#define MHO_TESTS_LOGITS_H

#include "tests/golden.h"

enum { LOGIT_TOKENS = 24 };

/* Behind LOGIT_TOKENS ids of all parts of the vocabulary, always the same; out [V]. */
static inline void logits_of(const struct model *m, float *out) {
    struct session *s = new_session(m, (struct session_options){.context = LOGIT_TOKENS, .max_batch = LOGIT_TOKENS});
    const uint32_t V = model_shape(m)->vocabulary;
    const float *logits = NULL;
    int32_t ids[LOGIT_TOKENS];
    struct error e;
    for (uint32_t i = 0; i < LOGIT_TOKENS; i++) {
        ids[i] = (int32_t)((i * 37 + 11) % V);
    }
    must(session_forward(s, ids, LOGIT_TOKENS, LOGITS_LAST, &logits, &e), &e);
    memcpy(out, logits, V * sizeof *out);
    session_destroy(s);
}

#endif
