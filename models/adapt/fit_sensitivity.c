/* How much the loss suffers from errors of weights and of results.
 *
 * A weight w_oi that is off by d, the same in every token, changes the mean loss L by d^2/2 times its second derivative
 * (the first one is 0 on average where the error has mean 0). The Fisher information stands for that derivative: with y
 * drawn from the model's own prediction at every position, g_t = dL/dy_t of a window of n tokens (L summed over it)
 * and G = sum over t of g_t x_t^T the gradient of the weights,
 *   F_oi = E[G_oi^2] / n           nats per token and unit of w^2
 * Labels of different positions are independent: one pass back is an estimate without bias. One window says little of a
 * single weight, and little of a row or a column, because tokens with a surprising label decide. What stays digital
 * must not be chosen by such chance. So tokens count as independent for the shape (activations before a matrix and
 * gradients behind it nearly are: Martens and Grosse, K-FAC, 2015, arXiv 1503.05671), and all windows together
 * give the size, one number c for the matrix:
 *   F_oi / 2 = output_o input_i,   output_o = c sum over t of g_to^2 |x_t|^2 / 2 n,
 *   input_i = sum over t of x_ti^2 |g_t|^2 / sum over t of |x_t|^2 |g_t|^2,
 *   c = sum of |G|^2 / sum over t of |x_t|^2 |g_t|^2   (both over all windows)
 * An error of result o of variance u that is drawn afresh for every token costs result_o u, result_o = E[g_to^2] / 2.
 *
 * Words and topics that the text lacks are not free of cost in other texts. So a flat share is mixed into output and
 * input, as much of it as makes each half of the text foretell the other best (mean logarithm of the share, weighted
 * with the sums of the other half: interpolation as in language models, Jelinek and Mercer 1980). It is 1 to 2 %
 * in most matrices of SmolLM2-135M, 45 % in its head, whose outputs are words. Sums of output are not changed by it.
 * Valid for small errors; what noise in one layer does to the sensitivity of the next is not in it.
 */
#include <math.h>
#include <string.h>

#include "base/io.h"
#include "base/random.h"
#include "base/threads.h"
#include "models/adapt/fit.h"
#include "models/adapt/student_internal.h"
#include "models/adapt/student_math.h"

enum { AT_ONCE = 64 };

static enum status no_memory(struct error *e) { return error_set(e, ERR_RUN, "adapt fit: out of memory"); }

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

/* What a pass back adds to, one matrix after the other. */
struct gradient_watch {
    struct fit_statistics *statistics;
    struct sensitivity *sums;
    double *tokens; /* [2][T] |dL/dy|^2 and |x|^2 of every token */
};

struct square_job {
    const struct analog_layer *layer;
    const real *x, *dy;
    size_t ldy, tokens;
    double *token_gradient, *token_input; /* [tokens] */
    struct sensitivity *sums;
};

static double squares(const real *v, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += (double)v[i] * (double)v[i];
    }
    return sum;
}

static void square_tokens(void *context, size_t begin, size_t end, int worker) {
    const struct square_job *j = context;
    (void)worker;
    for (size_t t = begin; t < end; t++) {
        j->token_gradient[t] = squares(j->dy + t * j->ldy, j->layer->outputs);
        j->token_input[t] = squares(j->x + t * j->layer->inputs, j->layer->inputs);
    }
}

static void add_outputs(void *context, size_t begin, size_t end, int worker) {
    const struct square_job *j = context;
    (void)worker;
    for (size_t t = 0; t < j->tokens; t++) {
        const real *g = j->dy + t * j->ldy;
        for (size_t o = begin; o < end; o++) {
            double square = (double)g[o] * (double)g[o];
            j->sums->result[o] += square;
            j->sums->output[o] += square * j->token_input[t];
        }
    }
}

