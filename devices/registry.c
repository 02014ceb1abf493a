/* All cell models. A new technology is one file and one row here. */
#include "devices/device.h"
#include "devices/models.h"

const struct cell_model *const cell_models[] = {
    &cell_ideal,
    &cell_pcm_like,
    &cell_pcm_hermes_1dev,
    &cell_pcm_hermes_2dev,
    &cell_pcm_afm,
    &cell_pcm_joshi,
    &cell_reram_wan,
    &cell_reram_cmo,
    &cell_reram_milo,
    &cell_sonos,
    &cell_sram_capacitor,
    &cell_ecram,
    &cell_generic,
    &cell_measured,
    NULL,
};

enum { CELL_MODELS = sizeof cell_models / sizeof cell_models[0] - 1 };

const struct cell_model *cell_model_find(const char *name, struct error *e) {
    const char *names[CELL_MODELS];
    for (size_t i = 0; i < CELL_MODELS; i++) {
        names[i] = cell_models[i]->name;
    }
    size_t row = named_row("cell model", name, names, CELL_MODELS, e);
    return row < CELL_MODELS ? cell_models[row] : NULL;
}
