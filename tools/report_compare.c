/* mho report compare: what is different between two runs, and where it comes from.
 *
 * First the causes: keys of the configuration, and how the program was called. Then the results. Then the differences
 * of energy, time and area by component, largest first. Energy of a component = count x energy of one, so its change is
 * told by both factors per token: "x 2 as many, x 0.5 each". Everything is computed once, as JSON; the text is printed
 * from that.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/quantity.h"
#include "tools/command.h"
#include "tools/report.h"

enum { KEY_BYTES = 200, KEYS_SHOWN = 8, PARTS_SHOWN = 5, BAR = 16 };
#define LEAST_CHANGE 0.0005 /* of the larger total, that is shown as a cause */

static double real_at(const json_t *object, const char *key) {
    const json_t *v = json_object_get(object, key);
    return json_is_number(v) ? json_number_value(v) : (double)NAN;
}

static const json_t *group(const json_t *root, const char *a, const char *b) {
    return json_object_get(json_object_get(root, a), b);
}

/* ---- configuration ------------------------------------------------------------------------------------- */

/* {value, kind, source, ...}: a constant. */
static bool is_constant(const json_t *v) { return json_object_get(v, "value") && json_object_get(v, "kind"); }

static void add_key(json_t *rows, const char *key, const json_t *a, const json_t *b) {
    json_t *row = json_object();
    json_put(row, "key", json_string(key));
    json_object_set(row, "a", a ? (json_t *)(uintptr_t)a : json_null());
    json_object_set(row, "b", b ? (json_t *)(uintptr_t)b : json_null());
    json_array_append_new(rows, row);
}

static void compare_keys(const char *prefix, const json_t *a, const json_t *b, json_t *rows, int depth);

/* One key of two maps. A constant is told by its value; by all of it where only source, kind or spread differ. */
static void compare_key(const char *prefix, const char *key, const json_t *a, const json_t *b, json_t *rows,
                        int depth) {
    char name[KEY_BYTES];
    snprintf(name, sizeof name, "%s%s%s", prefix, prefix[0] ? "." : "", key);
    if (a && b && json_equal(a, b)) {
        return;
    }
    if (is_constant(a) && is_constant(b)) {
        const json_t *va = json_object_get(a, "value"), *vb = json_object_get(b, "value");
        bool values = !json_equal(va, vb);
        add_key(rows, name, values ? va : a, values ? vb : b);
    } else if (is_constant(a) || is_constant(b) || !(json_is_object(a) || json_is_object(b))) {
        add_key(rows, name, is_constant(a) ? json_object_get(a, "value") : a,
                is_constant(b) ? json_object_get(b, "value") : b);
    } else {
        compare_keys(name, json_is_object(a) ? a : NULL, json_is_object(b) ? b : NULL, rows, depth + 1);
    }
}

enum { DEEPEST = 16 };

static void compare_keys(const char *prefix, const json_t *a, const json_t *b, json_t *rows, int depth) {
    const char *key;
    json_t *value;
    if (depth > DEEPEST) {
        return;
    }
    json_object_foreach((json_t *)(uintptr_t)a, key, value) {
        compare_key(prefix, key, value, json_object_get(b, key), rows, depth);
    }
    json_object_foreach((json_t *)(uintptr_t)b, key, value) {
        if (!json_object_get(a, key)) {
            compare_key(prefix, key, NULL, value, rows, depth);
        }
    }
}

static json_t *causes(const json_t *a, const json_t *b) {
    static const char *const calls[] = {"mho", "model", "seed", "prompt_tokens", "generated_tokens", "shapes_only"};
    json_t *rows = json_array();
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        const json_t *va = json_object_get(a, calls[i]), *vb = json_object_get(b, calls[i]);
        if ((va || vb) && !(va && vb && json_equal(va, vb))) {
            add_key(rows, calls[i], va, vb);
        }
    }
    compare_keys("", json_object_get(a, "config"), json_object_get(b, "config"), rows, 0);
    return rows;
}

/* ---- results ------------------------------------------------------------------------------------------- */

static void add_result(json_t *rows, const char *name, const char *unit, double a, double b) {
    if (isfinite(a) || isfinite(b)) {
        json_t *row = json_object();
        json_put(row, "name", json_string(name));
        json_put(row, "unit", json_string(unit));
        json_put(row, "a", json_number(a));
        json_put(row, "b", json_number(b));
        json_put(row, "ratio", json_number(a != 0 ? b / a : (double)NAN));
        json_array_append_new(rows, row);
    }
}

