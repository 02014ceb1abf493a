/* The list of input converters, and a converter with its parameters. A new circuit is one file and one row here. */
#include "devices/dac.h"

#include "devices/dac_models.h"
#include "devices/circuit.h"

const struct dac_model *const dac_models[] = {
    &dac_ideal, &dac_r_2r, &dac_c_2c, &dac_pulse_width, NULL,
};

enum { DAC_MODELS = sizeof dac_models / sizeof dac_models[0] - 1 };

struct dac {
    const struct dac_model *model;
    const void *params;
    int bits;
};

const struct dac_model *dac_model_find(const char *name, struct error *e) {
    const char *names[DAC_MODELS];
    for (size_t i = 0; i < DAC_MODELS; i++) {
        names[i] = dac_models[i]->name;
    }
    size_t row = named_row("DAC circuit", name, names, DAC_MODELS, e);
    return row < DAC_MODELS ? dac_models[row] : NULL;
}

/* The model named by a circuit's map; no map: ideal. */
static enum status model_of_map(const struct config_node *map, const char *prefix, const struct dac_model **out,
                                struct error *e) {
    const struct config_node *name = NULL;
    TRY(circuit_name(map, prefix, &name, e));
    *out = name ? dac_model_find(config_text(name), e) : &dac_ideal;
    return *out ? OK : circuit_refused(name, prefix, e);
}

enum status dac_create(const struct config_node *map, const char *prefix, int bits, struct arena *a,
                       const struct dac **out, struct error *e) {
    const struct dac_model *model = NULL;
    TRY(model_of_map(map, prefix, &model, e));
    struct dac *d = arena_alloc(a, 1, sizeof *d);
    void *params = arena_alloc(a, 1, model->params_bytes ? model->params_bytes : 1);
    if (!d || !params) {
        return error_set(e, ERR_RUN, "%s: out of memory", prefix);
    }
    if (model->params.count) {
        TRY(params_read(&model->params, map, prefix, a, params, e));
    }
    *d = (struct dac){model, params, bits};
    *out = d;
    return OK;
}

const struct dac_model *dac_model_of(const struct dac *d) { return d->model; }
const void *dac_params(const struct dac *d) { return d->params; }
int dac_bits(const struct dac *d) { return d->bits; }
bool dac_is_ideal(const struct dac *d) { return d->model == &dac_ideal; }

double dac_noise_sd(const struct dac *d) { return d->model->noise_sd ? d->model->noise_sd(d->params, d->bits) : 0; }

enum status dac_dump(const struct dac *d, struct arena *a, struct config_node *map, struct error *e) {
    return circuit_dump(d->model->name, &d->model->params, d->params, a, map, e);
}
