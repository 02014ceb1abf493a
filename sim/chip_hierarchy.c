/* See chip_hierarchy.h. */
#include "sim/chip_hierarchy.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { COPIES_MOST = 1024 };

static const char *levels_contradiction(const struct chip_spec *s, char *why, size_t bytes) {
    const struct hierarchy_spec *h = &s->hierarchy;
    int64_t product = (int64_t)h->tiles_per_core * h->cores_per_cluster * h->clusters_per_chip;
    if (s->package_link.given && (!h->given || h->chips_per_package == 1)) {
        snprintf(why, bytes, "given, but a package has one chip, and chip_link joins all chips (allowed: with "
                 "hierarchy.chips_per_package of at least 2)");
        return "package_link.bandwidth_GBps";
    }
    if (!h->given) {
        return NULL;
    }
    if (product != s->tiles_per_chip) {
        snprintf(why, bytes,
                 "%d clusters of %d cores of %d tiles are %" PRId64 " tiles, but tiles_per_chip is %d (allowed: levels "
                 "whose product it is)",
                 h->clusters_per_chip, h->cores_per_cluster, h->tiles_per_core, product, s->tiles_per_chip);
        return "hierarchy.clusters_per_chip";
    }
    if (s->costs == COSTS_FULL && h->chips_per_package != 1 && !(s->chip_link.given && s->package_link.given)) {
        snprintf(why, bytes,
                 "%d, but the chip has no %s (allowed: both groups, chip_link for the chips of a package and "
                 "package_link between packages, or 1)",
                 h->chips_per_package, s->chip_link.given ? "package_link" : "chip_link");
        return "hierarchy.chips_per_package";
    }
    if (s->network.given && s->network.tiles_per_core != h->tiles_per_core) {
        snprintf(why, bytes, "%d, but hierarchy.tiles_per_core is %d (allowed: the same)", s->network.tiles_per_core,
                 h->tiles_per_core);
        return "network.tiles_per_core";
    }
    return NULL;
}

/* "down=2": false where it is not a role and a number. */
static bool read_copies(struct placement_spec *p, const char *word, size_t length) {
    for (int role = 0; role < MATRIX_ROLES; role++) {
        const char *name = matrix_role_name((enum matrix_role)role);
        size_t n = strlen(name);
        int copies = 0;
        if (length < n + 2 || strncmp(word, name, n) != 0 || word[n] != '=') {
            continue;
        }
        for (size_t i = n + 1; i < length; i++) {
            if (word[i] < '0' || word[i] > '9' || copies > COPIES_MOST) {
                return false;
            }
            copies = copies * 10 + (word[i] - '0');
        }
        p->copies_of[role] = copies;
        return copies >= 1 && copies <= COPIES_MOST;
    }
    return false;
}

static const char *copies_contradiction(struct chip_spec *s, char *why, size_t bytes) {
    struct placement_spec *p = &s->placement;
    for (int role = 0; role < MATRIX_ROLES; role++) {
        p->copies_of[role] = 1;
    }
    for (const char *at = p->copies; *at;) {
        size_t gap = strspn(at, ", "), word = strcspn(at + gap, ", ");
        if (word && !read_copies(p, at + gap, word)) {
            snprintf(why, bytes,
                     "'%.*s' (allowed: a list such as down=2,head=4, of q k v o gate up down qkv gate_up head, each 1 "
                     "to %d)",
                     (int)(word < 32 ? word : 32), at + gap, COPIES_MOST);
            return "placement.copies";
        }
        at += gap + word;
    }
    return NULL;
}

static const char *strategy_contradiction(const struct chip_spec *s, char *why, size_t bytes) {
    bool links = s->network.given && (s->network.topology == TOPOLOGY_MESH || s->network.topology == TOPOLOGY_HTREE);
    if (s->placement.strategy == PLACE_FEWEST_HOPS && s->costs == COSTS_FULL && !links) {
        snprintf(why, bytes, "fewest_hops, but no hop depends on the place of a tile (allowed: with network.topology "
                 "mesh or htree; in_order, balanced)");
        return "placement.strategy";
    }
    return NULL;
}

const char *hierarchy_contradiction(struct chip_spec *s, char *why, size_t bytes) {
    const char *key = copies_contradiction(s, why, bytes);
    key = key ? key : strategy_contradiction(s, why, bytes);
    return key ? key : levels_contradiction(s, why, bytes);
}
