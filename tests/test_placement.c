/* Blocks on tiles, tiles on chips. */
#include "tests/chips.h"
#include "tests/suite.h"

#include <stdio.h>
#include <string.h>

#include "sim/blocks.h"
#include "sim/placement.h"

#define MATRIX(matrix_name, l, r, in, out)                                                                             \
    { .name = matrix_name, .layer = l, .role = r, .inputs = in, .outputs = out }

static const struct matrix_source model[] = {
    MATRIX("layers.0.q", 0, MATRIX_Q, 576, 576), MATRIX("layers.0.down", 0, MATRIX_DOWN, 1536, 576),
    MATRIX("layers.1.q", 1, MATRIX_Q, 576, 576), MATRIX("layers.1.down", 1, MATRIX_DOWN, 1536, 576),
    MATRIX("layers.2.q", 2, MATRIX_Q, 256, 256), MATRIX("layers.2.down", 2, MATRIX_DOWN, 257, 255),
    MATRIX("head", -1, MATRIX_HEAD, 576, 49152),
};
enum { MATRICES = sizeof model / sizeof model[0] };

static void blocks_cover_a_side_once(void **state) {
    (void)state;
    for (uint32_t n = 1; n < 700; n++) {
        for (int mode = SPLIT_BALANCED; mode <= SPLIT_FILL; mode++) {
            uint32_t count = block_count(n, 256), shortest = UINT32_MAX, longest = 0;
            assert_int_equal(block_begin(n, 256, (enum split_mode)mode, 0), 0);
            assert_int_equal(block_begin(n, 256, (enum split_mode)mode, count), n);
            for (uint32_t i = 0; i < count; i++) {
                uint32_t lines =
                    block_begin(n, 256, (enum split_mode)mode, i + 1) - block_begin(n, 256, (enum split_mode)mode, i);
                assert_true(lines >= 1 && lines <= 256);
                shortest = lines < shortest ? lines : shortest;
                longest = lines > longest ? lines : longest;
            }
            assert_true(mode == SPLIT_FILL || longest - shortest <= 1);
        }
    }
}

static void tiles_by_hand(void **state) {
    (void)state;
    static const uint32_t tiles[MATRICES] = {3 * 3, 6 * 3, 3 * 3, 6 * 3, 1, 2 * 1, 3 * 192};
    struct chip *c = load("pcm256", NULL, 0);
    struct placement *p = NULL;
    struct error e = {OK, ""};
    assert_int_equal(placement_create(c, model, MATRICES, &p, &e), OK);
    assert_int_equal(placement_matrices(p), MATRICES);
    uint64_t sum = 0, weights = 0;
    for (size_t i = 0; i < MATRICES; i++) {
        struct placement_matrix m = placement_matrix_at(p, i);
        assert_string_equal(m.name, model[i].name);
        assert_true(m.analog && m.layer == model[i].layer && m.role == model[i].role);
        assert_int_equal(m.tiles, tiles[i]);
        assert_int_equal(m.row_blocks * m.column_blocks, tiles[i]);
        assert_near(m.utilisation, (double)m.inputs * m.outputs / (tiles[i] * 65536.0), 1e-15);
        sum += tiles[i];
        weights += (uint64_t)m.inputs * m.outputs;
    }
    struct placement_total t = placement_total(p);
    assert_int_equal(t.tiles, sum);
    assert_int_equal(t.chips, (sum + 63) / 64);
    assert_int_equal(t.cells, sum * 65536);
    assert_int_equal(t.cells_used, weights);
    assert_int_equal(t.analog_weights, weights);
    assert_int_equal(t.digital_weights, 0);
    assert_near(t.utilisation, (double)weights / (double)(sum * 65536), 1e-15);
    placement_destroy(p);
    chip_destroy(c);
}