static void add_inputs(void *context, size_t begin, size_t end, int worker) {
    const struct square_job *j = context;
    (void)worker;
    for (size_t t = 0; t < j->tokens; t++) {
        const real *x = j->x + t * j->layer->inputs;
        for (size_t i = begin; i < end; i++) {
            j->sums->input[i] += (double)x[i] * (double)x[i] * j->token_gradient[t];
        }
    }
}

static void watch_gradients(void *context, const struct analog_layer *l, const real *x, const real *dy, size_t ldy,
                            size_t tokens) {
    struct gradient_watch *w = context;
    struct square_job job = {l, x, dy, ldy, tokens, w->tokens, w->tokens + tokens, &w->sums[l->matrix]};
    parallel_for(tokens, 0, 0, square_tokens, &job);
    parallel_for(l->outputs, AT_ONCE, 0, add_outputs, &job);
    parallel_for(l->inputs, AT_ONCE, 0, add_inputs, &job);
}

struct row_job {
    const struct analog_layer *layer;
    double *rows; /* [outputs] */
};

static void square_rows(void *context, size_t begin, size_t end, int worker) {
    const struct row_job *j = context;
    (void)worker;
    for (size_t o = begin; o < end; o++) {
        j->rows[o] = squares(j->layer->weight_gradient + o * j->layer->inputs, j->layer->inputs);
    }
}

static void watch_inputs(void *context, const struct analog_layer *l, const real *x, size_t tokens) {
    const struct gradient_watch *w = context;
    fit_count_inputs(&w->statistics[l->matrix], l->inputs, x, tokens);
}

/* |G|^2 of every matrix. */
static void add_together(const struct student *s, struct sensitivity *out, double *rows) {
    for (size_t i = 0; i < s->model->matrix_count; i++) {
        const struct analog_layer *l = &s->matrices[i];
        parallel_for(l->outputs, 0, 0, square_rows, &(struct row_job){l, rows});
        for (size_t o = 0; o < l->outputs; o++) {
            out[i].together += rows[o];
        }
    }
}

/* ---- the whole -------------------------------------------------------------------------------------- */

static struct sensitivity *make(const struct model *m) {
    size_t numbers = 0, head = m->matrix_count * sizeof(struct sensitivity);
    for (size_t i = 0; i < m->matrix_count; i++) {
        numbers += (size_t)m->matrices[i].inputs + 2 * (size_t)m->matrices[i].outputs;
    }
    struct sensitivity *s = mem_alloc(1, head + numbers * sizeof(double));
    double *at = s ? (double *)(void *)((char *)s + head) : NULL;
    for (size_t i = 0; s && i < m->matrix_count; i++) {
        size_t O = m->matrices[i].outputs;
        s[i] = (struct sensitivity){.output = at, .result = at + O, .input = at + 2 * O};
        at += 2 * O + m->matrices[i].inputs;
    }
    return s;
}

/* ---- from sums to factors ----------------------------------------------------------------------- */

/* How well shares of one half, mixed with `mix` of a flat distribution, foretell the sums of the other. */
static double foretold(const double *from, const double *to, size_t n, double mix) {
    double all = 0, sum = 0, weight = 0;
    for (size_t i = 0; i < n; i++) {
        all += from[i];
    }
    for (size_t i = 0; i < n; i++) {
        sum += to[i] > 0 ? to[i] * log((1 - mix) * from[i] / all + mix / (double)n) : 0;
        weight += to[i];
    }
    return weight > 0 && all > 0 ? sum / weight : 0;
}

void fit_smooth(double *a, const double *b, size_t n) {
    static const double mixes[] = {0.001, 0.003, 0.01, 0.02, 0.04, 0.07, 0.1, 0.15, 0.2, 0.3, 0.45, 0.65, 1};
    double best = 0, most = -(double)INFINITY, mean = 0;
    for (size_t k = 0; k < sizeof mixes / sizeof mixes[0]; k++) {
        double now = foretold(a, b, n, mixes[k]) + foretold(b, a, n, mixes[k]);
        best = now > most ? mixes[k] : best;
        most = fmax(now, most);
    }
    for (size_t i = 0; i < n; i++) {
        a[i] += b[i];
        mean += a[i] / (double)n;
    }
    for (size_t i = 0; i < n; i++) {
        a[i] += best * (mean - a[i]);
    }
}

