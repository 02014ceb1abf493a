/* Private to models/: text to ids and back. Sources: tokenizer.json (folder) or the vocabulary in a GGUF file.
 * Text is bytes; invalid UTF-8 survives a round trip where the vocabulary has byte tokens. */
#ifndef MHO_MODELS_TOKENIZER_H
#define MHO_MODELS_TOKENIZER_H

#include "models/weights.h"

struct tokenizer;
enum status tokenizer_open(const struct weights *w, struct tokenizer **out, struct error *e);
/* A tokenizer.json file, or a folder that holds one, or a GGUF file (vocabulary only is fine). */
enum status tokenizer_open_path(const char *path, struct tokenizer **out, struct error *e);
void tokenizer_close(struct tokenizer *t);

/* ids from mem_alloc; zero-initialise; free with token_list_clear */
struct token_list {
    int32_t *ids;
    size_t count, capacity;
};
void token_list_clear(struct token_list *l);
enum status token_list_add(struct token_list *l, int32_t id, struct error *e);

/* add_special: BOS/EOS as the tokenizer's post-processor or GGUF flags say. Special tokens written out in the text are
 * recognised when parse_special. */
enum status tokenizer_encode(const struct tokenizer *t, const char *text, size_t bytes, bool add_special,
                             bool parse_special, struct token_list *out, struct error *e);
/* Appends bytes. skip_special leaves control tokens out. mem_alloc'd, terminated; bytes may hold 0. */
enum status tokenizer_decode(const struct tokenizer *t, const int32_t *ids, size_t count, bool skip_special,
                             char **text, size_t *bytes, struct error *e);
/* Bytes that this id adds to a running text (streaming): may end inside a UTF-8 character. Borrowed from the
 * tokenizer. */
void tokenizer_piece(const struct tokenizer *t, int32_t id, const char **bytes, size_t *count);
/* Streaming printer: what one more id adds to a text, in whole characters; the bytes of an unfinished one are held
 * back. Zero-initialise; set `started` when text stands in front already (else the space that SentencePiece puts before
 * a text is left out). */
struct token_stream { bool started; char held[4]; size_t held_count; };
/* Writes at most tokenizer_longest_piece() + 4 bytes to `out` (room), returns how many. No allocation. */
size_t tokenizer_stream(const struct tokenizer *t, struct token_stream *s, int32_t id, bool skip_special, char *out,
                        size_t room);
size_t tokenizer_stream_end(struct token_stream *s, char *out, size_t room); /* what is held back, as it is */
size_t tokenizer_longest_piece(const struct tokenizer *t);
size_t tokenizer_size(const struct tokenizer *t); /* highest id + 1; there may be holes */
int32_t tokenizer_bos(const struct tokenizer *t);  /* -1: none */
bool tokenizer_adds_bos(const struct tokenizer *t);
bool tokenizer_is_end(const struct tokenizer *t, int32_t id); /* any end-of-text/turn token known to the vocabulary */
bool tokenizer_is_special(const struct tokenizer *t, int32_t id);
int32_t tokenizer_find(const struct tokenizer *t, const char *piece); /* id of a (special) token by its text; -1 */
/* The model's own chat template (Jinja source) or NULL. */
const char *tokenizer_chat_template(const struct tokenizer *t);

/* Chat formats by name. */
struct chat_message { const char *role; const char *content; }; /* role: system, user, assistant */
/* format: "chatml", "llama2", "llama3", "phi3", "mistral", "zephyr", "gemma", "plain"; NULL = recognise from
 * `template_source` (an unrecognised one is an error that offers --chat-format and lists the names). Text is
 * mem_alloc'd. */
enum status chat_render(const char *format, const char *template_source, const struct chat_message *m, size_t count,
                        bool generation_prompt, char **text, struct error *e);
extern const char *const chat_format_names[]; /* NULL-terminated */

#endif
