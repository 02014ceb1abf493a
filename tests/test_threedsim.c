/* The engine against the timelines of an independent simulator of language models on stacked crossbars (IBM's
 * 3D-CiM-LLM-Inference-Simulator, commit and rules in the shared golden/peers.md, section threedsim.json).
 *
 * The operations of a decoder are built here as tasks of one item: tiles whose tiers share one crossbar port are
 * resources with one server, digital and attention units are pools, transfers have unlimited servers. Units take the
 * waiting operation with the smallest (sequence, token, number of the operation). Everything must come out exactly:
 * total time, busy time of every resource, ends of the tokens, operation lists, and the mapping in order; energies to
 * 1e-9, since both are sums of thousands of doubles in different orders; flops to 1e-12 for the same reason. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/memory.h"
#include "sim/engine.h"
#include "tests/golden.h"

enum kind { MVM, COM, ADD, MHA, LAYER_NORM, RELU, GELU, SAMPLE, KINDS };
static const char *const kind_names[KINDS] = {"mvm", "com", "add", "mha", "layer_norm", "relu", "gelu", "sample"};
enum { TILES_MOST = 256, OPS_MOST = 32768, LIST_MOST = 4096, INPUTS_MOST = 16 * OPS_MOST };

struct list { uint32_t at[LIST_MOST]; size_t count; };

struct op {
    enum kind kind;
    uint32_t seq, token, tile, size, seq_len, cells;
    bool cached; /* attention of a decode step with a KV cache */
    const char *layer;
    uint32_t first_input, inputs;
    int64_t start, end;
};

/* One case: its parameters and its operations. */
struct run3d {
    const json_t *c, *mapping;
    struct op *ops;
    uint32_t *inputs;
    uint32_t count, input_count;
};

static long long parameter(const struct run3d *r, const char *name, long long otherwise) {
    const json_t *v = json_object_get(r->c, name);
    return !v ? otherwise : json_is_true(v) ? 1 : json_is_false(v) ? 0 : json_integer_value(v);
}

static const char *text(const struct run3d *r, const char *name, const char *otherwise) {
    const json_t *v = json_object_get(r->c, name);
    return v ? json_string_value(v) : otherwise;
}

static long long tier(const struct run3d *r, size_t side) {
    return json_integer_value(json_array_get(json_object_get(r->c, "tier_shape"), side));
}

/* ---- operations -------------------------------------------------------------------------------- */

static void push_to(struct list *l, uint32_t op) {
    assert_true(l->count < LIST_MOST);
    l->at[l->count++] = op;
}

static uint32_t add_op(struct run3d *r, struct op o, const uint32_t *inputs, size_t count) {
    assert_true(r->count < OPS_MOST && r->input_count + count <= INPUTS_MOST);
    o.first_input = r->input_count;
    o.inputs = (uint32_t)count;
    memcpy(r->inputs + r->input_count, inputs, count * sizeof *inputs);
    r->input_count += (uint32_t)count;
    r->ops[r->count] = o;
    return r->count++;
}

static uint32_t simple(struct run3d *r, enum kind kind, uint32_t seq, uint32_t token, long long size, uint32_t input) {
    return add_op(r, (struct op){.kind = kind, .seq = seq, .token = token, .size = (uint32_t)size}, &input, 1);
}

/* The blocks of a matrix; *name becomes a string that lives as long as the file. layer < 0: not in a layer. */
static const json_t *blocks(const struct run3d *r, const char *matrix, int layer, const char **name) {
    char key[64];
    snprintf(key, sizeof key, "layers.%d.%s", layer, matrix);
    void *at = json_object_iter_at((json_t *)r->mapping, layer < 0 ? matrix : key);
    assert_non_null(at);
    *name = json_object_iter_key(at);
    return json_object_iter_value(at);
}

/* A matrix-vector multiply on a block [tile, tier, rows, columns]. */
static uint32_t add_mvm(struct run3d *r, uint32_t seq, uint32_t token, const char *layer, const json_t *block,
                        const uint32_t *inputs, size_t count) {
    long long v[4];
    for (size_t i = 0; i < 4; i++) {
        v[i] = json_integer_value(json_array_get(block, i));
    }
    return add_op(r, (struct op){.kind = MVM, .seq = seq, .token = token, .tile = (uint32_t)v[0],
                                 .cells = (uint32_t)(v[2] * v[3]), .layer = layer}, inputs, count);
}

