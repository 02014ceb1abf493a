/* Faults of one tile: drawn or looked up, repaired, applied (faults.h).
 *
 * Random numbers, all of stream RANDOM_FAULTS with where = matrix << 32 | tile of the matrix << 8 | what: number column
 * x 2^13 + row for devices (what = parallel device), number of the line for lines. u is uniform in (0, 1]; a device
 * with u in one of the ranges of the probabilities is stuck, and where in the last range it falls says at which
 * conductance, if that is random. So the same devices fail when a probability grows, and more with them.
 * Not modelled: faults that come with use, shorts between lines, stuck devices that noise still moves.
 */
#include "sim/faults.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/random.h"

/* Rows and their spares are below the stride. */
enum { LINE_STRIDE = 1 << 13, DRAW_ROWS = 128, DRAW_COLUMNS, DRAW_MAP };

struct stuck {
    uint32_t row, column, device; /* physical, spares included */
    uint32_t order;               /* of naming: maps before draws */
    float g_S;
};

/* Lines of one direction. Physical lines: those in use, then the spares. */
struct side {
    uint32_t used, spares;
    bool *dead;        /* [used + spares] */
    uint32_t *stuck;   /* [used + spares] number of stuck devices on it */
    uint32_t *holds;   /* [used + spares] which used line lives there; NOTHING: none */
};
#define NOTHING UINT32_MAX

struct tile_faults {
    struct stuck *list;
    size_t count, capacity;
    struct side rows, columns;
    void *memory; /* of the sides */
    size_t memory_bytes;
    float *uniform; /* [rows + spares] */
};

bool faults_act(const struct chip_spec *s, const struct fault_map *map) {
    const struct faults_spec *f = &s->tile.faults;
    return s->effects.faults && (map || f->stuck_g_min > 0 || f->stuck_g_max > 0 || f->stuck_random > 0 ||
                                 f->dead_rows > 0 || f->dead_columns > 0);
}

struct tile_faults *tile_faults_create(void) { return mem_alloc(1, sizeof(struct tile_faults)); }

void tile_faults_destroy(struct tile_faults *f) {
    if (f) {
        mem_free(f->list);
        mem_free(f->memory);
        mem_free(f);
    }
}

static enum status out_of_memory(struct error *e) { return error_set(e, ERR_RUN, "faults of a tile: out of memory"); }

/* ---- memory ------------------------------------------------------------------------------------------------ */

static char *side_place(struct side *s, uint32_t used, uint32_t spares, char *memory) {
    size_t lines = (size_t)used + spares;
    s->used = used;
    s->spares = spares;
    s->stuck = (uint32_t *)(void *)memory;
    s->holds = s->stuck + lines;
    s->dead = (bool *)(void *)(s->holds + lines);
    memset(memory, 0, lines * 12);
    for (uint32_t i = 0; i < used; i++) {
        s->holds[i] = i;
    }
    for (uint32_t i = used; i < lines; i++) {
        s->holds[i] = NOTHING;
    }
    return memory + lines * 12; /* two words and a flag per line, and keeps the alignment */
}

static enum status start(struct tile_faults *f, const struct faults_spec *s, const struct fault_place *at,
                         struct error *e) {
    size_t rows = (size_t)at->rows + (size_t)s->spare_rows,
           columns = (size_t)at->physical_columns + (size_t)s->spare_columns,
           bytes = (rows + columns) * 12 + rows * sizeof(float);
    if (bytes > f->memory_bytes) {
        mem_free(f->memory);
        f->memory = mem_alloc(bytes, 1);
        f->memory_bytes = f->memory ? bytes : 0;
        if (!f->memory) {
            return out_of_memory(e);
        }
    }
    f->count = 0;
    char *next = side_place(&f->rows, at->rows, (uint32_t)s->spare_rows, f->memory);
    next = side_place(&f->columns, at->physical_columns, (uint32_t)s->spare_columns, next);
    f->uniform = (float *)(void *)next;
    return OK;
}

