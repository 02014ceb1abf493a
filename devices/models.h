/* Private to devices/: the cell models, one file each. */
#ifndef MHO_DEVICES_MODELS_H
#define MHO_DEVICES_MODELS_H

#include "devices/device.h"

extern const struct cell_model cell_ideal;            /* ideal.c */
extern const struct cell_model cell_pcm_like;         /* pcm_like.c */
extern const struct cell_model cell_pcm_hermes_1dev;  /* pcm_hermes.c */
extern const struct cell_model cell_pcm_hermes_2dev;  /* pcm_hermes.c */
extern const struct cell_model cell_pcm_afm;          /* pcm_afm.c */
extern const struct cell_model cell_pcm_joshi;        /* pcm_joshi.c */
extern const struct cell_model cell_reram_wan;        /* reram_wan.c */
extern const struct cell_model cell_reram_cmo;        /* reram_cmo.c */
extern const struct cell_model cell_reram_milo;       /* reram_milo.c */
extern const struct cell_model cell_sonos;            /* sonos.c */
extern const struct cell_model cell_sram_capacitor;   /* sram_capacitor.c */
extern const struct cell_model cell_ecram;            /* ecram.c */
extern const struct cell_model cell_generic;          /* generic.c */
extern const struct cell_model cell_measured;         /* measured.c */

#endif
