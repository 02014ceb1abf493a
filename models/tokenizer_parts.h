/* Private to the tokenizer: the parts that text passes on its way to ids, and the object that holds them.
 *
 *   text -> added tokens cut out -> normaliser -> pre-tokeniser (words) -> merges (pieces) -> ids
 *        added_tokens.c           normalize.c   pretokenize.c            bpe.c, spm.c
 *
 * Two loaders fill a `struct tokenizer` (tokenizer_json.c, tokenizer_gguf.c) through the calls of vocabulary.c;
 * after tokenizer_seal() it never changes and any number of threads may use it. What changes while text is
 * encoded lives in a `struct scratch` that belongs to one call.
 *
 * Three kinds of word model:
 *   WORD_BYTES  byte-level BPE (GPT-2): the alphabet is the 256 bytes, written in the file as 256 printable
 *               characters; every text can be encoded.
 *   WORD_CHARS  BPE over characters (Llama 2 in tokenizer.json): a space is U+2581, a character that the
 *               vocabulary lacks becomes the byte tokens <0x00>..<0xFF> or the unknown token.
 *   WORD_SCORES SentencePiece as stored in GGUF: no merge list; of all neighbours whose joined text is in the
 *               vocabulary the one with the highest score is joined first.
 */
#ifndef MHO_MODELS_TOKENIZER_PARTS_H
#define MHO_MODELS_TOKENIZER_PARTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "models/tokenizer.h"

/* Ids index a table, so a file may not name an arbitrary one. The largest vocabularies have 262,144 tokens. */
#define TOKEN_ID_LIMIT (1 << 22)
/* Positions are 32 bits wide in the merge queue, and normalisation may lengthen the text. */
#define TEXT_LIMIT_BYTES ((size_t)1 << 28)

/* ---- growing memory --------------------------------------------------------------------------- */

/* Makes room for `wanted` elements at *block (doubling; contents kept). */
enum status grow(void *block, size_t *capacity, size_t wanted, size_t element_bytes, struct error *e);
enum status out_of_memory(struct error *e);

struct text_buffer { char *data; size_t used, capacity; };
enum status buffer_add(struct text_buffer *b, const char *bytes, size_t count, struct error *e);
enum status buffer_terminate(struct text_buffer *b, struct error *e); /* writes a 0 that `used` does not count */

struct range { size_t start, end; };
struct range_list { struct range *at; size_t count, capacity; };
enum status range_add(struct range_list *l, size_t start, size_t end, struct error *e); /* drops empty ones */

/* ---- regular expressions (regex.c) --------------------------------------------------------------- */

/* PCRE2 with Unicode properties. Immutable after compilation, shared by threads. */
struct regex;
/* literal: the pattern is a plain string. `where` opens the error message. */
enum status regex_compile(const char *pattern, size_t bytes, bool literal, const char *where, struct regex **out,
                          struct error *e);
void regex_destroy(struct regex *r);

struct matcher; /* what one thread needs to match */
enum status matcher_create(struct matcher **out, struct error *e);
void matcher_destroy(struct matcher *m);
/* First match at or after `from` in valid UTF-8. Too much backtracking is an error, not a hang. */
enum status regex_find(const struct regex *r, struct matcher *m, const char *text, size_t bytes, size_t from,
                       bool *found, struct range *match, struct error *e);

/* ---- vocabulary (vocabulary.c) ------------------------------------------------------------------- */

enum token_flag {
    TOKEN_PRESENT = 1,  /* the id is taken; ids may have holes */
    TOKEN_SPECIAL = 2,  /* control token: not text, left out by skip_special */
    TOKEN_VERBATIM = 4, /* the piece is the text as written (added tokens) */
    TOKEN_END = 8,      /* ends a text or a turn */
    TOKEN_LOOKUP = 16,  /* found by its text when words are encoded */
};

struct token {
    const char *text;  /* as in the file; arena */
    const char *piece; /* bytes that the id stands for */
    uint32_t text_bytes, piece_bytes;
    uint32_t rank; /* WORD_SCORES: place in the order of falling scores, equal scores share a place */
    unsigned flags;
};

struct added_token { const char *text; size_t bytes; int32_t id; bool special, single_word, strip_left, strip_right; };
/* Sorted by text. first[b] .. first[b+1]: those that begin with byte b. */
struct added_index { struct added_token *at; size_t count, capacity; size_t first[257]; };

enum normalise_kind {
    NORMALISE_NFC, NORMALISE_NFD, NORMALISE_NFKC, NORMALISE_NFKD,
    NORMALISE_LOWERCASE, NORMALISE_STRIP_ACCENTS, NORMALISE_PREPEND, NORMALISE_REPLACE
};
struct normalise_step {
    enum normalise_kind kind;
    const char *text; size_t bytes; /* prepended, or put in place of a match */
    struct regex *pattern;          /* NORMALISE_REPLACE */
};

