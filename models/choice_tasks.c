/* Reads the files of multiple-choice tasks and writes their prompts: see choice.h for both.
 *
 * Every format is one function that adds items to the set. Texts live in the arena of the set, one after the other.
 */
#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include <utf8proc.h>

#include "base/io.h"
#include "base/unpack.h"
#include "models/choice.h"
#include "models/files.h"
#include "models/internal.h"

enum { FILE_LIMIT = 1 << 28, PATH_ROOM = 512 };

enum task { HELLASWAG, ARC_EASY, ARC_CHALLENGE, BOOLQ, MMLU };
const char *const choice_task_names[] = {"hellaswag", "arc_easy", "arc_challenge", "boolq", "mmlu", NULL};

struct items {
    struct choice_item *at;
    size_t *group; /* mmlu: number of the subject */
    size_t count, capacity;
};

struct choice_set {
    enum task task;
    uint32_t shots;
    struct arena *arena;
    struct items items, examples; /* examples: of mmlu's dev files */
    struct { const char *name; size_t first_example, examples; } *subjects;
    size_t subject_count;
};

/* ---- building ---------------------------------------------------------------------------------------- */

static enum status no_memory(const char *path, struct error *e) {
    return error_set(e, ERR_RUN, "%s: out of memory", path);
}

static enum status add_item(struct items *l, const struct choice_item *item, size_t group, const char *path,
                            struct error *e) {
    if (l->count == l->capacity) {
        size_t more = l->capacity ? 2 * l->capacity : 256;
        struct choice_item *at = mem_resize(l->at, l->capacity * sizeof *at, more * sizeof *at);
        if (!at) {
            return no_memory(path, e);
        }
        l->at = at;
        size_t *groups = mem_resize(l->group, l->capacity * sizeof *groups, more * sizeof *groups);
        if (!groups) {
            return no_memory(path, e);
        }
        l->group = groups;
        l->capacity = more;
    }
    l->at[l->count] = *item;
    l->group[l->count++] = group;
    return OK;
}

/* Adds an item to those that are asked, checking what no format may leave open. `line` counts from 1. */
static enum status take_item(struct choice_set *c, const struct choice_item *item, const char *path, size_t line,
                             struct error *e) {
    if (item->count < 2 || item->gold >= item->count) {
        return error_set(e, ERR_RUN, "%s:%zu: %u choices, the right one is number %u (allowed: 2 to %d choices)", path,
                         line, item->count, item->gold + 1, CHOICES_MOST);
    }
    if (!item->question) {
        return no_memory(path, e);
    }
    for (uint32_t k = 0; k < item->count; k++) {
        if (!item->choices[k]) {
            return no_memory(path, e);
        }
        if (!*item->choices[k]) {
            return error_set(e, ERR_RUN, "%s:%zu: choice %u is empty", path, line, k + 1);
        }
    }
    return add_item(&c->items, item, 0, path, e);
}

static enum status check_utf8_text(const char *text, size_t bytes, const char *path, struct error *e) {
    for (size_t i = 0; i < bytes;) {
        utf8proc_int32_t point;
        utf8proc_ssize_t n =
            utf8proc_iterate((const utf8proc_uint8_t *)text + i, (utf8proc_ssize_t)(bytes - i), &point);
        if (n < 1 || point == 0) {
            return error_set(e, ERR_RUN, "%s: byte %zu: not UTF-8 text (0x%02x)", path, i,
                             (unsigned)(unsigned char)text[i]);
        }
        i += (size_t)n;
    }
    return OK;
}

/* ---- hellaswag: lines -------------------------------------------------------------------------------- */

enum { HELLASWAG_LINES = 6 };

/* Cuts off the next line, without its end. False at the end of the text. */
static bool next_line(char **at, char **line) {
    if (!**at) {
        return false;
    }
    size_t n = strcspn(*at, "\n");
    *line = *at;
    *at += n + ((*at)[n] == '\n');
    (*line)[n] = 0;
    if (n > 0 && (*line)[n - 1] == '\r') {
        (*line)[n - 1] = 0;
    }
    return true;
}

