/* Training: AdamW by hand and against PyTorch, schedules, recipes; runs of the bundled model: the loss falls, threads
 * and kills change no bit, checkpoints are refused where they do not hold. Gradients: test_student_gradients.c. */
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/csv.h"
#include "base/gemm.h"
#include "base/io.h"
#include "base/memory.h"
#include "base/random.h"
#include "base/threads.h"
#include "models/adapt/checkpoint.h"
#include "models/adapt/muon.h"
#include "models/adapt/optimiser.h"
#include "models/adapt/student_loss.h"
#include "models/internal.h"
#include "tests/files.h"
#include "tests/golden.h"

enum { PATH_ROOM = 1200 };

/* ---- recipes ----------------------------------------------------------------------------------- */

static enum status read_recipe(const char *yaml, struct train_recipe *r, struct error *e) {
    struct arena *a = arena_create();
    struct config_node *map;
    enum status s = config_parse(a, yaml, strlen(yaml), "r.yaml", &map, e);
    s = s == OK ? train_recipe_read(map, a, r, e) : s;
    arena_destroy(a);
    return s;
}

static struct train_recipe recipe_of(const char *yaml) {
    struct train_recipe r;
    struct error e;
    must(read_recipe(yaml, &r, &e), &e);
    return r;
}

static void recipes(void **state) {
    static const struct { const char *yaml, *message; } bad[] = {
        {"steps: 0", "how long"},
        {"{steps: 5, tokens: 100}", "how long"},
        {"{steps: 5, lrr: 1}", "lr"},
        {"{steps: 5, lr: 2}", "r.yaml:1: lr = 2"},
        {"{steps: 5, schedule: lineal}", "linear"},
        {"{steps: 5, weight_bits: 1}", "weight_bits"},
        {"{steps: 5, clip: learned, from_scratch: on}", "from_scratch"},
    };
    struct train_recipe r;
    struct error e;
    (void)state;
    must(params_check_table(&train_recipe_table, &e), &e);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(read_recipe(bad[i].yaml, &r, &e), ERR_USAGE);
        if (!strstr(e.message, bad[i].message)) {
            fail_msg("%s: %s", bad[i].yaml, e.message);
        }
    }
    assert_near(recipe_of("steps: 5").beta, 1, 0);
    assert_near(recipe_of("{steps: 5, from_scratch: on}").beta, 0, 0);
    assert_near(recipe_of("{steps: 5, from_scratch: on, beta: 0.25}").beta, 0.25, 0);
}

/* docs/adaptation.md has the rows of the table. */
static void the_page_knows_every_key(void **state) {
    struct error e;
    char path[PATH_ROOM], line[1024], *page;
    size_t bytes;
    (void)state;
    snprintf(path, sizeof path, "%s/docs/adaptation.md", data_directory());
    must(read_file(path, 1 << 20, &page, &bytes, &e), &e);
    for (size_t i = 0; i < train_recipe_table.count; i++) {
        const struct param *row = &train_recipe_table.rows[i];
        snprintf(line, sizeof line, "| `%s` | %s | %s |\n", row->key, row->default_text, row->help);
        if (!strstr(page, line)) {
            fail_msg("%s: missing or another: %s", path, line);
        }
    }
    mem_free(page);
}

/* 10 steps, of which 2 rise; then 8 fall: in equal steps, or along half a period of a cosine. */
static void schedules(void **state) {
    struct train_recipe r = recipe_of("{steps: 10, lr: 0.9, last_lr: 0.1, warmup: 0.2}");
    (void)state;
    assert_near(learning_rate_at(&r, 0, 10), 0.45, 1e-12);
    assert_near(learning_rate_at(&r, 1, 10), 0.9, 1e-12);
    assert_near(learning_rate_at(&r, 2, 10), 0.9, 1e-12);
    assert_near(learning_rate_at(&r, 4, 10), 0.7, 1e-12);
    assert_near(learning_rate_at(&r, 9, 10), 0.2, 1e-12);
    r.schedule = SCHEDULE_COSINE;
    assert_near(learning_rate_at(&r, 4, 10), 0.1 + 0.4 * (1 + sqrt(0.5)), 1e-12);
    assert_near(learning_rate_at(&r, 6, 10), 0.5, 1e-12);
    r.schedule = SCHEDULE_CONSTANT;
    assert_near(learning_rate_at(&r, 9, 10), 0.9, 1e-12);
}

/* ---- the optimiser ----------------------------------------------------------------------------- */

struct bench { struct model *model; struct student *student; struct optimiser *optimiser; struct train_recipe recipe; };

static void bench_create(struct bench *b, const char *yaml) {
    struct error e;
    struct student_options o = {.sequences = 1, .length = 4, .trained = true};
    b->recipe = recipe_of(yaml);
    b->model = open_model(golden_path("models/llama-untied-tiny"));
    must(student_create(b->model, NULL, NULL, &o, &b->student, &e), &e);
    must(optimiser_create(b->student, &b->recipe, &b->optimiser, &e), &e);
}

static void bench_destroy(struct bench *b) {
    optimiser_destroy(b->optimiser);
    student_destroy(b->student);
    model_close(b->model);
}

static struct parameter parameter_named(const struct bench *b, const char *name) {
    for (size_t i = 0; i < student_parameter_count(b->student); i++) {
        struct parameter p = student_parameter_at(b->student, i);
        if (strcmp(p.name, name) == 0) {
            return p;
        }
    }
    fail_msg("no parameter %s", name);
    return (struct parameter){0};
}

