/* The report of a run for a terminal: one screen, 24 or 25 lines of 80 columns where nothing is wrong. Lines that do
 * not fit go on in the next one; the table takes 60 columns where there are fewer.
 *
 *   chip and mapping
 *   a table: energy per token, time on the critical path, and area, by component, with their shares as bars; components
 *   that have less than half a percent of all three are left out, and the smallest are taken together where the other
 *   lines leave no room
 *   time, and what bounds it; power; the tiles alone
 *   energy, time and area with the spreads of the constants, and which constants move them
 *   programming and calibration; wires and faults where there are any
 *   assumptions, what is not modelled, flags
 */
#include "sim/report.h"

#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "base/quantity.h"
#include "sim/placement.h"
#include "sim/report_machine.h"

enum { SCREEN_LINES = 24, ROWS_LEAST = 7, ROWS_MOST = PART_COUNT + 4, BAR_MOST = 20, BOUNDS_SHOWN = 3,
       COLUMNS_LEAST = 40 };
#define LEAST_SHARE 0.005 /* of a row, or of what bounds the time */

/* ---- the table --------------------------------------------------------------------------------- */

enum { ENERGY, TIME, AREA, QUANTITIES };

struct row {
    const char *name;
    bool stage;               /* of the tiles: its numbers are in those of the tiles, too */
    double value[QUANTITIES]; /* J per token, s, mm2; NAN: has none */
};

struct table {
    struct row rows[ROWS_MOST], total;
    int count, bar; /* bar: its columns; 0: none */
    double largest[QUANTITIES];
};

/* The largest of its shares of the totals; a stage counts half, since its tiles have a row. */
static double weight(const struct table *t, const struct row *row) {
    double most = 0;
    for (int q = 0; q < QUANTITIES; q++) {
        double share = row->value[q] / t->total.value[q];
        most = share > most ? share : most;
    }
    return row->stage ? most / 2 : most;
}

static void add_row(struct table *t, const char *name, bool stage, double energy_J, double time_s, double mm2) {
    struct row row = {name, stage, {energy_J, time_s, mm2}};
    if (weight(t, &row) >= LEAST_SHARE) {
        t->rows[t->count++] = row;
    }
}

/* The class of resources that a component works on, if it is one of its own. */
static int class_of_part(enum component part) {
    for (int c = 0; c < CLASS_COUNT; c++) {
        if (strcmp(resource_class_name((enum resource_class)c), component_name(part)) == 0) {
            return c;
        }
    }
    return -1;
}

static void fill_table(const struct run *r, const struct ledger_view *v, struct table *t) {
    struct area_view area = placement_area(r->chip, r->placement);
    struct run_path path = run_path(r);
    double tokens = (double)r->tokens_total, tiles_J = 0, tiles_mm2 = 0;
    t->total = (struct row){"total", false, {v->total_J / tokens, v->makespan_s, area.total_mm2}};
    for (int c = PART_DAC; c <= PART_DIGITAL_POST; c++) {
        tiles_J += v->energy_J[c];
        tiles_mm2 += area.part_mm2[c];
    }
    add_row(t, "tiles", false, tiles_J / tokens, path.class_s[CLASS_TILES], tiles_mm2);
    for (int c = 0; c < PART_STATIC; c++) {
        if (!component_listed(v, (enum component)c)) {
            continue;
        }
        bool stage = c <= PART_DIGITAL_POST;
        int class = stage ? -1 : class_of_part((enum component)c);
        add_row(t, component_name((enum component)c), stage, v->energy_J[c] / tokens,
                class >= 0 ? path.class_s[class] : (double)NAN,
                c == PART_MAINTENANCE ? (double)NAN : area.part_mm2[c]);
    }
    add_row(t, component_name(PART_STATIC), false, v->energy_J[PART_STATIC] / tokens, (double)NAN, (double)NAN);
    for (int i = 0; i < REPORT_WAITS; i++) {
        struct report_wait wait = report_wait(r, i);
        add_row(t, wait.name, false, (double)NAN, wait.critical_s, (double)NAN);
    }
}

