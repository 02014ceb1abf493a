/* Shared by the tests of models: reading golden JSON files and comparing arrays with them. */
#ifndef MHO_TESTS_GOLDEN_H
#define MHO_TESTS_GOLDEN_H

#include <math.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "models/model.h"
#include "tests/suite.h"

static inline void must(enum status s, const struct error *e) {
    if (s != OK) {
        fail_msg("status %d: %s", s, e->message);
    }
}

static inline json_t *load_json(const char *path) {
    json_error_t je;
    json_t *j = json_load_file(path, 0, &je);
    if (!j) {
        fail_msg("%s:%d: %s", path, je.line, je.text);
    }
    return j;
}

static inline uint32_t read_ids(const json_t *list, int32_t *ids, size_t room) {
    size_t n = json_array_size(list);
    assert_in_range(n, 1, room);
    for (size_t i = 0; i < n; i++) {
        ids[i] = (int32_t)json_integer_value(json_array_get(list, i));
    }
    return (uint32_t)n;
}

static inline struct model *open_model(const char *path) {
    struct model *m = NULL;
    struct error e;
    must(model_open(path, &m, &e), &e);
    return m;
}

static inline struct session *new_session(const struct model *m, struct session_options o) {
    struct session *s = NULL;
    struct error e;
    must(session_create(m, &o, &s, &e), &e);
    return s;
}

/* Largest |actual - expected|; *largest = the largest |expected|, at least 1. */
static inline double worst_difference(const float *actual, const json_t *expected, double *largest) {
    double worst = 0.0;
    *largest = 1.0;
    assert_true(json_array_size(expected) > 0);
    for (size_t i = 0; i < json_array_size(expected); i++) {
        double want = json_number_value(json_array_get(expected, i)), difference = fabs(actual[i] - want);
        *largest = fmax(*largest, fabs(want));
        worst = difference <= worst ? worst : difference;
    }
    return worst;
}

/* Lowest id of the largest logit; *gap = its distance to the second. */
static inline int32_t greedy_id(const float *logits, size_t n, double *gap) {
    size_t top = 0;
    double second = -INFINITY;
    for (size_t i = 1; i < n; i++) {
        if (logits[i] > logits[top]) {
            second = logits[top];
            top = i;
        } else {
            second = fmax(second, logits[i]);
        }
    }
    *gap = logits[top] - second;
    return (int32_t)top;
}

#endif