/* Gradients 0.5 and -1 with beta1 0.9, beta2 0.98, rate 0.1, decay 0.1:
 *   step 1: m / (1 - 0.9) = 0.5, v / (1 - 0.98) = 0.25: w = 1 - 0.1 0.1 1 - 0.1 0.5 / 0.5 = 0.89
 *   step 2: m = 0.9 0.05 - 0.1 = -0.055, / 0.19 = -0.2894737;  v = 0.98 0.005 + 0.02 = 0.0249, / 0.0396 = 0.6287879
 *           w = 0.89 (1 - 0.01) + 0.1 0.2894737 / 0.7929615 = 0.9176055 */
static void adamw_by_hand(void **state) {
    struct bench b;
    (void)state;
    bench_create(&b, "{steps: 2, vector_weight_decay: 0.1, epsilon: 1e-12}");
    struct parameter p = parameter_named(&b, "model.norm.weight");
    p.data[0] = 1;
    p.gradient[0] = 0.5f;
    assert_near(optimiser_gradient_norm(b.optimiser), 0.5, 1e-12);
    optimiser_step(b.optimiser, 0.1, 0.5);
    assert_near(p.data[0], 0.89, 1e-6);
    p.gradient[0] = -1;
    optimiser_step(b.optimiser, 0.1, 1);
    assert_near(p.data[0], 0.9176055, 1e-6);
    bench_destroy(&b);
}

static void compare(const char *what, const json_t *expected, const real *actual) {
    for (size_t i = 0; i < json_array_size(expected); i++) {
        double want = json_number_value(json_array_get(expected, i));
        /* Both in fp32, values below 1.1: six steps of a few roundings each. */
        if (!(fabs((double)actual[i] - want) <= 1e-6)) {
            fail_msg("%s %zu: %.9g, expected %.9g", what, i, (double)actual[i], want);
        }
    }
}

static void fill_start(real *data, size_t n) {
    for (size_t i = 0; i < n; i++) {
        data[i] = (real)cos(0.05 * (double)i);
    }
}

static void fill_slope(real *gradient, size_t n, size_t step) {
    for (size_t i = 0; i < n; i++) {
        gradient[i] = (real)(0.1 * (double)step * sin(0.3 * (double)i + (double)step));
    }
}

/* The first elements of two parameters are those of PyTorch; all other gradients are 0. */
static void adamw_is_that_of_pytorch(void **state) {
    struct bench b;
    (void)state;
    bench_create(&b, "{steps: 6, weight_decay: 0.1, vector_weight_decay: 0.02, max_norm: 1}");
    json_t *golden = load_json(golden_path("adamw_torch.json"));
    const json_t *matrix = json_object_get(golden, "matrix"), *vector = json_object_get(golden, "vector");
    const json_t *rates = json_object_get(golden, "rates");
    struct parameter w = parameter_named(&b, "model.layers.0.self_attn.q_proj.weight");
    struct parameter v = parameter_named(&b, "model.norm.weight");
    assert_in_range(json_array_size(matrix), 1, w.count);
    assert_in_range(json_array_size(vector), 1, v.count);
    fill_start(w.data, json_array_size(matrix));
    fill_start(v.data, json_array_size(vector));
    assert_int_equal(json_array_size(rates), 6);
    for (size_t k = 0; k < 6; k++) {
        fill_slope(w.gradient, json_array_size(matrix), k + 1);
        fill_slope(v.gradient, json_array_size(vector), k + 1);
        double norm = optimiser_gradient_norm(b.optimiser);
        assert_true(norm > 1); /* so that scaling down is tested */
        optimiser_step(b.optimiser, json_number_value(json_array_get(rates, k)), norm);
    }
    compare("matrix", matrix, w.data);
    compare("vector", vector, v.data);
    json_decref(golden);
    bench_destroy(&b);
}

/* Three steps of a tall and a wide matrix; the gradient comes halved, and is doubled. The iterations enlarge what is
 * small by up to 3.4445^5, and with it the rounding of fp32: 3e-5 of a step of 0.03 per element. */
static void muon_is_that_of_pytorch(void **state) {
    (void)state;
    json_t *golden = load_json(golden_path("muon_torch.json"));
    const json_t *rates = json_object_get(golden, "rates");
    double decay = json_number_value(json_object_get(golden, "decay"));
    for (size_t k = 0; k < 2; k++) {
        const json_t *shape = json_array_get(json_object_get(golden, "shapes"), k);
        const json_t *matrix = json_array_get(json_object_get(golden, "matrices"), k);
        size_t rows = (size_t)json_integer_value(json_array_get(shape, 0));
        size_t columns = (size_t)json_integer_value(json_array_get(shape, 1)), n = rows * columns;
        assert_int_equal(json_array_size(matrix), n);
        real *all = mem_alloc(3 * n + muon_scratch_reals(rows, columns), sizeof *all);
        real *weight = all, *momentum = all + n, *gradient = all + 2 * n;
        fill_start(weight, n);
        for (size_t step = 0; step < json_array_size(rates); step++) {
            double rate = json_number_value(json_array_get(rates, step));
            for (size_t i = 0; i < n; i++) {
                double angle = 0.3 * (double)i * (double)i + (double)step + 1;
                gradient[i] = (real)(0.05 * ((double)step + 1) * sin(angle));
            }
            muon_update(&(struct muon_step){rate, 1 - rate * decay, 2}, rows, columns, gradient, momentum, weight,
                        all + 3 * n);
        }
        for (size_t i = 0; i < n; i++) {
            double want = json_number_value(json_array_get(matrix, i));
            if (!(fabs((double)weight[i] - want) <= 2e-6)) {
                fail_msg("%zu x %zu, element %zu: %.9g, expected %.9g", rows, columns, i, (double)weight[i], want);
            }
        }
        mem_free(all);
    }
    json_decref(golden);
}

