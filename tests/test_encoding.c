/* Encodings: targets by hand, weights that come back, noise of parallel devices, contradictions. */
#include "base/threads.h"
#include "tests/chips.h"
#include "tests/machine_fixture.h"

/* ---- targets -------------------------------------------------------------------------------------------- */

static struct encoding_plan plan_of(const char *sets, struct chip **chip) {
    char text[512];
    const char *list[16];
    size_t count = 0;
    struct encoding_plan plan;
    struct error e = {0};
    snprintf(text, sizeof text, "%s", sets);
    for (char *save = NULL, *one = strtok_r(text, " ", &save); one; one = strtok_r(NULL, " ", &save)) {
        list[count++] = one;
    }
    *chip = load("ideal", list, count);
    if (encoding_plan(chip_spec_of(*chip), &plan, &e) != OK) {
        fail_msg("%s: %s", sets, e.message);
    }
    return plan;
}

/* Targets as shares of the window (g - 5 uS) / 20 uS, by hand; fp32 conductances: 1e-6. */
static void targets_by_hand(void **state) {
    (void)state;
    static const struct {
        const char *sets;
        float w;
        uint32_t slice, leg;
        double share;
    } cases[] = {
        {"tile.encoding=differential_pair", .25f, 0, 0, .25},
        {"tile.encoding=differential_pair", .25f, 0, 1, 0},
        {"tile.encoding=differential_pair", -.25f, 0, 0, 0},
        {"tile.encoding=differential_pair", -.25f, 0, 1, .25},
        {"tile.encoding=one_device", .5f, 0, 0, .75},
        {"tile.encoding=one_device", -1, 0, 0, 0},
        {"tile.encoding=unsigned", .3f, 0, 0, .3},
        /* significance 1 and 4, full scale 5: 0.4 of it is 2, which fills the first and takes 1/4 of the second */
        {"tile.slices=2 tile.significance=4", .4f, 0, 0, 1},
        {"tile.slices=2 tile.significance=4", .4f, 1, 0, .25},
        {"tile.slices=2 tile.significance=4", -.1f, 0, 1, .5},
        {"tile.slices=2 tile.significance=4", -.1f, 1, 1, 0},
        /* 0.7 of 63 = 44.1, 44 = 2 x 16 + 3 x 4 + 0 */
        {"tile.slices=3 tile.slice_bits=2", .7f, 0, 0, 0},
        {"tile.slices=3 tile.slice_bits=2", .7f, 1, 0, 1},
        {"tile.slices=3 tile.slice_bits=2", .7f, 2, 0, 2.0 / 3},
        /* offset binary of 4 bits: middle 8, reach 7; -0.5 is 8 - 4 (3.5, half to even) = 4 = 1 x 4 + 0 */
        {"tile.encoding=offset_column tile.slices=2 tile.slice_bits=2", -.5f, 0, 0, 0},
        {"tile.encoding=offset_column tile.slices=2 tile.slice_bits=2", -.5f, 1, 0, 1.0 / 3},
        {"tile.encoding=one_device tile.slices=1 tile.slice_bits=4", 1, 0, 0, 1},
        {"tile.encoding=one_device tile.slices=1 tile.slice_bits=4", -1, 0, 0, 1.0 / 15},
    };
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        char sets[256];
        struct chip *chip;
        snprintf(sets, sizeof sets, "tile.cell.g_min_uS=5 tile.cell.g_max_uS=25 %s", cases[k].sets);
        struct encoding_plan plan = plan_of(sets, &chip);
        float w = 3 * cases[k].w, target_S;
        encoding_targets(&plan, &w, 1, 3, cases[k].slice, cases[k].leg, &target_S);
        if (fabs((target_S - 5e-6) / 20e-6 - cases[k].share) > 1e-6) {
            fail_msg("%s: w %g slice %u leg %u: %g, expected %g", cases[k].sets, cases[k].w, cases[k].slice,
                     cases[k].leg, (target_S - 5e-6) / 20e-6, cases[k].share);
        }
        chip_destroy(chip);
    }
}

/* Targets of any weight lie in the window, w and -w mirror each other, and the lines give the weight back: exactly for
 * analog values, to half a step for whole numbers. */
