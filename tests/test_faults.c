/* Faults and their repair: at the level of one tile, of a machine, and what a map may say. */
#include "tests/machine_fixture.h"

enum { N = 24 }; /* one tile of 24 x 24 weights: 24 rows, 48 columns of devices */

static const char *write_map(const char *name, const char *text) {
    static char path[512];
    snprintf(path, sizeof path, "%s/%s", scratch_directory(), name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs("tile,row,column,state\n", f);
    fputs(text, f);
    fclose(f);
    return path;
}

static struct fixture *open_faulty(const char *sets) {
    char all[900];
    snprintf(all, sizeof all, "tile.rows=24 tile.columns=24 effects.faults=on %s", sets);
    float *w = mem_alloc(N * N, sizeof *w);
    for (uint32_t i = 0; i < N * N; i++) {
        w[i] = i % 25 ? uniform(5, i) - .5f : 1; /* the diagonal is full scale */
    }
    return fixture_open("ideal", all, N, N, w, 0);
}

static uint32_t differing(const struct fixture *a, const struct fixture *b) {
    uint32_t count = 0;
    for (uint32_t k = 0; k < N * N; k++) {
        count += weight_at(a, k / N, k % N) != weight_at(b, k / N, k % N);
    }
    return count;
}

/* ---- what they do ------------------------------------------------------------------------------------------ */

/* Columns 10 and 11 hold plus and minus of output 5. Perfect devices: exact to fp32. */
static void a_map_acts_where_it_says(void **state) {
    (void)state;
    char sets[600];
    snprintf(sets, sizeof sets, "tile.faults.map=%s",
             write_map("acts.csv", "0,3,10,g_max\n0,7,11,g_max\n0,9,,dead\n0,,31,dead\n0,2,10,dead\n0,,12,g_min\n"));
    struct fixture *plain = open_faulty(""), *f = open_faulty(sets);
    for (uint32_t o = 0; o < N; o++) {
        for (uint32_t i = 0; i < N; i++) {
            double w = weight_at(plain, o, i), expected = w;
            expected = o == 5 && i == 3 ? 1 - fmax(-w, 0) : expected;  /* plus stuck at full scale */
            expected = o == 5 && i == 7 ? fmax(w, 0) - 1 : expected;   /* minus */
            expected = o == 5 && i == 2 ? fmin(w, 0) : expected;       /* plus conducts nothing */
            expected = o == 15 ? fmax(w, 0) : expected;                /* minus column dead */
            expected = o == 6 ? fmin(w, 0) : expected;                 /* plus column at g_min = 0 */
            expected = i == 9 ? 0 : expected;
            assert_near(weight_at(f, o, i), expected, 1e-6);
        }
    }
    struct machine_faults count = machine_faults(f->machine);
    assert_int_equal(count.stuck, 3 + N);
    assert_int_equal(count.stuck_left, 3 + N);
    assert_int_equal(count.dead_rows, 1);
    assert_int_equal(count.dead_columns, 1);
    fixture_close(plain);
    fixture_close(f);
}

/* All stuck at g_max: pairs say 0. Off: bit-identical to a chip that has no faults. */
static void all_stuck_and_switched_off(void **state) {
    (void)state;
    struct fixture *plain = open_faulty(""), *all = open_faulty("tile.faults.stuck_g_max=1"),
                   *off = open_faulty("tile.faults.stuck_g_max=1 effects.faults=off");
    for (uint32_t k = 0; k < N * N; k++) {
        assert_true(weight_at(all, k / N, k % N) == 0);
    }
    assert_int_equal(differing(plain, off), 0);
    assert_int_equal(machine_faults(off->machine).stuck, 0);
    assert_int_equal(machine_faults(all->machine).stuck, 2 * N * N);
    fixture_close(plain);
    fixture_close(all);
    fixture_close(off);
}

/* 200 x 150 weights, 60000 devices, 350 rows and 600 columns of tiles: binomial, within 4 standard deviations. Half of
 * the random ones are above the middle. */
static void counts_follow_the_probabilities(void **state) {
    (void)state;
    struct fixture *f =
        fixture_open("ideal",
                     "effects.faults=on tile.rows=100 tile.columns=50 tile.faults.stuck_g_min=0.004 "
                     "tile.faults.stuck_g_max=0.006 tile.faults.stuck_random=0.01 tile.faults.dead_rows=0.05 "
                     "tile.faults.dead_columns=0.03",
                     200, 150, NULL, 0);
    struct machine_faults c = machine_faults(f->machine);
    double devices = 60000, rows = 150 * 4, columns = 400 * 2; /* 2 x 4 tiles of 75 rows and 100 columns of devices */
    assert_near(c.stuck, devices * .02, 4 * sqrt(devices * .02 * .98));
    assert_near(c.dead_rows, rows * .05, 4 * sqrt(rows * .05 * .95));
    assert_near(c.dead_columns, columns * .03, 4 * sqrt(columns * .03 * .97));
    assert_int_equal(c.stuck_left, c.stuck);
    assert_int_equal(c.dead_rows_left, c.dead_rows);
    struct machine_fault_list moved, left; /* more than fit: in the order of tiles */
    machine_fault_lists(f->machine, &moved, &left);
    assert_true(moved.total == 0 && left.total > c.dead_rows + c.dead_columns && left.total > FAULT_LINES_MOST);
    for (size_t i = 1; i < FAULT_LINES_MOST; i++) {
        assert_true(left.lines[i].tile >= left.lines[i - 1].tile);
    }
    fixture_close(f);
}

/* The same devices fail when a probability grows, and more with them; they stay stuck when the tile is written
 * again. */
static void faults_are_for_life(void **state) {
    (void)state;
    struct fixture *plain = open_faulty(""), *few = open_faulty("tile.faults.stuck_g_max=0.01"),
                   *more = open_faulty("tile.faults.stuck_g_max=0.05");
    for (uint32_t k = 0; k < N * N; k++) {
        float a = weight_at(plain, k / N, k % N), b = weight_at(few, k / N, k % N), c = weight_at(more, k / N, k % N);
        assert_true(a == b || c != a);
    }
    assert_true(machine_faults(few->machine).stuck > 0);
    assert_true(machine_faults(more->machine).stuck > machine_faults(few->machine).stuck);
    struct fixture *again = fixture_open("ideal",
                                         "effects.faults=on tile.rows=24 tile.columns=24 tile.faults.stuck_g_max=0.05",
                                         N, N, gaussians(N * N, 1), 0),
                   *later = fixture_open("ideal",
                                         "effects.faults=on tile.rows=24 tile.columns=24 tile.faults.stuck_g_max=0.05 "
                                         "tile.refresh_period_s=100",
                                         N, N, gaussians(N * N, 1), 350);
    assert_int_equal(differing(again, later), 0);
    fixture_close(plain);
    fixture_close(few);
    fixture_close(more);
    fixture_close(again);
    fixture_close(later);
}

/* ---- repair --------------------------------------------------------------------------------------------------- */

static void assert_line(const struct machine_fault_list *list, size_t i, struct machine_fault_line expected) {
    assert_true(i < list->total);
    const struct machine_fault_line *l = &list->lines[i];
    assert_true(l->tile == expected.tile && l->row == expected.row && l->line == expected.line);
    assert_true(l->moved == expected.moved && l->spare == expected.spare);
    assert_true(l->dead == expected.dead && l->stuck == expected.stuck);
}

/* What the machine of the test below, with one spare of each kind, did and left. */
static void assert_lists_of_one_spare(const struct fixture *f) {
    struct machine_fault_list moved, left;
    machine_fault_lists(f->machine, &moved, &left);
    assert_int_equal(moved.total, 2);
    assert_line(&moved, 0, (struct machine_fault_line){.row = true, .moved = true, .line = 2});
    assert_line(&moved, 1, (struct machine_fault_line){.moved = true, .line = 4});
    assert_int_equal(left.total, 3);
    assert_line(&left, 0, (struct machine_fault_line){.row = true, .dead = true, .line = 5});
    assert_line(&left, 1, (struct machine_fault_line){.line = 6, .stuck = 3});
    assert_line(&left, 2, (struct machine_fault_line){.line = 8, .stuck = 1});
}

static void spares_repair_what_they_can(void **state) {
    (void)state;
    char sets[700];
    /* Column 4 dead, column 6 with three stuck devices, column 8 with one; rows 2 and 5 dead. */
    const char *map =
        write_map("repair.csv", "0,,4,dead\n0,1,6,g_max\n0,3,6,g_max\n0,4,6,g_max\n0,8,8,g_max\n0,2,,dead\n"
                                "0,5,,dead\n");
    struct fixture *plain = open_faulty("");
    snprintf(sets, sizeof sets, "tile.faults.map=%s tile.faults.spare_rows=2 tile.faults.spare_columns=3", map);
    struct fixture *all = open_faulty(sets);
    assert_int_equal(differing(plain, all), 0);
    struct machine_faults c = machine_faults(all->machine);
    assert_int_equal(c.stuck, 4);
    assert_int_equal(c.dead_rows, 2);
    assert_int_equal(c.repaired_rows, 2);
    assert_int_equal(c.repaired_columns, 3);
    assert_int_equal(c.stuck_left + c.dead_rows_left + c.dead_columns_left, 0);
    /* One spare of each kind: one dead row, the dead column. */
    snprintf(sets, sizeof sets, "tile.faults.map=%s tile.faults.spare_rows=1 tile.faults.spare_columns=1", map);
    struct fixture *some = open_faulty(sets);
    c = machine_faults(some->machine);
    assert_int_equal(c.dead_rows_left, 1);
    assert_int_equal(c.dead_columns_left, 0);
    assert_int_equal(c.stuck_left, 4);
    assert_lists_of_one_spare(some);
    /* Two spare columns: the dead one and the one with three stuck devices; one of them stays. */
    snprintf(sets, sizeof sets, "tile.faults.map=%s tile.faults.spare_rows=2 tile.faults.spare_columns=2", map);
    struct fixture *most = open_faulty(sets);
    assert_int_equal(machine_faults(most->machine).stuck_left, 1);
    assert_int_equal(differing(plain, most), 1);
    fixture_close(plain);
    fixture_close(all);
    fixture_close(some);
    fixture_close(most);
}

/* Spare column 0 is column 48 of the array and may be bad itself: a dead spare repairs nothing. */
static void bad_spares_are_not_used(void **state) {
    (void)state;
    char sets[700];
    snprintf(sets, sizeof sets, "tile.faults.map=%s tile.faults.spare_columns=1",
             write_map("spare.csv", "0,,4,dead\n0,,48,dead\n"));
    struct fixture *f = open_faulty(sets);
    struct machine_faults c = machine_faults(f->machine);
    assert_int_equal(c.dead_columns, 1);
    assert_int_equal(c.repaired_columns, 0);
    assert_int_equal(c.dead_columns_left, 1);
    fixture_close(f);
}

/* ---- maps ------------------------------------------------------------ */

static void bad_maps_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"0,1,1\n", "bad.csv:2"},
        {"0,1,48,g_max\n", "bad.csv:2:3: column 48 (allowed: whole numbers from 0 to 47)"},
        {"0,24,1,g_max\n", "bad.csv:2:2: row 24 (allowed: whole numbers from 0 to 23)"},
        {"0,-1,1,g_max\n", "bad.csv:2:2: row -1 (allowed: whole numbers from 0 to 23)"},
        {"0,1.5,1,g_max\n", "bad.csv:2:2: row 1.5 (allowed: whole numbers from 0 to 23)"},
        {"0,nan,1,g_max\n", "bad.csv:2:2"},
        {"1,1,1,g_max\n", "bad.csv:2:1: tile 1 (allowed: whole numbers from 0 to 0)"},
        {",1,1,g_max\n", "bad.csv:2:1"},
        {"0,0,0,dead\n0,1,1,stuck\n", "bad.csv:3:4: state 'stuck' (allowed: g_min, g_max, random, dead)"},
        {"0,,,dead\n", "bad.csv:2:2: neither row nor column (allowed: one of them empty for a whole line)"},
        {"0,1,1,dead\n0,2,,dead\n0,1,1,g_max\n", "bad.csv: tile 0, row 1, column 1 stands there twice (allowed: once)"},
    };
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        char sets[700];
        struct fixture *f = NULL;
        struct error e = {0};
        snprintf(sets, sizeof sets, "effects.faults=on tile.rows=24 tile.columns=24 tile.faults.map=%s",
                 write_map("bad.csv", cases[k].text));
        enum status s = fixture_try("ideal", sets, N, N, NULL, 0, NULL, 0, &f, &e);
        if (s == OK || !strstr(e.message, cases[k].message)) {
            fail_msg("%s: status %d: %s", cases[k].text, s, s == OK ? "accepted" : e.message);
        }
    }
}