enum split_behaviour { SPLIT_REMOVED, SPLIT_ISOLATED, SPLIT_WITH_PREVIOUS, SPLIT_WITH_NEXT, SPLIT_CONTIGUOUS };
enum prepend_scheme { PREPEND_NEVER, PREPEND_FIRST, PREPEND_ALWAYS };
enum pretoken_kind {
    PRETOKEN_SPLIT,    /* cut by a pattern */
    PRETOKEN_PREFIX,   /* put a space before a piece that does not begin with one */
    PRETOKEN_METASPACE /* spaces become `text`, one more in front as `prepend` says */
};
struct pretoken_step {
    enum pretoken_kind kind;
    struct regex *pattern; enum split_behaviour behaviour; bool invert; /* PRETOKEN_SPLIT */
    const char *text; size_t bytes; enum prepend_scheme prepend;        /* PRETOKEN_METASPACE */
};

enum word_model { WORD_BYTES, WORD_CHARS, WORD_SCORES };

struct pair_slot {
    uint64_t pair;
    uint32_t rank;
    int32_t merged;
}; /* pair = left id << 32 | right id; merged < 0: empty */

enum { MAX_STEPS = 16 };

struct tokenizer {
    struct arena *arena; /* every text below */
    const char *where;   /* the file, for messages */

    struct token *tokens; size_t count, capacity;
    int32_t *slots; size_t slot_count;        /* text -> id of TOKEN_LOOKUP tokens; -1 empty; power of two */
    struct text_buffer joined; /* the loader's own: text of the merge at hand */
    struct pair_slot *pairs; size_t pair_count; /* (left, right) -> rank, merged; power of two */

    enum word_model model;
    bool ignore_merges; /* a word that is a token stays whole */
    bool byte_fallback, fuse_unknown;
    bool add_bos, add_eos; /* GGUF flags; the loader turns them into before and after */
    bool cut_at_space;  /* no token holds U+2581 after another character: words can be merged one by one */
    int32_t byte_ids[256]; /* -1: none */
    int32_t unknown;       /* -1: none */

    struct normalise_step normalise[MAX_STEPS]; size_t normalise_count;
    struct pretoken_step pretoken[MAX_STEPS]; size_t pretoken_count;
    struct added_index added;            /* looked for in the text as given */
    struct added_index added_normalised; /* looked for in normalised text, by their normalised spelling */

    const char *decode_from, *decode_to;
    size_t decode_from_bytes, decode_to_bytes; /* replaced in pieces; NULL: nothing */
    bool decode_fused; /* a Fuse was read: the loader's own note */
    size_t strip_left, strip_right; /* spaces that decoding takes off the ends */

    int32_t *before, *after; size_t before_count, after_count; /* ids of add_special */
    int32_t bos; /* -1: none */
    const char *chat_template; /* NULL: none */
};

enum status tokenizer_new(const char *where, struct tokenizer **out, struct error *e);
/* Each id and each text once; `text` is copied. */
enum status tokenizer_put(struct tokenizer *t, int64_t id, const char *text, size_t bytes, unsigned flags,
                          struct error *e);
enum status tokenizer_index(struct tokenizer *t, struct error *e); /* builds the text index; duplicates are an error */
int32_t tokenizer_lookup(const struct tokenizer *t, const char *text, size_t bytes); /* TOKEN_LOOKUP tokens; -1 */
/* Any token by its text. -1. */
int32_t tokenizer_find_any(const struct tokenizer *t, const char *text, size_t bytes);
/* Merge number `rank` joins two pieces; the pieces and the joined text must be in the vocabulary. */
enum status tokenizer_reserve_merges(struct tokenizer *t, size_t count, struct error *e);
enum status tokenizer_merge(struct tokenizer *t, size_t rank, const char *left, size_t left_bytes, const char *right,
                            size_t right_bytes, struct error *e);
/* The slot of a pair, or the empty one where it would go. In the header because every step of a merge asks it. */
static inline struct pair_slot *pair_slot_of(const struct tokenizer *t, uint64_t pair) {
    size_t i = (size_t)(pair * 0x9e3779b97f4a7c15u >> 20) & (t->pair_count - 1);
    while (t->pairs[i].merged >= 0 && t->pairs[i].pair != pair) {
        i = (i + 1) & (t->pair_count - 1);
    }
    return &t->pairs[i];
}
/* After everything is set: byte ids, pieces, ends of text, the word cut. Added tokens come after it. */
enum status tokenizer_seal(struct tokenizer *t, struct error *e);
/* "<0x41>" -> 65, else -1. */
int byte_token_value(const char *text, size_t bytes);
/* The printable character that stands for a byte in byte-level vocabularies, as UTF-8; returns 1 or 2 bytes. */
size_t byte_character(unsigned char byte, char out[2]);