static void targets_say_the_weight(void **state) {
    (void)state;
    static const struct {
        const char *sets;
        double half_step;
    } cases[] = {
        {"tile.encoding=differential_pair", 0},
        {"tile.encoding=differential_pair tile.legs=digital", 0},
        {"tile.encoding=one_device", 0},
        {"tile.encoding=one_device tile.slices=3 tile.significance=2", 0},
        {"tile.slices=4 tile.significance=8 tile.slice_sum=analog", 0},
        {"tile.slices=2 tile.slice_bits=4 tile.legs=digital", .5 / 255},
        {"tile.encoding=one_device tile.slices=2 tile.slice_bits=3", .5 / 31},
        {"tile.slices=8 tile.slice_bits=1 tile.slice_sum=analog", .5 / 255},
        {"tile.slices=3 tile.slice_bits=8", .5 / 16777215},
    };
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        char sets[256];
        struct chip *chip;
        snprintf(sets, sizeof sets, "tile.cell.g_min_uS=5 tile.cell.g_max_uS=25 %s", cases[k].sets);
        struct encoding_plan plan = plan_of(sets, &chip);
        for (int i = -50; i <= 50; i++) {
            float w = (float)i / 50, target_S;
            double lines[LINES_MOST] = {0}, said = -plan.offset;
            for (uint32_t s = 0; s < plan.slices; s++) {
                for (uint32_t leg = 0; leg < plan.legs; leg++) {
                    encoding_targets(&plan, &w, 1, 1, s, leg, &target_S);
                    assert_true(target_S >= 4.999999e-6f && target_S <= 25.000001e-6f);
                    lines[plan.line_of[s][leg]] += plan.part[s][leg] * (double)target_S / plan.span_S;
                }
            }
            for (uint32_t l = 0; l < plan.lines; l++) {
                said += plan.line_factor[l] * lines[l];
            }
            if (fabs(said - w) > 1.0001 * cases[k].half_step + 1e-6) { /* conductances are fp32 */
                fail_msg("%s: %g says %.9g", cases[k].sets, w, said);
            }
        }
        chip_destroy(chip);
    }
}

/* ---- machines ------------------------------------------------------------------------------------------------ */

/* Perfect devices above a pedestal of g_min, no other effect: the product comes back. fp32 sums of currents that are up
 * to twice as large as the weights and carry the pedestal: 2e-5 of the sum of |x| x largest |w|; whole numbers half a
 * step. */
static void products_come_back(void **state) {
    (void)state;
    static const struct {
        const char *sets;
        double half_step;
    } cases[] = {
        {"tile.encoding=differential_pair tile.legs=digital", 0},
        {"tile.encoding=one_device", 0},
        {"tile.encoding=offset_column", 0},
        {"tile.encoding=reference_column", 0},
        {"tile.encoding=unsigned", 0},
        {"tile.encoding=reference_column tile.slices=2 tile.slice_bits=4 tile.slice_sum=analog", .5 / 127},
        {"tile.encoding=offset_column tile.slices=3 tile.slice_bits=2 tile.devices=3", .5 / 31},
        {"tile.slices=4 tile.slice_bits=2 tile.devices=2", .5 / 255},
        {"tile.slices=2 tile.significance=4 tile.slice_sum=analog", 0},
        {"tile.slices=2 tile.significance=4 tile.scale=per_tile", 0},
        {"tile.devices=8", 0},
    };
    enum { O = 37, K = 90, T = 3 };
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        char sets[320];
        float *w = gaussians((size_t)O * K, 1), *x = gaussians((size_t)T * K, 2);
        for (size_t i = 0; strstr(cases[k].sets, "unsigned") && i < (size_t)O * K; i++) {
            w[i] = fabsf(w[i]);
        }
        snprintf(sets, sizeof sets, "tile.cell.g_min_uS=5 tile.cell.g_max_uS=25 tile.rows=40 tile.columns=24 %s",
                 cases[k].sets);
        struct fixture *f = fixture_open("ideal", sets, O, K, w, 0);
        double largest = kernels()->absmax_f32(w, (size_t)O * K);
        float *y = multiply(f, x, T);
        for (uint32_t t = 0; t < T; t++) {
            double inputs = 0;
            for (uint32_t i = 0; i < K; i++) {
                inputs += fabs(x[t * K + i]);
            }
            for (uint32_t o = 0; o < O; o++) {
                double sizes, exact = exact_product(f, x, t, o, &sizes);
                if (fabs(y[t * O + o] - exact) > (2e-5 + cases[k].half_step) * largest * inputs) {
                    fail_msg("%s: token %u output %u: %g, exact %g", cases[k].sets, t, o, (double)y[t * O + o], exact);
                }
            }
        }
        mem_free(y);
        mem_free(x);
        fixture_close(f);
    }
}