static void rule_keeps_roles_digital(void **state) {
    (void)state;
    const char *const sets[] = {"analog=[q]"};
    struct chip *c = load("pcm256", sets, 1);
    struct placement *p = NULL;
    struct error e = {OK, ""};
    assert_int_equal(placement_create(c, model, MATRICES, &p, &e), OK);
    for (size_t i = 0; i < MATRICES; i++) {
        struct placement_matrix m = placement_matrix_at(p, i);
        assert_int_equal(m.analog, model[i].role == MATRIX_Q);
        assert_true(m.analog == (m.tiles > 0));
    }
    struct placement_total t = placement_total(p);
    assert_int_equal(t.tiles, 9 + 9 + 1);
    assert_int_equal(t.analog_weights + t.digital_weights,
                     2 * (576 * 576 + 1536 * 576) + 65536 + 257 * 255 + 576ull * 49152);
    placement_destroy(p);
    chip_destroy(c);
}

/* Ten tiles a chip: layer 0 starts at tile 0, layer 1 at 27, layer 2 at 54, the head ends at 632. */
static void layers_live_where_they_start(void **state) {
    (void)state;
    const char *const sets[] = {"tiles_per_chip=10"};
    struct chip *c = load("pcm256", sets, 1);
    struct placement *p = NULL;
    struct error e = {OK, ""};
    assert_int_equal(placement_create(c, model, MATRICES, &p, &e), OK);
    assert_int_equal(placement_layers(p), 3);
    assert_int_equal(placement_total(p).chips, 64);
    assert_int_equal(placement_home_chip(p, 0), 0);
    assert_int_equal(placement_home_chip(p, 1), 2);
    assert_int_equal(placement_home_chip(p, 2), 5);
    assert_int_equal(placement_home_chip(p, -1), 63);
    assert_int_equal(placement_layer_row(p, 2), 2);
    assert_int_equal(placement_layer_row(p, -1), 3);
    assert_int_equal(placement_layer_row(p, 3), 3);
    placement_destroy(p);
    chip_destroy(c);
}

static void too_small_chip_is_refused_with_numbers(void **state) {
    (void)state;
    const char *const small[] = {"replicate=off"}, *const enough[] = {"replicate=off", "tiles_per_chip=633"};
    struct chip *c[] = {load("pcm256", small, 1), load("pcm256", enough, 2)};
    struct placement *p = NULL;
    struct error e = {OK, ""};
    assert_int_equal(placement_create(c[0], model, MATRICES, &p, &e), ERR_USAGE);
    assert_null(p);
    assert_string_equal(
        e.message,
        "chip pcm256: too small: the model needs 633 tiles, that is 10 chips; one chip has 64 tiles and replicate is "
        "off (allowed: replicate=on, tiles_per_chip=633, or fewer roles in analog)");
    assert_int_equal(placement_create(c[1], model, MATRICES, &p, &e), OK); /* exactly enough */
    assert_int_equal(placement_total(p).chips, 1);
    placement_destroy(p);
    chip_destroy(c[0]);
    chip_destroy(c[1]);
}

static void impossible_matrices_are_refused(void **state) {
    (void)state;
    const char *const tiny[] = {"tile.rows=1", "tile.columns=1"};
    const struct matrix_source empty = MATRIX("empty", 0, MATRIX_Q, 0, 4),
                               huge = MATRIX("huge", 0, MATRIX_Q, 4000000000u, 4000000000u);
    struct chip *c = load("pcm256", NULL, 0), *t = load("pcm256", tiny, 2);
    struct placement *p = NULL;
    struct error e = {OK, ""};
    assert_int_equal(placement_create(c, &empty, 1, &p, &e), ERR_RUN);
    assert_string_equal(e.message, "matrix empty: 0 inputs and 4 outputs: neither may be 0");
    assert_int_equal(placement_create(t, &huge, 1, &p, &e), ERR_USAGE);
    assert_string_equal(e.message,
                        "matrix huge: 16000000000000000000 tiles of 1 x 1 are too many (allowed: larger tiles)");
    assert_null(p);
    chip_destroy(c);
    chip_destroy(t);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(blocks_cover_a_side_once),
    cmocka_unit_test(tiles_by_hand),
    cmocka_unit_test(rule_keeps_roles_digital),
    cmocka_unit_test(layers_live_where_they_start),
    cmocka_unit_test(too_small_chip_is_refused_with_numbers),
    cmocka_unit_test(impossible_matrices_are_refused),
};

const struct test_suite suite_placement = {"placement", tests, sizeof tests / sizeof tests[0]};