/* Into the last row, which is "others"; a stage is in the tiles already. */
static void fold_row(struct table *t, int which, struct row *others) {
    struct row folded = t->rows[which];
    memmove(t->rows + which, t->rows + which + 1, (size_t)(t->count - which - 1) * sizeof folded);
    t->count--;
    for (int q = 0; q < QUANTITIES && !folded.stage; q++) {
        if (isfinite(folded.value[q])) {
            others->value[q] = folded.value[q] + (isfinite(others->value[q]) ? others->value[q] : 0);
        }
    }
}

/* The smallest rows together until there are no more than so many. */
static void fold_smallest(struct table *t, int most) {
    struct row others = {"others", false, {(double)NAN, (double)NAN, (double)NAN}};
    while (t->count + (weight(t, &others) > 0) > most) {
        int smallest = t->count - 1;
        for (int i = t->count - 1; i > 0; i--) {
            smallest = weight(t, &t->rows[i]) < weight(t, &t->rows[smallest]) ? i : smallest;
        }
        fold_row(t, smallest, &others);
    }
    if (weight(t, &others) > 0) {
        t->rows[t->count++] = others;
    }
}

static int add_bar(double share, int width, char *out) {
    int filled = isfinite(share) ? (int)(share * width + 0.5) : 0;
    out[0] = ' ';
    memset(out + 1, ' ', (size_t)width);
    memset(out + 1, '#', (size_t)(filled < width ? filled : width));
    out[width + 1] = 0;
    return width + 1;
}

/* A line without blanks at its end. */
static void print_line(FILE *out, const char *line) {
    size_t n = strlen(line);
    while (n > 0 && line[n - 1] == ' ') {
        n--;
    }
    fprintf(out, "%.*s\n", (int)n, line);
}

/* The longest bar of a column is that of its largest row. */
static void print_row(const struct table *t, const struct row *row, FILE *out) {
    char line[256], text[QUANTITY_BYTES];
    int used = snprintf(line, sizeof line, "%s%-*s", row->stage ? "  " : "", row->stage ? 12 : 14, row->name);
    for (int q = 0; q < QUANTITIES; q++) {
        double value = row->value[q], share = value / t->total.value[q];
        if (!isfinite(value)) {
            used += snprintf(line + used, sizeof line - (size_t)used, "%*s", 15 + (t->bar ? t->bar + 1 : 0), "");
            continue;
        }
        used += snprintf(line + used, sizeof line - (size_t)used, " %8s %3.0f %%",
                         q == AREA ? quantity_area(value, text) : quantity(value, q == ENERGY ? "J" : "s", text),
                         100 * share);
        used += t->bar ? add_bar(row == &t->total ? 0 : value / t->largest[q], t->bar, line + used) : 0;
    }
    print_line(out, line);
}

static void print_table(struct table *t, int columns, FILE *out) {
    enum { NUMBERS = 59 }; /* columns without bars */
    int room = (columns - NUMBERS) / QUANTITIES - 1, group = 14;
    t->bar = room < 4 ? 0 : room < BAR_MOST ? room : BAR_MOST;
    group += t->bar ? t->bar + 1 : 0;
    for (int i = 0; i < t->count; i++) {
        for (int q = 0; q < QUANTITIES; q++) {
            t->largest[q] = t->rows[i].value[q] > t->largest[q] ? t->rows[i].value[q] : t->largest[q];
        }
    }
    fprintf(out, "%-14s %-*s %-*s %s\n", "", group, "energy a token", group, "time of run", "area");
    for (int i = 0; i < t->count; i++) {
        print_row(t, &t->rows[i], out);
    }
    print_row(t, &t->total, out);
}

/* ---- lines ------------------------------------------------------------------------------------- */

void placement_print_hops(const struct placement_total *p, FILE *out) {
    double saved = 1 - p->bit_hops / p->bit_hops_in_order;
    if (saved > 0) {
        fprintf(out, "placement: %.4g bit hops per token, %.4g in order (%.1f %% saved)\n", p->bit_hops,
                p->bit_hops_in_order, 100 * saved);
    } else if (p->bit_hops_in_order >= 0) {
        fprintf(out, "placement: %.4g bit hops per token as in order, nothing better was found\n", p->bit_hops);
    }
}