/* With Muon matrices take its steps, all else those of AdamW; the norm of all is scaled down for both. */
static void muon_is_for_matrices(void **state) {
    static const char *const recipes[2] = {"{steps: 1}", "{steps: 1, optimiser: muon}"};
    real matrix[2], vector[2];
    (void)state;
    for (int k = 0; k < 2; k++) {
        struct bench b;
        bench_create(&b, recipes[k]);
        struct parameter w = parameter_named(&b, "model.layers.0.self_attn.q_proj.weight");
        struct parameter v = parameter_named(&b, "model.norm.weight");
        fill_start(w.data, w.count);
        fill_slope(w.gradient, w.count, 1);
        fill_slope(v.gradient, v.count, 1);
        optimiser_step(b.optimiser, 0.1, optimiser_gradient_norm(b.optimiser));
        matrix[k] = w.data[1];
        vector[k] = v.data[1];
        bench_destroy(&b);
    }
    assert_near(vector[0], vector[1], 0);
    assert_true(fabsf(matrix[0] - matrix[1]) > 1e-3f);
}

/* ---- runs in this process ---------------------------------------------------------------------- */

#define SMALL "steps: 8, batch: 2, lr: 1e-3, warmup: 0, split: 0.1, checkpoint_every: 2, validate_every: 4"

struct setup {
    struct model *model, *teacher;
    struct chip *chip;
    struct data *data;
    struct train_recipe recipe;
    bool library_named;
};

static const char *text_path(void) {
    static char path[PATH_ROOM];
    snprintf(path, sizeof path, "%s/configs/calibration/text.txt", data_directory());
    return path;
}

static void setup_create(struct setup *s, const char *chip, const char *yaml) {
    struct error e;
    const char *paths[1] = {text_path()};
    progress_set_quiet(true);
    *s = (struct setup){.recipe = recipe_of(yaml)};
    s->model = open_model("stories");
    if (chip) {
        must(chip_load(chip, NULL, 0, &s->chip, &e), &e);
    }
    must(data_open(paths, 1, s->model, &(struct data_options){.length = 32, .split = s->recipe.split}, &s->data, &e),
         &e);
}

static void setup_destroy(struct setup *s) {
    data_close(s->data);
    chip_destroy(s->chip);
    model_close(s->teacher);
    model_close(s->model);
}

static enum status train(const struct setup *s, const char *out, bool resume, struct train_result *r,
                         struct error *e) {
    struct train_options o = {.model = s->model, .teacher = s->teacher ? s->teacher : s->model, .chip = s->chip,
                              .data = s->data, .recipe = &s->recipe, .seed = 5, .out = out, .resume = resume,
                              .library_named = s->library_named};
    return adapt_train(&o, r, e);
}

static const char *inside(const char *folder, const char *name) {
    static char paths[4][PATH_ROOM + 64];
    static int next;
    next = (next + 1) % 4;
    snprintf(paths[next], sizeof paths[next], "%s/%s", folder, name);
    return paths[next];
}

static void assert_same_file(const char *folder_a, const char *folder_b, const char *name) {
    struct error e;
    struct mapped_file a, b;
    must(map_file(inside(folder_a, name), &a, &e), &e);
    must(map_file(inside(folder_b, name), &b, &e), &e);
    assert_int_equal(a.bytes, b.bytes);
    if (memcmp(a.data, b.data, a.bytes) != 0) {
        fail_msg("%s and %s: other bytes in %s", folder_a, folder_b, name);
    }
    unmap_file(&a);
    unmap_file(&b);
}

/* Text of a table without its last column, which in train.csv is the speed; mem_free. */
static char *without_last_column(const char *path) {
    struct error e;
    char *text;
    size_t bytes, kept = 0;
    must(read_file(path, 1 << 20, &text, &bytes, &e), &e);
    for (char *line = text, *end; (end = strchr(line, '\n')); line = end + 1) {
        *end = 0;
        char *comma = strrchr(line, ',');
        assert_non_null(comma);
        memmove(text + kept, line, (size_t)(comma + 1 - line));
        kept += (size_t)(comma + 1 - line);
    }
    text[kept] = 0;
    return text;
}

static void copy_files(const char *from, const char *to, const char *const *names, size_t count) {
    for (size_t i = 0; i < count; i++) {
        struct error e;
        struct mapped_file f;
        must(map_file(inside(from, names[i]), &f, &e), &e);
        write_bytes(inside(to, names[i]), f.data, f.bytes);
        unmap_file(&f);
    }
}

