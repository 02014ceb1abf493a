/* mho validate: numbers published about chips beside those that the machine gives, with the role of every number.
 * Files, rules and simulation are in sim/ (configs/validation).
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "tools/command.h"

enum { CELL_BYTES = 256 };

/* All files asked for, read and run. */
struct files {
    struct validation **list;
    size_t count;
};

/* Sums over chips. */
struct summary {
    struct validation_count all;
    char worst[CELL_BYTES]; /* which point */
};

/* ---- collecting ---------------------------------------------------------------------------------------------------
 */

static void close_files(struct files *f) {
    for (size_t i = 0; i < f->count; i++) {
        validation_destroy(f->list[i]);
    }
    mem_free(f->list);
}

static enum status open_files(const char *const *names, size_t count, struct files *f, struct error *e) {
    f->count = 0;
    f->list = mem_alloc(count, sizeof *f->list);
    if (!f->list) {
        return error_set(e, ERR_RUN, "validate: out of memory");
    }
    for (size_t i = 0; i < count; i++) {
        TRY(validation_load(names[i], &f->list[i], e));
        f->count++;
        TRY(validation_run(f->list[i], e));
    }
    return OK;
}

/* "area of adc", "throughput". */
static const char *name_of(const struct validation_point *p, char text[CELL_BYTES]) {
    snprintf(text, CELL_BYTES, p->component[0] ? "%s of %s" : "%s", p->quantity, p->component);
    return text;
}

/* Items with blanks between them. */
static const char *listed(const char *const *items, size_t count, char text[CELL_BYTES]) {
    text[0] = 0;
    for (size_t i = 0; i < count; i++) {
        size_t used = strlen(text);
        snprintf(text + used, CELL_BYTES - used, "%s%s", i ? " " : "", items[i]);
    }
    return text;
}

static void note_worst(struct summary *s, const struct validation *v) {
    for (size_t i = 0; i < validation_points(v); i++) {
        char name[CELL_BYTES];
        struct validation_point p = validation_point_at(v, i);
        if (p.role != ROLE_DERIVED && !(fabs(p.error) <= s->all.worst)) {
            s->all.worst = fabs(p.error);
            snprintf(s->worst, sizeof s->worst, "%.60s: %.180s", validation_chip(v), name_of(&p, name));
        }
    }
}

static struct summary sum_up(const struct files *f) {
    struct summary s = {.worst = ""};
    for (size_t i = 0; i < f->count; i++) {
        struct validation_count n = validation_count(f->list[i]);
        s.all.points += n.points;
        s.all.predicted += n.predicted;
        s.all.fitted += n.fitted;
        s.all.derived += n.derived;
        s.all.constants += n.constants;
        s.all.within += n.within;
        note_worst(&s, f->list[i]);
    }
    return s;
}

/* ---- JSON ---------------------------------------------------------------------------------------------------------
 */

static json_t *texts_json(const char *const *items, size_t count) {
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++) {
        json_array_append_new(list, json_string(items[i]));
    }
    return list;
}

static json_t *point_json(const struct validation *v, const struct validation_point *p) {
    json_t *row = json_object();
    json_put(row, "chip", json_string(validation_chip(v)));
    json_put(row, "quantity", json_string(p->quantity));
    json_put(row, "component", p->component[0] ? json_string(p->component) : json_null());
    json_put(row, "set", texts_json(p->sets, p->set_count));
    json_put(row, "unit", json_string(p->unit));
    json_put(row, "published", json_number(p->published));
    json_put(row, "simulated", json_number(p->simulated));
    json_put(row, "error", json_number(p->error));
    json_put(row, "role", json_string(point_role_name(p->role)));
    json_put(row, "constants", texts_json(p->constants, p->constant_count));
    json_put(row, "operations_per_mac", json_integer(p->operations_per_mac));
    json_put(row, "input_bits", json_integer(p->input_bits));
    json_put(row, "output_bits", json_integer(p->output_bits));
    json_put(row, "boundary", json_string(p->boundary));
    json_put(row, "source", json_string(p->source));
    json_put(row, "why", p->why[0] ? json_string(p->why) : json_null());
    return row;
}

