/* The report of a run for a terminal: at most 33 lines of at most 80 columns; the table takes 51 where there are fewer.
 *
 *   chip and mapping
 *   a table: component, energy per token with its share as a bar, area with its share as a bar
 *   time, and what the critical path consists of, with bars
 *   energy, time and area with the spreads of the constants, and which constants move them
 *   programming; wires and faults where there are any
 *   conventions, assumptions, what is not modelled, flags
 */
#include "sim/report.h"

#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "base/quantity.h"
#include "sim/placement.h"
#include "sim/report_machine.h"
#include "sim/uncertainty.h"

enum { BAR = 14, BARS_COLUMNS = 80, COLUMN = 25, ASSUMPTIONS_SHOWN = 3 };
#define LOPSIDED 0.2 /* nominal and median so far apart are explained */
#define LEAST_SHARE 0.005 /* of an assumption that is shown */

static const char *bar(double share, char out[BAR + 1]) {
    int filled = isfinite(share) ? (int)(share * BAR + 0.5) : 0;
    memset(out, ' ', BAR);
    memset(out, '#', (size_t)(filled < 0 ? 0 : filled > BAR ? BAR : filled));
    out[BAR] = 0;
    return out;
}

/* A line without blanks at its end. */
static void print_line(FILE *out, const char *line) {
    size_t n = strlen(line);
    while (n > 0 && line[n - 1] == ' ') {
        n--;
    }
    fprintf(out, "%.*s\n", (int)n, line);
}

static void print_row(FILE *out, bool bars, const char *name, double energy_J, double total_J, double area_mm2,
                      double total_mm2) {
    char energy[QUANTITY_BYTES], area[QUANTITY_BYTES] = "", blocks[BAR + 1], line[160];
    double energy_share = energy_J / total_J, area_share = area_mm2 / total_mm2;
    int used = snprintf(line, sizeof line, "  %-14s %8s %3.0f %% %s", name, quantity(energy_J, "J", energy),
                        100 * energy_share, bars ? bar(energy_share, blocks) : "");
    if (isfinite(area_mm2)) {
        snprintf(area, sizeof area, area_mm2 < 999.5 ? "%.3g mm2" : "%.0f mm2", area_mm2);
        snprintf(line + used, sizeof line - (size_t)used, "  %11s %3.0f %% %s", area, 100 * area_share,
                 bars ? bar(area_share, blocks) : "");
    }
    print_line(out, line);
}

/* Rows in the order of the components; what was never used and takes no area is left out. */
static void print_table(const struct run *r, const struct ledger_view *v, bool bars, FILE *out) {
    struct area_view area = placement_area(r->chip, r->placement);
    double tokens = (double)r->tokens_total;
    fprintf(out, "  %-14s %-*s   %s\n", "", bars ? 15 + BAR : 15, "energy per token",
            bars ? "area of the chips" : "area");
    for (int c = 0; c < PART_COUNT; c++) {
        bool is_static = c == PART_STATIC;
        if (v->count[c] || is_static || area.part_mm2[c] > 0) {
            print_row(out, bars, component_name((enum component)c), v->energy_J[c] / tokens, v->total_J / tokens,
                      is_static ? (double)NAN : area.part_mm2[c], area.total_mm2);
        }
    }
    print_row(out, bars, "total", v->total_J / tokens, v->total_J / tokens, area.total_mm2, area.total_mm2);
}

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

/* "time: 812 us for 12 tokens together, then 35.2 us per token" */
static void print_time(const struct run *r, FILE *out) {
    char one[QUANTITY_BYTES], several[QUANTITY_BYTES];
    uint64_t together = r->tokens_total - r->single_steps;
    fprintf(out, "time: ");
    if (together) {
        fprintf(out, "%s for %" PRIu64 " tokens together", quantity(r->several_s, "s", several), together);
    }
    if (r->single_steps) {
        fprintf(out, "%s%s per token one by one (%" PRIu64 ")", together ? ", " : "",
                quantity(r->single_s / (double)r->single_steps, "s", one), r->single_steps);
    }
    fputc('\n', out);
}