static void assert_same_run(const char *a, const char *b) {
    assert_same_file(a, b, "checkpoint.bin");
    assert_same_file(a, b, "model.safetensors");
    char *csv_a = without_last_column(inside(a, "train.csv")), *csv_b = without_last_column(inside(b, "train.csv"));
    assert_string_equal(csv_a, csv_b);
    mem_free(csv_a);
    mem_free(csv_b);
}

/* Losses on the validation text, on the noisy chip. Weights of 3 bits cost so much that there is something to win.
 * Seeds 5 to 12 end at 0.70 to 0.82 of the first loss. */
static void the_loss_falls(void **state) {
    struct setup s;
    struct train_result r;
    struct error e;
    struct csv *csv;
    size_t column;
    double first, last;
    (void)state;
    const char *out = scratch_directory();
    setup_create(&s, "afm", "{steps: 50, batch: 2, lr: 5e-4, warmup: 0, split: 0.1, validate_every: 2, validation: 4, "
                            "weight_bits: 3}");
    must(train(&s, out, false, &r, &e), &e);
    assert_int_equal(r.steps, 50);
    assert_int_equal(r.tokens, 50 * 2 * 32);
    assert_int_equal(r.skipped, 0);
    must(csv_read(inside(out, "train.csv"), CSV_HEADER, &csv, &e), &e);
    assert_int_equal(csv_rows(csv), 50);
    must(csv_require(csv, "validation_loss", &column, &e), &e);
    must(csv_number(csv, 1, column, &first, &e), &e);
    must(csv_number(csv, 49, column, &last, &e), &e);
    assert_string_equal(csv_text(csv, 4, column), "");
    csv_destroy(csv);
    if (!(last < 0.9 * first)) {
        fail_msg("validation loss %g after 2 steps, %g after 50", first, last);
    }
    assert_true(file_exists(inside(out, "report.html")));
    setup_destroy(&s);
}

static void threads_change_nothing(void **state) {
    static const int counts[3] = {1, 2, 7};
    struct setup s;
    struct train_result r;
    struct error e;
    char folders[3][PATH_ROOM];
    (void)state;
    setup_create(&s, "afm", "{" SMALL ", recompute: on, noise: cell, optimiser: muon}");
    for (size_t i = 0; i < 3; i++) {
        snprintf(folders[i], PATH_ROOM, "%s", scratch_directory());
        threads_set(counts[i]);
        must(train(&s, folders[i], false, &r, &e), &e);
        assert_same_run(folders[0], folders[i]);
    }
    threads_set(0);
    setup_destroy(&s);
}

/* Two batches of one sequence are one batch of two: the mean of their gradients, up to the rounding of its sum. */
static void accumulated_batches_are_one(void **state) {
    struct setup s;
    struct train_result one, two;
    struct error e;
    (void)state;
    setup_create(&s, NULL, "{" SMALL ", from_scratch: on}");
    must(train(&s, scratch_directory(), false, &one, &e), &e);
    s.recipe.batch = 1;
    s.recipe.accumulate = 2;
    must(train(&s, scratch_directory(), false, &two, &e), &e);
    assert_int_equal(one.tokens, two.tokens);
    assert_true(one.loss > 4); /* eight steps from random weights */
    assert_near(two.loss, one.loss, 1e-4);
    assert_near(two.best_digital, one.best_digital, 1e-4);
    setup_destroy(&s);
}

/* The chip of the setup: afm, but nothing rounds to codes. */
static void take_converters_away(struct setup *s) {
    static const char *const off[2] = {"effects.dac=off", "effects.adc=off"};
    struct error e;
    chip_destroy(s->chip);
    must(chip_load("afm", off, 2, &s->chip, &e), &e);
}

/* Both passes of a mirrored batch count half: without noise they are one pass, but for the rounding of sums, which a
 * converter would turn into other codes. With noise, the losses are others. */
static void mirrored_passes_count_half(void **state) {
    struct setup s;
    struct train_result one, two;
    struct error e;
    (void)state;
    setup_create(&s, "afm", "{" SMALL ", noise: none}");
    take_converters_away(&s);
    must(train(&s, scratch_directory(), false, &one, &e), &e);
    s.recipe.mirror = true;
    must(train(&s, scratch_directory(), false, &two, &e), &e);
    assert_int_equal(one.tokens, two.tokens);
    assert_near(two.loss, one.loss, 1e-6);
    assert_near(two.best_chip, one.best_chip, 1e-5);
    s.recipe.noise = TRAIN_NOISE_CELL;
    must(train(&s, scratch_directory(), false, &two, &e), &e);
    s.recipe.mirror = false;
    must(train(&s, scratch_directory(), false, &one, &e), &e);
    assert_true(fabs(two.loss - one.loss) > 1e-6);
    setup_destroy(&s);
}

/* Cross entropy of the written model, plain, on the validation text. */
static double nats_of(const struct model *m, const struct data *d) {
    struct student *s;
    struct error e;
    struct student_options o = {.sequences = 1, .length = data_length(d)};
    const struct loss_rule rule = {1, 0};
    double sum = 0, *loss_of = mem_alloc(2 * data_length(d), sizeof *loss_of);
    must(student_create(m, NULL, NULL, &o, &s, &e), &e);
    for (uint64_t k = 0; k < data_count(d, DATA_VALIDATION); k++) {
        const int32_t *ids = data_sequence(d, DATA_VALIDATION, k);
        int32_t targets[32];
        struct loss loss;
        memcpy(targets, ids + 1, 31 * sizeof *targets);
        targets[31] = -1;
        must(student_forward(s, &(struct student_batch){.ids = ids, .sequences = 1, .length = 32},
                             STUDENT_PLAIN, &e), &e);
        distillation_loss(&rule, NULL, student_logits(s), targets, 32, model_shape(m)->vocabulary, 1, loss_of, &loss);
        sum += loss.cross_entropy;
    }
    mem_free(loss_of);
    student_destroy(s);
    return sum / (double)data_count(d, DATA_VALIDATION);
}

