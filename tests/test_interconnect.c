/* What multiplies send over the links of a chip, against a second count: message by message, link by link, from the
 * numbers of the tiles alone.
 */
#include <string.h>

#include "sim/interconnect.h"
#include "sim/placement.h"
#include "tests/golden.h"

enum { COLUMNS = 4, ROWS = 4, TILES = 16, LINKS = COLUMNS * ROWS * 4, MATRICES = 5 };

static const char *const sets[] = {
    "tiles_per_chip=16",     "network.topology=mesh",          "network.columns=4",
    "network.rows=4",        "network.hub=0",                  "network.flit_bits=32",
    "network.hop_cycles=3",  "network.hop_energy_J_per_bit=1e-13", "network.router_area_um2=1000",
    "network.router_static_W=0", "chip_link.bandwidth_GBps=10", "chip_link.latency_ns=20",
    "chip_link.energy_J_per_bit=1e-12", "chip_link.area_um2=0", "chip_link.static_W=0",
};
enum { SETS = sizeof sets / sizeof sets[0] };

/* On tiles of 256 x 256: 6, 1, 56, 3 and 2 tiles; the third fills whole chips. */
static const struct matrix_source sources[MATRICES] = {
    {.name = "a", .layer = 0, .role = MATRIX_Q, .inputs = 500, .outputs = 700},
    {.name = "b", .layer = 0, .role = MATRIX_K, .inputs = 200, .outputs = 100},
    {.name = "c", .layer = 0, .role = MATRIX_UP, .inputs = 1792, .outputs = 2048},
    {.name = "d", .layer = 1, .role = MATRIX_O, .inputs = 768, .outputs = 256},
    {.name = "e", .layer = 1, .role = MATRIX_DOWN, .inputs = 256, .outputs = 512},
};

struct bench {
    struct chip *chip;
    struct placement *placement;
    struct interconnect *net;
};

static struct bench make_more(const char *extra, const char *more) {
    struct bench b;
    struct error e;
    const char *all[SETS + 2];
    memcpy(all, sets, sizeof sets);
    all[SETS] = extra;
    all[SETS + 1] = more;
    must(chip_load("pcm256", all, SETS + (extra != NULL) + (more != NULL), &b.chip, &e), &e);
    must(placement_create(b.chip, sources, MATRICES, &b.placement, &e), &e);
    must(interconnect_create(b.chip, b.placement, &b.net, &e), &e);
    return b;
}

static struct bench make(const char *extra) { return make_more(extra, NULL); }

static void clear(struct bench *b) {
    interconnect_destroy(b->net);
    placement_destroy(b->placement);
    chip_destroy(b->chip);
}

/* Rows of row block r, columns of column block c: parts that differ by at most one (split balanced). */
static uint32_t lines(uint32_t n, uint32_t blocks, uint32_t i) { return n / blocks + (i < n % blocks); }

/* Marks the links of the path between a node and the hub 0 on a mesh of 4 x 4, X first. */
static void mark(uint32_t node, bool away, uint8_t marks[LINKS]) {
    uint32_t x = node % COLUMNS, y = node / COLUMNS;
    for (uint32_t i = 0; i < x; i++) { /* from the hub: along row 0; to the hub: along row y */
        marks[away ? i * 4 : (y * COLUMNS + i + 1) * 4 + 1] = 1;
    }
    for (uint32_t i = 0; i < y; i++) {
        marks[away ? (i * COLUMNS + x) * 4 + 2 : (i + 1) * COLUMNS * 4 + 3] = 1;
    }
}

struct count { uint64_t flits[LINKS], bit_hops; uint32_t deepest; };

/* Where a copy begins, counted from the tiles of the matrices alone. Those of one of `groups` share their stacks. */
static const size_t *groups;
static uint64_t stack_of(const struct bench *b, size_t m, uint32_t copy) {
    uint64_t at = 0;
    for (size_t i = 0; i < m && groups[i] != groups[m]; i++) {
        struct placement_matrix p = placement_matrix_at(b->placement, i);
        at += groups[i] == i ? (uint64_t)p.tiles * p.copies : 0;
    }
    return at + (uint64_t)copy * placement_matrix_at(b->placement, groups[m]).tiles;
}