/* The class with the largest share; it is taken out. */
static int take_largest(double share[CLASS_COUNT], double *of) {
    int largest = 0;
    for (int c = 1; c < CLASS_COUNT; c++) {
        largest = share[c] > share[largest] ? c : largest;
    }
    *of = share[largest];
    share[largest] = -1;
    return largest;
}

/* The four classes of resources with the largest shares of the critical path: two on a line with bars, or all on one
 * line. */
static void print_bound(const struct run *r, double makespan_s, bool bars, FILE *out) {
    double share[CLASS_COUNT], one, arrival_s = run_path(r).arrival_s;
    char blocks[BAR + 1], line[2 * BARS_COLUMNS];
    int used = 0;
    for (int c = 0; c < CLASS_COUNT; c++) {
        share[c] = run_class(r, (enum resource_class)c).critical_s / makespan_s;
    }
    if (bars && arrival_s > 0) {
        fprintf(out, "bound by (share of the critical path; %.0f %% waiting for arrivals)\n",
                100 * arrival_s / makespan_s);
    } else {
        fputs(bars ? "bound by (share of the critical path)\n" : "bound by:", out);
    }
    for (int shown = 0; shown < 4; shown++) {
        const char *name = resource_class_name((enum resource_class)take_largest(share, &one));
        if (one < 0.005) {
            break;
        }
        if (!bars) {
            fprintf(out, "%s %s %.0f %%", shown ? "," : "", name, 100 * one);
            continue;
        }
        used += snprintf(line + used, sizeof line - (size_t)used, "  %-14s %3.0f %% %s  ", name, 100 * one,
                         bar(one, blocks));
        if (shown % 2) {
            print_line(out, line);
            used = 0;
        }
    }
    if (used) {
        print_line(out, line);
    }
    if (!bars) {
        fputc('\n', out);
    }
}

static void print_energy(const struct run *r, const struct ledger_view *v, FILE *out) {
    char text[2][QUANTITY_BYTES];
    double mac_J = report_tile_J_per_mac(v);
    struct power_view p = run_power(r);
    double mm2 = placement_area(r->chip, r->placement).total_mm2;
    fprintf(out, "energy: %s for %" PRIu64 " tokens", quantity(v->total_J, "J", text[0]), r->tokens_total);
    fprintf(out, "; %s", quantity(p.mean_W, "W", text[0]));
    fprintf(out, ", peak %s", quantity(p.peak_W, "W", text[0]));
    fprintf(out, " in %s", quantity(p.window_s, "s", text[0]));
    fprintf(out, ", %s/mm2\n", quantity(p.mean_W / mm2, "W", text[0]));
    if (isfinite(mac_J)) {
        const struct tile_spec *t = &chip_spec_of(r->chip)->tile;
        fprintf(out, "tiles alone, dynamic: %s/MAC, %.3g TOPS/W (2 ops/MAC, %d x %d bits)\n",
                quantity(mac_J, "J", text[1]), 2e-12 / mac_J, t->dac.bits, t->adc.bits);
    }
}

/* "61 % tile.static_W", or nothing; a name that is too long ends with a dot. */
static void assumption_text(const struct uncertainty *u, const struct uncertain_quantity *q, size_t row,
                            char out[COLUMN + 1]) {
    char line[UNCERTAIN_KEY_BYTES + 16];
    out[0] = 0;
    if (row < q->count && q->top[row].share >= LEAST_SHARE) {
        int length = snprintf(line, sizeof line, "%3.0f %% %s", 100 * q->top[row].share,
                              u->constants[q->top[row].constant].key);
        if (length > COLUMN) {
            memcpy(line + COLUMN - 1, ".", 2);
        }
        memcpy(out, line, strlen(line) + 1);
    }
}

/* "752 nJ, 1.21 uJ, 3.35 uJ" */
static void quantiles_text(const struct uncertain_quantity *q, const char *unit, char out[COLUMN + 1]) {
    char low[QUANTITY_BYTES], middle[QUANTITY_BYTES], high[QUANTITY_BYTES];
    char line[4 * QUANTITY_BYTES];
    int length = unit ? snprintf(line, sizeof line, "%s, %s, %s", quantity(q->p10, unit, low),
                                 quantity(q->p50, unit, middle), quantity(q->p90, unit, high))
                      : snprintf(line, sizeof line, "%.3g, %.3g, %.3g mm2", q->p10, q->p50, q->p90);
    line[length > COLUMN ? COLUMN : length] = 0;
    memcpy(out, line, strlen(line) + 1);
}

