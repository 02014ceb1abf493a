/* What the report of a run for a terminal says of the spreads of the constants: p10, p50 and p90 of energy, time and
 * area side by side, below them the assumptions that move each of them most. On a narrow terminal one below the other,
 * with the first assumption only. */
#include <math.h>
#include <string.h>

#include "base/quantity.h"
#include "sim/report.h"
#include "sim/uncertainty.h"

enum { COLUMN = 26, COLUMNS_WIDE = 3 * COLUMN + 2, ASSUMPTIONS_SHOWN = 3, TEXT_BYTES = UNCERTAIN_KEY_BYTES + 64 };
#define LOPSIDED 0.2      /* nominal and median so far apart are explained */
#define LEAST_SHARE 0.005 /* of an assumption that is shown */

/* "61 % tile.static_W", or nothing; a name that is longer than the column ends with two dots. */
static void assumption_text(const struct uncertainty *u, const struct uncertain_quantity *q, size_t row,
                            char out[TEXT_BYTES]) {
    out[0] = 0;
    if (row < q->count && q->top[row].share >= LEAST_SHARE) {
        int length = snprintf(out, TEXT_BYTES, "%3.0f %% %s", 100 * q->top[row].share,
                              u->constants[q->top[row].constant].key);
        if (length >= COLUMN) {
            memcpy(out + COLUMN - 3, "..", 3);
        }
    }
}

/* "0.752, 1.21, 3.35 uJ": never a part of a number. */
static void quantiles_text(const struct uncertain_quantity *q, const char *unit, char out[TEXT_BYTES]) {
    struct scale s = unit ? quantity_scale(q->p50, unit) : area_scale(q->p50);
    const double of[] = {q->p10 / s.factor, q->p50 / s.factor, q->p90 / s.factor};
    char text[3][QUANTITY_BYTES];
    for (size_t i = 0; i < 3; i++) {
        three_digits(of[i], text[i]);
    }
    snprintf(out, TEXT_BYTES, "%s, %s, %s %s", text[0], text[1], text[2], s.unit);
}

/* Where the constants as stated give far less or more than the median: which spread does that. */
static void print_lopsided(const struct uncertainty *u, FILE *out) {
    const struct uncertain_quantity *q = &u->of[UNCERTAIN_ENERGY];
    char text[QUANTITY_BYTES];
    if (q->count && fabs(q->nominal - q->p50) > LOPSIDED * q->p50) {
        const struct uncertain_constant *c = &u->constants[q->top[0].constant];
        fprintf(out, "as stated: %s; lopsided spread, %s x%.3g to x%.3g\n", quantity(q->nominal, "J", text), c->key,
                c->k->spread_low, c->k->spread_high);
    }
}

enum { QUANTITIES = 3 };

static void print_wide(char text[QUANTITIES][TEXT_BYTES], FILE *out) {
    int last = QUANTITIES - 1;
    while (last > 0 && !text[last][0]) {
        last--;
    }
    for (int i = 0; i <= last; i++) {
        fprintf(out, i < last ? "%s%-*s" : "%s%.*s", i ? " " : "", COLUMN, text[i]);
    }
    fputc('\n', out);
}

static void print_narrow(const char *name, const char *quantiles, const char *first, FILE *out) {
    fprintf(out, "%-14s  %s%s%s\n", name, quantiles, first[0] ? ";" : "", first);
}

void report_print_spread(const struct run *r, int columns, FILE *out) {
    struct uncertainty u;
    run_uncertainty(r, &u);
    bool singles = isfinite(u.of[UNCERTAIN_TPOT].nominal), wide = columns >= COLUMNS_WIDE;
    const struct uncertain_quantity *q[QUANTITIES] = {
        &u.of[UNCERTAIN_ENERGY], &u.of[singles ? UNCERTAIN_TPOT : UNCERTAIN_TTFT], &u.of[UNCERTAIN_AREA]};
    const char *const names[QUANTITIES] = {"a token's energy", singles ? "a token's time" : "a prompt's time", "area"};
    static const char *const units[QUANTITIES] = {"J", "s", NULL};
    char text[QUANTITIES][TEXT_BYTES], first[TEXT_BYTES];
    fprintf(out, "p10, p50, p90 of %s, %s, %s; moved by (share)\n", names[0], names[1], names[2]);
    for (size_t i = 0; i < QUANTITIES; i++) {
        quantiles_text(q[i], units[i], text[i]);
        if (!wide) {
            assumption_text(&u, q[i], 0, first);
            print_narrow(names[i], text[i], first, out);
        }
    }
    for (size_t row = 0; wide && row <= ASSUMPTIONS_SHOWN; row++) {
        for (size_t i = 0; row > 0 && i < QUANTITIES; i++) {
            assumption_text(&u, q[i], row - 1, text[i]);
        }
        if (text[0][0] || text[1][0] || text[2][0]) {
            print_wide(text, out);
        }
    }
    print_lopsided(&u, out);
}
