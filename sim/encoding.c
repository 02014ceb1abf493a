/* Weights and the devices that hold them: the plan of an encoding, and targets. The words and formulas are in
 * encoding.h.
 *
 * A magnitude u in [0, 1] (share of the full scale of all slices together):
 *   pair            plus u = max(w, 0) / s, minus u = max(-w, 0) / s       zero 0,   reach 1
 *   offset kinds    u = zero + reach w / s                                 zero 1/2, reach 1/2
 *   unsigned        u = w / s                                              zero 0,   reach 1
 * Devices of a few levels cannot hold 1/2: with n = `steps` + 1 levels in all, zero = ceil(steps / 2) / steps and reach
 * = floor(steps / 2) / steps, so that w = 0 is a level, and w and -w are as far from it (offset binary).
 * Slices of b bits: round(u (2^(N b) - 1)), slice k holds its bits b k .. b k + b - 1. Analog slices of significance f:
 * the first holds u F in [0, 1], F = sum of f^k, the next what is left, up to f, and so on (NPair of aihwkit).
 * One slice of an analog value keeps the order of single-precision operations plain: target = max(w (span / s), 0) +
 * g_min.
 */
#include "sim/encoding.h"

#include <math.h>

enum { MOST_WEIGHT_BITS = 24 }; /* a weight is a float: no more bits to spread */

static bool has_sign_by_offset(int kind) {
    return kind == ENCODING_ONE_DEVICE || kind == ENCODING_OFFSET_COLUMN || kind == ENCODING_REFERENCE_COLUMN;
}

/* ---- contradictions ---------------------------------------------------------------------------------------- */

static enum status check_statistics(const struct tile_spec *t, const struct cell_common *cell, struct error *e) {
    if (cell->pair_statistics && t->encoding != ENCODING_SIGNED_UNIT) {
        return error_set(e, ERR_USAGE,
                         "tile.encoding: cell model %s describes a signed pair as a whole (allowed: signed_unit)",
                         t->cell_model);
    }
    if (!cell->pair_statistics && t->encoding == ENCODING_SIGNED_UNIT) {
        return error_set(e, ERR_USAGE,
                         "tile.encoding: signed_unit needs a cell with the statistics of a whole pair; %s has single "
                         "devices (allowed: differential_pair, one_device, offset_column, reference_column, unsigned)",
                         t->cell_model);
    }
    if (t->encoding == ENCODING_SIGNED_UNIT && t->slices > 1) {
        return error_set(e, ERR_USAGE, "tile.slices: %d slices of a cell that is a signed pair as a whole (allowed: 1)",
                         t->slices);
    }
    if (t->legs != COMBINE_ANALOG && t->encoding != ENCODING_DIFFERENTIAL_PAIR) {
        return error_set(e, ERR_USAGE,
                         "tile.legs: %s needs two legs (allowed: analog, or tile.encoding=differential_pair)",
                         t->legs == COMBINE_DIGITAL ? "digital" : "in_turns");
    }
    return OK;
}

static enum status check_slices(const struct tile_spec *t, const struct cell_common *cell, struct error *e) {
    if (t->slice_bits > 0 && t->significance != 1) {
        return error_set(
            e, ERR_USAGE,
            "tile.significance: slices of %d bits have significance 2^bits already (allowed: 1, or slice_bits "
            "= 0)",
            t->slice_bits);
    }
    if (t->slices == 1 && t->significance != 1) {
        return error_set(e, ERR_USAGE, "tile.significance: %g with one slice (allowed: 1, or more slices)",
                         t->significance);
    }
    if (t->slices * t->slice_bits > MOST_WEIGHT_BITS) {
        return error_set(e, ERR_USAGE, "tile.slice_bits: %d slices of %d bits (allowed: %d bits of a weight in all)",
                         t->slices, t->slice_bits, MOST_WEIGHT_BITS);
    }
    if (t->slice_bits > 0 && cell->levels > 0 && cell->levels < 1 << t->slice_bits) {
        return error_set(
            e, ERR_USAGE, "tile.slice_bits: %d bits need %d levels, cell model %s has %d (allowed: at most %d)",
            t->slice_bits, 1 << t->slice_bits, t->cell_model, cell->levels, (int)floor(log2((double)cell->levels)));
    }
    if (t->slices > 1 && t->slice_bits == 0 && cell->levels > 0 && t->significance > cell->levels - 1) {
        return error_set(
            e, ERR_USAGE,
            "tile.significance: a level of a slice %g times as significant is more than the whole slice below: "
            "weights between cannot be represented (allowed: at most %d with the %d levels of the cell)",
            t->significance, cell->levels - 1, cell->levels);
    }
    return OK;
}

