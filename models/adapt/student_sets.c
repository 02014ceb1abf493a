/* Which set of the student's files works (real.h): that of the kernels in use, so that `--kernels` decides for both. */
#include <string.h>

#include "base/kernels.h"
#include "models/adapt/student.h"
#include "models/adapt/student_loss.h"

#define DECLARE_SET(suffix)                                                                                            \
    enum status student_forward##suffix(struct student *s, const struct student_batch *b, enum student_mode mode,      \
                                        struct error *e);                                                              \
    void student_backward##suffix(struct student *s);                                                                  \
    void student_clip_weights##suffix(struct student *s);                                                              \
    void distillation_loss##suffix(const struct loss_rule *rule, const real *teacher, real *student,                   \
                                   const int32_t *targets, size_t tokens, size_t vocabulary, double scale,             \
                                   double *loss_of, struct loss *out);                                                 \
    static const struct set set##suffix = {student_forward##suffix, student_backward##suffix,                          \
                                           student_clip_weights##suffix, distillation_loss##suffix};

struct set {
    enum status (*forward)(struct student *s, const struct student_batch *b, enum student_mode mode, struct error *e);
    void (*backward)(struct student *s);
    void (*clip)(struct student *s);
    void (*loss)(const struct loss_rule *rule, const real *teacher, real *student, const int32_t *targets,
                 size_t tokens, size_t vocabulary, double scale, double *loss_of, struct loss *out);
};

DECLARE_SET(_plain)
#ifdef __x86_64__
DECLARE_SET(_avx2)
DECLARE_SET(_avx512)
#endif

static const struct set *set_in_use(void) {
#ifdef __x86_64__
    if (strcmp(kernels()->name, "avx512") == 0) {
        return &set_avx512;
    }
    if (strcmp(kernels()->name, "avx2") == 0) {
        return &set_avx2;
    }
#endif
    return &set_plain;
}

enum status student_forward(struct student *s, const struct student_batch *b, enum student_mode mode, struct error *e) {
    return set_in_use()->forward(s, b, mode, e);
}

void student_backward(struct student *s) { set_in_use()->backward(s); }

void student_clip_weights(struct student *s) { set_in_use()->clip(s); }

void distillation_loss(const struct loss_rule *rule, const real *teacher, real *student, const int32_t *targets,
                       size_t tokens, size_t vocabulary, double scale, double *loss_of, struct loss *out) {
    set_in_use()->loss(rule, teacher, student, targets, tokens, vocabulary, scale, loss_of, out);
}