/* Messages of a copy of matrix m in one direction on one chip. */
static void count_copy(const struct bench *b, size_t m, uint32_t copy, uint64_t chip, bool away, bool reduce,
                       struct count *out) {
    struct placement_matrix p = placement_matrix_at(b->placement, m);
    memset(out, 0, sizeof *out);
    for (uint32_t message = 0; message < (away ? p.row_blocks : p.column_blocks); message++) {
        uint8_t marks[LINKS] = {0};
        uint64_t bits = away ? lines(p.inputs, p.row_blocks, message) * 8u
                             : lines(p.outputs, p.column_blocks, message) * 16u,
                 flits = (bits + 31) / 32;
        for (uint32_t other = 0; other < (away ? p.column_blocks : p.row_blocks); other++) {
            uint32_t row = away ? message : other, column = away ? other : message;
            uint64_t tile = stack_of(b, m, copy) + (uint64_t)row * p.column_blocks + column;
            if (tile / TILES != chip) {
                continue;
            }
            uint32_t node = placement_slot(b->placement, tile), hops = node % COLUMNS + node / COLUMNS;
            out->deepest = hops > out->deepest ? hops : out->deepest;
            mark(node, away, marks);
            for (uint32_t l = 0; l < LINKS && !away && !reduce; l++) { /* each on its own */
                out->flits[l] += marks[l] * flits;
                out->bit_hops += marks[l] * bits;
                marks[l] = 0;
            }
        }
        for (uint32_t l = 0; l < LINKS; l++) {
            out->flits[l] += marks[l] * flits;
            out->bit_hops += marks[l] * bits;
        }
    }
}

static void count_chip(const struct bench *b, size_t m, uint64_t chip, bool away, bool reduce, struct count *out) {
    static const size_t alone[MATRICES] = {0, 1, 2, 3, 4};
    groups = alone;
    count_copy(b, m, 0, chip, away, reduce, out);
}

static uint64_t largest(const struct count *c) {
    uint64_t most = 0;
    for (uint32_t l = 0; l < LINKS; l++) {
        most = c->flits[l] > most ? c->flits[l] : most;
    }
    return most;
}

/* Every leg waits for classes that are really crossed, the longest hold is that of the most loaded link, and the chain
 * ends when the last message has arrived. */
static void check_transfer(const struct bench *b, const struct network_transfer *t, const struct count *c, bool away) {
    uint64_t most = 0, time = 0;
    assert_int_equal(t->bit_hops, c->bit_hops);
    for (uint32_t i = 0; i < t->count; i++) {
        struct link_class class = interconnect_class(b->net, t->legs[i].class);
        assert_true(class.inputs == away && class.links > 0);
        most = t->legs[i].flits > most ? t->legs[i].flits : most;
        time += t->legs[i].head;
    }
    assert_int_equal(most, largest(c));
    assert_int_equal(time, t->count ? c->deepest * 3u + most : 0);
}

static void loads_on_single_chips(void **state) {
    (void)state;
    for (int reduce = 0; reduce < 2; reduce++) {
        struct bench b = make(reduce ? NULL : "network.reduction=off");
        for (size_t m = 0; m < MATRICES; m++) {
            struct interconnect_matrix im = interconnect_matrix(b.net, m, 0);
            uint64_t bit_hops = 0;
            for (uint32_t i = 0; i < im.count; i++) {
                struct chip_group g = interconnect_group(b.net, im.parts[i].group);
                struct count in, out;
                count_chip(&b, m, g.first, true, true, &in);
                count_chip(&b, m, g.first, false, reduce, &out);
                if (g.count == 1) {
                    check_transfer(&b, &im.parts[i].inputs, &in, true);
                    check_transfer(&b, &im.parts[i].results, &out, false);
                }
                for (uint64_t chip = g.first; chip < g.first + g.count; chip++) {
                    count_chip(&b, m, chip, true, true, &in);
                    count_chip(&b, m, chip, false, reduce, &out);
                    bit_hops += in.bit_hops + out.bit_hops;
                }
            }
            assert_int_equal(im.bit_hops, bit_hops);
        }
        clear(&b);
    }
}