/* A matrix: a transfer to and from each block, and adds down each column of blocks. Appends the results to *out. */
static void add_linear(struct run3d *r, uint32_t source, const char *matrix, int layer, uint32_t seq, uint32_t token,
                       struct list *out) {
    static uint32_t at[64][64];
    const char *name;
    const json_t *m = blocks(r, matrix, layer, &name);
    size_t rows = json_array_size(m), columns = json_array_size(json_array_get(m, 0));
    bool direct = layer < 0 && rows == 1; /* the last matrix goes straight to the sampling */
    assert_true(rows <= 64 && columns <= 64);
    for (size_t i = 0; i < rows; i++) {
        for (size_t j = 0; j < columns; j++) {
            uint32_t to = simple(r, COM, seq, token, 0, source);
            uint32_t mvm = add_mvm(r, seq, token, name, json_array_get(json_array_get(m, i), j), &to, 1);
            at[i][j] = direct ? mvm : simple(r, COM, seq, token, 0, mvm);
        }
    }
    for (size_t j = 0; j < columns; j++) {
        uint32_t sum = at[0][j];
        for (size_t i = 1; i < rows; i++) {
            sum = add_op(r, (struct op){.kind = ADD, .seq = seq, .token = token, .size = (uint32_t)tier(r, 1)},
                         (uint32_t[]){sum, at[i][j]}, 2);
        }
        push_to(out, sum);
    }
}

static void add_qkv(struct run3d *r, uint32_t source, int layer, bool in, uint32_t seq, uint32_t token,
                    struct list *out) {
    static const char *const names[2][3] = {{"q_proj_out", "k_proj_out", "v_proj_out"},
                                            {"q_proj_in", "k_proj_in", "v_proj_in"}};
    for (size_t i = 0; i < 3; i++) {
        add_linear(r, source, names[in][i], layer, seq, token, out);
    }
}

enum { NOTHING = -1 };

/* Token embedding: one multiply per column block of its first row of blocks. `before`: the sampling of the step
 * before. */
static uint32_t add_embedding(struct run3d *r, int64_t before, uint32_t seq, uint32_t token) {
    struct list parts = {.count = 0};
    const char *name;
    const json_t *row = json_array_get(blocks(r, "token_embedding", 0, &name), 0);
    for (size_t i = 0; i < json_array_size(row); i++) {
        uint32_t to = before == NOTHING ? 0 : simple(r, COM, seq, token, 0, (uint32_t)before);
        uint32_t mvm = add_mvm(r, seq, token, name, json_array_get(row, i), &to, before != NOTHING);
        push_to(&parts, simple(r, COM, seq, token, 0, mvm));
    }
    return add_op(r, (struct op){.kind = ADD, .seq = seq, .token = token,
                                 .size = (uint32_t)parameter(r, "d_model", 0)}, parts.at, parts.count);
}

/* What follows the attention of a layer, for one token. Returns the last add. */
static uint32_t add_rest_of_layer(struct run3d *r, uint32_t attention, int layer, uint32_t residual, uint32_t seq,
                                  uint32_t token) {
    static struct list l;
    enum kind act = strcmp(text(r, "activation", "relu"), "gelu") == 0 ? GELU : RELU;
    uint32_t d = (uint32_t)parameter(r, "d_model", 0), ff = (uint32_t)parameter(r, "d_ff", 0);
    l.count = 0;
    add_linear(r, attention, "out_proj", layer, seq, token, &l);
    push_to(&l, residual);
    uint32_t x = add_op(r, (struct op){.kind = ADD, .seq = seq, .token = token, .size = d}, l.at, l.count);
    uint32_t norm = simple(r, LAYER_NORM, seq, token, d, x);
    l.count = 0;
    add_linear(r, norm, "ffn1", layer, seq, token, &l);
    uint32_t h = add_op(r, (struct op){.kind = act, .seq = seq, .token = token, .size = ff}, l.at, l.count);
    l.count = 0;
    add_linear(r, h, "ffn2", layer, seq, token, &l);
    push_to(&l, x);
    return add_op(r, (struct op){.kind = ADD, .seq = seq, .token = token, .size = d}, l.at, l.count);
}

