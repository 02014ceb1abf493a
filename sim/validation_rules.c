/* What keeps a comparison with published numbers honest. A file that breaks a rule does not load.
 *
 *   1. A fitted point names its constants; each is a constant of the chip of kind `fitted`. Other points name none.
 *   2. A constant is fitted to one point only, here and in the files that `constants_from` names, unless the chips give
 *      it different values.
 *   3. Every constant of kind `fitted` in the chip belongs to a point, here or in one of those files (there with the
 *      same value). So nothing is tuned out of sight.
 *   4. As many constants are fitted as there are fitted points, at most.
 *   5. The settings of a point are choices (bits, phases, voltage): they set no physical constant, which would be a
 * fit.
 *   6. A point that counts says something new. A quantity is made of times, energies and areas (quantity.parts) of
 *      components; what the points before it on the same chip (settings that make the same one) have told already is a
 * vector space, and a point that lies in it is their arithmetic (energy per MVM and TOPS/W; the sum of parts): its role
 * is `derived`.
 */
#include <math.h>
#include <string.h>

#include "sim/validation.h"

enum { WHERE_BYTES = 512, KEY_BYTES = 256 };

static const char *place(const struct config_node *node, const char *key, char *buffer) {
    const struct config_node *at = key ? config_get(node, key) : node;
    return config_where(at ? at : node, buffer, WHERE_BYTES);
}

/* ---- constants ----------------------------------------------------------------------------------------------------
 */

/* A constant of a chip by its key. */
struct lookup {
    const char *key;
    bool found;
    struct constant constant;
};

static void look(void *ctx, const char *key, const char *unit, const struct constant *k) {
    struct lookup *l = ctx;
    (void)unit;
    if (strcmp(key, l->key) == 0) {
        l->found = true;
        l->constant = *k;
    }
}

static struct lookup find_constant(const struct chip *c, const char *key) {
    struct lookup l = {.key = key};
    chip_visit_constants(c, look, &l);
    return l;
}

static enum status check_claim(const struct validation *v, const struct chip *c, const struct point *p, const char *key,
                               struct error *e) {
    char where[WHERE_BYTES];
    struct lookup l = find_constant(c, key);
    if (!l.found) {
        return error_set(e, ERR_USAGE, "%s: constants: chip %s has no constant %s", place(p->node, "constants", where),
                         v->chip, key);
    }
    if (l.constant.kind != CONSTANT_FITTED) {
        return error_set(e, ERR_USAGE, "%s: constants: %s of chip %s is %s (allowed: kind fitted)",
                         place(p->node, "constants", where), key, v->chip, constant_kind_name(l.constant.kind));
    }
    return OK;
}

static enum status check_role(const struct point *p, struct error *e) {
    char where[WHERE_BYTES];
    if (p->role == ROLE_FITTED && !p->constants.count) {
        return error_set(e, ERR_USAGE, "%s: constants: missing (allowed: the constants fitted to this point)",
                         place(p->node, "role", where));
    }
    if (p->role != ROLE_FITTED && p->constants.count) {
        return error_set(e, ERR_USAGE, "%s: constants: role is %s (allowed: no constants, or role: fitted)",
                         place(p->node, "constants", where), point_role_name((enum point_role)p->role));
    }
    return OK;
}

/* How often a file claims a constant. */
static size_t claims(const struct validation *v, const char *key) {
    size_t count = 0;
    for (size_t i = 0; i < v->count; i++) {
        for (size_t k = 0; k < v->points[i].constants.count; k++) {
            count += strcmp(v->points[i].constants.items[k], key) == 0;
        }
    }
    return count;
}

static enum status check_claims(const struct validation *v, const struct chip *c, struct error *e) {
    char where[WHERE_BYTES];
    size_t constants = 0, fitted = 0;
    for (size_t i = 0; i < v->count; i++) {
        const struct point *p = &v->points[i];
        TRY(check_role(p, e));
        fitted += p->role == ROLE_FITTED;
        constants += p->constants.count;
        for (size_t k = 0; k < p->constants.count; k++) {
            TRY(check_claim(v, c, p, p->constants.items[k], e));
            if (claims(v, p->constants.items[k]) > 1) {
                return error_set(e, ERR_USAGE, "%s: constants: %s is fitted more than once (allowed: to one point)",
                                 place(p->node, "constants", where), p->constants.items[k]);
            }
        }
    }
    if (constants > fitted) {
        return error_set(e, ERR_USAGE, "%s: points: %zu constants fitted to %zu points (allowed: at most one for each)",
                         place(v->root, "points", where), constants, fitted);
    }
    return OK;
}

