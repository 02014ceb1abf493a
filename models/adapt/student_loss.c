/* See student_loss.h. A position needs two passes over the vocabulary for its sums and one for its gradient; positions
 * are shared out over threads, a row stays in the cache. */
#include "models/adapt/student_loss.h"

#include <string.h>

#include "base/threads.h"
#include "models/adapt/student_math.h"

enum { LANES = 16 };

struct loss_job {
    const struct loss_rule *rule;
    const real *teacher;
    real *student;
    const int32_t *targets;
    size_t vocabulary;
    double divergence_scale, entropy_scale; /* on the gradients */
    double *loss_of;                        /* [T][2]: KL; cross entropy; NAN: not finite */
};

/* The largest; NaN or infinity where one is not finite. */
static real largest(const real *z, size_t n) {
    real lane[LANES], spoilt[LANES] = {0};
    for (size_t j = 0; j < LANES; j++) {
        lane[j] = z[0];
    }
    for (size_t i = 0; i + LANES <= n; i += LANES) {
        for (size_t j = 0; j < LANES; j++) {
            lane[j] = z[i + j] > lane[j] ? z[i + j] : lane[j];
            spoilt[j] += z[i + j] - z[i + j];
        }
    }
    for (size_t i = n / LANES * LANES; i < n; i++) {
        lane[0] = z[i] > lane[0] ? z[i] : lane[0];
        spoilt[0] += z[i] - z[i];
    }
    for (size_t j = 1; j < LANES; j++) {
        lane[0] = lane[j] > lane[0] ? lane[j] : lane[0];
        spoilt[0] += spoilt[j];
    }
    return lane[0] + spoilt[0];
}

static double total(const real lane[LANES]) {
    double sum = 0;
    for (size_t j = 0; j < LANES; j++) {
        sum += (double)lane[j];
    }
    return sum;
}

/* Runs that are added up in fp32 before they go to double. */
enum { RUN = 64 * LANES };

static double run_total(const real *x, size_t n) {
    real lane[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (size_t j = 0; j < LANES; j++) {
            /* cppcheck-suppress uninitvar ; the callers fill all n */
            lane[j] += x[i + j];
        }
    }
    for (; i < n; i++) {
        lane[0] += x[i];
    }
    return total(lane);
}

/* sum of exp((z - top) inverse_t) */
static double sum_exp(const real *z, size_t n, real top, real inverse_t) {
    double sum = 0;
    for (size_t first = 0; first < n; first += RUN) {
        size_t count = n - first < RUN ? n - first : RUN;
        real term[RUN];
        for (size_t i = 0; i < count; i++) {
            term[i] = real_exp((z[first + i] - top) * inverse_t);
        }
        sum += run_total(term, count);
    }
    return sum;
}

/* What a row needs: logits times inverse_t minus the shift are log-probabilities. */
struct row {
    real inverse_t, shift_teacher, shift_student, shift_plain; /* plain: of the student at temperature 1 */
    real divergence, entropy;                                  /* factors of the gradients */
};

/* A run of a row: teacher and z in, gradients in z, parts of the divergence in term. The arrays are different ones, so
 * that the loop becomes vector code; the flags are constants where this is expanded. */
static inline void elements(const struct row *r, bool divergence, bool entropy, const real *restrict teacher,
                            real *restrict z, real *restrict term, size_t n) {
    const struct row k = *r;
    for (size_t i = 0; i < n; i++) {
        real gradient = entropy ? k.entropy * real_exp(z[i] - k.shift_plain) : 0;
        if (divergence) {
            real log_p = teacher[i] * k.inverse_t - k.shift_teacher, log_q = z[i] * k.inverse_t - k.shift_student;
            real p = real_exp(log_p);
            term[i] = p * (log_p - log_q);
            gradient += k.divergence * (real_exp(log_q) - p);
        }
        z[i] = gradient;
    }
}