/* One step of a sequence on `tokens` tokens; returns its sampling. */
static uint32_t add_step(struct run3d *r, uint32_t seq, uint32_t tokens, uint32_t seq_len, bool cached,
                         int64_t before) {
    static uint32_t residual[256];
    static struct list qkv, l;
    uint32_t d = (uint32_t)parameter(r, "d_model", 0);
    int layers = (int)parameter(r, "layers", 0);
    assert_in_range(tokens, 1, 256);
    qkv.count = 0;
    for (uint32_t t = 0; t < tokens; t++) {
        residual[t] = add_embedding(r, before, seq, t);
        uint32_t y = parameter(r, "norm_first", 0) ? simple(r, LAYER_NORM, seq, t, d, residual[t]) : residual[t];
        add_qkv(r, y, 0, true, seq, t, &qkv);
    }
    for (int layer = 0; layer < layers; layer++) {
        uint32_t a = add_op(r, (struct op){.kind = MHA, .seq = seq, .size = d, .seq_len = seq_len, .cached = cached},
                            qkv.at, qkv.count);
        qkv.count = 0;
        for (uint32_t t = 0; t < tokens; t++) {
            residual[t] = add_rest_of_layer(r, a, layer, residual[t], seq, t);
            if (layer < layers - 1) {
                add_qkv(r, simple(r, LAYER_NORM, seq, t, d, residual[t]), layer, false, seq, t, &qkv);
            }
        }
    }
    uint32_t t = tokens - 1;
    l.count = 0;
    add_linear(r, simple(r, LAYER_NORM, seq, t, d, residual[t]), "lm_head", NOTHING, seq, t, &l);
    uint32_t joined = add_op(r, (struct op){.kind = COM, .seq = seq, .token = t}, l.at, l.count);
    return simple(r, SAMPLE, seq, t, 0, joined);
}

static void add_sequences(struct run3d *r) {
    bool cached = parameter(r, "kv_caching", 0);
    uint32_t first = (uint32_t)parameter(r, "start_len", 0), last = (uint32_t)parameter(r, "target_len", 0);
    for (uint32_t seq = 0; seq < (uint32_t)parameter(r, "batch", 1); seq++) {
        int64_t before = add_step(r, seq, first, first, false, NOTHING);
        for (uint32_t n = first + 1; n < last; n++) {
            before = add_step(r, seq, cached ? 1 : n, n, cached, before);
        }
    }
}

/* ---- costs ------------------------------------------------------------------------------------- */

static bool sized(const struct run3d *r) { return strcmp(text(r, "latencies", ""), "sized") == 0; }

static int64_t memory_ns(const struct op *o) {
    return o->cached ? (int64_t)ceil(2.0 * o->seq_len * o->size / 5.332) : 0;
}

static int64_t attention_ns(const struct op *o) {
    int64_t s = o->seq_len, d = o->size;
    return memory_ns(o) + (o->cached ? s * d / 16 : s * (s + 1) / 2 * d / 16);
}

static int64_t latency_ns(const struct run3d *r, const struct op *o) {
    bool z = sized(r);
    switch (o->kind) {
    case MVM: return parameter(r, "mvm_latency", 100);
    case COM: return z ? tier(r, 1) / 16 : 10;
    case MHA: return z ? attention_ns(o) : 2;
    case LAYER_NORM: return z ? 20 + o->size / 16 : 50;
    case RELU: return z ? o->size / 64 : 1;
    case GELU: return z ? o->size / 32 : 10;
    case ADD: return z ? o->size / 32 : 10;
    case SAMPLE: return z ? parameter(r, "vocab", 0) / 8 : 10;
    case KINDS: break;
    }
    return -1;
}

static double energy_nJ(const struct run3d *r, const struct op *o) {
    bool z = sized(r);
    double s = o->seq_len, n = o->size;
    switch (o->kind) {
    case MVM: return parameter(r, "mvm_energy", 10);
    case COM: return 1e-5 * 8 * tier(r, 1);
    case MHA: return z ? memory_ns(o) * 0.2467 + 0.001 * s * n * (o->cached ? 1 : (s + 1) / 2) : 2;
    case LAYER_NORM: return z ? 0.05 * n : 10;
    case ADD: return z ? 0.01 * n : 10;
    case RELU: return 10;
    case GELU: return 10;
    case SAMPLE: return 0;
    case KINDS: break;
    }
    return NAN;
}

