/* Weights and scales that are written instead of the model's, so that the expected error of a layer's results is least.
 *
 * Column o of a matrix has weights w, gets targets t and, in each row block, a scale m: the |w| that full-scale
 * conductance stands for. s(|t|/m) m is the standard deviation that programming leaves (the chip's cell), H = E[x x^T]
 * of the inputs (fit_moments.c). Errors of devices are independent and have mean 0, so that exactly
 *
 *   E (x^T w - x^T t - noise)^2 = (w - t)^T H (w - t) + sum over i on the tile of H_ii m^2 s^2(|t_i| / m)
 *
 * with |t_i| <= m on the tile. Digital weights have no noise and no bound: they are free variables, too. A smaller m
 * makes all noise of the column smaller and clips its largest weights; what clipping takes away, others give back as
 * far as their inputs are correlated. This is the objective of GPTQ (arXiv 2210.17323) with noise in the place of
 * rounding.
 *
 * For one weight, all others fixed, the least is at
 *   c = t_i + (H (w - t))_i / H_ii,   t_i = c where it is digital, else m T(|c| / m) sign(c),
 *   T(a) = argmin over 0 <= v <= 1 of (v - a)^2 + s^2(v)
 * because both terms carry H_ii: T is a table of chip and devices. It rounds weights that are smaller than their noise
 * to 0, where a device adds none, and draws the largest ones in where s is steep. Going through all weights in turn
 * never makes the error larger; PANEL columns go side by side, and H (w - t) is brought up to date BLOCK weights at a
 * time. The scales: SCALES times the largest |w| that the column has on the tiles of each row block, falling, each from
 * the targets of the one before; a column keeps the best, then goes through its weights FINAL times more.
 *
 * With n devices per weight s^2 is that of the chip's own number d times d / n.
 *
 * H of few tokens says too much about single inputs: its diagonal counts 1 + DAMPING times. Errors of converters are
 * not in it. */
#include <math.h>
#include <string.h>

#include "base/io.h"
#include "base/memory.h"
#include "base/threads.h"
#include "models/adapt/fit.h"
#include "models/adapt/student_products.h"
#include "models/internal.h"

enum {
    NODES = 257,     /* of the noise curve */
    STEPS = 1024,    /* of |t| / m */
    REACH = 2,       /* T is 1 beyond, or as near as it gets */
    BLOCK = 32,
    PATIENCE = 2,    /* scales in a row that are better for no column */
    FINAL = 3
};

static const float SCALES[] = {1.15f, 1.07f, 1, 0.93f, 0.87f, 0.81f, 0.75f, 0.7f, 0.65f, 0.6f,
                               0.55f, 0.5f, 0.45f, 0.4f};
enum { SCALE_COUNT = sizeof SCALES / sizeof SCALES[0] };
static const float DAMPING = 0.01f;

struct curve { float variance[STEPS + 1], target[REACH * STEPS + 1]; };

/* One matrix. */
struct layer_job {
    const struct curve *curve;
    const struct side_path *side; /* NULL: none */
    const float *h;               /* [I][I] */
    const uint32_t *begin;        /* [blocks + 1] */
    uint32_t inputs, outputs, blocks;
    float *weights;               /* [O][I]: w, then t */
    float *scales;                /* [blocks][O] */
    double *before, *after;       /* [O] expected squared error */
    float *scratch;               /* [threads][scratch_floats] */
    size_t scratch_floats;
};

/* A panel of columns; [..][PANEL] each. */
struct panel_work {
    float *w, *t, *best;          /* [I] */
    float *g;                     /* [I] H (w - t) */
    float *moved;                 /* [BLOCK] */
    float *update;                /* [I] */
    float *largest, *scale, *best_scale; /* [blocks] */
    uint16_t *digital;            /* [I] a bit per column */
    double error[PANEL], least[PANEL];
};

/* ---- the table ------------------------------------------------------------------------------------------ */