static void contradictions_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *chip, *sets, *message;
    } cases[] = {
        {"ideal", "tile.faults.repair=off tile.faults.spare_rows=1",
         "tile.faults.repair: off, but there are 1 spare rows"},
        {"ideal", "tile.rows=4 tile.faults.spare_rows=5",
         "tile.faults.spare_rows: 5 spares for 4 rows (allowed: at most as many)"},
        {"ideal", "tile.columns=4 tile.faults.spare_columns=5", "tile.faults.spare_columns: 5 spares for 4 columns"},
        {"ideal", "tile.faults.stuck_g_min=0.6 tile.faults.stuck_g_max=0.6",
         "tile.faults: probabilities of stuck devices sum to "
         "1.2 (allowed: at most 1)"},
        {"afm", "tile.faults.stuck_g_min=0.1", "tile.faults: stuck devices of a cell that is a signed pair as a whole"},
        {"ideal", "tile.faults.map=/nowhere/map.csv", "/nowhere/map.csv: cannot open"},
    };
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        struct fixture *f = NULL;
        struct error e = {0};
        enum status s = fixture_try(cases[k].chip, cases[k].sets, N, N, NULL, 0, NULL, 0, &f, &e);
        if (s == OK || !strstr(e.message, cases[k].message)) {
            fail_msg("%s: status %d: %s", cases[k].sets, s, s == OK ? "accepted" : e.message);
        }
    }
}

