/* Multiple-choice tasks: which of the given continuations does the model find likeliest?
 *
 *   ids     = [BOS] + encode(context + " " + choice),  n = number of ids of [BOS] + encode(context)
 *   log p   = sum over k >= n of ln p(ids[k] | ids before it)
 *   acc       the item counts if the right choice has the largest log p
 *   acc_norm  the same for log p / bytes of the choice in UTF-8 (the space in front does not count)
 * The first of equal values wins. `encode` adds no special tokens. These are the rules of the Language Model Evaluation
 * Harness (https://github.com/EleutherAI/lm-evaluation-harness), but for the bytes, where it counts characters.
 *
 *   task            context                                                      choices
 *   hellaswag       the text                                                     its endings
 *   arc_easy,       Question: Q\nAnswer:                                         the answers
 *   arc_challenge
 *   boolq           PASSAGE\nQuestion: Q?\nAnswer:                               no, yes
 *   mmlu            The following are multiple choice questions (with            A, B, C, D
 *                   answers) about SUBJECT.\n\nQ\nA. a\nB. b\nC. c\nD. d\nAnswer:
 *
 * Few shots: the first N other items of the file (mmlu: of the subject's dev file), each with its right choice and an
 * empty line after it, stand before the question. A sequence that is longer than the context of the model loses tokens
 * at its front, behind BOS, all choices of the item as many.
 *
 * Files (plain, or packed with bzip2):
 *   hellaswag  six lines per item: context, number of the right ending (0 to 3), four endings
 *   arc_*      JSON lines {"question", "choices": {"text": [], "label": []}, "answerKey"}, or a JSON list of
 *              {"instruction": "Please choose the correct answer to the question: Q\n\nAnswer1: a Answer2: b ...\n\n
 *              Answer format: ...", "answer": "answer2"}
 *   boolq      JSON lines {"prompt": "passage: P\nquestion: {}", "subject": Q, "target_new": {"str": "True"}}
 *   mmlu       a folder or a ZIP archive with test/SUBJECT_test.csv and dev/SUBJECT_dev.csv, lines Q,a,b,c,d,X
 */
#ifndef MHO_MODELS_CHOICE_H
#define MHO_MODELS_CHOICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct model;
struct session;

enum { CHOICES_MOST = 8, SHOTS_MOST = 64 };

extern const char *const choice_task_names[]; /* NULL-terminated */

struct choice_item {
    const char *question; /* the context without what stands before it */
    const char *choices[CHOICES_MOST];
    uint32_t count, gold;
};

struct choice_set;
/* Reads a file of a task. Errors name the file and the line or item: an unknown task, a format that is none of the
 * above, fewer other items than shots. */
enum status choice_open(const char *task, const char *path, uint32_t shots, struct choice_set **out, struct error *e);
void choice_close(struct choice_set *c); /* NULL is fine */
size_t choice_count(const struct choice_set *c);
const struct choice_item *choice_item_at(const struct choice_set *c, size_t i);
/* The whole context, shots included; mem_free. NULL when out of memory. */
char *choice_context(const struct choice_set *c, size_t i);
/* Hash of all items and shots. */
uint64_t choice_hash(const struct choice_set *c);

struct choice_scores {
    double log_p[CHOICES_MOST];
    uint32_t tokens[CHOICES_MOST]; /* over which log_p is the sum */
    uint32_t context_tokens;       /* n, after cutting */
    uint32_t cut;                  /* tokens that were left out at the front */
    uint32_t best, best_norm;      /* choices that win by log p, by log p per byte */
};
/* Runs one item through a session from its start; the tokens that all choices share run once. Errors: a choice that
 * adds no token, or is longer than the context. */
enum status choice_score(struct session *s, const struct model *m, const struct choice_set *c, size_t i, bool bos,
                         struct choice_scores *out, struct error *e);

#endif
