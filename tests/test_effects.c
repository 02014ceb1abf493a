/* Every effect alone: switched off it leaves no trace, switched on it changes what it should and nothing else.
 *
 * A multiply on a small chip is looked at in every stage: conductances, weights, codes, driven levels, currents,
 * results, outputs, counts, energy, time, area, the report of programming. The table `rows` says for every effect which
 * keys make it act and which stages it must change; all others must keep every bit. Every effect of the chip's own list
 * must have a row: a new one fails until it has.
 */
#include "tests/machine_fixture.h"

enum { INPUTS = 20, OUTPUTS = 12, TOKENS = 6, MOST = 4096 };
#define AGE_S 100000.0

enum stage {
    CONDUCTANCES, /* of every crossing, faults and ageing included, before wires */
    EFFECTIVE,    /* the same behind wires */
    WEIGHTS,      /* what the multiply works with */
    WHITE,        /* their variance from read to read */
    CODES,        /* of the inputs */
    LEVELS,       /* driven */
    CURRENTS,
    RESULTS,      /* converted */
    OUTPUT,       /* of the fast multiply */
    CLIPPED,      /* inputs beyond their range */
    SATURATED,    /* results beyond theirs */
    ARRAY_J,
    OTHER_J,      /* every other part of the ledger */
    COUNTS,       /* conversions, operations, bits */
    TIME,
    AREA,         /* and tiles */
    PROGRAMMING,  /* pulses, time, energy, error */
    FAULTS,       /* of the report */
    FOLDING,
    STAGES
};
static const char *const stage_names[STAGES] = {
    "conductances", "effective", "weights",  "white noise", "input codes",  "levels", "currents",
    "results",      "output",    "clipped",  "saturated",   "array energy", "energy", "counts",
    "time",         "area",      "programming", "faults",   "folding"};
#define BIT(stage) (1u << (stage))

/* An analog error: whatever stands behind the array follows. */
#define BEHIND (BIT(CURRENTS) | BIT(RESULTS) | BIT(OUTPUT))
#define CELLS (BIT(CONDUCTANCES) | BIT(EFFECTIVE) | BIT(WEIGHTS) | BIT(ARRAY_J) | BEHIND)
#define CONVERTED (BIT(RESULTS) | BIT(OUTPUT))
#define DRIVEN (BIT(LEVELS) | BIT(ARRAY_J) | BEHIND)

#define VOLTAGES_ONLY (1u << STAGES) /* nothing where codes are the lengths of pulses */

/* A cell without any error of its own, and one with many. */
#define IDEAL "tile.cell=ideal "
#define GENERIC                                                                                                        \
    "tile.cell=generic tile.cell.temperature.reference_K=300 tile.cell.temperature.activation_energy_eV=0.1 "          \
    "tile.cell.temperature.conductance_low_per_K=0.002 tile.cell.temperature.conductance_high_per_K=0.001 "            \
    "tile.cell.temperature.valid_from_K=250 tile.cell.temperature.valid_to_K=400 "
#define PCM_LIKE "tile.cell=pcm_like "

/* keys: what makes the effect act on such a cell (that of dac_errors is the circuit that drives, below). The first row
 * of an effect is the one that acts among all the others; none: what stands in its place on a chip that has nothing of
 * it, so that the effect may be on. NULL: there is no chip without; converters have bits. */
