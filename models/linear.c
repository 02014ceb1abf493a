/* Linear layers: on the machine when it holds the matrix, else in fp32 here.
 *
 * Digital form. F32, F16 and BF16 matrices stay in the mapped file, row by row; quantised, rounded and transposed ones
 * are copied to fp32 once, when the session is created, as panels of PANEL outputs (base/kernels.h), which serve any
 * number of tokens with the same bits; sessions of many sequences have all matrices as panels. On mapped rows, 1 to
 * FEW_TOKENS tokens (decode) are bound by reading the weights: gemv per token over a strip of rows that stays in the
 * cache. More tokens (prefill) are bound by arithmetic: PANEL rows are packed into the thread's scratch and multiplied
 * with all tokens. Threads share out whole panels of outputs, never the inner dimension, so results do not depend on
 * their number. */
#include "base/threads.h"
#include "models/internal.h"
#include "models/vector_math.h"

enum {
    FEW_TOKENS = 3,
    STRIP = 64,             /* rows per gemv call when there are several tokens; a multiple of PANEL */
    READ_COST = 16,         /* reading one weight from memory takes about as long as this many multiplications */
    SMALL_WORK = 1 << 21,   /* multiplications (some 40 us) below which threads cost more than they bring */
};

static size_t panels_of(const struct matrix *m) { return ((size_t)m->outputs + PANEL - 1) / PANEL; }

/* Plain numbers, the usual way round and aligned: the kernels read them where they lie. */
static bool stays_mapped(const struct matrix *m, enum weight_type *type) {
    switch (m->tensor->type) {
    case TENSOR_F32: *type = WEIGHT_F32; break;
    case TENSOR_F16: *type = WEIGHT_F16; break;
    case TENSOR_BF16: *type = WEIGHT_BF16; break;
    default: return false;
    }
    return !m->transposed && !m->quantise_bits && (uintptr_t)m->tensor->data % tensor_block_bytes(m->tensor->type) == 0;
}

/* Outputs [panel * PANEL, ...) into their place among the panels. rows: scratch [PANEL][inputs]. */
static void copy_panel(const struct linear *l, const struct matrix *m, size_t panel, float *rows) {
    size_t first = panel * PANEL, lanes = m->outputs - first < PANEL ? m->outputs - first : PANEL;
    matrix_rows(m, (uint32_t)first, (uint32_t)lanes, rows);
    kernels()->pack_panel_f32(WEIGHT_F32, rows, m->inputs, lanes, m->inputs, l->panels + first * m->inputs);
}

struct copy_job {
    const struct linear *linear;
    const struct matrix *matrix;
    float *rows; /* [threads][PANEL][inputs] */
};

static void copy_panels(void *context, size_t begin, size_t end, int worker) {
    const struct copy_job *j = context;
    for (size_t p = begin; p < end; p++) {
        copy_panel(j->linear, j->matrix, p, j->rows + (size_t)worker * j->matrix->inputs * PANEL);
    }
}

enum status linear_prepare(struct linear *l, const struct matrix *m, bool panels, struct error *e) {
    l->weights = m->tensor->data;
    if (stays_mapped(m, &l->type) && !panels) {
        return OK;
    }
    size_t count = panels_of(m), panel_floats = (size_t)m->inputs * PANEL;
    int threads = threads_count();
    float *rows = mem_alloc((size_t)threads, panel_floats * sizeof *rows);
    l->type = WEIGHT_F32;
    l->panels = mem_alloc(count, panel_floats * sizeof *l->panels);
    if (!l->panels || !rows) {
        mem_free(rows);
        return error_set(e, ERR_RUN, "session: out of memory for tensor %s in fp32 (%u x %u)", m->tensor->name,
                         m->outputs, m->inputs);
    }
    struct copy_job job = {l, m, rows};
    parallel_for(count, 0, threads, copy_panels, &job);
    mem_free(rows);
    return OK;
}

size_t linear_weight_bytes(const struct linear *l) { return l->type == WEIGHT_F32 ? sizeof(float) : sizeof(uint16_t); }