/* c has tiles 7 to 62, so it fills chips 1 and 2: one group with the largest load of both. */
static void full_chips_are_one_group(void **state) {
    (void)state;
    struct bench b = make(NULL);
    struct interconnect_matrix c = interconnect_matrix(b.net, 2, 0);
    assert_int_equal(placement_first_tile(b.placement, 2), 7);
    assert_int_equal(c.count, 3); /* on chip 0, on chips 1 and 2, on chip 3 */
    struct chip_group g = interconnect_group(b.net, c.parts[1].group);
    assert_true(g.first == 1 && g.count == 2);
    struct count one, two;
    for (int away = 0; away < 2; away++) {
        const struct network_transfer *t = away ? &c.parts[1].inputs : &c.parts[1].results;
        count_chip(&b, 2, 1, away, true, &one);
        count_chip(&b, 2, 2, away, true, &two);
        assert_int_equal(t->count, 1);
        assert_int_equal(t->legs[0].flits, largest(&one) > largest(&two) ? largest(&one) : largest(&two));
        assert_int_equal(t->bit_hops, one.bit_hops + two.bit_hops);
    }
    clear(&b);
}

/* Of every copy: what it sends on every chip, with the tiers that its stacks have. Tiles: 6, 1, 56, 3, 2. With tiers b
 * lies with a and d with c, where both have as many copies. */