/* Standard deviation of the error of the weights, in units of the scale; programming noise alone. */
static double weight_error(const char *sets) {
    enum { N = 128 };
    float *w = mem_alloc(N * N, sizeof *w), *x = identity(N);
    for (uint32_t i = 0; i < N * N; i++) {
        w[i] = i % 2 ? .5f : 1; /* full scale in every column */
    }
    struct fixture *f = fixture_open("ideal", sets, N, N, w, 0);
    double sum = 0;
    for (uint32_t t = 0; t < N; t += 64) {
        float *y = multiply(f, x + (size_t)t * N, 64);
        for (uint32_t i = 0; i < 64 * N; i++) {
            double off = y[i] - w[(i % N) * N + t + i / N];
            sum += off * off;
        }
        mem_free(y);
    }
    mem_free(x);
    fixture_close(f);
    return sqrt(sum / (N * N));
}

/* The mean of n devices has 1/sqrt(n) of the spread; a constant sd per device, so that slices and offsets are counted
 * by hand, too. 16384 weights give the sd to 0.55 %; within 3 % (five of it). sd of a device: 2 % of g_max. */
static void noise_of_encodings(void **state) {
    (void)state;
    static const struct {
        const char *sets;
        double factor;
    } cases[] = {
        {"tile.encoding=differential_pair", 1.41421356},                                  /* two devices */
        {"tile.encoding=differential_pair tile.devices=4", .70710678},                    /* means of four */
        {"tile.encoding=unsigned", 1},
        {"tile.encoding=one_device", 2},                                                  /* half the window per unit */
        {"tile.encoding=reference_column", 2.82842712},                                   /* and the reference's own */
        {"tile.slices=2 tile.significance=3 tile.encoding=unsigned", .79056942},          /* sqrt(1 + 9) / 4 */
    };
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        char sets[400];
        snprintf(
            sets, sizeof sets,
            "tile.cell=generic tile.cell.on_off_ratio=5 tile.cell.programming_sd=0.02 effects.programming_noise=on %s",
            cases[k].sets);
        assert_near(weight_error(sets), .025 * cases[k].factor, .03 * .025 * cases[k].factor);
    }
}

/* Nothing depends on threads: everything at once, 1 and 3 threads. */
static void same_bytes_for_any_threads(void **state) {
    (void)state;
    static const char sets[] =
        "tile.rows=40 tile.columns=24 tile.encoding=offset_column tile.slices=2 tile.slice_bits=3 tile.devices=2 "
        "tile.faults.stuck_random=0.01 tile.faults.dead_rows=0.05 tile.faults.spare_rows=2 tile.wires.row_ohm=1 "
        "tile.wires.column_ohm=1 tile.wires.input_ohm=1 tile.wires.output_ohm=1 tile.wires.column_fF=1 "
        "tile.compensation=global";
    struct fixture *f[2];
    int before = threads_count();
    for (int i = 0; i < 2; i++) {
        threads_set(i ? 3 : 1);
        f[i] = fixture_open("pcm256", sets, 90, 170, NULL, 3600);
    }
    const struct array *a = f[0]->machine->arrays[0], *b = f[1]->machine->arrays[0];
    size_t weights = (size_t)a->lines * a->row_stride * a->columns, columns = (size_t)a->row_blocks * a->columns;
    assert_int_equal(a->lines, 2);
    assert_memory_equal(a->weights, b->weights, weights * sizeof(float));
    assert_memory_equal(a->compensation, b->compensation, columns * sizeof(float));
    assert_memory_equal(a->row_S, b->row_S, a->inputs * sizeof(float));
    assert_memory_equal(a->shared, b->shared, (size_t)a->column_blocks * 2 * a->inputs * sizeof(float));
    struct machine_faults x = machine_faults(f[0]->machine), y = machine_faults(f[1]->machine);
    assert_memory_equal(&x, &y, sizeof x);
    assert_true(machine_wires(f[0]->machine).mean_loss == machine_wires(f[1]->machine).mean_loss);
    threads_set(before);
    fixture_close(f[0]);
    fixture_close(f[1]);
}