static enum status read_hellaswag(struct choice_set *c, char *text, const char *path, struct error *e) {
    size_t number = 0;
    for (char *line[HELLASWAG_LINES]; next_line(&text, &line[0]); number += HELLASWAG_LINES) {
        for (int k = 1; k < HELLASWAG_LINES; k++) {
            if (!next_line(&text, &line[k])) {
                return error_set(e, ERR_RUN, "%s:%zu: the item ends after %d lines (allowed: context, number of the "
                                 "right ending, four endings)", path, number + 1, k);
            }
        }
        if (strlen(line[1]) != 1 || line[1][0] < '0' || line[1][0] > '3') {
            return error_set(e, ERR_RUN, "%s:%zu: %.20s: not the number of an ending (allowed: 0 to 3)", path,
                             number + 2, line[1]);
        }
        struct choice_item item = {.count = 4, .gold = (uint32_t)(line[1][0] - '0')};
        item.question = arena_strdup(c->arena, line[0]);
        for (int k = 0; k < 4; k++) {
            item.choices[k] = arena_strdup(c->arena, line[2 + k]);
        }
        TRY(take_item(c, &item, path, number + 1, e));
    }
    return OK;
}

/* ---- JSON -------------------------------------------------------------------------------------------- */

/* A text of an object; *text NULL and an error if it is not there. */
static enum status get_text(const json_t *object, const char *key, const char **text, const char *path, size_t line,
                            struct error *e) {
    *text = json_string_value(json_object_get(object, key));
    return *text ? OK : error_set(e, ERR_RUN, "%s:%zu: \"%s\": missing, or not a text", path, line, key);
}

static enum status read_arc_object(struct choice_set *c, const json_t *o, const char *path, size_t line,
                                   struct error *e) {
    const json_t *choices = json_object_get(o, "choices"), *texts = json_object_get(choices, "text"),
                 *labels = json_object_get(choices, "label");
    const char *question, *answer;
    struct choice_item item = {.gold = CHOICES_MOST};
    TRY(get_text(o, "question", &question, path, line, e));
    TRY(get_text(o, "answerKey", &answer, path, line, e));
    if (json_array_size(texts) != json_array_size(labels) || json_array_size(texts) > CHOICES_MOST) {
        return error_set(e, ERR_RUN, "%s:%zu: \"choices\": %zu texts and %zu labels (allowed: as many, at most %d)",
                         path, line, json_array_size(texts), json_array_size(labels), CHOICES_MOST);
    }
    for (size_t k = 0; k < json_array_size(texts); k++) {
        const char *text = json_string_value(json_array_get(texts, k));
        const char *label = json_string_value(json_array_get(labels, k));
        item.choices[item.count++] = arena_strdup(c->arena, text ? text : "");
        if (label && strcmp(label, answer) == 0) {
            item.gold = (uint32_t)k;
        }
    }
    item.question = arena_printf(c->arena, "Question: %s\nAnswer:", question);
    return take_item(c, &item, path, line, e);
}

/* "...question: Q\n\nAnswer1: a Answer2: b\n\nAnswer format: answer1/answer2", cut into its parts. */
static enum status read_arc_instruction(struct choice_set *c, const json_t *o, const char *path, size_t number,
                                        struct error *e) {
    static const char start[] = "Please choose the correct answer to the question: ", first[] = "\n\nAnswer1: ",
                      end[] = "\n\nAnswer format: ";
    const char *instruction, *answer;
    TRY(get_text(o, "instruction", &instruction, path, number, e));
    TRY(get_text(o, "answer", &answer, path, number, e));
    const char *choices = strstr(instruction, first), *format = choices ? strstr(choices, end) : NULL;
    if (strncmp(instruction, start, sizeof start - 1) != 0 || !format || strncmp(answer, "answer", 6) != 0 ||
        strlen(answer) != 7) {
        return error_set(e, ERR_RUN, "%s: item %zu: not a question with answers of the known form", path, number);
    }
    const char *question = instruction + sizeof start - 1;
    struct choice_item item = {.gold = (uint32_t)(answer[6] - '1')};
    item.question = arena_printf(c->arena, "Question: %.*s\nAnswer:", (int)(choices - question), question);
    for (choices += sizeof first - 1; choices && item.count < CHOICES_MOST;) {
        char mark[24];
        snprintf(mark, sizeof mark, " Answer%u: ", item.count + 2);
        const char *next = strstr(choices, mark);
        next = next && next < format ? next : NULL;
        item.choices[item.count++] = arena_strndup(c->arena, choices, (size_t)((next ? next : format) - choices));
        choices = next ? next + strlen(mark) : NULL;
    }
    return take_item(c, &item, path, number, e);
}