static const struct row {
    const char *effect, *cell, *keys, *none;
    unsigned changes;
} rows[] = {
    {"programming_noise", GENERIC, "", "tile.cell.programming_sd=0", CELLS | BIT(PROGRAMMING)},
    {"programming_noise", PCM_LIKE, "", NULL, CELLS | BIT(PROGRAMMING)},
    {"drift", GENERIC, "", "tile.cell.drift_mean=0 tile.cell.drift_sd=0", CELLS},
    {"drift", PCM_LIKE, "", NULL, CELLS},
    {"drift", IDEAL, "tile.cell.disturb.per_read=0.01 tile.cell.disturb.towards=g_min tile.reads=20", NULL, CELLS},
    {"drift", IDEAL,
     "tile.cell.retention.time_s=1e6 tile.cell.retention.stretch=0.7 tile.cell.retention.time_log_sd=1 "
     "tile.cell.retention.activation_energy_eV=1",
     NULL, CELLS},
    {"read_noise", GENERIC, "tile.cell.white_noise.relative=0.02 tile.cell.white_noise.absolute_uS=0.1",
     "tile.cell.read_sd=0", CELLS | BIT(WHITE)},
    {"read_noise", IDEAL,
     "tile.cell.telegraph.share=0.3 tile.cell.telegraph.amplitude=0.1 tile.cell.telegraph.time_s=50", NULL, CELLS},
    {"read_noise", IDEAL, "tile.phenomena.weight_noise=0.05 tile.phenomena.weight_noise_type=pcm_read", NULL,
     CONVERTED},
    {"faults", IDEAL, "tile.faults.stuck_random=0.1 tile.faults.dead_columns=0.1", "",
     CELLS | BIT(FAULTS)},
    {"wires", IDEAL,
     "tile.wires.row_ohm=20 tile.wires.column_ohm=20 tile.wires.input_ohm=100 tile.wires.output_ohm=100 "
     "tile.wires.column_fF=1 tile.wires.exact_nonlinear=on",
     "", BIT(EFFECTIVE) | BIT(WEIGHTS) | BIT(ARRAY_J) | BEHIND | BIT(FOLDING)},
    {"wires", IDEAL, "tile.phenomena.ir_drop=1 tile.phenomena.ir_drop_g_ratio=1000", NULL, CONVERTED},
    {"cell_nonlinearity", IDEAL,
     "tile.cell.current.form=sinh tile.cell.current.reference_V=0.2 tile.cell.current.strength=1", "",
     BEHIND | BIT(ARRAY_J) | VOLTAGES_ONLY},
    {"temperature", GENERIC, "tile.temperature_K=350", "", CELLS},
    {"dac", IDEAL, "", NULL, BIT(CODES) | BIT(CLIPPED) | DRIVEN},
    {"dac_errors", IDEAL, "", "", DRIVEN},
    {"dac_errors", IDEAL, "tile.phenomena.input_noise=0.05 tile.phenomena.input_asymmetry=0.1", NULL, DRIVEN},
    {"adc", IDEAL, "", NULL, CONVERTED | BIT(SATURATED)},
    {"adc_errors", IDEAL,
     "tile.adc.circuit.model=ramp tile.adc.circuit.gain_spread=0.05 tile.adc.circuit.offset_LSB=2 "
     "tile.adc.circuit.noise_LSB=0.4",
     "", CONVERTED},
    {"adc_errors", IDEAL,
     "tile.phenomena.output_noise=0.05 tile.phenomena.nonlinearity=0.1 tile.phenomena.voltage_offset_spread=0.1", NULL,
     CONVERTED},
};
enum { ROWS = sizeof rows / sizeof rows[0] };

/* ---- what a multiply shows ------------------------------------------------------------------------------------ */

struct observation {
    double values[STAGES][MOST];
    size_t count[STAGES];
    bool codes; /* weights are integers */
};

static void note(struct observation *o, enum stage stage, double value) {
    assert_in_range(o->count[stage], 0, MOST - 1);
    o->values[stage][o->count[stage]++] = value;
}

static void note_stage(void *context, const char *name, uint32_t token, uint32_t row_block, uint32_t index,
                       const double *values, size_t n) {
    static const struct {
        const char *name;
        enum stage stage;
    } known[] = {{"input_codes", CODES}, {"pass", LEVELS}, {"column_current_uA", CURRENTS}, {"adc_codes", RESULTS}};
    (void)token, (void)row_block, (void)index;
    for (size_t k = 0; k < sizeof known / sizeof known[0]; k++) {
        for (size_t i = 0; strcmp(name, known[k].name) == 0 && i < n; i++) {
            note(context, known[k].stage, values[i]);
        }
    }
}