static double flops(const struct run3d *r, const struct op *o) {
    double rows = tier(r, 0), columns = tier(r, 1), n = o->size, s = o->seq_len;
    double q = o->cached ? s : (s * s + s) / 2;
    switch (o->kind) {
    case MVM: return o->cells / (rows * columns) * (rows * columns + rows * (columns - 1));
    case MHA: return 2 * q * n + 1 + q + 2 * q + (q - s) + 2 * n * (o->cached ? s : s * s);
    case LAYER_NORM: return 10 * n;
    case GELU: return 6 * n;
    case RELU: return n;
    case ADD: return n;
    case SAMPLE: return 512;
    case COM: return 0;
    case KINDS: break;
    }
    return NAN;
}

/* ---- the engine -------------------------------------------------------------------------------- */

enum { TRANSFERS, DIGITAL, ATTENTION, TILES }; /* resources; tile k is TILES + k */

static size_t resource_of(const struct op *o) {
    return o->kind == MVM ? TILES + o->tile : o->kind == COM ? TRANSFERS : o->kind == MHA ? ATTENTION : DIGITAL;
}

static struct engine *machine(const struct run3d *r) {
    static struct engine_resource resources[TILES + TILES_MOST];
    size_t tiles = (size_t)parameter(r, "tiles", 0);
    assert_in_range(tiles, 1, TILES_MOST);
    resources[TRANSFERS] = (struct engine_resource){ENGINE_UNLIMITED, 1, QUEUE_BY_KEY};
    resources[DIGITAL] = (struct engine_resource){(uint32_t)parameter(r, "num_digital_units", 4), 1, QUEUE_BY_KEY};
    resources[ATTENTION] = (struct engine_resource){(uint32_t)parameter(r, "num_mha_units", 1), 1, QUEUE_BY_KEY};
    for (size_t k = 0; k < tiles; k++) {
        resources[TILES + k] = (struct engine_resource){1, 1, QUEUE_BY_KEY};
    }
    struct engine *g = NULL;
    struct error e;
    must(engine_create(resources, TILES + tiles,
                       &(struct engine_options){.ticks_per_s = 1e9, .tasks = r->count, .dependencies = r->input_count,
                                                .log_events = r->count, .log_tasks = r->count},
                       &g, &e),
         &e);
    return g;
}

/* Runs all operations; they are added forwards or backwards, which must make no difference. */
static struct engine *simulate(struct run3d *r, bool backwards) {
    static uint64_t id[OPS_MOST];
    struct engine *g = machine(r);
    struct error e;
    for (uint32_t k = 0; k < r->count; k++) {
        uint32_t i = backwards ? r->count - 1 - k : k;
        const struct op *o = &r->ops[i];
        struct engine_task t = {.key = (uint64_t)o->seq << 56 | (uint64_t)o->token << 32 | i, .tag = i, .items = 1,
                                .resource = resource_of(o), .hold = latency_ns(r, o), .latency = ENGINE_AS_HOLD};
        must(engine_add(g, &t, &id[i], &e), &e);
    }
    for (uint32_t i = 0; i < r->count; i++) {
        for (uint32_t k = 0; k < r->ops[i].inputs; k++) {
            must(engine_depend(g, id[i], id[r->inputs[r->ops[i].first_input + k]], AFTER_ITEM, &e), &e);
        }
    }
    struct engine_report report;
    must(engine_advance(g, &report, &e), &e);
    assert_false(report.finished);
    assert_int_equal(engine_logged(g), r->count);
    for (size_t i = 0; i < r->count; i++) {
        struct engine_event v = engine_event(g, i);
        r->ops[v.tag].start = v.start;
        r->ops[v.tag].end = v.start + v.hold;
    }
    return g;
}

/* ---- placement --------------------------------------------------------------------------------- */

struct placer { uint32_t used[TILES_MOST]; size_t tiles; };

static uint32_t least_used(const struct placer *p) {
    uint32_t best = 0;
    for (uint32_t t = 1; t < p->tiles; t++) {
        best = p->used[t] < p->used[best] ? t : best;
    }
    return best;
}

/* Places a matrix block by block, row-major: each on the first of the tiles with the fewest used tiers, or on `onto` in
 * turn while they have room. Compares with `there` (NULL: does not) and returns the tiles in *got. */