static enum status read_boolq_object(struct choice_set *c, const json_t *o, const char *path, size_t line,
                                     struct error *e) {
    static const char start[] = "passage: ", end[] = "\nquestion: {}";
    const char *prompt, *question, *answer;
    TRY(get_text(o, "prompt", &prompt, path, line, e));
    TRY(get_text(o, "subject", &question, path, line, e));
    TRY(get_text(json_object_get(o, "target_new"), "str", &answer, path, line, e));
    size_t bytes = strlen(prompt), around = sizeof start + sizeof end - 2;
    bool yes = strcmp(answer, "True") == 0;
    if (bytes < around || strncmp(prompt, start, sizeof start - 1) != 0 ||
        strcmp(prompt + bytes - (sizeof end - 1), end) != 0 || !(yes || strcmp(answer, "False") == 0)) {
        return error_set(e, ERR_RUN, "%s:%zu: not \"passage: ...\\nquestion: {}\" with True or False", path, line);
    }
    struct choice_item item = {.choices = {"no", "yes"}, .count = 2, .gold = yes};
    item.question = arena_printf(c->arena, "%.*s\nQuestion: %s?\nAnswer:", (int)(bytes - around),
                                 prompt + sizeof start - 1, question);
    return take_item(c, &item, path, line, e);
}

static enum status read_json_lines(struct choice_set *c, char *text, const char *path,
                                   enum status (*take)(struct choice_set *c, const json_t *o, const char *path,
                                                       size_t line, struct error *e),
                                   struct error *e) {
    char *line;
    for (size_t number = 1; next_line(&text, &line); number++) {
        json_t *o;
        char where[PATH_ROOM];
        snprintf(where, sizeof where, "%s, line %zu", path, number);
        TRY(json_parse_checked(line, strlen(line), where, &o, e));
        enum status s = take(c, o, path, number, e);
        json_decref(o);
        TRY(s);
    }
    return OK;
}

static enum status read_arc(struct choice_set *c, char *text, const char *path, struct error *e) {
    json_t *list;
    enum status s = OK;
    if (text[strspn(text, " \t\r\n")] != '[') {
        return read_json_lines(c, text, path, read_arc_object, e);
    }
    TRY(json_parse_checked(text, strlen(text), path, &list, e));
    for (size_t i = 0; i < json_array_size(list) && s == OK; i++) {
        s = read_arc_instruction(c, json_array_get(list, i), path, i, e);
    }
    json_decref(list);
    return s;
}

static enum status read_boolq(struct choice_set *c, char *text, const char *path, struct error *e) {
    return read_json_lines(c, text, path, read_boolq_object, e);
}

/* ---- mmlu: CSV files, one per subject ---------------------------------------------------------------- */

enum { MMLU_CELLS = 6 };

/* Cuts off the next record; cells may be quoted, with line breaks inside. *lines grows by those passed. The number of
 * cells, more than MMLU_CELLS if there are more; 0 at the end. */
static int next_record(char **at, char *cells[MMLU_CELLS], size_t *lines) {
    char *in = *at, *out = *at;
    int count = 0;
    for (bool more = *in != 0; more;) {
        bool quoted = *in == '"';
        if (count < MMLU_CELLS) {
            cells[count] = out;
        }
        count++;
        in += quoted;
        while (*in && (quoted || (*in != ',' && *in != '\n'))) {
            if (quoted && in[0] == '"' && in[1] != '"') {
                quoted = false;
                in++;
                continue;
            }
            in += quoted && *in == '"'; /* "" stands for one */
            *lines += *in == '\n';
            *out++ = *in++;
        }
        more = *in == ',';
        if (*in == '\n' && out > *at && out[-1] == '\r') {
            out--;
        }
        *lines += *in == '\n';
        in += *in != 0;
        *out++ = 0;
    }
    *at = in;
    return count;
}

