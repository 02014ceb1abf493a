/* What the program and its MPI module know of each other: see base/ranks.h. The module calls nothing in the program. */
#ifndef MHO_BASE_MPI_MODULE_H
#define MHO_BASE_MPI_MODULE_H

#include <stddef.h>

enum { RANKS_MODULE_VERSION = 1 };
#define RANKS_MODULE_SYMBOL "mho_ranks_module"
#define RANKS_MODULE_FILE "mho_mpi.so"

/* Blocks of bytes [count of ranks][bytes]. Errors end all processes. */
struct ranks_module {
    int version;
    int (*join)(int *own, int *count);                            /* 0: fine */
    void (*exchange)(const void *from, void *to, size_t bytes);   /* block r of `from` goes to rank r */
    void (*gather)(const void *own, void *all, size_t bytes);     /* one block of each to all */
    void (*copy)(void *bytes, size_t n);                          /* those of rank 0 to all */
    void (*leave)(void);
    void (*end_all)(int status);                                  /* does not return */
};

#endif