/* ---- constants of other files -------------------------------------------------------------------------------------
 */

/* Another file whose fits the chip shares. */
struct lender {
    struct validation *file;
    struct chip *chip;
};

static void return_lenders(struct lender *all, size_t count) {
    for (size_t i = 0; i < count; i++) {
        chip_destroy(all[i].chip);
        validation_destroy(all[i].file);
    }
}

static enum status ask_lenders(const struct validation *v, struct lender *all, struct error *e) {
    char where[WHERE_BYTES];
    for (size_t i = 0; i < v->constants_from.count; i++) {
        enum status s = validation_read(v->constants_from.items[i], &all[i].file, e);
        if (s == OK) {
            s = chip_load(all[i].file->chip, NULL, 0, &all[i].chip, e);
        }
        if (s != OK) {
            return error_prefix(e, "%s: constants_from", place(v->root, "constants_from", where));
        }
    }
    return OK;
}

/* Whether a lender fitted this very constant. */
static bool lent(const struct lender *all, size_t count, const char *key, const struct constant *k) {
    for (size_t i = 0; i < count; i++) {
        struct lookup l = find_constant(all[i].chip, key);
        bool same = l.found && l.constant.value >= k->value && l.constant.value <= k->value;
        if (same && claims(all[i].file, key)) {
            return true;
        }
    }
    return false;
}

struct account {
    const struct validation *v;
    const struct lender *lenders;
    enum status status;
    struct error *e;
};

static void account_for(void *ctx, const char *key, const char *unit, const struct constant *k) {
    struct account *a = ctx;
    char where[WHERE_BYTES];
    (void)unit;
    if (a->status != OK || k->kind != CONSTANT_FITTED) {
        return;
    }
    bool here = claims(a->v, key) > 0, there = lent(a->lenders, a->v->constants_from.count, key, k);
    if (here == there) {
        a->status = error_set(a->e, ERR_USAGE,
                              here ? "%s: points: %s of chip %s is fitted here and in a file of constants_from "
                                     "(allowed: to one point)"
                                   : "%s: points: no point names %s of chip %s, which is fitted (allowed: a point of "
                                     "role fitted with it, or constants_from a file that has one)",
                              place(a->v->root, "points", where), key, a->v->chip);
    }
}

static enum status check_account(const struct validation *v, const struct chip *c, struct error *e) {
    struct lender *lenders = mem_alloc(v->constants_from.count, sizeof *lenders);
    if (!lenders) {
        return error_set(e, ERR_RUN, "validation: out of memory");
    }
    struct account a = {v, lenders, ask_lenders(v, lenders, e), e};
    chip_visit_constants(c, account_for, &a);
    return_lenders(lenders, v->constants_from.count);
    mem_free(lenders);
    return a.status;
}

/* ---- settings -----------------------------------------------------------------------------------------------------
 */

static enum status check_sets(const struct validation *v, struct point *p, struct error *e) {
    char where[WHERE_BYTES], key[KEY_BYTES];
    struct chip *c = NULL;
    enum status s = chip_load(v->chip, p->sets.items, p->sets.count, &c, e);
    if (s != OK) {
        return error_prefix(e, "%s: set", place(p->node, "set", where));
    }
    p->settings = chip_hash(c);
    for (size_t i = 0; s == OK && i < p->sets.count; i++) {
        snprintf(key, sizeof key, "%.*s", (int)strcspn(p->sets.items[i], "="), p->sets.items[i]);
        if (find_constant(c, key).found) {
            s = error_set(e, ERR_USAGE,
                          "%s: set: %s is a physical constant, which a point must not change (allowed: choices, such "
                          "as bits, phases, voltage)",
                          place(p->node, "set", where), key);
        }
    }
    chip_destroy(c);
    return s;
}

/* ---- what is new --------------------------------------------------------------------------------------------------
 */