/* ---- bad input -------------------------------------------------------------------------------------------------- */

static void contradictions_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *chip, *sets[4], *message;
    } cases[] = {
        {"ideal",
         {"tile.encoding=one_device", "tile.legs=digital"},
         "tile.legs: digital needs two legs (allowed: analog, or tile.encoding=differential_pair)"},
        {"ideal", {"tile.encoding=offset_column", "tile.legs=digital"}, "tile.legs: digital needs two legs"},
        {"ideal", {"tile.encoding=unsigned", "tile.legs=digital"}, "tile.legs: digital needs two legs"},
        {"afm",
         {"tile.encoding=offset_column"},
         "tile.encoding: cell model pcm_afm describes a signed pair as a whole "
         "(allowed: signed_unit)"},
        {"afm", {"tile.slices=2"}, "tile.slices: 2 slices of a cell that is a signed pair as a whole (allowed: 1)"},
        {"ideal",
         {"tile.encoding=signed_unit"},
         "tile.encoding: signed_unit needs a cell with the statistics of a whole pair"},
        {"ideal",
         {"tile.slices=2", "tile.slice_bits=2", "tile.significance=4"},
         "tile.significance: slices of 2 bits have "
         "significance 2^bits already"},
        {"ideal", {"tile.significance=4"}, "tile.significance: 4 with one slice (allowed: 1, or more slices)"},
        {"ideal",
         {"tile.slices=4", "tile.slice_bits=8"},
         "tile.slice_bits: 4 slices of 8 bits (allowed: 24 bits of a weight "
         "in all)"},
        {"ideal",
         {"tile.cell=generic", "tile.cell.levels=9", "tile.slices=2", "tile.slice_bits=4"},
         "tile.slice_bits: 4 bits need 16 levels, cell model generic has 9 (allowed: at most 3)"},
        {"ideal",
         {"tile.cell=generic", "tile.cell.levels=4", "tile.slices=2", "tile.significance=5"},
         "tile.significance: a level of a slice 5 times as significant is more than the whole slice below: weights "
         "between "
         "cannot be represented (allowed: at most 3 with the 4 levels of the cell)"},
        {"ideal",
         {"tile.encoding=one_device", "tile.slice_bits=1"},
         "tile.encoding: two levels cannot hold a negative, a zero "
         "and a positive weight"},
    };
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        size_t count = 0;
        struct chip *c = NULL;
        struct error e = {0};
        while (count < 4 && cases[k].sets[count]) {
            count++;
        }
        enum status s = chip_load(cases[k].chip, cases[k].sets, count, &c, &e);
        chip_destroy(c);
        if (s != ERR_USAGE || !strstr(e.message, cases[k].message)) {
            fail_msg("%s: status %d: %s", cases[k].message, s, s == OK ? "accepted" : e.message);
        }
    }
}

static void negative_weights_are_named(void **state) {
    (void)state;
    float *w = mem_alloc(6, sizeof *w);
    w[4] = -.5f;
    struct fixture *f = NULL;
    struct error e = {0};
    assert_int_equal(fixture_try("ideal", "tile.encoding=unsigned", 2, 3, w, 0, NULL, 0, &f, &e), ERR_RUN);
    assert_string_equal(e.message, "matrix layers.3.q: weight of output 1, input 1 is -0.5 (allowed: not negative with "
                                   "tile.encoding unsigned)");
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(targets_by_hand),
    cmocka_unit_test(targets_say_the_weight),
    cmocka_unit_test(products_come_back),
    cmocka_unit_test(noise_of_encodings),
    cmocka_unit_test(same_bytes_for_any_threads),
    cmocka_unit_test(contradictions_are_refused),
    cmocka_unit_test(negative_weights_are_named),
};
const struct test_suite suite_encoding = {"encoding", tests, sizeof tests / sizeof tests[0]};
