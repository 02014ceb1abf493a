/* What the report of a run for a terminal says of its machine, a line each: programming, wires, faults, correction,
 * calibration, and what all of it took before the first token. */
#include <inttypes.h>
#include <math.h>

#include "base/quantity.h"
#include "sim/report.h"
#include "sim/report_machine.h"

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

/* "set-up before the run: 3.2 mJ in 12.1 ms; run and set-up: 3.21 mJ"; only with refreshes, which stand nowhere
 * else. */
void report_print_setup(const struct run *r, double run_J, FILE *out) {
    char text[3][QUANTITY_BYTES];
    struct setup_costs s = report_setup(r);
    double energy_J = s.programming_J + s.refresh_J + s.calibration_J;
    if (isfinite(energy_J) && s.refresh_J > 0) {
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