/* Unknowns: time, latency, energy and area of every component. */
enum { TIME, LATENCY, ENERGIES, AREAS = ENERGIES + PART_COUNT, UNKNOWNS = AREAS + PART_COUNT };

/* Vectors in echelon form: row i, if used, has its first number in column i. */
struct space {
    double row[UNKNOWNS][UNKNOWNS];
    bool used[UNKNOWNS];
};

/* Takes away what the space knows of x; the first column that is left, or UNKNOWNS. */
static int reduce(const struct space *s, double *x) {
    for (int i = 0; i < UNKNOWNS; i++) {
        if (fabs(x[i]) < 1e-9) {
            continue;
        }
        if (!s->used[i]) {
            return i;
        }
        double factor = x[i] / s->row[i][i];
        for (int k = i; k < UNKNOWNS; k++) {
            x[k] -= factor * s->row[i][k];
        }
    }
    return UNKNOWNS;
}

/* Adds x; whether it was new. */
static bool learn(struct space *s, const double *x) {
    double left[UNKNOWNS];
    memcpy(left, x, sizeof left);
    int i = reduce(s, left);
    if (i < UNKNOWNS) {
        memcpy(s->row[i], left, sizeof left);
        s->used[i] = true;
    }
    return i < UNKNOWNS;
}

static void sum_of(uint32_t components, int first, double *x) {
    memset(x, 0, UNKNOWNS * sizeof *x);
    for (int c = 0; c < PART_COUNT; c++) {
        x[first + c] = components >> c & 1u ? 1 : 0;
    }
}

static bool learn_one(struct space *s, int unknown) {
    double x[UNKNOWNS] = {0};
    x[unknown] = 1;
    return learn(s, x);
}

static bool learn_sum(struct space *s, uint32_t components, int first) {
    double x[UNKNOWNS];
    sum_of(components, first, x);
    return learn(s, x);
}

/* A quantity of several parts counts as telling all of them, and a share as telling the whole too: a later point gets
 * no credit for any of them (so totals stand before shares). */
static bool learn_point(struct space *s, const struct validation *v, const struct point *p) {
    unsigned parts = quantities[p->quantity].parts;
    bool new = false;
    new |= parts &OF_TIME &&learn_one(s, TIME);
    new |= parts &OF_LATENCY &&learn_one(s, LATENCY);
    new |= parts &(OF_ENERGY | OF_ENERGY_SHARE) && learn_sum(s, p->of, ENERGIES);
    new |= parts &(OF_AREA | OF_AREA_SHARE) && learn_sum(s, p->of, AREAS);
    if (parts & OF_ENERGY_SHARE) {
        learn_sum(s, v->boundary, ENERGIES);
    }
    if (parts & OF_AREA_SHARE) {
        learn_sum(s, v->boundary, AREAS);
    }
    return new;
}

static enum status check_news(const struct validation *v, size_t index, struct error *e) {
    char where[WHERE_BYTES];
    struct space s = {.used = {false}};
    const struct point *p = &v->points[index];
    for (size_t i = 0; i < index; i++) {
        if (v->points[i].role != ROLE_DERIVED && v->points[i].settings == p->settings) {
            learn_point(&s, v, &v->points[i]);
        }
    }
    if (p->role != ROLE_DERIVED && !learn_point(&s, v, p)) {
        return error_set(e, ERR_USAGE,
                         "%s: role = %s: follows from the points before it by arithmetic (allowed: derived)",
                         place(p->node, "role", where), point_role_name((enum point_role)p->role));
    }
    return OK;
}

/* ---- all ----------------------------------------------------------------------------------------------------------
 */

enum status validation_check(struct validation *v, struct error *e) {
    char where[WHERE_BYTES];
    struct chip *c = NULL;
    if (chip_load(v->chip, NULL, 0, &c, e) != OK) {
        return error_prefix(e, "%s: chip", place(v->root, "chip", where));
    }
    enum status status = check_claims(v, c, e);
    if (status == OK) {
        status = check_account(v, c, e);
    }
    chip_destroy(c);
    for (size_t i = 0; status == OK && i < v->count; i++) {
        status = check_sets(v, &v->points[i], e);
        if (status == OK) {
            status = check_news(v, i, e);
        }
    }
    return status;
}
