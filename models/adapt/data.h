/* Data for adaptation: sequences of token ids of one length, in files that are mapped, never copied. Two kinds of file:
 * data files, which `mho adapt generate` writes, and plain text in UTF-8, which is tokenised when it is opened.
 *
 * Data file, version 1, all numbers little endian:
 *
 *   byte  0   8 bytes   "mhodata\n"
 *         8   uint32    0x01020304: the byte order
 *        12   uint32    1: the version
 *        16   uint64    H, bytes of the header, at most DATA_HEADER_LIMIT; 24 + H is a multiple of 64
 *        24   H bytes   a JSON object in UTF-8, blanks after it
 *      24+H   int32     ids [count][length], to the end of the file
 *
 *   vocabulary        ids are 0 to vocabulary - 1; all of them are checked when the file is opened
 *   length            ids per sequence, the first included
 *   start             id that every sequence starts with
 *   sequences         of the whole set, of which this file may be a part
 *   first, count      this file holds sequences first .. first + count - 1 of the set
 *   split, validation share of the set that is kept for validation; the last `validation` sequences of the set
 *   seed, temperature, top_k (0: off)   how the ids were drawn
 *   kernels           arithmetic that made the logits: others round otherwise, and then draw other ids now and then
 *   model_hash        hash of all tensors of the model, 16 hexadecimal digits
 *   tokenizer_hash    hash of the text of every id; 0: the model had no tokenizer
 *
 * All keys are required. Parts of one set are opened together as a list of files, in any order: the split is that of
 * the set, so it does not matter in how many parts the set was made. Ids only mean something with the tokenizer that
 * they were made for, so a file whose tokenizer_hash is another than the model's is refused.
 *
 * Plain text is encoded without special tokens and cut into sequences of BOS (where the model has one) and the next
 * length - 1 tokens (length, without BOS). What is left at the end is left out; the last sequences are validation.
 * Files NAME.jsonl hold documents, one per line, which are kept apart by BOS and end of text (documents.c). */
#ifndef MHO_MODELS_ADAPT_DATA_H
#define MHO_MODELS_ADAPT_DATA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct model;

/* ---- reading (data.c) ------------------------------------------------------------------------------------------ */

struct data;
struct data_options {
    uint32_t length; /* of the sequences of text files, and what data files must have; 0: theirs, or DATA_LENGTH */
    double split;    /* of text files: share that is kept for validation, 0 to 0.5 */
};
enum { DATA_LENGTH = 256 };

/* Opens files of both kinds for a model. Errors name the file: not readable, damaged, cut off, made with another
 * tokenizer, ids outside the vocabulary, other lengths, the same sequences twice, too short a text. */
enum status data_open(const char *const *paths, size_t count, const struct model *m, const struct data_options *o,
                      struct data **out, struct error *e);
void data_close(struct data *d); /* NULL is fine */

enum data_part { DATA_TRAIN, DATA_VALIDATION, DATA_PARTS };
uint32_t data_length(const struct data *d);
uint64_t data_count(const struct data *d, enum data_part part); /* sequences */
/* Ids [data_length] of sequence k < data_count. Borrowed. One that nothing before it foretells, because the document
 * there was cut off, stands as its complement: data_id. */
const int32_t *data_sequence(const struct data *d, enum data_part part, uint64_t k);
static inline int32_t data_id(int32_t stored) { return stored < 0 ? ~stored : stored; }
/* A hash of what the files hold, in order: for checkpoints, which must go on with the same data. */
uint64_t data_hash(const struct data *d);
/* Whether all of it was drawn from this very model; false for text. */
bool data_is_of_model(const struct data *d, const struct model *m);

/* ---- documents (documents.c) ----------------------------------------------------------------------------------- */

struct token_list;
/* Appends the ids of all documents of a text of JSON lines, as data_sequence gives them. Errors name the line. */
enum status documents_encode(const struct model *m, const char *path, const char *text, size_t bytes,
                             struct token_list *out, struct error *e);

/* ---- the header (data_header.c) -------------------------------------------------------------------------------- */

enum { DATA_PREFIX_BYTES = 24, DATA_ALIGNMENT = 64, DATA_HEADER_LIMIT = 1 << 16, DATA_KERNELS_BYTES = 16 };

struct data_header {
    uint64_t model_hash, tokenizer_hash;
    uint32_t vocabulary, length;
    int32_t start;
    uint64_t sequences, validation, first, count, seed;
    double split, temperature;
    int top_k;
    char kernels[DATA_KERNELS_BYTES];
};
/* All bytes before the ids; mem_free. */
enum status data_header_write(const struct data_header *h, char **bytes, size_t *count, struct error *e);
/* Reads and checks what stands at the start of `size` bytes, and that the file is as long as the header says. *offset:
 * where the ids begin. `where` names the file in messages. */
enum status data_header_read(const uint8_t *bytes, size_t size, const char *where, struct data_header *h,
                             size_t *offset, struct error *e);
/* Whether the bytes begin like a data file. */
bool data_header_here(const uint8_t *bytes, size_t size);
/* What two headers differ in, as "seed 1, now 2"; an empty text if in nothing. */
void data_header_difference(const struct data_header *was, const struct data_header *now, char *out, size_t room);
/* Sequences of `count` that are kept for validation: the nearest number, at least 1 where share > 0, never all. */
uint64_t data_validation_count(uint64_t count, double share);

uint64_t data_hash_bytes(uint64_t hash, const void *bytes, size_t count); /* goes on from `hash`, 0 at first */
uint64_t data_model_hash(const struct model *m);
uint64_t data_tokenizer_hash(const struct model *m);

/* ---- writing (data_writer.c) ----------------------------------------------------------------------------------- */

/* Writes a file sequence by sequence, so that a run that ends early, however it ends, is gone on with. */
struct data_writer;
/* Begins PATH, or goes on with PATH.partial. A complete PATH with this very header: *out is NULL. Errors: PATH or
 * PATH.partial of other settings, another run at work on it. */
enum status data_writer_open(const char *path, const struct data_header *h, struct data_writer **out, struct error *e);
uint64_t data_writer_count(const struct data_writer *w); /* sequences that are there, from the first one on */
enum status data_writer_add(struct data_writer *w, const int32_t *ids, struct error *e);
/* All are there: gives the file its name. The writer has still to be closed. */
enum status data_writer_finish(struct data_writer *w, struct error *e);
void data_writer_close(struct data_writer *w); /* NULL is fine; what was added stays */

#endif