/* ---- what one call of encode works with -------------------------------------------------------------- */

struct symbol {
    size_t offset;           /* in the word; bytes long */
    uint32_t bytes;          /* 0: joined to its left neighbour */
    int32_t id;              /* -1: a character that is no token of its own (WORD_SCORES) */
    int32_t previous, next;  /* neighbours; -1 none */
    uint32_t rank;           /* of joining this with `next`; UINT32_MAX: cannot be */
    int32_t merged;          /* id of the join */
};

struct scratch {
    struct matcher *matcher;
    struct text_buffer normal[2];
    struct text_buffer words[2];
    struct range_list ranges[2];
    struct text_buffer key;
    struct symbol *symbols; size_t symbol_count, symbol_capacity;
    uint64_t *heap; size_t heap_count, heap_capacity;
};
enum status scratch_open(struct scratch *s, struct error *e);
void scratch_close(struct scratch *s);

/* ---- the steps ------------------------------------------------------------------------------------ */

/* All tokens must be put before this. `text` must outlive the index. */
enum status added_put(struct added_index *a, const struct added_token *token, struct error *e);
enum status added_seal(struct added_index *a, const char *where, struct error *e);
void added_clear(struct added_index *a);
/* Leftmost longest match in text[from, bytes); tokens that are special count only with parse_special. Returns NULL when
 * there is none; else match is what to cut out (with the white space that the token strips). */
const struct added_token *added_find(const struct added_index *a, const char *text, size_t bytes, size_t from,
                                     bool parse_special, struct range *match);

/* *out points into `text` or scratch. prepend: whether NORMALISE_PREPEND acts (not after an invalid byte). */
enum status normalise(const struct tokenizer *t, struct scratch *s, const char *text, size_t bytes, bool prepend,
                      const char **out, size_t *out_bytes, struct error *e);

/* Cuts valid UTF-8 into words: *words are ranges of *out, in scratch. first: the text begins here; prepend: as above.
 */
enum status pretokenise(const struct tokenizer *t, struct scratch *s, const char *text, size_t bytes, bool first,
                        bool prepend, const char **out, const struct range_list **words, struct error *e);
/* The pre-tokeniser of a GGUF vocabulary by its name. */
enum status pretokenise_by_name(struct tokenizer *t, const char *name, size_t bytes, struct error *e);
enum status pretoken_add(struct tokenizer *t, const struct pretoken_step *step, struct error *e);
enum status pretoken_add_pattern(struct tokenizer *t, const char *pattern, enum split_behaviour behaviour,
                                 struct error *e);
/* The patterns that the name stands for, ending with NULL; NULL: no such name. */
const char *const *pretoken_patterns(const char *name, size_t bytes);
/* The name of a list of patterns, ending with NULL; NULL: it has none. */
const char *pretoken_name(const char *const *patterns, bool ignore_merges);
extern const char gpt2_pattern[];

/* Ids of one word. */
enum status encode_word(const struct tokenizer *t, struct scratch *s, const char *word, size_t bytes,
                        struct token_list *out, struct error *e);
/* Joins the symbols of s until no pair can be joined. */
enum status merge_symbols(const struct tokenizer *t, struct scratch *s, const char *word, struct error *e);
/* Fills the symbols of a word. */
enum status symbols_of_bytes(const struct tokenizer *t, struct scratch *s, const char *word, size_t bytes,
                             struct error *e);
enum status symbols_of_characters(const struct tokenizer *t, struct scratch *s, const char *word, size_t bytes,
                                  struct error *e);
enum status symbol_add(struct scratch *s, size_t offset, size_t bytes, int32_t id, struct error *e);
enum status emit_bytes(const struct tokenizer *t, const char *bytes, size_t count, struct token_list *out,
                       struct error *e);
/* WORD_SCORES: can two neighbouring symbols be joined? */
bool spm_join(const struct tokenizer *t, const char *word, const struct symbol *left, const struct symbol *right,
              uint32_t *rank, int32_t *merged);
/* Ranks of all tokens from their scores. */
enum status spm_rank(struct tokenizer *t, const double *scores, struct error *e);

/* Bytes of the first character if it is valid UTF-8, else 0. */
size_t utf8_length(const char *text, size_t bytes);

/* Loaders. `folder` may hold tokenizer_config.json; NULL: the file alone. */
enum status tokenizer_load_json(const char *path, const char *folder, struct tokenizer **out, struct error *e);
enum status tokenizer_load_gguf(const struct gguf *g, const char *path, struct tokenizer **out, struct error *e);

#endif