static void the_written_model_is_the_trained_one(void **state) {
    struct setup s;
    struct train_result r;
    struct error e;
    (void)state;
    const char *out = scratch_directory();
    setup_create(&s, NULL, "{" SMALL ", beta: 0}");
    must(train(&s, out, false, &r, &e), &e);
    struct model *m = open_model(out);
    assert_near(nats_of(m, s.data), r.best_digital, 1e-6);
    assert_true(fabs(nats_of(s.model, s.data) - r.best_digital) > 1e-3);
    model_close(m);
    setup_destroy(&s);
}

/* A matrix of a model for a chip is clipped, and brings its ranges. */
static void the_written_model_is_for_the_chip(void **state) {
    struct setup s;
    struct train_result r;
    struct error e;
    size_t count;
    (void)state;
    const char *out = scratch_directory();
    setup_create(&s, "afm", "{" SMALL ", weight_bits: 4, range_batches: 3}");
    must(train(&s, out, false, &r, &e), &e);
    struct model *m = open_model(out);
    const struct matrix_source *sources = model_matrices(m, &count);
    for (size_t i = 0; i < count; i++) {
        assert_true(sources[i].input_range_count > 0);
        for (uint32_t b = 0; b < sources[i].input_range_count; b++) {
            assert_true(sources[i].input_range[b] > 0 && sources[i].input_range[b] != 3);
        }
    }
    struct student *t;
    struct student_options o = {.sequences = 1, .length = 4};
    must(student_create(m, NULL, NULL, &o, &t, &e), &e);
    for (size_t i = 0; i < student_parameter_count(t); i++) {
        struct parameter p = student_parameter_at(t, i);
        if (p.group != PARAMETER_MATRIX) {
            continue;
        }
        float most = 0;
        for (size_t k = 0; k < p.columns; k++) {
            most = fmaxf(most, fabsf(p.data[k]));
        }
        for (size_t k = 0; k < p.columns; k++) { /* 4 bits: whole multiples of a seventh of the largest */
            float code = p.data[k] / most * 7;
            assert_near(code, rintf(code), 1e-4);
        }
    }
    student_destroy(t);
    model_close(m);
    setup_destroy(&s);
}

/* What a folder brought for a chip, and the chip's name, come through a training for that chip only: not without one,
 * and not with weights at random. All but these say what the model before was made with. */
static void only_training_for_the_chip_keeps_what_is_for_it(void **state) {
    static const struct { const char *chip, *more; bool side, ranges, before; } cases[] = {
        {"afm", "", true, true, true}, /* the model of the two below */
        {NULL, ", beta: 0", false, false, true},
        {"afm", ", from_scratch: on", false, true, false},
    };
    char made[PATH_ROOM] = "stories-adapted", out[PATH_ROOM];
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct setup s;
        struct train_result r;
        struct error e;
        char recipe[256];
        snprintf(out, sizeof out, "%s", scratch_directory());
        snprintf(recipe, sizeof recipe, "{steps: 1, batch: 1, lr: 1e-4, validation: 1%s}", cases[i].more);
        setup_create(&s, cases[i].chip, recipe);
        model_close(s.model);
        s.model = open_model(made);
        must(train(&s, out, false, &r, &e), &e);
        struct model *m = open_model(out);
        json_t *how = model_made_how(m), *all = weights_metadata(m->weights);
        for (size_t k = 0; k < m->matrix_count; k++) {
            assert_int_equal(m->sources[k].side != NULL, cases[i].side);
            assert_int_equal(m->sources[k].input_range != NULL, cases[i].ranges);
            assert_int_equal(m->sources[k].weight_scale != NULL, cases[i].side); /* of fit, like the side path */
        }
        if (cases[i].ranges) { /* a step moves a range by far less than this; new ones are others */
            float first = s.model->sources[0].input_range[0], now = m->sources[0].input_range[0];
            assert_int_equal(fabsf(now - first) < 0.05f * first, cases[i].side);
        }
        assert_int_equal(json_object_get(all, "mho.chip") != NULL, cases[i].chip != NULL);
        assert_int_equal(json_object_get(all, "mho.converters") != NULL, cases[i].chip != NULL);
        assert_int_equal(json_object_get(how, "before") != NULL, cases[i].before);
        if (i == 0) {
            memcpy(made, out, sizeof made);
        }
        json_decref(how);
        model_close(m);
        setup_destroy(&s);
    }
}

/* ---- what must not be ------------------------------------------------------------------------- */

static void expect(enum status s, const struct error *e, enum status wanted, const char *part) {
    if (s != wanted || !strstr(e->message, part)) {
        fail_msg("status %d: %s (expected %d with \"%s\")", s, e->message, wanted, part);
    }
}

