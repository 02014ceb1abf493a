/* Private to the writer of GGUF files: metadata on its way to the file, and the tokenizer among it. */
#ifndef MHO_MODELS_WRITE_GGUF_H
#define MHO_MODELS_WRITE_GGUF_H

#include "models/tokenizer_parts.h"
#include "models/write_parts.h"

/* Zero-initialise but for `error`. Once something fails, `status` says so and nothing more is put. */
struct gguf_keys {
    struct text_buffer bytes;
    size_t count;
    enum status status;
    struct error *error;
};
void gguf_put_text(struct gguf_keys *k, const char *key, const char *text, size_t bytes);
void gguf_put_u32(struct gguf_keys *k, const char *key, uint32_t value);
void gguf_put_f32(struct gguf_keys *k, const char *key, float value);
void gguf_put_bool(struct gguf_keys *k, const char *key, bool value);
void gguf_put_i32_array(struct gguf_keys *k, const char *key, const int32_t *values, size_t count);
void gguf_put_f32_array(struct gguf_keys *k, const char *key, const float *values, size_t count);
/* Followed by `count` elements. */
void gguf_put_text_array(struct gguf_keys *k, const char *key, size_t count);
void gguf_put_element(struct gguf_keys *k, const char *text, size_t bytes);

/* Everything under tokenizer.* (write_vocabulary.c). A tokenizer that no GGUF vocabulary stands for is an error. */
enum status vocabulary_put(struct gguf_keys *k, const struct piece_list *l, struct error *e);

#endif