static void observe_tiles(const struct machine *m, struct observation *o) {
    const struct array *a = m->arrays[0];
    struct error e = {0};
    for (uint32_t b = 0; b < a->row_blocks; b++) {
        for (uint32_t c = 0; c < a->column_blocks; c++) {
            struct tile_conductances t;
            assert_int_equal(machine_tile_conductances(m, 0, b, c, &t, &e), OK);
            for (size_t i = 0; i < (size_t)t.rows * t.physical_columns; i++) {
                note(o, CONDUCTANCES, (double)t.crossing_S[i]);
                note(o, EFFECTIVE, (double)t.effective_S[i]);
            }
            mem_free(t.crossing_S);
            mem_free(t.effective_S);
        }
    }
    size_t weights = (size_t)a->lines * a->panels * a->row_stride * PANEL;
    for (size_t i = 0; i < weights; i++) {
        if (a->codes) {
            note(o, WEIGHTS, a->codes[i]);
        } else {
            note(o, WEIGHTS, (double)a->weights[i]);
        }
    }
    o->codes = a->codes != NULL;
    for (size_t i = 0; i < (size_t)a->row_blocks * a->lines * a->columns; i++) {
        note(o, WEIGHTS, (double)a->code_scale[i]);
    }
    size_t bytes = array_variance_stride(a) * a->columns * a->lines;
    for (size_t i = 0; a->variances && i < bytes; i++) {
        note(o, WHITE, a->variances[i]);
    }
    for (size_t i = 0; a->variances && i < (size_t)a->row_blocks * a->lines * a->columns * 3; i++) {
        note(o, WHITE, (double)a->spread_factors[i]);
    }
    for (size_t i = 0; a->noise && i < (size_t)a->row_blocks * a->lines * a->columns * 3; i++) {
        note(o, WHITE, (double)a->noise[i]);
    }
    size_t strips = array_strip_count(a) * a->lines, strip_bytes = (size_t)a->row_stride * NOISE_STRIP;
    for (size_t i = 0; a->strips && i < strips * strip_bytes; i++) {
        note(o, WHITE, a->strips[i]);
    }
    for (size_t i = 0; a->drawn_factors && i < strips * a->row_blocks * 2 * NOISE_STRIP; i++) {
        note(o, WHITE, (double)a->drawn_factors[i]);
    }
}

static void observe_report(const struct fixture *f, struct observation *o) {
    struct machine_programming p = machine_programming(f->machine);
    const double programming[] = {(double)p.devices, (double)p.pulses, (double)p.verify_reads,   (double)p.failed,
                                  p.seconds,         p.joules,         p.endurance_used,         (double)p.programmings,
                                  p.error.all.mean,  p.error.all.sd,   (double)p.error.all.count};
    for (size_t i = 0; i < sizeof programming / sizeof programming[0]; i++) {
        note(o, PROGRAMMING, programming[i]);
    }
    struct machine_faults faults = machine_faults(f->machine);
    const uint64_t lines[] = {faults.stuck,         faults.dead_rows,  faults.dead_columns,
                              faults.repaired_rows, faults.stuck_left, faults.dead_columns_left};
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        note(o, FAULTS, (double)lines[i]);
    }
    struct machine_wires wires = machine_wires(f->machine);
    note(o, FOLDING, (double)wires.tiles);
    note(o, FOLDING, wires.mean_loss);
    struct area_view area = placement_area(f->chip, f->placement);
    for (int part = 0; part < PART_COUNT; part++) {
        note(o, AREA, area.part_mm2[part]);
    }
    note(o, AREA, (double)placement_total(f->placement).tiles);
}

static void observe_run(struct fixture *f, const float *x, struct observation *o) {
    struct run *r = NULL;
    struct error e = {0};
    float y[TOKENS * OUTPUTS];
    assert_int_equal(run_create(f->machine, TOKENS, &r, &e), OK);
    run_begin_step(r, TOKENS);
    if (run_multiply(r, 0, x, TOKENS, y, &e) != OK) {
        fail_msg("%s", e.message);
    }
    note(o, TIME, run_end_step(r));
    for (int i = 0; i < TOKENS * OUTPUTS; i++) {
        note(o, OUTPUT, (double)y[i]);
    }
    struct ledger_view v = run_ledger(r);
    for (int part = 0; part < PART_COUNT; part++) {
        note(o, part == PART_ARRAY ? ARRAY_J : OTHER_J, v.energy_J[part]);
        note(o, COUNTS, (double)v.count[part]);
    }
    note(o, COUNTS, (double)v.mvm);
    note(o, COUNTS, (double)v.macs);
    note(o, COUNTS, (double)v.converted_adc);
    note(o, COUNTS, (double)v.converted_dac);
    note(o, CLIPPED, (double)v.clipped_dac);
    note(o, SATURATED, (double)v.saturated_adc);
    run_destroy(r);
}

/* One multiply of Gaussian weights and inputs on such a chip, with the seed of the fixture. */
static struct observation *observe(const char *sets) {
    struct observation *o = mem_alloc(1, sizeof *o);
    float *x = gaussians(TOKENS * INPUTS, 2);
    struct fixture *f = fixture_open("pcm256", sets, OUTPUTS, INPUTS, NULL, AGE_S);
    struct error e = {0};
    double y[TOKENS * OUTPUTS];
    const struct stage_visitor visitor = {note_stage, o};
    calibrate(f, x, TOKENS);
    observe_tiles(f->machine, o);
    observe_report(f, o);
    observe_run(f, x, o);
    if (machine_trace(f->machine, 0, x, TOKENS, 0, &visitor, y, &e) != OK) {
        fail_msg("%s: %s", sets, e.message);
    }
    fixture_close(f);
    mem_free(x);
    return o;
}