static void place(const struct run3d *r, struct placer *p, long long rows, long long columns, const struct list *onto,
                  const json_t *there, struct list *got) {
    long long height = tier(r, 0), width = tier(r, 1);
    size_t k = 0;
    for (long long i = 0; i < rows; i += height) {
        for (long long j = 0; j < columns; j += width, k++) {
            uint32_t tile = onto ? onto->at[k % onto->count] : least_used(p);
            tile = p->used[tile] >= parameter(r, "tiers", 0) ? least_used(p) : tile;
            const long long block[4] = {tile, p->used[tile]++, rows - i < height ? rows - i : height,
                                        columns - j < width ? columns - j : width};
            const json_t *row = json_array_get(there, (size_t)(i / height));
            for (size_t n = 0; there && n < 4; n++) {
                const json_t *one = json_array_get(json_array_get(row, (size_t)(j / width)), n);
                assert_int_equal(json_integer_value(one), block[n]);
            }
            push_to(got, tile);
        }
    }
}

static void place_matrix(const struct run3d *r, struct placer *p, const char *matrix, int layer, long long rows,
                         long long columns) {
    static struct list got;
    const char *name;
    got.count = 0;
    place(r, p, rows, columns, NULL, blocks(r, matrix, layer, &name), &got);
}

/* Stacked: on the tiles that one row of blocks would get. */
static void place_embedding(const struct run3d *r, struct placer *p, const char *matrix, long long rows) {
    static struct list onto, got;
    struct placer as_one_row = *p;
    const char *name;
    long long d = parameter(r, "d_model", 0);
    onto.count = got.count = 0;
    place(r, &as_one_row, tier(r, 0), d, NULL, NULL, &onto);
    place(r, p, rows, d, parameter(r, "stack_embedding", 1) ? &onto : NULL, blocks(r, matrix, 0, &name), &got);
}

static void check_mapping(const struct run3d *r) {
    static const char *const in[3] = {"q_proj_in", "k_proj_in", "v_proj_in"};
    static const char *const out[3] = {"q_proj_out", "k_proj_out", "v_proj_out"};
    struct placer p = {.tiles = (size_t)parameter(r, "tiles", 0)};
    long long d = parameter(r, "d_model", 0), ff = parameter(r, "d_ff", 0);
    int layers = (int)parameter(r, "layers", 0);
    if (json_object_get(r->c, "strategy")) {
        return; /* other strategies: by their mapping only */
    }
    place_embedding(r, &p, "token_embedding", parameter(r, "vocab", 0));
    place_embedding(r, &p, "pos_embedding", parameter(r, "target_len", 0));
    for (int layer = 0; layer < layers; layer++) {
        for (size_t k = 0; k < 3 && layer == 0; k++) {
            place_matrix(r, &p, in[k], layer, d, d);
        }
        for (size_t k = 0; k < 3 && layer < layers - 1; k++) {
            place_matrix(r, &p, out[k], layer, d, d);
        }
        place_matrix(r, &p, "out_proj", layer, d, d);
        place_matrix(r, &p, "ffn1", layer, d, ff);
        place_matrix(r, &p, "ffn2", layer, ff, d);
    }
    place_matrix(r, &p, "lm_head", NOTHING, d, parameter(r, "vocab", 0));
}

/* ---- comparison -------------------------------------------------------------------------------- */

static const char *resource_name(size_t resource) {
    static char name[32];
    static const char *const units[] = {"com", "dpu", "mha"};
    snprintf(name, sizeof name, "tile_%zu", resource - TILES);
    return resource < TILES ? units[resource] : name;
}

static void check_busy(const struct run3d *r, const struct engine *g) {
    const json_t *busy = json_object_get(r->c, "busy_ns");
    size_t used = 0;
    for (size_t i = 0; i < engine_resources(g); i++) {
        struct engine_use use = engine_use(g, i);
        assert_int_equal(use.busy, json_integer_value(json_object_get(busy, resource_name(i))));
        used += use.busy > 0;
    }
    assert_int_equal(used, json_object_size(busy));
}

static void check_tokens(const struct run3d *r) {
    const json_t *ends = json_object_get(r->c, "token_end_ns");
    size_t next[16] = {0};
    for (uint32_t i = 0; i < r->count; i++) {
        const struct op *o = &r->ops[i];
        if (o->kind == SAMPLE) {
            assert_int_equal(o->end, json_integer_value(json_array_get(json_array_get(ends, o->seq), next[o->seq]++)));
        }
    }
    for (size_t s = 0; s < json_array_size(ends); s++) {
        assert_int_equal(next[s], json_array_size(json_array_get(ends, s)));
    }
}