static void print_mapping(const struct run *r, FILE *out) {
    const struct tile_spec *t = &chip_spec_of(r->chip)->tile;
    struct placement_total p = placement_total(r->placement);
    fprintf(out, "chip %s: %" PRIu64 " tiles of %d x %d on %" PRIu64 " chip%s, %.0f %% of cells in use\n",
            chip_name(r->chip), p.tiles, t->rows, t->columns, p.chips, p.chips == 1 ? "" : "s", 100 * p.utilisation);
    placement_print_hops(&p, out);
    if (p.side_macs) {
        fprintf(out, "side path: %.2f %% of the multiplications of the matrices on tiles stay digital\n",
                100 * p.digital_share);
    }
}

/* "time: 812 us for 12 tokens together, 35.2 us per token one by one (40)"; of several requests, whose steps overlap,
 * both on average. */
static void print_time(const struct run *r, FILE *out) {
    char one[QUANTITY_BYTES], several[QUANTITY_BYTES];
    uint64_t together = r->tokens_total - r->single_steps;
    fprintf(out, "time: ");
    double prompts = (double)(r->steps - r->single_steps);
    if (together && r->streams) {
        fprintf(out, "%s for %.4g tokens together (%.0f times)", quantity(r->several_s / prompts, "s", several),
                (double)together / prompts, prompts);
    } else if (together) {
        fprintf(out, "%s for %" PRIu64 " tokens together", quantity(r->several_s, "s", several), together);
    }
    if (r->single_steps) {
        fprintf(out, "%s%s per token one by one (%" PRIu64 ")", together ? ", " : "",
                quantity(r->single_s / (double)r->single_steps, "s", one), r->single_steps);
    }
    fputc('\n', out);
}

/* What has the largest shares of the critical path. */
static void print_bound(const struct run *r, double makespan_s, FILE *out) {
    enum { SHARES = CLASS_COUNT + REPORT_WAITS };
    struct run_path path = run_path(r);
    const char *names[SHARES];
    double share[SHARES];
    for (int c = 0; c < SHARES; c++) {
        struct report_wait wait = report_wait(r, c < CLASS_COUNT ? 0 : c - CLASS_COUNT);
        names[c] = c < CLASS_COUNT ? resource_class_name((enum resource_class)c) : wait.name;
        share[c] = (c < CLASS_COUNT ? path.class_s[c] : wait.critical_s) / makespan_s;
    }
    fputs("bound by", out);
    for (int shown = 0; shown < BOUNDS_SHOWN; shown++) {
        int largest = 0;
        for (int c = 1; c < SHARES; c++) {
            largest = share[c] > share[largest] ? c : largest;
        }
        if (share[largest] < LEAST_SHARE) {
            break;
        }
        fprintf(out, "%s %s (%.0f %%%s)", shown ? "," : "", names[largest], 100 * share[largest],
                shown ? "" : " of the critical path");
        share[largest] = -1;
    }
    fputc('\n', out);
}

static void print_energy(const struct run *r, const struct ledger_view *v, FILE *out) {
    char text[4][QUANTITY_BYTES];
    double mac_J = report_tile_J_per_mac(v);
    struct power_view p = run_power(r);
    double mm2 = placement_area(r->chip, r->placement).total_mm2;
    fprintf(out, "energy: %s for %" PRIu64 " tokens; %s, peak %s", quantity(v->total_J, "J", text[0]), r->tokens_total,
            quantity(p.mean_W, "W", text[1]), quantity(p.peak_W, "W", text[2]));
    fprintf(out, " in %s, %s/mm2\n", quantity(p.window_s, "s", text[0]), quantity(p.mean_W / mm2, "W", text[3]));
    if (isfinite(mac_J)) {
        const struct tile_spec *t = &chip_spec_of(r->chip)->tile;
        fprintf(out, "tiles alone, dynamic: %s/MAC, %.3g TOPS/W (2 ops/MAC, %d x %d bits)\n",
                quantity(mac_J, "J", text[1]), 2e-12 / mac_J, t->dac.bits, t->adc.bits);
    }
}

