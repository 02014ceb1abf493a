/* Shared by the files of mho run --shapes-only: shapes.c (one prompt), serve.c (many requests). */
#ifndef MHO_TOOLS_SHAPES_H
#define MHO_TOOLS_SHAPES_H

#include "tools/command.h"

struct shapes_job {
    const struct options *o;
    struct chip *chip;
    struct model *model;
    struct activity activity;
    char source[160]; /* of the activity */
    struct placement *placement;
    struct run *run;
    struct session *session;
    double ttft_s, total_s, host_s;
};

/* Measures the activity of the arrays, places the model and makes j->run for steps of up to `longest` tokens. */
enum status shapes_create_run(struct shapes_job *j, uint32_t longest, struct error *e);
/* The line above the report: which model, how many tokens. */
void shapes_print_title(const struct shapes_job *j, uint64_t prompt_tokens, uint64_t generated);
/* Whether requests are served; else one prompt is continued. */
bool is_workload(const struct options *o);
/* --batch, --requests, --arrivals: serves them on the open chip and model, and reports. */
enum status serve_requests(struct shapes_job *j, struct error *e);
/* --roofline (roofline.c). */
enum status roofline(struct shapes_job *j, struct error *e);

#endif
