/* Placement: which block of which matrix sits on which tile.
 *
 * A matrix [outputs][inputs] that the chip's rule makes analog is cut into row_blocks x column_blocks blocks
 * (sim/blocks.h); every block takes one tile, an array of a stack (tile.tiers arrays that share converters).
 *
 * Stacks. A matrix with c copies (placement.copies) takes stacks = c x tiles, in the order of the matrices. With tiers
 * the matrices after it that take no more, and have as many copies, go onto the same stacks, one on each tier, until
 * there is no tier left; they are a group, and one multiply at a time of a group is under way. All of them lie on the
 * first of its stacks, so that no two could work at once on their own either. Without tiers every matrix is a group.
 *
 *   chips = ceil(stacks / tiles_per_chip), at least one for the digital units
 *   in_order   chip after chip is filled
 *   balanced   every chip gets ceil(stacks / chips)
 *   fewest_hops   as in_order; on its chip every stack goes where messages have short ways (placement_search.h)
 * utilisation = weights / cells of the tiles in use.
 * A matrix with n devices per weight where tile.devices is d has unit cells n / d times as large: its tiles have
 * n / d - 1 arrays more of cells. They are still as many tiles.
 * Not modelled: several matrices on one array, copies that differ in their noise.
 */
#include "sim/placement.h"

#include <inttypes.h>
#include <math.h>

#include "sim/blocks.h"
#include "sim/placement_search.h"
#include "sim/side_path.h"

struct placement {
    const struct chip *chip;
    struct arena *arena;
    size_t count, layers;
    struct placement_matrix *matrices;
    uint64_t *first_tile;  /* [count] */
    uint64_t *first_stack; /* [count] */
    size_t *group;         /* [count] */
    uint64_t per_chip;     /* stacks of a chip that are filled */
    uint64_t *home;        /* [layers]: home chip */
    uint32_t *slot;        /* [stacks]: tile of the chip; NULL: in order */
    struct placement_total total;
};

static const char *const role_names[MATRIX_ROLES] = {"q",  "k",    "v",   "o",       "gate",
                                                     "up", "down", "qkv", "gate_up", "head"};

const char *matrix_role_name(enum matrix_role r) { return role_names[r]; }

/* What of an analog matrix stays digital. */
static enum status place_side_path(struct placement *p, const struct matrix_source *m, struct placement_matrix *out,
                                   struct error *e) {
    const struct chip_spec *s = chip_spec_of(p->chip);
    TRY(side_path_check(m, e));
    side_path_count(s, m, &out->digital_channels, &out->listed_weights);
    uint64_t macs = placement_side_macs(out);
    if (macs && s->costs == COSTS_FULL && !s->side_path.given) {
        return error_set(e, ERR_USAGE,
                         "matrix %s: part of it stays digital, and the chip file does not say what that takes "
                         "(allowed: a group side_path, for example side_path=side_fp16_14nm; or no side path)",
                         m->name);
    }
    p->total.side_macs += macs;
    p->total.side_bits += s->side_path.given ? side_path_bits(&s->side_path, out) : 0;
    return OK;
}

static enum status place_devices(const struct placement *p, const struct matrix_source *m, struct placement_matrix *out,
                                 struct error *e) {
    if (m->devices > DEVICES_MOST) {
        return error_set(e, ERR_USAGE,
                         "matrix %s: %" PRIu32 " devices per weight (allowed: 1 to %d, or 0 for the chip's)", m->name,
                         m->devices, DEVICES_MOST);
    }
    out->devices = m->devices ? m->devices : (uint32_t)chip_spec_of(p->chip)->tile.devices;
    return OK;
}

