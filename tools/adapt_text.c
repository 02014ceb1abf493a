/* mho adapt text: data files, which hold ids of one tokenizer, as JSON lines of documents for any other. The work is
 * done in models/adapt/documents.c. */
#include "tools/command.h"

static enum status print(const struct options *o, const struct documents_result *r, struct error *e) {
    if (!o->json) {
        printf("%s: %llu documents, %llu of them complete, %llu bytes of text\n", o->out,
               (unsigned long long)r->documents, (unsigned long long)r->complete, (unsigned long long)r->bytes);
        return finish_output(e);
    }
    json_t *root = json_envelope("adapt text", o, NULL);
    json_put(root, "model", json_string(o->model));
    json_put(root, "file", json_string(o->out));
    json_put(root, "documents", json_integer((json_int_t)r->documents));
    json_put(root, "complete", json_integer((json_int_t)r->complete));
    json_put(root, "bytes", json_integer((json_int_t)r->bytes));
    return json_finish(root, e);
}

static enum status write_text(const struct options *o, const struct model *m, struct error *e) {
    const struct data_options any = {0};
    struct documents_result r;
    struct data *d;
    TRY(data_open(o->data.items, o->data.count, m, &any, &d, e));
    enum status s = adapt_text(m, d, o->out, &r, e);
    data_close(d);
    return s == OK ? print(o, &r, e) : s;
}

static enum status text(const struct options *o, struct error *e) {
    struct model *m;
    if (!o->out || o->data.count == 0) {
        return error_set(e, ERR_USAGE, "adapt text: --%s is missing (needed: --data FILE.mhodata --out FILE.jsonl)",
                         o->out ? "data" : "out");
    }
    TRY(open_model(o, &m, e));
    enum status s = write_text(o, m, e);
    model_close(m);
    return s;
}

static const char *const names[] = {"model", "data", "out", NULL};

static const struct option_meaning own[] = {
    {"data", "data file of generate; repeatable"},
    {"out", "the file to write: JSON lines, a document each"},
    {NULL, NULL},
};

const struct adapt_word adapt_word_text = {
    "text", names, text, "write the documents of data files as text, for other tokenizers", own,
    "example:\n"
    "  mho adapt text --model model.gguf --data own.mhodata --out own.jsonl",
};
