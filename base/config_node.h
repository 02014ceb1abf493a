/* Private to base/config*.c: what a node of a configuration tree holds. */
#ifndef MHO_BASE_CONFIG_NODE_H
#define MHO_BASE_CONFIG_NODE_H

#include "base/config.h"

struct config_node {
    enum config_kind kind;
    bool quoted;       /* a scalar that is text whatever it looks like: "null" in quotes is not a null */
    int line;          /* 0: made by the program */
    const char *file;  /* arena-owned, shared by the nodes of a file */
    const char *text;  /* scalar */
    size_t count, capacity;
    const char **keys;           /* map */
    uint32_t *hashes;            /* map: of the keys, so that a search touches little memory */
    struct config_node **items;  /* map and list */
};

#endif
