/* The CSV map of faults (faults.h): read, checked, sorted by tile. */
#include <stdlib.h>
#include <string.h>

#include "base/csv.h"
#include "base/memory.h"
#include "sim/faults.h"

struct fault_map {
    struct fault_entry *entries;
    size_t count;
};

/* What the cells of a map may say. */
struct limits {
    uint64_t tiles;
    uint32_t rows, columns; /* spares included */
    bool signed_units;
};

static enum status read_index(const struct csv *c, size_t row, size_t column, const char *what, uint64_t count,
                              uint64_t *out, struct error *e) {
    double value;
    TRY(csv_number(c, row, column, &value, e));
    if (!(value >= 0 && value < (double)count) || value != (double)(uint64_t)value) {
        return csv_error(c, row, column, e, "%s %g (allowed: whole numbers from 0 to %llu)", what, value,
                         (unsigned long long)count - 1);
    }
    *out = (uint64_t)value;
    return OK;
}

static enum status read_line_index(const struct csv *c, size_t row, size_t column, const char *what, uint32_t count,
                                   uint32_t *out, struct error *e) {
    uint64_t value = FAULT_WHOLE_LINE;
    if (csv_text(c, row, column)[0]) {
        TRY(read_index(c, row, column, what, count, &value, e));
    }
    *out = (uint32_t)value;
    return OK;
}

static enum status read_state(const struct csv *c, size_t row, size_t column, bool signed_units, enum fault_state *out,
                              struct error *e) {
    static const char *const names[] = {"g_min", "g_max", "random", "dead"};
    const char *text = csv_text(c, row, column);
    for (int i = signed_units ? FAULT_DEAD : 0; i <= FAULT_DEAD; i++) {
        if (strcmp(text, names[i]) == 0) {
            *out = (enum fault_state)i;
            return OK;
        }
    }
    return csv_error(c, row, column, e, "state '%s' (allowed: %sdead)", text,
                     signed_units ? "" : "g_min, g_max, random, ");
}

static enum status read_entries(const struct csv *c, const struct limits *l, struct fault_map *m, struct error *e) {
    size_t tile, row, column, state;
    TRY(csv_require(c, "tile", &tile, e));
    TRY(csv_require(c, "row", &row, e));
    TRY(csv_require(c, "column", &column, e));
    TRY(csv_require(c, "state", &state, e));
    m->count = csv_rows(c);
    m->entries = mem_alloc(m->count, sizeof *m->entries);
    if (!m->entries) {
        return error_set(e, ERR_RUN, "map of faults: out of memory");
    }
    for (size_t i = 0; i < m->count; i++) {
        struct fault_entry *one = &m->entries[i];
        TRY(read_index(c, i, tile, "tile", l->tiles, &one->tile, e));
        TRY(read_line_index(c, i, row, "row", l->rows, &one->row, e));
        TRY(read_line_index(c, i, column, "column", l->columns, &one->column, e));
        TRY(read_state(c, i, state, l->signed_units, &one->state, e));
        if (one->row == FAULT_WHOLE_LINE && one->column == FAULT_WHOLE_LINE) {
            return csv_error(c, i, row, e, "neither row nor column (allowed: one of them empty for a whole line)");
        }
    }
    return OK;
}

static int by_place(const void *a, const void *b) {
    const struct fault_entry *x = a, *y = b;
    if (x->tile != y->tile) {
        return x->tile < y->tile ? -1 : 1;
    }
    if (x->row != y->row) {
        return x->row < y->row ? -1 : 1;
    }
    return (x->column > y->column) - (x->column < y->column);
}

static enum status sort_entries(const char *path, struct fault_map *m, struct error *e) {
    qsort(m->entries, m->count, sizeof *m->entries, by_place);
    for (size_t i = 1; i < m->count; i++) {
        const struct fault_entry *one = &m->entries[i];
        if (by_place(one, one - 1) == 0) {
            char row[16] = "all", column[16] = "all";
            if (one->row != FAULT_WHOLE_LINE) {
                snprintf(row, sizeof row, "%u", one->row);
            }
            if (one->column != FAULT_WHOLE_LINE) {
                snprintf(column, sizeof column, "%u", one->column);
            }
            return error_set(e, ERR_USAGE, "%s: tile %llu, row %s, column %s stands there twice (allowed: once)", path,
                             (unsigned long long)one->tile, row, column);
        }
    }
    return OK;
}

enum status fault_map_load(const struct chip_spec *s, struct fault_array full, uint64_t tiles, struct fault_map **out,
                           struct error *e) {
    const struct faults_spec *f = &s->tile.faults;
    struct limits l = {tiles, full.rows + (uint32_t)f->spare_rows, full.columns + (uint32_t)f->spare_columns,
                       s->tile.encoding == ENCODING_SIGNED_UNIT};
    struct csv *csv = NULL;
    TRY(csv_read(f->map, CSV_HEADER, &csv, e));
    struct fault_map *m = mem_alloc(1, sizeof *m);
    enum status status = m ? read_entries(csv, &l, m, e) : error_set(e, ERR_RUN, "map of faults: out of memory");
    csv_destroy(csv);
    if (status == OK) {
        status = sort_entries(f->map, m, e);
    }
    if (status != OK) {
        fault_map_destroy(m);
        return status;
    }
    *out = m;
    return OK;
}

void fault_map_destroy(struct fault_map *m) {
    if (m) {
        mem_free(m->entries);
        mem_free(m);
    }
}

/* First entry whose tile is not below `tile`. */
static size_t lower_bound(const struct fault_map *m, uint64_t tile) {
    size_t low = 0, high = m->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (m->entries[middle].tile < tile) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

const struct fault_entry *fault_map_entries(const struct fault_map *m, uint64_t tile, size_t *count) {
    if (!m) {
        *count = 0;
        return NULL;
    }
    size_t first = lower_bound(m, tile);
    *count = lower_bound(m, tile + 1) - first;
    return m->entries + first;
}