static enum status add_stuck(struct tile_faults *f, uint32_t row, uint32_t column, uint32_t device, double g_S,
                             struct error *e) {
    if (f->count == f->capacity) {
        size_t more = f->capacity ? 2 * f->capacity : 64;
        struct stuck *list = mem_resize(f->list, f->capacity * sizeof *list, more * sizeof *list);
        if (!list) {
            return out_of_memory(e);
        }
        f->list = list;
        f->capacity = more;
    }
    f->list[f->count] = (struct stuck){row, column, device, (uint32_t)f->count, (float)g_S};
    f->count++;
    return OK;
}

/* ---- finding -------------------------------------------------------------------------------------------------- */

static uint64_t stream_of(const struct fault_place *at, uint32_t what) {
    return random_stream(RANDOM_FAULTS, at->matrix << 32 | at->tile_in_matrix << 8 | what);
}

/* Number of a physical line for its draws: spares keep theirs whatever part of the tile is in use. */
static uint64_t line_number(const struct side *s, uint32_t full, uint32_t line) {
    return line < s->used ? line : full + (line - s->used);
}

static void draw_lines(const struct fault_place *at, struct side *s, uint32_t full, double probability, uint32_t what) {
    for (uint32_t i = 0; probability > 0 && i < s->used + s->spares; i++) {
        s->dead[i] = random_uniform(at->seed, stream_of(at, what), line_number(s, full, i)) <= probability;
    }
}

static enum status draw_column(struct tile_faults *f, const struct faults_spec *s, const struct fault_place *at,
                               uint32_t column, uint32_t device, struct error *e) {
    double low = s->stuck_g_min, high = low + s->stuck_g_max, any = high + s->stuck_random;
    uint64_t first = line_number(&f->columns, at->full.columns, column) * LINE_STRIDE, stream = stream_of(at, device);
    random_uniform_fill(at->seed, stream, first, f->uniform, at->rows);
    random_uniform_fill(at->seed, stream, first + at->full.rows, f->uniform + at->rows, f->rows.spares);
    for (uint32_t row = 0; row < f->rows.used + f->rows.spares; row++) {
        double u = (double)f->uniform[row];
        if (u <= any) {
            double share = u <= low ? 0 : u <= high ? 1 : (u - high) / s->stuck_random;
            TRY(add_stuck(f, row, column, device, at->g_min_S + share * (at->g_max_S - at->g_min_S), e));
        }
    }
    return OK;
}

static enum status draw_devices(struct tile_faults *f, const struct faults_spec *s, const struct fault_place *at,
                                struct error *e) {
    if (!(s->stuck_g_min > 0 || s->stuck_g_max > 0 || s->stuck_random > 0)) {
        return OK;
    }
    for (uint32_t device = 0; device < at->devices; device++) {
        for (uint32_t column = 0; column < f->columns.used + f->columns.spares; column++) {
            TRY(draw_column(f, s, at, column, device, e));
        }
    }
    return OK;
}

/* From the position on a full tile to the physical line of this one; NOTHING: not in use. */
static uint32_t line_of(const struct side *s, uint32_t full, uint32_t position) {
    return position < s->used ? position : position >= full ? s->used + (position - full) : NOTHING;
}

static enum status take_device(struct tile_faults *f, const struct fault_place *at, enum fault_state state,
                               uint32_t row, uint32_t column, struct error *e) {
    for (uint32_t device = 0; device < at->devices; device++) {
        double g_S = state == FAULT_G_MIN ? at->g_min_S : state == FAULT_G_MAX ? at->g_max_S : 0;
        if (state == FAULT_RANDOM) {
            uint64_t number = (line_number(&f->columns, at->full.columns, column) * LINE_STRIDE +
                               line_number(&f->rows, at->full.rows, row)) * at->devices + device;
            g_S = at->g_min_S + random_uniform(at->seed, stream_of(at, DRAW_MAP), number) * (at->g_max_S - at->g_min_S);
        }
        TRY(add_stuck(f, row, column, device, g_S, e));
    }
    return OK;
}

