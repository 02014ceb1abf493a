/* The converters of a machine: drawn once per instance, laid out as the general multiply reads them.
 *
 *   row      one DAC per row of the matrix (it drives that row in all column blocks): a table of its levels
 *   column   one ADC for tile.adc.share neighbouring results of a line of a tile; converter number
 *            ((row block x column blocks + column block) x lines + line) x per tile + (column of the tile) / share
 *   shared columns (encoding offset_column): one ADC each, numbered after those
 * Circuits that are the ideal converter behind a gain and an offset become those two numbers; the others keep their own
 * state, and behind it the two ends of their range (adc_range), beyond which a conversion counts as saturated. Errors
 * act where the effects dac_errors, adc_errors are on. Those that are errors of codes (tables of levels, circuits that
 * are not linear) need the effect dac, adc as well: without it there are no codes.
 */
#include <math.h>
#include <string.h>

#include "base/kernels.h"
#include "base/memory.h"
#include "sim/machine.h"

static enum status out_of_memory(const struct array *a, struct error *e) {
    return error_set(e, ERR_RUN, "matrix %s: out of memory for its converters", a->source.name);
}

void array_free_converters(struct array *a) {
    mem_free(a->dac_levels);
    mem_free(a->adc_gain);
    mem_free(a->adc_offset);
    mem_free(a->adc_state);
    mem_free(a->shared_full_scale);
    mem_free(a->shared_gain);
    mem_free(a->shared_offset);
    mem_free(a->shared_state);
    mem_free(a->phenomena);
}

/* ---- rows ------------------------------------------------------------------------------------------------------ */

static int bits_for(int limit) {
    int bits = 1;
    while (limit >> (bits - 1)) {
        bits++;
    }
    return bits;
}

static enum status make_dacs(const struct machine *m, struct array *a, size_t matrix, struct error *e) {
    const struct dac *circuit = m->spec->tile.dac.circuit;
    size_t levels = (size_t)m->inputs.digit_limit + 1;
    a->dac_levels = mem_alloc(a->inputs * levels, sizeof *a->dac_levels);
    if (!a->dac_levels) {
        return out_of_memory(a, e);
    }
    for (uint32_t row = 0; row < a->inputs; row++) {
        dac_model_of(circuit)->levels(dac_params(circuit), bits_for(m->inputs.digit_limit), m->seed,
                                      (uint64_t)matrix << 8 | DRAW_DAC, row, a->dac_levels + row * levels);
    }
    return OK;
}

/* ---- columns ----------------------------------------------------------------------------------------------------- */

/* One instance: its state in `state`, or its gain and offset. */
static void make_adc(const struct machine *m, size_t matrix, uint64_t instance, float *state, float *gain,
                     float *offset) {
    const struct adc *circuit = m->spec->tile.adc.circuit;
    const struct adc_model *model = adc_model_of(circuit);
    if (adc_state_count(circuit)) {
        model->make(adc_params(circuit), m->adc.bits, m->seed, (uint64_t)matrix << 8 | DRAW_ADC, instance, state);
    }
    if (gain) {
        model->linear(adc_params(circuit), adc_state_count(circuit) ? state : NULL, gain, offset);
    } else {
        adc_range(circuit, state, &state[adc_state_count(circuit)], &state[adc_state_count(circuit) + 1]);
    }
}

/* Where n converters keep what they are: gain and offset, or `state`. */
struct adc_place {
    float **gain, **offset, **state;
};

static bool allocate_adcs(const struct machine *m, size_t n, const struct adc_place *to) {
    bool linear = m->adc_use == ADC_LINEAR;
    *to->gain = linear ? mem_alloc(n, sizeof **to->gain) : NULL;
    *to->offset = linear ? mem_alloc(n, sizeof **to->offset) : NULL;
    *to->state = linear ? NULL : mem_alloc(n * m->adc_states, sizeof **to->state);
    return linear ? *to->gain && *to->offset : *to->state != NULL;
}

static void set_adc(const struct machine *m, size_t matrix, uint64_t instance, size_t at, float *scratch,
                    const struct adc_place *to) {
    if (m->adc_use == ADC_LINEAR) {
        make_adc(m, matrix, instance, scratch, *to->gain + at, *to->offset + at);
    } else {
        make_adc(m, matrix, instance, *to->state + at * m->adc_states, NULL, NULL);
    }
}

/* The same converter as that of the result before. */
static void share_adc(const struct machine *m, size_t at, const struct adc_place *to) {
    if (m->adc_use == ADC_LINEAR) {
        (*to->gain)[at] = (*to->gain)[at - 1];
        (*to->offset)[at] = (*to->offset)[at - 1];
    } else {
        memcpy(*to->state + at * m->adc_states, *to->state + (at - 1) * m->adc_states,
               m->adc_states * sizeof **to->state);
    }
}

/* Visits a tile's columns of one line. */
static void make_tile_adcs(const struct machine *m, struct array *a, size_t matrix, uint32_t b, uint32_t c,
                           float *scratch, const struct adc_place *to) {
    const struct tile_spec *tile = &m->spec->tile;
    uint32_t share = (uint32_t)tile->adc.share, per_tile = block_count((uint32_t)tile->columns, share),
             first = block_begin(a->outputs, (uint32_t)tile->columns, (enum split_mode)tile->split, c),
             end = block_begin(a->outputs, (uint32_t)tile->columns, (enum split_mode)tile->split, c + 1);
    for (uint32_t line = 0; line < a->lines; line++) {
        uint64_t base = (((uint64_t)b * a->column_blocks + c) * a->lines + line) * per_tile;
        for (uint32_t o = first; o < end; o++) {
            size_t at = ((size_t)b * a->lines + line) * a->columns + o;
            if ((o - first) % share) {
                share_adc(m, at, to);
            } else {
                set_adc(m, matrix, base + (o - first) / share, at, scratch, to);
            }
        }
    }
}