static void tiers_and_copies(void **state) {
    (void)state;
    static const struct {
        const char *set, *more;
        size_t groups[MATRICES];
    } cases[] = {
        {"tile.tiers=2", NULL, {0, 0, 2, 2, 4}},
        {"placement.copies=q=2,down=3", NULL, {0, 1, 2, 3, 4}},
        {"placement.copies=q=2,k=2,down=3", "tile.tiers=3", {0, 0, 2, 2, 4}},
        {"placement.strategy=fewest_hops", NULL, {0, 1, 2, 3, 4}},
        {"placement.strategy=fewest_hops", "placement.copies=q=2,k=2,down=3", {0, 1, 2, 3, 4}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct bench b = make_more(cases[i].set, cases[i].more);
        uint64_t heat[LINKS] = {0}; /* of chip 0, when every copy multiplies once */
        groups = cases[i].groups;
        for (size_t m = 0; m < MATRICES; m++) {
            for (uint32_t k = 0; k < placement_matrix_at(b.placement, m).copies; k++) {
                struct interconnect_matrix im = interconnect_matrix(b.net, m, k);
                uint64_t bit_hops = 0;
                for (uint64_t chip = 0; chip < placement_total(b.placement).chips; chip++) {
                    struct count in, out;
                    count_copy(&b, m, k, chip, true, true, &in);
                    count_copy(&b, m, k, chip, false, true, &out);
                    bit_hops += in.bit_hops + out.bit_hops;
                    for (uint32_t l = 0; chip == 0 && l < LINKS; l++) {
                        heat[l] += in.flits[l] + out.flits[l];
                    }
                    for (uint32_t p = 0; p < im.count; p++) {
                        struct chip_group g = interconnect_group(b.net, im.parts[p].group);
                        if (g.first == chip && g.count == 1) {
                            check_transfer(&b, &im.parts[p].inputs, &in, true);
                            check_transfer(&b, &im.parts[p].results, &out, false);
                        }
                    }
                }
                assert_int_equal(im.bit_hops, bit_hops);
                assert_true(bit_hops > 0 || stack_of(&b, m, k) % TILES == 0);
            }
        }
        assert_int_equal(interconnect_group(b.net, 0).count, 1);
        for (uint32_t l = 0; l < LINKS; l++) {
            assert_int_equal(interconnect_link_flits(b.net, 0, l), heat[l]);
        }
        clear(&b);
    }
}

/* Two multiplies wait for each other on a link that both cross, and nowhere else. */
static void classes_are_sets_of_multiplies(void **state) {
    (void)state;
    struct bench b = make(NULL);
    struct count counts[MATRICES];
    uint32_t links[2] = {0, 0};
    for (int direction = 0; direction < 2; direction++) {
        uint32_t sets_seen[LINKS], kinds = 0;
        for (size_t m = 0; m < 3; m++) {
            count_chip(&b, m, 0, direction == 0, true, &counts[m]);
        }
        for (uint32_t l = 0; l < LINKS; l++) {
            uint32_t set = (counts[0].flits[l] ? 1 : 0) | (counts[1].flits[l] ? 2 : 0) | (counts[2].flits[l] ? 4 : 0);
            uint32_t k = 0;
            while (set && k < kinds && sets_seen[k] != set) {
                k++;
            }
            if (set && k == kinds) {
                sets_seen[kinds++] = set;
            }
            links[direction] += set != 0;
            uint64_t all = counts[0].flits[l] + counts[1].flits[l] + counts[2].flits[l];
            if (direction == 0 && all) {
                assert_int_equal(interconnect_link_flits(b.net, 0, l), all);
            }
        }
        uint32_t classes = 0, crossed = 0;
        for (size_t i = 0; i < interconnect_classes(b.net); i++) {
            struct link_class class = interconnect_class(b.net, i);
            classes += class.group == 0 && class.inputs == (direction == 0);
            crossed += class.group == 0 && class.inputs == (direction == 0) ? class.links : 0;
        }
        assert_int_equal(classes, kinds);
        assert_int_equal(crossed, links[direction]);
    }
    clear(&b);
}

/* b is on its home chip alone; c lies on chips 0 to 3. */
static void bits_between_chips(void **state) {
    (void)state;
    struct bench b = make(NULL);
    assert_int_equal(interconnect_matrix(b.net, 1, 0).link_bits[LINK_CHIP], 0);
    struct interconnect_matrix c = interconnect_matrix(b.net, 2, 0);
    assert_int_equal(c.parts[0].inputs.link_bits, 0);
    assert_true(c.parts[1].inputs.link_bits > 0 && c.home_out_bits[LINK_CHIP] <= 1792 * 8);
    assert_int_equal(c.parts[1].results.link_bits, 2048 * 16); /* every column block is on it */
    assert_true(c.home_in_bits[LINK_CHIP] >= 2048 * 16);
    clear(&b);
}

static void refuse(const char *const *extra, size_t count, const char *message) {
    struct chip *c;
    struct error e;
    const char *all[SETS + 4];
    memcpy(all, sets, sizeof sets);
    memcpy(all + SETS, extra, count * sizeof *extra);
    assert_int_equal(chip_load("pcm256", all, SETS + count, &c, &e), ERR_USAGE);
    if (!strstr(e.message, message)) {
        fail_msg("expected '%s' in: %s", message, e.message);
    }
}

static void bad_networks(void **state) {
    (void)state;
    refuse((const char *[]){"network.columns=3"}, 1, "does not hold 16 cores");
    refuse((const char *[]){"network.hub=16"}, 1, "network.hub");
    refuse((const char *[]){"network.topology=bus"}, 1, "only a mesh");
    refuse((const char *[]){"network.topology=ring"}, 1, "allowed: none, bus, htree, mesh");
    refuse((const char *[]){"network.flit_bits=0"}, 1, "network.flit_bits");
    refuse((const char *[]){"chip_link.bandwidth_GBps=0"}, 1, "chip_link.bandwidth_GBps");
}

/* A chip without a network sends nothing; all kinds can be made for any placement. */
static void every_kind(void **state) {
    (void)state;
    static const char *const kinds[] = {"network.topology=none", "network.topology=htree", "network.topology=bus"};
    for (size_t k = 0; k < 3; k++) {
        struct error e;
        const char *all[SETS + 4];
        memcpy(all, sets, sizeof sets);
        all[SETS] = kinds[k];
        all[SETS + 1] = "network.columns=0";
        all[SETS + 2] = "network.rows=0";
        struct bench b;
        must(chip_load("pcm256", all, SETS + 3, &b.chip, &e), &e);
        must(placement_create(b.chip, sources, MATRICES, &b.placement, &e), &e);
        must(interconnect_create(b.chip, b.placement, &b.net, &e), &e);
        uint64_t hops = interconnect_matrix(b.net, 0, 0).bit_hops;
        if (k == 0) {
            assert_int_equal(hops, 0);
        }
        if (k == 2) { /* one link: every message once */
            assert_int_equal(hops, 500 * 8 + 700 * 16);
        }
        clear(&b);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(loads_on_single_chips),          cmocka_unit_test(full_chips_are_one_group),
    cmocka_unit_test(classes_are_sets_of_multiplies), cmocka_unit_test(bits_between_chips),
    cmocka_unit_test(bad_networks),                   cmocka_unit_test(every_kind),
    cmocka_unit_test(tiers_and_copies),
};

const struct test_suite suite_interconnect = {"interconnect", tests, sizeof tests / sizeof tests[0]};
