/* The module that carries the bytes of base/ranks.h by MPI; built with mpicc into mho_mpi.so, where there is one. */
#include <mpi.h>

#include "base/mpi/module.h"

static int join(int *own, int *count) {
    int given;
    if (MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &given) != MPI_SUCCESS) {
        return 1;
    }
    return MPI_Comm_rank(MPI_COMM_WORLD, own) != MPI_SUCCESS || MPI_Comm_size(MPI_COMM_WORLD, count) != MPI_SUCCESS;
}

static void exchange(const void *from, void *to, size_t bytes) {
    MPI_Alltoall(from, (int)bytes, MPI_BYTE, to, (int)bytes, MPI_BYTE, MPI_COMM_WORLD);
}

static void gather(const void *own, void *all, size_t bytes) {
    MPI_Allgather(own, (int)bytes, MPI_BYTE, all, (int)bytes, MPI_BYTE, MPI_COMM_WORLD);
}

/* Counts of MPI are ints. */
static void copy(void *bytes, size_t n) {
    const size_t most = (size_t)1 << 28;
    for (size_t at = 0; at < n; at += most) {
        MPI_Bcast((char *)bytes + at, (int)(n - at < most ? n - at : most), MPI_BYTE, 0, MPI_COMM_WORLD);
    }
}

static void leave(void) { MPI_Finalize(); }

static void end_all(int status) { MPI_Abort(MPI_COMM_WORLD, status); }

extern const struct ranks_module mho_ranks_module;
const struct ranks_module mho_ranks_module = {RANKS_MODULE_VERSION, join, exchange, gather, copy, leave, end_all};
