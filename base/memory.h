/* Memory: every allocation of the program goes through here (tools/lint checks it).
 *
 * Why a wrapper: (1) the token loop must not allocate, and the guard proves it; (2) tests make the
 * n-th allocation fail; (3) big arrays are aligned for vector loads. Allocation failure is an error
 * (NULL), never an exit.
 */
#ifndef MHO_BASE_MEMORY_H
#define MHO_BASE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MEM_ALIGNMENT = 64 }; /* bytes; one cache line, one 512-bit vector */

/* Zeroed, MEM_ALIGNMENT-aligned. count * size is checked for overflow. NULL when it cannot be had
 * (or when the guard is armed). count * size == 0 gives a valid unique pointer. */
void *mem_alloc(size_t count, size_t size);
/* Grows or shrinks; contents kept, new bytes not zeroed. On failure NULL and the old block stays. */
void *mem_resize(void *block, size_t old_bytes, size_t new_bytes);
char *mem_strdup(const char *text);
char *mem_strndup(const char *text, size_t bytes);
void mem_free(void *block); /* NULL is fine */

/* The guard: while armed, every mem_alloc/mem_resize is counted as a violation and still served in
 * release, so that a run never dies of it; tests assert that the count stays 0. */
void mem_guard_arm(void);
size_t mem_guard_disarm(void); /* returns the violations since arming */

/* Tests: the n-th allocation from now on fails once (1 = the next). 0 switches off. */
void mem_fail_at(size_t n);
size_t mem_allocations(void); /* count since the start of the program */

/* Arena: many small blocks with one lifetime. Not thread-safe. */
struct arena;
struct arena *arena_create(void);                            /* NULL when out of memory */
void arena_destroy(struct arena *a);                         /* NULL is fine */
void *arena_alloc(struct arena *a, size_t count, size_t size); /* zeroed, 16-byte aligned; NULL when out of memory */
char *arena_strdup(struct arena *a, const char *text);
char *arena_strndup(struct arena *a, const char *text, size_t bytes);
char *arena_printf(struct arena *a, const char *format, ...)
#if defined(__GNUC__)
    __attribute__((format(printf, 2, 3)))
#endif
    ;

size_t mem_peak_rss_bytes(void); /* of the process, from the operating system; 0 if unknown */

#endif