static enum status make_adcs(const struct machine *m, struct array *a, size_t matrix, struct error *e) {
    const struct adc_place columns = {&a->adc_gain, &a->adc_offset, &a->adc_state},
                           shared = {&a->shared_gain, &a->shared_offset, &a->shared_state};
    size_t tiles = (size_t)a->row_blocks * a->column_blocks, shared_count = a->shared ? tiles * m->plan.slices : 0;
    float *scratch = mem_alloc(m->adc_states + 1, sizeof *scratch);
    if (!scratch || !allocate_adcs(m, (size_t)a->row_blocks * a->lines * a->columns, &columns) ||
        (shared_count && !allocate_adcs(m, shared_count, &shared))) {
        mem_free(scratch);
        return out_of_memory(a, e);
    }
    for (uint32_t b = 0; b < a->row_blocks; b++) {
        for (uint32_t c = 0; c < a->column_blocks; c++) {
            make_tile_adcs(m, a, matrix, b, c, scratch, &columns);
        }
    }
    uint64_t base =
        (uint64_t)tiles * a->lines * block_count((uint32_t)m->spec->tile.columns, (uint32_t)m->spec->tile.adc.share);
    for (size_t i = 0; i < shared_count; i++) {
        set_adc(m, matrix, base + i, i, scratch, &shared);
    }
    mem_free(scratch);
    return OK;
}

/* ---- the machine ----------------------------------------------------------------------------- */

static bool dac_errs(const struct chip_spec *s) {
    return s->tile.dac.circuit && !dac_is_ideal(s->tile.dac.circuit) && s->effects.dac_errors;
}

static bool adc_errs(const struct chip_spec *s) {
    return s->tile.adc.circuit && !adc_is_ideal(s->tile.adc.circuit) && s->effects.adc_errors;
}

bool periphery_is_plain(const struct chip_spec *s) {
    const struct tile_spec *t = &s->tile;
    struct input_plan plan;
    input_plan_make(t, true, &plan); /* not as the values see it: the layout of a chip does not depend on one effect */
    return plan.passes == 1 && plan.pass[0].sign == 0 && !dac_errs(s) && !adc_errs(s) &&
           (cell_is_linear(t->cell) || !s->effects.cell_nonlinearity) && !chip_needs_network(s) &&
           !phenomena_active(&t->phenomena, &s->effects).any && !(t->ladder.given && s->effects.wires) &&
           t->management.noise == NOISE_NONE && t->management.bound == BOUND_NONE && t->correction == CORRECTION_NONE;
}

static enum status choose_adc_use(struct machine *m, struct error *e) {
    const struct adc *circuit = m->spec->tile.adc.circuit;
    m->adc_use = ADC_IDEAL;
    if (!adc_errs(m->spec)) {
        return OK;
    }
    const struct adc_model *model = adc_model_of(circuit);
    size_t states = adc_state_count(circuit);
    float gain, offset, *state = mem_alloc(states + 1, sizeof *state);
    if (!state) {
        return error_set(e, ERR_RUN, "converters: out of memory");
    }
    if (states) {
        model->make(adc_params(circuit), m->adc.bits, m->seed, DRAW_ADC, 0, state);
    }
    bool linear = model->linear && model->linear(adc_params(circuit), states ? state : NULL, &gain, &offset);
    m->adc_use = linear ? ADC_LINEAR : ADC_CIRCUIT;
    m->adc_states = states + (linear ? 0 : 2);
    mem_free(state);
    return OK;
}

enum status machine_make_converters(struct machine *m, struct error *e) {
    const struct tile_spec *tile = &m->spec->tile;
    const struct effects *on = &m->spec->effects;
    bool dac = dac_errs(m->spec), adc = adc_errs(m->spec);
    input_plan_make(tile, on->dac, &m->inputs);
    input_plan_make(tile, true, &m->hardware);
    m->phenomena = phenomena_active(&tile->phenomena, on);
    m->bent = on->cell_nonlinearity && !cell_is_linear(tile->cell);
    m->dac_noise_sd = dac ? dac_noise_sd(tile->dac.circuit) : 0;
    m->adc_noise_sd = adc ? adc_noise_sd(tile->adc.circuit) : 0;
    m->adc_states = 0;
    TRY(choose_adc_use(m, e));
    for (size_t i = 0; i < m->count; i++) {
        struct array *a = m->arrays[i];
        if (!a) {
            continue;
        }
        if (dac && on->dac) {
            TRY(make_dacs(m, a, i, e));
        }
        if (m->adc_use == ADC_LINEAR || (m->adc_use == ADC_CIRCUIT && on->adc)) {
            TRY(make_adcs(m, a, i, e));
        }
        if (m->phenomena.any) {
            a->phenomena = mem_alloc((size_t)a->row_blocks * a->lines * a->columns, sizeof *a->phenomena);
            if (!a->phenomena) {
                return out_of_memory(a, e);
            }
        }
        m->simple = m->simple && !a->variances;
        size_t shared = a->shared ? (size_t)a->row_blocks * a->column_blocks * m->plan.slices : 0;
        a->shared_full_scale = mem_alloc(shared, sizeof *a->shared_full_scale);
        if (shared && !a->shared_full_scale) {
            return out_of_memory(a, e);
        }
    }
    return OK;
}