static enum status check_levels(const struct tile_spec *t, const struct encoding_plan *p, struct error *e) {
    if (p->steps == 1 && has_sign_by_offset(t->encoding)) {
        return error_set(e, ERR_USAGE,
                         "tile.encoding: two levels cannot hold a negative, a zero and a positive weight (allowed: "
                         "differential_pair, unsigned, or more bits)");
    }
    return OK;
}

/* ---- the plan ---------------------------------------------------------------------------------------------- */

static void plan_magnitude(struct encoding_plan *p) {
    bool middle = has_sign_by_offset((int)p->kind);
    p->steps = p->slice_bits > 0                       ? (uint32_t)((1u << ((unsigned)p->slice_bits * p->slices)) - 1)
               : p->slices == 1 && p->cell_levels > 0 ? (uint32_t)p->cell_levels - 1
                                                      : 0;
    p->zero = !middle ? 0 : p->steps ? (double)((p->steps + 1) / 2) / p->steps : 0.5;
    p->reach = !middle ? 1 : p->steps ? (double)(p->steps / 2) / p->steps : 0.5;
}

static void plan_slices(struct encoding_plan *p, double significance) {
    double base = p->slice_bits > 0 ? exp2(p->slice_bits) : significance, weight = 1, sum = 0;
    for (uint32_t k = 0; k < p->slices; k++, weight *= base) {
        p->first[k] = sum;
        p->capacity[k] = p->significance[k] = weight;
        sum += weight;
    }
    for (uint32_t k = 0; k < p->slices; k++) {
        p->significance[k] /= sum;
        p->first[k] /= sum;
        p->capacity[k] /= sum;
    }
}

/* Which currents are added on a wire, and what is done with the sums. */
static void plan_lines(struct encoding_plan *p, bool legs_digital, bool slices_digital) {
    slices_digital = slices_digital && p->slices > 1;
    legs_digital = legs_digital && p->legs > 1;
    p->lines = (slices_digital ? p->slices : 1) * (legs_digital ? p->legs : 1);
    for (uint32_t s = 0; s < p->slices; s++) {
        for (uint32_t leg = 0; leg < p->legs; leg++) {
            uint32_t line = slices_digital ? s : 0;
            line = legs_digital ? line * p->legs + leg : line;
            double sign = leg == 0 ? 1 : -1, gain = 1 / p->reach;
            bool alone = p->lines == 1;
            p->line_of[s][leg] = line;
            p->part[s][leg] =
                (legs_digital ? 1 : sign) * (slices_digital ? 1 : p->significance[s]) * (alone ? gain : 1);
            p->line_factor[line] =
                (legs_digital ? sign : 1) * (slices_digital ? p->significance[s] : 1) * (alone ? 1 : gain);
        }
    }
}

/* Share of its own full scale that a slice holds of the magnitude u. */
static double slice_level(const struct encoding_plan *p, double u, uint32_t slice) {
    double level;
    if (p->slice_bits > 0) {
        uint32_t code = (uint32_t)nearbyint(u * p->steps), bits = (uint32_t)p->slice_bits, most = (1u << bits) - 1;
        level = (double)(code >> (bits * slice) & most) / most;
    } else {
        level = fmin(fmax((u - p->first[slice]) / p->capacity[slice], 0), 1);
    }
    return p->cell_levels > 0 ? nearbyint(level * (p->cell_levels - 1)) / (p->cell_levels - 1) : level;
}

