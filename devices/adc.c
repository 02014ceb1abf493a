/* The list of output converters, a converter with its parameters, and what all circuits share. A new circuit is one
 * file and one row here.
 */
#include "devices/adc.h"

#include "base/random.h"
#include "devices/adc_models.h"
#include "devices/circuit.h"

const struct adc_model *const adc_models[] = {
    &adc_ideal, &adc_ramp, &adc_sar, &adc_pipeline, &adc_cyclic, &adc_flash, &adc_table, NULL,
};

enum { ADC_MODELS = sizeof adc_models / sizeof adc_models[0] - 1 };

struct adc {
    const struct adc_model *model;
    const void *params;
    int bits;
};

const struct adc_model *adc_model_find(const char *name, struct error *e) {
    const char *names[ADC_MODELS];
    for (size_t i = 0; i < ADC_MODELS; i++) {
        names[i] = adc_models[i]->name;
    }
    size_t row = named_row("ADC circuit", name, names, ADC_MODELS, e);
    return row < ADC_MODELS ? adc_models[row] : NULL;
}

/* The model named by a circuit's map; no map: ideal. */
static enum status model_of_map(const struct config_node *map, const char *prefix, const struct adc_model **out,
                                struct error *e) {
    const struct config_node *name = NULL;
    TRY(circuit_name(map, prefix, &name, e));
    *out = name ? adc_model_find(config_text(name), e) : &adc_ideal;
    return *out ? OK : circuit_refused(name, prefix, e);
}

enum status adc_check_bits(const struct adc_model *m, int bits, struct error *e) {
    return !m->most_bits || bits <= m->most_bits
               ? OK
               : error_set(e, ERR_USAGE,
                           "%d bits are too many for a %s converter (allowed: 2 to %d, or another circuit)", bits,
                           m->name, m->most_bits);
}

enum status adc_create(const struct config_node *map, const char *prefix, int bits, struct arena *a,
                       const struct adc **out, struct error *e) {
    const struct adc_model *model = NULL;
    TRY(model_of_map(map, prefix, &model, e));
    if (adc_check_bits(model, bits, e) != OK) {
        return error_prefix(e, "%s", prefix);
    }
    struct adc *c = arena_alloc(a, 1, sizeof *c);
    void *params = arena_alloc(a, 1, model->params_bytes ? model->params_bytes : 1);
    if (!c || !params) {
        return error_set(e, ERR_RUN, "%s: out of memory", prefix);
    }
    if (model->params.count) {
        TRY(params_read(&model->params, map, prefix, a, params, e));
    }
    if (model->prepare && model->prepare(params, bits, a, e) != OK) {
        return params_relation(&model->params, map, prefix, e);
    }
    *c = (struct adc){model, params, bits};
    *out = c;
    return OK;
}

const struct adc_model *adc_model_of(const struct adc *c) { return c->model; }
const void *adc_params(const struct adc *c) { return c->params; }
int adc_bits(const struct adc *c) { return c->bits; }
bool adc_is_ideal(const struct adc *c) { return c->model == &adc_ideal; }

size_t adc_state_count(const struct adc *c) {
    return c->model->state_count ? c->model->state_count(c->params, c->bits) : 0;
}

double adc_noise_sd(const struct adc *c) { return c->model->noise_sd ? c->model->noise_sd(c->params, c->bits) : 0; }

static int32_t code_of(const struct adc *c, const float *state, float v) {
    int32_t code;
    c->model->convert(c->params, c->bits, state, 0, &v, NULL, &code, 1);
    return code;
}

/* The transition to the code that a far input of this sign gives, and that code. Looked for near `guess` first. */
static float last_transition(const struct adc *c, const float *state, float sign, float guess, int32_t *code) {
    static const float near[] = {0x1p-20f, -0x1p-20f, 0x1p-10f, -0x1p-10f, 0x1p-4f, -0x1p-4f};
    float inside = 0, beyond = 4; /* |v|: without and with that code */
    *code = code_of(c, state, sign * beyond);
    for (size_t i = 0; beyond - inside > 0x1p-22f; i++) {
        float v = i < sizeof near / sizeof near[0] ? guess + near[i] : 0.5f * (inside + beyond);
        if (v > inside && v < beyond) {
            *(code_of(c, state, sign * v) == *code ? &beyond : &inside) = v;
        }
    }
    return sign * beyond;
}

void adc_range(const struct adc *c, const float *state, float *low, float *high) {
    double step, shift;
    int32_t lowest, highest;
    c->model->value(c->params, c->bits, &step, &shift);
    float top = (float)((c->model->highest(c->params, c->bits) + shift - 0.5) * step),
          bottom = (float)((c->model->lowest(c->params, c->bits) + shift + 0.5) * step),
          last = last_transition(c, state, 1, top, &highest), first = last_transition(c, state, -1, -bottom, &lowest),
          width = highest - lowest > 1 ? (last - first) / (float)(highest - lowest - 1) : (float)step;
    *low = first - width;
    *high = last + width;
}

enum status adc_dump(const struct adc *c, struct arena *a, struct config_node *map, struct error *e) {
    return circuit_dump(c->model->name, &c->model->params, c->params, a, map, e);
}

/* ---- shared by the circuits ------------------------------------------------------------------------------- */

void converter_draws(uint64_t seed, uint64_t where, uint64_t instance, float *z, size_t count) {
    random_gaussian_fill(seed, random_stream(RANDOM_CONVERTER, where), instance * DRAWS_PER_CONVERTER, z, count);
}

int32_t mid_rise_lowest(const void *params, int bits) {
    (void)params;
    return -((int32_t)1 << (bits - 1));
}

int32_t mid_rise_highest(const void *params, int bits) {
    (void)params;
    return ((int32_t)1 << (bits - 1)) - 1;
}

void mid_rise_value(const void *params, int bits, double *step, double *shift) {
    (void)params;
    *step = ldexp(1, 1 - bits);
    *shift = 0.5;
}
