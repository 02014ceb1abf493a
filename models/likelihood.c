/* Log-probabilities of a softmax over logits, accumulated in double.
 *
 *   log p(i) = x_i - m - ln sum_j exp(x_j - m),  m = max_j x_j
 *
 * The exponentials are those of vector_math.h (relative error EXP_ERROR), so log p is good to about that. */
#include <math.h>

#include "base/threads.h"
#include "models/internal.h"
#include "models/vector_math.h"

/* ln sum_j exp(x_j) */
static double log_sum_exp(const float *x, size_t n) {
    float top = x[0];
    for (size_t i = 1; i < n; i++) {
        top = x[i] > top ? x[i] : top;
    }
    return (double)top + log(vector_sum_exp(x, n, top));
}

double log_probability(const float *logits, size_t vocabulary, int32_t id) {
    return (double)logits[id] - log_sum_exp(logits, vocabulary);
}

struct scoring { const float *logits; size_t vocabulary; const int32_t *ids; double *log_p; };

static void score_tokens(void *context, size_t begin, size_t end, int worker) {
    const struct scoring *s = context;
    (void)worker;
    for (size_t t = begin; t < end; t++) {
        s->log_p[t] = log_probability(s->logits + t * s->vocabulary, s->vocabulary, s->ids[t]);
    }
}

void log_probabilities(const float *logits, size_t vocabulary, const int32_t *ids, size_t count, int threads,
                       double *log_p) {
    struct scoring scoring = {logits, vocabulary, ids, log_p};
    parallel_for(count, 0, threads, score_tokens, &scoring);
}

double kl_divergence(const float *logits_p, const float *logits_q, size_t vocabulary) {
    double normal_p = log_sum_exp(logits_p, vocabulary), normal_q = log_sum_exp(logits_q, vocabulary), sum = 0.0;
    for (size_t i = 0; i < vocabulary; i++) {
        double log_p = (double)logits_p[i] - normal_p, log_q = (double)logits_q[i] - normal_q;
        sum += exp(log_p) * (log_p - log_q);
    }
    return sum;
}