/* Stages whose bytes differ. Weights only where both are integers or both are not: the layout of the multiply follows
 * from what it has to do, and the conductances behind them are compared anyway. */
static unsigned differences(const struct observation *a, const struct observation *b) {
    unsigned all = 0;
    for (int s = 0; s < STAGES; s++) {
        bool same = a->count[s] == b->count[s] && memcmp(a->values[s], b->values[s], a->count[s] * sizeof(double)) == 0;
        all |= same || (s == WEIGHTS && a->codes != b->codes) ? 0 : BIT(s);
    }
    return all;
}

/* Names of a set of stages, in one of two buffers in turn. */
static const char *names_of(unsigned stages) {
    static char text[2][512];
    static int turn;
    char *out = text[turn = 1 - turn];
    out[0] = 0;
    for (int s = 0; s < STAGES; s++) {
        if (stages & BIT(s)) {
            snprintf(out + strlen(out), 512 - strlen(out), "%s%s", out[0] ? ", " : "", stage_names[s]);
        }
    }
    return out[0] ? out : "nothing";
}

static void expect_changes(const char *what, const char *before, const char *after, unsigned must, unsigned may) {
    struct observation *a = observe(before), *b = observe(after);
    unsigned differ = differences(a, b);
    mem_free(a);
    mem_free(b);
    if ((differ & ~may) != must) {
        fail_msg("%s: %s changed, expected %s", what, names_of(differ), names_of(must));
    }
}

/* ---- the tests ------------------------------------------------------------------------------------------------ */

/* 16 x 8 tiles with a spare row, two by two of them, with fixed ranges that some inputs and results exceed. */
#define BASE                                                                                                           \
    "tile.rows=16 tile.columns=8 tile.compensation=none tile.dac.range=static tile.dac.range_value=1.5 "               \
    "tile.adc.range=static tile.adc.full_scale=1.5 tile.faults.spare_rows=1 "

/* Voltages in two phases: the current of a cell matters. Pulses: the simple multiply where nothing asks for more. */
static const struct drive {
    const char *name, *coding, *errors;
} drives[] = {
    {"voltages", "tile.dac.coding=amplitude tile.dac.sign=two_phase ",
     "tile.dac.circuit.model=r_2r tile.dac.circuit.mismatch=0.02 tile.dac.circuit.noise_LSB=0.3 "},
    {"pulses", "", "tile.dac.circuit.model=pulse_width tile.dac.circuit.jitter_LSB=0.3 "},
};
enum { DRIVES = 2, SETS = 4000 };

static const struct row *first_row(const char *effect) {
    for (int k = 0; k < ROWS; k++) {
        if (strcmp(rows[k].effect, effect) == 0) {
            return &rows[k];
        }
    }
    fail_msg("effect %s has no row in this test", effect);
    return NULL;
}

/* And no row is of an effect that there is not. */
static void every_effect_has_a_row(void **state) {
    (void)state;
    for (size_t i = 0; i < chip_effect_count(); i++) {
        first_row(chip_effect_name(i));
    }
    for (int k = 0; k < ROWS; k++) {
        bool known = false;
        for (size_t i = 0; i < chip_effect_count(); i++) {
            known = known || strcmp(chip_effect_name(i), rows[k].effect) == 0;
        }
        assert_true(known);
    }
}

#define APPEND(out, ...) snprintf((out) + strlen(out), SETS - strlen(out), __VA_ARGS__)

/* The chip of a row with these effects on; converters: dac and adc beside them. */
static void sets_of(char *out, const struct row *r, const struct drive *d, bool itself, bool converters) {
    static const char *const both[] = {"dac", "adc"};
    snprintf(out, SETS, BASE "%s%s%s%s effects=off", d->coding, d->errors, r->cell, r->keys);
    for (int i = 0; i < 2 && converters; i++) {
        if (strcmp(r->effect, both[i]) != 0) {
            APPEND(out, " effects.%s=on", both[i]);
        }
    }
    if (itself) {
        APPEND(out, " effects.%s=on", r->effect);
    }
}

