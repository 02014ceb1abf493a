/* mho run --shapes-only --roofline: which resource bounds a token as the context and the batch grow.
 *
 * Every point is measured on the machine's own timeline: `batch` sequences, each of which sees `context` keys, write
 * ROUNDS tokens one after the other without a barrier between them. TPOT = mean over the sequences of (end of the last
 * round - end of the first) / (ROUNDS - 1). A token's time is followed back from its result (sim.h, run_class_load);
 * what bounds it is the class of resources with the largest part, work and waiting together.
 * Takeover: the smallest context at which attention (its unit, the KV memory, the DRAM) has a larger part than the
 * tiles, found by bisection, since the part of attention grows with the context.
 *
 * The sequences share the KV memory evenly. Points at which it does not hold them are marked; a layer with a sliding
 * window keeps no more than that.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/io.h"
#include "base/memory.h"
#include "base/svg.h"
#include "tools/shapes.h"

enum { ROUNDS = 4, BATCHES_MOST = 9, CONTEXTS_MOST = 32, LARGEST_BATCH = 64 };

struct point {
    uint32_t batch, context;
    double tpot_s, tokens_per_s;
    double part_s[RUN_CLASSES_MOST]; /* of a token, by class */
    size_t bound;
    bool kv_fits;
};

struct plane {
    struct shapes_job *job;
    uint32_t batches[BATCHES_MOST], batch_count, contexts[CONTEXTS_MOST], context_count;
    uint32_t takeover[BATCHES_MOST]; /* context; 0: none */
    struct session **sessions;       /* [largest batch] */
    uint32_t *rounds;                /* [largest batch] */
    double *first_s;                 /* [largest batch] */
    struct point *points;            /* [batch][context] */
};

static uint32_t largest_batch(const struct plane *p) { return p->batches[p->batch_count - 1]; }

/* ---- set-up ---------------------------------------------------------------------------------------------------- */

static enum status choose_axes(struct plane *p, struct error *e) {
    const struct options *o = p->job->o;
    uint64_t most = option_given(o, "max-batch") ? (uint64_t)o->max_batch : LARGEST_BATCH,
             context = model_shape(p->job->model)->context;
    if (o->context > 0 && (uint64_t)o->context > context) {
        return error_set(e, ERR_USAGE, "--context %lld: more than the model has (allowed: 2 to %llu)",
                         (long long)o->context, (unsigned long long)context);
    }
    context = o->context > 0 ? (uint64_t)o->context : context;
    for (uint64_t b = 1; b <= most; b *= 4) {
        p->batches[p->batch_count++] = (uint32_t)b;
    }
    for (uint64_t c = 1; c <= context && p->context_count < CONTEXTS_MOST; c *= 2) {
        p->contexts[p->context_count++] = (uint32_t)c;
    }
    return OK;
}

static enum status prepare(struct plane *p, struct error *e) {
    TRY(choose_axes(p, e));
    uint32_t most = largest_batch(p), context = p->contexts[p->context_count - 1];
    TRY(shapes_create_run(p->job, 1, e));
    TRY(run_streams(p->job->run, most, e));
    p->sessions = mem_alloc(most, sizeof(struct session *));
    p->rounds = mem_alloc(most, sizeof *p->rounds);
    p->first_s = mem_alloc(most, sizeof *p->first_s);
    p->points = mem_alloc((size_t)p->batch_count * p->context_count, sizeof *p->points);
    if (!p->sessions || !p->rounds || !p->first_s || !p->points) {
        return error_set(e, ERR_RUN, "roofline: out of memory");
    }
    struct session_options so = {.context = context, .max_batch = 1, .run = p->job->run, .shapes = true};
    for (uint32_t i = 0; i < most; i++) {
        TRY(session_create(p->job->model, &so, &p->sessions[i], e));
    }
    return OK;
}

static void clear(struct plane *p) {
    for (uint32_t i = 0; p->sessions && i < largest_batch(p); i++) {
        session_destroy(p->sessions[i]);
    }
    mem_free(p->sessions);
    mem_free(p->rounds);
    mem_free(p->first_s);
    mem_free(p->points);
}

/* ---- a point --------------------------------------------------------------------------------------------------- */

static enum status write_token(struct plane *p, uint32_t stream, uint32_t context, double now_s, struct error *e) {
    run_stream(p->job->run, stream, now_s);
    session_seek(p->sessions[stream], context - 1);
    return session_advance(p->sessions[stream], 1, LOGITS_LAST, e);
}

/* Each sequence gets its part of the KV memory of every layer. */
static bool share_memory(struct plane *p, uint32_t batch, uint32_t context) {
    const struct model_shape *m = model_shape(p->job->model);
    bool fits = true;
    for (uint32_t l = 0; l < m->layers; l++) {
        struct kv_room room = run_kv_room(p->job->run, l);
        uint64_t key_bits = (uint64_t)2 * m->kv_heads * m->head_dim * room.value_bits;
        double need_bits = (double)key_bits * (double)model_kv_positions(p->job->model, l, context) * batch;
        fits &= need_bits <= (double)room.bits + (double)room.dram_bits;
        for (uint32_t i = 0; i < batch; i++) {
            run_stream(p->job->run, i, 0);
            run_stream_kv(p->job->run, l, room.bits / batch);
        }
    }
    return fits;
}