static enum status take_entry(struct tile_faults *f, const struct fault_place *at, const struct fault_entry *one,
                              struct error *e) {
    bool all_rows = one->row == FAULT_WHOLE_LINE, all_columns = one->column == FAULT_WHOLE_LINE;
    uint32_t row = all_rows ? 0 : line_of(&f->rows, at->full.rows, one->row),
             column = all_columns ? 0 : line_of(&f->columns, at->full.columns, one->column);
    if (row == NOTHING || column == NOTHING) {
        return OK;
    }
    if (one->state == FAULT_DEAD && (all_rows || all_columns)) {
        *(all_rows ? &f->columns.dead[column] : &f->rows.dead[row]) = true;
        return OK;
    }
    uint32_t end_row = all_rows ? f->rows.used + f->rows.spares : row + 1,
             end_column = all_columns ? f->columns.used + f->columns.spares : column + 1;
    for (uint32_t c = column; c < end_column; c++) {
        for (uint32_t r = row; r < end_row; r++) {
            TRY(take_device(f, at, one->state, r, c, e));
        }
    }
    return OK;
}

static int by_place(const void *a, const void *b) {
    const struct stuck *x = a, *y = b;
    if (x->column != y->column) {
        return x->column < y->column ? -1 : 1;
    }
    if (x->row != y->row) {
        return x->row < y->row ? -1 : 1;
    }
    return (x->device > y->device) - (x->device < y->device);
}

static int by_place_and_order(const void *a, const void *b) {
    const struct stuck *x = a, *y = b;
    int place = by_place(a, b);
    return place ? place : (x->order > y->order) - (x->order < y->order);
}

/* Each device once, in the state that was named first. */
static void unite(struct tile_faults *f) {
    size_t kept = 0;
    if (f->count > 0) { /* qsort must not be given NULL */
        qsort(f->list, f->count, sizeof *f->list, by_place_and_order);
    }
    for (size_t i = 0; i < f->count; i++) {
        if (kept == 0 || by_place(&f->list[kept - 1], &f->list[i]) != 0) {
            f->list[kept++] = f->list[i];
        }
    }
    f->count = kept;
}

/* ---- repair ------------------------------------------------------------------------------------------------------ */

/* Stuck devices per line of one side that meet a line in use of the other. */
static void count_stuck(struct tile_faults *f, struct side *s, const struct side *other, bool rows) {
    memset(s->stuck, 0, ((size_t)s->used + s->spares) * sizeof *s->stuck);
    for (size_t i = 0; i < f->count; i++) {
        uint32_t mine = rows ? f->list[i].row : f->list[i].column, its = rows ? f->list[i].column : f->list[i].row;
        s->stuck[mine] += other->holds[its] != NOTHING && !other->dead[its];
    }
}

/* How bad a line is: dead ones are worse than any number of stuck devices. */
static uint64_t badness(const struct side *s, uint32_t line) {
    return s->dead[line] ? UINT64_MAX : s->stuck[line];
}

/* Moves the worst line in use to the best free spare, as long as that makes it better. Returns how many. */
static uint32_t repair_side(struct side *s) {
    uint32_t moved = 0;
    for (; moved < s->spares; moved++) {
        uint32_t worst = NOTHING, best = NOTHING;
        for (uint32_t i = 0; i < s->used; i++) {
            worst = s->holds[i] == i && (worst == NOTHING || badness(s, i) > badness(s, worst)) ? i : worst;
        }
        for (uint32_t i = s->used; i < s->used + s->spares; i++) {
            best = s->holds[i] == NOTHING && (best == NOTHING || badness(s, i) < badness(s, best)) ? i : best;
        }
        if (worst == NOTHING || badness(s, best) >= badness(s, worst)) {
            break;
        }
        s->holds[best] = worst;
        s->holds[worst] = NOTHING;
    }
    return moved;
}

/* Dead lines that hold something. */
static uint32_t count_dead(const struct side *s) {
    uint32_t dead = 0;
    for (uint32_t i = 0; i < s->used + s->spares; i++) {
        dead += s->dead[i] && s->holds[i] != NOTHING;
    }
    return dead;
}

static uint64_t count_acting(const struct tile_faults *f) {
    uint64_t acting = 0;
    for (size_t i = 0; i < f->count; i++) {
        acting += f->rows.holds[f->list[i].row] != NOTHING && f->columns.holds[f->list[i].column] != NOTHING;
    }
    return acting;
}

