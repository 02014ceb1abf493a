/* Rotary position embedding (Su et al. 2021, arXiv:2104.09864): tables and rotation. Every scaling rule is a table of
 * divisors (shape.h), so that here only one formula is left: angle = position * theta^(-2i/dims) / divisor_i.
 *
 * Frequencies and angles are rounded to fp32 before the cosine, as the models were trained and as the golden values do;
 * at position 4096 that moves an angle by up to 2e-4 rad against exact arithmetic.
 */
#include <math.h>

#include "models/internal.h"

enum status rope_table_create(const struct rope *r, int set, uint32_t positions, struct rope_table *out,
                              struct error *e) {
    uint32_t pairs = r->dims / 2;
    size_t entries = (size_t)positions * pairs;
    out->cosine = mem_alloc(entries, sizeof *out->cosine);
    out->sine = mem_alloc(entries, sizeof *out->sine);
    if (!out->cosine || !out->sine) {
        rope_table_clear(out);
        return error_set(e, ERR_RUN, "session: out of memory for the rotary tables of %u positions", positions);
    }
    for (uint32_t i = 0; i < pairs; i++) {
        double divisor = r->divisors[set] ? (double)r->divisors[set][i] : 1.0;
        float frequency = (float)(pow(r->theta, -2.0 * i / r->dims) / divisor);
        for (uint32_t p = 0; p < positions; p++) {
            float angle = (float)p * frequency;
            out->cosine[(size_t)p * pairs + i] = (float)(cos((double)angle) * r->attention_factor);
            out->sine[(size_t)p * pairs + i] = (float)(sin((double)angle) * r->attention_factor);
        }
    }
    return OK;
}

void rope_table_clear(struct rope_table *t) {
    mem_free(t->cosine);
    mem_free(t->sine);
    *t = (struct rope_table){NULL, NULL};
}

void rope_apply(const struct rope *r, const struct rope_table *t, uint32_t position, float *head) {
    uint32_t pairs = r->dims / 2;
    uint32_t step = r->interleaved ? 2 : 1;       /* from one pair to the next */
    uint32_t partner = r->interleaved ? 1 : pairs; /* from the first of a pair to the second */
    const float *cosine = t->cosine + (size_t)position * pairs, *sine = t->sine + (size_t)position * pairs;
    for (uint32_t i = 0; i < pairs; i++) {
        float a = head[i * step], b = head[i * step + partner];
        head[i * step] = a * cosine[i] - b * sine[i];
        head[i * step + partner] = b * cosine[i] + a * sine[i];
    }
}