static enum status read_mmlu_text(struct choice_set *c, struct items *into, char *text, const char *path,
                                  size_t subject, struct error *e) {
    char *cells[MMLU_CELLS];
    size_t line = 1, first = 1;
    for (int n; (n = next_record(&text, cells, &line)) > 0; first = line) {
        bool letter = n == MMLU_CELLS && strlen(cells[5]) == 1 && cells[5][0] >= 'A' && cells[5][0] <= 'D';
        if (!letter) {
            return error_set(e, ERR_RUN, "%s:%zu: not a question (allowed: question, four answers, A to D)", path,
                             first);
        }
        char *question = cells[0] + strspn(cells[0], " \t\r\n");
        size_t bytes = strlen(question);
        while (bytes > 0 && strchr(" \t\r\n", question[bytes - 1])) {
            bytes--;
        }
        struct choice_item item = {.choices = {"A", "B", "C", "D"}, .count = 4, .gold = (uint32_t)(cells[5][0] - 'A')};
        item.question = arena_printf(c->arena, "%.*s\nA. %s\nB. %s\nC. %s\nD. %s\nAnswer:", (int)bytes, question,
                                     cells[1], cells[2], cells[3], cells[4]);
        if (!item.question) {
            return no_memory(path, e);
        }
        TRY(add_item(into, &item, subject, path, e));
    }
    return OK;
}

/* DATA/part/SUBJECT_part.csv, in a folder or in an archive below `prefix`. */
static enum status read_mmlu_part(struct choice_set *c, struct items *into, const char *data, const char *prefix,
                                  const char *part, size_t subject, struct error *e) {
    char entry[PATH_ROOM], *text = NULL, *file = NULL;
    size_t bytes;
    int n = snprintf(entry, sizeof entry, "%s%s/%s_%s.csv", prefix, part, c->subjects[subject].name, part);
    if (n < 0 || (size_t)n >= sizeof entry) {
        return error_set(e, ERR_RUN, "%s: %s: the name is too long", data, c->subjects[subject].name);
    }
    enum status s;
    if (is_directory(data)) {
        file = path_join(data, entry);
        s = file ? read_file(file, FILE_LIMIT, &text, &bytes, e) : no_memory(data, e);
        mem_free(file);
    } else {
        s = zip_entry_text(data, entry, FILE_LIMIT, &text, &bytes, e);
    }
    if (s == OK) {
        s = check_utf8_text(text, bytes, entry, e);
    }
    if (s == OK) {
        s = read_mmlu_text(c, into, text, entry, subject, e);
    }
    mem_free(text);
    return s;
}