static float variance_at(const float *sd, float share, size_t step) {
    float at = (float)step * (NODES - 1) / STEPS;
    size_t i = (size_t)at;
    float s = i + 1 < NODES ? sd[i] + (sd[i + 1] - sd[i]) * (at - (float)i) : sd[NODES - 1];
    return share * s * s;
}

static enum status make_curve(const struct chip *c, uint32_t devices, struct curve *out, struct error *e) {
    float sd[NODES], share = (float)chip_noise_share(c, devices);
    TRY(chip_weight_noise(c, sd, NODES, e));
    for (size_t v = 0; v <= STEPS; v++) {
        out->variance[v] = variance_at(sd, share, v);
    }
    for (size_t a = 0; a <= REACH * STEPS; a++) {
        float least = (float)INFINITY;
        for (size_t v = 0; v <= STEPS; v++) {
            float off = ((float)v - (float)a) / STEPS, cost = off * off + out->variance[v];
            out->target[a] = cost < least ? (float)v / STEPS : out->target[a];
            least = fminf(cost, least);
        }
    }
    return OK;
}

/* ---- one panel of columns ------------------------------------------------------------------------------ */

static void divide(struct panel_work *p, const struct layer_job *j, float *memory) {
    size_t whole = (size_t)j->inputs * PANEL, scales = (size_t)j->blocks * PANEL;
    float **const parts[] = {&p->w, &p->t, &p->best, &p->g, &p->update};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++, memory += whole) {
        *parts[i] = memory;
    }
    p->largest = memory;
    p->scale = p->largest + scales;
    p->best_scale = p->scale + scales;
    p->moved = p->best_scale + scales;
    p->digital = (uint16_t *)(void *)(p->moved + BLOCK * PANEL);
}

static size_t panel_floats(uint32_t inputs, uint32_t blocks) {
    return (size_t)inputs * (5 * PANEL + 1) + (size_t)blocks * 3 * PANEL + BLOCK * PANEL;
}

static void load(struct panel_work *p, const struct layer_job *j, size_t first, size_t lanes) {
    kernels()->pack_panel_f32(WEIGHT_F32, j->weights + first * j->inputs, j->inputs, lanes, j->inputs, p->w);
    memset(p->digital, 0, j->inputs * sizeof *p->digital);
    for (uint32_t k = 0; j->side && k < j->side->channel_count; k++) {
        p->digital[j->side->channels[k]] = UINT16_MAX;
    }
    for (size_t lane = 0; j->side && j->side->weight_begin && lane < lanes; lane++) {
        for (uint32_t k = j->side->weight_begin[first + lane]; k < j->side->weight_begin[first + lane + 1]; k++) {
            p->digital[j->side->weight_inputs[k]] |= (uint16_t)(1u << lane);
        }
    }
    memset(p->largest, 0, (size_t)j->blocks * PANEL * sizeof *p->largest);
    for (uint32_t b = 0; b < j->blocks; b++) {
        for (size_t i = j->begin[b]; i < j->begin[b + 1]; i++) {
            for (size_t lane = 0; lane < PANEL; lane++) {
                float size = (p->digital[i] >> lane & 1) ? 0 : fabsf(p->w[i * PANEL + lane]);
                p->largest[b * PANEL + lane] = fmaxf(p->largest[b * PANEL + lane], size);
            }
        }
    }
}

/* The best target of one weight. */
static float target_of(const struct curve *c, float wanted, float scale) {
    float at = scale > 0 ? fabsf(wanted) / scale * STEPS : 0;
    return copysignf(c->target[at < REACH * STEPS ? (size_t)(at + 0.5f) : REACH * STEPS] * scale, wanted);
}