static json_t *points_json(const struct files *f, bool derived) {
    json_t *list = json_array();
    for (size_t i = 0; i < f->count; i++) {
        for (size_t k = 0; k < validation_points(f->list[i]); k++) {
            struct validation_point p = validation_point_at(f->list[i], k);
            if ((p.role == ROLE_DERIVED) == derived) {
                json_array_append_new(list, point_json(f->list[i], &p));
            }
        }
    }
    return list;
}

static json_t *count_json(const struct validation_count *n) {
    json_t *o = json_object();
    json_put(o, "points", json_integer((json_int_t)n->points));
    json_put(o, "predicted", json_integer((json_int_t)n->predicted));
    json_put(o, "fitted", json_integer((json_int_t)n->fitted));
    json_put(o, "constants_fitted", json_integer((json_int_t)n->constants));
    json_put(o, "derived", json_integer((json_int_t)n->derived));
    json_put(o, "within_10_percent", json_integer((json_int_t)n->within));
    json_put(o, "worst", json_number(n->worst));
    return o;
}

static json_t *chips_json(const struct files *f) {
    json_t *list = json_array();
    for (size_t i = 0; i < f->count; i++) {
        struct validation_count n = validation_count(f->list[i]);
        json_t *o = count_json(&n);
        json_put(o, "chip", json_string(validation_chip(f->list[i])));
        json_put(o, "about", json_string(validation_about(f->list[i])));
        json_put(o, "boundary", json_string(validation_boundary(f->list[i])));
        json_t *sources = json_object();
        for (size_t k = 0; k < validation_sources(f->list[i]); k++) {
            struct validation_source s = validation_source_at(f->list[i], k);
            json_put(sources, s.key, json_string(s.text));
        }
        json_put(o, "sources", sources);
        json_array_append_new(list, o);
    }
    return list;
}

static enum status write_json(const struct options *o, const struct files *f, struct error *e) {
    struct summary s = sum_up(f);
    json_t *root = json_envelope("validate", o, NULL);
    json_put(root, "points", points_json(f, false));
    json_put(root, "derived", points_json(f, true));
    json_put(root, "chips", chips_json(f));
    json_t *summary = count_json(&s.all);
    json_put(summary, "worst_point", s.worst[0] ? json_string(s.worst) : json_null());
    json_put(root, "summary", summary);
    return json_finish(root, e);
}

/* ---- terminal -----------------------------------------------------------------------------------------------------
 */

/* "fitted: tile.mvm_ns", "predicted". */
static const char *role_of(const struct validation_point *p, char text[CELL_BYTES]) {
    char constants[CELL_BYTES];
    snprintf(text, CELL_BYTES, p->constant_count ? "%s: %.200s" : "%s", point_role_name(p->role),
             listed(p->constants, p->constant_count, constants));
    return text;
}

/* Never a TOPS without what an operation is, and the bits of the converters; the boundary stands with the chip, or in
 * the name. Nothing for other units. */
static const char *convention_of(const struct validation_point *p, char text[CELL_BYTES]) {
    text[0] = 0;
    if (strncmp(p->unit, "TOPS", 4) == 0) {
        snprintf(text, CELL_BYTES, " (%d op%s/MAC, %d x %d bits)", p->operations_per_mac,
                 p->operations_per_mac == 1 ? "" : "s", p->input_bits, p->output_bits);
    }
    return text;
}

static void print_point(const struct validation_point *p) {
    char name[CELL_BYTES], settings[CELL_BYTES], role[CELL_BYTES], convention[CELL_BYTES];
    printf("  %-28s %10.5g %10.5g %-8s %+7.1f %%  %s%s", name_of(p, name), p->published, p->simulated, p->unit,
           100 * p->error, role_of(p, role), convention_of(p, convention));
    if (p->set_count) {
        printf("  [%s]", listed(p->sets, p->set_count, settings));
    }
    printf("  (%s)\n", p->source);
    if (p->why[0]) {
        printf("      %s\n", p->why);
    }
}