static int compare_names(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* Names of files PREFIXtest/SUBJECT_test.csv among `lines`, as subjects; *prefix: what stands before test/. */
static enum status find_subjects(struct choice_set *c, char *lines, const char *data, const char **prefix,
                                 struct error *e) {
    static const char middle[] = "test/", end[] = "_test.csv";
    const char *names[256];
    size_t count = 0, room = sizeof names / sizeof names[0];
    for (char *line; next_line(&lines, &line);) {
        char *slash = strrchr(line, '/'), *name = slash ? slash + 1 : line;
        size_t bytes = strlen(name), before = (size_t)(name - line);
        bool fits = bytes > sizeof end - 1 && strcmp(name + bytes - (sizeof end - 1), end) == 0 &&
                    before >= sizeof middle - 1 && memcmp(name - (sizeof middle - 1), middle, sizeof middle - 1) == 0;
        if (fits && count < room) {
            names[count++] = arena_strndup(c->arena, name, bytes - (sizeof end - 1));
            *prefix = arena_strndup(c->arena, line, before - (sizeof middle - 1));
            if (!names[count - 1] || !*prefix) {
                return no_memory(data, e);
            }
        }
    }
    if (!count) {
        return error_set(e, ERR_RUN, "%s: no test/SUBJECT_test.csv in it (allowed: MMLU as a folder or ZIP archive)",
                         data);
    }
    qsort(names, count, sizeof names[0], compare_names);
    c->subjects = arena_alloc(c->arena, count, sizeof *c->subjects);
    for (size_t i = 0; c->subjects && i < count; i++) {
        c->subjects[i].name = names[i];
    }
    c->subject_count = count;
    return c->subjects ? OK : no_memory(data, e);
}

/* Names in DATA/test as lines "test/NAME", like those of an archive. mem_free. */
static enum status list_folder(const char *data, char **lines, struct error *e) {
    char *path = path_join(data, "test");
    DIR *d = path ? opendir(path) : NULL;
    size_t used = 0, room = 1;
    *lines = mem_alloc(room, 1);
    for (struct dirent *entry; d && *lines && (entry = readdir(d));) {
        size_t bytes = strlen(entry->d_name) + strlen("test/\n");
        char *grown = mem_resize(*lines, room, room + bytes);
        if (!grown) {
            mem_free(*lines);
        }
        *lines = grown;
        if (grown) {
            used += (size_t)snprintf(grown + used, bytes + 1, "test/%s\n", entry->d_name);
            room += bytes;
        }
    }
    if (d) {
        closedir(d);
    }
    mem_free(path);
    return *lines ? OK : no_memory(data, e);
}

static enum status read_subjects(struct choice_set *c, const char *data, const char *prefix, struct error *e) {
    for (size_t i = 0; i < c->subject_count; i++) {
        TRY(check_interrupted(e));
        TRY(read_mmlu_part(c, &c->items, data, prefix, "test", i, e));
        c->subjects[i].first_example = c->examples.count;
        if (c->shots) {
            TRY(read_mmlu_part(c, &c->examples, data, prefix, "dev", i, e));
        }
        c->subjects[i].examples = c->examples.count - c->subjects[i].first_example;
        if (c->subjects[i].examples < c->shots) {
            return error_set(e, ERR_USAGE, "--shots %u: %s has fewer examples (allowed: 0 to %zu)", c->shots,
                             c->subjects[i].name, c->subjects[i].examples);
        }
    }
    return OK;
}

static enum status open_mmlu(struct choice_set *c, const char *data, struct error *e) {
    char *lines = NULL;
    const char *prefix = "";
    size_t bytes;
    TRY(is_zip_file(data) ? zip_names(data, FILE_LIMIT, &lines, &bytes, e) : list_folder(data, &lines, e));
    enum status s = find_subjects(c, lines, data, &prefix, e);
    mem_free(lines);
    return s == OK ? read_subjects(c, data, prefix, e) : s;
}

/* ---- a whole set ------------------------------------------------------------------------------------- */

static enum status open_file(struct choice_set *c, const char *path, struct error *e) {
    char *text = NULL;
    size_t bytes = 0;
    TRY(read_packed_file(path, FILE_LIMIT, &text, &bytes, e));
    enum status s = check_utf8_text(text, bytes, path, e);
    if (s == OK) {
        s = c->task == HELLASWAG ? read_hellaswag(c, text, path, e)
            : c->task == BOOLQ   ? read_boolq(c, text, path, e)
                                 : read_arc(c, text, path, e);
    }
    mem_free(text);
    if (s == OK && c->items.count > 0 && c->items.count <= c->shots) {
        s = error_set(e, ERR_USAGE, "%s: %zu items, and --shots %u wants others than the one that is asked", path,
                      c->items.count, c->shots);
    }
    return s;
}

static enum status find_task(const char *name, enum task *out, struct error *e) {
    size_t count = 0;
    for (; choice_task_names[count]; count++) {
        if (strcmp(name, choice_task_names[count]) == 0) {
            *out = (enum task)count;
            return OK;
        }
    }
    const char *near = nearest_name(name, choice_task_names, count);
    return error_set(e, ERR_USAGE, "--task %s: unknown (allowed: %s%s%s%s)", name,
                     "hellaswag, arc_easy, arc_challenge, boolq, mmlu", near ? "; did you mean " : "",
                     near ? near : "", near ? "?" : "");
}

enum status choice_open(const char *task, const char *path, uint32_t shots, struct choice_set **out, struct error *e) {
    enum task which = HELLASWAG;
    TRY(find_task(task, &which, e));
    struct choice_set *c = mem_alloc(1, sizeof *c);
    if (!c || !(c->arena = arena_create())) {
        mem_free(c);
        return no_memory(path, e);
    }
    c->task = which;
    c->shots = shots;
    enum status s = which == MMLU ? open_mmlu(c, path, e) : open_file(c, path, e);
    if (s == OK && c->items.count == 0) {
        s = error_set(e, ERR_RUN, "%s: no items in it", path);
    }
    if (s != OK) {
        choice_close(c);
        return s;
    }
    *out = c;
    return OK;
}

void choice_close(struct choice_set *c) {
    if (c) {
        mem_free(c->items.at);
        mem_free(c->items.group);
        mem_free(c->examples.at);
        mem_free(c->examples.group);
        arena_destroy(c->arena);
        mem_free(c);
    }
}

size_t choice_count(const struct choice_set *c) { return c->items.count; }

const struct choice_item *choice_item_at(const struct choice_set *c, size_t i) { return &c->items.at[i]; }

/* Shot k of item i: another item. */
static const struct choice_item *shot(const struct choice_set *c, size_t i, size_t k) {
    if (c->task == MMLU) {
        return &c->examples.at[c->subjects[c->items.group[i]].first_example + k];
    }
    return &c->items.at[k < i ? k : k + 1];
}

/* Appends to text [*used] where there is room; counts in any case. */
static void append(char *text, size_t room, size_t *used, const char *piece) {
    size_t bytes = strlen(piece);
    if (*used + bytes < room) {
        memcpy(text + *used, piece, bytes + 1);
    }
    *used += bytes;
}

static size_t write_context(const struct choice_set *c, size_t i, char *text, size_t room) {
    size_t used = 0;
    if (c->task == MMLU) {
        append(text, room, &used, "The following are multiple choice questions (with answers) about ");
        size_t first = used;
        append(text, room, &used, c->subjects[c->items.group[i]].name);
        for (size_t k = first; k < used && k < room; k++) {
            text[k] = text[k] == '_' ? ' ' : text[k];
        }
        append(text, room, &used, ".\n\n");
    }
    for (size_t k = 0; k < c->shots; k++) {
        const struct choice_item *s = shot(c, i, k);
        append(text, room, &used, s->question);
        append(text, room, &used, " ");
        append(text, room, &used, s->choices[s->gold]);
        append(text, room, &used, "\n\n");
    }
    append(text, room, &used, c->items.at[i].question);
    return used;
}

char *choice_context(const struct choice_set *c, size_t i) {
    size_t room = write_context(c, i, NULL, 0) + 1;
    char *text = mem_alloc(room, 1);
    if (text) {
        write_context(c, i, text, room);
    }
    return text;
}

/* FNV-1a, 64 bits; the 0 at the end of a text counts, so that texts cannot flow into one another. */
static uint64_t hash_text(uint64_t hash, const char *text) {
    do {
        hash = (hash ^ (unsigned char)*text) * UINT64_C(0x100000001b3);
    } while (*text++);
    return hash;
}

static uint64_t hash_items(uint64_t hash, const struct items *l) {
    for (size_t i = 0; i < l->count; i++) {
        hash = hash_text(hash, l->at[i].question);
        for (uint32_t k = 0; k < l->at[i].count; k++) {
            hash = hash_text(hash, l->at[i].choices[k]);
        }
        hash = (hash ^ l->at[i].gold) * UINT64_C(0x100000001b3);
    }
    return hash;
}

uint64_t choice_hash(const struct choice_set *c) {
    return hash_items(hash_items(UINT64_C(0xcbf29ce484222325), &c->items), &c->examples);
}
