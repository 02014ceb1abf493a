/* The list of input converters, and a converter with its parameters. A new circuit is one file and one row here. */
#include "devices/dac.h"

#include <string.h>

#include "devices/dac_models.h"

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
    char known[256] = "";
    for (size_t i = 0; i < DAC_MODELS; i++) {
        names[i] = dac_models[i]->name;
        if (strcmp(names[i], name) == 0) {
            return dac_models[i];
        }
        strncat(known, i ? ", " : "", sizeof known - strlen(known) - 1);
        strncat(known, names[i], sizeof known - strlen(known) - 1);
    }
    const char *near = nearest_name(name, names, DAC_MODELS);
    error_set(e, ERR_USAGE, "DAC circuit '%s' is unknown%s%s%s (allowed: %s)", name, near ? ": did you mean '" : "",
              near ? near : "", near ? "'" : "", known);
    return NULL;
}

/* The model named by a circuit's map; no map: ideal. */
static enum status model_of_map(const struct config_node *map, const char *prefix, const struct dac_model **out,
                                struct error *e) {
    char where[512];
    *out = &dac_ideal;
    if (!map) {
        return OK;
    }
    const struct config_node *name = config_get(map, "model");
    if (!name || !config_text(name)) {
        return error_set(e, ERR_USAGE, "%s: %smodel: missing: a circuit is a map that names its model",
                         config_where(map, where, sizeof where), prefix);
    }
    *out = dac_model_find(config_text(name), e);
    return *out ? OK : error_prefix(e, "%s: %smodel", config_where(name, where, sizeof where), prefix);
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
    struct config_node *name = config_new_scalar(a, d->model->name, "(effective)", 0);
    if (!name) {
        return error_set(e, ERR_RUN, "DAC circuit %s: out of memory", d->model->name);
    }
    TRY(config_put(a, map, "model", name, e));
    return params_dump(&d->model->params, d->params, "", a, map, e);
}