static json_t *results(const json_t *a, const json_t *b) {
    static const struct {
        const char *name, *unit, *group, *key;
    } of[] = {
        {"energy per token", "J", "energy", "per_token_J"},
        {"time to first token", "s", "latency", "ttft_s"},
        {"time per output token", "s", "latency", "tpot_s"},
        {"area", "mm2", "area", "total_mm2"},
        {"tiles", "", "mapping", "tiles"},
        {"chips", "", "mapping", "chips"},
        {"agrees with digital", "", "divergence", "top1_agreement"},
        {"KL(digital || analog)", "nats", "divergence", "kl_nats"},
    };
    json_t *rows = json_array();
    for (size_t i = 0; i < sizeof of / sizeof of[0]; i++) {
        add_result(rows, of[i].name, of[i].unit, real_at(json_object_get(a, of[i].group), of[i].key),
                   real_at(json_object_get(b, of[i].group), of[i].key));
    }
    return rows;
}

/* ---- components ---------------------------------------------------------------------------------------- */

/* What is compared of a component. */
struct measure {
    const char *name;
    double (*of)(const json_t *root, const char *part); /* NAN: not known */
    const json_t *(*parts)(const json_t *root);         /* object whose keys are the parts */
};

static double per_token(const json_t *root, double value) {
    double tokens = real_at(json_object_get(root, "energy"), "tokens");
    return tokens > 0 ? value / tokens : (double)NAN;
}

static double energy_of(const json_t *root, const char *part) {
    return per_token(root, real_at(group(root, "energy", "by_component"), part));
}
static double time_of(const json_t *root, const char *part) {
    return per_token(root, real_at(json_object_get(group(root, "time", "resources"), part), "critical_path_s"));
}
static double area_of(const json_t *root, const char *part) {
    return real_at(group(root, "area", "by_component"), part);
}
static double count_of(const json_t *root, const char *part) {
    return per_token(root, real_at(group(root, "counts", part), "count"));
}
static const json_t *energy_parts(const json_t *root) { return group(root, "energy", "by_component"); }
static const json_t *time_parts(const json_t *root) { return group(root, "time", "resources"); }
static const json_t *area_parts(const json_t *root) { return group(root, "area", "by_component"); }

static const struct measure measures[] = {
    {"energy_per_token_J", energy_of, energy_parts},
    {"critical_path_per_token_s", time_of, time_parts},
    {"area_mm2", area_of, area_parts},
};
enum { MEASURES = sizeof measures / sizeof measures[0] };

static double or_zero(double x) { return isfinite(x) ? x : 0; }

/* A part that only one run knows counts as 0 in the other: it has none. */
static json_t *part_json(const struct measure *m, const char *part, const json_t *a, const json_t *b) {
    double va = m->of(a, part), vb = m->of(b, part);
    json_t *row = json_object();
    json_put(row, "component", json_string(part));
    json_put(row, "a", json_number(va));
    json_put(row, "b", json_number(vb));
    json_put(row, "change", json_number(or_zero(vb) - or_zero(va)));
    if (m->of == energy_of) {
        double counts = count_of(b, part) / count_of(a, part);
        json_put(row, "count_ratio", json_number(counts));
        json_put(row, "each_ratio", json_number(vb / va / counts));
    }
    return row;
}

/* Inserts by size of the change, largest first. */
static void insert(json_t *rows, json_t *row) {
    size_t at = 0;
    double change = fabs(or_zero(real_at(row, "change")));
    while (at < json_array_size(rows) && fabs(or_zero(real_at(json_array_get(rows, at), "change"))) >= change) {
        at++;
    }
    json_array_insert_new(rows, at, row);
}

static json_t *parts_json(const struct measure *m, const json_t *a, const json_t *b) {
    json_t *rows = json_array(), *unused;
    const char *part;
    json_object_foreach((json_t *)(uintptr_t)m->parts(a), part, unused) {
        (void)unused;
        insert(rows, part_json(m, part, a, b));
    }
    json_object_foreach((json_t *)(uintptr_t)m->parts(b), part, unused) {
        if (!json_object_get(m->parts(a), part)) {
            insert(rows, part_json(m, part, a, b));
        }
    }
    return rows;
}

/* ---- text ---------------------------------------------------------------------------------------------- */

/* A value of the configuration on one line, cut to `most` bytes of printable ASCII. */
static void value_text(const json_t *v, char *out, size_t most) {
    char dumped[256];
    const char *from = json_is_null(v) ? "none" : json_string_value(v);
    size_t n = 0;
    if (!from) {
        size_t length =
            json_dumpb(v, dumped, sizeof dumped - 1, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(6));
        dumped[length < sizeof dumped ? length : sizeof dumped - 1] = 0;
        from = dumped;
    }
    for (; from[n] && n + 1 < most; n++) {
        out[n] = from[n] >= ' ' && from[n] <= '~' ? from[n] : '?';
    }
    out[n] = 0;
    if (from[n] && n > 2) {
        memcpy(out + n - 2, "..", 2);
    }
}

static void print_causes(const json_t *rows) {
    json_t *row;
    size_t i;
    char key[56], a[40], b[40];
    json_array_foreach(rows, i, row) {
        if (i < KEYS_SHOWN) {
            value_text(json_object_get(row, "key"), key, sizeof key);
            value_text(json_object_get(row, "a"), a, sizeof a);
            value_text(json_object_get(row, "b"), b, sizeof b);
            printf("  %-28s %s -> %s\n", key, a, b);
        }
    }
    if (json_array_size(rows) > KEYS_SHOWN) {
        printf("  and %zu more keys (--json lists them)\n", json_array_size(rows) - KEYS_SHOWN);
    } else if (json_array_size(rows) == 0) {
        printf("  nothing\n");
    }
}

