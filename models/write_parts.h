/* Private to the writers of models (write_*.c): the list of tensors of a model that is written, and the pieces that
 * both kinds of files are put together from.
 *
 *   write_tensors.c   which tensors, their names and values
 *   write_folder.c    config.json, model.safetensors, files of the tokenizer; write_config.c, write_tokenizer.c
 *   write_gguf.c      one GGUF file; write_vocabulary.c
 *   quantise.c        values as they are stored
 */
#ifndef MHO_MODELS_WRITE_PARTS_H
#define MHO_MODELS_WRITE_PARTS_H

#include <stdio.h>

#include "models/files.h"
#include "models/internal.h"
#include "models/write.h"

/* F32, F16, BF16, Q8_0, Q4_0. count: a multiple of the block. */
void tensor_quantise(enum tensor_type t, const float *values, size_t count, void *out);

enum file_kind { FILE_FOLDER, FILE_GGUF };

enum piece_source { PIECE_MATRIX, PIECE_TABLE, PIECE_VECTOR, PIECE_INTEGERS };

/* A tensor to be written. */
struct piece {
    const char *name;
    enum tensor_type type; /* of integers, which are 32 bits wide: F32 */
    int rank;
    uint64_t shape[2]; /* outermost first */
    uint64_t bytes;
    enum piece_source source;
    size_t matrix;              /* PIECE_MATRIX: index */
    bool transposed;            /* PIECE_MATRIX: [inputs][outputs] */
    const struct tensor *table; /* PIECE_TABLE, where no values replace it: embedding or positions */
    const float *values;        /* PIECE_VECTOR, PIECE_TABLE */
    const uint32_t *integers;   /* PIECE_INTEGERS */
};

struct piece_list {
    const struct model *model;
    const struct model_changes *changes;
    enum file_kind kind;
    bool tied;             /* the written model has no head of its own */
    const float **weights; /* [matrices] replaced ones, NULL else */
    bool *used;            /* [part_count] */
    struct arena *arena;
    struct piece *at;
    size_t count, capacity;
};
/* Everything that the file will hold; checks the changes. The list borrows model and changes. */
enum status pieces_create(const struct model *m, const struct model_changes *c, enum file_kind kind,
                          struct piece_list **out, struct error *e);
void pieces_destroy(struct piece_list *l); /* NULL is fine */
/* One vector more, F32; `values` must outlive the list. */
enum status pieces_add_vector(struct piece_list *l, const char *name, const float *values, uint64_t count,
                              struct error *e);
/* Appends the values of one piece to the file: `bytes` bytes. */
enum status piece_write(const struct piece_list *l, const struct piece *p, FILE *f, struct error *e);

/* config.json of the written model: the one of its folder, or made from the shape. json_decref. */
enum status config_make(const struct piece_list *l, json_t **out, struct error *e);
/* tokenizer.json and tokenizer_config.json of a vocabulary that came in a GGUF file. json_decref. */
enum status tokenizer_make_json(const struct model *m, json_t **out, struct error *e);
enum status tokenizer_make_config(const struct model *m, json_t **out, struct error *e);

#endif