static void print_notes(const struct run *r, FILE *out) {
    struct constant_count constants = report_constants(r->chip);
    struct flags flags;
    report_flags(r, &flags);
    fprintf(out, "%zu of %zu constants are assumed; `mho chip show %s` lists them\n", constants.assumed, constants.all,
            chip_name(r->chip));
    fprintf(out, "not modelled: %s%s%s%s%sloading of weights\n", run_wires_modelled(r) ? "" : "wires, ",
            run_wires_act(r) ? "inputs that follow the order of the rows (not checked; energy between rows), " : "",
            component_given(r->chip, PART_NETWORK) ? "" : "network, ",
            component_given(r->chip, PART_CHIP_LINK) ? "" : "chip links, ",
            component_given(r->chip, PART_DRAM) ? "" : "off-chip memory, ");
    if (run_shapes_activity(r)) {
        fprintf(out, "no values were computed: array energy from activity %s; clipping is not known\n",
                run_shapes_activity(r)->source);
    }
    for (size_t i = 0; i < flags.count; i++) {
        fprintf(out, "! %s\n", flags.text[i]);
    }
}

/* ---- the screen -------------------------------------------------------------------------------- */

/* Lines that are too long go on in the next one, after two blanks. Returns how many there are; out NULL: counts. */
static int put_lines(const char *text, int columns, FILE *out) {
    int lines = 0;
    for (const char *p = text; *p;) {
        const char *stop = strchr(p, '\n');
        int indent = 0;
        while (p < stop || !indent) {
            const char *end = p + columns - indent < stop ? p + columns - indent : stop;
            for (const char *q = end; end < stop && q > p; q--) {
                if (*q == ' ') {
                    end = q;
                    break;
                }
            }
            if (out) {
                fprintf(out, "%*s%.*s\n", indent, "", (int)(end - p), p);
            }
            lines++;
            indent = 2;
            p = end < stop ? end + (*end == ' ') : stop;
        }
        p = stop + 1;
    }
    return lines;
}

static void print_tail(const struct run *r, const struct ledger_view *v, int columns, FILE *out) {
    if (!chip_has_costs(r->chip)) {
        fprintf(out, "this chip declares no costs: its energy, time and area are unknown, not zero\n");
        fprintf(out, "%" PRIu64 " MVMs, %" PRIu64 " analog MACs, %" PRIu64 " DAC and %" PRIu64 " ADC conversions\n",
                v->mvm, v->macs, v->converted_dac, v->converted_adc);
        return;
    }
    if (!r->tokens_total) {
        fprintf(out, "nothing has run yet\n");
        return;
    }
    print_time(r, out);
    print_bound(r, v->makespan_s, out);
    print_energy(r, v, out);
    report_print_spread(r, columns, out);
    if (r->machine) {
        machine_report_print(r->machine, out);
        report_print_setup(r, v->total_J, out);
    }
    print_notes(r, out);
}

void run_report_print(const struct run *r, int columns, FILE *out) {
    enum { HEAD_BYTES = 1 << 10, TAIL_BYTES = 1 << 13, TABLE_FRAME = 2 };
    char head[HEAD_BYTES] = "", tail[TAIL_BYTES] = "";
    struct ledger_view v = run_ledger(r);
    FILE *f = fmemopen(head, sizeof head, "w");
    if (f) {
        print_mapping(r, f);
        fclose(f);
    }
    f = fmemopen(tail, sizeof tail, "w");
    if (f) {
        print_tail(r, &v, columns, f);
        fclose(f);
    }
    columns = columns < COLUMNS_LEAST ? COLUMNS_LEAST : columns;
    int lines = put_lines(head, columns, out);
    if (chip_has_costs(r->chip) && r->tokens_total) {
        struct table t = {.count = 0};
        int left = SCREEN_LINES - TABLE_FRAME - lines - put_lines(tail, columns, NULL);
        fill_table(r, &v, &t);
        fold_smallest(&t, left < ROWS_LEAST ? ROWS_LEAST : left);
        print_table(&t, columns, out);
    }
    put_lines(tail, columns, out);
}
