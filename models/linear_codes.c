/* Linear layers as products of 16-bit codes, for text that is drawn and not looked up: `mho adapt generate`.
 *
 *   y[t][o] = step_o step_t sum_k w(o,k) x(t,k),   w = round(W / step_o),  x = round(X / step_t)
 *   step_t = max_k |X(t,k)| / INPUT_CODE,          step_o = max_k |W(o,k)| / code_o
 *
 * Each output has the finest step with which no sum can leave 32 bits: sum_k |w(o,k)| INPUT_CODE < 2^31. With normal
 * weights code_o is some 4000 at 288 inputs, 1600 at 768, 800 at 1536 and 300 at 4096.
 *
 * Why: a processor with VNNI multiplies twice as many 16-bit codes as fp32 numbers per cycle, and the copy of the
 * weights that streams through its cache is half as large. bf16 has too few digits, and Sapphire Rapids makes its
 * products at half the rate of fp32 (measured: 32 in 2.1 cycles). Sums are exact, and each token has a step of its own:
 * a token's bits do not depend on its company, on threads or on the kernel set.
 *
 * What it changes: an error of 0.3 steps in every code. The distribution of the next token moves, KL divergence on text
 * of the model, measured with fp16 keys and values too: stories15M 3e-6 nats, SmolLM2-135M 9e-5, mean over 120 tokens
 * (tests/test_sixteen_bits.c). Inputs with single features a thousand times the others, as the second has, leave these
 * fewer digits. Drawing a token at random decides about whole nats. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "base/threads.h"
#include "models/internal.h"
#include "models/vector_math.h"

enum {
    INPUT_CODE = 8191,
    CHUNK = 64,             /* tokens whose sums stay in the cache */
    SMALL_INPUTS = 1 << 16, /* codes of inputs below which threads cost more than they bring */
    SLICE = 512,            /* outputs, of all tokens, that stay in the cache; a multiple of PANEL */
    AHEAD = 2,              /* panels */
    LINE = 64,              /* bytes of a line of the cache */
    GLANCE = 32,            /* logits that are passed over together where none is likelier */
};

static size_t even(size_t n) { return n + n % 2; }

size_t codes_stride(const struct matrix *m) { return even(m->inputs); }

/* ---- the weights ------------------------------------------------------------------------------- */

/* Codes of one output. Its largest is chosen so that the sum of all magnitudes, each rounded up by at most 1/2, times
 * INPUT_CODE fits. Returns the step. */
static float code_row(const float *row, size_t inputs, int16_t *codes) {
    float largest = kernels()->absmax_f32(row, inputs);
    double sum = 0, most = 2147483647.0 / INPUT_CODE - (double)inputs / 2;
    for (size_t k = 0; k < inputs; k++) {
        sum += fabs((double)row[k]);
    }
    if (!(largest >= FLT_MIN)) {
        memset(codes, 0, inputs * sizeof *codes);
        return 0;
    }
    double code = floor(most * (double)largest / sum);
    code = code < INT16_MAX ? code : INT16_MAX;
    for (size_t k = 0; k < inputs; k++) {
        codes[k] = (int16_t)lrint((double)row[k] * code / (double)largest);
    }
    return (float)((double)largest / code);
}

struct code_job {
    const struct linear *linear;
    const struct matrix *matrix;
    float *rows;    /* [threads][inputs] */
    int16_t *codes; /* [threads][inputs] */
};

static void code_panels(void *context, size_t begin, size_t end, int worker) {
    const struct code_job *j = context;
    const struct matrix *m = j->matrix;
    float *row = j->rows + (size_t)worker * m->inputs;
    int16_t *codes = j->codes + (size_t)worker * m->inputs;
    for (size_t o = begin * PANEL; o < end * PANEL && o < m->outputs; o++) {
        int16_t *panel = j->linear->codes + o / PANEL * PANEL * codes_stride(m) + o % PANEL * 2;
        matrix_rows(m, (uint32_t)o, 1, row);
        j->linear->steps[o] = code_row(row, m->inputs, codes);
        for (size_t k = 0; k < m->inputs; k++) {
            panel[k / 2 * 2 * PANEL + k % 2] = codes[k];
        }
    }
}

