/* Interconnects: link counts of multicasts and reductions are exact.
 *
 * Mesh against a second construction (X first, then Y, written down as ranges instead of steps) for every source and
 * random sets of destinations, and against closed forms; tree against the number of distinct ancestors.
 */
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "sim/topology.h"
#include "tests/golden.h"

enum { MOST = 1024 };

static struct topology *make(enum topology_kind kind, uint32_t nodes, uint32_t columns, uint32_t rows) {
    struct topology *t;
    struct error e;
    must(topology_create(kind, nodes, columns, rows, &t, &e), &e);
    return t;
}

static uint32_t draw(uint64_t trial, uint64_t index, uint32_t below) {
    return (uint32_t)(random_uniform(3, random_stream(RANDOM_UNCERTAINTY, trial), index) * below);
}

static uint32_t distance(uint32_t a, uint32_t b) { return a > b ? a - b : b - a; }

/* Links of the tree from (sx, sy): the range of columns in its row, then in every column the range of rows. */
static uint32_t mesh_links(uint32_t columns, uint32_t rows, uint32_t source, const uint32_t *to, size_t count) {
    uint32_t sx = source % columns, sy = source / columns, left = sx, right = sx, links = 0;
    for (size_t i = 0; i < count; i++) {
        left = to[i] % columns < left ? to[i] % columns : left;
        right = to[i] % columns > right ? to[i] % columns : right;
    }
    links += right - left;
    for (uint32_t x = 0; x < columns; x++) {
        uint32_t top = sy, bottom = sy;
        for (size_t i = 0; i < count; i++) {
            if (to[i] % columns == x) {
                top = to[i] / columns < top ? to[i] / columns : top;
                bottom = to[i] / columns > bottom ? to[i] / columns : bottom;
            }
        }
        links += bottom - top;
    }
    (void)rows;
    return links;
}

static void multicasts_on_a_mesh(void **state) {
    (void)state;
    const uint32_t columns = 7, rows = 5, nodes = 33;
    struct topology *t = make(TOPOLOGY_MESH, nodes, columns, rows);
    uint32_t depth[MOST], deepest, to[MOST];
    assert_int_equal(topology_links(t), 7 * 5 * 4);
    for (uint32_t trial = 0; trial < 500; trial++) {
        uint32_t source = draw(trial, 0, nodes), farthest = 0;
        size_t count = 1 + draw(trial, 1, 20);
        for (size_t i = 0; i < count; i++) {
            to[i] = draw(trial, 2 + i, nodes);
            uint32_t hops = distance(to[i] % columns, source % columns) + distance(to[i] / columns, source / columns);
            assert_int_equal(topology_hops(t, source, to[i]), hops);
            farthest = hops > farthest ? hops : farthest;
        }
        assert_int_equal(topology_multicast(t, source, to, count, depth, &deepest),
                         mesh_links(columns, rows, source, to, count));
        assert_int_equal(deepest, farthest);
    }
    topology_destroy(t);
}

/* Every link of a tree has exactly one link before it, which is one hop nearer to the source. */
static void multicasts_are_trees(void **state) {
    (void)state;
    const enum topology_kind kinds[] = {TOPOLOGY_MESH, TOPOLOGY_HTREE};
    for (size_t k = 0; k < 2; k++) {
        struct topology *t = make(kinds[k], 30, 6, 5);
        uint32_t depth[MOST], deepest, to[30];
        for (uint32_t i = 0; i < 30; i++) {
            to[i] = i;
        }
        for (uint32_t source = 0; source < 30; source++) {
            uint32_t links = topology_multicast(t, source, to, 30, depth, &deepest), found = 0;
            for (uint32_t a = 0; a < topology_links(t); a++) {
                uint32_t from, end, before = 0;
                topology_link_ends(t, a, &from, &end);
                for (uint32_t b = 0; b < topology_links(t) && depth[a]; b++) {
                    uint32_t other_from, other_end;
                    topology_link_ends(t, b, &other_from, &other_end);
                    before += depth[b] && other_end == from && depth[b] + 1 == depth[a];
                }
                found += depth[a] != 0;
                if (depth[a]) {
                    assert_int_equal(before, depth[a] > 1);
                }
            }
            assert_int_equal(found, links);
        }
        topology_destroy(t);
    }
}