static enum status place_matrix(struct placement *p, const struct matrix_source *m, struct placement_matrix *out,
                                struct error *e) {
    const struct chip_spec *s = chip_spec_of(p->chip);
    if (!m->inputs || !m->outputs) {
        return error_set(e, ERR_RUN, "matrix %s: %" PRIu32 " inputs and %" PRIu32 " outputs: neither may be 0", m->name,
                         m->inputs, m->outputs);
    }
    const char *name = arena_strdup(p->arena, m->name);
    if (!name) {
        return error_set(e, ERR_RUN, "placement: out of memory");
    }
    *out = (struct placement_matrix){.name = name,
                                     .layer = m->layer,
                                     .role = m->role,
                                     .copies = (uint32_t)s->placement.copies_of[m->role],
                                     .inputs = m->inputs,
                                     .outputs = m->outputs,
                                     .analog = s->analog_role[m->role]};
    uint64_t weights = (uint64_t)m->inputs * m->outputs;
    if (!out->analog) {
        p->total.digital_weights += weights;
        return OK;
    }
    uint32_t rows = (uint32_t)s->tile.rows, columns = (uint32_t)s->tile.columns;
    out->row_blocks = block_count(m->inputs, rows);
    out->column_blocks = block_count(m->outputs, columns);
    uint64_t tiles = (uint64_t)out->row_blocks * out->column_blocks;
    if (tiles > UINT32_MAX / 2) {
        return error_set(e, ERR_USAGE,
                         "matrix %s: %" PRIu64 " tiles of %" PRIu32 " x %" PRIu32
                         " are too many (allowed: larger tiles)",
                         m->name, tiles, rows, columns);
    }
    out->tiles = (uint32_t)tiles;
    out->utilisation = (double)weights / ((double)tiles * rows * columns);
    p->total.analog_weights += weights;
    TRY(place_devices(p, m, out, e));
    p->total.more_arrays += (double)tiles * out->copies * ((double)out->devices / s->tile.devices - 1);
    return place_side_path(p, m, out, e);
}

/* Home chips: the chip of a layer's first tile; even shares where a layer has none. */
static void find_homes(struct placement *p) {
    for (size_t l = 0; l < p->layers; l++) {
        p->home[l] = l * p->total.chips / p->layers;
    }
    for (size_t i = p->count; i-- > 0;) { /* backwards, so that the first matrix of a layer has the last word */
        const struct placement_matrix *m = &p->matrices[i];
        if (m->analog && m->layer >= 0) {
            p->home[m->layer] = p->first_stack[i] / p->per_chip;
        }
    }
}

/* Gives every matrix its stacks. */
static void stack_up(struct placement *p) {
    size_t leader = p->count;
    int tiers = 0;
    for (size_t i = 0; i < p->count; i++) {
        const struct placement_matrix *m = &p->matrices[i];
        p->group[i] = i;
        p->first_stack[i] = p->total.stacks;
        if (!m->analog) {
            continue;
        }
        const struct placement_matrix *first = leader < p->count ? &p->matrices[leader] : NULL;
        if (first && tiers < chip_spec_of(p->chip)->tile.tiers && m->tiles <= first->tiles &&
            m->copies == first->copies) {
            p->group[i] = leader;
            p->first_stack[i] = p->first_stack[leader];
            tiers++;
            continue;
        }
        leader = i;
        tiers = 1;
        p->total.stacks += (uint64_t)m->tiles * m->copies;
    }
}

static enum status add_up(struct placement *p, struct error *e) {
    const struct chip_spec *s = chip_spec_of(p->chip);
    struct placement_total *t = &p->total;
    for (size_t i = 0; i < p->count; i++) {
        p->first_tile[i] = t->tiles;
        t->tiles += p->matrices[i].tiles;
    }
    uint64_t per_chip = (uint64_t)s->tiles_per_chip;
    stack_up(p);
    t->chips = t->stacks ? t->stacks / per_chip + (t->stacks % per_chip != 0) : 1;
    p->per_chip = per_chip;
    if (s->placement.strategy == PLACE_BALANCED && t->stacks) {
        p->per_chip = t->stacks / t->chips + (t->stacks % t->chips != 0);
    }
    t->digital_share = t->analog_weights ? (double)t->side_macs / (double)t->analog_weights : 0;
    t->cells = t->tiles * (uint64_t)s->tile.rows * (uint64_t)s->tile.columns;
    t->cells_used = t->analog_weights;
    t->utilisation = t->cells ? (double)t->cells_used / (double)t->cells : 0;
    if (!s->replicate && t->chips > 1) {
        return error_set(e, ERR_USAGE,
                         "chip %s: too small: the model needs %" PRIu64 " tiles, that is %" PRIu64
                         " chips; one chip has %d tiles and replicate is off "
                         "(allowed: replicate=on, tiles_per_chip=%" PRIu64 ", or fewer roles in analog)",
                         s->name, t->stacks, t->chips, s->tiles_per_chip, t->stacks);
    }
    find_homes(p);
    return OK;
}