static void check_counts(const struct run3d *r) {
    const json_t *counts = json_object_get(r->c, "counts");
    size_t count[KINDS] = {0};
    for (uint32_t i = 0; i < r->count; i++) {
        count[r->ops[i].kind]++;
    }
    for (size_t k = 0; k < KINDS; k++) {
        assert_int_equal(count[k], json_integer_value(json_object_get(counts, kind_names[k])));
    }
}

static void check_sums(const struct run3d *r, const struct engine *g) {
    double energy = 0, work = 0;
    for (uint32_t i = 0; i < r->count; i++) {
        energy += energy_nJ(r, &r->ops[i]);
        work += flops(r, &r->ops[i]);
    }
    double idle_W = (double)(parameter(r, "num_digital_units", 4) + parameter(r, "num_mha_units", 1)) +
                    (parameter(r, "kv_caching", 0) ? 0.1297 : 0);
    energy += idle_W * (double)engine_end(g); /* W ns = nJ */
    double energy_there = json_number_value(json_object_get(r->c, "energy_nJ"));
    double work_there = json_number_value(json_object_get(r->c, "flops"));
    assert_near(energy / energy_there, 1, 1e-9);
    assert_near(work / work_there, 1, 1e-12);
}

/* One operation as a line that sorts like the others. */
static int by_text(const void *a, const void *b) { return strcmp(a, b); }
enum { LINE = 128 };

static void check_operations(const struct run3d *r) {
    const json_t *list = json_object_get(r->c, "ops");
    if (!list) {
        return;
    }
    size_t n = json_array_size(list);
    assert_int_equal(n, r->count);
    char(*mine)[LINE] = mem_alloc(n, LINE), (*theirs)[LINE] = mem_alloc(n, LINE);
    assert_true(mine && theirs);
    for (size_t i = 0; i < n; i++) {
        const struct op *o = &r->ops[i];
        bool whole = o->kind == COM || o->kind == MHA; /* of no single token there */
        snprintf(mine[i], LINE, "%8lld %8lld %s %s %u %d %s", (long long)o->start, (long long)o->end,
                 kind_names[o->kind], resource_name(resource_of(o)), o->seq, whole ? -1 : (int)o->token,
                 o->layer ? o->layer : "");
        const json_t *v = json_array_get(list, i);
        snprintf(theirs[i], LINE, "%8lld %8lld %s %s %lld %lld %s", json_integer_value(json_array_get(v, 0)),
                 json_integer_value(json_array_get(v, 1)), json_string_value(json_array_get(v, 2)),
                 json_string_value(json_array_get(v, 3)), json_integer_value(json_array_get(v, 4)),
                 json_integer_value(json_array_get(v, 5)), json_string_value(json_array_get(v, 6)));
    }
    qsort(mine, n, LINE, by_text);
    qsort(theirs, n, LINE, by_text);
    for (size_t i = 0; i < n; i++) {
        assert_string_equal(mine[i], theirs[i]);
    }
    mem_free(mine);
    mem_free(theirs);
}

static void check_case(struct run3d *r, const struct engine *g) {
    assert_int_equal(engine_end(g), parameter(r, "execution_time_ns", -1));
    check_busy(r, g);
    check_tokens(r);
    check_counts(r);
    check_sums(r, g);
    check_operations(r);
}

static void every_case_is_exact(void **state) {
    (void)state;
    json_t *file = load_json(golden_path("threedsim.json"));
    const json_t *cases = json_object_get(file, "cases");
    struct run3d r = {.ops = mem_alloc(OPS_MOST, sizeof *r.ops), .inputs = mem_alloc(INPUTS_MOST, sizeof *r.inputs)};
    assert_true(r.ops && r.inputs);
    assert_int_equal(json_array_size(cases), 32);
    for (size_t i = 0; i < 32; i++) {
        r.c = json_array_get(cases, i);
        r.mapping = json_object_get(r.c, "mapping");
        r.count = r.input_count = 0;
        add_sequences(&r);
        check_mapping(&r);
        for (int backwards = 0; backwards < 2; backwards++) {
            struct engine *g = simulate(&r, backwards);
            check_case(&r, g);
            engine_destroy(g);
        }
    }
    mem_free(r.ops);
    mem_free(r.inputs);
    json_decref(file);
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(every_case_is_exact)};

const struct test_suite suite_threedsim = {"threedsim", tests, sizeof tests / sizeof tests[0]};