/* From sums of squares over the windows of each half to factors. */
static void scale(const struct model *m, struct sensitivity *s, const struct sensitivity *other, double tokens) {
    for (size_t i = 0; i < m->matrix_count; i++) {
        size_t O = m->matrices[i].outputs, I = m->matrices[i].inputs;
        fit_smooth(s[i].output, other[i].output, O);
        fit_smooth(s[i].input, other[i].input, I);
        double total = 0, together = s[i].together + other[i].together;
        for (size_t o = 0; o < O; o++) {
            total += s[i].output[o];
        }
        s[i].together = total > 0 ? together / total : 0;
        for (size_t o = 0; o < O; o++) {
            s[i].output[o] *= s[i].together * 0.5 / tokens;
            s[i].result[o] = (s[i].result[o] + other[i].result[o]) * 0.5 / tokens;
        }
        for (size_t k = 0; k < I; k++) {
            s[i].input[k] /= total > 0 ? total : 1;
        }
    }
}

/* Sums of both halves of the text. */
static enum status measure(struct student *s, struct gradient_watch *watch, const struct sensitivity_text *text,
                           struct sensitivity *const halves[2], struct error *e) {
    struct progress *progress = progress_create("measuring sensitivities", text->windows);
    double *rows = mem_alloc(s->work.outputs, sizeof *rows);
    enum status status = rows ? OK : no_memory(e);
    for (size_t w = 0; w < text->windows && status == OK; w++) {
        struct student_batch b = {
            .ids = text->ids + w * text->length, .sequences = 1, .length = text->length, .key = w};
        watch->sums = halves[2 * w / text->windows];
        status = student_forward(s, &b, STUDENT_PLAIN, e);
        if (status == OK) {
            struct label_job job = {student_logits(s), s->shape->vocabulary, text->seed, w};
            parallel_for(text->length, 1, 0, draw_labels, &job);
            student_clear_gradients(s);
            student_backward(s);
            add_together(s, watch->sums, rows);
            status = check_interrupted(e);
        }
        progress_update(progress, w + 1);
    }
    progress_destroy(progress);
    mem_free(rows);
    return status;
}

static enum status measure_model(const struct model *m, const struct chip *c, const struct sensitivity_text *text,
                                 struct fit_statistics *f, struct sensitivity *const halves[2], struct error *e) {
    const struct student_options options = {.sequences = 1, .length = text->length, .trained = true, .recompute = true};
    struct gradient_watch w = {.statistics = f, .tokens = mem_alloc(text->length, 2 * sizeof *w.tokens)};
    const struct analog_watch watch = {.context = &w, .inputs = watch_inputs, .gradients = watch_gradients};
    struct student *s = NULL;
    struct analog_rule rule;
    enum status status = w.tokens && halves[0] && halves[1] ? student_rule_of_chip(c, &rule, e) : no_memory(e);
    status = status == OK ? student_create(m, c, &rule, &options, &s, e) : status;
    if (status == OK) {
        s->watch = &watch;
        status = measure(s, &w, text, halves, e);
    }
    student_destroy(s);
    mem_free(w.tokens);
    return status;
}

enum status fit_sensitivity(const struct model *m, const struct chip *c, const struct sensitivity_text *text,
                            struct fit_statistics *f, struct sensitivity **out, struct error *e) {
    struct sensitivity *const halves[2] = {make(m), make(m)};
    fit_clear_inputs(m, f);
    enum status status = measure_model(m, c, text, f, halves, e);
    if (status == OK) {
        scale(m, halves[0], halves[1], (double)text->windows * text->length);
        *out = halves[0];
    } else {
        mem_free(halves[0]);
    }
    mem_free(halves[1]);
    return status;
}
