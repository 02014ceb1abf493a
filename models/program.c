/* Puts a model on a chip: what stays digital, placement, programming, and calibration on the bundled text.
 *
 * Side paths. Those that the model brings are taken as they are; for other matrices the chip may ask for a rule
 * (placement.digital_channels, placement.digital_weights; side_path_choose). The k channels are the inputs with the
 * largest |x| of the digital model over the same text that calibrates, cut into the same windows: one outlier is enough
 * to set a static range.
 *
 * Calibration runs the first tokens of DATA/configs/calibration/text.txt (as many as the chip file says) through the
 * machine in windows of CALIBRATION_WINDOW tokens (BOS in front where the model has one, since activations without it
 * can be far off); the machine records what its inputs and outputs reach and sets its ranges from that.
 */
#include <math.h>
#include <string.h>

#include "base/io.h"
#include "models/internal.h"

enum { CALIBRATION_WINDOW = 128, TEXT_LIMIT = 1 << 20 };

enum status model_text_ids(const struct model *m, size_t least, struct token_list *ids, struct error *e) {
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
    if (status == OK && ids->count < least) {
        status = error_set(e, ERR_RUN, "configs/calibration/text.txt: %zu tokens (allowed: at least %zu)", ids->count,
                           least);
    }
    return status;
}

static enum status run_text(const struct model *m, struct session *s, const struct token_list *ids, size_t wanted,
                            const char *what, struct error *e) {
    size_t total = ids->count < wanted ? ids->count : wanted;
    struct progress *progress = progress_create(what, total);
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
    TRY_GOTO(status, model_text_ids(m, 1, &ids, e), done);
    TRY_GOTO(status, machine_calibration_begin(machine, e), done);
    TRY_GOTO(status, run_create_values(machine, window, &run, e), done);
    TRY_GOTO(status,
             session_create(m, &(struct session_options){.context = window, .max_batch = window, .run = run}, &s, e),
             done);
    TRY_GOTO(status, run_text(m, s, &ids, tokens, "calibrating", e), done);
    status = machine_calibration_finish(machine, e);
done:
    session_destroy(s);
    run_destroy(run);
    token_list_clear(&ids);
    return status;
}

/* ---- side paths --------------------------------------------------------------------------------- */

/* The sources of a model with the side paths that the chip asks for. */
struct sides {
    struct matrix_source *sources; /* [matrices] */
    struct side_path **made;       /* [matrices] those of the rule, or NULL */
    float **largest;               /* [matrices][inputs] largest |x| of the text */
};

static void sides_destroy(struct sides *s, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (s->made) {
            side_path_destroy(s->made[i]);
        }
        if (s->largest) {
            mem_free(s->largest[i]);
        }
    }
    mem_free(s->sources);
    mem_free(s->made);
    mem_free(s->largest);
}

/* context: struct sides */
static void note_largest(void *context, int matrix, const float *x, uint32_t tokens) {
    const struct sides *s = context;
    uint32_t inputs = s->sources[matrix].inputs;
    float *largest = s->largest[matrix];
    for (uint32_t t = 0; t < tokens; t++) {
        for (uint32_t i = 0; i < inputs; i++) {
            float size = fabsf(x[(size_t)t * inputs + i]);
            largest[i] = size > largest[i] ? size : largest[i];
        }
    }
}

/* The digital model over the calibration text. */
static enum status find_largest(const struct model *m, size_t tokens, struct sides *sides, struct error *e) {
    struct token_list ids = {NULL, 0, 0};
    struct session *s = NULL;
    const struct watcher watcher = {note_largest, sides};
    enum status status;
    uint32_t window = m->shape.context < CALIBRATION_WINDOW ? m->shape.context : CALIBRATION_WINDOW;
    for (size_t i = 0; i < m->matrix_count; i++) {
        sides->largest[i] = mem_alloc(m->matrices[i].inputs, sizeof *sides->largest[i]);
        if (!sides->largest[i]) {
            return error_set(e, ERR_RUN, "%s: out of memory for side paths", m->view.path);
        }
    }
    TRY_GOTO(status, model_text_ids(m, 1, &ids, e), done);
    TRY_GOTO(status, session_create(m, &(struct session_options){.context = window, .max_batch = window}, &s, e), done);
    s->watcher = &watcher;
    status = run_text(m, s, &ids, tokens, "finding channels", e);
done:
    session_destroy(s);
    token_list_clear(&ids);
    return status;
}

static enum status choose_sides(const struct model *m, const struct chip *c, struct sides *s, struct error *e) {
    if (chip_digital_channels(c) > 0) {
        TRY(find_largest(m, chip_calibration_tokens(c), s, e));
    }
    for (size_t i = 0; i < m->matrix_count; i++) {
        if (!s->sources[i].side) {
            TRY(side_path_choose(c, &s->sources[i], s->largest[i], &s->made[i], e));
            s->sources[i].side = s->made[i];
        }
    }
    return OK;
}

/* To be destroyed, whatever comes back. */
static enum status sides_create(const struct model *m, const struct chip *c, struct sides *s, struct error *e) {
    *s = (struct sides){mem_alloc(m->matrix_count, sizeof *s->sources), mem_alloc(m->matrix_count, sizeof *s->made),
                        mem_alloc(m->matrix_count, sizeof *s->largest)};
    if (!s->sources || !s->made || !s->largest) {
        return error_set(e, ERR_RUN, "%s: out of memory for side paths", m->view.path);
    }
    memcpy(s->sources, m->sources, m->matrix_count * sizeof *s->sources);
    return choose_sides(m, c, s, e);
}

struct program_plan {
    const struct model *model;
    const struct chip *chip;
    struct placement *placement;
    struct sides sides;
};

enum status program_plan_create(const struct model *m, const struct chip *c, struct program_plan **out,
                                struct error *e) {
    struct program_plan *p = mem_alloc(1, sizeof *p);
    if (!p) {
        return error_set(e, ERR_RUN, "%s: out of memory", m->view.path);
    }
    p->model = m;
    p->chip = c;
    enum status status = sides_create(m, c, &p->sides, e);
    if (status == OK) {
        status = placement_create(c, p->sides.sources, m->matrix_count, &p->placement, e);
    }
    if (status != OK) {
        program_plan_destroy(p);
        return status;
    }
    *out = p;
    return OK;
}

void program_plan_destroy(struct program_plan *p) {
    if (p) {
        sides_destroy(&p->sides, p->model->matrix_count);
        placement_destroy(p->placement);
        mem_free(p);
    }
}

const struct placement *program_plan_placement(const struct program_plan *p) { return p->placement; }

enum status program_plan_machine(const struct program_plan *p, const struct machine_options *o, struct machine **out,
                                 struct error *e) {
    struct machine *machine = NULL;
    TRY(machine_create(p->chip, p->placement, p->sides.sources, p->model->matrix_count, o, &machine, e));
    enum status status = OK;
    if (machine_needs_calibration(machine)) {
        status = calibrate(p->model, chip_calibration_tokens(p->chip), machine, e);
    }
    if (status != OK) {
        machine_destroy(machine);
        return status;
    }
    *out = machine;
    return OK;
}

enum status model_program(const struct model *m, const struct chip *c, const struct machine_options *o,
                          struct placement **placement, struct machine **machine, struct error *e) {
    struct program_plan *plan;
    TRY(program_plan_create(m, c, &plan, e));
    enum status status = program_plan_machine(plan, o, machine, e);
    if (status == OK) {
        *placement = plan->placement;
        plan->placement = NULL;
    }
    program_plan_destroy(plan);
    return status;
}
