/* Chat formats: a conversation as the text that a model was trained on.
 *
 * Models bring a template written in Jinja. It is not run; it is recognised by what it contains, and the format that it
 * stands for is written here as data: texts around each role's message, what opens the whole, what asks for an answer.
 * Content is never interpreted: template syntax in it stays text (the tokenizer still turns a written control token
 * into its id). The text holds its own begin-of-text token where the format has one: encode it without add_special.
 *
 * Rows of one name are variants of a format; the first whose words are all in the template, and none of whose forbidden
 * words are, is taken. The last row of a name (no words) is what --chat-format NAME means.
 *
 * Sources: chat templates of SmolLM2, MiniMind2, Qwen2, Qwen3, Llama 2, Llama 3 and 3.1, Phi-3 and 3.5, Mistral 7B v0.1
 * to v0.3, Zephyr, Gemma 2 and 3 on the Hugging Face hub. Not modelled: tools, images, switches such as
 * enable_thinking, the date of today (Llama 3.1 and later write one: the template's own, 26 Jul 2024, never the
 * clock's).
 */
#include <string.h>

#include "models/tokenizer_parts.h"

enum role { ROLE_SYSTEM, ROLE_USER, ROLE_ASSISTANT, ROLES };
static const char *const role_names[ROLES] = {"system", "user", "assistant"};

enum system_rule {
    SYSTEM_TURN,       /* a turn of its own */
    SYSTEM_IN_FIRST,   /* joined to the first user message, between joint[0] and joint[1] */
    SYSTEM_IN_LAST,    /* joined to the last message if it is a user's, else left out */
    SYSTEM_LEFT_OUT,
    SYSTEM_REFUSED
};
enum trim_rule { TRIM_NONE, TRIM_CONTENT, TRIM_JOINED, TRIM_ANSWER };

struct format {
    const char *name;
    const char *with[3], *without[4]; /* words of the template; none in `with`: by name only */
    const char *begin;
    const char *before[ROLES], *after[ROLES];
    const char *generate;      /* asks for an answer */
    const char *finish;        /* instead, when no answer is asked for */
    enum system_rule system;
    const char *joint[2];
    const char *system_always; /* opens the system turn, which is then always there */
    enum trim_rule trim;
    bool default_system; /* the template may hold a system message for conversations without */
    bool thinks;         /* drops the reasoning of earlier answers, writes an empty one for the last */
};

#define TURNS(open, close, s, u, a) \
    .before = {open s close, open u close, open a close}
#define ALL(text) {text, text, text}
#define CHATML                                                                                                         \
    TURNS("<|im_start|>", "\n", "system", "user", "assistant"),                                                        \
    .after = ALL("<|im_end|>\n"), .generate = "<|im_start|>assistant\n"
#define LLAMA3                                                                                                         \
    .begin = "<|begin_of_text|>",                                                                                      \
    TURNS("<|start_header_id|>", "<|end_header_id|>\n\n", "system", "user", "assistant"), .after = ALL("<|eot_id|>"),  \
    .generate = "<|start_header_id|>assistant<|end_header_id|>\n\n", .trim = TRIM_CONTENT
#define PHI3                                                                                                           \
    TURNS("<|", "|>\n", "system", "user", "assistant"), .after = ALL("<|end|>\n"), .generate = "<|assistant|>\n"
#define GEMMA                                                                                                          \
    .begin = "<bos>", .before = {"", "<start_of_turn>user\n", "<start_of_turn>model\n"},                               \
    .after = ALL("<end_of_turn>\n"), .generate = "<start_of_turn>model\n", .trim = TRIM_CONTENT
#define MISTRAL(open, close, answer, end)                                                                              \
    .begin = "<s>", .before = {"", open, answer}, .after = {"", close, end}