/* The divergence of a position; z becomes its gradient. */
static double row_elements(const struct row *r, bool divergence, bool entropy, const real *teacher, real *z,
                           size_t n) {
    double sum = 0;
    for (size_t first = 0; first < n; first += RUN) {
        size_t count = n - first < RUN ? n - first : RUN;
        real term[RUN];
        if (divergence && entropy) {
            elements(r, true, true, teacher + first, z + first, term, count);
        } else if (divergence) {
            elements(r, true, false, teacher + first, z + first, term, count);
        } else {
            elements(r, false, true, NULL, z + first, term, count);
        }
        sum += divergence ? run_total(term, count) : 0;
    }
    return sum;
}

static real shift_of(const real *z, size_t n, real top, double temperature, double *log_sum) {
    *log_sum = (double)top / temperature + log(sum_exp(z, n, top, (real)(1.0 / temperature)));
    return (real)*log_sum;
}

/* loss: KL and cross entropy of one position; z becomes the gradient. top_teacher, top: the largest logits. */
static void position(const struct loss_job *j, const real *teacher, real top_teacher, real *z, real top,
                     int32_t target, double loss[2]) {
    size_t V = j->vocabulary;
    bool divergence = j->rule->beta > 0, entropy = target >= 0;
    double t = j->rule->temperature, log_sum;
    struct row r = {.inverse_t = (real)(1.0 / t), .divergence = (real)j->divergence_scale,
                    .entropy = (real)j->entropy_scale};
    if (divergence) {
        r.shift_teacher = shift_of(teacher, V, top_teacher, t, &log_sum);
        r.shift_student = shift_of(z, V, top, t, &log_sum);
    }
    if (entropy) {
        r.shift_plain = shift_of(z, V, top, 1.0, &log_sum);
        loss[1] = log_sum - (double)z[target];
    }
    if (divergence || entropy) {
        loss[0] = row_elements(&r, divergence, entropy, teacher, z, V);
    } else {
        memset(z, 0, V * sizeof *z);
    }
    if (entropy) {
        z[target] -= r.entropy;
    }
}

static void loss_positions(void *context, size_t begin, size_t end, int worker) {
    const struct loss_job *j = context;
    size_t V = j->vocabulary;
    (void)worker;
    for (size_t t = begin; t < end; t++) {
        const real *teacher = j->teacher ? j->teacher + t * V : NULL;
        double *loss = j->loss_of + 2 * t;
        loss[0] = loss[1] = 0;
        real top = largest(j->student + t * V, V), top_teacher = teacher ? largest(teacher, V) : 0;
        if (isfinite(top) && isfinite(top_teacher)) {
            position(j, teacher, top_teacher, j->student + t * V, top, j->targets ? j->targets[t] : -1, loss);
        } else {
            loss[0] = (double)NAN;
        }
    }
}

static size_t count_targets(const int32_t *targets, size_t tokens) {
    size_t n = 0;
    for (size_t t = 0; targets && t < tokens; t++) {
        n += targets[t] >= 0;
    }
    return n;
}

void distillation_loss(const struct loss_rule *rule, const real *teacher, real *student, const int32_t *targets,
                       size_t tokens, size_t vocabulary, double scale, double *loss_of, struct loss *out) {
    const int32_t *used = rule->beta < 1 ? targets : NULL;
    double positions = (double)tokens, wanted = (double)count_targets(used, tokens), t = rule->temperature;
    double entropy = wanted > 0 ? (1 - rule->beta) / wanted : 0;
    struct loss_job job = {rule, teacher, student, used, vocabulary, scale * rule->beta * t / positions,
                           scale * entropy, loss_of};
    parallel_for(tokens, 8, 0, loss_positions, &job);
    *out = (struct loss){0};
    for (size_t i = 0; i < tokens; i++) {
        out->not_finite += isfinite(loss_of[2 * i]) ? 0 : 1;
        out->divergence += t * t * loss_of[2 * i] / positions;
        out->cross_entropy += wanted > 0 ? loss_of[2 * i + 1] / wanted : 0;
    }
    out->total = rule->beta * out->divergence + (1 - rule->beta) * out->cross_entropy;
}
