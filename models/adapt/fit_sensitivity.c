/* How much the loss suffers from errors of weights.
 *
 * A weight w_oi that is off by d, the same in every token, changes the mean loss L by d^2/2 times its second derivative
 * (the first one is 0 on average where the error has mean 0). The Fisher information stands for that derivative: with y
 * drawn from the model's own prediction at every position of a window of n tokens,
 *   F_oi = E[(d/dw_oi sum over the window of -log p(y))^2] / n           nats per token and unit of w^2
 * Labels of different positions are independent, so that their cross terms vanish on average: one backward pass of a
 * window is an estimate without bias, attention between tokens included. For one weight it is as wrong as the square of
 * one Gaussian number; sums over rows and columns are not, and F is close to a product of them (activations before a
 * matrix and gradients behind it are nearly independent: Martens and Grosse, K-FAC, 2015, arXiv 1503.05671):
 *   F_oi / 2 = output_o input_i,   output_o = sum over i of F_oi / 2,   input_i = sum over o of F_oi / sum of all F
 * Valid for small errors; what noise in one layer does to the sensitivity of the next is not in it. */
#include <string.h>

#include "base/io.h"
#include "base/random.h"
#include "base/threads.h"
#include "models/adapt/fit.h"
#include "models/adapt/student_internal.h"
#include "models/adapt/student_math.h"

/* ---- labels ------------------------------------------------------------------------------------ */

struct label_job {
    real *logits;
    size_t vocabulary;
    uint64_t seed, window;
};

/* Logits become p - one_hot(y), y drawn from p. */
static void draw_label(real *z, size_t n, double uniform) {
    real top = z[0];
    for (size_t i = 1; i < n; i++) {
        top = z[i] > top ? z[i] : top;
    }
    double sum = 0, seen = 0;
    for (size_t i = 0; i < n; i++) {
        z[i] = real_exp(z[i] - top);
        sum += (double)z[i];
    }
    size_t y = n;
    for (size_t i = 0; i < n; i++) {
        seen += (double)z[i];
        y = y == n && seen >= uniform * sum ? i : y;
        z[i] = (real)((double)z[i] / sum);
    }
    z[y == n ? n - 1 : y] -= 1;
}

static void draw_labels(void *context, size_t begin, size_t end, int worker) {
    const struct label_job *j = context;
    (void)worker;
    for (size_t t = begin; t < end; t++) {
        double u = random_uniform(j->seed, random_stream(RANDOM_LABELS, j->window), t);
        draw_label(j->logits + t * j->vocabulary, j->vocabulary, u);
    }
}

/* ---- sums of squares ------------------------------------------------------------------------------ */

struct square_job {
    const struct analog_layer *layer;
    double *sums;
};

static void square_rows(void *context, size_t begin, size_t end, int worker) {
    const struct square_job *j = context;
    (void)worker;
    for (size_t o = begin; o < end; o++) {
        const real *g = j->layer->weight_gradient + o * j->layer->inputs;
        double sum = 0;
        for (size_t i = 0; i < j->layer->inputs; i++) {
            sum += (double)g[i] * (double)g[i];
        }
        j->sums[o] += sum;
    }
}

static void square_columns(void *context, size_t begin, size_t end, int worker) {
    const struct square_job *j = context;
    (void)worker;
    for (size_t o = 0; o < j->layer->outputs; o++) {
        const real *g = j->layer->weight_gradient + o * j->layer->inputs;
        for (size_t i = begin; i < end; i++) {
            j->sums[i] += (double)g[i] * (double)g[i];
        }
    }
}

static void add_squares(const struct student *s, struct sensitivity *out) {
    for (size_t i = 0; i < s->model->matrix_count; i++) {
        const struct analog_layer *l = &s->matrices[i];
        parallel_for(l->outputs, 0, 0, square_rows, &(struct square_job){l, out[i].output});
        parallel_for(l->inputs, 0, 0, square_columns, &(struct square_job){l, out[i].input});
    }
}

/* ---- the whole -------------------------------------------------------------------------------------- */

static struct sensitivity *make(const struct model *m) {
    size_t numbers = 0, head = m->matrix_count * sizeof(struct sensitivity);
    for (size_t i = 0; i < m->matrix_count; i++) {
        numbers += (size_t)m->matrices[i].inputs + m->matrices[i].outputs;
    }
    struct sensitivity *s = mem_alloc(1, head + numbers * sizeof(double));
    double *at = s ? (double *)(void *)((char *)s + head) : NULL;
    for (size_t i = 0; s && i < m->matrix_count; i++) {
        s[i] = (struct sensitivity){at, at + m->matrices[i].outputs};
        at += (size_t)m->matrices[i].inputs + m->matrices[i].outputs;
    }
    return s;
}

/* From sums of squares over all windows to factors. */
static void scale(const struct model *m, struct sensitivity *s, double tokens) {
    for (size_t i = 0; i < m->matrix_count; i++) {
        double total = 0;
        for (size_t o = 0; o < m->matrices[i].outputs; o++) {
            total += s[i].output[o];
            s[i].output[o] *= 0.5 / tokens;
        }
        for (size_t k = 0; k < m->matrices[i].inputs; k++) {
            s[i].input[k] /= total > 0 ? total : 1;
        }
    }
}

static enum status measure(struct student *s, const int32_t *ids, size_t windows, uint32_t length, uint64_t seed,
                           struct sensitivity *out, struct error *e) {
    struct progress *progress = progress_create("measuring sensitivities", windows);
    enum status status = OK;
    for (size_t w = 0; w < windows && status == OK; w++) {
        struct student_batch b = {.ids = ids + w * length, .sequences = 1, .length = length, .key = w};
        status = student_forward(s, &b, STUDENT_PLAIN, e);
        if (status == OK) {
            struct label_job job = {student_logits(s), s->shape->vocabulary, seed, w};
            parallel_for(length, 1, 0, draw_labels, &job);
            student_clear_gradients(s);
            student_backward(s);
            add_squares(s, out);
            status = check_interrupted(e);
        }
        progress_update(progress, w + 1);
    }
    progress_destroy(progress);
    return status;
}

enum status fit_sensitivity(const struct model *m, const struct chip *c, const int32_t *ids, size_t windows,
                            uint32_t length, uint64_t seed, struct fit_statistics *f, struct sensitivity **out,
                            struct error *e) {
    const struct analog_watch watch = {f, fit_watch_inputs, NULL};
    struct student *s = NULL;
    struct analog_rule rule;
    TRY(student_rule_of_chip(c, &rule, e));
    struct student_options options = {.sequences = 1, .length = length, .trained = true, .recompute = true};
    TRY(student_create(m, c, &rule, &options, &s, e));
    s->watch = &watch;
    struct sensitivity *found = make(m);
    enum status status = found ? measure(s, ids, windows, length, seed, found, e)
                               : error_set(e, ERR_RUN, "adapt fit: out of memory");
    student_destroy(s);
    if (status != OK) {
        mem_free(found);
        return status;
    }
    scale(m, found, (double)windows * length);
    *out = found;
    return OK;
}