static enum status measure(struct plane *p, uint32_t batch, uint32_t context, struct point *out, struct error *e) {
    struct run *r = p->job->run;
    struct run_finished f;
    double sum_s = 0;
    run_reset(r);
    *out = (struct point){.batch = batch, .context = context, .kv_fits = share_memory(p, batch, context)};
    for (uint32_t i = 0; i < batch; i++) {
        p->rounds[i] = 0;
        TRY(write_token(p, i, context, 0, e));
    }
    TRY(run_wait(r, &f, e));
    while (!f.idle) {
        if (++p->rounds[f.stream] == 1) {
            p->first_s[f.stream] = f.end_s;
        }
        if (p->rounds[f.stream] < ROUNDS) {
            TRY(write_token(p, f.stream, context, f.end_s, e));
        } else {
            sum_s += f.end_s - p->first_s[f.stream];
        }
        TRY(run_wait(r, &f, e));
    }
    out->tpot_s = sum_s / (ROUNDS - 1) / batch;
    out->tokens_per_s = batch / out->tpot_s;
    for (size_t c = 0; c < run_classes(); c++) {
        struct run_class_load load = run_class_load(r, c);
        out->part_s[c] = (load.path_work_s + load.path_wait_s) / (ROUNDS * (double)batch);
        out->bound = out->part_s[c] > out->part_s[out->bound] ? c : out->bound;
    }
    return check_interrupted(e);
}

static bool attention_leads(const struct point *q) {
    double attention_s = 0, tiles_s = 0;
    for (size_t c = 0; c < run_classes(); c++) {
        const char *name = run_class_name(c);
        bool of_attention = !strcmp(name, "attention") || !strcmp(name, "kv_memory") || !strcmp(name, "dram");
        attention_s += of_attention ? q->part_s[c] : 0;
        tiles_s += !strcmp(name, "tiles") ? q->part_s[c] : 0;
    }
    return attention_s > tiles_s;
}

/* The smallest context at which attention leads; 0: nowhere. */
static enum status find_takeover(struct plane *p, uint32_t b, struct error *e) {
    const struct point *row = p->points + (size_t)b * p->context_count;
    uint32_t low = 0, high = 0; /* tiles lead at low, attention at high */
    for (uint32_t i = 0; i < p->context_count && !high; i++) {
        *(attention_leads(&row[i]) ? &high : &low) = row[i].context;
    }
    while (high && high - low > 1) {
        struct point middle;
        uint32_t at = low + (high - low) / 2;
        TRY(measure(p, p->batches[b], at, &middle, e));
        *(attention_leads(&middle) ? &high : &low) = at;
    }
    p->takeover[b] = high;
    return OK;
}

static enum status measure_all(struct plane *p, struct error *e) {
    struct progress *progress = progress_create("points", (uint64_t)p->batch_count * p->context_count);
    enum status s = OK;
    for (uint32_t b = 0; b < p->batch_count && s == OK; b++) {
        for (uint32_t c = 0; c < p->context_count && s == OK; c++) {
            size_t at = (size_t)b * p->context_count + c;
            s = measure(p, p->batches[b], p->contexts[c], &p->points[at], e);
            progress_update(progress, at + 1);
        }
        s = s == OK ? find_takeover(p, b, e) : s;
    }
    progress_destroy(progress);
    return s;
}

/* ---- results --------------------------------------------------------------------------------------------------- */

static json_t *point_json(const struct point *q) {
    json_t *o = json_object(), *parts = json_object();
    json_put(o, "batch", json_integer(q->batch));
    json_put(o, "context", json_integer(q->context));
    json_put(o, "tpot_s", json_number(q->tpot_s));
    json_put(o, "tokens_per_s", json_number(q->tokens_per_s));
    json_put(o, "bound_by", json_string(run_class_name(q->bound)));
    json_put(o, "kv_fits", json_boolean(q->kv_fits));
    for (size_t c = 0; c < run_classes(); c++) {
        json_put(parts, run_class_name(c), json_number(q->part_s[c]));
    }
    json_put(o, "token_s_by_resource", parts);
    return o;
}

static json_t *plane_json(const struct plane *p) {
    json_t *root = json_envelope("run", p->job->o, p->job->chip), *o = json_object(), *points = json_array(),
           *takeover = json_array();
    for (size_t i = 0; i < (size_t)p->batch_count * p->context_count; i++) {
        json_array_append_new(points, point_json(&p->points[i]));
    }
    for (uint32_t b = 0; b < p->batch_count; b++) {
        json_t *one = json_object();
        json_put(one, "batch", json_integer(p->batches[b]));
        json_put(one, "context", p->takeover[b] ? json_integer(p->takeover[b]) : json_null());
        json_array_append_new(takeover, one);
    }
    json_put(o, "points", points);
    json_put(o, "attention_takes_over", takeover);
    json_put(root, "model", json_string(p->job->o->model));
    json_put(root, "shapes_only", json_true());
    json_put(root, "roofline", o);
    return root;
}

