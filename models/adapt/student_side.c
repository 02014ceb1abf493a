/* The side path of a linear layer: digital weights, unquantised inputs; see student_linear.h.
 *
 *   y += x W_side,   dx += dy W_side,   dW_side[o][i] = sum over tokens of dy[o] x[i]
 * W_side is a list per output. Tokens are taken SIDE_CHUNK at a time and turned round, so that the inner loop runs
 * along tokens. The tile knows nothing of these weights: what its gradient says of them (0 on the tile) does not
 * count. */
#include <string.h>

#include "base/threads.h"
#include "models/adapt/student_linear.h"

struct side_job {
    const struct analog_layer *layer;
    struct analog_work *work;
    const real *x, *dy;
    real *y, *dx;
    size_t tokens, ldy;
};

static real *scratch_of(const struct side_job *j, int worker) {
    return j->work->scratch + (size_t)worker * j->work->scratch_reals;
}

/* y of PANEL outputs from o for n tokens; turned [I][SIDE_CHUNK]: the inputs. */
static void add_outputs(const struct side_job *j, size_t o, size_t token, size_t n, const real *turned, real *sums) {
    const struct analog_layer *l = j->layer;
    size_t lanes = smaller(PANEL, l->outputs - o);
    memset(sums, 0, PANEL * SIDE_CHUNK * sizeof *sums);
    for (size_t lane = 0; lane < lanes; lane++) {
        for (uint32_t k = l->side_begin[o + lane]; k < l->side_begin[o + lane + 1]; k++) {
            size_t i = l->side_inputs[k];
            add_scaled(sums + lane * SIDE_CHUNK, l->weight[(o + lane) * l->inputs + i], turned + i * SIDE_CHUNK, n);
        }
    }
    for (size_t t = 0; t < n; t++) {
        for (size_t lane = 0; lane < lanes; lane++) {
            j->y[(token + t) * j->ldy + o + lane] += sums[lane * SIDE_CHUNK + t];
        }
    }
}

static void forward_chunks(void *context, size_t begin, size_t end, int worker) {
    const struct side_job *j = context;
    const struct analog_layer *l = j->layer;
    real *turned = scratch_of(j, worker), *sums = turned + (size_t)l->inputs * SIDE_CHUNK;
    for (size_t c = begin; c < end; c++) {
        size_t token = c * SIDE_CHUNK, n = smaller(SIDE_CHUNK, j->tokens - token);
        transpose(j->x + token * l->inputs, l->inputs, n, l->inputs, turned, SIDE_CHUNK);
        for (size_t o = 0; o < l->outputs; o += PANEL) {
            add_outputs(j, o, token, n, turned, sums);
        }
    }
}

void analog_side_forward(const struct analog_layer *l, struct analog_work *w, uint32_t tokens, const real *x, real *y,
                         size_t ldy) {
    struct side_job job = {l, w, x, NULL, y, NULL, tokens, ldy};
    parallel_for((tokens + SIDE_CHUNK - 1) / SIDE_CHUNK, 1, 0, forward_chunks, &job);
}

static void input_chunks(void *context, size_t begin, size_t end, int worker) {
    const struct side_job *j = context;
    const struct analog_layer *l = j->layer;
    real *turned = scratch_of(j, worker), *sums = turned + (size_t)PANEL * SIDE_CHUNK;
    for (size_t c = begin; c < end; c++) {
        size_t token = c * SIDE_CHUNK, n = smaller(SIDE_CHUNK, j->tokens - token);
        memset(sums, 0, (size_t)l->inputs * SIDE_CHUNK * sizeof *sums);
        for (size_t o = 0; o < l->outputs; o++) {
            if (o % PANEL == 0) {
                transpose(j->dy + token * j->ldy + o, j->ldy, n, smaller(PANEL, l->outputs - o), turned, SIDE_CHUNK);
            }
            for (uint32_t k = l->side_begin[o]; k < l->side_begin[o + 1]; k++) {
                size_t i = l->side_inputs[k];
                add_scaled(sums + i * SIDE_CHUNK, l->weight[o * l->inputs + i], turned + o % PANEL * SIDE_CHUNK, n);
            }
        }
        for (size_t t = 0; t < n; t++) {
            for (size_t i = 0; i < l->inputs; i++) {
                j->dx[(token + t) * l->inputs + i] += sums[i * SIDE_CHUNK + t];
            }
        }
    }
}

/* Turns the inputs round as a whole: turned [I][T]. */
static void turn_inputs(void *context, size_t begin, size_t end, int worker) {
    const struct side_job *j = context;
    size_t I = j->layer->inputs;
    (void)worker;
    transpose(j->x + begin, I, j->tokens, end - begin, j->work->turned + begin * j->tokens, j->tokens);
}

static void weight_outputs(void *context, size_t begin, size_t end, int worker) {
    const struct side_job *j = context;
    const struct analog_layer *l = j->layer;
    size_t T = j->tokens;
    real *turned = scratch_of(j, worker);
    for (size_t o = begin; o < end; o++) {
        if (o == begin || o % PANEL == 0) {
            size_t lanes = smaller(PANEL - o % PANEL, end - o);
            transpose(j->dy + o, j->ldy, T, lanes, turned + o % PANEL * T, T);
        }
        for (uint32_t k = l->side_begin[o]; k < l->side_begin[o + 1]; k++) {
            size_t i = l->side_inputs[k];
            l->weight_gradient[o * l->inputs + i] += dot_product(turned + o % PANEL * T, j->work->turned + i * T, T);
        }
    }
}

void analog_side_backward(struct analog_layer *l, struct analog_work *w, uint32_t tokens, const real *x, const real *dy,
                          size_t ldy, real *dx) {
    struct side_job job = {l, w, x, dy, NULL, dx, tokens, ldy};
    parallel_for((tokens + SIDE_CHUNK - 1) / SIDE_CHUNK, 1, 0, input_chunks, &job);
    parallel_for(l->inputs, 0, 0, turn_inputs, &job);
    parallel_for(l->outputs, 0, 0, weight_outputs, &job);
}