enum status codes_prepare(struct linear *l, const struct matrix *m, struct error *e) {
    size_t panels = ((size_t)m->outputs + PANEL - 1) / PANEL, threads = (size_t)threads_count();
    struct code_job job = {l, m, mem_alloc(threads, m->inputs * sizeof *job.rows),
                           mem_alloc(threads, m->inputs * sizeof *job.codes)};
    l->codes = mem_alloc(panels, PANEL * codes_stride(m) * sizeof *l->codes);
    l->steps = mem_alloc(panels, PANEL * sizeof *l->steps);
    bool got = job.rows && job.codes && l->codes && l->steps;
    if (got) {
        parallel_for(panels, 0, 0, code_panels, &job);
    }
    mem_free(job.rows);
    mem_free(job.codes);
    return got ? OK : error_set(e, ERR_RUN, "session: out of memory for tensor %s as codes (%u x %u)", m->tensor->name,
                                m->outputs, m->inputs);
}

/* ---- the product ------------------------------------------------------------------------------- */

struct codes_job {
    const struct linear *linear;
    const struct matrix *matrix;
    const float *x; /* [tokens][inputs] */
    float *y;       /* [tokens][outputs] */
    uint32_t tokens;
    int16_t *codes; /* [tokens][codes_stride] */
    float *steps;   /* [tokens] */
};

/* Numbers that are not finite give a step that is not, and so do all outputs of the token. The code behind an odd
 * number of inputs stays what it is: its weight is 0. */
static void code_tokens(void *context, size_t begin, size_t end, int worker) {
    const struct codes_job *j = context;
    size_t inputs = j->matrix->inputs, stride = codes_stride(j->matrix);
    (void)worker;
    for (size_t t = begin; t < end; t++) {
        float largest = kernels()->absmax_f32(j->x + t * inputs, inputs);
        j->steps[t] = largest < FLT_MIN * INPUT_CODE ? 0 : largest / INPUT_CODE;
        kernels()->quantise_i16(j->x + t * inputs, inputs, j->steps[t] > 0 ? 1 / j->steps[t] : 0, INPUT_CODE,
                                j->codes + t * stride);
    }
}

/* Asks for part i of `parts` of a panel that comes soon: the caches foresee lines, not the jump of 64 tokens ahead. */
static void ask_for(const int16_t *panel, size_t codes, size_t i, size_t parts) {
    size_t line = LINE / sizeof *panel, lines = codes / line, each = (lines + parts - 1) / parts;
    for (size_t l = i * each; l < lines && l < (i + 1) * each; l++) {
        __builtin_prefetch(panel + l * line, 0, 2);
    }
}

/* Outputs [first, end), first at the start of a panel; y [tokens][ldy] begins at output `first`. */
static void multiply_outputs(const struct codes_job *j, size_t first, size_t end, float *y, size_t ldy) {
    size_t stride = codes_stride(j->matrix);
    int32_t sums[CHUNK * PANEL];
    for (size_t o = first; o < end; o += PANEL) {
        const int16_t *panel = j->linear->codes + o * stride;
        size_t lanes = end - o < PANEL ? end - o : PANEL;
        for (size_t t = 0; t < j->tokens; t += CHUNK) {
            size_t count = j->tokens - t < CHUNK ? j->tokens - t : CHUNK;
            kernels()->mac_i16(panel, stride, j->codes + t * stride, stride, count, sums);
            kernels()->scale_sums(sums, j->linear->steps + o, j->steps + t, count, y + t * ldy + o - first, ldy, lanes);
            for (size_t i = t; i < t + count && o + AHEAD * PANEL < end; i++) {
                ask_for(panel + AHEAD * PANEL * stride, PANEL * stride, i, j->tokens);
            }
        }
    }
}

static void multiply_panels(void *context, size_t begin, size_t end, int worker) {
    const struct codes_job *j = context;
    size_t outputs = j->matrix->outputs, last = end * PANEL < outputs ? end * PANEL : outputs;
    (void)worker;
    multiply_outputs(j, begin * PANEL, last, j->y + begin * PANEL, outputs);
}

static struct codes_job begin_product(struct session *s, int matrix, const float *x, uint32_t tokens, float *y) {
    const struct matrix *m = &s->model->matrices[matrix];
    struct codes_job job = {&s->linear[matrix], m, x, y, tokens, s->codes, s->code_steps};
    int threads = (size_t)tokens * m->inputs > SMALL_INPUTS ? s->threads : 1;
    parallel_for(tokens, 0, threads, code_tokens, &job);
    return job;
}