static void a_diverging_run_stops(void **state) {
    struct setup s;
    struct train_result r;
    struct error e;
    (void)state;
    setup_create(&s, "afm", "{" SMALL ", patience: 3}");
    s.recipe.lr = 1e38;
    expect(train(&s, scratch_directory(), false, &r, &e), &e, ERR_RUN, "step 4: the run diverges: in 3 steps in a row");
    assert_int_equal(r.skipped, 3);
    setup_destroy(&s);
}

/* The largest rate that a recipe may have: losses stay finite, and are 20 times that of guessing. The model of an
 * earlier run and the checkpoint of the step before stay as they are. */
static void a_diverging_run_writes_nothing(void **state) {
    struct setup s;
    struct train_result r;
    struct error e;
    char out[PATH_ROOM], copy[PATH_ROOM];
    static const char *const names[] = {"model.safetensors", "checkpoint.bin"};
    (void)state;
    snprintf(out, sizeof out, "%s", scratch_directory());
    snprintf(copy, sizeof copy, "%s", scratch_directory());
    setup_create(&s, "afm", "{" SMALL ", patience: 3}");
    s.recipe.checkpoint_every = s.recipe.validate_every = 1;
    s.recipe.steps = 1;
    must(train(&s, out, false, &r, &e), &e);
    assert_int_equal(unlink(inside(out, "checkpoint.bin")), 0);
    copy_files(out, copy, names, 1);
    s.recipe.steps = 8;
    s.recipe.lr = 1;
    expect(train(&s, out, false, &r, &e), &e, ERR_RUN, "step 4: the run diverges: in 3 steps in a row");
    assert_int_equal(r.skipped, 0);
    assert_int_equal(r.best_step, 0);
    assert_same_file(out, copy, names[0]);
    copy_files(out, copy, names + 1, 1);
    expect(train(&s, out, true, &r, &e), &e, ERR_RUN, "step 4: the run diverges");
    assert_same_file(out, copy, names[1]);
    s.recipe.steps = 2;
    expect(train(&s, scratch_directory(), false, &r, &e), &e, ERR_RUN, "in 1 steps in a row"); /* the last one */
    setup_destroy(&s);
}

static void teachers_of_another_shape_are_refused(void **state) {
    struct setup s;
    struct train_result r;
    struct error e;
    (void)state;
    setup_create(&s, "afm", "{" SMALL "}");
    s.teacher = open_model(golden_path("models/llama-untied-tiny"));
    expect(train(&s, scratch_directory(), false, &r, &e), &e, ERR_USAGE, "vocabulary");
    setup_destroy(&s);
}

static void replace(char *text, const char *from, const char *to) {
    char *at = strstr(text, from);
    assert_non_null(at);
    memcpy(at, to, strlen(to));
}

/* The same model and vocabulary size, but two words have each other's number: refused. Without a tokenizer nothing is
 * known, and it is taken. */
static void teachers_of_another_tokenizer_are_refused(void **state) {
    static const char *const names[] = {"config.json", "model.safetensors"};
    struct setup s;
    struct train_result r;
    struct error e;
    char folder[PATH_ROOM], *text;
    size_t bytes;
    (void)state;
    setup_create(&s, "afm", "{steps: 1, batch: 1, validation: 1}");
    snprintf(folder, sizeof folder, "%s", scratch_directory());
    copy_files(model_shape(s.model)->path, folder, names, 2);
    s.teacher = open_model(folder);
    must(train(&s, scratch_directory(), false, &r, &e), &e);
    model_close(s.teacher);
    must(read_file(inside(model_shape(s.model)->path, "tokenizer.json"), 1 << 20, &text, &bytes, &e), &e);
    write_bytes(inside(folder, "tokenizer.json"), text, bytes);
    s.teacher = open_model(folder);
    must(train(&s, scratch_directory(), false, &r, &e), &e);
    model_close(s.teacher);
    replace(text, "\"!\": 2,", "\"!\": 4,");
    replace(text, "\"#\": 4,", "\"#\": 2,");
    write_bytes(inside(folder, "tokenizer.json"), text, bytes);
    s.teacher = open_model(folder);
    expect(train(&s, scratch_directory(), false, &r, &e), &e, ERR_USAGE, "the teacher's tokenizer is not that of");
    mem_free(text);
    setup_destroy(&s);
}

