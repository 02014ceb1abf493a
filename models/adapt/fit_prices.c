/* What it costs to keep something of a matrix digital.
 *
 * The unit is joules per token, as the ledger counts them (placement_side_J of sim.h). They are linear in the number of
 * channels and in that of listed weights, with a part for the first of either:
 *   E = sums (anything digital) + lists (weights listed) + channel x channels + weight x listed weights
 * sums: results of the side path moved and added; lists: the indices at which outputs begin; a weight costs more than a
 * channel's share of it, because its index is fetched too. So four values of E give the prices.
 *
 * A chip without costs has no joules: then every multiplication costs 1, whoever needs it. One that has costs, but not
 * those of side paths, is refused: no run would take the model.
 *
 * Not in it: the time that the side path takes, and the leakage meanwhile. Both depend on all matrices together. */
#include <math.h>

#include "base/memory.h"
#include "models/adapt/fit.h"
#include "models/internal.h"

/* Of a matrix with so many channels and listed weights. */
static double side_J(const struct chip *c, struct placement_matrix m, uint32_t channels, uint64_t weights) {
    m.digital_channels = channels;
    m.listed_weights = weights;
    return placement_side_J(c, &m);
}

static struct fit_price price_of(const struct chip *c, const struct placement_matrix *m) {
    double one = side_J(c, *m, 1, 0), both = side_J(c, *m, 1, 1);
    if (isnan(one)) {
        return (struct fit_price){.channel = m->outputs, .weight = 1};
    }
    double channel = side_J(c, *m, 2, 0) - one, weight = side_J(c, *m, 1, 2) - both;
    return (struct fit_price){.joules = true, .channel = channel, .weight = weight, .lists = both - one - weight,
                              .sums = one - channel};
}

enum status fit_prices(const struct model *m, const struct chip *c, struct fit_price **out, struct error *e) {
    struct placement *p;
    if (chip_has_costs(c) && isnan(side_J(c, (struct placement_matrix){.outputs = 1}, 1, 0))) {
        return error_set(e, ERR_USAGE, "chip %s: what a digital side path costs is not known (allowed: a group "
                         "side_path, or --digital 0)", chip_name(c));
    }
    TRY(placement_create(c, m->sources, m->matrix_count, &p, e));
    *out = mem_alloc(m->matrix_count, sizeof **out);
    for (size_t i = 0; *out && i < m->matrix_count; i++) {
        struct placement_matrix at = placement_matrix_at(p, i);
        (*out)[i] = price_of(c, &at);
    }
    placement_destroy(p);
    return *out ? OK : error_set(e, ERR_RUN, "adapt fit: out of memory");
}

double fit_cost(const struct fit_price *p, uint32_t channels, double weights) {
    bool any = channels > 0 || weights > 0;
    return (any ? p->sums : 0) + (weights > 0 ? p->lists : 0) + p->channel * channels + p->weight * weights;
}
