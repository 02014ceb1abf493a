/* Puts a model on a chip: placement, programming, and calibration on the bundled text.
 *
 * Calibration runs the first tokens of DATA/configs/calibration/text.txt (as many as the chip file says) through the
 * machine in windows of CALIBRATION_WINDOW tokens (BOS in front where the model has one, since activations without it
 * can be far off); the machine records what its inputs and outputs reach and sets its ranges from that.
 */
#include "base/io.h"
#include "models/internal.h"

enum { CALIBRATION_WINDOW = 128, TEXT_LIMIT = 1 << 20 };

static enum status calibration_ids(const struct model *m, struct token_list *ids, struct error *e) {
    if (!m->tokenizer) {
        return error_set(e, ERR_USAGE, "%s: the chip needs calibration on a text, and the model has no tokenizer",
                         m->view.path);
    }
    char *path = data_directory() ? path_join(data_directory(), "configs/calibration/text.txt") : NULL;
    char *text = NULL;
    size_t bytes = 0;
    if (!path) {
        return error_set(e, ERR_RUN, "configs/calibration/text.txt: the data folder was not found");
    }
    enum status status = read_file(path, TEXT_LIMIT, &text, &bytes, e);
    mem_free(path);
    if (status == OK) {
        status = tokenizer_encode(m->tokenizer, text, bytes, false, false, ids, e);
    }
    mem_free(text);
    if (status == OK && ids->count == 0) {
        status = error_set(e, ERR_RUN, "configs/calibration/text.txt: the text is empty");
    }
    return status;
}

static enum status run_text(const struct model *m, struct session *s, const struct token_list *ids, size_t wanted,
                            struct error *e) {
    size_t total = ids->count < wanted ? ids->count : wanted;
    struct progress *progress = progress_create("calibrating", total);
    int32_t bos = model_bos(m); /* left out where the context has no room for anything else */
    enum status status = OK;
    for (size_t at = 0; at < total && status == OK;) {
        int32_t window[CALIBRATION_WINDOW];
        uint32_t n = 0;
        if (bos >= 0 && s->context > 1) {
            window[n++] = bos;
        }
        while (n < s->context && n < CALIBRATION_WINDOW && at < total) {
            window[n++] = ids->ids[at++];
        }
        session_rewind(s, 0);
        status = session_forward(s, window, n, LOGITS_ALL, NULL, e);
        progress_update(progress, at);
        if (status == OK) {
            status = check_interrupted(e);
        }
    }
    progress_destroy(progress);
    return status;
}

static enum status calibrate(const struct model *m, size_t tokens, struct machine *machine, struct error *e) {
    struct token_list ids = {NULL, 0, 0};
    struct session *s = NULL;
    struct run *run = NULL;
    enum status status;
    uint32_t window = m->shape.context < CALIBRATION_WINDOW ? m->shape.context : CALIBRATION_WINDOW;
    TRY_GOTO(status, calibration_ids(m, &ids, e), done);
    TRY_GOTO(status, machine_calibration_begin(machine, e), done);
    TRY_GOTO(status, run_create_values(machine, window, &run, e), done);
    TRY_GOTO(status,
             session_create(m, &(struct session_options){.context = window, .max_batch = window, .run = run}, &s, e),
             done);
    TRY_GOTO(status, run_text(m, s, &ids, tokens, e), done);
    status = machine_calibration_finish(machine, e);
done:
    session_destroy(s);
    run_destroy(run);
    token_list_clear(&ids);
    return status;
}

enum status model_program(const struct model *m, const struct chip *c, const struct machine_options *o,
                          struct placement **placement, struct machine **machine, struct error *e) {
    struct placement *p = NULL;
    struct machine *programmed = NULL;
    enum status status;
    TRY_GOTO(status, placement_create(c, m->sources, m->matrix_count, &p, e), failed);
    TRY_GOTO(status, machine_create(c, p, m->sources, m->matrix_count, o, &programmed, e), failed);
    if (machine_needs_calibration(programmed)) {
        TRY_GOTO(status, calibrate(m, chip_calibration_tokens(c), programmed, e), failed);
    }
    *placement = p;
    *machine = programmed;
    return OK;
failed:
    machine_destroy(programmed);
    placement_destroy(p);
    return status;
}