/* Alone, and beside the quantisation and the ranges of both converters. */
static void an_effect_changes_what_it_should(void **state) {
    (void)state;
    for (int k = 0; k < 2 * DRIVES * ROWS; k++) {
        const struct row *r = &rows[k / (2 * DRIVES)];
        const struct drive *d = &drives[k / 2 % DRIVES];
        bool beside = k % 2, converted = beside || strcmp(r->effect, "adc") == 0;
        char before[SETS], after[SETS], what[SETS];
        sets_of(before, r, d, false, beside);
        sets_of(after, r, d, true, beside);
        snprintf(what, sizeof what, "%s (%s%s), %s, %s", r->effect, r->cell, r->keys, d->name,
                 beside ? "beside converters" : "alone");
        unsigned must = r->changes & VOLTAGES_ONLY && d != drives ? 0 : r->changes & ~VOLTAGES_ONLY;
        must &= converted ? ~0u : ~BIT(RESULTS); /* no codes */
        unsigned may = beside && must & BIT(RESULTS) ? BIT(SATURATED) & ~must : 0;
        expect_changes(what, before, after, must, may);
    }
}

/* Every key of the row, its effect off: the bytes of a chip that has none of them. What programming takes is said by
 * the part of the cell. */
static void switched_off_leaves_no_trace(void **state) {
    (void)state;
    char absent[SETS], off[SETS], what[SETS];
    for (int k = 0; k < DRIVES * ROWS; k++) {
        const struct row *r = &rows[k / DRIVES];
        const struct drive *d = &drives[k % DRIVES];
        snprintf(absent, SETS, BASE IDEAL "%s effects=off", d->coding);
        sets_of(off, r, d, false, false);
        snprintf(what, sizeof what, "%s off (%s%s), %s", r->effect, r->cell, r->keys, d->name);
        expect_changes(what, absent, off, 0, strcmp(r->cell, IDEAL) == 0 ? 0 : BIT(PROGRAMMING));
    }
}

/* The keys of every effect at once; of `without` they are there (and it is off), or not (and it is on). */
static void all_but(char *out, const struct drive *d, const struct row *without, bool present) {
    snprintf(out, SETS, BASE GENERIC "%s", d->coding);
    APPEND(out, "%s", present || strcmp(without->effect, "dac_errors") != 0 ? d->errors : "");
    for (size_t i = 0; i < chip_effect_count(); i++) {
        const struct row *r = first_row(chip_effect_name(i));
        APPEND(out, "%s ", present || r != without ? r->keys : r->none);
    }
    APPEND(out, "effects=on effects.%s=%s", without->effect, present ? "off" : "on");
}

/* All other effects on: off is what on would be on a chip without its keys. */
static void switched_off_among_all_others(void **state) {
    (void)state;
    char absent[SETS], off[SETS], what[SETS];
    for (size_t k = 0; k < DRIVES * chip_effect_count(); k++) {
        const struct row *r = first_row(chip_effect_name(k / DRIVES));
        const struct drive *d = &drives[k % DRIVES];
        if (r->none) {
            all_but(absent, d, r, false);
            all_but(off, d, r, true);
            snprintf(what, sizeof what, "%s off, all others on, %s", r->effect, d->name);
            expect_changes(what, absent, off, 0, 0);
        }
    }
}

/* Bits of converters that do not quantise: of the ADC they leave no trace. Those of the DAC are the unit of what is
 * driven: products are rounded in other places. 20 of them in fp32, each operation within 6e-8 of sum |w x|, which is
 * below 40 here. */
static void bits_without_codes_are_a_unit(void **state) {
    (void)state;
    expect_changes("bits of the ADC", BASE IDEAL "effects=off tile.adc.bits=4",
                   BASE IDEAL "effects=off tile.adc.bits=14", 0, 0);
    struct observation *a = observe(BASE IDEAL "effects=off tile.dac.bits=3"),
                       *b = observe(BASE IDEAL "effects=off tile.dac.bits=12");
    assert_int_equal(differences(a, b) & ~(BIT(CODES) | BIT(LEVELS) | BEHIND | BIT(ARRAY_J)), 0);
    for (int i = 0; i < TOKENS * OUTPUTS; i++) {
        assert_near(a->values[OUTPUT][i], b->values[OUTPUT][i], 22 * 6e-8 * 40);
    }
    mem_free(a);
    mem_free(b);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(every_effect_has_a_row),
    cmocka_unit_test(an_effect_changes_what_it_should),
    cmocka_unit_test(switched_off_leaves_no_trace),
    cmocka_unit_test(switched_off_among_all_others),
    cmocka_unit_test(bits_without_codes_are_a_unit),
};
const struct test_suite suite_effects = {"effects", tests, sizeof tests / sizeof tests[0]};