static void print_count(const struct validation_count *n) {
    printf("%zu point%s: %zu predicted, %zu fitted with %zu constant%s, %zu within %.0f %%", n->points,
           n->points == 1 ? "" : "s", n->predicted, n->fitted, n->constants, n->constants == 1 ? "" : "s", n->within,
           100 * VALIDATION_GOAL);
    if (n->derived) {
        printf("; %zu derived, not counted", n->derived);
    }
}

static enum status print_files(const struct files *f, struct error *e) {
    for (size_t i = 0; i < f->count; i++) {
        const struct validation *v = f->list[i];
        struct validation_count n = validation_count(v);
        printf("%s: %s\n  counted: %s\n", validation_chip(v), validation_about(v), validation_boundary(v));
        printf("  %-28s %10s %10s %-8s %9s  %s\n", "quantity", "published", "simulated", "", "error", "role");
        for (size_t k = 0; k < validation_points(v); k++) {
            struct validation_point p = validation_point_at(v, k);
            print_point(&p);
        }
        printf("  ");
        print_count(&n);
        printf("\n\n");
    }
    struct summary s = sum_up(f);
    print_count(&s.all);
    printf("\nworst: %.1f %% (%s)\n", 100 * s.all.worst, s.worst);
    return finish_output(e);
}

/* ---- the page docs/validation.md ----------------------------------------------------------------------------------
 */

static const char introduction[] =
    "# Published numbers\n"
    "\n"
    "Written by `mho validate --markdown` (`make docs`). `mho validate` prints the same for a terminal, `--json` for "
    "programs.\n"
    "\n"
    "Every row is a number that somebody published about a chip, beside what the machine says for the preset of that "
    "chip (`configs/chips`) on\n"
    "the workload of the paper: a matrix that fills the tiles, a stream of vectors, placement, timeline, ledger and "
    "area as in any run. The data\n"
    "lie in `configs/validation`.\n"
    "\n"
    "- **predicted**: no constant was fitted to this number, and it is not the arithmetic of other points.\n"
    "- **fitted**: the constants that are named were chosen so that it comes out; its error only says how well that "
    "was done.\n"
    "- **derived**: follows from other points of the same chip (energy per MVM and TOPS/W, a sum of parts). Shown, not "
    "counted.\n"
    "\n"
    "A file that breaks these rules does not load: a fitted point names its constants, they are of kind `fitted` in "
    "the chip file, a constant is\n"
    "fitted to one point only, every fitted constant of a chip belongs to a point, there are no more of them than "
    "fitted points, a point's settings\n"
    "change no physical constant, and a point that counts is independent of those before it "
    "(`sim/validation_rules.c`).\n"
    "\n"
    "Operations per MAC, bits and boundary differ from paper to paper: the first two stand beside every TOPS (bits: of "
    "the simulated converters,\n"
    "inputs x outputs), the boundary with every chip. It names the components that count;\n"
    "`static` is the leakage of the tiles and of the units named beside it. Neighbours that a preset has only to be "
    "able to run a language model\n"
    "are outside. An error above 10 % stays in the table with its reason. The test suite `validate` keeps the errors "
    "of all rows\n"
    "(`tests/validation_errors.csv`) and fails when one grows.\n"
    "\n"
    "What the counts do not show: the *form* of a model is a choice too, and some were made with the numbers in view; "
    "the text of a chip says\n"
    "where. Component constants that a paper publishes are no fits, but a total of the same paper that follows from "
    "them tests the counting and\n"
    "the timing of the machine, not the constants. Numbers that were recalled and not read again say so in their "
    "source. The abstract preset\n"
    "`ibm_3d` stands for no silicon and has no page here.\n";