/* fewest_hops. Searched only where hops cost anything. */
static enum status search(struct placement *p, struct error *e) {
    const struct chip_spec *s = chip_spec_of(p->chip);
    struct placement_hops hops = {(double)NAN, (double)NAN};
    if (s->placement.strategy == PLACE_FEWEST_HOPS && s->costs == COSTS_FULL) {
        p->slot = mem_alloc(p->total.stacks, sizeof *p->slot);
        if (!p->slot && p->total.stacks) {
            return error_set(e, ERR_RUN, "placement: out of memory");
        }
        TRY(placement_search(s, p, p->slot, &hops, e));
    }
    p->total.bit_hops_in_order = hops.in_order;
    p->total.bit_hops = hops.found;
    return OK;
}

static enum status fill(struct placement *p, const struct matrix_source *m, struct error *e) {
    for (size_t i = 0; i < p->count; i++) {
        if (m[i].layer >= 0 && (size_t)m[i].layer + 1 > p->layers) {
            p->layers = (size_t)m[i].layer + 1;
        }
    }
    p->matrices = arena_alloc(p->arena, p->count, sizeof *p->matrices);
    p->first_tile = arena_alloc(p->arena, p->count, sizeof *p->first_tile);
    p->first_stack = arena_alloc(p->arena, p->count, sizeof *p->first_stack);
    p->group = arena_alloc(p->arena, p->count, sizeof *p->group);
    p->home = arena_alloc(p->arena, p->layers, sizeof *p->home);
    if (!p->matrices || !p->first_tile || !p->first_stack || !p->group || !p->home) {
        return error_set(e, ERR_RUN, "placement: out of memory");
    }
    for (size_t i = 0; i < p->count; i++) {
        TRY(place_matrix(p, &m[i], &p->matrices[i], e));
    }
    TRY(add_up(p, e));
    return search(p, e);
}

enum status placement_create(const struct chip *c, const struct matrix_source *m, size_t count, struct placement **out,
                             struct error *e) {
    *out = NULL;
    struct placement *p = mem_alloc(1, sizeof *p);
    if (!p) {
        return error_set(e, ERR_RUN, "placement: out of memory");
    }
    p->chip = c;
    p->count = count;
    p->arena = arena_create();
    enum status status = p->arena ? fill(p, m, e) : error_set(e, ERR_RUN, "placement: out of memory");
    if (status != OK) {
        placement_destroy(p);
        return status;
    }
    *out = p;
    return OK;
}

void placement_destroy(struct placement *p) {
    if (p) {
        arena_destroy(p->arena);
        mem_free(p->slot);
        mem_free(p);
    }
}

size_t placement_matrices(const struct placement *p) { return p->count; }
struct placement_matrix placement_matrix_at(const struct placement *p, size_t i) {
    return p->matrices[i];
}
struct placement_total placement_total(const struct placement *p) {
    return p->total;
}
uint64_t placement_first_tile(const struct placement *p, size_t matrix) { return p->first_tile[matrix]; }
uint64_t placement_first_stack(const struct placement *p, size_t matrix) { return p->first_stack[matrix]; }
uint64_t placement_copy_stack(const struct placement *p, size_t matrix, uint32_t copy) {
    return p->first_stack[matrix] + (uint64_t)copy * p->matrices[p->group[matrix]].tiles;
}
uint32_t placement_slot(const struct placement *p, uint64_t stack) {
    return p->slot ? p->slot[stack] : (uint32_t)(stack % p->per_chip);
}

/* Of a group its first matrix reaches farthest. */
void placement_find(const struct placement *p, uint64_t first, uint64_t end, size_t *from, size_t *to) {
    for (; *from < p->count; ++*from) {
        const struct placement_matrix *m = &p->matrices[p->group[*from]];
        if (m->analog && p->first_stack[*from] + (uint64_t)m->tiles * m->copies > first) {
            break;
        }
    }
    *to = *to > *from ? *to : *from;
    while (*to < p->count && (!p->matrices[*to].analog || p->first_stack[*to] < end)) {
        ++*to;
    }
}

size_t placement_group(const struct placement *p, size_t matrix) { return p->group[matrix]; }
uint64_t placement_stacks_per_chip(const struct placement *p) { return p->per_chip; }
uint64_t placement_first_chip(const struct placement *p, size_t matrix) { return p->first_stack[matrix] / p->per_chip; }
size_t placement_layers(const struct placement *p) { return p->layers; }

size_t placement_layer_row(const struct placement *p, int layer) {
    return layer >= 0 && (size_t)layer < p->layers ? (size_t)layer : p->layers;
}

uint64_t placement_home_chip(const struct placement *p, int layer) {
    size_t row = placement_layer_row(p, layer);
    return row < p->layers ? p->home[row] : p->total.chips - 1;
}