static const struct format formats[] = {
    {.name = "chatml",
     .with = {"<|im_start|>", "reasoning_content.strip(", "loop.last or (not loop.last and reasoning_content)"},
     .without = {"<|im_sep|>", "assistant\\n<think>\\n", "system_message", "open_thinking"},
     CHATML,
     .default_system = true,
     .thinks = true},
    {.name = "chatml",
     .with = {"<|im_start|>", "<|im_end|>"},
     .without = {"<|im_sep|>", "assistant\\n<think>\\n", "system_message", "reasoning_content"},
     CHATML,
     .default_system = true},
    {.name = "chatml", CHATML},
    {.name = "llama2",
     .with = {"'<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + ", " + ' [/INST]'", " + ' ' + eos_token"},
     .before = {"", "<s>[INST] ", " "},
     .after = {"", " [/INST]", " </s>"},
     .system = SYSTEM_IN_FIRST,
     .joint = {"<<SYS>>\n", "\n<</SYS>>\n\n"},
     .trim = TRIM_JOINED},
    {.name = "llama2",
     .before = {"", "<s>[INST] ", " "},
     .after = {"", " [/INST]", " </s>"},
     .system = SYSTEM_IN_FIRST,
     .joint = {"<<SYS>>\n", "\n<</SYS>>\n\n"},
     .trim = TRIM_JOINED},
    {.name = "llama3",
     .with = {"<|start_header_id|>", "Cutting Knowledge Date", "26 Jul 2024"},
     LLAMA3,
     .system_always = "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n"},
    {.name = "llama3", .with = {"<|start_header_id|>", "<|eot_id|>"}, .without = {"Cutting Knowledge Date"}, LLAMA3},
    {.name = "llama3", LLAMA3},
    {.name = "phi3",
     .with = {"<|user|>", "<|end|>", "bos_token"},
     .without = {"<|system|>", "add_generation_prompt"},
     .begin = "<s>",
     .before = {"", "<|user|>\n", ""},
     .after = {"", "<|end|>\n<|assistant|>\n", "<|end|>\n"},
     .system = SYSTEM_LEFT_OUT},
    {.name = "phi3",
     .with = {"<|system|>", "<|end|>", "eos_token"},
     .without = {"bos_token"},
     PHI3,
     .finish = "<|endoftext|>"},
    {.name = "phi3", PHI3},
    {.name = "mistral",
     .with = {"' [INST] ' + system_message + '\\n\\n'", "' [INST] ' + message['content'] + ' [/INST]'",
              "{{- ' ' + message['content'] + eos_token"},
     MISTRAL(" [INST] ", " [/INST]", " ", "</s>"),
     .system = SYSTEM_IN_FIRST,
     .joint = {"", "\n\n"}},
    {.name = "mistral",
     .with = {"{{- \"[INST] \" + message[\"content\"] + \"[/INST]\"", "\" \" + message[\"content\"]|trim + eos_token"},
     MISTRAL("[INST] ", "[/INST]", " ", "</s>"),
     .system = SYSTEM_IN_LAST,
     .joint = {"", "\n\n"},
     .trim = TRIM_ANSWER},
    {.name = "mistral",
     .with = {"{{ '[INST] ' + message['content'] + ' [/INST]' }}", "{{ message['content'] + eos_token}}"},
     .without = {"<<SYS>>", "'system'"},
     MISTRAL("[INST] ", " [/INST]", "", "</s>"),
     .system = SYSTEM_REFUSED},
    {.name = "mistral",
     .with = {"{{ '[INST] ' + message['content'] + ' [/INST]' }}", "{{ message['content'] + eos_token + ' ' }}"},
     .without = {"<<SYS>>", "'system'"},
     MISTRAL("[INST] ", " [/INST]", "", "</s> "),
     .system = SYSTEM_REFUSED},
    {.name = "mistral", MISTRAL("[INST] ", " [/INST]", " ", "</s>"), .system = SYSTEM_IN_FIRST, .joint = {"", "\n\n"}},
    {.name = "zephyr",
     .with = {"<|user|>", "<|system|>", "eos_token"},
     .without = {"<|end|>"},
     TURNS("<|", "|>\n", "system", "user", "assistant"),
     .after = ALL("</s>\n"),
     .generate = "<|assistant|>\n"},
    {.name = "zephyr",
     TURNS("<|", "|>\n", "system", "user", "assistant"),
     .after = ALL("</s>\n"),
     .generate = "<|assistant|>\n"},
    {.name = "gemma", .with = {"<start_of_turn>", "System role not supported"}, GEMMA, .system = SYSTEM_REFUSED},
    {.name = "gemma",
     .with = {"<start_of_turn>", "first_user_prefix"},
     GEMMA,
     .system = SYSTEM_IN_FIRST,
     .joint = {"", "\n\n"}},
    {.name = "gemma", GEMMA, .system = SYSTEM_IN_FIRST, .joint = {"", "\n\n"}},
    {.name = "plain", .after = ALL("\n")},
};
enum { FORMAT_COUNT = sizeof formats / sizeof formats[0] };