static void closed_forms(void **state) {
    (void)state;
    uint32_t depth[MOST], deepest, all[64];
    for (uint32_t i = 0; i < 64; i++) {
        all[i] = i;
    }
    struct topology *mesh = make(TOPOLOGY_MESH, 64, 8, 8), *tree = make(TOPOLOGY_HTREE, 64, 0, 0),
                    *bus = make(TOPOLOGY_BUS, 64, 0, 0), *none = make(TOPOLOGY_NONE, 64, 0, 0),
                    *one = make(TOPOLOGY_HTREE, 1, 0, 0);
    assert_int_equal(topology_multicast(mesh, 0, all, 64, depth, &deepest), 63);
    assert_int_equal(deepest, 14);
    assert_int_equal(topology_reduction(mesh, all, 64, 0, depth, &deepest), 63);
    assert_int_equal(deepest, 14);
    assert_int_equal(depth[8 * 4 + 3], 14); /* the last link into the corner, from node 8 to the north: Y comes last */
    assert_int_equal(depth[1 * 4 + 1], 7);  /* from node 1 to the west: its own row only */
    assert_int_equal(topology_multicast(tree, TOPOLOGY_ROOT, all, 64, depth, &deepest), 4 + 16 + 64);
    assert_int_equal(deepest, 3);
    assert_int_equal(topology_hops(tree, 0, 3), 2); /* siblings: up, down */
    assert_int_equal(topology_hops(tree, 0, 63), 6);
    assert_int_equal(topology_router_count(TOPOLOGY_HTREE, 64, 0, 0), 1 + 4 + 16);
    assert_int_equal(topology_multicast(bus, 0, all, 64, depth, &deepest), 1);
    assert_int_equal(deepest, 1);
    assert_int_equal(topology_multicast(none, 0, all, 64, depth, &deepest), 0);
    assert_int_equal(topology_links(none), 0);
    assert_int_equal(topology_multicast(one, TOPOLOGY_ROOT, all, 1, depth, &deepest), 0);
    assert_int_equal(topology_multicast(mesh, 9, (const uint32_t[]){9}, 1, depth, &deepest), 0);
    topology_destroy(mesh);
    topology_destroy(tree);
    topology_destroy(bus);
    topology_destroy(none);
    topology_destroy(one);
}

/* What flows together is carried once: the links of a reduction are those of the union of the single paths. */
static void reductions_join(void **state) {
    (void)state;
    struct topology *t = make(TOPOLOGY_MESH, 64, 8, 8);
    uint32_t joined[MOST], single[MOST], deepest, from[12], links = 0;
    for (uint32_t trial = 0; trial < 200; trial++) {
        uint32_t sink = draw(trial, 0, 64), farthest = 0;
        uint8_t seen[MOST] = {0};
        for (size_t i = 0; i < 12; i++) {
            from[i] = draw(trial, 1 + i, 64);
            topology_reduction(t, &from[i], 1, sink, single, &deepest);
            farthest = deepest > farthest ? deepest : farthest;
            for (uint32_t l = 0; l < topology_links(t); l++) {
                seen[l] |= single[l] != 0;
            }
        }
        links = topology_reduction(t, from, 12, sink, joined, &deepest);
        assert_int_equal(deepest, farthest);
        for (uint32_t l = 0; l < topology_links(t); l++) {
            assert_int_equal(joined[l] != 0, seen[l]);
            links -= seen[l];
        }
        assert_int_equal(links, 0);
    }
    topology_destroy(t);
}

static void meshes_that_are_too_small(void **state) {
    (void)state;
    struct topology *t;
    struct error e;
    assert_int_equal(topology_create(TOPOLOGY_MESH, 65, 8, 8, &t, &e), ERR_USAGE);
    assert_non_null(strstr(e.message, "does not hold 65"));
    assert_int_equal(topology_create(TOPOLOGY_BUS, 0, 0, 0, &t, &e), ERR_USAGE);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(multicasts_on_a_mesh), cmocka_unit_test(multicasts_are_trees), cmocka_unit_test(closed_forms),
    cmocka_unit_test(reductions_join),      cmocka_unit_test(meshes_that_are_too_small),
};

const struct test_suite suite_topology = {"topology", tests, sizeof tests / sizeof tests[0]};
