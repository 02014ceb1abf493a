/* Ranks: several processes, on one machine or many, that work on one thing together (MPI). A rank is one of them.
 *
 * `mpirun -n K mho ...` starts K processes; each finds out by ranks_join(). A program that nobody started this way is
 * rank 0 of 1, and every function below does nothing. MPI itself lies in a module of its own, mho_mpi.so beside the
 * program (base/mpi/), which is loaded only when mpirun started us: the program needs no MPI to run.
 *
 * All ranks must call the same functions in the same order, from the thread that joined. Sums are added up in double in
 * the order of the ranks and rounded once: all ranks get the same bits, the same for the same K whatever MPI library
 * carries them. When MPI itself fails (a process died, the network is gone) it ends all processes with its message. */
#ifndef MHO_BASE_RANKS_H
#define MHO_BASE_RANKS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

/* Finds the others, if mpirun started us; at most once. Errors: the module is not there, or is of another version. */
enum status ranks_join(struct error *e);
int ranks_count(void); /* K >= 1 */
int ranks_own(void);   /* 0 .. K - 1 */

void ranks_sum_floats(float *values, size_t n); /* values [n] of all ranks, added up, to all */
void ranks_sum(double *values, size_t n);       /* n <= 65536 */
void ranks_copy(void *bytes, size_t n);         /* those of rank 0 to all */
/* OK where all ranks pass OK; else all get the error of the first that does not, which says which process it was. */
enum status ranks_agree(enum status own, struct error *e);
/* Whether this rank is to print its error: an error that all agreed on is printed by rank 0 alone. */
bool ranks_speaks(void);
/* The last call. An error that the others do not know of ends them too. */
void ranks_leave(enum status own);

#endif