/* Weights [first, end), which are in one row block, of all columns; `moved` is what each gave away. */
static void move_weights(struct panel_work *p, const struct layer_job *j, size_t first, size_t end,
                         const float *scale) {
    for (size_t i = first; i < end; i++) {
        const float *row = j->h + i * j->inputs;
        float inverse = row[i] > 0 ? 1 / row[i] : 0, *moved = p->moved + (i - first) * PANEL;
        for (size_t lane = 0; lane < PANEL; lane++) {
            float *t = &p->t[i * PANEL + lane], c = *t + p->g[i * PANEL + lane] * inverse;
            float next = (p->digital[i] >> lane & 1) ? c : target_of(j->curve, c, scale[lane]);
            moved[lane] = next - *t;
            *t = next;
        }
        for (size_t k = first; k < end; k++) {
            for (size_t lane = 0; lane < PANEL; lane++) {
                p->g[k * PANEL + lane] -= row[k] * moved[lane];
            }
        }
    }
}

/* g of rows [first, end) for what weights [from, from + count) gave away. */
static void follow(struct panel_work *p, const struct layer_job *j, size_t first, size_t end, size_t from,
                   size_t count) {
    kernels()->gemm_panel_f32(p->moved, count, j->h + first * j->inputs + from, j->inputs, end - first, p->update,
                              PANEL, PANEL);
    for (size_t i = 0; i < (end - first) * PANEL; i++) {
        p->g[first * PANEL + i] -= p->update[i];
    }
}

static void sweep(struct panel_work *p, const struct layer_job *j) {
    for (uint32_t b = 0; b < j->blocks; b++) {
        for (size_t i = j->begin[b]; i < j->begin[b + 1]; i += BLOCK) {
            size_t end = smaller(i + BLOCK, j->begin[b + 1]);
            move_weights(p, j, i, end, p->scale + b * PANEL);
            follow(p, j, 0, i, i, end - i);
            follow(p, j, end, j->inputs, i, end - i);
        }
    }
}

/* What the columns cost now. */
static void measure(struct panel_work *p, const struct layer_job *j) {
    memset(p->error, 0, sizeof p->error);
    for (uint32_t b = 0; b < j->blocks; b++) {
        for (size_t i = j->begin[b]; i < j->begin[b + 1]; i++) {
            for (size_t lane = 0; lane < PANEL; lane++) {
                size_t at = i * PANEL + lane;
                float m = p->scale[b * PANEL + lane];
                size_t step = m > 0 ? smaller(STEPS, (size_t)(fabsf(p->t[at]) / m * STEPS + 0.5f)) : 0;
                bool digital = p->digital[i] >> lane & 1;
                double noise = digital ? 0 : (double)j->curve->variance[step] * (double)m * (double)m;
                p->error[lane] += (double)(p->w[at] - p->t[at]) * (double)p->g[at] +
                                  noise * (double)j->h[i * j->inputs + i];
            }
        }
    }
}

static void set_scale(struct panel_work *p, const struct layer_job *j, float factor) {
    for (size_t i = 0; i < (size_t)j->blocks * PANEL; i++) {
        p->scale[i] = factor * p->largest[i];
    }
}

static void keep_lane(const struct panel_work *p, const struct layer_job *j, size_t lane) {
    for (size_t i = lane; i < (size_t)j->inputs * PANEL; i += PANEL) {
        p->best[i] = p->t[i];
    }
    for (size_t i = lane; i < (size_t)j->blocks * PANEL; i += PANEL) {
        p->best_scale[i] = p->scale[i];
    }
}

/* Columns that cost less than ever are kept; whether there are any. */
static bool keep_better(struct panel_work *p, const struct layer_job *j) {
    bool any = false;
    measure(p, j);
    for (size_t lane = 0; lane < PANEL; lane++) {
        if (p->error[lane] < p->least[lane]) {
            p->least[lane] = p->error[lane];
            keep_lane(p, j, lane);
            any = true;
        }
    }
    return any;
}