const char *const chat_format_names[] = {"chatml", "llama2", "llama3", "phi3", "mistral",
                                         "zephyr", "gemma",  "plain",  NULL};

#define NAMES_ALLOWED "(allowed: --chat-format chatml, llama2, llama3, phi3, mistral, zephyr, gemma or plain)"

/* ---- which format ---------------------------------------------------------------------------- */

static bool fits(const struct format *f, const char *source) {
    if (!f->with[0]) {
        return false;
    }
    for (size_t i = 0; i < sizeof f->with / sizeof f->with[0] && f->with[i]; i++) {
        if (!strstr(source, f->with[i])) {
            return false;
        }
    }
    for (size_t i = 0; i < sizeof f->without / sizeof f->without[0] && f->without[i]; i++) {
        if (strstr(source, f->without[i])) {
            return false;
        }
    }
    return true;
}

static enum status find_format(const char *name, const char *source, const struct format **out, struct error *e) {
    for (size_t i = 0; i < FORMAT_COUNT; i++) {
        if (name ? !formats[i].with[0] && strcmp(formats[i].name, name) == 0 : source && fits(&formats[i], source)) {
            *out = &formats[i];
            return OK;
        }
    }
    if (name) {
        return error_set(e, ERR_USAGE, "--chat-format %.60s: not a chat format " NAMES_ALLOWED, name);
    }
    return error_set(e, ERR_USAGE, "chat template: %s " NAMES_ALLOWED,
                     source ? "the model's own is not recognised" : "the model has none");
}

/* The system message that a ChatML template writes when the conversation has none: the text between
 * "<|im_start|>system" + line end and
 * "<|im_end|>" in one string of the template. Line ends may be written as \n. False: there is none. */
static bool default_system(const char *source, const char **start, const char **end) {
    static const char open[] = "<|im_start|>system";
    for (const char *p = strstr(source, open); p; p = strstr(p, open)) {
        p += sizeof open - 1;
        const char *text = *p == '\n' ? p + 1 : strncmp(p, "\\n", 2) == 0 ? p + 2 : NULL;
        if (text && *text != '\'' && *text != '"') {
            *start = text;
            *end = strstr(text, "<|im_end|>");
            return *end != NULL;
        }
    }
    return false;
}

/* A string of the template with its escapes resolved. */
static enum status add_unescaped(struct text_buffer *b, const char *p, const char *end, struct error *e) {
    for (; p < end; p++) {
        char c = *p;
        if (c == '\\' && p + 1 < end) {
            c = *++p == 'n' ? '\n' : *p == 't' ? '\t' : *p;
        }
        TRY(buffer_add(b, &c, 1, e));
    }
    return OK;
}

/* ---- rendering ------------------------------------------------------------------------------- */

struct chat {
    const struct format *f;
    const char *source; /* NULL when the format was named */
    const struct chat_message *m;
    size_t count;
    size_t first_user, last_user; /* count: none */
    struct text_buffer out;
};

