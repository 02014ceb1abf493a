/* Shared by the tests of costs and time: a run of a chip without values, on a small model that has no weights. */
#ifndef MHO_TESTS_RUN_FIXTURE_H
#define MHO_TESTS_RUN_FIXTURE_H

#include <stdio.h>
#include <string.h>

#include "base/io.h"
#include "base/memory.h"
#include "sim/run.h"
#include "tests/chips.h"

struct bench {
    struct chip *chip;
    struct placement *placement;
    struct run *run;
};

static inline enum status no_rows(void *context, uint32_t first, uint32_t count, float *rows, struct error *e) {
    (void)context, (void)first, (void)count, (void)rows;
    return error_set(e, ERR_RUN, "no weights here");
}

/* Two layers of q, k and down, and a head. */
static const struct matrix_source model[] = {
    {.name = "layers.0.q", .layer = 0, .role = MATRIX_Q, .inputs = 300, .outputs = 300, .read_rows = no_rows},
    {.name = "layers.0.k", .layer = 0, .role = MATRIX_K, .inputs = 300, .outputs = 100, .read_rows = no_rows},
    {.name = "layers.0.down", .layer = 0, .role = MATRIX_DOWN, .inputs = 700, .outputs = 300, .read_rows = no_rows},
    {.name = "layers.1.q", .layer = 1, .role = MATRIX_Q, .inputs = 300, .outputs = 300, .read_rows = no_rows},
    {.name = "layers.1.k", .layer = 1, .role = MATRIX_K, .inputs = 300, .outputs = 100, .read_rows = no_rows},
    {.name = "layers.1.down", .layer = 1, .role = MATRIX_DOWN, .inputs = 700, .outputs = 300, .read_rows = no_rows},
    {.name = "head", .layer = -1, .role = MATRIX_HEAD, .inputs = 300, .outputs = 1000, .read_rows = no_rows},
};
/* One matrix. */
static const struct matrix_source square = {
    .name = "q", .layer = 0, .role = MATRIX_Q, .inputs = 512, .outputs = 512, .read_rows = no_rows};
enum { MATRICES = sizeof model / sizeof model[0], SETS_MOST = 48 };

/* "key=value key=value" cut at its spaces, in place. */
static inline size_t split_sets(char *text, const char *list[SETS_MOST]) {
    size_t count = 0;
    for (char *save = NULL, *one = strtok_r(text, " ", &save); one; one = strtok_r(NULL, " ", &save)) {
        assert_in_range(count, 0, SETS_MOST - 1);
        list[count++] = one;
    }
    return count;
}

static inline struct chip *load_sets(const char *name, const char *sets) {
    char text[2048];
    const char *list[SETS_MOST];
    assert_in_range(snprintf(text, sizeof text, "%s", sets), 0, sizeof text - 1);
    size_t count = split_sets(text, list);
    return load(name, list, count);
}

/* Takes the chip; steps of at most `tokens`. What cannot be made fails the test. */
static inline struct bench run_of(struct chip *c, const struct matrix_source *m, size_t matrices, uint32_t tokens) {
    struct bench b = {.chip = c};
    struct error e = {OK, ""};
    if (placement_create(c, m, matrices, &b.placement, &e) != OK ||
        run_create_costs(c, b.placement, tokens, &b.run, &e) != OK) {
        fail_msg("%s", e.message);
    }
    return b;
}

static inline void drop(struct bench *b) {
    run_destroy(b->run);
    placement_destroy(b->placement);
    chip_destroy(b->chip);
}

/* A page of docs/ holds all these words; skipped where the page is not beside the configs. */
static inline void page_holds(const char *page, const char *const *words, size_t count) {
    char path[4096], *text = NULL;
    size_t bytes;
    struct error e = {OK, ""};
    snprintf(path, sizeof path, "%s/%s", data_directory(), page);
    if (!file_exists(path)) {
        skip_because("the page is not beside the configs");
    }
    assert_int_equal(read_file(path, 1 << 20, &text, &bytes, &e), OK);
    for (size_t i = 0; i < count; i++) {
        if (!strstr(text, words[i])) {
            fail_msg("%s lacks %s", page, words[i]);
        }
    }
    mem_free(text);
}

#endif
