/* Rows of `mho bench` about runs without values: how long the simulator takes for shapes that no laptop could multiply.
 *
 *   prefill   one step of 2,048 tokens through the shape of a model of 70 billion weights (configs/shapes/llama_70b)
 *   decode    the first 4,096 tokens of one of a billion weights, some 1.2 simulated seconds: simulated seconds per
 *             second of this machine
 *
 * Both on chip hermes64_1phase. Measured once; what the arrays would draw does not matter here and is made up.
 */
#include "base/io.h"
#include "base/memory.h"
#include "tools/bench.h"

enum { PREFILL = 2048, DECODE = 4096 };

struct shape_bench {
    struct chip *chip;
    struct model *model;
    struct placement *placement;
    struct run *run;
    struct session *session;
};

static void shape_close(struct shape_bench *b) {
    session_destroy(b->session);
    run_destroy(b->run);
    placement_destroy(b->placement);
    model_close(b->model);
    chip_destroy(b->chip);
}

static enum status shape_open(const char *shape, uint32_t longest, struct shape_bench *b, struct error *e) {
    struct activity activity = {.source = "made up for mho bench"};
    for (int role = 0; role < MATRIX_ROLES; role++) {
        activity.array_S_per_weight[role] = 1e-6;
    }
    char *path = data_directory() ? path_join(data_directory(), shape) : NULL;
    if (!path) {
        return error_set(e, ERR_RUN, "%s: the data folder was not found", shape);
    }
    enum status s = model_open_shapes(path, &b->model, e);
    mem_free(path);
    TRY(s);
    TRY(chip_load("hermes64_1phase", NULL, 0, &b->chip, e));
    size_t count;
    const struct matrix_source *sources = model_matrices(b->model, &count);
    TRY(placement_create(b->chip, sources, count, &b->placement, e));
    TRY(run_create_shapes(b->chip, b->placement, &activity, longest, &b->run, e));
    struct session_options so = {.context = PREFILL + DECODE, .max_batch = longest, .run = b->run, .shapes = true};
    return session_create(b->model, &so, &b->session, e);
}

enum status measure_shapes(struct shape_speed *out, struct error *e) {
    struct shape_bench large = {0}, small = {0};
    enum status s = shape_open("configs/shapes/llama_70b", PREFILL, &large, e);
    double start_s = now_s();
    s = s == OK ? session_advance(large.session, PREFILL, LOGITS_LAST, e) : s;
    out->prefill_s = now_s() - start_s;
    shape_close(&large);
    s = s == OK ? shape_open("configs/shapes/llama_1b", 1, &small, e) : s;
    start_s = now_s();
    s = s == OK ? session_advance(small.session, DECODE, LOGITS_LAST, e) : s;
    out->decode_ratio = s == OK ? run_ledger(small.run).makespan_s / (now_s() - start_s) : 0;
    shape_close(&small);
    return s;
}