static double target_of_zero(const struct encoding_plan *p, uint32_t slice) {
    return p->g_min_S + slice_level(p, p->zero, slice) * p->span_S;
}

/* What the lines say of w = 0 when nothing takes it off before: pedestal and middle. */
static void plan_offset(struct encoding_plan *p) {
    p->offset = 0;
    for (uint32_t s = 0; s < p->slices && !p->shared_column && p->kind != ENCODING_SIGNED_UNIT; s++) {
        double level = target_of_zero(p, s) / p->span_S, slice = 0;
        for (uint32_t leg = 0; leg < p->legs; leg++) {
            slice += p->line_factor[p->line_of[s][leg]] * p->part[s][leg] * level;
        }
        p->offset += slice;
    }
}

enum status encoding_plan(const struct chip_spec *s, struct encoding_plan *out, struct error *e) {
    const struct tile_spec *t = &s->tile;
    struct cell_common cell = cell_common_of(t->cell);
    TRY(check_statistics(t, &cell, e));
    TRY(check_slices(t, &cell, e));
    *out = (struct encoding_plan){
        .kind = (enum encoding)t->encoding,
        .slices = (uint32_t)t->slices,
        .legs = t->encoding == ENCODING_DIFFERENTIAL_PAIR ? 2 : 1,
        .shared_column = t->encoding == ENCODING_OFFSET_COLUMN || t->encoding == ENCODING_REFERENCE_COLUMN,
        .shared_analog = t->encoding == ENCODING_REFERENCE_COLUMN,
        .g_min_S = cell.g_min_S,
        .span_S = cell.g_max_S - cell.g_min_S,
        .levels = t->slice_bits > 0 ? 1 << t->slice_bits : cell.levels,
        .slice_bits = t->slice_bits,
        .cell_levels = cell.levels,
    };
    plan_magnitude(out);
    TRY(check_levels(t, out, e));
    plan_slices(out, t->significance);
    plan_lines(out, t->legs != COMBINE_ANALOG, t->slice_sum == COMBINE_DIGITAL);
    plan_offset(out);
    return OK;
}

/* ---- targets -------------------------------------------------------------------------------------------------- */

float encoding_shared_target(const struct encoding_plan *p, uint32_t slice) { return (float)target_of_zero(p, slice); }

/* One slice of any value: no roundings but those of single precision. */
static void plain_targets(const struct encoding_plan *p, const float *w, size_t n, float scale, uint32_t leg,
                          float *target_S) {
    float S_per_weight = scale > 0 ? (float)(p->span_S / (double)scale) : 0.0f, g_min_S = (float)p->g_min_S;
    if (p->kind == ENCODING_SIGNED_UNIT) {
        for (size_t i = 0; i < n; i++) {
            target_S[i] = w[i] * S_per_weight;
        }
        return;
    }
    S_per_weight = leg ? -S_per_weight : S_per_weight;
    for (size_t i = 0; i < n; i++) {
        float g_S = w[i] * S_per_weight;
        target_S[i] = (g_S > 0.0f ? g_S : 0.0f) + g_min_S;
    }
}

void encoding_targets(const struct encoding_plan *p, const float *w, size_t n, float scale, uint32_t slice,
                      uint32_t leg, float *target_S) {
    bool middle = has_sign_by_offset((int)p->kind);
    if (p->kind == ENCODING_SIGNED_UNIT || (!middle && p->slices == 1 && p->steps == 0)) {
        plain_targets(p, w, n, scale, leg, target_S);
        return;
    }
    double per_weight = scale > 0 ? 1 / (double)scale : 0;
    for (size_t i = 0; i < n; i++) {
        double v = fmin(fmax((double)w[i] * per_weight, -1), 1), u;
        if (middle) { /* the distance from the middle is rounded, so that w and -w mirror */
            u = p->steps ? p->zero + nearbyint(v * p->reach * p->steps) / p->steps : p->zero + v * p->reach;
        } else {
            u = fmax(leg ? -v : v, 0);
        }
        target_S[i] = (float)(p->g_min_S + slice_level(p, u, slice) * p->span_S);
    }
}