static void write_csv(const struct plane *p, FILE *f) {
    fprintf(f, "batch,context,tpot_s,tokens_per_s,bound_by,kv_fits");
    for (size_t c = 0; c < run_classes(); c++) {
        fprintf(f, ",%s_s", run_class_name(c));
    }
    for (size_t i = 0; i < (size_t)p->batch_count * p->context_count; i++) {
        const struct point *q = &p->points[i];
        fprintf(f, "\n%u,%u,%.9g,%.9g,%s,%d", q->batch, q->context, q->tpot_s, q->tokens_per_s,
                run_class_name(q->bound), q->kv_fits);
        for (size_t c = 0; c < run_classes(); c++) {
            fprintf(f, ",%.9g", q->part_s[c]);
        }
    }
    fprintf(f, "\n");
}

static enum status write_svg(const struct plane *p, FILE *f, struct error *e) {
    struct svg_chart chart = {.title = "time per token, by sequences in flight",
                              .x = {.label = "context (tokens)", .logarithmic = true},
                              .y = {.label = "time per token (us)", .logarithmic = true}};
    double x[CONTEXTS_MOST], y[BATCHES_MOST][CONTEXTS_MOST];
    char labels[BATCHES_MOST][24];
    for (uint32_t b = 0; b < p->batch_count; b++) {
        for (uint32_t c = 0; c < p->context_count; c++) {
            x[c] = p->contexts[c];
            y[b][c] = p->points[(size_t)b * p->context_count + c].tpot_s * 1e6;
        }
        snprintf(labels[b], sizeof labels[b], "batch %u", p->batches[b]);
        svg_add(&chart, (struct svg_series){.kind = SVG_LINE, .label = labels[b], .x = x, .y = y[b],
                                            .n = p->context_count, .colour = (int)b % SVG_COLOURS});
    }
    return svg_write(&chart, 1, f, e);
}

enum file { FILE_CSV, FILE_SVG, FILE_JSON, FILES };

static enum status write_file(const struct plane *p, const json_t *root, enum file which, struct error *e) {
    static const char *const file_names[FILES] = {"roofline.csv", "roofline.svg", "roofline.json"};
    struct output *out;
    char *path = path_join(p->job->o->out, file_names[which]);
    if (!path) {
        return error_set(e, ERR_RUN, "%s: out of memory", file_names[which]);
    }
    enum status s = output_create(path, &out, e);
    mem_free(path);
    TRY(s);
    if (which == FILE_CSV) {
        write_csv(p, output_stream(out));
    } else if (which == FILE_SVG) {
        s = write_svg(p, output_stream(out), e);
    } else {
        json_dumpf(root, output_stream(out), JSON_INDENT(2)); /* a failed write shows at commit */
    }
    if (s != OK) {
        output_abort(out);
        return s;
    }
    return output_commit(out, e);
}

static void print_plane(const struct plane *p) {
    printf("time per token (us) and what bounds it; * where the KV memory does not hold the batch\n\n   context");
    for (uint32_t b = 0; b < p->batch_count; b++) {
        printf("  batch %-16u", p->batches[b]);
    }
    for (uint32_t c = 0; c < p->context_count; c++) {
        printf("\n%10u", p->contexts[c]);
        for (uint32_t b = 0; b < p->batch_count; b++) {
            const struct point *q = &p->points[(size_t)b * p->context_count + c];
            printf("  %9.4g %-11s%s", q->tpot_s * 1e6, run_class_name(q->bound), q->kv_fits ? " " : "*");
        }
    }
    printf("\n\nattention takes over from the tiles at");
    for (uint32_t b = 0; b < p->batch_count; b++) {
        if (p->takeover[b]) {
            printf("%s context %u (batch %u)", b ? "," : "", p->takeover[b], p->batches[b]);
        } else {
            printf("%s no context (batch %u)", b ? "," : "", p->batches[b]);
        }
    }
    printf("\n");
}

static enum status report(const struct plane *p, struct error *e) {
    json_t *root = plane_json(p);
    enum status s = OK;
    for (int f = 0; p->job->o->out && f < FILES && s == OK; f++) {
        s = write_file(p, root, (enum file)f, e);
    }
    if (s == OK && p->job->o->json) {
        return json_finish(root, e);
    }
    json_decref(root);
    TRY(s);
    print_plane(p);
    return finish_output(e);
}

enum status roofline(struct shapes_job *j, struct error *e) {
    struct plane p = {.job = j};
    enum status s = prepare(&p, e);
    s = s == OK ? measure_all(&p, e) : s;
    s = s == OK ? report(&p, e) : s;
    clear(&p);
    return s;
}