static enum status add_text(struct text_buffer *b, const char *text, struct error *e) {
    return text ? buffer_add(b, text, strlen(text), e) : OK;
}

static bool is_white(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

/* Text without white space at its ends. */
static enum status add_trimmed(struct text_buffer *b, const char *text, size_t bytes, struct error *e) {
    while (bytes && is_white(text[bytes - 1])) {
        bytes--;
    }
    while (bytes && is_white(text[0])) {
        text++;
        bytes--;
    }
    return buffer_add(b, text, bytes, e);
}

static enum status add_content(struct chat *c, enum role role, const char *text, struct error *e) {
    bool trim = c->f->trim == TRIM_CONTENT || c->f->trim == TRIM_JOINED ||
                (c->f->trim == TRIM_ANSWER && role == ROLE_ASSISTANT);
    return trim ? add_trimmed(&c->out, text, strlen(text), e) : add_text(&c->out, text, e);
}

static enum role role_of(const struct chat_message *m) {
    enum role r = ROLE_SYSTEM;
    while (r < ROLES && strcmp(role_names[r], m->role) != 0) {
        r++;
    }
    return r;
}

static enum status check_roles(struct chat *c, struct error *e) {
    c->first_user = c->last_user = c->count;
    for (size_t i = 0; i < c->count; i++) {
        enum role role = role_of(&c->m[i]);
        if (role == ROLES) {
            return error_set(e, ERR_USAGE, "chat: message %zu: role \"%.60s\" (allowed: system, user, assistant)", i,
                             c->m[i].role);
        }
        if (role == ROLE_USER) {
            c->first_user = c->first_user == c->count ? i : c->first_user;
            c->last_user = i;
        } else if (role == ROLE_SYSTEM && c->f->system == SYSTEM_REFUSED) {
            return error_set(
                e, ERR_USAGE,
                "chat: message %zu: this model's template takes no system message (allowed: user, assistant)", i);
        } else if (role == ROLE_SYSTEM && c->f->system != SYSTEM_TURN && i > 0) {
            return error_set(e, ERR_USAGE, "chat: message %zu: a system message behind others (allowed: as the first)",
                             i);
        }
    }
    bool joined = c->f->system == SYSTEM_IN_FIRST || c->f->system == SYSTEM_IN_LAST;
    if (joined && role_of(&c->m[0]) == ROLE_SYSTEM && c->first_user == c->count) {
        return error_set(e, ERR_USAGE,
                         "chat: this format writes the system message into a user message, and there is none");
    }
    return OK;
}

/* A user message with the system message written into it. */
static enum status add_joined(struct chat *c, const char *system, const char *content, struct error *e) {
    struct text_buffer b = {0};
    enum status s;
    TRY_GOTO(s, add_text(&b, c->f->joint[0], e), done);
    TRY_GOTO(s, add_text(&b, system, e), done);
    TRY_GOTO(s, add_text(&b, c->f->joint[1], e), done);
    if (c->f->trim == TRIM_CONTENT) {
        TRY_GOTO(s, add_trimmed(&b, content, strlen(content), e), done);
        s = buffer_add(&c->out, b.data, b.used, e);
    } else {
        TRY_GOTO(s, add_text(&b, content, e), done);
        s = c->f->trim == TRIM_JOINED ? add_trimmed(&c->out, b.data, b.used, e)
                                      : buffer_add(&c->out, b.data, b.used, e);
    }
done:
    mem_free(b.data);
    return s;
}

static const char *skip_newlines(const char *text) { return text + strspn(text, "\n"); }

/* Qwen3: the reasoning between <think> and </think> stays only in answers behind the last question. */
static enum status add_answer(struct chat *c, size_t i, struct error *e) {
    const char *content = c->m[i].content, *mark = strstr(content, "</think>");
    const char *start = content, *end = content; /* of the reasoning */
    if (mark) {
        for (const char *p = content; (p = strstr(p, "<think>")) && p < mark;) {
            start = p += strlen("<think>");
        }
        start = skip_newlines(start);
        for (end = mark; end > start && end[-1] == '\n';) {
            end--;
        }
        end = end < start ? start : end;
        for (const char *p = mark; p; p = strstr(p, "</think>")) {
            content = p += strlen("</think>");
        }
        content = skip_newlines(content);
    }
    bool behind = c->last_user < c->count && i > c->last_user;
    if (behind && (i + 1 == c->count || end > start)) {
        TRY(add_text(&c->out, "<think>\n", e));
        TRY(buffer_add(&c->out, start, (size_t)(end - start), e));
        TRY(add_text(&c->out, "\n</think>\n\n", e));
        content = skip_newlines(content);
    }
    return add_text(&c->out, content, e);
}

static enum status add_message(struct chat *c, size_t i, struct error *e) {
    const struct format *f = c->f;
    enum role role = role_of(&c->m[i]);
    bool system_first = role_of(&c->m[0]) == ROLE_SYSTEM;
    if (role == ROLE_SYSTEM && (f->system != SYSTEM_TURN || (f->system_always && i == 0))) {
        return OK; /* written elsewhere, or left out */
    }
    TRY(add_text(&c->out, f->before[role], e));
    if (system_first && ((f->system == SYSTEM_IN_FIRST && i == c->first_user) ||
                         (f->system == SYSTEM_IN_LAST && i + 1 == c->count && role == ROLE_USER))) {
        TRY(add_joined(c, c->m[0].content, c->m[i].content, e));
    } else if (f->thinks && role == ROLE_ASSISTANT) {
        TRY(add_answer(c, i, e));
    } else {
        TRY(add_content(c, role, c->m[i].content, e));
    }
    return add_text(&c->out, f->after[role], e);
}

/* What stands before the first message: begin of text, a system turn that is always there, the default system message.
 */
static enum status add_opening(struct chat *c, struct error *e) {
    const struct format *f = c->f;
    bool system_first = role_of(&c->m[0]) == ROLE_SYSTEM;
    const char *start, *end;
    TRY(add_text(&c->out, f->begin, e));
    if (f->system_always) {
        TRY(add_text(&c->out, f->before[ROLE_SYSTEM], e));
        TRY(add_text(&c->out, f->system_always, e));
        TRY(add_content(c, ROLE_SYSTEM, system_first ? c->m[0].content : "", e));
        TRY(add_text(&c->out, f->after[ROLE_SYSTEM], e));
    } else if (f->default_system && !system_first && default_system(c->source, &start, &end)) {
        TRY(add_text(&c->out, f->before[ROLE_SYSTEM], e));
        TRY(add_unescaped(&c->out, start, end, e));
        TRY(add_text(&c->out, f->after[ROLE_SYSTEM], e));
    }
    return OK;
}

static enum status render(struct chat *c, bool generation_prompt, struct error *e) {
    TRY(check_roles(c, e));
    TRY(add_opening(c, e));
    for (size_t i = 0; i < c->count; i++) {
        TRY(add_message(c, i, e));
    }
    TRY(add_text(&c->out, generation_prompt ? c->f->generate : c->f->finish, e));
    return buffer_terminate(&c->out, e);
}

enum status chat_render(const char *format, const char *template_source, const struct chat_message *m, size_t count,
                        bool generation_prompt, char **text, struct error *e) {
    struct chat c = {.source = template_source, .m = m, .count = count};
    *text = NULL;
    TRY(find_format(format, template_source, &c.f, e));
    if (count == 0) {
        return error_set(e, ERR_USAGE, "chat: no message (allowed: at least one)");
    }
    enum status status = render(&c, generation_prompt, e);
    if (status != OK) {
        mem_free(c.out.data);
        return status;
    }
    *text = c.out.data;
    return OK;
}