/* g = H (w - t) from anew. */
static void start_from_best(struct panel_work *p, const struct layer_job *j) {
    size_t count = (size_t)j->inputs * PANEL;
    memcpy(p->t, p->best, count * sizeof *p->t);
    memcpy(p->scale, p->best_scale, (size_t)j->blocks * PANEL * sizeof *p->scale);
    for (size_t i = 0; i < count; i++) {
        p->update[i] = p->w[i] - p->t[i];
    }
    kernels()->gemm_panel_f32(p->update, j->inputs, j->h, j->inputs, j->inputs, p->g, PANEL, PANEL);
}

static void search(struct panel_work *p, const struct layer_job *j) {
    size_t count = (size_t)j->inputs * PANEL;
    memcpy(p->t, p->w, count * sizeof *p->t);
    memset(p->g, 0, count * sizeof *p->g);
    set_scale(p, j, 1);
    for (size_t lane = 0; lane < PANEL; lane++) {
        p->least[lane] = (double)INFINITY;
    }
    keep_better(p, j); /* the weights as they are */
    for (size_t k = 0, idle = 0; k < SCALE_COUNT && idle < PATIENCE; k++) {
        set_scale(p, j, SCALES[k]);
        sweep(p, j);
        idle = keep_better(p, j) || SCALES[k] >= 1 ? 0 : idle + 1;
    }
    start_from_best(p, j);
    for (size_t k = 0; k < FINAL; k++) {
        sweep(p, j);
        keep_better(p, j);
    }
}

static void store(const struct panel_work *p, const struct layer_job *j, size_t first, size_t lanes) {
    for (size_t lane = 0; lane < lanes; lane++) {
        for (size_t i = 0; i < j->inputs; i++) {
            j->weights[(first + lane) * j->inputs + i] = p->best[i * PANEL + lane];
        }
        for (uint32_t b = 0; b < j->blocks; b++) {
            j->scales[(size_t)b * j->outputs + first + lane] = p->best_scale[b * PANEL + lane];
        }
        j->after[first + lane] = p->least[lane];
    }
}

static void reconstruct_panels(void *context, size_t begin, size_t end, int worker) {
    const struct layer_job *j = context;
    struct panel_work p;
    divide(&p, j, j->scratch + (size_t)worker * j->scratch_floats);
    for (size_t n = begin; n < end; n++) {
        size_t first = n * PANEL, lanes = smaller(PANEL, j->outputs - first);
        load(&p, j, first, lanes);
        memcpy(p.t, p.w, (size_t)j->inputs * PANEL * sizeof *p.t);
        memset(p.g, 0, (size_t)j->inputs * PANEL * sizeof *p.g);
        set_scale(&p, j, 1);
        measure(&p, j);
        for (size_t lane = 0; lane < lanes; lane++) {
            j->before[first + lane] = p.error[lane];
        }
        search(&p, j);
        store(&p, j, first, lanes);
    }
}

/* ---- all matrices -------------------------------------------------------------------------------------- */

static enum status reconstruct_layer(const struct chip *c, const struct curve *curve, const struct fit_layer *l,
                                     struct error *e) {
    struct layer_job j = {.curve = curve, .side = l->side, .inputs = l->inputs, .outputs = l->outputs,
                          .blocks = chip_row_blocks(c, l->inputs), .weights = l->weights, .scales = l->scales,
                          .before = l->before, .after = l->after};
    size_t square = (size_t)l->inputs * l->inputs, threads = (size_t)threads_count();
    j.scratch_floats = panel_floats(l->inputs, j.blocks);
    uint32_t *begin = mem_alloc(j.blocks + 1, sizeof *begin);
    float *h = mem_alloc(square, sizeof *h);
    j.scratch = mem_alloc(threads, j.scratch_floats * sizeof *j.scratch);
    enum status s = begin && h && j.scratch ? OK : error_set(e, ERR_RUN, "adapt fit: out of memory");
    if (s == OK) {
        for (uint32_t b = 0; b <= j.blocks; b++) {
            begin[b] = chip_row_begin(c, l->inputs, b);
        }
        memcpy(h, l->square, square * sizeof *h);
        for (size_t i = 0; i < l->inputs; i++) {
            h[i * l->inputs + i] *= 1 + DAMPING;
        }
        j.begin = begin;
        j.h = h;
        parallel_for(panels_in(l->outputs), 1, 0, reconstruct_panels, &j);
    }
    mem_free(begin);
    mem_free(h);
    mem_free(j.scratch);
    return s;
}

