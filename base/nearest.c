/* The nearest known name to a misspelt one (see params.h).
 *
 * Distance: insertions, deletions, substitutions and swaps of neighbours, each 1 (optimal string alignment;
 * R. Lowrance and R. Wagner, An extension of the string-to-string correction problem, J. ACM 22, 1975, in its
 * restricted form).
 */
#include <string.h>

#include "base/params.h"

enum { LONGEST_NAME = 128 };

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

/* Both at most LONGEST_NAME long. Three rows of the table of prefixes are enough. */
static size_t edit_distance(const char *a, const char *b) {
    size_t na = strlen(a), nb = strlen(b);
    size_t rows[3][LONGEST_NAME + 1];
    size_t *before = rows[0], *above = rows[1], *row = rows[2];
    for (size_t j = 0; j <= nb; j++) {
        above[j] = j;
    }
    for (size_t i = 1; i <= na; i++) {
        row[0] = i;
        for (size_t j = 1; j <= nb; j++) {
            row[j] = least(least(above[j], row[j - 1]) + 1, above[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
                row[j] = least(row[j], before[j - 2] + 1);
            }
        }
        size_t *oldest = before;
        before = above;
        above = row;
        row = oldest;
    }
    return above[nb];
}

const char *nearest_name(const char *word, const char *const *names, size_t count) {
    size_t length = strlen(word);
    if (length > LONGEST_NAME) {
        return NULL;
    }
    size_t limit = length / 3 > 2 ? length / 3 : 2;
    const char *best = NULL;
    for (size_t i = 0; i < count; i++) {
        size_t other = strlen(names[i]);
        if (other > LONGEST_NAME) {
            continue;
        }
        size_t distance = edit_distance(word, names[i]);
        /* A name that shares no letter is not near, however short. */
        if (distance <= limit && distance < (length > other ? length : other)) {
            limit = distance ? distance - 1 : 0;
            best = names[i];
            if (distance == 0) {
                break;
            }
        }
    }
    return best;
}

size_t named_row(const char *what, const char *word, const char *const *names, size_t count, struct error *e) {
    char known[1024] = "";
    for (size_t i = 0; i < count; i++) {
        if (strcmp(names[i], word) == 0) {
            return i;
        }
        strncat(known, i ? ", " : "", sizeof known - strlen(known) - 1);
        strncat(known, names[i], sizeof known - strlen(known) - 1);
    }
    const char *near = nearest_name(word, names, count);
    error_set(e, ERR_USAGE, "%s '%s' is unknown%s%s%s (allowed: %s)", what, word, near ? ": did you mean '" : "",
              near ? near : "", near ? "'" : "", known);
    return count;
}

bool text_ends_with(const char *text, const char *end) {
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}