/* Where the constants as stated give far less or more than the median: which spread does that. */
static void print_lopsided(const struct uncertainty *u, FILE *out) {
    const struct uncertain_quantity *q = &u->of[UNCERTAIN_ENERGY];
    char text[QUANTITY_BYTES];
    if (q->count && fabs(q->nominal - q->p50) > LOPSIDED * q->p50) {
        const struct uncertain_constant *c = &u->constants[q->top[0].constant];
        fprintf(out, "  as stated: %s; lopsided spread, %s x%.3g to x%.3g\n", quantity(q->nominal, "J", text), c->key,
                c->k->spread_low, c->k->spread_high);
    }
}

/* Energy per token, time and area side by side: p10, p50, p90, below them the assumptions that move them most. On a
 * narrow terminal one below the other, with the first assumption only. */
static void print_uncertainty(const struct run *r, bool wide, FILE *out) {
    struct uncertainty u;
    run_uncertainty(r, &u);
    bool singles = isfinite(u.of[UNCERTAIN_TPOT].nominal);
    const struct uncertain_quantity *q[] = {&u.of[UNCERTAIN_ENERGY],
                                            &u.of[singles ? UNCERTAIN_TPOT : UNCERTAIN_TTFT],
                                            &u.of[UNCERTAIN_AREA]};
    static const char *const units[] = {"J", "s", NULL};
    enum { QUANTITIES = sizeof q / sizeof q[0] };
    char text[QUANTITIES][COLUMN + 1], line[QUANTITIES * (COLUMN + 2)];
    fprintf(out, "p10, p50, p90 of a token's energy, %s, area; moved by (share)\n",
            singles ? "a token's time" : "a prompt's time");
    for (size_t row = 0; row <= ASSUMPTIONS_SHOWN; row++) {
        bool any = false;
        for (size_t i = 0; i < QUANTITIES; i++) {
            if (row == 0) {
                quantiles_text(q[i], units[i], text[i]);
            } else {
                assumption_text(&u, q[i], row - 1, text[i]);
            }
            any = any || text[i][0];
        }
        if (wide && any) {
            snprintf(line, sizeof line, "  %-*s %-*s %s", COLUMN, text[0], COLUMN, text[1], text[2]);
            print_line(out, line);
        }
        for (size_t i = 0; !wide && row == 0 && i < QUANTITIES; i++) {
            char first[COLUMN + 1];
            assumption_text(&u, q[i], 0, first);
            fprintf(out, "  %-*s%.*s\n", first[0] ? COLUMN : 0, text[i], COLUMN - 1, first);
        }
    }
    print_lopsided(&u, out);
    if (singles && isfinite(u.of[UNCERTAIN_TTFT].nominal)) {
        quantiles_text(&u.of[UNCERTAIN_TTFT], "s", text[0]);
        fprintf(out, "  %-*s of a prompt\n", COLUMN, text[0]);
    }
}

/* "programming: 2.65e+08 devices x 20 pulses, error -0.1 +- 2.9 %, 12.1 ms, 3.2 mJ": mean and sd in units of
 * the span */
static void print_programming(const struct machine *m, FILE *out) {
    char text[2][QUANTITY_BYTES];
    struct machine_programming p = machine_programming(m);
    if (p.devices == 0) {
        return;
    }
    fprintf(out, "programming: %.3g devices x %.3g pulses", (double)p.devices,
            (double)p.pulses / (double)p.devices);
    if (p.programmings > 1) {
        fprintf(out, ", %.4g times", (double)p.programmings);
    }
    if (p.failed) {
        fprintf(out, ", %" PRIu64 " failed", p.failed);
    }
    if (isfinite(p.error.all.sd)) {
        fprintf(out, ", error %.2g +- %.2g %%", 100 * p.error.all.mean, 100 * p.error.all.sd);
    }
    if (isfinite(p.seconds)) {
        fprintf(out, ", %s, %s\n", quantity(p.seconds, "s", text[0]), quantity(p.joules, "J", text[1]));
    } else {
        fprintf(out, "; time and energy not stated\n");
    }
}

