/* See memory.h. Blocks carry no header: sizes are the caller's knowledge. */
#include "base/memory.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

static atomic_size_t allocations;
static atomic_size_t violations;
static atomic_size_t fail_countdown;
static atomic_bool guard_armed;

static bool allocation_allowed(void) {
    atomic_fetch_add(&allocations, 1);
    if (atomic_load(&guard_armed)) {
        atomic_fetch_add(&violations, 1);
    }
    if (atomic_load(&fail_countdown) > 0 && atomic_fetch_sub(&fail_countdown, 1) == 1) {
        return false;
    }
    return true;
}

static void *aligned_block(size_t bytes) {
    size_t rounded = (bytes + MEM_ALIGNMENT - 1) / MEM_ALIGNMENT * MEM_ALIGNMENT;
    void *block = NULL;
    if (rounded < bytes || posix_memalign(&block, MEM_ALIGNMENT, rounded ? rounded : MEM_ALIGNMENT) != 0) {
        return NULL;
    }
    return block;
}

void *mem_alloc(size_t count, size_t size) {
    if (!allocation_allowed() || (size != 0 && count > SIZE_MAX / size)) {
        return NULL;
    }
    void *block = aligned_block(count * size);
    if (block) {
        memset(block, 0, count * size);
    }
    return block;
}

void *mem_resize(void *block, size_t old_bytes, size_t new_bytes) {
    if (!allocation_allowed()) {
        return NULL;
    }
    void *grown = aligned_block(new_bytes);
    if (!grown) {
        return NULL;
    }
    if (block) {
        memcpy(grown, block, old_bytes < new_bytes ? old_bytes : new_bytes);
        free(block);
    }
    return grown;
}

char *mem_strndup(const char *text, size_t bytes) {
    char *copy = mem_alloc(bytes + 1, 1);
    if (copy) {
        memcpy(copy, text, bytes);
    }
    return copy;
}

char *mem_strdup(const char *text) { return mem_strndup(text, strlen(text)); }

void mem_free(void *block) { free(block); }

void mem_guard_arm(void) {
    atomic_store(&violations, 0);
    atomic_store(&guard_armed, true);
}

size_t mem_guard_disarm(void) {
    atomic_store(&guard_armed, false);
    return atomic_load(&violations);
}

void mem_fail_at(size_t n) { atomic_store(&fail_countdown, n); }

size_t mem_allocations(void) { return atomic_load(&allocations); }

size_t mem_peak_rss_bytes(void) {
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) != 0) {
        return 0;
    }
#ifdef __APPLE__
    return (size_t)usage.ru_maxrss; /* bytes there, kilobytes elsewhere */
#else
    return (size_t)usage.ru_maxrss * 1024;
#endif
}

/* ---- arena --------------------------------------------------------------------------------------- */

enum { ARENA_CHUNK = 1 << 16, ARENA_ALIGNMENT = 16 };

struct chunk {
    struct chunk *previous;
    size_t used, capacity;
    unsigned char data[];
};

struct arena {
    struct chunk *last;
};

struct arena *arena_create(void) { return mem_alloc(1, sizeof(struct arena)); }

void arena_destroy(struct arena *a) {
    if (!a) {
        return;
    }
    for (struct chunk *c = a->last; c;) {
        struct chunk *previous = c->previous;
        mem_free(c);
        c = previous;
    }
    mem_free(a);
}

static struct chunk *chunk_with_room(struct arena *a, size_t bytes) {
    struct chunk *c = a->last;
    if (c && c->capacity - c->used >= bytes) {
        return c;
    }
    size_t capacity = bytes > ARENA_CHUNK ? bytes : ARENA_CHUNK;
    if (capacity > SIZE_MAX - sizeof *c) {
        return NULL;
    }
    c = mem_alloc(1, sizeof *c + capacity);
    if (!c) {
        return NULL;
    }
    c->capacity = capacity;
    c->previous = a->last;
    a->last = c;
    return c;
}

void *arena_alloc(struct arena *a, size_t count, size_t size) {
    if (size != 0 && count > (SIZE_MAX - ARENA_ALIGNMENT) / size) {
        return NULL;
    }
    size_t bytes = (count * size + ARENA_ALIGNMENT - 1) / ARENA_ALIGNMENT * ARENA_ALIGNMENT;
    /* data[] starts at an offset that need not be a multiple of 16: reserve room to align. */
    struct chunk *c = chunk_with_room(a, bytes + ARENA_ALIGNMENT);
    if (!c) {
        return NULL;
    }
    uintptr_t at = (uintptr_t)(c->data + c->used);
    size_t skip = (ARENA_ALIGNMENT - at % ARENA_ALIGNMENT) % ARENA_ALIGNMENT;
    void *block = c->data + c->used + skip;
    c->used += skip + bytes;
    return block;
}

char *arena_strndup(struct arena *a, const char *text, size_t bytes) {
    char *copy = arena_alloc(a, bytes + 1, 1);
    if (copy) {
        memcpy(copy, text, bytes);
    }
    return copy;
}

char *arena_strdup(struct arena *a, const char *text) { return arena_strndup(a, text, strlen(text)); }

char *arena_printf(struct arena *a, const char *format, ...) {
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int needed = vsnprintf(NULL, 0, format, args);
    va_end(args);
    char *text = needed < 0 ? NULL : arena_alloc(a, (size_t)needed + 1, 1);
    if (text) {
        vsnprintf(text, (size_t)needed + 1, format, again);
    }
    va_end(again);
    return text;
}