void fault_count_add(const struct fault_count *one, struct fault_count *all) {
    all->stuck += one->stuck;
    all->dead_rows += one->dead_rows;
    all->dead_columns += one->dead_columns;
    all->repaired_rows += one->repaired_rows;
    all->repaired_columns += one->repaired_columns;
    all->stuck_left += one->stuck_left;
    all->dead_rows_left += one->dead_rows_left;
    all->dead_columns_left += one->dead_columns_left;
    all->lines_left += one->lines_left;
}

static void visit_side(const struct side *s, bool rows, void (*visit)(void *ctx, const struct fault_line *line),
                       void *ctx) {
    for (uint32_t i = 0; i < s->used + s->spares; i++) {
        bool moved = s->holds[i] != i, faulty = s->dead[i] || (!rows && s->stuck[i] > 0);
        if (s->holds[i] != NOTHING && (moved || faulty)) {
            struct fault_line line = {.row = rows,
                                      .moved = moved,
                                      .dead = s->dead[i],
                                      .line = s->holds[i],
                                      .spare = moved ? i - s->used : 0,
                                      .stuck = s->stuck[i]};
            visit(ctx, &line);
        }
    }
}

void tile_faults_visit(struct tile_faults *f, void (*visit)(void *ctx, const struct fault_line *line), void *ctx) {
    count_stuck(f, &f->rows, &f->columns, true);
    count_stuck(f, &f->columns, &f->rows, false);
    visit_side(&f->rows, true, visit, ctx);
    visit_side(&f->columns, false, visit, ctx);
}

static void count_left(void *ctx, const struct fault_line *line) {
    *(uint64_t *)ctx += line->dead || (!line->row && line->stuck > 0);
}

static void repair(struct tile_faults *f, const struct faults_spec *s, struct fault_count *count) {
    struct fault_count mine = {.stuck = count_acting(f),
                               .dead_rows = count_dead(&f->rows),
                               .dead_columns = count_dead(&f->columns)};
    if (s->repair) {
        count_stuck(f, &f->rows, &f->columns, true);
        mine.repaired_rows = repair_side(&f->rows);
        count_stuck(f, &f->columns, &f->rows, false);
        mine.repaired_columns = repair_side(&f->columns);
    }
    mine.stuck_left = count_acting(f);
    mine.dead_rows_left = count_dead(&f->rows);
    mine.dead_columns_left = count_dead(&f->columns);
    tile_faults_visit(f, count_left, &mine.lines_left);
    if (count) {
        fault_count_add(&mine, count);
    }
}

enum status tile_faults_find(struct tile_faults *f, const struct chip_spec *s, const struct fault_map *map,
                             const struct fault_place *at, struct fault_count *count, struct error *e) {
    const struct faults_spec *spec = &s->tile.faults;
    size_t entries;
    const struct fault_entry *list = fault_map_entries(map, at->tile_number, &entries);
    TRY(start(f, spec, at, e));
    draw_lines(at, &f->rows, at->full.rows, spec->dead_rows, DRAW_ROWS);
    draw_lines(at, &f->columns, at->full.columns, spec->dead_columns, DRAW_COLUMNS);
    for (size_t i = 0; i < entries; i++) {
        TRY(take_entry(f, at, &list[i], e));
    }
    TRY(draw_devices(f, spec, at, e));
    unite(f);
    repair(f, spec, count);
    return OK;
}

/* ---- applying -------------------------------------------------------------------------------- */

void tile_faults_apply(const struct tile_faults *f, uint32_t device, float *g_S) {
    size_t rows = f->rows.used;
    for (size_t i = 0; i < f->count; i++) {
        const struct stuck *one = &f->list[i];
        uint32_t row = f->rows.holds[one->row], column = f->columns.holds[one->column];
        if (one->device == device && row != NOTHING && column != NOTHING) {
            g_S[column * rows + row] = one->g_S;
        }
    }
    for (uint32_t i = 0; i < f->columns.used + f->columns.spares; i++) {
        if (f->columns.dead[i] && f->columns.holds[i] != NOTHING) {
            memset(g_S + f->columns.holds[i] * rows, 0, rows * sizeof *g_S);
        }
    }
    for (uint32_t i = 0; i < f->rows.used + f->rows.spares; i++) {
        for (size_t c = 0; f->rows.dead[i] && f->rows.holds[i] != NOTHING && c < f->columns.used; c++) {
            g_S[c * rows + f->rows.holds[i]] = 0;
        }
    }
}
