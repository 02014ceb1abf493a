/* Second moments H = E[x x^T] of the inputs of every matrix on tiles, over a text, in the plain model. Matrices that
 * read the same inputs (q, k and v; gate and up) share one. Nobody needs the logits: the head is not multiplied.
 *
 * The sums of a window are added to H in the order of the windows, by rows of H: the same bits for any number of
 * threads. */
#include "base/io.h"
#include "base/memory.h"
#include "base/threads.h"
#include "models/adapt/fit.h"
#include "models/adapt/student_internal.h"
#include "models/internal.h"

/* What the pass needs beside the sums. */
struct moment_pass {
    const struct model *model;
    const struct chip *chip;
    struct fit_moments *moments;
    const real *last;      /* inputs of the matrix before */
    size_t last_matrix;
    bool failed;           /* out of memory */
};

struct moment_job { const real *x; size_t inputs, tokens; float *sum; };

enum { ROWS = 96 }; /* of H in a piece of work */

/* H[i][k] for the rows of a piece, for all k from its first row on. */
static void add_rows(void *context, size_t begin, size_t end, int worker) {
    const struct moment_job *j = context;
    (void)worker;
    for (size_t p = begin; p < end; p++) {
        size_t first = p * ROWS, rows = smaller(ROWS, j->inputs - first);
        product(rows, j->inputs - first, j->tokens, (struct operand){j->x + first, j->inputs, true},
                (struct operand){j->x + first, j->inputs, false}, 1, j->sum + first * j->inputs + first, j->inputs);
    }
}

static bool on_tiles(const struct moment_pass *p, size_t matrix) {
    return chip_is_analog(p->chip, p->model->sources[matrix].role);
}

static void watch_inputs(void *context, const struct analog_layer *l, const real *x, size_t tokens) {
    struct moment_pass *p = context;
    float **square = &p->moments->square[l->matrix];
    bool same = x == p->last && p->model->sources[l->matrix].layer == p->model->sources[p->last_matrix].layer;
    if (!on_tiles(p, l->matrix) || p->failed) {
        return;
    }
    if (same) {
        *square = p->moments->square[p->last_matrix];
        return;
    }
    p->last = x;
    p->last_matrix = l->matrix;
    if (!*square) {
        *square = arena_alloc(p->moments->arena, (size_t)l->inputs * l->inputs, sizeof **square);
        p->failed = !*square;
    }
    if (!p->failed) {
        struct moment_job job = {x, l->inputs, tokens, *square};
        parallel_for((l->inputs + ROWS - 1) / ROWS, 1, 0, add_rows, &job);
    }
}

/* Sums over all tokens become means, and the other half of H is filled in. */
static void finish(float *h, size_t inputs, double tokens) {
    for (size_t i = 0; i < inputs; i++) {
        for (size_t k = i; k < inputs; k++) {
            h[i * inputs + k] = (float)((double)h[i * inputs + k] / tokens);
            h[k * inputs + i] = h[i * inputs + k];
        }
    }
}

static void finish_all(const struct moment_pass *p, double tokens) {
    for (size_t i = 0; i < p->model->matrix_count; i++) {
        bool first = true;
        for (size_t k = 0; k < i; k++) {
            first = first && p->moments->square[k] != p->moments->square[i];
        }
        if (p->moments->square[i] && first) {
            finish(p->moments->square[i], p->model->sources[i].inputs, tokens);
        }
    }
}

static enum status run_windows(struct student *s, struct moment_pass *p, const int32_t *ids, size_t windows,
                               uint32_t length, struct error *e) {
    struct progress *progress = progress_create("measuring second moments", windows);
    enum status status = OK;
    for (size_t w = 0; w < windows && status == OK; w++) {
        struct student_batch b = {.ids = ids + w * length, .sequences = 1, .length = length, .key = w};
        p->last = NULL;
        status = student_forward(s, &b, STUDENT_PLAIN, e);
        status = status == OK && p->failed ? error_set(e, ERR_RUN, "adapt fit: out of memory") : status;
        status = status == OK ? check_interrupted(e) : status;
        progress_update(progress, w + 1);
    }
    progress_destroy(progress);
    return status;
}

static bool make_room(struct moment_pass *p) {
    p->moments->arena = arena_create();
    p->moments->square = p->moments->arena ? arena_alloc(p->moments->arena, p->model->matrix_count,
                                                         sizeof *p->moments->square)
                                           : NULL;
    return p->moments->square != NULL;
}

enum status fit_moments(const struct model *m, const struct chip *c, const int32_t *ids, size_t windows,
                        uint32_t length, struct fit_moments *out, struct error *e) {
    const struct student_options options = {.sequences = 1, .length = length};
    struct moment_pass p = {.model = m, .chip = c, .moments = out};
    const struct analog_watch watch = {.context = &p, .inputs = watch_inputs, .no_logits = true};
    struct analog_rule rule;
    struct student *s = NULL;
    *out = (struct fit_moments){0};
    TRY(student_rule_of_chip(c, &rule, e));
    TRY(student_create(m, c, &rule, &options, &s, e));
    s->watch = &watch;
    enum status status = make_room(&p) ? run_windows(s, &p, ids, windows, length, e)
                                       : error_set(e, ERR_RUN, "adapt fit: out of memory");
    if (status == OK) {
        finish_all(&p, (double)windows * length);
    }
    student_destroy(s);
    return status;
}

void fit_moments_destroy(struct fit_moments *f) { arena_destroy(f->arena); }