/* A million lines: read, sorted, applied. */
static void a_million_lines(void **state) {
    (void)state;
    enum { SIDE = 708 }; /* 708 x 1416 devices = 1.0025 million */
    char path[512], sets[700];
    snprintf(path, sizeof path, "%s/million.csv", scratch_directory());
    FILE *out = fopen(path, "w");
    assert_non_null(out);
    fputs("tile,row,column,state\n", out);
    for (int i = 0; i < 1000000; i++) {
        fprintf(out, "0,%d,%d,g_max\n", i % SIDE, i / SIDE);
    }
    fclose(out);
    snprintf(sets, sizeof sets, "effects.faults=on tile.rows=708 tile.columns=708 tile.faults.map=%s", path);
    struct fixture *f = fixture_open("ideal", sets, SIDE, SIDE, NULL, 0);
    assert_int_equal(machine_faults(f->machine).stuck, 1000000);
    fixture_close(f);
}

/* A spare in use is driven instead of the line that it replaces: as many conversions, and about the current of a tile
 * without faults (other devices with errors of their own: 5 %). Without repair, rows that are dead draw nothing. */
static void spares_in_use_draw_current(void **state) {
    (void)state;
    enum { LINES = 64 };
    static const char *const sets[] = {"effects.faults=off",
                                       "tile.faults.dead_rows=0.2 tile.faults.spare_rows=40",
                                       "tile.faults.dead_rows=0.2",
                                       "tile.faults.dead_columns=0.1 tile.faults.spare_columns=60"};
    float *x = gaussians(LINES, 2);
    struct multiply_record of[4];
    for (size_t k = 0; k < 4; k++) {
        struct fixture *f = fixture_open("pcm256", sets[k], LINES, LINES, NULL, 0);
        calibrate(f, x, 1);
        mem_free(multiply(f, x, 1));
        of[k] = f->record;
        assert_int_equal(of[k].dac_conversions, of[0].dac_conversions);
        assert_int_equal(of[k].adc_conversions, of[0].adc_conversions);
        if (k == 1 || k == 3) {
            assert_true(f->machine->fault_count.repaired_rows + f->machine->fault_count.repaired_columns > 5);
            assert_near(of[k].array_S_sum / of[0].array_S_sum, 1, 0.05);
        }
        fixture_close(f);
    }
    assert_true(of[2].array_S_sum < 0.9 * of[0].array_S_sum);
    mem_free(x);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(spares_in_use_draw_current),
    cmocka_unit_test(a_map_acts_where_it_says),
    cmocka_unit_test(all_stuck_and_switched_off),
    cmocka_unit_test(counts_follow_the_probabilities),
    cmocka_unit_test(faults_are_for_life),
    cmocka_unit_test(spares_repair_what_they_can),
    cmocka_unit_test(bad_spares_are_not_used),
    cmocka_unit_test(bad_maps_are_refused),
    cmocka_unit_test(contradictions_are_refused),
    cmocka_unit_test(a_million_lines),
};
const struct test_suite suite_faults = {"faults", tests, sizeof tests / sizeof tests[0]};