static void write_overview(const struct files *f) {
    printf("\n| chip | points | predicted | fitted | constants fitted | derived | within 10 %% | worst |\n"
           "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n");
    for (size_t i = 0; i < f->count; i++) {
        struct validation_count n = validation_count(f->list[i]);
        printf("| [%s](#%s) | %zu | %zu | %zu | %zu | %zu | %zu | %.1f %% |\n", validation_chip(f->list[i]),
               validation_chip(f->list[i]), n.points, n.predicted, n.fitted, n.constants, n.derived, n.within,
               100 * n.worst);
    }
}

/* "+8.9 %"; what rounds to nothing has no sign. */
static const char *percent(double error, char text[CELL_BYTES]) {
    bool nothing = fabs(error) < 0.0005;
    snprintf(text, CELL_BYTES, nothing ? "%.1f %%" : "%+.1f %%", nothing ? 0.0 : 100 * error);
    return text;
}

static void write_point(const struct validation_point *p) {
    char name[CELL_BYTES], settings[CELL_BYTES], role[CELL_BYTES], error[CELL_BYTES], convention[CELL_BYTES];
    printf("| %s | %s | %.5g | %.4g | %s%s | %s | %s | %s |\n", name_of(p, name),
           listed(p->sets, p->set_count, settings), p->published, p->simulated, p->unit, convention_of(p, convention),
           percent(p->error, error), role_of(p, role), p->source);
}

static void write_reasons(const struct validation *v) {
    for (size_t k = 0; k < validation_points(v); k++) {
        char name[CELL_BYTES], settings[CELL_BYTES];
        struct validation_point p = validation_point_at(v, k);
        if (p.why[0]) {
            printf("\n%s%s%s (%+.1f %%): %s\n", name_of(&p, name), p.set_count ? ", " : "",
                   listed(p.sets, p.set_count, settings), 100 * p.error, p.why);
        }
    }
}

static void write_sources(const struct validation *v) {
    printf("\n");
    for (size_t i = 0; i < validation_sources(v); i++) {
        struct validation_source s = validation_source_at(v, i);
        printf("- %s: %s\n", s.key, s.text);
    }
}

static enum status write_page(const struct files *f, struct error *e) {
    struct summary s = sum_up(f);
    printf("%s\n", introduction);
    print_count(&s.all);
    printf(".\nThe worst: %.1f %% (%s).\n", 100 * s.all.worst, s.worst);
    write_overview(f);
    for (size_t i = 0; i < f->count; i++) {
        const struct validation *v = f->list[i];
        struct validation_count n = validation_count(v);
        printf("\n## %s\n\n%s\nCounted: %s.\n\n", validation_chip(v), validation_about(v), validation_boundary(v));
        printf("| quantity | settings | published | simulated | unit | error | role | source |\n"
               "| --- | --- | ---: | ---: | --- | ---: | --- | --- |\n");
        for (size_t k = 0; k < validation_points(v); k++) {
            struct validation_point p = validation_point_at(v, k);
            write_point(&p);
        }
        printf("\n");
        print_count(&n);
        printf(".\n");
        write_reasons(v);
        write_sources(v);
    }
    return finish_output(e);
}

/* ---- the command --------------------------------------------------------------------------------------------------
 */

static enum status validate_command(const struct options *o, struct error *e) {
    const char *const *names = o->words.items;
    size_t count = o->words.count;
    if (!count) {
        TRY(validation_catalogue(&names, e));
        while (names[count]) {
            count++;
        }
    }
    struct files f = {NULL, 0};
    enum status s = open_files(names, count, &f, e);
    if (s == OK) {
        s = o->json ? write_json(o, &f, e) : o->markdown ? write_page(&f, e) : print_files(&f, e);
    }
    close_files(&f);
    return s;
}

static const char *const names[] = {"markdown", NULL};

const struct command command_validate = {
    "validate",
    "[CHIP...]",
    "published numbers of chips beside simulated ones, and what was fitted",
    names,
    validate_command,
    "CHIP: a name in configs/validation or the path of such a file; none: all of them.\n"
    "--json: points (predicted and fitted), derived (not counted), chips (degrees of freedom), summary.",
};