void codes_multiply(struct session *s, int matrix, const float *x, uint32_t tokens, float *y, int threads) {
    struct codes_job job = begin_product(s, matrix, x, tokens, y);
    parallel_for(((size_t)job.matrix->outputs + PANEL - 1) / PANEL, 0, threads, multiply_panels, &job);
}

/* ---- the likeliest outputs --------------------------------------------------------------------- */

/* Logits of all tokens are megabytes that would be written, read and forgotten. A slice of them stays in the cache: of
 * each token, the likeliest ids so far take in the likelier ones of the slice. Each worker keeps its own; at the end
 * they are put together. Which ids these are does not depend on who found them: equal logits are ordered by id. */

struct likeliest_job {
    struct codes_job product;
    uint32_t k;
    size_t threads;
    float *slices;           /* [threads][tokens][SLICE] */
    struct candidate *found; /* [threads][tokens][k]: heaps, the least likely on top */
};

static bool likelier(struct candidate a, struct candidate b) {
    return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
}

/* c in place of the least likely. */
static void take_in(struct candidate *heap, size_t k, struct candidate c) {
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < k; i = child) {
        child += child + 1 < k && likelier(heap[child], heap[child + 1]);
        if (!likelier(c, heap[child])) {
            break;
        }
        heap[i] = heap[child];
    }
    heap[i] = c;
}

/* Ids rise from call to call, so an equal logit is no likelier. */
static void take_in_slice(struct candidate *heap, size_t k, const float *logits, size_t count, size_t first) {
    for (size_t i = 0; i < count; i += GLANCE) {
        size_t end = count - i < GLANCE ? count : i + GLANCE;
        float least = heap[0].logit;
        int any = 0;
        for (size_t j = i; j < end; j++) {
            any |= logits[j] > least;
        }
        for (size_t j = i; any && j < end; j++) {
            if (logits[j] > heap[0].logit) {
                take_in(heap, k, (struct candidate){logits[j], (int32_t)(first + j)});
            }
        }
    }
}

static void search_slices(void *context, size_t begin, size_t end, int worker) {
    const struct likeliest_job *j = context;
    const struct matrix *m = j->product.matrix;
    size_t tokens = j->product.tokens;
    float *slice = j->slices + (size_t)worker * tokens * SLICE;
    struct candidate *heaps = j->found + (size_t)worker * tokens * j->k;
    for (size_t first = begin * SLICE; first < end * SLICE && first < m->outputs; first += SLICE) {
        size_t last = m->outputs - first < SLICE ? m->outputs : first + SLICE;
        multiply_outputs(&j->product, first, last, slice, SLICE);
        for (size_t t = 0; t < tokens; t++) {
            if (m->bias) {
                vector_add(slice + t * SLICE, m->bias + first, last - first);
            }
            take_in_slice(heaps + t * j->k, j->k, slice + t * SLICE, last - first, first);
        }
    }
}

static void join_heaps(void *context, size_t begin, size_t end, int worker) {
    const struct likeliest_job *j = context;
    size_t tokens = j->product.tokens, k = j->k;
    (void)worker;
    for (size_t t = begin; t < end; t++) {
        struct candidate *heap = j->found + t * k;
        for (size_t i = 0; i < (j->threads - 1) * k; i++) {
            struct candidate c = j->found[((i / k + 1) * tokens + t) * k + i % k];
            if (likelier(c, heap[0])) {
                take_in(heap, k, c);
            }
        }
    }
}

size_t codes_slice_floats(void) { return SLICE; }

void codes_likeliest(struct session *s, int matrix, const float *x, uint32_t tokens) {
    struct likeliest_job job = {begin_product(s, matrix, x, tokens, NULL), s->likeliest, (size_t)s->threads, s->slices,
                                s->found};
    for (size_t i = 0; i < job.threads * tokens * job.k; i++) {
        job.found[i] = (struct candidate){-INFINITY, -1};
    }
    parallel_for(((size_t)job.product.matrix->outputs + SLICE - 1) / SLICE, 1, s->threads, search_slices, &job);
    parallel_for(tokens, 0, s->threads, join_heaps, &job);
}
