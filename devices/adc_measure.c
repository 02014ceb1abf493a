/* The test bench of output converters: transitions, INL, DNL and missing codes of one instance, without noise.
 *
 * A slow ramp from -2 to 2 full scales, SAMPLES per code, finds between which two voltages each code is first exceeded
 * (a circuit with errors may fall back: first counts); bisection then finds the voltage to 2^-24 of a full scale.
 */
#include <string.h>

#include "base/memory.h"
#include "devices/adc_models.h"

enum { SAMPLES = 8, POINTS = 256 };
static const double ENDS = 2;

struct bench {
    const struct adc *adc;
    float *state;
    int32_t lowest;
    size_t codes;
    double *transitions; /* [codes - 1] */
    bool *seen;          /* [codes] */
};

static void convert(const struct bench *b, const float *v, int32_t *codes, size_t n) {
    adc_model_of(b->adc)->convert(adc_params(b->adc), adc_bits(b->adc), b->state, 0, v, NULL, codes, n);
}

/* The voltage between low and high where a code above `code` first appears. */
static double bisect(const struct bench *b, double low, double high, int32_t code) {
    while (high - low > 0x1p-25) {
        const float middle = (float)(0.5 * (low + high));
        int32_t got;
        if (!((double)middle > low && (double)middle < high)) {
            break;
        }
        convert(b, &middle, &got, 1);
        *(got > code ? &high : &low) = (double)middle;
    }
    return high;
}

static void ramp(struct bench *b) {
    const size_t steps = 4 * b->codes * SAMPLES / 2 + 1;
    size_t found = 0; /* transitions */
    float v[POINTS];
    int32_t codes[POINTS];
    double before = -ENDS;
    for (size_t done = 0; done < steps; done += POINTS) {
        const size_t n = steps - done < POINTS ? steps - done : POINTS;
        for (size_t i = 0; i < n; i++) {
            v[i] = (float)(-ENDS + 2 * ENDS * (double)(done + i) / (double)(steps - 1));
        }
        convert(b, v, codes, n);
        for (size_t i = 0; i < n; i++) {
            b->seen[codes[i] - b->lowest] = true;
            for (; codes[i] - b->lowest > (int32_t)found; found++) {
                b->transitions[found] = bisect(b, before, (double)v[i], b->lowest + (int32_t)found);
            }
            before = (double)v[i];
        }
    }
    for (; found < b->codes - 1; found++) {
        b->transitions[found] = ENDS;
    }
}

/* A narrow code may slip through the ramp: it is there if it has a width. */
static uint32_t count_missing(const struct bench *b) {
    uint32_t missing = 0;
    for (size_t k = 0; k < b->codes; k++) {
        const bool wide = k > 0 && k < b->codes - 1 && b->transitions[k] - b->transitions[k - 1] > 0x1p-23;
        missing += !b->seen[k] && !wide;
    }
    return missing;
}

static void linearity(const struct bench *b, double *inl, double *dnl, struct adc_linearity *summary) {
    const size_t n = b->codes - 1;
    const double *t = b->transitions, step = (t[n - 1] - t[0]) / (double)(n - 1);
    for (size_t k = 0; k < n; k++) {
        const double off = (t[k] - t[0]) / step - (double)k;
        const double width = k + 1 < n ? (t[k + 1] - t[k]) / step - 1 : 0;
        if (inl) {
            inl[k] = off;
        }
        if (dnl && k + 1 < n) {
            dnl[k] = width;
        }
        if (summary) {
            summary->inl_max_lsb = fmax(summary->inl_max_lsb, fabs(off));
            summary->dnl_max_lsb = fmax(summary->dnl_max_lsb, fabs(width));
        }
    }
}

enum status adc_measure(const struct adc *c, uint64_t seed, uint64_t where, uint64_t instance, double *transitions,
                        double *inl_lsb, double *dnl_lsb, struct adc_linearity *summary, struct error *e) {
    const struct adc_model *m = adc_model_of(c);
    const int32_t lowest = m->lowest(adc_params(c), adc_bits(c)), highest = m->highest(adc_params(c), adc_bits(c));
    struct bench b = {.adc = c, .lowest = lowest, .codes = (size_t)(highest - lowest + 1)};
    b.state = mem_alloc(adc_state_count(c), sizeof *b.state);
    b.transitions = mem_alloc(b.codes, sizeof *b.transitions);
    b.seen = mem_alloc(b.codes, sizeof *b.seen);
    enum status status = OK;
    if (!b.state || !b.transitions || !b.seen) {
        status = error_set(e, ERR_RUN, "ADC circuit %s: out of memory", m->name);
    } else {
        if (adc_state_count(c)) {
            m->make(adc_params(c), adc_bits(c), seed, where, instance, b.state);
        }
        if (summary) {
            *summary = (struct adc_linearity){0};
        }
        ramp(&b);
        linearity(&b, inl_lsb, dnl_lsb, summary);
        if (summary) {
            summary->missing_codes = count_missing(&b);
        }
        if (transitions) {
            memcpy(transitions, b.transitions, (b.codes - 1) * sizeof *transitions);
        }
    }
    mem_free(b.state);
    mem_free(b.transitions);
    mem_free(b.seen);
    return status;
}