static void print_wires(const struct machine *m, FILE *out) {
    struct machine_wires w = machine_wires(m);
    if (w.act) {
        fprintf(out, "wires: %.2g %% of the current lost; folding off by %.1g (measured), %.1g (estimate)\n",
                100 * w.mean_loss, w.measured_error, w.largest_estimate);
    }
}

static void print_faults(const struct machine *m, FILE *out) {
    struct machine_faults f = machine_faults(m);
    if (f.stuck || f.dead_rows || f.dead_columns) {
        fprintf(out,
                "faults: %" PRIu64 " devices, %" PRIu64 " lines; %" PRIu64 " lines on spares; left %" PRIu64
                " devices, %" PRIu64 " lines\n",
                f.stuck, f.dead_rows + f.dead_columns, f.repaired_rows + f.repaired_columns, f.stuck_left,
                f.dead_rows_left + f.dead_columns_left);
    }
}

static void print_correction(const struct machine *m, FILE *out) {
    struct machine_calibration c = machine_calibration(m);
    if (c.corrections) {
        fprintf(out, "correction: %" PRIu64 " columns, %" PRIu64 " left as they are; %.2g %% of test results clipped\n",
                c.columns_corrected, c.columns_left, 100 * (double)c.test_results_clipped / (double)c.test_results);
    }
}

/* "calibration: 6.86e+06 reads for drift, 1.57e+06 for correction, 21.5 ms, 58.4 mJ" */
static void print_calibration(const struct machine *m, FILE *out) {
    char text[2][QUANTITY_BYTES];
    struct machine_calibration c = machine_calibration(m);
    if (c.readout_mvms + c.correction_mvms == 0) {
        return;
    }
    fprintf(out, "calibration: %.3g reads for drift, %.3g for correction", (double)c.readout_mvms,
            (double)c.correction_mvms);
    if (isfinite(c.seconds)) {
        fprintf(out, ", %s, %s\n", quantity(c.seconds, "s", text[0]), quantity(c.joules, "J", text[1]));
    } else {
        fprintf(out, "; time and energy not stated\n");
    }
}

/* "set-up before the run: 3.2 mJ in 12.1 ms; run and set-up together 3.21 mJ" */
static void print_setup(const struct run *r, double run_J, FILE *out) {
    char text[3][QUANTITY_BYTES];
    struct setup_costs s = report_setup(r);
    double energy_J = s.programming_J + s.refresh_J + s.calibration_J;
    if (isfinite(energy_J)) {
        fprintf(out, "set-up before the run: %s in %s; run and set-up: %s\n", quantity(energy_J, "J", text[0]),
                quantity(s.programming_s + s.refresh_s + s.calibration_s, "s", text[1]),
                quantity(energy_J + run_J, "J", text[2]));
    }
}

void machine_report_print(const struct machine *m, FILE *out) {
    print_programming(m, out);
    print_wires(m, out);
    print_faults(m, out);
    print_correction(m, out);
    print_calibration(m, out);
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

void run_report_print(const struct run *r, int columns, FILE *out) {
    struct ledger_view v = run_ledger(r);
    print_mapping(r, out);
    if (!chip_has_costs(r->chip)) {
        fprintf(out, "this chip declares no costs: its energy, time and area are unknown, not zero\n");
        fprintf(out, "%" PRIu64 " MVMs, %" PRIu64 " analog MACs, %" PRIu64 " DAC and %" PRIu64 " ADC conversions\n",
                v.mvm, v.macs, v.converted_dac, v.converted_adc);
        return;
    }
    if (!r->tokens_total) {
        fprintf(out, "nothing has run yet\n");
        return;
    }
    print_table(r, &v, columns >= BARS_COLUMNS, out);
    print_time(r, out);
    print_bound(r, v.makespan_s, columns >= BARS_COLUMNS, out);
    print_energy(r, &v, out);
    print_uncertainty(r, columns >= BARS_COLUMNS, out);
    if (r->machine) {
        machine_report_print(r->machine, out);
        print_setup(r, v.total_J, out);
    }
    print_notes(r, out);
}
