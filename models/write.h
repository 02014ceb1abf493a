/* Writing models: a Hugging Face folder or a GGUF file from an open model with some of its parts replaced.
 *
 * Parts have the names that the rest of the program uses, whatever the file calls them:
 *
 *   layers.3.q, layers.3.gate_up, head     a matrix, [outputs][inputs], as model_matrices() names and orders it
 *   MATRIX.bias                            [outputs]
 *   MATRIX.input_range                     [row blocks] or [1]: static ranges of the inputs, for the chip
 *   MATRIX.weight_scale, MATRIX.adc_range  [row blocks][outputs]: see struct matrix_source; for the chip
 *   layers.3.attention_norm, final_norm    a norm, [width], as it multiplies (Gemma: with its 1); NORM.bias
 *                                          (also q_norm, k_norm, post_attention_norm, mlp_norm, post_mlp_norm)
 *   embedding, positions                   [vocabulary][hidden], [context][hidden]
 *
 * A part may be named as its tensor in the file that the model came from, too:
 * "model.layers.3.self_attn.q_proj.weight".
 * A part that is not replaced is written as the model holds it. A tied head follows the embedding, unless it is
 * replaced or quantised itself: then it is written on its own and the model is no longer tied.
 */
#ifndef MHO_MODELS_WRITE_H
#define MHO_MODELS_WRITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "models/weights.h"
#include "sim/sim.h"

struct model;

struct model_part {
    const char *name;
    const float *values;
    size_t count;
};

/* All borrowed. Zero-initialised: the model as it is, in fp32. */
struct model_changes {
    /* Of matrices and embeddings. Folder: F32, F16, BF16. GGUF: Q8_0 and Q4_0 too; then matrices whose rows are no
     * multiple of 32 are F16, and the embedding is Q8_0. Vectors are always F32. */
    enum tensor_type type;
    /* Not 0: every matrix, head included, rounded to the nearest of 2^bits - 1 levels, see quantise_row(). 2 to 8. */
    int quantise_bits;
    const struct model_part *parts;
    size_t part_count;
    /* What stays digital, one for each matrix, NULL for none. NULL: as the model says. Folder only. */
    const struct side_path *const *sides;
    const uint32_t *devices; /* [matrices] per weight; 0: the chip's own number. NULL: as the model says. Folder. */
    bool forget_chip; /* what the model brings for a chip is left out: ranges, scales, side paths, devices, its name */
    /* Metadata of model.safetensors. The chip that the model is made for: its name as `mho.chip`, its converters as
     * `mho.converters` (JSON: members of struct chip_training). How it was made, JSON: `mho.adapt`. NULL: as the model
     * says. */
    const struct chip *chip;
    const char *adapt;
};

/* A Hugging Face folder: config.json, model.safetensors and, where the model has a tokenizer, tokenizer.json,
 * tokenizer_config.json and what else belongs to it. model_open() reads it back with the same values.
 *
 * `path` is made if it is missing. Every file is written whole under a temporary name before the first one gets its
 * own: after a failure (a full disk) the folder holds what it held before. A folder may hold other files, which stay;
 * but a model in it is replaced only if this program wrote it (metadata `mho.format` of model.safetensors). */
enum status model_write_folder(const struct model *m, const struct model_changes *c, const char *path,
                               struct error *e);
/* Whether model_write_folder() would refuse `path`: to be asked before hours of work. */
enum status model_folder_check(const char *path, struct error *e);

/* `mho.adapt` of the folder that the model came from, for what is made of it now: parsed, or the text where it is no
 * JSON. json_decref; NULL: the folder says nothing, or no memory is left. */
json_t *model_made_how(const struct model *m);

/* A GGUF file (version 3) for ordinary digital hardware, tokenizer included. What belongs to a chip (input ranges, side
 * paths) is left out: other readers refuse tensors that they do not know. */
enum status model_write_gguf(const struct model *m, const struct model_changes *c, const char *path, struct error *e);

/* Round to nearest, symmetric, one scale: with n = 2^(bits - 1) - 1 and scale = max|x| / n each value becomes
 * scale * round(x / scale); 4 bits: levels -7 to 7. In place. */
void quantise_row(float *row, size_t count, int bits);

#endif