/* A model that is its own teacher, without a chip: refused. Whatever makes the two differ is not. */
static void training_that_learns_nothing_is_refused(void **state) {
    static const struct { const char *chip, *teacher, *more, *refused; } cases[] = {
        {NULL, NULL, "", "nothing is learned"},
        {NULL, "stories", "", "nothing is learned"}, /* the same weights, opened once more */
        {NULL, NULL, ", weight_bits: 4, beta: 0", "rounds no weights"},
        {NULL, NULL, ", beta: 0.9", NULL},
        {NULL, NULL, ", from_scratch: on, beta: 1", NULL},
        {NULL, "stories-adapted", "", NULL},
        {"afm", NULL, ", weight_bits: 4, noise: none", NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct setup s;
        struct train_result r;
        struct error e;
        char recipe[256];
        snprintf(recipe, sizeof recipe, "{steps: 1, batch: 1, lr: 1e-3, warmup: 0, validation: 1%s}", cases[i].more);
        setup_create(&s, cases[i].chip, recipe);
        s.teacher = cases[i].teacher ? open_model(cases[i].teacher) : NULL;
        enum status got = train(&s, scratch_directory(), false, &r, &e);
        if (cases[i].refused) {
            expect(got, &e, ERR_USAGE, cases[i].refused);
        } else {
            must(got, &e);
            assert_true(r.loss > 0);
        }
        setup_destroy(&s);
    }
}

static void chips_that_cannot_be_trained_for_are_refused(void **state) {
    struct setup s;
    struct train_result r;
    struct error e;
    (void)state;
    setup_create(&s, "isaac", "{" SMALL "}");
    expect(train(&s, scratch_directory(), false, &r, &e), &e, ERR_USAGE, "isaac");
    setup_destroy(&s);
}

static void damaged_checkpoints_are_refused(void **state) {
    struct setup s;
    struct train_result r;
    struct error e;
    char *bytes;
    size_t size;
    (void)state;
    char out[PATH_ROOM], path[PATH_ROOM + 32];
    snprintf(out, sizeof out, "%s", scratch_directory());
    snprintf(path, sizeof path, "%s/checkpoint.bin", out);
    setup_create(&s, "afm", "{" SMALL "}");
    must(train(&s, out, false, &r, &e), &e);
    expect(train(&s, out, false, &r, &e), &e, ERR_USAGE, "--resume");
    must(read_file(path, 1 << 27, &bytes, &size, &e), &e);
    const size_t places[] = {0, 9, 13, 17, 120, size / 2, size - 1};
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        bytes[places[i]] ^= 4;
        write_bytes(path, bytes, size);
        bytes[places[i]] ^= 4;
        expect(train(&s, out, true, &r, &e), &e, ERR_RUN, path);
    }
    const size_t lengths[] = {0, 1, 20, 50, size / 2, size - 1, size + 1};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        write_bytes(path, bytes, lengths[i]); /* there is a 0 behind the bytes */
        expect(train(&s, out, true, &r, &e), &e, ERR_RUN, path);
    }
    write_bytes(path, bytes, size);
    s.recipe.compute = COMPUTE_BF16;
    expect(train(&s, out, true, &r, &e), &e, ERR_USAGE, "another compute type than bf16");
    s.recipe.compute = COMPUTE_FP32;
    s.recipe.lr = 2e-3;
    expect(train(&s, out, true, &r, &e), &e, ERR_USAGE, "another recipe");
    s.recipe.lr = 1e-3;
    const char *library = gemm()->name;
    if (strcmp(library, "plain") == 0) {
        skip_because("no library for products but the reference");
    }
    assert_int_equal(gemm_select("plain"), 0);
    s.library_named = true;
    expect(train(&s, out, true, &r, &e), &e, ERR_USAGE, "another library for products (--gemm)");
    s.library_named = false;
    must(train(&s, out, true, &r, &e), &e); /* done already: nothing changes */
    assert_string_equal(gemm()->name, library);
    mem_free(bytes);
    setup_destroy(&s);
}

/* A file that may not grow, as on a full disk. */
static void a_full_disk_leaves_the_checkpoint(void **state) {
    static uint64_t numbers[1000];
    struct error e;
    const struct checkpoint_identity identity = {"thing", 7};
    struct checkpoint_block block = {numbers, sizeof numbers};
    const struct checkpoint c = {&identity, 1, &block, 1};
    (void)state;
    const char *path = inside(scratch_directory(), "checkpoint.bin");
    numbers[999] = 42;
    must(checkpoint_write(path, &c, &e), &e);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &(struct rlimit){4096, 4096});
        numbers[999] = 43;
        _exit(checkpoint_write(path, &c, &e) == ERR_RUN && strstr(e.message, path) ? 0 : 1);
    }
    int status;
    waitpid(child, &status, 0);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    numbers[999] = 0;
    must(checkpoint_read(path, &c, &e), &e);
    assert_int_equal(numbers[999], 42);
}

/* ---- runs that are killed ---------------------------------------------------------------------- */

/* A run of a small model that spends most of its time in writing checkpoints: one after every step. */
struct killed_run { char model[PATH_ROOM], data[PATH_ROOM], recipe[PATH_ROOM], out[PATH_ROOM]; };

enum { WORDS_MOST = 32, KILLS = 20, ROUNDS_MOST = 200, EVERY_WRITE = 4 };

/* argv [WORDS_MOST] of the run, which goes on where there is a checkpoint. */
static void words_of(const struct killed_run *r, const char **argv) {
    const char *const words[] = {"adapt", "train", "--model", r->model, "--chip", "afm", "--steps", "24", "--batch",
                                 "2", "--lr", "1e-3", "--checkpoint-every", "1", "--validate-every", "4", "--threads",
                                 "1", "--quiet", "--recipe", r->recipe, "--data", r->data, "--out", r->out, NULL, NULL};
    enum { COUNT = sizeof words / sizeof words[0] };
    memcpy(argv, words, sizeof words);
    argv[COUNT - 2] = file_exists(inside(r->out, "checkpoint.bin")) ? "--resume" : NULL;
}

static void must_run_mho(const char *const *argv) {
    char *err;
    int status = run_mho(argv, 60, NULL, &err);
    if (status != 0) {
        fail_msg("status %d: %s", status, err);
    }
    mem_free(err);
}

static double run_to_the_end(const struct killed_run *r) {
    const char *argv[WORDS_MOST];
    double start_s = now_s();
    words_of(r, argv);
    must_run_mho(argv);
    return now_s() - start_s;
}