/* mm2 and shares have no prefixes. */
static void number_text(double value, const char *unit, char out[QUANTITY_BYTES]) {
    if (isfinite(value) && unit[0] != 'J' && unit[0] != 's') {
        snprintf(out, QUANTITY_BYTES, "%.4g%s%s", value, unit[0] ? " " : "", unit);
    } else {
        quantity(value, unit, out);
    }
}

static void print_results(const json_t *rows) {
    json_t *row;
    size_t i;
    json_array_foreach(rows, i, row) {
        char a[QUANTITY_BYTES], b[QUANTITY_BYTES];
        const char *unit = json_string_value(json_object_get(row, "unit"));
        double ratio = real_at(row, "ratio");
        number_text(real_at(row, "a"), unit, a);
        number_text(real_at(row, "b"), unit, b);
        printf("  %-22s %12s %12s", json_string_value(json_object_get(row, "name")), a, b);
        if (isfinite(ratio) && fabs(ratio - 1) < 5e-5) {
            printf("   same\n");
        } else if (isfinite(ratio)) {
            printf(" %+7.1f %%\n", 100 * (ratio - 1));
        } else {
            printf("\n");
        }
    }
}

/* "######    " with the sign in front. */
static void print_bar(double change, double largest) {
    int filled = largest > 0 ? (int)(fabs(change) / largest * BAR + 0.5) : 0;
    printf(" ");
    for (int i = 0; i < filled; i++) {
        putchar(change < 0 ? '-' : '+');
    }
}

static void print_factors(const json_t *row) {
    double counts = real_at(row, "count_ratio"), each = real_at(row, "each_ratio");
    if (isfinite(counts) && isfinite(each)) {
        printf("  count x %.3g, each x %.3g", counts, each);
    }
}

static double total_of(const json_t *rows, const char *key) {
    double total = 0;
    json_t *row;
    size_t i;
    json_array_foreach(rows, i, row) {
        total += or_zero(real_at(row, key));
    }
    return total;
}

static void print_parts(const char *title, const json_t *rows, const char *unit, size_t most) {
    json_t *row;
    size_t i;
    double a = total_of(rows, "a"), b = total_of(rows, "b"),
           largest = fabs(or_zero(real_at(json_array_get(rows, 0), "change")));
    printf("%s\n", title);
    if (!(largest > LEAST_CHANGE * (a > b ? a : b))) {
        printf("  no change\n");
        return;
    }
    json_array_foreach(rows, i, row) {
        double change = real_at(row, "change");
        char text[QUANTITY_BYTES];
        if (i < most && fabs(change) > LEAST_CHANGE * (a > b ? a : b)) {
            number_text(fabs(change), unit, text);
            printf("  %-14s %c %9s", json_string_value(json_object_get(row, "component")), change < 0 ? '-' : '+',
                   text);
            print_bar(change, largest);
            print_factors(row);
            printf("\n");
        }
    }
}

static void print_comparison(const json_t *root, const char *const names[2]) {
    printf("A  %s\nB  %s\n\nchanged, A -> B\n", names[0], names[1]);
    print_causes(json_object_get(root, "changed"));
    printf("\n  %-22s %12s %12s\n", "", "A", "B");
    print_results(json_object_get(root, "results"));
    printf("\n");
    print_parts("energy per token, by component", json_object_get(root, measures[0].name), "J", PARTS_SHOWN);
    print_parts("critical path per token, by component", json_object_get(root, measures[1].name), "s",
                PARTS_SHOWN - 1);
    print_parts("area, by component", json_object_get(root, measures[2].name), "mm2", PARTS_SHOWN - 2);
    const json_t *text = json_object_get(root, "same_text");
    if (text) {
        printf("text: %s\n", json_is_true(text) ? "the same" : "not the same");
    }
}

enum status report_compare(const json_t *a, const json_t *b, const char *const names[2], json_t *root, bool as_json,
                           struct error *e) {
    const json_t *text_a = json_object_get(a, "text"), *text_b = json_object_get(b, "text");
    json_put(root, "a", json_string(names[0]));
    json_put(root, "b", json_string(names[1]));
    json_put(root, "changed", causes(a, b));
    json_put(root, "results", results(a, b));
    for (size_t i = 0; i < MEASURES; i++) {
        json_put(root, measures[i].name, parts_json(&measures[i], a, b));
    }
    if (text_a && text_b) {
        json_put(root, "same_text", json_boolean(json_equal(text_a, text_b)));
    }
    if (as_json) {
        return json_finish(root, e);
    }
    print_comparison(root, names);
    json_decref(root);
    return finish_output(e);
}