enum status fit_reconstruct_layer(const struct chip *c, const struct fit_layer *l, struct error *e) {
    struct curve curve = {{0}, {0}};
    TRY(make_curve(c, l->devices, &curve, e));
    return reconstruct_layer(c, &curve, l, e);
}

/* The table takes as long as a small matrix; most matrices have the same number of devices. */
struct last_curve { struct curve curve; bool made; uint32_t devices; };

static enum status find_curve(const struct chip *c, uint32_t devices, struct last_curve *l, struct error *e) {
    if (l->made && l->devices == devices) {
        return OK;
    }
    *l = (struct last_curve){.made = true, .devices = devices};
    return make_curve(c, devices, &l->curve, e);
}

/* One matrix of the copy; its share of the nats is added. */
static enum status reconstruct_matrix(struct model *copy, size_t i, const struct chip *c, const float *square,
                                      const struct side_path *side, const struct fit_statistics *v,
                                      struct last_curve *last, struct fit_gain *gain, struct error *e) {
    struct matrix_source *m = &copy->sources[i];
    size_t scales = (size_t)chip_row_blocks(c, m->inputs) * m->outputs;
    struct fit_layer l = {.inputs = m->inputs, .outputs = m->outputs, .devices = v->devices,
                          .square = square, .side = side,
                          .weights = fit_weights(copy, i),
                          .scales = arena_alloc(copy->arena, scales, sizeof *l.scales),
                          .before = arena_alloc(copy->arena, 2 * (size_t)m->outputs, sizeof *l.before)};
    if (!l.scales || !l.before) {
        return error_set(e, ERR_RUN, "adapt fit: out of memory");
    }
    l.after = l.before + m->outputs;
    TRY(find_curve(c, l.devices, last, e));
    TRY(reconstruct_layer(c, &last->curve, &l, e));
    m->weight_scale = l.scales;
    m->scale_count = scales;
    for (size_t o = 0; o < m->outputs; o++) {
        gain->before += v->output_cost[o] * l.before[o];
        gain->after += v->output_cost[o] * l.after[o];
    }
    return OK;
}

static enum status reconstruct_all(struct model *copy, const struct chip *c, const struct fit_moments *f,
                                   struct side_path *const *sides, const struct fit_statistics *v,
                                   struct fit_gain *gain, struct error *e) {
    struct progress *progress = progress_create("reconstructing", copy->matrix_count);
    enum status status = OK;
    struct last_curve last = {.made = false};
    *gain = (struct fit_gain){.done = true};
    for (size_t i = 0; i < copy->matrix_count && status == OK; i++) {
        if (f->square[i]) {
            status = reconstruct_matrix(copy, i, c, f->square[i], sides ? sides[i] : NULL, &v[i], &last, gain,
                                        e);
            status = status == OK ? check_interrupted(e) : status;
        }
        progress_update(progress, i + 1);
    }
    progress_destroy(progress);
    return status;
}

enum status fit_reconstruct(struct model *copy, const struct chip *c, const int32_t *ids, size_t windows,
                            uint32_t length, struct side_path *const *sides, const struct fit_statistics *v,
                            struct fit_gain *gain, struct error *e) {
    struct fit_moments f;
    enum status status = fit_moments(copy, c, ids, windows, length, &f, e);
    if (status == OK) {
        status = reconstruct_all(copy, c, &f, sides, v, gain, e);
    }
    fit_moments_destroy(&f);
    return status;
}