/* Outputs [first, end) for few tokens. */
static void multiply_few(const struct linear *l, const struct matrix *m, const float *x, uint32_t tokens, float *y,
                         size_t first, size_t end) {
    size_t row_bytes = m->inputs * linear_weight_bytes(l);
    size_t strip = tokens == 1 ? m->outputs : STRIP;
    for (size_t o = first; o < end; o += strip) {
        size_t n = end - o < strip ? end - o : strip;
        for (uint32_t t = 0; t < tokens; t++) {
            kernels()->gemv(l->type, (const char *)l->weights + o * row_bytes, m->inputs, n, m->inputs,
                            x + (size_t)t * m->inputs, y + (size_t)t * m->outputs + o);
        }
    }
}

static void multiply_many(const struct linear *l, const struct matrix *m, const float *x, uint32_t tokens, float *y,
                          size_t first, size_t end, float *panel) {
    size_t row_bytes = m->inputs * linear_weight_bytes(l);
    for (size_t o = first; o < end; o += PANEL) {
        size_t lanes = end - o < PANEL ? end - o : PANEL;
        kernels()->pack_panel_f32(l->type, (const char *)l->weights + o * row_bytes, m->inputs, lanes, m->inputs,
                                  panel);
        kernels()->gemm_panel_f32(panel, m->inputs, x, m->inputs, tokens, y + o, m->outputs, lanes);
    }
}

/* The copy is packed already: any number of tokens, each output one chain over the inputs. */
static void multiply_panels(const struct linear *l, const struct matrix *m, const float *x, uint32_t tokens, float *y,
                            size_t first, size_t end) {
    for (size_t o = first; o < end; o += PANEL) {
        kernels()->gemm_panel_f32(l->panels + o * m->inputs, m->inputs, x, m->inputs, tokens, y + o, m->outputs,
                                  end - o < PANEL ? end - o : PANEL);
    }
}

struct product_job {
    const struct session *session;
    const struct linear *linear;
    const struct matrix *matrix;
    const float *x; /* [tokens][inputs] */
    float *y;       /* [tokens][outputs] */
    uint32_t tokens;
};

static void multiply_part(void *context, size_t begin, size_t end, int worker) {
    const struct product_job *j = context;
    const struct matrix *m = j->matrix;
    size_t first = begin * PANEL, last = end * PANEL < m->outputs ? end * PANEL : m->outputs;
    if (j->linear->panels) {
        multiply_panels(j->linear, m, j->x, j->tokens, j->y, first, last);
    } else if (j->tokens <= FEW_TOKENS) {
        multiply_few(j->linear, m, j->x, j->tokens, j->y, first, last);
    } else {
        multiply_many(j->linear, m, j->x, j->tokens, j->y, first, last,
                      j->session->scratch + (size_t)worker * j->session->scratch_floats);
    }
}

static void multiply_digital(struct session *s, int matrix, const float *x, uint32_t tokens, float *y) {
    const struct matrix *m = &s->model->matrices[matrix];
    size_t work = (size_t)m->outputs * m->inputs * (tokens + READ_COST);
    int threads = work > SMALL_WORK ? s->threads : 1;
    if (s->sixteen_bits) {
        codes_multiply(s, matrix, x, tokens, y, threads);
        return;
    }
    struct product_job job = {s, &s->linear[matrix], m, x, y, tokens};
    parallel_for(panels_of(m), 0, threads, multiply_part, &job);
}

enum status linear_multiply(struct session *s, int matrix, const float *x, uint32_t tokens, float *y, struct error *e) {
    const struct matrix *m = &s->model->matrices[matrix];
    if (s->linear[matrix].analog) {
        return run_multiply(s->run, (size_t)matrix, x, tokens, y, e);
    }
    if (s->watcher) {
        s->watcher->see(s->watcher->context, matrix, x, tokens);
    }
    if (s->values) {
        multiply_digital(s, matrix, x, tokens, y);
    }
    record(s, OP_MATMUL, m->layer, tokens, (uint64_t)m->inputs * m->outputs);
    return OK;
}

void linear_add_bias(struct session *s, int matrix, uint32_t tokens, float *y) {
    const struct matrix *m = &s->model->matrices[matrix];
    if (!m->bias) {
        return;
    }
    for (uint32_t t = 0; s->values && t < tokens; t++) {
        vector_add(y + (size_t)t * m->outputs, m->bias, m->outputs);
    }
    record(s, OP_BIAS, m->layer, tokens, m->outputs);
}

enum status linear_apply(struct session *s, int matrix, const float *x, uint32_t tokens, float *y, struct error *e) {
    TRY(linear_multiply(s, matrix, x, tokens, y, e));
    linear_add_bias(s, matrix, tokens, y);
    return OK;
}