static pid_t start_run(const struct killed_run *r) {
    const char *argv[WORDS_MOST + 1] = {mho_path()};
    words_of(r, argv + 1);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        freopen("/dev/null", "w", stdout);
        freopen("/dev/null", "w", stderr);
        execv(mho_path(), (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    return child;
}

/* The name of a checkpoint until it is whole (base/output.c). */
static bool is_writing(const struct killed_run *r, pid_t child) {
    char name[64];
    snprintf(name, sizeof name, "checkpoint.bin.tmp-%ld", (long)child);
    return file_exists(inside(r->out, name));
}

/* Kills after wait_s, or as soon as a checkpoint is being written. False: the run was done before. */
static bool kill_run(const struct killed_run *r, double wait_s, bool writing, pid_t *child) {
    int status;
    *child = start_run(r);
    double end_s = now_s() + (writing ? 1 : wait_s);
    while (now_s() < end_s && !(writing && is_writing(r, *child))) {
        usleep(100);
    }
    kill(*child, SIGKILL);
    waitpid(*child, &status, 0);
    assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
    return WIFSIGNALED(status);
}

static void prepare(struct killed_run *r, const char *recipe) {
    snprintf(r->recipe, PATH_ROOM, "%s", inside(scratch_directory(), "recipe.yaml"));
    write_text(r->recipe, recipe);
    snprintf(r->model, PATH_ROOM, "%s", golden_path("models/llama-untied-tiny"));
    snprintf(r->data, PATH_ROOM, "%s", inside(scratch_directory(), "tiny.mhodata"));
    const char *const words[] = {"adapt", "generate", "--model", r->model, "--ids", "1", "--tokens", "2048", "--length",
                                 "32", "--split", "0.1", "--quiet", "--out", r->data, NULL};
    must_run_mho(words);
}

/* Twenty kills at pseudo-random moments, the first at once, every fourth when a checkpoint is seen to be written; more
 * until one has met a write, one the time before the first checkpoint, and one the time after. A run that comes to its
 * end in between is compared, and another one begun. Up to 0.3 of the time of a whole run, since on a busy machine the
 * start alone can take 0.1 of it. */
static void check_kills(const char *recipe, size_t wanted) {
    struct killed_run whole, killed;
    size_t kills = 0, before = 0, writing = 0, after = 0;
    prepare(&whole, recipe);
    killed = whole;
    snprintf(whole.out, PATH_ROOM, "%s", scratch_directory());
    snprintf(killed.out, PATH_ROOM, "%s", scratch_directory());
    double whole_s = run_to_the_end(&whole);
    for (uint64_t round = 0; round < ROUNDS_MOST && (kills < wanted || !before || !writing || !after); round++) {
        double part = round ? 0.3 * random_uniform(1, random_stream(RANDOM_TEST, 41), round) : 0;
        pid_t child;
        if (!kill_run(&killed, part * whole_s, round % EVERY_WRITE == 3, &child)) {
            assert_same_run(whole.out, killed.out);
            snprintf(killed.out, PATH_ROOM, "%s", scratch_directory());
            continue;
        }
        bool met_write = is_writing(&killed, child), checkpoint = file_exists(inside(killed.out, "checkpoint.bin"));
        kills++;
        writing += met_write;
        before += !met_write && !checkpoint;
        after += !met_write && checkpoint;
    }
    assert_true(kills >= wanted && before && writing && after);
    run_to_the_end(&killed);
    assert_same_run(whole.out, killed.out);
}

static void killed_runs_go_on(void **state) {
    (void)state;
    check_kills("compute: fp32\n", KILLS);
}

static void killed_runs_in_bf16_go_on(void **state) {
    (void)state;
    check_kills("compute: bf16\n", 4);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(recipes),
    cmocka_unit_test(the_page_knows_every_key),
    cmocka_unit_test(schedules),
    cmocka_unit_test(adamw_by_hand),
    cmocka_unit_test(adamw_is_that_of_pytorch),
    cmocka_unit_test(muon_is_that_of_pytorch),
    cmocka_unit_test(muon_is_for_matrices),
    cmocka_unit_test(the_loss_falls),
    cmocka_unit_test(threads_change_nothing),
    cmocka_unit_test(accumulated_batches_are_one),
    cmocka_unit_test(mirrored_passes_count_half),
    cmocka_unit_test(the_written_model_is_the_trained_one),
    cmocka_unit_test(the_written_model_is_for_the_chip),
    cmocka_unit_test(only_training_for_the_chip_keeps_what_is_for_it),
    cmocka_unit_test(a_diverging_run_stops),
    cmocka_unit_test(a_diverging_run_writes_nothing),
    cmocka_unit_test(teachers_of_another_shape_are_refused),
    cmocka_unit_test(teachers_of_another_tokenizer_are_refused),
    cmocka_unit_test(training_that_learns_nothing_is_refused),
    cmocka_unit_test(chips_that_cannot_be_trained_for_are_refused),
    cmocka_unit_test(damaged_checkpoints_are_refused),
    cmocka_unit_test(a_full_disk_leaves_the_checkpoint),
    cmocka_unit_test(killed_runs_go_on),
    cmocka_unit_test(killed_runs_in_bf16_go_on),
};
const struct test_suite suite_train = {"train", tests, sizeof tests / sizeof tests[0]};
